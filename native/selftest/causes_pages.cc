// Pages that are merged, pinned, locked, huge, empty or reclaimed; causes.h says how a cause is made.
#include "causes.h"

using namespace glissade;
using namespace glissade::selftest;
using namespace glissade::testing;

FILE_NEEDS(why_no_userfaultfd);

// ── merged, pinned, locked ────────────────────────────────────────────────────────────────────────────────────────

TEST(cause_merged_pages_are_busy) {
  Merging merging;
  if (!merging.running()) SKIP(kNoMerging);
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(64), from(64);
  std::memset(from.at, 77, from.bytes);
  REQUIRE_EQ(madvise(from.at, from.bytes, MADV_MERGEABLE), 0);
  if (!merging.merged(32)) SKIP("KSM did not get round to it");
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  u32 busy = 0;
  for (std::size_t i = 0; i < 64; i++) {
    UffdResult result{0, EAGAIN};
    while (result.error == EAGAIN) result = uffd.move(to.page(i), from.page(i), kPage);
    if (result.error == EBUSY) {
      busy++;
      CHECK(uffd.copy(to.page(i), from.page(i), kPage).ok());
    } else {
      CHECK(result.ok());
    }
    CHECK(to.holds(i, 77));
  }
  CHECK(busy > 0);
  from.page(0)[0] = 1;  // unmerges it
}

TEST(cause_merged_pages_of_a_heap_are_unmerged_by_the_flip) {
  Merging merging;
  if (!merging.running()) SKIP(kNoMerging);
  TestHeap test(with(Relocation::Auto));
  REQUIRE(test.heap);
  Payload payload(test, true);
  REQUIRE_EQ(madvise(test.heap->space.flipped(), test.heap->geometry().flipped_bytes, MADV_MERGEABLE), 0);
  // A page an array, and all alike.
  const bool merged = merging.merged(32);
  survives(test, payload);  // mremap breaks the sharing of whatever it moves
  if (!merged) SKIP("KSM did not get round to it");
}

TEST(cause_pages_of_a_heap_merged_after_the_flip_are_copied) {
  Merging merging;
  if (!merging.running()) SKIP(kNoMerging);
  HeapOptions options = with(Relocation::Auto);
  options.stepping = true;
  TestHeap test(options);
  REQUIRE(test.heap);
  Payload payload(test, true);
  payload.m.publish_top();
  REQUIRE(step_to(test, payload.m, layout::Phase::Compact));
  REQUIRE_EQ(madvise(test.heap->space.from_space(), test.heap->geometry().flipped_bytes, MADV_MERGEABLE), 0);
  const bool merged = merging.merged(32);
  payload.collect();
  CHECK(payload.intact());
  if (!merged) SKIP("KSM did not get round to it");
  CHECK(test.heap->statistics.pagesBusy.load() > 0);
  CHECK(test.heap->statistics.pagesCopied.load() >= test.heap->statistics.pagesBusy.load());
}

TEST(cause_pinned_pages_are_busy_until_the_ring_closes) {
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(4), from(4);
  from.fill(1);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  Pinned pinned(from.at, from.bytes);
  if (!pinned.pinned()) SKIP(kNoPinning);
  CHECK_EQ(uffd.move(to.page(0), from.page(0), kPage).error, EBUSY);
  CHECK(uffd.copy(to.page(0), from.page(0), kPage).ok());
  pinned.end();
  UffdResult result{0, EBUSY};
  // The ring is taken apart by a kernel thread, later.
  for (int i = 0; i < 6'000 && result.error == EBUSY; i++) {
    result = uffd.move(to.page(1), from.page(1), kPage);
    if (result.error == EBUSY) usleep(10'000);
  }
  CHECK(result.ok());
  CHECK(to.holds(1, 2));
}

TEST(cause_pinned_pages_of_a_heap_are_copied) {
  TestHeap test(with(Relocation::Auto));
  REQUIRE(test.heap);
  Payload payload(test);
  Pinned pinned(payload.at(), 64 * kPage);
  if (!pinned.pinned()) SKIP(kNoPinning);
  survives(test, payload);
  CHECK(test.heap->statistics.pagesBusy.load() > 0);
  pinned.end();
  payload.grow();
  survives(test, payload);
}

TEST(cause_locked_ranges_do_not_match_and_are_copied) {
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(2), from(2);
  from.fill(1);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  if (!lock_on_fault(from.at, from.bytes)) SKIP(kNoLocking);
  CHECK_EQ(uffd.move(to.page(0), from.page(0), kPage).error, EINVAL);
  CHECK(uffd.copy(to.page(0), from.page(0), kPage).ok());
  REQUIRE(lock_on_fault(to.at, to.bytes));
  CHECK(uffd.move(to.page(1), from.page(1), kPage).ok());
  CHECK(to.holds(1, 2));
}

TEST(cause_a_locked_heap_gives_large_objects_zeros_where_others_died) {
  TestHeap test(with(Relocation::Auto));
  REQUIRE(test.heap);
  NativeMutator m(test, 8);
  if (!lock_on_fault(test.heap->space.flipped(), test.heap->geometry().flipped_bytes)) SKIP(kNoLocking);
  constexpr u32 kSlots = 20'000;
  m.push(m.alloc_refs(kSlots));
  const u32 dead = m.root(0);
  for (u32 i = 0; i < kSlots; i++) m.store_ref(dead + 2 + i, dead);
  m.set_root(0, 0);
  // There is nothing to move, so no flip, which would take the lock away: the dead array's pages stay where they are.
  m.collect();
  CHECK_EQ(test.heap->statistics.flips.load(), 0u);
  CHECK_EQ(test.heap->statistics.largeFreed.load(), 1u);
  m.push(m.alloc_refs(kSlots));
  CHECK_EQ(m.root(1), dead);
  u32 other = 0;
  for (u32 i = 0; i < kSlots; i++) other += m.load(m.root(1) + 2 + i) != 0;
  CHECK_EQ(other, 0u);
}

TEST(cause_a_locked_heap_is_copied_once_and_moves_again) {
  TestHeap test(with(Relocation::Auto));
  REQUIRE(test.heap);
  Payload payload(test);
  if (!lock_on_fault(test.heap->space.flipped(), test.heap->geometry().flipped_bytes)) SKIP(kNoLocking);
  // mremap takes the lock along to from-space: no page of it matches the mapping that it left behind.
  survives(test, payload);
  CHECK(test.heap->statistics.pagesCopied.load() > 0);
  const u64 copied = test.heap->statistics.pagesCopied.load(), moved = test.heap->statistics.pagesMoved.load();
  payload.grow();
  survives(test, payload);
  CHECK(test.heap->statistics.pagesMoved.load() > moved);
  CHECK_EQ(test.heap->statistics.pagesCopied.load(), copied);
}

TEST(cause_a_heap_locked_in_part_loses_nothing) {
  TestHeap test(with(Relocation::Auto));
  REQUIRE(test.heap);
  Payload payload(test);
  if (!lock_on_fault(payload.at(), 16 * kPage)) SKIP(kNoLocking);
  for (u32 round = 0; round < 3; round++) {
    payload.collect();
    CHECK(payload.intact());
    payload.grow();
  }
}

// ── huge, empty, reclaimed ────────────────────────────────────────────────────────────────────────────────────────

TEST(cause_huge_pages_are_split_or_move_whole) {
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  constexpr std::size_t kHuge = HugeRange::kHuge;
  for (int advice : {MADV_HUGEPAGE, MADV_NOHUGEPAGE}) {
    HugeRange to(2, MADV_NOHUGEPAGE), from(2, advice);
    for (std::size_t at = 0; at < 2 * kHuge; at += kPage) std::memset(from.at + at, static_cast<int>(1 + at / kPage % 250), kPage);
    REQUIRE(uffd.register_missing(to.at, 2 * kHuge).ok());
    // The second unit in one piece, the first page by page from both ends.
    for (std::size_t done = 0; done < kHuge;) {
      const UffdResult result = uffd.move(to.at + kHuge + done, from.at + kHuge + done, kHuge - done);
      done += static_cast<std::size_t>(result.done);
      CHECK(result.ok() || result.error == EAGAIN);
      if (!result.ok() && result.error != EAGAIN) break;
    }
    for (std::size_t i = 0; i < kHuge / kPage; i++) {
      const std::size_t at = (i % 2 ? kHuge / kPage - 1 - i / 2 : i / 2) * kPage;
      UffdResult result{0, EAGAIN};
      while (result.error == EAGAIN) result = uffd.move(to.at + at, from.at + at, kPage);
      CHECK(result.ok());
    }
    u32 wrong = 0;
    for (std::size_t at = 0; at < 2 * kHuge; at += 64) wrong += touch(to.at + at) != 1 + at / kPage % 250;
    CHECK_EQ(wrong, 0u);
  }
}

TEST(cause_a_heap_on_huge_pages) {
  for (int advice : {MADV_HUGEPAGE, MADV_NOHUGEPAGE}) {
    TestHeap test(with(Relocation::Move));
    REQUIRE(test.heap);
    // Before anything is allocated, so that the kernel may use them from the start.
    madvise(test.heap->space.flipped(), test.heap->geometry().flipped_bytes, advice);
    Payload payload(test);
    survives(test, payload);
    madvise(test.heap->space.flipped(), test.heap->geometry().moving_bytes, MADV_COLLAPSE);
    payload.grow();
    survives(test, payload);
    u32 page;
    CHECK_EQ(test.heap->take_relocation_error(page), 0);
  }
}

TEST(cause_pages_collapsed_in_the_middle_of_a_compaction) {
  HeapOptions options = with(Relocation::Auto);
  options.stepping = true;
  TestHeap test(options);
  REQUIRE(test.heap);
  madvise(test.heap->space.flipped(), test.heap->geometry().flipped_bytes, MADV_HUGEPAGE);
  Payload payload(test);
  payload.m.publish_top();
  REQUIRE(step_to(test, payload.m, layout::Phase::Compact));
  // From-space may become huge under the collector's hands; an armed range may not: a collapse would fill its holes.
  madvise(test.heap->space.from_space(), test.heap->geometry().moving_bytes, MADV_COLLAPSE);
  CHECK(madvise(test.heap->space.flipped(), 8 * HugeRange::kHuge, MADV_COLLAPSE) != 0);
  CHECK(payload.intact());
  payload.collect();
  CHECK(payload.intact());
}

TEST(cause_zero_pages_move_or_are_copied_as_zeros) {
  TestHeap test(with(Relocation::Auto));
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  const u32 length = 400'000;
  m.push(m.alloc_values(length));  // read and never written: the shared zero page, again and again
  m.push(m.alloc_values(length));  // never touched but for its header: no page at all
  u32 wrong = 0;
  for (u32 round = 0; round < 3; round++) {
    for (u32 i = 0; i < length * 2; i++) wrong += m.load(m.root(1) + 2 + i) != 0;
    build_list(m, 0, 20'000, 2);
    m.collect();
    CHECK(list_intact(m, 0, 20'000));
  }
  for (u32 slot : {1u, 2u}) {
    for (u32 i = 0; i < length * 2; i++) wrong += m.load(m.root(slot) + 2 + i) != 0;
  }
  CHECK_EQ(wrong, 0u);
  CHECK(test.heap->statistics.flips.load() >= 3);
}

TEST(cause_reclaimed_pages_come_back) {
  TestHeap test(with(Relocation::Auto));
  REQUIRE(test.heap);
  Payload payload(test);
  u32 swapped = 0;
  for (u32 round = 0; round < 3; round++) {
    madvise(payload.at(), payload.bytes(), MADV_PAGEOUT);
    swapped += pages_swapped(payload.at(), payload.bytes());
    survives(test, payload);
    payload.grow();
  }
  // And in the middle of a compaction, from under the collector.
  HeapOptions options = with(Relocation::Auto);
  options.stepping = true;
  TestHeap stepping(options);
  REQUIRE(stepping.heap);
  Payload other(stepping);
  const std::size_t first = static_cast<std::size_t>(other.at() - stepping.heap->space.flipped());
  other.m.publish_top();
  REQUIRE(step_to(stepping, other.m, layout::Phase::Compact));
  madvise(stepping.heap->space.from_space() + first, other.bytes(), MADV_PAGEOUT);
  CHECK(other.intact());
  other.collect();
  CHECK(other.intact());
  if (swapped == 0) SKIP("this machine has no swap, or none left; without it the kernel kept the pages, and the heap held");
}
