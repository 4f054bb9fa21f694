// Dense runs slide by whole pages (forwarding.h): their holes become fillers, their pages stay pages, and those without
// references are placed by moving the source itself. What is tested is the window of a queue: all that lives is together.
#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

constexpr u32 kWindow = 4096;  // messages of 1 KiB: 4 MiB live
constexpr u32 kBytes = 1024;

HeapOptions queue_heap() {
  HeapOptions options = small_heap();
  options.max_bytes = 16 * kMiB;
  options.reuse = Reuse::Never;  // the messages die in whole pages, which would not be compacted
  return options;
}

/// Message `i`: its number in every word, so that a byte out of place is seen.
void fill(NativeMutator& m, u32 message, u32 i) {
  for (u32 word = 0; word < kBytes / 4; word++) m.store(message + 2 + word, i * 0x01000193u + word);
}
u32 wrong_words(NativeMutator& m, u32 message, u32 i) {
  u32 wrong = 0;
  for (u32 word = 0; word < kBytes / 4; word++) wrong += m.load(message + 2 + word) != i * 0x01000193u + word;
  return wrong;
}

TEST(a_queue_without_references_is_moved_page_by_page_and_never_copied) {
  TestHeap test(queue_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(m.alloc_refs(kWindow));
  for (u32 i = 0; i < 16 * kWindow; i++) {
    const u32 message = m.alloc_bytes(kBytes);
    fill(m, message, i);
    m.store_ref(m.root(0) + 2 + i % kWindow, message);
  }
  u32 wrong = 0;
  for (u32 i = 15 * kWindow; i < 16 * kWindow; i++) wrong += wrong_words(m, m.load(m.root(0) + 2 + i % kWindow), i);
  CHECK_EQ(wrong, 0u);
  const Statistics& statistics = test.heap->statistics;
  CHECK(statistics.flips.load() >= 2);
  // What is young lies in short TLABs where the program was slowed, and is squeezed once. From then on nearly all of it is kept.
  m.collect();
  for (u32 i = 15 * kWindow; i < 15 * kWindow + kWindow / 4; i++) m.store_ref(m.root(0) + 2 + i % kWindow, 0);
  const u64 kept = statistics.pagesKept.load(), built = statistics.pagesBuilt.load();
  m.collect();
  constexpr u64 kLivePages = kWindow / 4 * 3 * (kBytes + kGranuleSize) / kPageSize;
  // Without dense runs it would be none. Where two of them met in the collection before, a page ended early; how many did
  // depends on how often the program was slowed, and what lies between two of those may be too short for a run.
  CHECK(statistics.pagesKept.load() - kept >= kLivePages * 2 / 3);
  CHECK(statistics.pagesBuilt.load() - built <= kLivePages / 3);
  // A source that has become the page itself is no free page: recycled all the same, it would be moved as a hole.
  CHECK(counted_answers(*test.heap, injection::Op::Move, "ENOENT") < statistics.pagesKept.load() / 4);
  CHECK_EQ(test.heap->verification.take_violation(), std::string());
}

TEST(a_queue_of_objects_with_references_keeps_them_when_its_pages_slide) {
  TestHeap test(queue_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  constexpr u32 kSpan = 150'000;  // nodes of 24 bytes: 3.6 MB live, each refers to the one before it
  m.push(0);
  m.push(m.alloc_refs(kSpan));
  for (u32 i = 0; i < 12 * kSpan; i++) {
    const u32 node = m.alloc_node();
    m.set_key(node, i);
    const u32 slot = m.root(1) + 2 + i % kSpan;
    const u32 previous = m.load(m.root(1) + 2 + (i + kSpan - 1) % kSpan);
    if (previous) m.set_right(previous, node);  // towards the younger: what leaves the window dies
    m.store_ref(slot, node);
  }
  u32 wrong = 0;
  for (u32 i = 11 * kSpan; i < 12 * kSpan; i++) {
    const u32 node = m.load(m.root(1) + 2 + i % kSpan);
    wrong += m.key(node) != i || !m.key_intact(node);
    if (i + 1 < 12 * kSpan) wrong += m.right(node) != m.load(m.root(1) + 2 + (i + 1) % kSpan);
  }
  CHECK_EQ(wrong, 0u);
  CHECK(test.heap->statistics.flips.load() >= 2);
  CHECK_EQ(test.heap->verification.take_violation(), std::string());
}

TEST(small_holes_in_a_dense_run_become_fillers_and_the_run_is_collected_when_it_thins_out) {
  HeapOptions options = queue_heap();
  options.growth = 1.2;
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(m.alloc_refs(kWindow));
  for (u32 keep = 64; keep >= 2; keep /= 2) {
    // Garbage below; then a run in which one message of `keep` dies.
    for (u32 i = 0; i < 1000; i++) m.alloc_bytes(kBytes);
    for (u32 i = 0; i < kWindow; i++) {
      const u32 message = m.alloc_bytes(kBytes);
      fill(m, message, i);
      m.store_ref(m.root(0) + 2 + i, i % keep ? message : 0);
    }
    for (u32 round = 0; round < 3; round++) {
      m.collect();
      u32 wrong = 0;
      for (u32 i = 0; i < kWindow; i++) {
        if (const u32 message = m.load(m.root(0) + 2 + i)) wrong += wrong_words(m, message, i);
      }
      CHECK_EQ(wrong, 0u);
    }
    // An explicit collection leaves no hole, however dense the run.
    const u64 live = (kWindow - kWindow / keep) * (kBytes + 8ull) / kPageSize;
    CHECK(test.heap->pages_in_use() < live + 64);
  }
  CHECK_EQ(test.heap->verification.take_violation(), std::string());
}

}  // namespace
