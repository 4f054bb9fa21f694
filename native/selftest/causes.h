// The causes of what the kernel answers, produced really: pages that a fork shares, that KSM has merged, that are pinned,
// locked, huge, empty, reclaimed, half moved, or moved by two threads at once. First against the wrapper, where single pages
// can be looked at; then against a heap, whose objects must be whole whatever happened to the pages that they lie on.
//
// A heap's memory is MADV_DONTFORK, NOHUGEPAGE and not mergeable, so that most of this cannot happen to it. Where a test
// takes that protection away from one heap, it says so. A cause that this machine or user cannot produce is skipped, aloud.
//
// causes_fork.cc: processes; causes_pages.cc: what happens to pages; causes_threads.cc: several threads on the same pages.
#pragma once

#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

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

namespace glissade::selftest {

using namespace glissade::testing;

using Op = Userfaultfd::Op;
constexpr int kEBUSY = 4, kEAGAIN = 0;  // kinds of error, as Userfaultfd names them

inline u64 errors(const TestHeap& test, Op op, int kind) { return test.heap->barrier.errors(op, kind); }

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

inline bool write_text(const char* path, const char* text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool written = ::write(fd, text, std::strlen(text)) == static_cast<ssize_t>(std::strlen(text));
  ::close(fd);
  return written;
}
inline long read_number(const char* path) {
  std::FILE* file = std::fopen(path, "r");
  long value = -1;
  if (file == nullptr) return -1;
  if (std::fscanf(file, "%ld", &value) != 1) value = -1;
  std::fclose(file);
  return value;
}

/// The system's page merger at work, quickly, while it lives. Not for machines where it is in use already.
/// Stopped with 2, "unmerge everything": after a plain stop it would still count this process's pages of the time before, and
/// the next test's `merged` would believe them its own.
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
    write_text("/sys/kernel/mm/ksm/run", "2");
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
inline bool lock_on_fault(void* at, std::size_t bytes) {
  constexpr long kMlock2 = 325;
  constexpr unsigned kOnFault = 1;
  return syscall(kMlock2, at, bytes, kOnFault) == 0;
}
constexpr const char* kNoLocking = "this process may not lock this much memory";

inline u32 pages_swapped(const u8* at, std::size_t bytes) {
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
inline void survives(TestHeap& test, Payload& payload) {
  const u64 flips = test.heap->statistics.flips.load();
  payload.collect();
  CHECK(payload.intact());
  CHECK(test.heap->statistics.flips.load() > flips);
}

/// Lets a child share the heap's pages, as nothing in the heap's own code does.
inline bool allow_sharing(TestHeap& test) {
  return madvise(test.heap->space.flipped(), test.heap->geometry().flipped_bytes, MADV_DOFORK) == 0;
}

inline HeapOptions with(Relocation relocation, Faults faults = Faults::Sigbus) {
  HeapOptions options = small_heap();
  options.relocation = relocation;
  options.faults = faults;
  options.min_bytes = 16 * kMiB;  // collected when a test says so
  return options;
}

}  // namespace glissade::selftest
