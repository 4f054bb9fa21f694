// Where a heap lies: whole pages whatever its size is, and what becomes of the ranges, and of other threads' mappings, when the
// kernel refuses a flip half way.
#include <sys/resource.h>
#include <time.h>

#include <cstdio>
#include <cstring>
#include <mutex>

#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::testing;
using glissade::selftest::Injected;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

constexpr std::size_t kBuffers4 = 4 * kGiB - kPageSize, kBuffers8 = 8 * kGiB;

/// A large array whose pages the survey has looked at, into each of which a reference to an object that moves is stored then.
void store_after_survey(std::size_t max_bytes) {
  HeapOptions options = stepping_heap();
  options.max_bytes = max_bytes;
  TestHeap test(options);
  REQUIRE(test.heap);
  constexpr u32 kSlots = 65'536, kNodes = 20'000;
  NativeMutator m(test, 64);
  m.push(0);
  m.push(m.alloc_refs(kSlots));
  for (u32 i = 0; i < kNodes; i++) {
    const u32 node = m.alloc_node();
    m.set_key(node, i);
    m.init_left(node, m.root(0));
    m.set_root(0, node);
    m.alloc_node();  // garbage: what comes after it moves
  }
  REQUIRE(step_to(test, m, layout::Phase::Prepare));
  const u32 before = m.root(0);
  const auto slot_of = [&](u32 page) { return m.root(1) + page * 1024 + page % 8 * 128 + 64; };
  for (u32 page = 1; page < 60; page++) m.store_ref(slot_of(page), before);
  REQUIRE(step_to(test, m, layout::Phase::Idle));
  CHECK(m.root(0) != before);
  u32 stale = 0;
  for (u32 page = 1; page < 60; page++) stale += m.load(slot_of(page)) != m.root(0);
  CHECK_EQ(stale, 0u);
}

/// Maps 8 MiB in the middle of a range as soon as nothing is mapped there, and has them until it ends.
class Neighbour {
 public:
  Neighbour(u8* range, std::size_t bytes) : at_(range + bytes / 2) { pthread_create(&thread_, nullptr, entry, this); }
  ~Neighbour() {
    end();
    if (lives_there_) munmap(at_, kBytes);
  }
  void end() {
    if (done_.exchange(true)) return;
    pthread_join(thread_, nullptr);
  }
  bool lives_there() const { return lives_there_; }
  u64 damaged() const {
    u64 damaged = 0;
    for (std::size_t i = 0; i < kBytes; i += kPageSize) damaged += at_[i] != 0x5a;
    return damaged;
  }

 private:
  static constexpr std::size_t kBytes = 8 * kMiB;
  static void* entry(void* self) {
    static_cast<Neighbour*>(self)->move_in();
    return nullptr;
  }
  void move_in() {
    while (!done_ && !lives_there_) {
      if (mmap(at_, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != at_) continue;
      std::memset(at_, 0x5a, kBytes);
      lives_there_ = true;
    }
  }

  u8* at_;
  std::atomic<bool> done_{false}, lives_there_{false};
  pthread_t thread_{};
};

std::size_t data_bytes() {
  std::size_t kib = 0;
  if (std::FILE* status = std::fopen("/proc/self/status", "re")) {
    char line[256];
    while (std::fgets(line, sizeof line, status)) {
      if (std::sscanf(line, "VmData: %zu", &kib) == 1) break;
    }
    std::fclose(status);
  }
  return kib * 1024;
}

/// The soft limit of what a process may map for data, while it lives.
class DataLimit {
 public:
  explicit DataLimit(std::size_t bytes) {
    getrlimit(RLIMIT_DATA, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_DATA, &limit);
  }
  ~DataLimit() { setrlimit(RLIMIT_DATA, &before_); }

 private:
  rlimit before_{};
};

}  // namespace

TEST(address_space_spaces_are_whole_pages_whatever_the_size) {
  for (const std::size_t limit : {kBuffers4, kBuffers4 + kPageSize, kBuffers8}) {
    for (const bool roomy : {false, true}) {
      for (std::size_t max_bytes = 16 * kPageSize; max_bytes <= 4 * kGiB - 2 * kPageSize; max_bytes += max_bytes / 37 + 1) {
        const Geometry g = Geometry::for_heap(max_bytes, 32 * kMiB + 1, limit, roomy);
        for (const std::size_t bytes : {g.moving_bytes, g.pointer_free_bytes, g.root_bytes, g.flipped_bytes, g.control_bytes, g.card_bytes, g.root_card_bytes}) {
          if (bytes % kPageSize != 0) CHECK_EQ(max_bytes, 0u);  // says which
          REQUIRE_EQ(bytes % kPageSize, 0u);
        }
        REQUIRE(g.max_bytes <= max_bytes && max_bytes - g.max_bytes < kPageSize);  // a hard limit
        REQUIRE(g.moving_bytes >= g.max_bytes);
        REQUIRE(g.pointer_free_bytes >= kPageSize);
        REQUIRE(g.heap_buffer_bytes() <= limit);
      }
    }
  }
}

TEST(address_space_what_is_stored_after_the_survey_is_seen_in_heaps_of_odd_sizes) {
  for (const std::size_t max_bytes : {2'000'000'000ul, 2048 * kMiB, 3'000'000'000ul}) store_after_survey(max_bytes);
}

TEST(address_space_a_flip_that_the_kernel_refuses_half_way_leaves_other_mappings_alone) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  build_list(m, 0, 20'000, 3);
  u8* from = test.heap->space.from_space();
  const Statistics& statistics = test.heap->statistics;
  Neighbour neighbour(from, test.heap->geometry().flipped_bytes);
  {
    // Mremap to another place counts as that much more data: refused, and its target is unmapped by then.
    DataLimit limit(data_bytes() + 500 * kMiB);
    const u64 end = now_ns() + 5'000'000'000;
    for (u32 after = 0; after < 20 && now_ns() < end; after += neighbour.lives_there()) {
      build_list(m, 0, 20'000, 3);
      m.collect();
      REQUIRE(list_intact(m, 0, 20'000));
    }
    neighbour.end();
    CHECK(statistics.flipsCancelled.load() > 0);
  }
  if (!neighbour.lives_there()) SKIP("nobody found from-space unmapped in time");
  CHECK_EQ(neighbour.damaged(), 0u);
  CHECK(test.heap->space.from_space() != from);
  const u64 flips = statistics.flips.load();
  for (int i = 0; i < 3; i++) m.collect();
  CHECK(statistics.flips.load() > flips);
  CHECK(list_intact(m, 0, 20'000));
}

TEST(address_space_a_cycle_without_memory_to_mark_with_loses_nothing_and_frees_nothing) {
#ifdef GLISSADE_SANITIZE
  SKIP("a sanitizer ends the process where the system refuses it memory");
#endif
  HeapOptions options = small_heap();
  options.collector_threads = 1;
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(m.alloc_node());
  m.set_key(m.root(0), 7);
  m.push(0);
  // Each array's slots are on the mark stack before its first, which leads to the next one, is looked at.
  constexpr u32 kArrays = 1200, kLength = 4000;  // 19 MB of references; a mark stack keeps 8 MiB for good
  for (u32 n = 0; n < kArrays; n++) {
    const u32 array = m.alloc_refs(kLength);
    m.store_ref(array + 2, m.root(1));
    for (u32 i = 1; i < kLength; i++) m.store_ref(array + 2 + i, m.root(0));
    m.set_root(1, array);
  }
  const auto intact = [&] {
    u32 arrays = 0;
    for (u32 array = m.root(1); array != 0; array = m.load(array + 2), arrays++) {
      for (u32 i = 1; i < kLength; i++) {
        if (m.load(array + 2 + i) != m.root(0)) return false;
      }
    }
    return arrays == kArrays && m.key_intact(m.root(0)) && m.key(m.root(0)) == 7;
  };
  const Statistics& statistics = test.heap->statistics;
  const u64 lost = statistics.marksLost.load(), flips = statistics.flips.load();
  {
    DataLimit limit(data_bytes() + kMiB / 2);
    void* more = mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (more != MAP_FAILED) {
      munmap(more, kMiB);
      SKIP("this kernel does not keep to RLIMIT_DATA");
    }
    for (u32 i = 0; i < 3; i++) m.collect();
  }
  CHECK(statistics.marksLost.load() > lost);
  CHECK_EQ(statistics.flips.load(), flips);
  CHECK(intact());
  // With memory again everything is as ever.
  const u64 still = statistics.marksLost.load();
  for (u32 i = 0; i < 50'000; i++) m.alloc_node();
  m.collect();
  CHECK_EQ(statistics.marksLost.load(), still);
  CHECK(statistics.flips.load() > flips);
  CHECK(intact());
}

TEST(address_space_of_a_closed_heap_reads_zero_where_it_was_locked) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  u32 object = 0;
  u8* page = nullptr;
  {
    NativeMutator m(test, 64);
    m.push(m.alloc_node());
    object = m.root(0);
    m.set_key(object, 42);
    u8* at = test.heap->address({object});
    page = at - reinterpret_cast<std::uintptr_t>(at) % kPageSize;
    if (mlock(page, kPageSize) != 0) SKIP("this process may not lock memory");
  }
  test.heap->close();
  u32 words = 0;
  for (u32 i = 0; i < kPageSize; i++) words += page[i] != 0;
  CHECK_EQ(words, 0u);
}

TEST(address_space_a_flip_waits_for_a_parked_thread_that_makes_a_root_area) {
  Injected injected("delay:flip=500ms");
  TestHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  build_list(m, 0, 3'000, 3);
  REQUIRE(step_to(test, m, layout::Phase::Prepare));
  Heap& heap = *test.heap;
  m.park();
  REQUIRE_EQ(static_cast<u32>(heap.rest()), static_cast<u32>(Rest::Flip));
  const auto sleep_ms = [](long ms) {
    const timespec time{0, ms * 1'000'000};
    nanosleep(&time, nullptr);
  };
  {
    REQUIRE(heap.start_step());
    sleep_ms(100);  // in the pause by now, before the range is taken away
    // As create_area does, which zeroes slots meanwhile.
    std::lock_guard<SpaceLock> lock(heap.moving.lock);
    sleep_ms(500);
    CHECK_EQ(heap.statistics.flips.load(), 0u);
  }
  REQUIRE_EQ(static_cast<u32>(heap.rest()), static_cast<u32>(Rest::Compact));
  CHECK_EQ(heap.statistics.flips.load(), 1u);
  m.unpark();
  REQUIRE(step_to(test, m, layout::Phase::Idle));
}
