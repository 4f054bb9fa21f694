// What the re-expressed kernel tests share: page ranges, a SIGBUS handler that resolves faults from a table, and
// forks that report. See kernel_userfaultfd.cc for what is tested and where it comes from.
#pragma once

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "core/kernel/userfaultfd.h"
#include "core/units.h"
#include "selftest/testing.h"

namespace glissade::selftest {

inline constexpr std::size_t kPage = kPageSize;

// Private anonymous pages, gone at the end of the scope. NOHUGEPAGE unless asked otherwise: most tests speak of
// single pages.
struct Pages {
  u8* at = nullptr;
  std::size_t bytes = 0;

  explicit Pages(std::size_t count, int protection = PROT_READ | PROT_WRITE, int flags = MAP_PRIVATE) {
    bytes = count * kPage;
    void* address = mmap(nullptr, bytes, protection, flags | MAP_ANONYMOUS, -1, 0);
    at = address == MAP_FAILED ? nullptr : static_cast<u8*>(address);
    if (at != nullptr) madvise(at, bytes, MADV_NOHUGEPAGE);
  }
  ~Pages() {
    if (at != nullptr) munmap(at, bytes);
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  u8* page(std::size_t index) const { return at + index * kPage; }
  std::size_t count() const { return bytes / kPage; }
  // Every page gets a pattern of its own.
  void fill(u8 seed = 1) const {
    for (std::size_t i = 0; i < count(); i++) std::memset(page(i), static_cast<u8>(seed + i % 250), kPage);
  }
  bool holds(std::size_t index, u8 value) const {
    for (std::size_t i = 0; i < kPage; i++) {
      if (reinterpret_cast<volatile u8*>(page(index))[i] != value) return false;
    }
    return true;
  }
};

// Routes SIGBUS to `resolve` while it lives. `resolve` runs in the handler.
class SigbusRouter {
 public:
  using Resolve = void (*)(u8* page, void* context);

  SigbusRouter(Resolve resolve, void* context) {
    resolve_ = resolve;
    context_ = context;
    faults_.store(0);
    struct sigaction action {};
    action.sa_sigaction = &SigbusRouter::handle;
    action.sa_flags = SA_SIGINFO;
    sigfillset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous_);
  }
  ~SigbusRouter() { sigaction(SIGBUS, &previous_, nullptr); }

  static int faults() { return faults_.load(); }
  static int last_code() { return last_code_.load(); }

 private:
  static void handle(int, siginfo_t* info, void*) {
    faults_.fetch_add(1);
    last_code_.store(info->si_code);
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr) & ~std::uintptr_t{kPage - 1};
    resolve_(reinterpret_cast<u8*>(address), context_);
  }
  static inline Resolve resolve_ = nullptr;
  static inline void* context_ = nullptr;
  static inline std::atomic<int> faults_{0};
  static inline std::atomic<int> last_code_{0};
  struct sigaction previous_ {};
};

// Is the page resident? (mincore does not fault.)
inline bool resident(const u8* page) {
  unsigned char state = 0;
  return mincore(const_cast<u8*>(page), kPage, &state) == 0 && (state & 1) != 0;
}

// A load that the compiler keeps.
inline u8 touch(const u8* address) { return *static_cast<const volatile u8*>(address); }

inline const char* why_no_userfaultfd() {
  static const char* reason = [] {
    Userfaultfd uffd;
    if (uffd.open(uffd::kFeatureSigbus) != 0) return "this process may not open a userfaultfd with SIGBUS delivery";
    if ((uffd.features() & uffd::kFeatureMove) == 0) return "this kernel has no UFFDIO_MOVE";
    return static_cast<const char*>(nullptr);
  }();
  return reason;
}

// Threads of one test, joined together.
struct Threads {
  static constexpr int kMost = 8;
  pthread_t ids[kMost];
  int count = 0;
  void start(void* (*body)(void*), void* argument) { pthread_create(&ids[count++], nullptr, body, argument); }
  void join() {
    for (int i = 0; i < count; i++) pthread_join(ids[i], nullptr);
    count = 0;
  }
};

// Runs `body` in a forked child; its exit status, or 1000 and the signal that ended it.
template <typename Body>
int in_child(Body body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

// A 2 MiB-aligned range inside a larger mapping.
struct HugeRange {
  static constexpr std::size_t kHuge = std::size_t{2} << 20;
  Pages pages;
  u8* at;
  explicit HugeRange(std::size_t units, int advice)
      : pages((units + 1) * kHuge / kPage),
        at(reinterpret_cast<u8*>((reinterpret_cast<std::uintptr_t>(pages.at) + kHuge - 1) & ~(kHuge - 1))) {
    madvise(at, units * kHuge, advice);
  }
};

// Injection rules while it lives.
class Injected {
 public:
  explicit Injected(const char* rules, std::uint64_t seed = 7) {
    char message[200];
    ok_ = injection::configure(rules, seed, message, sizeof message);
    if (!ok_) std::fprintf(stderr, "  %s\n", message);
  }
  ~Injected() { injection::clear(); }
  bool ok() const { return ok_; }

 private:
  bool ok_;
};

#define NEEDS_USERFAULTFD                                                            \
  do {                                                                               \
    if (const char* missing = ::glissade::selftest::why_no_userfaultfd()) SKIP(missing); \
  } while (0)

}  // namespace glissade::selftest
