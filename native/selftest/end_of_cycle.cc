// What a cycle leaves behind when it is over: no request, no brake on allocation, no memory of its own; and what a closed heap
// leaves behind: nothing.
#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::selftest;
using namespace glissade::testing;

FILE_NEEDS(why_no_userfaultfd);

namespace {

/// Until the cycle under way, if there is one, is over.
void let_end(TestHeap& test, NativeMutator& m) {
  m.park();
  test.heap->rest();
  m.unpark();
}

u32 resident_pages(const u8* begin, std::size_t bytes) {
  u32 pages = 0;
  for (std::size_t at = 0; at < bytes; at += kPageSize) pages += resident(begin + at);
  return pages;
}

bool is_zero(const void* begin, std::size_t bytes) {
  const u64* words = static_cast<const u64*>(begin);
  for (std::size_t i = 0; i < bytes / 8; i++) {
    if (words[i] != 0) return false;
  }
  return true;
}

TEST(cycles_that_begin_by_themselves_after_one_that_was_asked_for_do_not_compact_like_it) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  build_list(m, 0, 100'000, 1);
  m.collect();
  const Statistics& s = test.heap->statistics;
  const u64 flips = s.flips.load(), skipped = s.flipsSkipped.load();
  CHECK(flips > 0);
  for (u32 cycle = 0; cycle < 3; cycle++) let_a_cycle_begin(test, m);
  // All that is dead is dead pages: nobody has to move for them.
  CHECK_EQ(s.flips.load(), flips);
  CHECK(s.flipsSkipped.load() >= skipped + 3);
  CHECK(list_intact(m, 0, 100'000));
}

TEST(between_cycles_allocation_is_free_whatever_the_last_one_was) {
  constexpr u64 kFree = ~u64{0};
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  const auto allowance = [&] { return test.heap->pacing.allowance(test.heap->pages_allocated()); };
  CHECK_EQ(allowance(), kFree);
  const Statistics& s = test.heap->statistics;
  m.push(0);
  build_list(m, 0, 100'000, 1);
  const u64 flips = s.flips.load();
  m.collect();
  CHECK(s.flips.load() > flips);
  CHECK_EQ(allowance(), kFree);
  const u64 skipped = s.flipsSkipped.load();
  let_a_cycle_begin(test, m);
  CHECK(s.flipsSkipped.load() > skipped);
  CHECK_EQ(allowance(), kFree);
  Injected injected("mremap:ENOMEM=1");
  build_list(m, 0, 100'000, 1);
  m.collect();
  CHECK(s.flipsCancelled.load() > 0);
  CHECK_EQ(allowance(), kFree);
}

TEST(where_the_first_flip_is_refused_the_holes_are_allocated_into) {
  for (const u32 bytes : {248u, 40u}) {
    TestHeap test(small_heap());
    REQUIRE(test.heap);
    NativeMutator m(test, 64);
    constexpr u32 kKept = 2'000;
    const u32 table = m.push(m.alloc_refs(kKept));
    for (u32 i = 0; i < kKept; i++) {
      m.alloc_bytes(bytes);
      const u32 item = m.alloc_bytes(bytes);
      m.store_ref(m.root(table) + 2 + i, item);
    }
    // The cycle knows nothing of what the program allocates but that.
    Injected injected("mremap:ENOMEM=1");
    m.collect();
    const Statistics& s = test.heap->statistics;
    CHECK_EQ(s.flipsCancelled.load(), 1u);
    CHECK_EQ(s.holesReused.load(), 0u);
    for (u32 i = 0; i < kKept; i++) m.alloc_bytes(bytes);
    CHECK_EQ(s.holesReused.load() > kKept / 2, bytes == 248);
  }
}

TEST(a_program_that_was_slowed_because_it_kept_remark_from_ending_is_not_slowed_after_it) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  const Statistics& s = test.heap->statistics;
  // A reference on each of 2000 cards, all of them written again between two safepoints.
  constexpr u32 kSlots = 2'000 * layout::kCardBytes / 4;
  m.push(m.alloc_refs(kSlots));
  m.push(m.alloc_node());
  {
    Collecting collecting(test);
    while (s.remarkRetries.load() == 0) {
      for (u32 slot = 0; slot < kSlots; slot += layout::kCardBytes / 4) m.store_ref(m.root(0) + 2 + slot, m.root(1));
      m.poll();
    }
    collecting.stop(m);
  }
  let_end(test, m);
  const u64 cycles = s.collections.load(), stalls = s.allocationStall_ns.count(), grants = s.tlabGrants.load();
  while (s.tlabGrants.load() < grants + 4) m.alloc_node();
  CHECK_EQ(s.collections.load(), cycles);
  CHECK_EQ(s.allocationStall_ns.count(), stalls);
}

TEST(large_objects_that_died_at_the_boundary_give_it_back_to_the_moving_space) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  const u32 pages = test.heap->geometry().moving_pages();
  CHECK_EQ(test.heap->moving.large_low, pages);
  constexpr u32 kObject = 10;  // pages
  for (u32 i = 0; i < 6; i++) m.push(m.alloc_refs(kObject * kPageSize / 4 - 2));
  CHECK_EQ(test.heap->moving.large_low, pages - 6 * kObject);
  m.set_root(4, 0);  // one in the midst of others, then that below it, then all
  m.collect();
  CHECK_EQ(test.heap->moving.large_low, pages - 6 * kObject);
  m.set_root(5, 0);
  m.collect();
  CHECK_EQ(test.heap->moving.large_low, pages - 4 * kObject);
  for (u32 i = 0; i < 4; i++) m.set_root(i, 0);
  m.collect();
  CHECK_EQ(test.heap->moving.large_low, pages);
  CHECK_EQ(test.heap->pages_in_use(), u64{test.heap->moving.top});
}

void keeps_nothing_after_a_compaction(Relocation relocation) {
  HeapOptions options = stepping_heap();
  options.overdraft = 8;
  options.relocation = relocation;
  TestHeap test(options);
  REQUIRE(test.heap);
  Heap& heap = *test.heap;
  const Geometry& g = heap.geometry();
  NativeMutator m(test, 64);
  m.push(0);
  u64 peak = 0;
  for (const u32 length : {100'000u, 2'000u}) {
    m.set_root(0, 0);
    for (u32 i = 0; i < length; i++) {
      const u32 node = m.alloc_node();
      m.set_key(node, i);
      m.init_left(node, m.root(0));
      m.set_root(0, node);
      if (i % 16 == 0) m.alloc_node();
    }
    REQUIRE(step_to(test, m, layout::Phase::Compact));
    CHECK(resident_pages(heap.space.from_space(), g.moving_bytes) > 0);
    // Every other page: what each is made from is needed by those beside it.
    const Forwarding& f = heap.forwarding;
    for (u32 page = f.to_begin.page(); page < f.compact_end.page(); page += 2) m.load(heap.ref(PageIndex{page}.first_granule()).word);
    while (heap.rest() != Rest::Close) {
      m.park();
      heap.step(1);
      m.unpark();
    }
    const u32 taken = heap.compaction.overflow_used();
    if (length > 10'000) CHECK(taken > 0);
    REQUIRE(step_to(test, m, layout::Phase::Idle));
    CHECK_EQ(heap.compaction.overflow_used(), 0u);
    CHECK_EQ(resident_pages(heap.space.from_space(), g.flipped_bytes), 0u);
    CHECK_EQ(resident_pages(heap.space.buffer(g.first_overflow()), std::size_t{g.overflow_pages} << kPageShift), 0u);
    // The most that one cycle took, not what the last one did.
    peak = std::max<u64>(peak, taken);
    CHECK_EQ(heap.statistics.buffersPeak.load(), peak);
    CHECK(list_intact(m, 0, length));
  }
}

TEST(neither_from_space_nor_what_faults_took_is_kept_after_a_compaction_by_move) { keeps_nothing_after_a_compaction(Relocation::Move); }
TEST(neither_from_space_nor_what_faults_took_is_kept_after_a_compaction_by_copy) { keeps_nothing_after_a_compaction(Relocation::Copy); }

TEST(a_heap_that_copies_gives_evacuated_pages_back_on_the_way) {
  HeapOptions options = stepping_heap();
  options.relocation = Relocation::Copy;
  options.max_bytes = options.min_bytes = 64 * kMiB;
  options.verify = 0;
  TestHeap test(options);
  REQUIRE(test.heap);
  Heap& heap = *test.heap;
  NativeMutator m(test, 64);
  constexpr u32 kNodes = 1'000'000;  // 24 MB, and 6 that die among them
  m.push(0);
  for (u32 i = 0; i < kNodes; i++) {
    const u32 node = m.alloc_node();
    m.set_key(node, i);
    m.init_left(node, m.root(0));
    m.set_root(0, node);
    if (i % 4 == 0) m.alloc_node();
  }
  REQUIRE(step_to(test, m, layout::Phase::Compact));
  const u32 before = resident_pages(heap.space.from_space(), heap.geometry().moving_bytes);
  CHECK(before > pages_for_bytes(28 * kMiB));
  for (bool at_close = false; !at_close; at_close = heap.rest() == Rest::Close) {
    m.park();
    heap.step(1);
    m.unpark();
  }
  // Or the heap would exist twice. What the collector keeps for its next pages is 8 MiB and a little more.
  CHECK(resident_pages(heap.space.from_space(), heap.geometry().moving_bytes) < pages_for_bytes(10 * kMiB));
  m.collect();
  CHECK(list_intact(m, 0, kNodes));
}

TEST(a_closed_heap_reads_as_zeros_but_for_its_control_words_and_holds_no_memory) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  Heap& heap = *test.heap;
  const Geometry& g = heap.geometry();
  {
    NativeMutator m(test, 4096);
    m.push(0);
    build_list(m, 0, 50'000, 1);
    m.push(0);  // an even slot for what is large: see roots.cc
    m.push(m.alloc_refs(50'000));
    m.push(m.alloc_bytes(100'000));
    m.store(m.root(3) + 2, 1);
    m.collect();
    m.store_ref(m.root(2) + 2, m.root(0));
    m.set_left(m.root(0), m.left(m.root(0)));
    const i32 table = heap.create_area(layout::AreaKind::RefTable, 16, -1);
    AreaView area;
    REQUIRE(table >= 0 && heap.roots.view(static_cast<u32>(table), area));
    area.words[0] = m.root(0);
    heap.space.root_cards()[area.first_word >> layout::kCardShift] = 1;
    m.publish_top();
  }
  heap.close();
  CHECK_EQ(layout::load_word(heap.space.control()[layout::kHeapStateWord]), 1);
  CHECK_EQ(resident_pages(heap.space.heap_buffer(), g.heap_buffer_bytes()), 0u);
  CHECK_EQ(resident_pages(heap.space.roots(), g.root_bytes), 0u);
  CHECK_EQ(resident_pages(heap.space.from_space(), g.flipped_bytes), 0u);
  CHECK_EQ(resident_pages(heap.space.buffer(g.first_overflow()), std::size_t{g.overflow_pages} << kPageShift), 0u);
  CHECK(is_zero(heap.space.cards(), g.card_bytes + g.root_card_bytes));
  CHECK(is_zero(heap.space.heap_buffer(), kMiB));
  CHECK(is_zero(heap.space.roots(), kMiB));
  CHECK(!heap.collect());
}

}  // namespace
