// Reuse in place (native/core/reuse.cc): garbage that is whole pages is allocated into again without a flip; garbage that
// is not is compacted; what a root stack held above its top is gone before memory is given out again.
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
      // A program that runs out of memory has it compacted. On a busy machine the collector may get no processor for that long.
      if (test.heap->pages_in_use() > pages_for_bytes(20 * kMiB)) {
        m.park();
        test.heap->rest();  // until the cycle under way, if there is one, is over
        m.unpark();
      }
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

TEST(garbage_between_what_lives_is_compacted) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  constexpr u32 kRounds = 40;
  for (u32 round = 0; round < kRounds; round++) {  // one in twenty lives, to the end: no page is dead
    m.push(0);
    build_list(m, round, 5'000, 19);
    CHECK(list_intact(m, round, 5'000));
  }
  for (u32 round = 0; round < kRounds; round++) CHECK(list_intact(m, round, 5'000));
  CHECK(test.heap->statistics.collections.load() >= 2);
  CHECK(test.heap->statistics.flips.load() >= 1);
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
  CHECK(test.heap->statistics.pagesReused.load() > 0);
  u32 stale = 0;
  for (u32 slot = m.top; slot < kSlots; slot++) stale += m.root(slot) != 0;
  CHECK_EQ(stale, 0u);
  for (u32 slot = 0; slot < m.top; slot++) CHECK(m.is_node(m.root(slot)));
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
