// Retention (native/core/memory/retention.h): memory that a heap has needed and needs no longer goes back to the system.
#include "core/memory/retention.h"

#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

constexpr u32 kNodes = 1'000'000;  // 24 MB
constexpr u32 kMost = pages_for_bytes(12 * kMiB);

HeapOptions forgetful_heap() {
  HeapOptions options = small_heap();
  options.retention_ms = 0;
  return options;
}

u32 resident_pages(const Heap& heap) {
  u32 pages = 0;
  for (u32 page = 0; page < heap.geometry().moving_pages(); page++) pages += glissade::selftest::resident(heap.space.to_page({page}));
  return pages;
}

/// Until the cycle under way, if there is one, is over.
void let_end(TestHeap& test, NativeMutator& m) {
  m.park();
  test.heap->rest();
  m.unpark();
}

/// In root 0 a list of all nodes, then of one in `every`. No cycle has seen both.
void build_and_drop(TestHeap& test, NativeMutator& m, u32 every) {
  m.push(0);
  build_list(m, 0, kNodes, 0);
  let_end(test, m);
  for (u32 ref = m.root(0); ref != 0;) {
    u32 next = ref;
    for (u32 i = 0; i < every && next != 0; i++) next = m.left(next);
    m.set_left(ref, next);
    ref = next;
  }
}

u32 list_length(const NativeMutator& m) {
  u32 length = 0;
  for (u32 ref = m.root(0); ref != 0; ref = m.left(ref)) {
    if (!m.is_node(ref) || !m.key_intact(ref)) return 0;
    length++;
  }
  return length;
}

/// Garbage, until `done` or for so many cycles that nothing is to be expected any more.
template <typename Done>
void allocate_until(TestHeap& test, NativeMutator& m, Done&& done) {
  constexpr u32 kMostCycles = 12;
  const u64 begun = test.heap->statistics.collections.load();
  while (!done() && test.heap->statistics.collections.load() < begun + kMostCycles) {
    for (u32 i = 0; i < 50'000; i++) m.alloc_node();  // 1.2 MB
    let_end(test, m);
  }
}

TEST(what_was_needed_once_is_forgotten_by_half_and_at_once_when_asked) {
  constexpr u64 kSecond = 1'000'000'000;
  Retention retention;
  retention.note(100 * kSecond, 1000, 2 * kSecond);
  CHECK_EQ(retention.kept(), 1000u);
  retention.note(102 * kSecond, 10, 2 * kSecond);
  CHECK_EQ(retention.kept(), 500u);
  retention.note(106 * kSecond, 10, 2 * kSecond);
  CHECK_EQ(retention.kept(), 125u);
  CHECK(retention.spread_out(251));
  CHECK(!retention.spread_out(250));
  retention.note(106 * kSecond, 300, 2 * kSecond);
  CHECK_EQ(retention.kept(), 300u);
  retention.note(106 * kSecond, 10, 0);
  CHECK_EQ(retention.kept(), 10u);
}

TEST(a_collection_that_somebody_asks_for_gives_back_what_the_heap_will_not_need) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  build_and_drop(test, m, 40);
  CHECK(resident_pages(*test.heap) > pages_for_bytes(20 * kMiB));
  m.collect();
  CHECK(resident_pages(*test.heap) < kMost);
  CHECK(test.heap->statistics.pagesReturned.load() > pages_for_bytes(8 * kMiB));
  CHECK_EQ(list_length(m), kNodes / 40);
}

TEST(survivors_that_lie_far_apart_are_compacted_though_what_is_dead_between_them_would_do) {
  TestHeap test(forgetful_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  build_and_drop(test, m, 40);
  const u64 flips = test.heap->statistics.flips.load();
  allocate_until(test, m, [&] { return test.heap->statistics.flips.load() > flips && resident_pages(*test.heap) < kMost; });
  CHECK(test.heap->statistics.flips.load() > flips);
  CHECK(resident_pages(*test.heap) < kMost);
  CHECK_EQ(list_length(m), kNodes / 40);
}

TEST(free_pages_above_what_lives_go_back_without_a_flip) {
  TestHeap test(forgetful_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  build_and_drop(test, m, kNodes);
  m.set_root(0, 0);
  const Statistics& statistics = test.heap->statistics;
  const u64 flips = statistics.flips.load(), stalls = statistics.allocationStalls.load();
  const u64 returned = statistics.pagesReturned.load();
  allocate_until(test, m, [&] { return resident_pages(*test.heap) < kMost; });
  CHECK(resident_pages(*test.heap) < kMost);
  CHECK(statistics.pagesReturned.load() > returned);
  // On a busy machine the program may outrun the collector: then it is compacted for.
  CHECK(statistics.flips.load() - flips <= statistics.allocationStalls.load() - stalls);
}

TEST(a_program_that_waits_for_memory_forgets_nothing_that_it_needed) {
  HeapOptions options = small_heap();
  options.retention_ms = 3'600'000;
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  build_and_drop(test, m, 40);
  // 24 MB are taken, nearly all of it by what is dead: 10 more have to wait for a collection.
  const u64 stalls = test.heap->statistics.allocationStalls.load();
  for (u32 i = 0; i < 4 && test.heap->statistics.allocationStalls.load() == stalls; i++) m.alloc_bytes(10 * kMiB);
  let_end(test, m);
  CHECK(test.heap->statistics.allocationStalls.load() > stalls);
  // The 24 at the least are kept, the 10 among them now, which lie elsewhere. How many more hangs on when the first cycle saw the list.
  CHECK(resident_pages(*test.heap) > kMost);
  CHECK_EQ(list_length(m), kNodes / 40);
}

TEST(memory_that_was_needed_a_moment_ago_stays) {
  HeapOptions options = small_heap();
  options.retention_ms = 3'600'000;
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  build_and_drop(test, m, 40);
  const u64 cycles = test.heap->statistics.collections.load();
  allocate_until(test, m, [] { return false; });
  CHECK(test.heap->statistics.collections.load() >= cycles + 4);
  CHECK(resident_pages(*test.heap) > pages_for_bytes(20 * kMiB));
  CHECK_EQ(list_length(m), kNodes / 40);
}

}  // namespace
