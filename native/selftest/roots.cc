// Root areas: what an area is made of and how much there is of it; and references that are stored into tables, or onto many cards, when
// the trace has been there already; tops that move when they must not.
#include <atomic>
#include <thread>

#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

constexpr u32 kRefsPerPage = kPageSize / 4;

HeapOptions few_roots() {
  HeapOptions options = stepping_heap();
  options.root_bytes = kMiB;
  return options;
}

/// A table as JavaScript writes it: the slot, then its root card.
struct Table {
  Heap& heap;
  u32 index;
  AreaView view{};
  Table(Heap& heap_of_table, layout::AreaKind kind, u32 slots)
      : heap(heap_of_table), index(static_cast<u32>(heap.create_area(kind, slots, -1))) {
    heap.roots.view(index, view);
    layout::store_word(heap.space.control()[layout::kAreaBase + index * layout::kAreaWords + layout::kAreaTop], static_cast<i32>(slots));
  }
  u32 get(u32 slot) const { return __atomic_load_n(view.words + slot * view.slot_bytes() / 4, __ATOMIC_RELAXED); }
  void set(u32 slot, u32 ref) {
    const u32 word = slot * view.slot_bytes() / 4;
    __atomic_store_n(view.words + word, ref, __ATOMIC_RELEASE);
    if (view.is_value()) __atomic_store_n(view.words + word + 1, layout::kTagRef, __ATOMIC_RELEASE);
    __atomic_store_n(heap.space.root_cards() + ((view.first_word + word) >> layout::kCardShift), u8{1}, __ATOMIC_RELEASE);
  }
};

/// Lets the cycle go on to a rest in the trace behind the last precleaning: what is stored now is for the remark pause to find.
bool to_last_trace(TestHeap& test, NativeMutator& m) {
  if (!step_to(test, m, layout::Phase::Mark)) return false;
  const auto step = [&] {
    m.park();
    test.heap->step(1);
    m.unpark();
  };
  for (u32 steps = 0; test.heap->rest() != Rest::Preclean && steps < 10'000; steps++) step();
  m.push(m.alloc_node());
  m.publish_top();
  step();
  return test.heap->rest() == Rest::Trace;
}

TEST(references_in_every_slot_of_a_table_are_found_by_the_trace_and_by_the_remark_pause) {
  // Neither a whole number of cards nor of pages.
  constexpr u32 kSlots = 3'001;
  for (const layout::AreaKind kind : {layout::AreaKind::RefTable, layout::AreaKind::ValueTable}) {
    TestHeap test(stepping_heap());
    REQUIRE(test.heap);
    NativeMutator m(test, 64);
    Table table(*test.heap, kind, kSlots);
    const auto fill = [&](u32 key) {
      for (u32 slot = 0; slot < kSlots; slot++) {
        m.alloc_node();
        const u32 node = m.alloc_node();
        m.set_key(node, key + slot);
        table.set(slot, node);
      }
    };
    const auto wrong = [&](u32 key) {
      u32 count = 0;
      for (u32 slot = 0; slot < kSlots; slot++) count += !m.is_node(table.get(slot)) || m.key(table.get(slot)) != key + slot || !m.key_intact(table.get(slot));
      return count;
    };
    fill(1'000);
    m.collect();
    CHECK_EQ(wrong(1'000), 0u);
    REQUIRE(to_last_trace(test, m));
    const u64 retries = test.heap->statistics.remarkRetries.load();
    fill(2'000);
    REQUIRE(step_to(test, m, layout::Phase::Reclaim));
    // More than the pause's budget of objects, and few cards: it gave up, and what it knew was not lost.
    CHECK(test.heap->statistics.remarkRetries.load() > retries);
    m.collect();
    CHECK_EQ(wrong(2'000), 0u);
    CHECK_EQ(test.heap->verification.take_violation(), std::string());
  }
}

TEST(cards_too_many_for_a_remark_pause_are_scanned_after_it_was_given_up) {
  TestHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  constexpr u32 kCards = 1'000, kSlots = kCards * layout::kCardBytes / 4;
  m.push(m.alloc_refs(kSlots));
  REQUIRE(to_last_trace(test, m));
  const Statistics& s = test.heap->statistics;
  const u64 retries = s.remarkRetries.load(), marked = s.objectsMarked.load();
  for (u32 card = 0; card < kCards; card++) {
    const u32 node = m.alloc_node();
    m.set_key(node, card);
    m.store_ref(m.root(0) + 2 + card * (layout::kCardBytes / 4), node);
  }
  REQUIRE(step_to(test, m, layout::Phase::Reclaim));
  CHECK_EQ(s.remarkRetries.load(), retries + 1);
  // These, and the one that made the trace go on: each counted once, whoever found it.
  CHECK(s.objectsMarked.load() - marked >= kCards);
  CHECK(s.objectsMarked.load() - marked <= kCards + 1);
  m.collect();
  u32 wrong = 0;
  for (u32 card = 0; card < kCards; card++) {
    const u32 node = m.load(m.root(0) + 2 + card * (layout::kCardBytes / 4));
    wrong += !m.is_node(node) || m.key(node) != card || !m.key_intact(node);
  }
  CHECK_EQ(wrong, 0u);
  CHECK_EQ(test.heap->verification.take_violation(), std::string());
}

TEST(objects_that_the_remark_pause_marks_are_counted_once) {
  TestHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  REQUIRE(to_last_trace(test, m));
  const u64 marked = test.heap->statistics.objectsMarked.load();
  build_list(m, 0, 100, 0);
  m.publish_top();
  REQUIRE(step_to(test, m, layout::Phase::Reclaim));
  const u64 more = test.heap->statistics.objectsMarked.load() - marked;
  CHECK(more == 100 || more == 101);  // … and the one that made the trace go on
}

TEST(an_area_that_lies_partly_where_another_was_begins_as_zeros) {
  TestHeap test(few_roots());
  REQUIRE(test.heap);
  Heap& heap = *test.heap;
  for (const u32 pages : {2u, 3u, 1u, 6u, 6u}) {
    const i32 index = heap.create_area(layout::AreaKind::RefTable, pages * kRefsPerPage, -1);
    REQUIRE(index >= 0);
    AreaView area;
    REQUIRE(heap.roots.view(static_cast<u32>(index), area));
    CHECK_EQ(area.first_word, 0u);
    u32 stale = 0;
    for (u32 slot = 0; slot < area.capacity; slot++) {
      stale += area.words[slot] != 0;
      area.words[slot] = ~0u;
    }
    CHECK_EQ(stale, 0u);
    heap.free_area(static_cast<u32>(index));
  }
}

TEST(the_root_region_can_be_had_to_its_last_page_and_to_the_last_of_256_areas) {
  TestHeap test(few_roots());
  REQUIRE(test.heap);
  Heap& heap = *test.heap;
  constexpr u32 kPages = pages_for_bytes(kMiB);
  const auto make = [&](u32 slots) { return heap.create_area(layout::AreaKind::RefTable, slots, -1); };
  CHECK_EQ(make(0), -1);
  CHECK_EQ(make(kPages * kRefsPerPage + 1), -1);
  const i32 all = make(kPages * kRefsPerPage);
  REQUIRE(all >= 0);
  CHECK_EQ(make(1), -1);
  heap.free_area(static_cast<u32>(all));
  std::vector<i32> areas;
  for (u32 i = 0; i < layout::kMaxAreas; i++) {
    areas.push_back(make(1));
    CHECK_EQ(areas.back(), static_cast<i32>(i));
  }
  CHECK_EQ(make(1), -1);
  heap.free_area(200);
  CHECK_EQ(make(1), 200);
}

TEST(the_areas_of_a_mutator_go_with_it_to_the_last) {
  TestHeap test(few_roots());
  REQUIRE(test.heap);
  Heap& heap = *test.heap;
  Mutator* mutator = heap.safepoint.attach();
  REQUIRE(mutator != nullptr);
  for (u32 i = 0; i < 5; i++) CHECK_EQ(heap.create_area(layout::AreaKind::RefStack, 8, static_cast<i32>(mutator->index)), static_cast<i32>(i));
  heap.detach(*mutator);
  AreaView area;
  for (u32 i = 0; i < 5; i++) CHECK(!heap.roots.view(i, area));
}

TEST(a_top_that_moves_beside_the_remark_pause_parts_what_is_visited_from_what_is_cleared) {
  constexpr u32 kSlots = 8;
  HeapOptions options = small_heap();
  options.verify = 2;
  options.reuse = Reuse::Never;  // every collection flips: a stale slot would lead into another object
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  for (u32 round = 0; round < 200; round++) {
    for (u32 i = 0; i < kSlots; i++) m.push(m.alloc_node());
    m.pop(kSlots);  // garbage, of which the slots still know
    m.publish_top();
    m.park();
    std::atomic<bool> ended{false};
    std::thread against_the_rule([&] {
      const i32 area = m.area();
      i32* top = test.heap->space.control() + layout::kAreaBase + static_cast<u32>(area) * layout::kAreaWords + layout::kAreaTop;
      for (u32 i = 0; !ended.load(std::memory_order_relaxed); i++) layout::store_word(*top, i / 64 % 2 ? kSlots : 0);
      layout::store_word(*top, 0);
    });
    test.heap->collect();
    ended.store(true, std::memory_order_relaxed);
    against_the_rule.join();
    m.unpark();
    REQUIRE(test.heap->verification.take_violation() == std::string());
    // What is there lives: it was below the top that the pause saw.
    for (u32 i = 0; i < kSlots; i++) CHECK(m.root(i) == 0 || m.is_node(m.root(i)));
  }
}

TEST(a_heap_holds_its_maximum_and_no_page_more) {
  for (const bool large : {false, true}) {
    HeapOptions options = small_heap();
    options.max_bytes = 4 * kMiB;
    options.min_bytes = kMiB;
    options.verify = 0;
    TestHeap test(options);
    REQUIRE(test.heap);
    NativeMutator m(test, 1024);
    const u32 most = pages_for_bytes(options.max_bytes);
    m.push(0);
    m.push(0);
    u32 held = 0, length = 0;
    for (;;) {
      const u32 object = large ? m.alloc_refs(9 * kPageSize / 4) : m.alloc_node();
      held = std::max(held, test.heap->moving.held_pages());
      if (object == 0) break;
      // In even slots: markers read slots in pairs, and ThreadSanitizer sees a store and a load meet only at one address.
      if (large) m.push(object), m.push(0);
      else m.set_key(object, length++), m.init_left(object, m.root(0)), m.set_root(0, object);
    }
    CHECK(held <= most);
    CHECK(held > most * 3 / 4);
  }
}

}  // namespace
