// What the page barrier costs, without a heap around it: the time of one touch of a page that is not there, from the
// touching thread's side, for every way in which the page can come.
//
//   first touch       an ordinary anonymous page, zeroed by the kernel: what any program pays for new memory
//   bare SIGBUS       a fault in a registered range whose handler steps over the instruction: the signal's round trip alone
//   WHO HOW RUN       WHO serves it: the handler on the touching thread (sigbus), or a thread that reads the descriptor
//                     (thread). HOW: MOVE or COPY of a page that is ready, or ZEROPAGE. RUN: pages placed by one fault
//                     (fault-around); only the first faults. `perPage`: the median run, warm touches included, by its pages
//   place HOW RUN     no fault: a thread that places pages one after another, as the collector does
//
// Readings of the clock are chained (one touch ends where the next begins), so one reading is in every figure. Each case
// goes through all its pages in the order of addresses, once in each of several rounds that go through all cases; the
// percentiles are of the touches that fault.
#include "selftest/barrier-bench.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "core/kernel/clock.h"
#include "selftest/kernel.h"

namespace glissade::selftest {
namespace {

constexpr u32 kPages = 8192;
constexpr int kRounds = 4;

enum class How { Move, Copy, Zero };

// What the handlers need; set before a case and read by them.
struct Case {
  const Userfaultfd* uffd;
  u8* to;
  u8* from;
  How how;
  u32 run;  // a power of two
  bool bare;
};
Case current;

void place(u32 page, u32 pages) {
  u8* to = current.to + page * kPage;
  const u8* from = current.from + page * kPage;
  std::size_t done = 0;
  const std::size_t bytes = pages * kPage;
  while (done < bytes) {
    const UffdResult result = current.how == How::Move   ? current.uffd->move(to + done, from + done, bytes - done)
                              : current.how == How::Copy ? current.uffd->copy(to + done, from + done, bytes - done)
                                                         : current.uffd->zeropage(to + done, bytes - done);
    if (result.done > 0) done += static_cast<std::size_t>(result.done);
    if (result.ok() || result.error == EAGAIN) continue;
    // Not placed, the touch would fault again, for ever.
    static const char told[] = "Error: the kernel refused to place a page that it placed before\n";
    [[maybe_unused]] const ssize_t ignored = write(STDERR_FILENO, told, sizeof told - 1);
    _exit(1);
  }
}

// Whether pages are placed this way here at all.
bool can_place(How how) {
  Userfaultfd uffd(Userfaultfd::Injection::Off);
  if (uffd.open(uffd::kFeatureSigbus) != 0) return false;
  Pages to(1), from(1);
  if (!uffd.register_missing(to.at, to.bytes).ok()) return false;
  from.fill();
  const UffdResult result = how == How::Move   ? uffd.move(to.at, from.at, kPage)
                            : how == How::Copy ? uffd.copy(to.at, from.at, kPage)
                                               : uffd.zeropage(to.at, kPage);
  uffd.unregister(to.at, to.bytes);
  return result.ok();
}

void resolve(std::uintptr_t address) {
  const u32 page = static_cast<u32>((address - reinterpret_cast<std::uintptr_t>(current.to)) / kPage);
  place(page & ~(current.run - 1), current.run);
}

// Two bytes long on x86-64, four on arm64, so that the bare handler can step over it.
inline void touch_page(u8* page) {
#if defined(__x86_64__)
  unsigned char value;
  __asm__ __volatile__("movb (%%rdi), %%al" : "=a"(value) : "D"(page) : "memory");
#else
  unsigned value;
  __asm__ __volatile__("ldrb %w0, [%1]" : "=r"(value) : "r"(page) : "memory");
#endif
}

void on_sigbus(int, siginfo_t* info, void* context) {
  const int saved = errno;
  if (current.bare) {
    auto* machine = &static_cast<ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
    machine->gregs[REG_RIP] += 2;
#else
    machine->pc += 4;
#endif
  } else {
    resolve(reinterpret_cast<std::uintptr_t>(info->si_addr));
  }
  errno = saved;
}

std::atomic<bool> stop_thread{false};

void* serve(void*) {
  pollfd waiting{current.uffd->fd(), POLLIN, 0};
  while (!stop_thread.load(std::memory_order_relaxed)) {
    if (poll(&waiting, 1, 20) <= 0) continue;
    UffdFault fault;
    while (current.uffd->read_fault(&fault) == 0) resolve(fault.address);
  }
  return nullptr;
}

struct Samples {
  std::vector<u32> ns;       // of the touches that begin a run, or of the placings
  std::vector<u32> runs_ns;  // of whole runs
  u32 run = 1;
};

double quantile(std::vector<u32>& sorted, double fraction) {
  if (sorted.empty()) return 0;
  const auto rank = static_cast<std::size_t>(fraction * static_cast<double>(sorted.size()));
  return sorted[std::min(rank, sorted.size() - 1)] / 1000.0;
}

bool first_object = true;

void print(const char* name, Samples& samples) {
  std::sort(samples.ns.begin(), samples.ns.end());
  std::sort(samples.runs_ns.begin(), samples.runs_ns.end());
  auto at = [&](double fraction) { return quantile(samples.ns, fraction); };
  std::printf("%s\n\"%s\":{\"count\":%zu,\"p50\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"p9999\":%.3f,\"max\":%.3f,\"perPage\":%.4f}",
              first_object ? "" : ",", name, samples.ns.size(), at(0.5), at(0.99), at(0.999), at(0.9999), at(1.0),
              quantile(samples.runs_ns, 0.5) / samples.run);
  first_object = false;
}

// Touches every page once; keeps the times of those that begin a run.
void touch_all(u8* at, u32 run, Samples& samples) {
  samples.run = run;
  u64 last = now_ns(), begin = last;
  for (u32 page = 0; page < kPages; page++) {
    if ((page & (run - 1)) == 0) begin = last;
    touch_page(at + page * kPage);
    const u64 now = now_ns();
    if ((page & (run - 1)) == 0) samples.ns.push_back(static_cast<u32>(now - last));
    if (((page + 1) & (run - 1)) == 0) samples.runs_ns.push_back(static_cast<u32>(now - begin));
    last = now;
  }
}

void first_touches(Samples& samples) {
  Pages pages(kPages);
  // Written, as new memory is: a read would get the shared zero page.
  u64 last = now_ns();
  for (u32 page = 0; page < kPages; page++) {
    *const_cast<volatile u8*>(pages.page(page)) = 1;
    const u64 now = now_ns();
    samples.ns.push_back(static_cast<u32>(now - last));
    last = now;
  }
}

// One round of a case; false if the kernel refuses.
bool faults(Samples& samples, bool by_thread, How how, u32 run, bool bare = false) {
  Userfaultfd uffd(Userfaultfd::Injection::Off);
  if (uffd.open(by_thread ? 0 : uffd::kFeatureSigbus) != 0) return false;
  Pages to(kPages), from(how == How::Zero || bare ? 1 : kPages);
  if (!uffd.register_missing(to.at, to.bytes).ok()) return false;
  from.fill();
  current = {&uffd, to.at, from.at, how, run, bare};
  pthread_t thread;
  if (by_thread) {
    stop_thread.store(false);
    pthread_create(&thread, nullptr, serve, nullptr);
  }
  touch_all(to.at, run, samples);
  if (by_thread) {
    stop_thread.store(true);
    pthread_join(thread, nullptr);
  }
  uffd.unregister(to.at, to.bytes);
  return true;
}

bool placing(Samples& samples, How how, u32 run) {
  Userfaultfd uffd(Userfaultfd::Injection::Off);
  if (uffd.open(uffd::kFeatureSigbus) != 0) return false;
  Pages to(kPages), from(kPages);
  if (!uffd.register_missing(to.at, to.bytes).ok()) return false;
  from.fill();
  current = {&uffd, to.at, from.at, how, run, false};
  u64 last = now_ns();
  for (u32 page = 0; page < kPages; page += run) {
    place(page, run);
    const u64 now = now_ns();
    samples.ns.push_back(static_cast<u32>(now - last));
    last = now;
  }
  uffd.unregister(to.at, to.bytes);
  samples.run = run;
  return true;
}

enum class Kind { FirstTouch, Bare, Fault, Place };

struct Measured {
  char name[32];
  Kind kind;
  bool by_thread = false;
  How how = How::Zero;
  u32 run = 1;
  Samples samples = {};
  bool refused = false;

  void round() {
    switch (kind) {
      case Kind::FirstTouch: first_touches(samples); return;
      case Kind::Bare: refused |= !faults(samples, false, How::Zero, 1, true); return;
      case Kind::Fault: refused |= !faults(samples, by_thread, how, run); return;
      case Kind::Place: refused |= !placing(samples, how, run); return;
    }
  }
};

}  // namespace

int bench_barrier() {
  struct sigaction action {};
  action.sa_sigaction = on_sigbus;
  action.sa_flags = SA_SIGINFO;
  sigfillset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);

  std::vector<Measured> all;
  all.push_back({"first touch", Kind::FirstTouch});
  all.push_back({"bare SIGBUS", Kind::Bare});
  const char* const hows[] = {"MOVE", "COPY", "ZEROPAGE"};
  const bool can[] = {can_place(How::Move), can_place(How::Copy), can_place(How::Zero)};
  const auto add = [&](const char* who, Kind kind, bool by_thread, How how, u32 run) {
    if (!can[static_cast<int>(how)]) return;
    Measured one{"", kind, by_thread, how, run};
    std::snprintf(one.name, sizeof one.name, "%s %s %u", who, hows[static_cast<int>(how)], run);
    all.push_back(one);
  };
  for (u32 run : {1u, 4u, 16u, 32u, 64u}) {
    for (bool by_thread : {false, true}) {
      for (How how : {How::Move, How::Copy, How::Zero}) add(by_thread ? "thread" : "sigbus", Kind::Fault, by_thread, how, run);
    }
  }
  for (u32 run : {1u, 64u}) {
    for (How how : {How::Move, How::Copy}) add("place", Kind::Place, false, how, run);
  }
  // Round by round, so that what else the machine does meanwhile falls on all alike.
  for (int round = 0; round < kRounds; round++) {
    for (Measured& one : all) one.round();
  }
  std::printf("{");
  bool any = false;
  for (Measured& one : all) {
    if (one.refused) continue;
    any |= one.kind != Kind::FirstTouch;
    if (one.samples.runs_ns.empty()) one.samples.runs_ns = one.samples.ns;
    print(one.name, one.samples);
  }
  std::printf("\n}\n");
  return any ? 0 : 1;
}

}  // namespace glissade::selftest
