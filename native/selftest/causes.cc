// The causes of what the kernel answers, produced really: pages that a fork shares, that KSM has merged, that are pinned,
// locked, huge, empty, reclaimed, half moved, or moved by two threads at once. First against the wrapper, where single pages
// can be looked at; then against a heap, whose objects must be whole whatever happened to the pages that they lie on.
//
// A heap's memory is MADV_DONTFORK, NOHUGEPAGE and not mergeable, so that most of this cannot happen to it. Where a test
// takes that protection away from one heap, it says so. A cause that this machine or user cannot produce is skipped, aloud.
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <spawn.h>

#include <cstdio>
#include <cstdlib>

#include "native-mutator.h"
#include "selftest/kernel.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

extern char** environ;

using namespace glissade;
using namespace glissade::selftest;
using namespace glissade::testing;

FILE_NEEDS(why_no_userfaultfd);

namespace {

using Op = Userfaultfd::Op;
constexpr int kEBUSY = 4, kEAGAIN = 0;  // kinds of error, as Userfaultfd names them

u64 errors(const TestHeap& test, Op op, int kind) { return test.heap->barrier.errors(op, kind); }

// ── causes ────────────────────────────────────────────────────────────────────────────────────────────────────────

/// A forked child that waits for its end.
class Child {
 public:
  Child() {
    if (pipe(pipe_) != 0) std::abort();
    child_ = fork();
    if (child_ == 0) {
      ::close(pipe_[1]);
      char end;
      const ssize_t n = read(pipe_[0], &end, 1);
      _exit(n == 0 ? 0 : 1);
    }
  }
  ~Child() { end(); }
  /// Its exit status.
  int end() {
    if (child_ == 0) return -1;
    ::close(pipe_[0]);
    ::close(pipe_[1]);
    int status = -1;
    waitpid(child_, &status, 0);
    child_ = 0;
    return status;
  }

 private:
  int pipe_[2];
  pid_t child_;
};

bool write_text(const char* path, const char* text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool written = ::write(fd, text, std::strlen(text)) == static_cast<ssize_t>(std::strlen(text));
  ::close(fd);
  return written;
}
long read_number(const char* path) {
  std::FILE* file = std::fopen(path, "r");
  long value = -1;
  if (file == nullptr) return -1;
  if (std::fscanf(file, "%ld", &value) != 1) value = -1;
  std::fclose(file);
  return value;
}

/// The system's page merger at work, quickly, while it lives. Not for machines where it is in use already.
class Merging {
 public:
  Merging() {
    if (read_number("/sys/kernel/mm/ksm/run") != 0) return;
    pages_ = read_number("/sys/kernel/mm/ksm/pages_to_scan");
    sleep_ = read_number("/sys/kernel/mm/ksm/sleep_millisecs");
    running_ = write_text("/sys/kernel/mm/ksm/pages_to_scan", "20000") && write_text("/sys/kernel/mm/ksm/sleep_millisecs", "1") &&
               write_text("/sys/kernel/mm/ksm/run", "1");
  }
  ~Merging() {
    if (!running_) return;
    write_text("/sys/kernel/mm/ksm/run", "0");
    restore("/sys/kernel/mm/ksm/pages_to_scan", pages_);
    restore("/sys/kernel/mm/ksm/sleep_millisecs", sleep_);
  }
  bool running() const { return running_; }
  /// Waits until `pages` of this process are merged; false after some seconds.
  bool merged(long pages) const {
    for (int i = 0; i < 500; i++) {
      if (read_number("/proc/self/ksm_merging_pages") >= pages) return true;
      usleep(10'000);
    }
    return false;
  }

 private:
  static void restore(const char* path, long value) {
    char text[24];
    std::snprintf(text, sizeof text, "%ld", value);
    write_text(path, text);
  }
  long pages_ = 0, sleep_ = 0;
  bool running_ = false;
};
constexpr const char* kNoMerging = "KSM is not here, in use already, or not for this user";

/// A range registered as an io_uring buffer: pinned for as long as the ring lives. No liburing: two system calls.
class Pinned {
 public:
  Pinned(void* at, std::size_t bytes) {
    constexpr long kSetup = 425, kRegister = 427;
    alignas(8) unsigned char parameters[120] = {};
    ring_ = static_cast<int>(syscall(kSetup, 1, parameters));
    if (ring_ < 0) return;
    iovec buffer{at, bytes};
    constexpr unsigned kRegisterBuffers = 0;
    if (syscall(kRegister, ring_, kRegisterBuffers, &buffer, 1) == 0) return;
    ::close(ring_);
    ring_ = -1;
  }
  ~Pinned() { end(); }
  void end() {
    if (ring_ >= 0) ::close(ring_);
    ring_ = -1;
  }
  bool pinned() const { return ring_ >= 0; }

 private:
  int ring_;
};
constexpr const char* kNoPinning = "this process may not register io_uring buffers";

/// The bare call: sanitizers make the one of the C library do nothing.
bool lock_on_fault(void* at, std::size_t bytes) {
  constexpr long kMlock2 = 325;
  constexpr unsigned kOnFault = 1;
  return syscall(kMlock2, at, bytes, kOnFault) == 0;
}
constexpr const char* kNoLocking = "this process may not lock this much memory";

bool may_swap() {
  std::FILE* swaps = std::fopen("/proc/swaps", "r");
  if (swaps == nullptr) return false;
  char line[256];
  int lines = 0;
  while (std::fgets(line, sizeof line, swaps) != nullptr) lines++;
  std::fclose(swaps);
  return lines > 1;
}

u32 pages_swapped(const u8* at, std::size_t bytes) {
  const int pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  u32 swapped = 0;
  for (std::size_t offset = 0; offset < bytes; offset += kPage) {
    u64 entry = 0;
    const auto index = static_cast<off_t>((reinterpret_cast<std::uintptr_t>(at) + offset) / kPage * sizeof entry);
    if (pread(pagemap, &entry, sizeof entry, index) == sizeof entry) swapped += entry >> 62 & 1;
  }
  ::close(pagemap);
  return swapped;
}

// ── a heap whose pages are worth keeping ──────────────────────────────────────────────────────────────────────────

/// Byte arrays of a page each that survive in place (their pages are placed by moving the source itself, so that the
/// state of a page meets the kernel), then nodes with garbage between them, which make the collection worth a flip.
class Payload {
 public:
#ifdef GLISSADE_SANITIZE
  static constexpr u32 kArrays = 200, kBytes = 4088, kNodes = 5'000;
#else
  static constexpr u32 kArrays = 1000, kBytes = 4088, kNodes = 20'000;
#endif

  Payload(TestHeap& test, bool equal = false) : m(test, kArrays + 8), test_(test), equal_(equal) {
    for (u32 i = 0; i < kArrays; i++) {
      m.push(m.alloc_bytes(kBytes));
      for (u32 word = 0; word < kBytes / 4; word++) m.store(m.root(i) + 2 + word, pattern(i, word));
    }
    m.push(0);
    grow();
  }
  void grow() { build_list(m, kArrays, kNodes, 2); }
  void collect() { m.collect(); }
  bool intact() {
    for (u32 i = 0; i < kArrays; i++) {
      for (u32 word = 0; word < kBytes / 4; word++) {
        if (m.load(m.root(i) + 2 + word) != pattern(i, word)) return false;
      }
    }
    return list_intact(m, kArrays, kNodes);
  }
  /// Where the arrays lie: whole pages of them.
  u8* at() { return round(test_.heap->space.heap_buffer() + std::size_t{m.root(0)} * 4); }
  std::size_t bytes() { return std::size_t{kArrays / 2} * kPage; }

  NativeMutator m;

 private:
  static u8* round(u8* address) { return reinterpret_cast<u8*>((reinterpret_cast<std::uintptr_t>(address) + kPage - 1) & ~(kPage - 1)); }
  u32 pattern(u32 i, u32 word) const { return equal_ ? word * 0x9E3779B1u : (i + 1) * 0x9E3779B1u ^ word; }
  TestHeap& test_;
  bool equal_;
};

#ifdef GLISSADE_SANITIZE
constexpr u32 kForks = 2, kCloses = 4;
#else
constexpr u32 kForks = 12, kCloses = 15;
#endif

/// A collection and its consequences: what was there is there, and goes on being there without the cause.
void survives(TestHeap& test, Payload& payload) {
  const u64 flips = test.heap->statistics.flips.load();
  payload.collect();
  CHECK(payload.intact());
  CHECK(test.heap->statistics.flips.load() > flips);
}

/// Lets a child share the heap's pages, as nothing in the heap's own code does.
bool allow_sharing(TestHeap& test) {
  return madvise(test.heap->space.flipped(), test.heap->geometry().flipped_bytes, MADV_DOFORK) == 0;
}

HeapOptions with(Relocation relocation, Faults faults = Faults::Sigbus) {
  HeapOptions options = small_heap();
  options.relocation = relocation;
  options.faults = faults;
  options.min_bytes = 16 * kMiB;  // collected when a test says so
  return options;
}

}  // namespace

// ── fork ──────────────────────────────────────────────────────────────────────────────────────────────────────────

TEST(cause_fork_move_is_busy_while_the_child_lives_and_after) {
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(3), from(3);
  from.fill(1);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  Child child;
  CHECK_EQ(uffd.move(to.page(0), from.page(0), kPage).error, EBUSY);
  CHECK_EQ(child.end(), 0);
  CHECK_EQ(uffd.move(to.page(0), from.page(0), kPage).error, EBUSY);
  CHECK_EQ(touch(from.page(1)), 2);  // reading changes nothing
  CHECK_EQ(uffd.move(to.page(1), from.page(1), kPage).error, EBUSY);
  from.page(2)[9] = 3;
  CHECK(uffd.move(to.page(2), from.page(2), kPage).ok());
  CHECK(uffd.copy(to.page(0), from.page(0), kPage).ok());
  CHECK(to.holds(0, 1));
}

TEST(cause_fork_the_pages_of_a_heap_are_not_shared) {
  for (Faults faults : {Faults::Sigbus, Faults::Thread}) {
    TestHeap test(with(Relocation::Move, faults));
    REQUIRE(test.heap);
    Payload payload(test);
    Child child;
    survives(test, payload);
    CHECK_EQ(child.end(), 0);
    payload.grow();
    survives(test, payload);
    CHECK(test.heap->statistics.pagesKept.load() > 0);
    CHECK_EQ(errors(test, Op::Move, kEBUSY), 0u);
    u32 page;
    CHECK_EQ(test.heap->take_relocation_error(page), 0);
  }
}

TEST(cause_fork_shared_pages_of_a_heap_are_copied) {
  for (bool alive : {true, false}) {
    TestHeap test(with(Relocation::Auto));
    REQUIRE(test.heap);
    Payload payload(test);
    REQUIRE(allow_sharing(test));
    Child child;
    if (!alive) CHECK_EQ(child.end(), 0);
    survives(test, payload);
    const Statistics& s = test.heap->statistics;
    CHECK(s.pagesBusy.load() > 0);
    CHECK(s.pagesCopied.load() >= s.pagesBusy.load());
    CHECK(errors(test, Op::Move, kEBUSY) >= s.pagesBusy.load());  // free pages that are shared are dropped
    // Copied pages belong to this process alone again.
    const u64 busy = s.pagesBusy.load();
    payload.grow();
    survives(test, payload);
    CHECK_EQ(s.pagesBusy.load(), busy);
  }
}

TEST(cause_fork_shared_pages_are_an_error_when_moving_is_strict) {
  TestHeap test(with(Relocation::Move));
  REQUIRE(test.heap);
  Payload payload(test);
  REQUIRE(allow_sharing(test));
  Child child;
  survives(test, payload);
  u32 page = 0;
  CHECK_EQ(test.heap->take_relocation_error(page), EBUSY);
  CHECK(page < test.heap->geometry().flipped_pages());
  CHECK_EQ(child.end(), 0);
}

TEST(cause_fork_pages_written_after_it_move_and_the_others_are_copied) {
  TestHeap test(with(Relocation::Auto));
  REQUIRE(test.heap);
  Payload payload(test);
  REQUIRE(allow_sharing(test));
  Child child;
  // Every fourth page is written, and so is its own again: runs of pages that move in part.
  for (std::size_t at = 0; at < payload.bytes(); at += 4 * kPage) {
    volatile u8* byte = payload.at() + at;
    *byte = *byte;
  }
  survives(test, payload);
  CHECK(test.heap->statistics.pagesBusy.load() > 0);
  CHECK(test.heap->statistics.pagesKept.load() > 0);
  CHECK(errors(test, Op::Move, kEAGAIN) > 0);  // partial moves
  CHECK_EQ(child.end(), 0);
}

TEST(cause_fork_and_spawn_in_the_middle_of_a_compaction) {
  for (Relocation relocation : {Relocation::Move, Relocation::Copy}) {
    for (Faults faults : {Faults::Sigbus, Faults::Thread}) {
      HeapOptions options = with(relocation, faults);
      options.stepping = true;
      TestHeap test(options);
      REQUIRE(test.heap);
      Payload payload(test);
      payload.m.publish_top();
      REQUIRE(step_to(test, payload.m, layout::Phase::Compact));
      // Most pages are missing. The child has neither the pages nor the registration, and this process goes on as it was.
      const int seen = in_child([] { return 7; });
      CHECK_EQ(seen, 7);
      pid_t spawned = 0;
      char name[] = "true";
      char* arguments[] = {name, nullptr};
      if (posix_spawnp(&spawned, name, nullptr, nullptr, arguments, environ) == 0) {
        int status = -1;
        waitpid(spawned, &status, 0);
        CHECK_EQ(status, 0);
      }
      Child child;  // alive until the cycle is over
      CHECK(payload.intact());
      payload.collect();
      CHECK(payload.intact());
      CHECK_EQ(child.end(), 0);
      CHECK_EQ(test.heap->statistics.pagesBusy.load(), 0u);
      u32 page;
      CHECK_EQ(test.heap->take_relocation_error(page), 0);
    }
  }
}

TEST(cause_forks_while_mutators_run_and_pages_move) {
  TestHeap test(with(Relocation::Auto));
  REQUIRE(test.heap);
  Payload payload(test);
  REQUIRE(allow_sharing(test));
  Collecting collecting(test);
  for (u32 round = 0; round < kForks; round++) {
    CHECK_EQ(in_child([] { return 0; }), 0);
    payload.grow();
    CHECK(payload.intact());
  }
  collecting.stop(payload.m);
  CHECK(payload.intact());
}

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
  for (int i = 0; i < 500 && result.error == EBUSY; i++) {
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
  const bool swaps = may_swap();
  for (u32 round = 0; round < 3; round++) {
    madvise(payload.at(), payload.bytes(), MADV_PAGEOUT);
    if (round == 0 && swaps) {
      CHECK(pages_swapped(payload.at(), payload.bytes()) > 0);
    }
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
  if (!swaps) SKIP("this machine has no swap; without it the kernel kept the pages, and the heap held");
}

// ── threads ───────────────────────────────────────────────────────────────────────────────────────────────────────

namespace {

struct Touching {
  TestHeap& test;
  const std::vector<u32>& words;
  std::atomic<u32> ready{0}, wrong{0};
  std::atomic<bool> go{false};
};
void* touch_all(void* opaque) {
  auto& t = *static_cast<Touching*>(opaque);
  NativeMutator m(t.test, 8);
  t.ready.fetch_add(1);
  while (!t.go.load()) sched_yield();
  for (u32 i = 0; i < t.words.size(); i++) {
    if (m.load(t.words[i]) != i) t.wrong.fetch_add(1);
  }
  return nullptr;
}

}  // namespace

TEST(cause_threads_place_the_same_pages_at_once) {
  for (Relocation relocation : {Relocation::Move, Relocation::Copy}) {
    for (Faults faults : {Faults::Sigbus, Faults::Thread}) {
      HeapOptions options = with(relocation, faults);
      options.stepping = true;
      TestHeap test(options);
      REQUIRE(test.heap);
      const Statistics& s = test.heap->statistics;
      NativeMutator m(test, 4096);
      // Arrays of half a page with garbage between: every page has to be built.
      constexpr u32 kArrays = 2000;
      for (u32 i = 0; i < kArrays; i++) {
        const u32 array = m.push(m.alloc_bytes(2040));
        m.store(m.root(array) + 2, i);
        m.alloc_bytes(2040);
      }
      m.publish_top();
      REQUIRE(step_to(test, m, layout::Phase::Compact));
      std::vector<u32> words;
      for (u32 i = 0; i < kArrays; i++) words.push_back(m.root(i) + 2);
      Touching touching{test, words};
      Threads threads;
      for (int i = 0; i < 4; i++) threads.start(touch_all, &touching);
      while (touching.ready.load() < 4) sched_yield();
      touching.go = true;
      m.park();
      threads.join();
      m.unpark();
      CHECK_EQ(touching.wrong.load(), 0u);
      m.collect();
      for (u32 i = 0; i < kArrays; i++) CHECK_EQ(m.load(m.root(i) + 2), i);
      // Every fault had one outcome. (A page above the live end may have been asked for, too.)
      CHECK(s.barrierFaults.load() > 0);
      CHECK_EQ(s.faultsBuilt.load() + s.faultsOvertaken.load() + s.faultsReady.load() + s.faultsMapped.load() + s.faultsZero.load(),
               s.barrierFaults.load());
      CHECK_EQ(s.faultStall_us.summary().count, s.barrierFaults.load());
      u32 page;
      CHECK_EQ(test.heap->take_relocation_error(page), 0);
    }
  }
}

namespace {

struct Late {
  TestHeap& test;
  std::atomic<bool> stop{false};
};
/// Reads pages without content, all over the range, for as long as it may: many of its faults meet the close.
void* touch_empty_pages(void* opaque) {
  auto& late = *static_cast<Late*>(opaque);
  Random random(3);
  NativeMutator m(late.test, 8);
  const Heap& heap = *late.test.heap;
  const u32 first = heap.geometry().max_bytes >> kPageShift, end = heap.moving.large_low;
  while (!late.stop.load()) {
    const u32 page = first + random.below(end - first);
    if (m.load(heap.base_word + page * (kPageSize / 4)) != 0) report_failure(__FILE__, __LINE__, "an empty page reads zeros", "");
    if (m.must_poll()) m.poll();
  }
  return nullptr;
}

}  // namespace

TEST(cause_faults_that_race_the_close) {
  for (Faults faults : {Faults::Sigbus, Faults::Thread}) {
    Injected injected("delay:close=300us,unregister:ENOMEM=0.3");
    TestHeap test(with(Relocation::Auto, faults));
    REQUIRE(test.heap);
    NativeMutator m(test, 64);
    m.push(0);
    Late late{test};
    Threads threads;
    threads.start(touch_empty_pages, &late);
    threads.start(touch_empty_pages, &late);
    for (u32 round = 0; round < kCloses; round++) {
      build_list(m, 0, 4'000, 2);
      m.collect();
      CHECK(list_intact(m, 0, 4'000));
    }
    late.stop = true;
    m.park();
    threads.join();
    m.unpark();
    const Statistics& s = test.heap->statistics;
    CHECK(s.flips.load() >= kCloses);
    CHECK(s.faultsZero.load() > 0);
    CHECK_EQ(s.faultsBuilt.load() + s.faultsOvertaken.load() + s.faultsReady.load() + s.faultsMapped.load() + s.faultsZero.load(),
             s.barrierFaults.load());
  }
}
