// The overdraft (native/core/compaction/overdraft.h): faults here and there take buffers and free nothing. What they may take
// from the kernel is bounded, in whatever order pages are touched.
#include <vector>

#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

TEST(pages_that_are_touched_at_random_take_no_more_memory_than_the_overdraft) {
  HeapOptions options = stepping_heap();
  options.min_bytes = options.max_bytes;
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  constexpr u32 kLists = 15, kLength = 25'000;  // 24 bytes a node, one in sixteen is dead: 9 MB, 2197 pages
  for (u32 list = 0; list < kLists; list++) m.push(0);
  for (u32 i = 0; i < kLength; i++) {
    for (u32 list = 0; list < kLists; list++) {
      const u32 node = m.alloc_node();
      m.set_key(node, i);
      m.set_left(node, m.root(list));
      m.set_root(list, node);
    }
    m.alloc_node();
  }
  REQUIRE(step_to(test, m, layout::Phase::Compact));
  Heap& heap = *test.heap;
  const Forwarding& f = heap.forwarding;
  const u32 first = f.to_begin.index / kGranulesPerPage, pages = f.compact_end.index / kGranulesPerPage - first;
  CHECK(pages > 2'000);
  // Every other page, in random order, while the collector rests: what one is read from is read by those that are left out.
  Random random(11);
  std::vector<u32> order(pages / 2);
  for (u32 i = 0; i < order.size(); i++) order[i] = first + 2 * i;
  for (u32 i = 0; i < order.size(); i++) {
    std::swap(order[i], order[i + random.below(static_cast<u32>(order.size()) - i)]);
    m.load(heap.ref(Granule{order[i] * kGranulesPerPage}).word);
  }
  // Without mutators that repay it would be nearly all of these 1098.
  constexpr u32 kTolerated = 256, kMost = 2 * kTolerated, kOneFault = 1 + Overdraft::kRepaidInFault;
  const Statistics& statistics = heap.statistics;
  CHECK(heap.compaction.overflow_used() > kTolerated);
  CHECK(heap.compaction.overflow_used() <= kMost + kOneFault);
  const u64 in_faults = statistics.pagesBuiltBeside.load();
  CHECK(in_faults > 100);
  CHECK(in_faults < statistics.pagesBuiltByMutators.load());
  // The collector repays before it goes on in its order: one more rest.
  const u64 built = statistics.pagesBuilt.load();
  m.park();
  heap.step(1);
  m.unpark();
  const u64 beside = statistics.pagesBuiltBeside.load() - in_faults;
  CHECK(beside > 100);
  CHECK(beside <= statistics.pagesBuilt.load() - built);
  // It uses what comes free, and takes no more than a batch from the kernel.
  constexpr u32 kBatch = 64;
  CHECK(heap.compaction.overflow_used() <= kMost + kOneFault + kBatch);
  CHECK(step_to(test, m, layout::Phase::Idle));
  for (u32 list = 0; list < kLists; list++) CHECK(list_intact(m, list, kLength));
}

/// Lists whose nodes lie between each other, one node in sixteen dead: to compact them every page is built from two.
void fill(NativeMutator& m, u32 lists, u32 length) {
  for (u32 i = 0; i < length; i++) {
    for (u32 list = 0; list < lists; list++) {
      const u32 node = m.alloc_node();
      m.set_key(node, i);
      m.set_left(node, m.root(list));
      m.set_root(list, node);
    }
    m.alloc_node();
  }
}

TEST(an_overdraft_is_as_large_as_it_was_asked_for_and_is_paid_when_the_cycle_is_over) {
  constexpr u32 kTolerated = 16, kMost = 2 * kTolerated, kOneFault = 1 + Overdraft::kRepaidInFault;
  HeapOptions options = stepping_heap();
  options.min_bytes = options.max_bytes;
  options.overdraft = kTolerated;
  TestHeap test(options);
  REQUIRE(test.heap);
  Heap& heap = *test.heap;
  NativeMutator m(test, 64);
  constexpr u32 kLists = 15, kLength = 5'000;
  for (u32 list = 0; list < kLists; list++) m.push(0);
  const auto first = [&] { return heap.forwarding.to_begin.page(); };
  const auto touch_every_other = [&](u32 pages) {
    for (u32 page = first(); page < first() + 2 * pages; page += 2) m.load(heap.ref(PageIndex{page}.first_granule()).word);
  };
  const Statistics::Counter& built = heap.statistics.pagesBuiltBeside;
  fill(m, kLists, kLength);
  REQUIRE(step_to(test, m, layout::Phase::Compact));
  REQUIRE(heap.forwarding.compact_end.page() - first() > 300);
  touch_every_other(150);
  CHECK(heap.compaction.overflow_used() > kTolerated);
  CHECK(heap.compaction.overflow_used() <= kMost + 2 * kOneFault);
  CHECK(built.load() > 0);
  REQUIRE(step_to(test, m, layout::Phase::Idle));
  for (u32 list = 0; list < kLists; list++) CHECK(list_intact(m, list, kLength));
  // The next cycle owes nothing: pages may be had without their neighbours until the stock is empty and the overdraft used.
  for (u32 list = 0; list < kLists; list++) m.set_root(list, 0);
  fill(m, kLists, kLength);
  REQUIRE(step_to(test, m, layout::Phase::Compact));
  REQUIRE(heap.forwarding.compact_end.page() - first() > 300);
  const u64 before = built.load();
  touch_every_other(80);  // the stock is 64
  CHECK_EQ(built.load(), before);
  REQUIRE(step_to(test, m, layout::Phase::Idle));
  for (u32 list = 0; list < kLists; list++) CHECK(list_intact(m, list, kLength));
}

}  // namespace
