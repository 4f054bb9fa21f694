// Young cycles (native/core/marking/young-cycles.h): what is new lives if anything refers to it, what is old is not traced again, and
// what has died with its mark goes with the next full trace.
#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

/// Three in four collections that a test asks for may be young: it need not wait for the collector to begin one by itself, which
/// it does on a busy machine only when there is hardly any room.
HeapOptions also_asked() {
  HeapOptions options = small_heap();
  options.young = Young::AlsoAsked;
  return options;
}

u32 full_cycles(const TestHeap& test) {
  const Statistics& s = test.heap->statistics;
  return static_cast<u32>(s.collections.load() - s.youngCycles.load());
}

/// Allocates what dies at once, and collects, until `cycles` young cycles more have begun.
void collect_young(TestHeap& test, NativeMutator& m, u32 cycles) {
  const u64 goal = test.heap->statistics.youngCycles.load() + cycles;
  while (test.heap->statistics.youngCycles.load() < goal) {
    for (u32 i = 0; i < 5'000; i++) m.alloc_node();
    m.collect();
  }
}

TEST(what_is_stored_into_old_objects_survives_young_cycles) {
  TestHeap test(also_asked());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  constexpr u32 kSlots = 40'000, kLength = 3;  // 160 KB: a large array, old from the first cycle on
  m.push(m.alloc_refs(kSlots));
  m.push(0);
  // Small old objects: nodes whose left side is replaced.
  constexpr u32 kOld = 5'000;
  build_list(m, 1, kOld, 0);
  m.push(0);
  m.push(0);
  Random random(11);
  std::vector<u32> keys(kSlots, 0);
  u32 wrong = 0;
  const auto check = [&](u32 slot) {
    u32 ref = m.load(m.root(0) + 2 + slot);
    if (keys[slot] == 0) return ref == 0;
    for (u32 i = kLength; i-- > 0; ref = m.left(ref)) {
      if (ref == 0 || !m.is_node(ref) || m.key(ref) != keys[slot] + i || !m.key_intact(ref)) return false;
    }
    return ref == 0;
  };
  for (u32 round = 0; round < 30; round++) {
    collect_young(test, m, 1);
    for (u32 i = 0; i < 500; i++) {
      // A list that is made in pieces: its first node may be old when the last is linked.
      const u32 slot = random.below(kSlots);
      keys[slot] = 1 + round * 1'000'000 + i * kLength;
      m.set_root(2, 0);
      for (u32 n = 0; n < kLength; n++) {
        const u32 node = m.alloc_node();
        m.set_key(node, keys[slot] + n);
        m.init_left(node, m.root(2));
        m.set_root(2, node);
      }
      m.store_ref(m.root(0) + 2 + slot, m.root(2));
      m.set_root(2, 0);
    }
    u32 old = m.root(1);
    for (u32 n = 0; n < kOld; n++, old = m.left(old)) {
      if (n % 50 != round) continue;
      m.set_root(3, old);
      const u32 node = m.alloc_node();
      old = m.root(3);
      m.set_key(node, n);
      m.set_right(old, node);
    }
    m.set_root(3, 0);
    for (u32 i = 0; i < 2'000; i++) wrong += !check(random.below(kSlots));
  }
  for (u32 slot = 0; slot < kSlots; slot++) wrong += !check(slot);
  u32 old = m.root(1);
  for (u32 n = 0; n < kOld; n++, old = m.left(old)) {
    const u32 added = m.right(old);
    wrong += n % 50 < 30 ? added == 0 || !m.is_node(added) || m.key(added) != n || !m.key_intact(added) : added != 0;
  }
  CHECK_EQ(wrong, 0u);
  CHECK(list_intact(m, 1, kOld));
  CHECK(test.heap->statistics.youngCycles.load() >= 10);
  m.park();
  CHECK_EQ(test.heap->verification.take_violation(), std::string());
  m.unpark();
}

TEST(a_large_object_that_was_being_initialised_when_a_cycle_ended_is_traced_by_the_young_one_after_it) {
  HeapOptions options = also_asked();
  options.stepping = true;
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  const Statistics& s = test.heap->statistics;
  constexpr u32 kSlots = 40'000, kKnown = 100;
  m.push(0);
  m.push(0);
  m.collect();  // everything is traced, and compacted
  for (u32 round = 0; round < 6; round++) {
    REQUIRE(step_to(test, m, layout::Phase::Reclaim));
    // Born black: nobody will trace it in this cycle, and it has a mark, which the list does not.
    build_list(m, 1, kKnown, 50);
    const u32 born = m.alloc_refs(kSlots);
    m.store(born + 2 + kSlots / 2, m.root(1));
    m.set_root(0, born);
    m.set_root(1, 0);
    REQUIRE(step_to(test, m, layout::Phase::Idle));
    m.collect();
    m.collect();
    m.set_root(1, m.load(m.root(0) + 2 + kSlots / 2));
    CHECK(list_intact(m, 1, kKnown));
  }
  CHECK(s.youngCycles.load() >= 4);
  m.park();
  CHECK_EQ(test.heap->verification.take_violation(), std::string());
  m.unpark();
}

TEST(a_young_cycle_does_not_trace_what_is_old) {
  TestHeap test(also_asked());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  constexpr u32 kKept = 100'000;
  m.push(0);
  build_list(m, 0, kKept, 0);
  const Statistics& s = test.heap->statistics;
  collect_young(test, m, 1);
  const u64 marked = s.objectsMarked.load();
  const u32 full = full_cycles(test);
  collect_young(test, m, 12);
  // Each full trace in between, and one that may be under way, finds the list; what the young ones find died soon after.
  const u64 traces = full_cycles(test) - full + 1;
  CHECK(s.youngCycles.load() >= 13);
  CHECK(s.objectsMarked.load() - marked < traces * (kKept + 20'000) + 3 * kKept);
  CHECK(list_intact(m, 0, kKept));
}

TEST(what_died_with_its_mark_goes_with_the_next_full_trace) {
  TestHeap test(also_asked());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  // Two thirds of the heap live, die and live anew: a mutator that finds no memory gets a trace of everything.
  for (u32 round = 0; round < 8; round++) {
    build_list(m, 0, 850'000, 0);
    CHECK(list_intact(m, 0, 850'000));
    m.set_root(0, 0);
    collect_young(test, m, 1);
  }
  build_list(m, 0, 1'000, 0);
  collect_young(test, m, 2);
  m.set_root(0, 0);
  for (u32 i = 0; i < 4; i++) m.collect();  // one of them traces everything
  CHECK(test.heap->statistics.bytesLive.load() < kMiB);
}

TEST(marks_are_not_kept_when_anything_has_moved) {
  TestHeap test(also_asked());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  const Statistics& s = test.heap->statistics;
  m.push(0);
  for (u32 round = 0; round < 6; round++) {
    collect_young(test, m, 1);
    build_list(m, 0, 20'000, 3);
    for (const u64 flips = s.flips.load(); s.flips.load() == flips;) m.collect();
    // Where the marks were is something else now: whatever the next cycles took for marked would be missing from their trace.
    collect_young(test, m, 1);
    CHECK(list_intact(m, 0, 20'000));
  }
  m.park();
  CHECK_EQ(test.heap->verification.take_violation(), std::string());
  m.unpark();
}

TEST(a_young_cycle_knows_the_fillers_of_a_compaction_that_was_planned_and_not_made) {
  HeapOptions options = also_asked();
  options.verify = 1;
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  m.push(0);
  u64 seen = 0;
  for (u32 round = 0; round < 40 && seen < 3; round++) {
    const u32 first = m.alloc_node(), dead = m.alloc_node(), last = m.alloc_node();
    if (dead != first + 6 || last != dead + 6) continue;
    m.set_root(0, first);
    m.set_root(1, last);
    collect_young(test, m, 1);
    if (m.root(0) != first || m.root(1) != last) continue;  // a full cycle has moved them
    // As align_runs leaves a small hole of a dense run (prepare.cc).
    Heap& heap = *test.heap;
    const Granule hole = heap.granule(Ref{dead});
    if (heap.blocks.is_marked(hole)) continue;
    m.store(dead + 1, 3u << layout::kFlagBits);
    m.store(dead, layout::kFillerShape);
    REQUIRE(heap.blocks.mark<false>(hole, 3));
    m.set_left(first, last);
    const u64 young = heap.statistics.youngCycles.load(), cycles = heap.statistics.collections.load();
    m.collect();
    seen += heap.statistics.youngCycles.load() > young && heap.statistics.collections.load() == cycles + 1;
    CHECK_EQ(heap.verification.take_violation(), std::string());
    CHECK_EQ(heap.statistics.marksLost.load(), 0u);
  }
  CHECK(seen > 0);
}

TEST(a_heap_that_wants_no_young_cycles_has_none) {
  HeapOptions options = small_heap();
  options.young = Young::Never;
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  const Statistics& s = test.heap->statistics;
  m.push(0);
  build_list(m, 0, 10'000, 0);
  while (s.flipsSkipped.load() < 4) {  // cycles that begin by themselves, and after which marks could be kept
    for (u32 i = 0; i < 20'000; i++) m.alloc_node();
    m.park();
    test.heap->rest();
    m.unpark();
  }
  CHECK_EQ(s.youngCycles.load(), 0u);
  CHECK(list_intact(m, 0, 10'000));
}

// The policy by itself (young-cycles.h). Times are in nanoseconds, room in pages.

TEST(a_young_cycle_pays_only_where_most_of_what_is_new_dies) {
  YoungCycles cycles;
  CHECK(!cycles.pays(100));  // nothing is known
  for (u32 i = 0; i < 20; i++) cycles.note(false, 1000, 0.4, 100);
  CHECK(!cycles.pays(100));
  for (u32 i = 0; i < 20; i++) cycles.note(false, 1000, 0.6, 100);
  CHECK(cycles.pays(100));
}

TEST(a_young_cycle_pays_while_it_wins_memory_cheaper_than_the_cycles_since_the_last_full_one) {
  YoungCycles cycles;
  for (u32 i = 0; i < 20; i++) cycles.note(false, 10'000, 1, 100);
  CHECK_EQ(cycles.expected_ns(), 0.0);
  cycles.note(true, 4'000, 1, 100);
  CHECK_EQ(cycles.expected_ns(), 4'000.0);
  // 200 pages for 14 000 so far, 70 a page: a young cycle of 4000 pays for 58 pages and more.
  CHECK(cycles.pays(58));
  CHECK(!cycles.pays(57));
  cycles.note(true, 8'000, 1, 100);
  CHECK_EQ(cycles.expected_ns(), 6'000.0);
  // 300 for 22 000.
  CHECK(cycles.pays(82));
  CHECK(!cycles.pays(81));
}

TEST(a_full_cycle_begins_a_new_account_and_gives_young_ones_another_chance) {
  YoungCycles cycles;
  for (u32 i = 0; i < 20; i++) cycles.note(false, 1'000, 1, 100);
  cycles.note(true, 90'000, 1, 100);
  CHECK(!cycles.pays(100));
  cycles.note(false, 10'000, 1, 100);
  CHECK_EQ(cycles.expected_ns(), 67'500.0);
  // 100 pages for 10 000: what came before is forgotten.
  CHECK(!cycles.pays(674));
  CHECK(cycles.pays(676));
  for (u32 full = 0; full < 8; full++) cycles.note(false, 10'000, 1, 100);
  CHECK(cycles.pays(100));
}

}  // namespace
