// Relocation is atomic: while pages move under the hands of threads that read and write them, no write is lost, no word is
// torn, and nothing is written to a page that has been left behind.
//
// Three ways of moving, each with faults served by signal and by a thread:
//   exchange  a page is moved out of the live range to another one and, by whoever touches it, moved back: UFFDIO_MOVE
//             alone, with nothing around it. The kernel takes the entry away, flushes it everywhere, and only then puts it
//             elsewhere; it is the same physical page all the time.
//   flip      the live range is taken away whole (mremap leaves it mapped and empty) and placed again page by page by MOVE
//             or by COPY: what the collector does, without a collector
//   heap      the collector itself: objects that are written while collections follow one another
// COPY out of memory that can be written would lose what is written between the copy and the dropping of the source: the
// test `a_copy_of_a_page_that_can_be_written_loses_a_write` shows it. The flip is what makes COPY safe: no mutator has an
// address of from-space, so a source never changes after the first byte of it has been read. `flip` checks just that, by
// comparing each source, when all is placed, with a copy taken before the first placing.
//
// What each thread does, for as long as it runs: it owns one word in each page and writes the count of its writes there to it,
// in both halves, one complemented (a torn word shows); before each write it reads back the last (a lost write shows). It reads words of other threads: whole, and never older than once seen. And it adds to counters shared by
// all, whose sums must come out in the end. Accesses are relaxed: plain loads and stores on the machine.
#include "selftest/atomicity.h"

#include <poll.h>

#include <cstdio>
#include <cstdlib>

#include "core/kernel/clock.h"
#include "native-mutator.h"
#include "selftest/kernel.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

using namespace glissade;
using namespace glissade::selftest;
using namespace glissade::testing;

namespace glissade::selftest {
namespace {

constexpr u32 kThreads = 3;
constexpr u32 kPages = 48;
constexpr u32 kWordsPerPage = kPage / 8;

struct Tally {
  std::atomic<u64> writes{0}, reads{0}, adds{0}, lost{0}, torn{0}, older{0}, abandoned{0}, rounds{0}, placed{0};
  u64 violations() const { return lost + torn + older + abandoned; }
};

u64 whole(u32 count) { return u64{~count} << 32 | count; }

/// One thread's work on memory of kPages pages, wherever `base()` says that it is now.
class Worker {
 public:
  Worker(u32 me, u64 seed, Tally& tally) : me_(me), random_(seed), tally_(tally) {}

  /// Some hundred accesses of pages chosen at random. `page(i)` is where page i is.
  template <typename Page>
  void work(Page&& page) {
    for (u32 step = 0; step < 128; step++) {
      const u32 p = random_.below(kPages);
      u64* words = page(p);
      u64* own = words + slot(me_, p);
      const u64 seen = load(own);
      if (seen != whole(written_[p])) (whole(static_cast<u32>(seen)) != seen ? tally_.torn : tally_.lost).fetch_add(1);
      store(own, whole(++written_[p]));
      const u32 other = random_.below(kThreads);
      const u64 theirs = load(words + slot(other, p));
      const u32 count = static_cast<u32>(theirs);
      if (whole(count) != theirs) tally_.torn.fetch_add(1);
      else if (count < seen_[other][p]) tally_.older.fetch_add(1);
      else seen_[other][p] = count;
      __atomic_fetch_add(words + kCounter, 1, __ATOMIC_RELAXED);
      added_++;
    }
    tally_.writes.fetch_add(128, std::memory_order_relaxed);
    tally_.reads.fetch_add(256, std::memory_order_relaxed);
    tally_.adds.fetch_add(128, std::memory_order_relaxed);
  }
  /// What this thread wrote last to page i stands there.
  bool stands(u32 i, const u64* words) const { return load(words + slot(me_, i)) == whole(written_[i]); }
  u64 added() const { return added_; }

  static constexpr u32 kCounter = kWordsPerPage - 1;
  static u32 slot(u32 thread, u32 p) { return (thread * 151 + p * 17) % (kWordsPerPage - 2); }
  static void begin(u64* words, u32 p) {
    for (u32 thread = 0; thread < kThreads; thread++) store(words + slot(thread, p), whole(0));
  }

 private:
  static u64 load(const u64* word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }
  static void store(u64* word, u64 value) { __atomic_store_n(word, value, __ATOMIC_RELAXED); }

  const u32 me_;
  Random random_;
  Tally& tally_;
  u32 written_[kPages] = {};
  u32 seen_[kThreads][kPages] = {};
  u64 added_ = 0;
};

enum class How { Exchange, FlipMove, FlipCopy, HeapMove, HeapCopy };
constexpr How kHows[] = {How::Exchange, How::FlipMove, How::FlipCopy, How::HeapMove, How::HeapCopy};
const char* name(How how) {
  constexpr const char* names[] = {"exchange, MOVE", "flip, MOVE", "flip, COPY", "heap, MOVE", "heap, COPY"};
  return names[static_cast<int>(how)];
}

/// Until `end`; on a busy machine, where a thread may not have had a processor by then, on until something has been done at all.
bool goes_on(u64 end, const Tally& tally) {
  const u64 now = now_ns();
  return now < end || (now < end + 60'000'000'000 && (tally.rounds.load() == 0 || tally.writes.load() == 0));
}

// ── without a heap ────────────────────────────────────────────────────────────────────────────────────────────────

/// The live range, the range behind it, and who brings pages from there.
struct Ranges {
  Ranges(Faults by, How how) : by_thread(by == Faults::Thread), copies(how == How::FlipCopy), live(kPages), behind(kPages), kept(kPages) {}

  void place(u32 page, u32 pages) {
    for (u32 done = 0; done < pages;) {
      u8* to = live.page(page + done);
      const u8* from = behind.page(page + done);
      const std::size_t bytes = (pages - done) * kPage;
      const UffdResult result = copies ? uffd.copy(to, from, bytes) : uffd.move(to, from, bytes);
      done += static_cast<u32>(result.done / static_cast<std::int64_t>(kPage));
      placed.fetch_add(static_cast<u64>(result.done) / kPage, std::memory_order_relaxed);
      // EEXIST: there already. ENOENT: being moved by another. Whatever is amiss, the touch is repeated and comes again.
      if (!result.ok() && result.error != EAGAIN) done++;
    }
  }
  u32 page_of(std::uintptr_t address) const { return static_cast<u32>((address - reinterpret_cast<std::uintptr_t>(live.at)) / kPage); }

  static void on_sigbus(u8* page, void* opaque) {
    auto& self = *static_cast<Ranges*>(opaque);
    const u32 index = self.page_of(reinterpret_cast<std::uintptr_t>(page));
    if (index < kPages) self.place(index, 1);
  }
  static void* serve(void* opaque) {
    auto& self = *static_cast<Ranges*>(opaque);
    while (!self.stop_serving.load()) {
      pollfd waiting{self.uffd.fd(), POLLIN, 0};
      if (poll(&waiting, 1, 20) <= 0) continue;
      UffdFault fault;
      while (self.uffd.read_fault(&fault) == 0) {
        self.place(self.page_of(fault.address), 1);
        self.uffd.wake(reinterpret_cast<void*>(fault.address), kPage);
      }
    }
    return nullptr;
  }

  const bool by_thread, copies;
  Userfaultfd uffd;
  Pages live, behind, kept;
  std::atomic<u64> placed{0};
  std::atomic<bool> stop_serving{false};
};

struct OnRanges {
  Ranges& ranges;
  Worker worker;
  const std::atomic<bool>& stop;
};
void* work_on_ranges(void* opaque) {
  auto& job = *static_cast<OnRanges*>(opaque);
  while (!job.stop.load(std::memory_order_relaxed)) {
    job.worker.work([&](u32 page) { return reinterpret_cast<u64*>(job.ranges.live.page(page)); });
  }
  return nullptr;
}

/// Pages out of the live range, one here, some there; whoever touches one brings it back, and so does this thread.
void exchange(Ranges& r, Random& random) {
  const u32 page = random.below(kPages), pages = 1 + random.below(kPages - page);
  for (u32 i = page; i < page + pages; i++) {
    // Both ranges are registered, so either can be a destination. A page that is behind already stays there.
    r.uffd.move(r.behind.page(i), r.live.page(i), kPage);
  }
  r.place(page, pages);
}

/// One flip: registered first, then taken away, so that no thread need be stopped. False: the machine does not do this.
bool flip(Ranges& r, Random& random, Tally& tally) {
  if (!r.uffd.register_missing(r.live.at, r.live.bytes).ok()) return false;
  void* moved = mremap(r.live.at, r.live.bytes, r.live.bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, r.behind.at);
  if (moved != r.behind.at) return false;
  if (r.copies) std::memcpy(r.kept.at, r.behind.at, r.behind.bytes);
  for (u32 page = 0; page < kPages;) {
    const u32 run = 1 + random.below(8);
    const u32 pages = run < kPages - page ? run : kPages - page;
    r.place(page, pages);
    page += pages;
  }
  for (u32 page = 0; page < kPages; page++) {
    const bool changed = r.copies ? std::memcmp(r.kept.page(page), r.behind.page(page), kPage) != 0 : resident(r.behind.page(page));
    if (changed) tally.abandoned.fetch_add(1);
  }
  while (!r.uffd.unregister(r.live.at, r.live.bytes).ok()) sched_yield();
  return mmap(r.behind.at, r.behind.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == r.behind.at;
}

const char* without_heap(How how, Faults faults, double seconds, u64 seed, Tally& tally) {
  Ranges r(faults, how);
  if (r.uffd.open(faults == Faults::Sigbus ? uffd::kFeatureSigbus : 0) != 0) return "no userfaultfd";
  for (u32 i = 0; i < kPages; i++) Worker::begin(reinterpret_cast<u64*>(r.live.page(i)), i);
  if (how == How::Exchange) {
    if (!r.uffd.register_missing(r.live.at, r.live.bytes).ok() || !r.uffd.register_missing(r.behind.at, r.behind.bytes).ok()) return "no registration";
  }
  SigbusRouter router(Ranges::on_sigbus, &r);
  std::atomic<bool> stop{false};
  Threads threads, server;
  if (r.by_thread) server.start(Ranges::serve, &r);
  std::vector<OnRanges*> jobs;
  for (u32 i = 0; i < kThreads; i++) jobs.push_back(new OnRanges{r, Worker(i, seed + i, tally), stop});
  for (OnRanges* job : jobs) threads.start(work_on_ranges, job);
  Random random(seed ^ 0xFFFF);
  const char* failed = nullptr;
  const u64 end = now_ns() + static_cast<u64>(seconds * 1e9);
  while (failed == nullptr && goes_on(end, tally)) {
    if (how == How::Exchange) exchange(r, random);
    else if (!flip(r, random, tally)) failed = "mremap of a registered range";
    tally.rounds.fetch_add(1);
  }
  stop = true;
  threads.join();
  u64 added = 0, counted = 0;
  for (OnRanges* job : jobs) {
    for (u32 i = 0; i < kPages; i++) {
      if (!job->worker.stands(i, reinterpret_cast<u64*>(r.live.page(i)))) tally.lost.fetch_add(1);
    }
    added += job->worker.added();
    delete job;
  }
  for (u32 i = 0; i < kPages; i++) counted += reinterpret_cast<u64*>(r.live.page(i))[Worker::kCounter];
  if (added != counted) tally.lost.fetch_add(added > counted ? added - counted : 1);
  r.stop_serving = true;
  server.join();
  tally.placed.fetch_add(r.placed.load());
  return failed;
}

// ── with one ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// Arrays of bytes that all threads share, found through a table of roots that belongs to the heap.
struct OnHeap {
  TestHeap& test;
  const u32* table;
  Worker worker;
  const std::atomic<bool>& stop;
};
void* work_on_heap(void* opaque) {
  auto& job = *static_cast<OnHeap*>(opaque);
  NativeMutator m(job.test, 8);
  u8* memory = job.test.heap->space.heap_buffer();
  while (!job.stop.load(std::memory_order_relaxed)) {
    // No safepoint inside: an address once read holds until the next poll.
    job.worker.work([&](u32 page) {
      const u32 ref = __atomic_load_n(job.table + page, __ATOMIC_RELAXED);
      return reinterpret_cast<u64*>(memory + std::size_t{ref} * 4 + 8);
    });
    m.alloc_bytes(512);  // garbage: something to compact
    if (m.must_poll()) m.poll();
  }
  return nullptr;
}

const char* with_heap(How how, Faults faults, double seconds, u64 seed, Tally& tally) {
  HeapOptions options = small_heap();
  options.verify = 0;
  options.faults = faults;
  options.relocation = how == How::HeapCopy ? Relocation::Copy : Relocation::Move;
  TestHeap test(options);
  if (!test.heap) return "no heap";
  {
    NativeMutator m(test, 64);
    const i32 area = test.heap->create_area(layout::AreaKind::RefTable, kPages, -1);
    AreaView view;
    if (area < 0 || !test.heap->roots.view(static_cast<u32>(area), view)) return "no root area";
    layout::store_word(test.heap->space.control()[layout::kAreaBase + static_cast<u32>(area) * layout::kAreaWords + layout::kAreaTop], kPages);
    for (u32 i = 0; i < kPages; i++) {
      m.alloc_bytes(1024);  // dead soon: what follows it moves
      const u32 array = m.alloc_bytes(kPage);
      __atomic_store_n(view.words + i, array, __ATOMIC_RELEASE);
      Worker::begin(reinterpret_cast<u64*>(test.heap->space.heap_buffer() + std::size_t{array} * 4 + 8), i);
    }
    std::atomic<bool> stop{false};
    std::vector<OnHeap*> jobs;
    for (u32 i = 0; i < kThreads; i++) jobs.push_back(new OnHeap{test, view.words, Worker(i, seed + i, tally), stop});
    Threads threads;
    for (OnHeap* job : jobs) threads.start(work_on_heap, job);
    m.park();
    const u64 end = now_ns() + static_cast<u64>(seconds * 1e9);
    while (goes_on(end, tally)) {
      test.heap->collect();
      tally.rounds.fetch_add(1);
    }
    stop = true;
    threads.join();
    m.unpark();
    u64 added = 0, counted = 0;
    const auto words = [&](u32 i) {
      return reinterpret_cast<u64*>(test.heap->space.heap_buffer() + std::size_t{__atomic_load_n(view.words + i, __ATOMIC_RELAXED)} * 4 + 8);
    };
    for (OnHeap* job : jobs) {
      for (u32 i = 0; i < kPages; i++) {
        if (!job->worker.stands(i, words(i))) tally.lost.fetch_add(1);
      }
      added += job->worker.added();
      delete job;
    }
    for (u32 i = 0; i < kPages; i++) counted += words(i)[Worker::kCounter];
    if (added != counted) tally.lost.fetch_add(added > counted ? added - counted : 1);
    const Statistics& s = test.heap->statistics;
    tally.placed.fetch_add(s.pagesMoved.load() + s.pagesCopied.load());
    if (s.flips.load() == 0) return "the heap never moved";
  }
  u32 page;
  return test.heap->take_relocation_error(page) ? "a page could not be moved" : nullptr;
}

const char* run(How how, Faults faults, double seconds, u64 seed, Tally& tally) {
  return how >= How::HeapMove ? with_heap(how, faults, seconds, seed, tally) : without_heap(how, faults, seconds, seed, tally);
}

void print(How how, Faults faults, u64 seed, const Tally& t, const char* failed) {
  const auto n = [](const std::atomic<u64>& count) { return static_cast<unsigned long long>(count.load()); };
  std::printf("%-14s %-6s %9llu rounds %11llu placed %12llu writes %12llu adds: %llu lost, %llu torn, %llu older, %llu abandoned%s%s",
              name(how), faults == Faults::Sigbus ? "sigbus" : "thread", n(t.rounds), n(t.placed), n(t.writes), n(t.adds), n(t.lost), n(t.torn),
              n(t.older), n(t.abandoned), failed != nullptr ? "; " : "", failed != nullptr ? failed : "");
  if (t.violations() != 0) std::printf("; seed %llu", static_cast<unsigned long long>(seed));
  std::printf("\n");
  std::fflush(stdout);
}

constexpr u64 kSeed = 20;
#ifdef GLISSADE_SANITIZE
constexpr double kSeconds = 0.25;
#else
constexpr double kSeconds = 0.5;
#endif

void check(How how, Faults faults) {
  if (const char* missing = why_no_userfaultfd()) SKIP(missing);
  Tally tally;
  const char* failed = run(how, faults, kSeconds, kSeed, tally);
  if (failed != nullptr || tally.violations() != 0) print(how, faults, kSeed, tally, failed);
  CHECK(failed == nullptr);
  CHECK_EQ(tally.violations(), 0u);
  CHECK(tally.rounds.load() > 0 && tally.placed.load() > 0 && tally.writes.load() > 0);
}

}  // namespace

int run_atomicity(double seconds) {
  if (const char* missing = why_no_userfaultfd()) {
    std::fprintf(stderr, "selftest --atomicity: %s\n", missing);
    return 1;
  }
  u64 violations = 0;
  bool failed_any = false;
  for (How how : kHows) {
    for (Faults faults : {Faults::Sigbus, Faults::Thread}) {
      const u64 seed = now_ns() >> 10;
      Tally tally;
      const char* failed = run(how, faults, seconds / 10, seed, tally);
      print(how, faults, seed, tally, failed);
      violations += tally.violations();
      failed_any |= failed != nullptr;
    }
  }
  return violations != 0 || failed_any ? 1 : 0;
}

}  // namespace glissade::selftest

TEST(atomic_exchange_by_move) { check(How::Exchange, Faults::Sigbus); }
TEST(atomic_exchange_by_move_with_a_fault_thread) { check(How::Exchange, Faults::Thread); }
TEST(atomic_flip_by_move) { check(How::FlipMove, Faults::Sigbus); }
TEST(atomic_flip_by_move_with_a_fault_thread) { check(How::FlipMove, Faults::Thread); }
TEST(atomic_flip_by_copy) { check(How::FlipCopy, Faults::Sigbus); }
TEST(atomic_flip_by_copy_with_a_fault_thread) { check(How::FlipCopy, Faults::Thread); }
TEST(atomic_heap_by_move) { check(How::HeapMove, Faults::Sigbus); }
TEST(atomic_heap_by_move_with_a_fault_thread) { check(How::HeapMove, Faults::Thread); }
TEST(atomic_heap_by_copy) { check(How::HeapCopy, Faults::Sigbus); }
TEST(atomic_heap_by_copy_with_a_fault_thread) { check(How::HeapCopy, Faults::Thread); }

// Why the collector never copies out of memory that a mutator can write: the write between copy and drop is gone. A moved
// page takes it along.
TEST(a_copy_of_a_page_that_can_be_written_loses_a_write) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages live(2), elsewhere(2);
  live.fill(1);
  REQUIRE(uffd.register_missing(elsewhere.at, elsewhere.bytes).ok());
  REQUIRE(uffd.copy(elsewhere.page(0), live.page(0), kPage).ok());
  live.page(0)[5] = 99;
  REQUIRE_EQ(madvise(live.page(0), kPage, MADV_DONTNEED), 0);
  CHECK_EQ(touch(elsewhere.page(0) + 5), 1);
  live.page(1)[5] = 99;
  REQUIRE(uffd.move(elsewhere.page(1), live.page(1), kPage).ok());
  CHECK_EQ(touch(elsewhere.page(1) + 5), 99);
}
