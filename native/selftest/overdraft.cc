// The overdraft (native/core/overdraft.h): faults here and there take buffers and free nothing. What they may take
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

}  // namespace
