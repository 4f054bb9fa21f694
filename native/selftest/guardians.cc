// Guarded tables (native/core/marking/weak-slots.h): an object that nothing else refers to is handed over once, whole, with mutators and
// collections under way; one that anything refers to is not.
#include <array>
#include <memory>
#include <set>
#include <vector>

#include "core/memory/root-set.h"
#include "selftest/kernel.h"
#include "weak_slots.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

/// The two root areas of a guardian, as src/heap/guardians.ts uses them.
class Guardian {
 public:
  Guardian(TestHeap& test, u32 slots) : heap_(*test.heap), slots_(slots) {
    ring_ = static_cast<u32>(heap_.create_area(layout::AreaKind::RefTable, slots, -1));
    area_ = static_cast<u32>(heap_.create_area(layout::AreaKind::GuardedTable, slots, -1));
    heap_.roots.view(ring_, ring_view_);
    heap_.roots.view(area_, view_);
    layout::store_word(word(ring_, layout::kAreaTop), static_cast<i32>(slots));
    layout::store_word(word(area_, layout::kAreaTop), static_cast<i32>(slots));
    layout::store_word(word(area_, layout::kAreaDueArea), static_cast<i32>(ring_));
  }
  void free() {
    heap_.free_area(area_);
    heap_.free_area(ring_);
  }

  u32 due() const { return static_cast<u32>(__atomic_load_n(&word(area_, layout::kAreaDue), __ATOMIC_ACQUIRE)) - taken_; }
  bool full() const { return held_ == slots_; }
  u32 held() const { return held_; }
  void guard(u32 ref) {
    while (__atomic_load_n(view_.words + cursor_, __ATOMIC_RELAXED) != 0) cursor_ = (cursor_ + 1) % slots_;
    __atomic_store_n(view_.words + cursor_, ref, __ATOMIC_RELEASE);
    __atomic_store_n(heap_.space.root_cards() + ((view_.first_word + cursor_) >> layout::kCardShift), u8{1}, __ATOMIC_RELEASE);
    held_++;
  }
  /// There is one.
  u32 take() {
    u32* slot = ring_view_.words + taken_++ % slots_;
    const u32 ref = __atomic_load_n(slot, __ATOMIC_RELAXED);
    __atomic_store_n(slot, 0u, __ATOMIC_RELAXED);
    held_--;
    return ref;
  }

 private:
  i32& word(u32 area, u32 offset) const { return heap_.space.control()[layout::kAreaBase + area * layout::kAreaWords + offset]; }
  Heap& heap_;
  u32 slots_, ring_ = 0, area_ = 0, held_ = 0, taken_ = 0, cursor_ = 0;
  AreaView view_, ring_view_;
};

/// A guarded node with a list of `key % 4` more behind its left side, whose last one refers to it.
u32 make_thing(NativeMutator& m, u32 scratch, u32 key) {
  const u32 head = m.alloc_node();
  m.set_key(head, key);
  m.set_root(scratch, head);
  for (u32 i = 0; i < key % 4; i++) {
    const u32 node = m.alloc_node();
    m.set_key(node, key + i);
    m.set_right(node, m.root(scratch));
    m.set_left(node, m.left(m.root(scratch)));
    m.set_left(m.root(scratch), node);
  }
  const u32 made = m.root(scratch);
  m.set_root(scratch, 0);
  return made;
}
bool thing_intact(NativeMutator& m, u32 ref, u32 key) {
  if (!m.is_node(ref) || m.key(ref) != key || !m.key_intact(ref)) return false;
  u32 count = 0;
  for (u32 node = m.left(ref); node != 0; node = m.left(node), count++) {
    if (!m.is_node(node) || m.right(node) != ref || m.key(node) != key + key % 4 - 1 - count || !m.key_intact(node)) return false;
  }
  return count == key % 4;
}

/// Things that are kept, let go, guarded and taken, beside a model. Exact where collections are those asked for, and trace everything.
void run_model(HeapOptions options, u64 seed, bool concurrently, u32 rounds) {
  const bool exactly = !concurrently && options.young == Young::Never;
  TestHeap test(options);
  REQUIRE(test.heap);
  const int failures = failed_checks.load();
  NativeMutator m(test, 64);
  Random random(seed);
  constexpr u32 kKept = 200, kScratch = 1;
  std::array<u32, kKept> kept{};
  std::multiset<u32> guarded;  // keys, as often as they are guarded
  u32 next_key = 1, wrong = 0, early = 0;
  m.push(m.alloc_refs(kKept));
  m.push(0);
  m.push(0);
  Guardian guardian(test, 1024);
  const auto is_kept = [&](u32 key) { return std::find(kept.begin(), kept.end(), key) != kept.end(); };
  const auto take = [&] {
    const u32 ref = guardian.take();
    const u32 key = m.key(ref);
    wrong += !thing_intact(m, ref, key);
    const auto found = guarded.find(key);
    if (found == guarded.end()) wrong++;
    else guarded.erase(found);
    early += is_kept(key);
    // Some live on, and may be guarded again.
    if (random.below(3)) return;
    const u32 i = random.below(kKept);
    // One that is still due a second time would be there although it is kept.
    if (guarded.count(key)) return;
    kept[i] = key;
    m.store_ref(m.root(0) + 2 + i, ref);
  };
  {
    std::unique_ptr<Collecting> collecting = concurrently ? std::make_unique<Collecting>(test) : nullptr;
    for (u32 round = 0; round < rounds; round++) {
      for (u32 act = 0; act < 300; act++) {
        const u32 i = random.below(kKept);
        switch (random.below(5)) {
          case 0:
            if (guardian.full()) break;
            // New, guarded and mostly let go at once.
            m.set_root(2, make_thing(m, kScratch, next_key));
            guardian.guard(m.root(2));
            guarded.insert(next_key++);
            if (random.below(2)) {
              kept[i] = next_key - 1;
              m.store_ref(m.root(0) + 2 + i, m.root(2));
            }
            m.set_root(2, 0);
            break;
          case 1:
            kept[i] = 0;
            m.store_ref(m.root(0) + 2 + i, 0);
            break;
          case 2:
            if (kept[i] == 0 || guardian.full()) break;
            guardian.guard(m.load(m.root(0) + 2 + i));
            guarded.insert(kept[i]);
            break;
          case 3:
            if (guardian.due() > 0) take();
            break;
          default:
            for (u32 garbage = random.below(60); garbage > 0; garbage--) m.alloc_node();
        }
        if (m.must_poll()) m.poll();
      }
      for (u32 i = 0; i < kKept; i++) {
        if (kept[i]) wrong += !thing_intact(m, m.load(m.root(0) + 2 + i), kept[i]);
      }
      if (concurrently) continue;
      m.collect();
      if (!exactly) continue;
      u32 dead = 0;
      for (const u32 key : guarded) dead += !is_kept(key);
      CHECK_EQ(guardian.due(), dead);
    }
    if (collecting) collecting->stop(m);
  }
  // Everything comes out in the end.
  kept.fill(0);
  m.set_root(0, 0);
  for (u32 i = 0; i < 4 && guardian.due() < guardian.held(); i++) m.collect();
  m.set_root(0, m.alloc_refs(kKept));
  kept.fill(0);
  while (guardian.due() > 0) {
    const u32 ref = guardian.take();
    wrong += !thing_intact(m, ref, m.key(ref));
    const auto found = guarded.find(m.key(ref));
    if (found == guarded.end()) wrong++;
    else guarded.erase(found);
  }
  CHECK_EQ(guarded.size(), 0u);
  CHECK_EQ(guardian.held(), 0u);
  CHECK_EQ(wrong, 0u);
  CHECK_EQ(early, 0u);
  CHECK(test.heap->statistics.guardedDue.load() > 100);
  expect_no_violation(test, m);
  if (failed_checks.load() != failures) std::fprintf(stderr, "  seed %llu\n", static_cast<unsigned long long>(seed));
}

TEST(guarded_objects_are_due_after_the_collection_that_finds_them_dead) { run_between_collections(run_model); }
TEST(guarded_objects_are_handed_over_once_and_whole_while_collections_run) { run_beside_collections(run_model); }
TEST(guarded_objects_are_handed_over_once_and_whole_in_young_cycles) { run_in_young_cycles(run_model); }

TEST(what_is_due_is_whole_after_cycles_without_a_flip_however_much_it_is) {
  HeapOptions options = small_heap();
  options.young = Young::Never;
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  m.push(0);
  Guardian guardian(test, 1024);
  u32 wrong = 0;
  const auto take = [&] {
    m.set_root(1, guardian.take());
    wrong += !list_intact(m, 1, m.key(m.root(1)) + 1);
    m.set_root(1, 0);
  };
  for (u32 round = 0; round < 2'000; round++) {
    // Some cycles find less due than the pause marks itself, some find more. The last ones lie at the end of the heap, where
    // black objects come to lie next.
    const u32 length = round / 100 % 2 ? 5'000 : 20;
    build_list(m, 0, length, 0);
    guardian.guard(m.root(0));
    m.set_root(0, 0);
    for (u32 i = 0; i < 500; i++) m.set_key(m.alloc_node(), i);
    while (guardian.due() > 0) take();
  }
  m.collect();
  while (guardian.due() > 0) take();
  CHECK_EQ(wrong, 0u);
  CHECK_EQ(test.heap->statistics.guardedDue.load(), 2'000u);
  CHECK(test.heap->statistics.flipsSkipped.load() > 0);
  expect_no_violation(test, m);
}

TEST(what_is_due_is_whole_where_there_are_more_objects_of_it_than_the_pause_marks) {
  HeapOptions options = small_heap();
  options.young = Young::Never;
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  constexpr u32 kSlots = 8192;
  Guardian guardian(test, kSlots);
  u32 wrong = 0, taken = 0, next = 0;
  const auto take = [&] {
    const u32 ref = guardian.take();
    wrong += !m.is_node(ref) || !m.key_intact(ref);
    taken++;
  };
  for (u32 round = 0; round < 300; round++) {
    // Mostly some thousands; those that a cycle finds due lie where the next objects come to lie.
    for (u32 i = round % 7 * 1000; i > 0 && !guardian.full(); i--) {
      const u32 node = m.alloc_node();
      m.set_key(node, next++);
      guardian.guard(node);
    }
    for (u32 i = 0; i < 10'000; i++) m.set_key(m.alloc_node(), i);
    while (guardian.due() > 0) take();
  }
  m.collect();
  while (guardian.due() > 0) take();
  CHECK_EQ(wrong, 0u);
  CHECK_EQ(taken, next);
  CHECK(test.heap->statistics.flipsSkipped.load() > 0);
  expect_no_violation(test, m);
}

TEST(what_is_due_is_whole_also_behind_its_weak_arrays) {
  HeapOptions options = small_heap();
  options.young = Young::Never;
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  for (u32 i = 0; i < 4; i++) m.push(0);
  const u32 pairs = test.define_array(layout::ShapeKind::ArrayRef, 2, layout::Weak::Keys);
  const auto alloc_pairs = [&](u32 length) { return m.alloc(pairs, length << 2, 1 + (length + 1) / 2); };
  Guardian guardian(test, 1024);
  u32 wrong = 0, taken = 0;
  const auto take = [&] {
    m.set_root(0, guardian.take());
    const u32 array = m.left(m.root(0)), key = m.right(m.root(0));
    taken++;
    // Of three pairs two have a key that lives on, and the value of one is large.
    wrong += m.load(array + 2) != key || m.load(array + 4) != key || m.load(array + 6) != 0 || m.load(array + 7) != 0;
    m.set_root(1, m.load(array + 3));
    wrong += !list_intact(m, 1, 50);
    const u32 large = m.load(array + 5);
    wrong += m.load(large) != test.refs || !m.is_node(m.load(large + 2)) || m.key(m.load(large + 2)) != 5 || m.load(large + 3) != 0;
    m.set_root(0, 0);
    m.set_root(1, 0);
  };
  constexpr u32 kRounds = 600;
  for (u32 round = 0; round < kRounds; round++) {
    m.set_root(0, m.alloc_node());
    m.set_right(m.root(0), m.alloc_node());
    m.set_left(m.root(0), alloc_pairs(6));
    const auto store = [&](u32 i, u32 to) { m.store_ref(m.left(m.root(0)) + 2 + i, to); };
    m.set_root(1, m.alloc_refs(20'000));
    const u32 node = m.alloc_node();
    m.set_key(node, 5);
    m.store_ref(m.root(1) + 2, node);
    store(2, m.right(m.root(0)));
    store(3, m.root(1));
    // The key last: a pair that has one is cleared as a whole, and to make the value may take a remark pause.
    store(5, m.alloc_node());
    store(4, m.alloc_node());
    // At the end of the heap, where black objects come to lie next.
    build_list(m, 1, 50, 0);
    store(0, m.right(m.root(0)));
    store(1, m.root(1));
    m.set_root(1, 0);
    guardian.guard(m.root(0));
    m.set_root(0, 0);
    if (round % 3 == 0) for (u32 i = 0; i < 2'000; i++) m.set_key(m.alloc_node(), i);
    while (guardian.due() > 0) take();
  }
  m.collect();
  while (guardian.due() > 0) take();
  CHECK_EQ(wrong, 0u);
  CHECK_EQ(taken, kRounds);
  expect_no_violation(test, m);
}

// What is due and not marked yet keeps the top where it is, although all at the end of the space is dead. Of that some is kept back
// for what is born in the next cycle (spare.cc), which finds it above a top that it lowers.
TEST(what_is_kept_back_for_the_next_cycle_is_forgotten_where_that_lowers_the_top_below_it) {
  HeapOptions options = stepping_heap();
  options.young = Young::AlsoAsked;
  TestHeap test(options);
  REQUIRE(test.heap);
  const Heap& heap = *test.heap;
  NativeMutator m(test, 4'096);
  constexpr u32 kNodesOfPage = kPageSize / 24, kBlack = 60 * kNodesOfPage;
  const u32 black = m.push(0), guarded = m.push(0);
  Guardian guardian(test, 1);
  const auto cycle = [&](auto&& born_black) {
    REQUIRE(step_to(test, m, layout::Phase::Reclaim));
    born_black();
    REQUIRE(step_to(test, m, layout::Phase::Idle));
  };
  cycle([] {});                                        // compacts
  cycle([&] { build_list(m, black, kBlack, 0); });
  build_list(m, guarded, 3'000, 0);                    // more than the pause marks
  guardian.guard(m.root(guarded));
  m.set_root(guarded, 0);
  for (u32 i = 0; i < 30 * kNodesOfPage; i++) m.alloc_node();
  const u32 end = heap.moving.top;
  cycle([&] {
    CHECK(heap.moving.black_begin + 16 > end);
    build_list(m, black, kBlack, 0);
  });
  CHECK_EQ(guardian.due(), 1u);
  m.set_root(black, 0);
  const u64 spared = heap.statistics.holesSpared.load();
  const u32 first = m.top;
  cycle([&] {
    CHECK(heap.moving.black_begin + 20 < end);
    while (m.top < first + 12 * kNodesOfPage) {
      m.push(m.alloc_node());
      m.set_key(m.root(m.top - 1), m.top);
    }
  });
  CHECK_EQ(heap.statistics.holesSpared.load(), spared);
  u32 intact = 0;
  for (u32 at = first; at < m.top; at++) intact += m.key(m.root(at)) == at + 1 && m.key_intact(m.root(at));
  CHECK_EQ(intact, m.top - first);
  expect_no_violation(test, m);
}

TEST(a_guardian_may_go_while_what_it_guards_is_on_its_way) {
  TestHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  for (u32 round = 0; round < 4; round++) {
    Guardian guardian(test, 1024);
    guardian.guard(make_thing(m, 0, 3));
    // The pause is over: the thing is due, and nobody has marked it yet.
    REQUIRE(step_to(test, m, layout::Phase::Reclaim));
    CHECK_EQ(guardian.due(), 0u);
    if (round % 2 == 0) {
      guardian.free();
      // The areas that these make are none of the two.
      Guardian other(test, 1024);
      REQUIRE(step_to(test, m, layout::Phase::Idle));
      CHECK_EQ(other.due(), 0u);
      other.free();
      continue;
    }
    REQUIRE(step_to(test, m, layout::Phase::Prepare));
    CHECK_EQ(guardian.due(), 1u);
    // Taken before the flip, and kept by a stack over it.
    m.set_root(0, guardian.take());
    CHECK(thing_intact(m, m.root(0), 3));
    REQUIRE(step_to(test, m, layout::Phase::Idle));
    CHECK(thing_intact(m, m.root(0), 3));
    m.set_root(0, 0);
    guardian.free();
  }
  expect_no_violation(test, m);
}

}  // namespace
