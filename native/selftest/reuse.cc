// Reuse in place (native/core/allocation/reuse.cc): garbage that is whole pages, or leaves holes with room for the program's objects, is allocated
// into again without a flip; garbage that does not, or is of no use to the program, is compacted; what a root stack held above its
// top is gone before memory is given out again.
#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

/// A complete tree, its subtrees in the root slots above while it is being built. The keys say where a node belongs.
u32 build_tree(NativeMutator& m, u32 depth, u32 key) {
  if (depth > 0) {
    m.push(build_tree(m, depth - 1, 2 * key));
    m.push(build_tree(m, depth - 1, 2 * key + 1));
  }
  const u32 node = m.alloc_node();
  m.set_key(node, key);
  if (depth > 0) {
    m.set_left(node, m.root(m.top - 2));
    m.set_right(node, m.root(m.top - 1));
    m.pop(2);
  }
  return node;
}

u32 intact_nodes(NativeMutator& m, u32 node, u32 depth, u32 key) {
  if (node == 0 || !m.is_node(node) || m.key(node) != key || !m.key_intact(node)) return 0;
  if (depth == 0) return 1;
  return 1 + intact_nodes(m, m.left(node), depth - 1, 2 * key) + intact_nodes(m, m.right(node), depth - 1, 2 * key + 1);
}

/// A program that runs out of memory has it compacted. On a busy machine the collector may get no processor for that long.
void let_collect(TestHeap& test, NativeMutator& m) {
  if (test.heap->pages_in_use() <= pages_for_bytes(test.heap->geometry().max_bytes / 8 * 5)) return;
  m.park();
  test.heap->rest();  // until the cycle under way, if there is one, is over
  m.unpark();
}

TEST(trees_that_die_together_are_allocated_over_without_a_flip) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  constexpr u32 kKept = 14, kShort = 10;  // 786 KB live, 49 KB each
  m.push(build_tree(m, kKept, 1));
  u32 wrong = 0;
  const auto build_trees = [&] {
    for (u32 i = 0; i < 2'000; i++) {
      wrong += intact_nodes(m, build_tree(m, kShort, 1), kShort, 1) != (2u << kShort) - 1;
      let_collect(test, m);
    }
  };
  build_trees();  // 98 MB through 32 MiB
  // What is allocated from remark until the runs are given out does not pile up. On a busy machine the collector may lose its
  // processor just then; not time after time.
  const Statistics& statistics = test.heap->statistics;
  bool level = false;
  for (u32 attempt = 0; attempt < 6 && !level; attempt++) {
    const u32 high = test.heap->moving.top;
    const u64 flips = statistics.flips.load();
    build_trees();
    // A compaction says nothing about it.
    level = statistics.flips.load() != flips || test.heap->moving.top < high + pages_for_bytes(8 * kMiB);
  }
  CHECK(level);
  CHECK_EQ(wrong, 0u);
  CHECK_EQ(intact_nodes(m, m.root(0), kKept, 1), (2u << kKept) - 1);
  CHECK(statistics.collections.load() >= 4);
  CHECK(2 * statistics.flips.load() < statistics.collections.load());
  CHECK(statistics.pagesReused.load() > pages_for_bytes(32 * kMiB));
  m.park();
  CHECK_EQ(test.heap->verification.take_violation(), std::string());
  m.unpark();
}

TEST(garbage_that_leaves_holes_for_nothing_is_compacted) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 128);
  constexpr u32 kRounds = 100;
  for (u32 round = 0; round < kRounds; round++) {  // every second one lives, to the end: holes of three granules
    m.push(0);
    build_list(m, round, 5'000, 1);
    CHECK(list_intact(m, round, 5'000));
    let_collect(test, m);
  }
  for (u32 round = 0; round < kRounds; round++) CHECK(list_intact(m, round, 5'000));
  CHECK(test.heap->statistics.flips.load() >= 1);
}

#ifdef GLISSADE_SANITIZE
constexpr u32 kScale = 8;  // ThreadSanitizer keeps hundreds of bytes for every word that has been stored to atomically
#else
constexpr u32 kScale = 1;
#endif

HeapOptions scaled_heap() {
  HeapOptions options = small_heap();
  options.max_bytes /= kScale;
  options.min_bytes /= kScale;
  return options;
}

/// A table of lists, of which one after the other is replaced; they lie between each other.
class Lists {
 public:
  static constexpr u32 kLists = 10'000 / kScale, kLength = 40;  // 9.6 MB in 32 MiB

  Lists(TestHeap& test, NativeMutator& m) : test_(test), m_(m) {
    table_ = m.push(0);
    made_ = m.push(0);
    m.set_root(table_, m.alloc_refs(kLists));
    for (u32 list = 0; list < kLists; list++) replace(list);
  }
  void replace(u32 list) {
    build_list(m_, made_, kLength, 0);
    m_.store_ref(m_.root(table_) + 2 + list, m_.root(made_));
    let_collect(test_, m_);
  }
  void replace_some(u32 count) {
    for (u32 i = 0; i < count; i++) replace(random_.below(kLists));
  }
  u32 intact() {
    u32 intact = 0;
    for (u32 list = 0; list < kLists; list++) {
      m_.set_root(made_, m_.load(m_.root(table_) + 2 + list));
      intact += list_intact(m_, made_, kLength);
    }
    return intact;
  }

 private:
  TestHeap& test_;
  NativeMutator& m_;
  Random random_{5};
  u32 table_, made_;
};

TEST(objects_are_allocated_into_the_holes_that_others_left_without_a_flip) {
  TestHeap test(scaled_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  Lists lists(test, m);
  lists.replace_some(150'000 / kScale);  // 144 MB through 32 MiB
  const Statistics& statistics = test.heap->statistics;
  CHECK_EQ(lists.intact(), Lists::kLists);
  CHECK(statistics.collections.load() >= 4);
  CHECK(2 * statistics.flips.load() < statistics.collections.load());
  CHECK(statistics.holesReused.load() > 30'000 / kScale);
  m.park();
  CHECK_EQ(test.heap->verification.take_violation(), std::string());
  m.unpark();
}

TEST(gaps_between_live_granules_are_found_wherever_they_lie_in_a_block) {
  Random random{11};
  u32 wrong = 0, found = 0;
  for (u32 round = 0; round < 20'000; round++) {
    // Words with few and with many bits, and with long rows.
    u64 live = random.next();
    for (u32 i = random.below(4); i > 0; i--) live &= random.next();
    if (round % 3 == 0) live &= ~((u64{1} << random.below(64)) - 1) | random.below(8);
    if (live == 0) continue;
    const u32 length = 1 + random.below(63);
    u64 expected = 0;
    u32 last = 64;  // the last live granule
    for (u32 at = 0; at < 64; at++) {
      if (!(live >> at & 1)) continue;
      if (last < 64 && at - last - 1 >= length) expected |= u64{1} << (last + 1);
      last = at;
    }
    wrong += gaps_in_live(live, length) != expected || end_of_live(live) != last + 1;
    found += expected != 0;
  }
  CHECK_EQ(wrong, 0u);
  CHECK(found > 1'000);
}

/// A table of objects of one length that are replaced at random.
class Items {
 public:
  Items(TestHeap& test, NativeMutator& m, u32 bytes) : test_(test), m_(m), bytes_(bytes), count_(kLive / kScale / (bytes + 8)) {
    table_ = m.push(m.alloc_refs(count_));
    for (u32 i = 0; i < count_; i++) replace(i);
  }
  void replace_some(u32 count) {
    for (u32 i = 0; i < count; i++) replace(random_.below(count_));
  }
  u32 intact() const {
    u32 intact = 0;
    for (u32 i = 0; i < count_; i++) intact += m_.load(m_.load(m_.root(table_) + 2 + i) + 2) == i;
    return intact;
  }
  u32 count() const { return count_; }

 private:
  static constexpr u32 kLive = 10 * kMiB;

  void replace(u32 i) {
    const u32 item = m_.alloc_bytes(bytes_);
    m_.store(item + 2, i);
    m_.store_ref(m_.root(table_) + 2 + i, item);
    let_collect(test_, m_);
  }

  TestHeap& test_;
  NativeMutator& m_;
  u32 bytes_, count_, table_;
  Random random_{7};
};

TEST(holes_for_one_object_are_allocated_into_where_there_are_no_others) {
  for (const u32 bytes : {24u, 48u, 120u, 248u}) {
    TestHeap test(scaled_heap());
    REQUIRE(test.heap);
    NativeMutator m(test, 64);
    Items items(test, m, bytes);
    items.replace_some(2 * items.count());
    const Statistics& statistics = test.heap->statistics;
    const u64 cycles = statistics.collections.load(), flips = statistics.flips.load(), holes = statistics.holesReused.load();
    items.replace_some(12 * items.count());
    CHECK_EQ(items.intact(), items.count());
    CHECK(statistics.collections.load() >= cycles + 4);
    CHECK(4 * (statistics.flips.load() - flips) <= statistics.collections.load() - cycles);
    CHECK(statistics.holesReused.load() > holes + items.count());
    m.park();
    CHECK_EQ(test.heap->verification.take_violation(), std::string());
    m.unpark();
  }
}

TEST(holes_that_are_shorter_than_what_is_allocated_are_compacted_away) {
  HeapOptions options = scaled_heap();
  options.min_bytes = options.max_bytes;  // no cycle while the short ones are made
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  const u32 filled = m.push(0);
  // Of short objects every second one dies; what is allocated from then on is twice as long.
  const u32 kept = static_cast<u32>(8 * kMiB / kScale / 64);
  m.set_root(filled, m.alloc_refs(kept));
  for (u32 i = 0; i < kept; i++) {
    const u32 item = m.alloc_bytes(24);
    m.store(item + 2, i);
    m.store_ref(m.root(filled) + 2 + i, item);
    m.alloc_bytes(24);
  }
  Items items(test, m, 56);
  const Statistics& statistics = test.heap->statistics;
  u32 too_short = 0;
  for (u32 round = 0; round < 8; round++) {
    items.replace_some(items.count() / 2);
    m.park();
    test.heap->rest();
    for (const Hole& hole : test.heap->moving.dead.holes()) too_short += hole.granules < 64 / kGranuleSize;
    m.unpark();
  }
  CHECK_EQ(too_short, 0u);
  CHECK(statistics.flips.load() >= 1);
  u32 intact = 0;
  for (u32 i = 0; i < kept; i++) intact += m.load(m.load(m.root(filled) + 2 + i) + 2) == i;
  CHECK_EQ(intact, kept);
  CHECK_EQ(items.intact(), items.count());
}

TEST(the_usual_need_leans_to_the_longer_objects) {
  Needs needs;
  for (u32 i = 0; i < 15; i++) needs.note(4);
  CHECK(!needs.known());
  needs.note(4);
  CHECK(needs.known());
  CHECK_EQ(needs.usual(), 4u);
  for (u32 i = 0; i < 4; i++) needs.note(100);
  CHECK_EQ(needs.usual(), (16u * 16 + 4 * 10'000) / (16 * 4 + 4 * 100));
}

TEST(holes_that_the_programs_objects_do_not_fit_into_are_compacted_away) {
  TestHeap test(scaled_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  Lists lists(test, m);
  lists.replace_some(20'000 / kScale);
  const Statistics& statistics = test.heap->statistics;
  const u32 held = m.push(0);
  // A program that meets the end of its memory is compacted for, too, having been stalled. On a busy machine it may be: not time after time.
  bool in_time = false;
  for (u32 attempt = 0; attempt < 6 && !in_time; attempt++) {
    const u64 flips = statistics.flips.load(), stalls = statistics.allocationStalls.load();
    for (u32 i = 0; i < 5'000 / kScale; i++) {  // 100 MB of what is longer than any hole, a list for each
      m.set_root(held, m.alloc_bytes(20'000));
      lists.replace_some(1);
    }
    in_time = statistics.flips.load() - flips > 2 * (statistics.allocationStalls.load() - stalls);
  }
  CHECK(in_time);
  CHECK_EQ(lists.intact(), Lists::kLists);
}

TEST(holes_are_allocated_into_again_some_cycles_after_objects_did_not_fit_into_them) {
  TestHeap test(scaled_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  Lists lists(test, m);
  lists.replace_some(20'000 / kScale);
  const Statistics& statistics = test.heap->statistics;
  const u32 held = m.push(0);
  u64 flips = statistics.flips.load();
  for (u32 i = 0; i < 200'000 / kScale && statistics.flips.load() == flips; i++) {
    m.set_root(held, m.alloc_bytes(20'000));
    lists.replace_some(1);
  }
  CHECK(statistics.flips.load() > flips);
  m.set_root(held, 0);
  const u64 holes = statistics.holesReused.load();
  for (const u64 cycles = statistics.collections.load(); statistics.collections.load() < cycles + 40 && statistics.holesReused.load() < holes + 1'000;) lists.replace_some(1'000);
  CHECK(statistics.holesReused.load() >= holes + 1'000);
  CHECK_EQ(lists.intact(), Lists::kLists);
}

TEST(dead_space_knows_how_much_of_it_is_left_whatever_is_taken) {
  DeadSpace dead;
  for (const Extent run : {Extent{10, 3}, {20, 1}, {30, 6}}) dead.add_run(run);
  for (const Hole hole : {Hole{50 * kGranulesPerPage, 40}, {60 * kGranulesPerPage, 200}, {70 * kGranulesPerPage, kGranulesPerPage}}) dead.add_hole(hole);
  CHECK_EQ(dead.granules(), 11 * u64{kGranulesPerPage} + 40 + 200);
  CHECK_EQ(dead.pages(), 11u);
  Extent run = dead.take_run(1, 2);
  CHECK(run.first == 10 && run.pages == 2);
  CHECK_EQ(dead.pages(), 9u);
  run = dead.take_run(2, 4);  // one page of the first run and the second run are too short: lost
  CHECK(run.first == 30 && run.pages == 4);
  CHECK_EQ(dead.pages(), 3u);
  CHECK_EQ(dead.take_run(3, 3).pages, 0u);
  CHECK_EQ(dead.pages(), 1u);
  CHECK(dead.has_holes() && dead.next_hole().granules == 40);
  const Hole hole = dead.take_hole(100);  // the first hole waits for something shorter
  CHECK(hole.first == 60 * kGranulesPerPage && hole.granules == 200);
  CHECK_EQ(dead.pages(), 1u);
  CHECK_EQ(dead.take_hole(kGranulesPerPage).granules, kGranulesPerPage);
  CHECK_EQ(dead.pages(), 0u);
  CHECK_EQ(dead.take_hole(1).granules, 40u);
  CHECK(!dead.has_holes());
  CHECK_EQ(dead.take_hole(1).granules, 0u);
}

TEST(holes_of_dense_runs_that_became_fillers_are_not_allocated_into_if_nothing_moves_after_all) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  const Heap& heap = *test.heap;
  // Forty pages half of which is dead, in holes too short for anything; then a run that is dense but for a few holes in which
  // objects fit. To compact both wins too little for a flip, and the holes are less than three quarters of it.
  m.push(0);
  build_list(m, 0, 40 * kPageSize / 48, 1);
  constexpr u32 kMessages = 3'200, kBytes = 296, kDead = 50;
  const u32 table = m.push(m.alloc_refs(kMessages));
  for (u32 i = 0; i < kMessages; i++) {
    const u32 message = m.alloc_bytes(kBytes);
    m.store_ref(m.root(table) + 2 + i, i % kDead ? message : 0);
  }
  let_a_cycle_begin(test, m);
  CHECK_EQ(heap.statistics.flips.load(), 0u);
  CHECK_EQ(heap.statistics.flipsSkipped.load(), 1u);
  u32 marked = 0;
  for (u32 i = 0; i < kMessages / kDead; i++) marked += heap.blocks.is_live(heap.granule({m.alloc_bytes(kBytes)}));
  // What is born between two cycles has no mark: the next one, if it is young, would take it for traced.
  CHECK_EQ(marked, 0u);
}

TEST(large_objects_find_room_though_what_is_free_lies_in_holes) {
  TestHeap test(scaled_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 256);
  Lists lists(test, m);
  lists.replace_some(20'000 / kScale);
  const u64 flips = test.heap->statistics.flips.load();
  constexpr u32 kHeld = 140 / kScale;  // 14 MB beside the lists' 9.6 and the holes among them
  const u32 held = m.top;
  while (m.top < held + kHeld) m.push(0);
  for (u32 i = 0; i < 3 * kHeld; i++) {
    const u32 large = m.alloc_refs(25'000);
    CHECK(large != 0);
    m.set_root(held + i % kHeld, large);
    lists.replace_some(20);
  }
  CHECK(test.heap->statistics.flips.load() > flips);
  CHECK_EQ(lists.intact(), Lists::kLists);
}

TEST(a_stack_holds_nothing_above_its_top_when_memory_is_given_out_again) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  constexpr u32 kSlots = 8192;  // eight pages of root slots
  NativeMutator m(test, kSlots);
  while (m.top < kSlots) m.push(m.alloc_node());
  m.pop(kSlots - 10);
  const Statistics& statistics = test.heap->statistics;
  for (u64 begun = statistics.flipsSkipped.load(); statistics.flipsSkipped.load() < begun + 2;) m.alloc_node();
  CHECK(test.heap->pages_allocated() > test.heap->moving.held_pages());
  u32 stale = 0;
  for (u32 slot = m.top; slot < kSlots; slot++) stale += m.root(slot) != 0;
  CHECK_EQ(stale, 0u);
  for (u32 slot = 0; slot < m.top; slot++) CHECK(m.is_node(m.root(slot)));
}

TEST(a_stack_holds_nothing_above_its_top_after_a_cycle_in_which_only_large_objects_died) {
  TestHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  constexpr u32 kSlots = 40'000;
  const u32 died = m.push(m.alloc_refs(kSlots));
  const u32 large = m.root(died);
  m.pop();
  const Statistics& statistics = test.heap->statistics;
  m.collect();
  CHECK_EQ(statistics.flips.load(), 0u);
  CHECK_EQ(statistics.largeFreed.load(), 1u);
  // The next one gets its place, and a top above a slot that has not been stored: a marker would know it before its time.
  REQUIRE(step_to(test, m, layout::Phase::Mark));
  CHECK_EQ(m.alloc_refs(kSlots), large);
  CHECK_EQ(m.root(died), 0u);
}

TEST(objects_of_every_length_fit_into_runs_of_dead_pages) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  constexpr u32 kHeld = 8;
  for (u32 i = 0; i < kHeld; i++) m.push(m.alloc_bytes(0));
  Random random(7);
  u32 dirty = 0;
  for (u32 i = 0; i < 60'000; i++) {
    // Mostly short, some just below the size of large objects: their need is as long as the shortest run.
    const u32 length = i % 16 ? random.below(2'000) : 30'000 + random.below(2'700);
    const u32 object = m.alloc_bytes(length);
    for (u32 word = 0; word < (length + 3) / 4; word += 97) dirty += m.load(object + 2 + word) != 0;
    for (u32 word = 0; word < (length + 3) / 4; word++) m.store(object + 2 + word, ~0u);
    m.set_root(random.below(kHeld), object);
  }
  CHECK_EQ(dirty, 0u);
  CHECK(test.heap->statistics.pagesReused.load() > 0);
}

}  // namespace
