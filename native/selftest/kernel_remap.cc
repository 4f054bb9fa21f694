// What the flip and the closing handshake ask of the kernel, each asked alone: mremap that leaves an empty mapping
// behind, registration around it, many threads placing one page, faults read by a thread, events in the way; and
// that injected errors leave the memory in a state that a kernel could have left.
#include <poll.h>

#include <cstdio>

#include "core/kernel/probe.h"
#include "selftest/kernel.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

using namespace glissade;
using namespace glissade::selftest;

namespace {

constexpr int kFlip = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;

// How many VMAs lie in [start, start + bytes).
int vma_count(const u8* start, std::size_t bytes) {
  FILE* maps = std::fopen("/proc/self/maps", "r");
  if (maps == nullptr) return -1;
  int count = 0;
  char line[512];
  const auto low = reinterpret_cast<std::uintptr_t>(start);
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    unsigned long from = 0, to = 0;
    if (std::sscanf(line, "%lx-%lx", &from, &to) == 2 && from < low + bytes && to > low) count++;
  }
  std::fclose(maps);
  return count;
}

}  // namespace

TEST(kernel_mremap_dontunmap_leaves_the_range_mapped_and_empty) {
  Pages heap(16), elsewhere(16, PROT_NONE);
  heap.fill(3);
  void* moved = mremap(heap.at, heap.bytes, heap.bytes, kFlip, elsewhere.at);
  if (moved == MAP_FAILED && errno == EINVAL) SKIP("this kernel has no MREMAP_DONTUNMAP");
  REQUIRE(moved == elsewhere.at);
  for (std::size_t i = 0; i < 16; i++) {
    CHECK(elsewhere.holds(i, static_cast<u8>(3 + i)));  // and readable: protection came along
    CHECK(!resident(heap.page(i)));
  }
  heap.page(5)[0] = 1;
  CHECK(elsewhere.holds(5, 8));
}

// The flip in full, several cycles of it: mremap away, pre-fault above the part to be registered, register,
// DONTNEED, resolve each touch by a MOVE from from-space, unregister. The number of VMAs must not grow.
TEST(kernel_flip_cycles_leave_one_vma) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  constexpr std::size_t kHuge = std::size_t{2} << 20, kBytes = 8 * kHuge, kUsed = 2 * kHuge;
  Pages room(2 * kBytes / kPage + 1024);
  u8* heap = reinterpret_cast<u8*>((reinterpret_cast<std::uintptr_t>(room.at) + kHuge - 1) & ~(kHuge - 1));
  u8* from = heap + kBytes + kHuge;
  // A guard on either side keeps the ranges from merging with each other.
  REQUIRE_EQ(mprotect(heap + kBytes, kHuge, PROT_NONE), 0);
  REQUIRE_EQ(mprotect(from, room.at + room.bytes - from, PROT_NONE), 0);
  if (heap > room.at) REQUIRE_EQ(mprotect(room.at, static_cast<std::size_t>(heap - room.at), PROT_NONE), 0);
  const std::size_t from_bytes = static_cast<std::size_t>(room.at + room.bytes - from) & ~(kPage - 1);
  const std::size_t bytes = from_bytes < kBytes ? from_bytes & ~(kHuge - 1) : kBytes;
  for (std::size_t at = 0; at < kUsed; at += kPage) std::memset(heap + at, static_cast<int>(1 + at / kPage % 200), kPage);
  for (int cycle = 0; cycle < 4; cycle++) {
    void* moved = mremap(heap, bytes, bytes, kFlip, from);
    if (moved == MAP_FAILED && errno == EINVAL && cycle == 0) SKIP("this kernel has no MREMAP_DONTUNMAP");
    REQUIRE(moved == from);
    static_cast<volatile u8*>(heap)[kUsed] = 0;  // the pre-fault
    REQUIRE(uffd.register_missing(heap, kUsed).ok());
    REQUIRE_EQ(madvise(heap, kUsed, MADV_DONTNEED), 0);
    {
      struct Context {
        const Userfaultfd* uffd;
        u8 *heap, *from;
      } context{&uffd, heap, from};
      SigbusRouter router(
          [](u8* page, void* opaque) {
            auto& c = *static_cast<Context*>(opaque);
            c.uffd->move(page, c.from + (page - c.heap), kPage);
          },
          &context);
      for (std::size_t at = 0; at < kUsed; at += kPage) CHECK_EQ(touch(heap + at + 9), 1 + at / kPage % 200);
      CHECK_EQ(SigbusRouter::faults(), static_cast<int>(kUsed / kPage));
    }
    REQUIRE(uffd.unregister(heap, kUsed).ok());
    REQUIRE(mmap(from, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == from);
    CHECK_EQ(vma_count(heap, bytes), 1);
  }
}

namespace {
struct Race {
  static constexpr std::size_t kCount = 256;
  static constexpr int kThreads = 4;
  const Userfaultfd* uffd;
  u8* to;
  u8* buffers;  // one set a thread, all with the same content
  std::atomic<int> next_thread{0};
  std::atomic<int> placed{0}, existing{0}, other{0};
};
void* race_body(void* opaque) {
  auto& race = *static_cast<Race*>(opaque);
  const int me = race.next_thread.fetch_add(1);
  for (std::size_t i = 0; i < Race::kCount; i++) {
    u8* buffer = race.buffers + (static_cast<std::size_t>(me) * Race::kCount + i) * kPage;
    UffdResult result{0, EAGAIN};
    while (result.error == EAGAIN) result = race.uffd->move(race.to + i * kPage, buffer, kPage);
    (result.ok() ? race.placed : result.error == EEXIST ? race.existing : race.other).fetch_add(1);
  }
  return nullptr;
}
}  // namespace

// Invariant 1 at the kernel's end: any thread may place any page, and EEXIST picks the winner.
TEST(kernel_many_threads_place_one_page_once) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(Race::kCount), buffers(Race::kCount * Race::kThreads);
  for (std::size_t i = 0; i < buffers.count(); i++) std::memset(buffers.page(i), 1 + static_cast<int>(i % Race::kCount % 250), kPage);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  Race race{&uffd, to.at, buffers.at};
  Threads threads;
  for (int i = 0; i < Race::kThreads; i++) threads.start(race_body, &race);
  threads.join();
  CHECK_EQ(race.other.load(), 0);
  CHECK_EQ(race.placed.load() + race.existing.load(), static_cast<int>(Race::kCount) * Race::kThreads);
  // A stale EEXIST (Linux 6.18) may hide a placing of one's own, so `placed` is a lower bound.
  CHECK(race.placed.load() <= static_cast<int>(Race::kCount));
  for (std::size_t i = 0; i < Race::kCount; i++) CHECK(to.holds(i, static_cast<u8>(1 + i % 250)));
}

namespace {
struct Served {
  const Userfaultfd* uffd;
  u8* from;
  u8* to;
  std::atomic<int> faults{0};
  std::atomic<bool> stop{false};
};
void* serve_faults(void* opaque) {
  auto& served = *static_cast<Served*>(opaque);
  while (!served.stop.load()) {
    pollfd waiting{served.uffd->fd(), POLLIN, 0};
    if (poll(&waiting, 1, 20) <= 0) continue;
    UffdFault fault;
    while (served.uffd->read_fault(&fault) == 0) {
      served.faults.fetch_add(1);
      const std::size_t offset = fault.address - reinterpret_cast<std::uintptr_t>(served.to);
      const UffdResult moved = served.uffd->move(served.to + offset, served.from + offset, kPage);
      if (!moved.ok()) served.uffd->wake(served.to + offset, kPage);
    }
  }
  return nullptr;
}
}  // namespace

TEST(kernel_thread_mode_delivers_each_fault_to_the_reader) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(0), 0);
  constexpr std::size_t kCount = 32;
  Pages to(kCount), from(kCount);
  from.fill(20);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  Served served{&uffd, from.at, to.at};
  Threads threads;
  threads.start(serve_faults, &served);
  for (std::size_t i = 0; i < kCount; i++) CHECK(to.holds(i, static_cast<u8>(20 + i)));
  CHECK_EQ(served.faults.load(), static_cast<int>(kCount));
  served.stop.store(true);
  threads.join();
}

TEST(kernel_blocked_sigbus_kills_the_process) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages pages(1);
  const pid_t child = fork();
  if (child == 0) {
    // A descriptor of its own: registrations are not inherited.
    Userfaultfd own;
    if (own.open(uffd::kFeatureSigbus) != 0 || !own.register_missing(pages.at, pages.bytes).ok()) _exit(90);
    struct sigaction action {};
    action.sa_handler = [](int) { _exit(91); };
    sigaction(SIGBUS, &action, nullptr);
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGBUS);
    sigprocmask(SIG_BLOCK, &blocked, nullptr);
    touch(pages.at);
    _exit(92);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
  CHECK_EQ(WTERMSIG(status), SIGBUS);
}

namespace {
void* drop_first_page(void* page) {
  madvise(page, kPage, MADV_DONTNEED);  // returns when the event has been read
  return nullptr;
}
}  // namespace

TEST(kernel_pending_event_makes_every_operation_eagain) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  if (uffd.open(uffd::kFeatureEventRemove) != 0) SKIP("this process may not have REMOVE events");
  Pages to(4), from(4);
  from.fill();
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  REQUIRE(uffd.copy(to.page(0), from.page(0), kPage).ok());
  Threads threads;
  threads.start(drop_first_page, to.page(0));
  pollfd waiting{uffd.fd(), POLLIN, 0};
  REQUIRE_EQ(poll(&waiting, 1, 120'000), 1);
  for (const UffdResult& result : {uffd.move(to.page(1), from.page(1), kPage), uffd.copy(to.page(2), from.page(2), kPage),
                                   uffd.zeropage(to.page(3), kPage)}) {
    CHECK_EQ(result.error, EAGAIN);
    CHECK_EQ(result.done, 0);
  }
  UffdFault fault;
  CHECK_EQ(uffd.read_fault(&fault), EAGAIN);  // takes the event, finds no fault
  threads.join();
  CHECK(uffd.move(to.page(1), from.page(1), kPage).ok());
}

TEST(injected_eagain_does_half_a_batch) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(8), from(8);
  from.fill(1);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  char message[200];
  REQUIRE(injection::configure("move:EAGAIN=once", 1, message, sizeof message));
  const UffdResult result = uffd.move(to.at, from.at, to.bytes);
  CHECK_EQ(result.error, EAGAIN);
  CHECK_EQ(result.done, static_cast<std::int64_t>(4 * kPage));
  CHECK(uffd.move(to.page(4), from.page(4), 4 * kPage).ok());
  injection::clear();
  for (std::size_t i = 0; i < 8; i++) CHECK(to.holds(i, static_cast<u8>(1 + i)));
}

TEST(injected_eexist_maps_the_page_and_does_not_count_it) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(2), from(2);
  from.fill(1);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  char message[200];
  REQUIRE(injection::configure("move:EEXIST=once", 1, message, sizeof message));
  const UffdResult result = uffd.move(to.at, from.at, to.bytes);
  injection::clear();
  CHECK_EQ(result.error, EEXIST);
  CHECK_EQ(result.done, 0);
  CHECK(to.holds(0, 1));
  CHECK(!resident(to.page(1)));
}

TEST(injected_ebusy_and_mremap_errors_touch_nothing) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(2), from(2);
  from.fill(1);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  char message[200];
  REQUIRE(injection::configure("move:EBUSY=1,zeropage:ENOMEM=1,mremap:ENOMEM=1", 1, message, sizeof message));
  CHECK_EQ(uffd.move(to.at, from.at, to.bytes).error, EBUSY);
  CHECK_EQ(uffd.zeropage(to.at, kPage).error, ENOMEM);
  CHECK_EQ(injection::check(injection::Op::Mremap), ENOMEM);
  CHECK_EQ(injection::total(), 3u);
  injection::clear();
  CHECK(!resident(to.page(0)));
  CHECK(from.holds(0, 1));
}

TEST(probe_agrees_with_the_wrapper_and_ignores_injection) {
  char message[200];
  REQUIRE(injection::configure("move:EBUSY=1,copy:EBUSY=1,register:EPERM=1", 1, message, sizeof message));
  errno = EXDEV;  // that of somebody else
  const Probe found = probe();
  injection::clear();
  CHECK(found.kernel[0] != 0);
  CHECK_EQ(found.userfaultfd.available, found.userfaultfd.errno_ == 0);
  CHECK_EQ(found.userfaultfd.available && found.userfaultfd.move && found.userfaultfd.sigbus,
           why_no_userfaultfd() == nullptr);
  // A reason for whatever is missing, and for nothing else.
  CHECK_EQ(found.userfaultfd.available, found.userfaultfd.step[0] == 0);
  CHECK_EQ(found.mremap_dontunmap, found.mremap_errno == 0);
  if (!found.userfaultfd.available) return;
  CHECK_EQ(found.userfaultfd.move, found.userfaultfd.move_errno == 0);
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(0), 0);
  CHECK_EQ(found.userfaultfd.wp_async, (uffd.features() & uffd::kFeatureWpAsync) != 0);
  CHECK_EQ(found.userfaultfd.user_mode_only, uffd.user_mode_only());
}

TEST(probe_leaves_errno_alone_and_nothing_open) {
  const int before = open("/dev/null", O_RDONLY | O_CLOEXEC);
  close(before);
  for (u32 i = 0; i < 3; i++) {
    errno = EXDEV;
    probe();
    CHECK_EQ(errno, EXDEV);
  }
  const int after = open("/dev/null", O_RDONLY | O_CLOEXEC);
  close(after);
  CHECK_EQ(after, before);
}

TEST(answers_are_counted_under_their_name_and_those_without_one_as_others) {
  Userfaultfd uffd;
  const struct { int error; const char* name; } answers[] = {{EAGAIN, "EAGAIN"}, {EEXIST, "EEXIST"}, {EMFILE, "EMFILE"}, {ENOSYS, "ENOSYS"}, {EDOM, "other"}, {EXDEV, "other"}};
  const auto counted = [&](const char* name) {
    u64 count = 0;
    for (int kind = 0; kind < Userfaultfd::kErrorKinds; kind++) {
      if (std::strcmp(Userfaultfd::error_name(kind), name) == 0) count += uffd.errors(injection::Op::Mremap, kind);
    }
    return count;
  };
  for (const auto& [error, name] : answers) {
    const u64 before = counted(name);
    uffd.record(injection::Op::Mremap, error);
    CHECK_EQ(counted(name), before + 1);
  }
  u64 all = 0;
  for (int kind = 0; kind < Userfaultfd::kErrorKinds; kind++) all += uffd.errors(injection::Op::Mremap, kind);
  CHECK_EQ(all, 6u);
  uffd.record(injection::Op::Mremap, 0);
  CHECK_EQ(uffd.calls(injection::Op::Mremap), 7u);
  CHECK_EQ(uffd.errors(injection::Op::Move, 0), 0u);
}
