// Whole cycles over small graphs: what was reachable is intact, moved and complete; what was not is gone.
#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

TEST(a_list_survives_a_collection_and_slides_together) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  build_list(m, 0, 20'000, 3);
  const u32 before = m.root(0);
  const u64 used = test.heap->pages_in_use();
  m.collect();
  CHECK(list_intact(m, 0, 20'000));
  CHECK(m.root(0) != before);
  CHECK(test.heap->pages_in_use() < used / 2);
  CHECK(test.heap->statistics.flips.load() >= 1);
  CHECK(test.heap->statistics.barrierFaults.load() + test.heap->statistics.pagesMoved.load() > 0);
}

TEST(collections_repeat_and_recycle_their_pages) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  m.push(0);
  build_list(m, 1, 5'000, 0);
  for (u32 round = 0; round < 100; round++) {  // 72 MB through 32 MiB
    build_list(m, 0, 10'000, 2);
    CHECK(list_intact(m, 0, 10'000));
    CHECK(list_intact(m, 1, 5'000));
  }
  m.collect();
  CHECK(list_intact(m, 0, 10'000));
  CHECK(list_intact(m, 1, 5'000));
  CHECK(test.heap->statistics.collections.load() >= 2);
}

TEST(large_objects_keep_their_place_and_their_references_are_translated) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  const u32 length = 20'000;
  m.push(m.alloc_refs(length));
  m.push(m.alloc_values(length / 2));
  m.push(m.alloc_bytes(100'000));
  const u32 bytes = m.root(2);
  for (u32 i = 0; i < 100'000 / 4; i++) m.store(bytes + 2 + i, i);
  for (u32 i = 0; i < length; i++) {
    m.alloc_node();
    const u32 node = m.alloc_node();
    m.set_key(node, i);
    m.store_ref(m.root(0) + 2 + i, node);
    if (i % 2 == 0) m.store_value_ref(m.root(1) + 2 + i, node);
  }
  const u32 refs = m.root(0);
  for (u32 round = 0; round < 3; round++) {
    m.collect();
    CHECK_EQ(m.root(0), refs);
    CHECK_EQ(m.root(2), bytes);
    u32 wrong = 0;
    for (u32 i = 0; i < length; i++) {
      const u32 node = m.load(m.root(0) + 2 + i);
      if (m.key(node) != i || !m.key_intact(node)) wrong++;
      if (i % 2 == 0 && m.load(m.root(1) + 2 + i) != node) wrong++;
    }
    for (u32 i = 0; i < 100'000 / 4; i++) wrong += m.load(bytes + 2 + i) != i;
    CHECK_EQ(wrong, 0u);
  }
  m.set_root(0, 0);
  m.set_root(1, 0);
  m.set_root(2, 0);
  m.collect();
  CHECK_EQ(test.heap->statistics.largeFreed.load(), 3u);
}

TEST(objects_of_every_length_keep_what_is_in_them_wherever_they_begin_in_a_block) {
  for (const u32 threads : {1u, 2u}) {
    HeapOptions options = small_heap();
    options.collector_threads = threads;
    TestHeap test(options);
    REQUIRE(test.heap);
    NativeMutator m(test, 64);
    // A block of live bits is of 64 granules: these are of one granule to more than two blocks, each next to garbage of another length.
    constexpr u32 kMost = 140, kRounds = 20, kObjects = kMost * kRounds;
    m.push(m.alloc_refs(kObjects));
    const auto words_of = [](u32 i) { return 2 * (i % kMost); };
    for (u32 i = 0; i < kObjects; i++) {
      const u32 object = m.alloc_bytes(4 * words_of(i));
      for (u32 word = 0; word < words_of(i); word++) m.store(object + 2 + word, i + word);
      m.store_ref(m.root(0) + 2 + i, object);
      m.alloc_bytes(8 * (i * 7 % 67));
    }
    for (u32 round = 0; round < 2; round++) {
      m.collect();
      u32 wrong = 0;
      for (u32 i = 0; i < kObjects; i++) {
        const u32 object = m.load(m.root(0) + 2 + i);
        wrong += m.load(object) != test.bytes || m.load(object + 1) != 4 * words_of(i) << 2;
        for (u32 word = 0; word < words_of(i); word++) wrong += m.load(object + 2 + word) != i + word;
      }
      CHECK_EQ(wrong, 0u);
      for (u32 i = 0; i < 1'000; i++) m.alloc_bytes(100);
    }
  }
}

TEST(a_fresh_window_that_allocation_has_outgrown_is_given_up_and_nothing_moves) {
  HeapOptions options = stepping_heap();
  options.fresh_windows = true;
  options.max_bytes = options.min_bytes = 16 * kMiB;
  options.buffer_limit = 33 * kMiB;  // the moving space is 1.25 times the maximum
  TestHeap test(options);
  REQUIRE(test.heap);
  Heap& heap = *test.heap;
  NativeMutator m(test, 64);
  constexpr u32 kNodes = 170'000;  // 4 MB live, one more among them dead
  m.push(m.alloc_refs(3 * kMiB / 4 - 16));
  m.push(0);
  for (u32 i = 0; i < kNodes; i++) {
    const u32 node = m.alloc_node();
    m.set_key(node, i);
    m.init_left(node, m.root(1));
    m.set_root(1, node);
    if (i % 4 == 0) m.alloc_node();
  }
  m.store_ref(m.root(0) + 2, m.root(1));
  REQUIRE(step_to(test, m, layout::Phase::Prepare));
  const auto outgrown = [&] { return heap.forwarding.to_black_begin.page() + (heap.moving.top - heap.moving.black_begin) > heap.moving.large_low; };
  CHECK(!outgrown());
  const u64 stalls = heap.statistics.allocationStalls.load();
  while (!outgrown() && heap.statistics.allocationStalls.load() == stalls) m.alloc_node();
  REQUIRE(outgrown());
  const u32 before = m.root(1);
  REQUIRE(step_to(test, m, layout::Phase::Idle));
  CHECK_EQ(heap.statistics.flips.load(), 0u);
  CHECK_EQ(heap.statistics.flipsCancelled.load(), 1u);
  CHECK_EQ(m.root(1), before);
  CHECK(list_intact(m, 1, kNodes));
  CHECK_EQ(m.load(m.root(0) + 2), before);
  // The next one has room again.
  m.collect();
  CHECK_EQ(heap.statistics.flips.load(), 1u);
  CHECK(m.root(1) != before);
  CHECK(list_intact(m, 1, kNodes));
}

TEST(exhaustion_is_an_answer_and_the_heap_goes_on) {
  HeapOptions options = small_heap();
  options.max_bytes = 4 * kMiB;
  options.min_bytes = kMiB;
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  u32 length = 0;
  for (;;) {
    const u32 node = m.alloc_node();
    if (node == 0) break;
    m.set_key(node, length++);
    m.set_left(node, m.root(0));
    m.set_root(0, node);
  }
  CHECK(length > 100'000);
  CHECK(list_intact(m, 0, length));
  m.set_root(0, 0);
  m.collect();
  CHECK(m.alloc_node() != 0);
  build_list(m, 0, 50'000, 1);
  CHECK(list_intact(m, 0, 50'000));
}

/// Threads that mutate private random graphs while cycles run; every node carries its key and the key's complement.
struct Torture {
  TestHeap& test;
  u64 seed;
  u32 rounds;
  std::atomic<u32>& violations;
};

void* torture_thread(void* argument) {
  auto& t = *static_cast<Torture*>(argument);
  Random random(t.seed);
  constexpr u32 kRoots = 256;
  NativeMutator m(t.test, 1024);
  std::vector<u32> keys(kRoots, 0);  // 0: the slot is null
  for (u32 i = 0; i < kRoots; i++) m.push(0);
  const auto check_root = [&](u32 slot) {
    const u32 at = m.root(slot);
    if (at == 0 ? keys[slot] != 0 : m.key(at) != keys[slot]) t.violations++;
  };
  for (u32 round = 0; round < t.rounds; round++) {
    const u32 slot = random.below(kRoots);
    switch (random.below(8)) {
      case 0: case 1: case 2: {
        const u32 node = m.alloc_node();
        if (node == 0) {
          for (u32 i = 0; i < kRoots; i++) m.set_root(i, 0), keys[i] = 0;
          break;
        }
        m.set_key(node, round + 1);
        m.set_left(node, m.root(slot));
        m.set_right(node, m.root(random.below(kRoots)));
        m.set_root(slot, node);
        keys[slot] = round + 1;
        break;
      }
      case 3: {
        const u32 node = m.root(slot);
        if (node) m.set_right(node, m.root(random.below(kRoots)));
        break;
      }
      case 4: {
        // Walk: every node met must be whole.
        u32 at = m.root(slot);
        check_root(slot);
        for (u32 depth = 0; at && depth < 200; depth++) {
          if (m.load(at) != t.test.node || !m.key_intact(at)) {
            t.violations++;
            break;
          }
          at = random.below(2) ? m.left(at) : m.right(at);
        }
        break;
      }
      case 5:
        if (random.below(20) == 0) m.set_root(slot, 0), keys[slot] = 0;
        break;
      case 6:
        if (random.below(8) == 0) {
          const u32 from = random.below(kRoots);
          m.set_root(slot, m.root(from));
          keys[slot] = keys[from];
        }
        break;
      case 7:
        if (m.must_poll()) m.poll();
        if (random.below(20'000) == 0) m.collect();
        break;
    }
    // Chains would keep everything alive: cut one now and then.
    if (random.below(64) == 0) {
      const u32 node = m.root(random.below(kRoots));
      if (node) m.set_left(node, 0), m.set_right(node, 0);
    }
  }
  for (u32 slot = 0; slot < kRoots; slot++) check_root(slot);
  return nullptr;
}

void torture(HeapOptions options, u32 threads, u32 rounds, u64 seed) {
  TestHeap test(options);
  REQUIRE(test.heap);
  std::atomic<u32> violations{0};
  std::vector<pthread_t> handles(threads);
  std::vector<Torture> jobs;
  for (u32 i = 0; i < threads; i++) jobs.push_back({test, seed + i, rounds, violations});
  for (u32 i = 0; i < threads; i++) pthread_create(&handles[i], nullptr, torture_thread, &jobs[i]);
  for (pthread_t handle : handles) pthread_join(handle, nullptr);
  if (violations) std::fprintf(stderr, "seed %llu\n", static_cast<unsigned long long>(seed));
  CHECK_EQ(violations.load(), 0u);
  CHECK(test.heap->statistics.collections.load() > 0);
}

#ifdef GLISSADE_SANITIZE
constexpr u32 kRounds = 300'000;
#else
constexpr u32 kRounds = 2'000'000;
#endif

TEST(torture_one_mutator) { torture(small_heap(), 1, kRounds, 1); }
TEST(torture_three_mutators_two_collector_threads) {
  HeapOptions options = small_heap();
  options.collector_threads = 2;
  torture(options, 3, kRounds, 100);
}
TEST(torture_by_copy) {
  HeapOptions options = small_heap();
  options.relocation = Relocation::Copy;
  torture(options, 2, kRounds, 200);
}
TEST(torture_with_a_fault_thread) {
  HeapOptions options = small_heap();
  options.faults = Faults::Thread;
  torture(options, 2, kRounds, 300);
}
TEST(torture_in_fresh_windows) {
  HeapOptions options = small_heap();
  options.fresh_windows = true;
  torture(options, 2, kRounds, 400);
}

}  // namespace
