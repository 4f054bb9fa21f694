// The allocation slow path: TLABs, large objects, and what happens when there is no room.
//
// A mutator bumps its TLAB in JavaScript; it comes here when the TLAB is full, when a stop is requested (its limit reads 0)
// and for large objects. A TLAB is whole pages, or a hole between live objects (reuse.cc). It reads as zeros when it is handed
// out, and is mapped where the range is registered: nothing that a mutator allocates can meet the page barrier.

#include <time.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/heap.h"
#include "core/kernel/discard.h"

namespace glissade {
namespace {

/// TLABs between remark and the flip, which has to walk those that are open: as long a pause as they are long.
constexpr u32 kBlackTlabPages = 8;
/// TLABs for objects that fit into no hole, while shorter ones have holes to go to.
constexpr u32 kUnfitTlabPages = 2;
/// Of the room that the next cycle needs, what may lie in pieces that are too short for what is allocated: some always are.
constexpr double kOddPieces = 0.1;
constexpr u64 kNap = 100'000;  // nanoseconds
/// Of the hole that will be granted next: nobody has looked at it for long.
constexpr u32 kGranulesFetched = 128;
constexpr u32 kGranulesPerLine = 8;

/// The header of an object, or of the filler that covers the rest of a TLAB.
void write_header(u8* at, u32 shape, u32 word1) {
  u32* words = reinterpret_cast<u32*>(at);
  __atomic_store_n(words + 1, word1, __ATOMIC_RELAXED);
  // The shape last: a walker that sees it sees the length.
  __atomic_store_n(words, shape, __ATOMIC_RELEASE);
}

/// One mutator's part in a count of mutators. Relaxed: `cycle_mutex_` orders what matters, in cycles_begun.
class Counted {
 public:
  explicit Counted(std::atomic<u32>& count) : count_(count) {}
  ~Counted() {
    if (counted_) count_.fetch_sub(1, std::memory_order_relaxed);
  }
  void count() {
    if (!counted_) count_.fetch_add(1, std::memory_order_relaxed);
    counted_ = true;
  }
  bool counted() const { return counted_; }

 private:
  std::atomic<u32>& count_;
  bool counted_ = false;
};

}  // namespace

void Heap::open_tlab(Mutator& mutator, u32 start, u32 limit, bool keeps_rest) {
  mutator.tlab_start = start;
  mutator.tlab_limit = limit;
  mutator.keeps_rest = keeps_rest;
  layout::store_word(mutator.block[layout::kTlabTop], static_cast<i32>(start));
  safepoint.publish_tlab(mutator);
}

void Heap::close_tlab(Mutator& mutator) {
  if (mutator.tlab_start == mutator.tlab_limit) return;
  const u32 top = mutator.tlab_top();
  const u32 limit = mutator.tlab_limit;
  if (top < limit) write_header(address({top}), layout::kFillerShape, ((limit - top) / 2) << layout::kFlagBits);
  if (moving.black && (mutator.tlab_start - base_word) / kWordsPerPage >= moving.black_begin) {
    record_black_pages(mutator.tlab_start, limit);
  }
  mutator.tlab_start = mutator.tlab_limit = 0;
  layout::store_word(mutator.block[layout::kTlabTop], 0);
  layout::store_word(mutator.block[layout::kTlabLimit], 0);
}

void Heap::retire_tlab(Mutator& mutator) {
  mutator.rests.forget();
  close_tlab(mutator);
}

/// The object at hand does not fit into the TLAB. Others may.
void Heap::set_tlab_aside(Mutator& mutator) {
  const TlabRests::Rest rest{mutator.tlab_top(), mutator.tlab_limit};
  close_tlab(mutator);
  if (mutator.keeps_rest) mutator.rests.keep(rest);
}

/// All of a rest is zero but for the filler's header, which the object at hand overwrites.
bool Heap::reopen_rest(Mutator& mutator, u32 need) {
  const TlabRests::Rest rest = mutator.rests.take(need * 2);
  if (rest.words() == 0) return false;
  open_tlab(mutator, rest.top, rest.limit, true);
  return true;
}

void Heap::record_black_pages(u32 first_word, u32 end_word) {
  black_infos[(first_word - base_word) / kWordsPerPage] = {};
  for (u32 word = first_word; word < end_word;) {
    const u32* header = reinterpret_cast<const u32*>(address({word}));
    const u32 shape = header[0];
    if (shape == layout::kFreeShape) {
      // An allocation that was cut off (worker.terminate between bump and header): nothing follows it.
      for (u32 page = (word - base_word) / kWordsPerPage + 1; page < (end_word - base_word) / kWordsPerPage; page++) {
        black_infos[page] = {};
      }
      return;
    }
    const u32 next = word + 2 * shapes.granules(shape, header[1]);
    for (u32 page = (word - base_word) / kWordsPerPage + 1; page * kWordsPerPage + base_word <= next; page++) {
      const u32 page_word = page * kWordsPerPage + base_word;
      if (page_word >= end_word) break;
      black_infos[page] = page_word == next ? PageInfo{} : PageInfo{0, 0, shape, (page_word - word) / 2, (next - page_word) / 2};
    }
    word = next;
  }
}

bool Heap::grant_tlab(Mutator& mutator, u32 need) {
  const u32 need_pages = pages_for_granules(need);
  const u32 most = std::max(need_pages, pages_for_granules(mutator.allowance));
  Granule first;
  u32 granules, dirty;  // of what is granted; the first `dirty` hold garbage
  u32 used;
  bool registered = false, keeps_rest = false;
  Hole next{0, 0};
  {
    std::lock_guard<SpaceLock> lock(moving.lock);
    const auto take_pages = [&](u32 page, u32 pages) {
      first = PageIndex{page}.first_granule();
      granules = pages * kGranulesPerPage;
      std::memset(&page_young[page], 1, pages);
    };
    moving.needs.note(need);
    if (const Extent run = moving.dead.take_run(need_pages, most); run.pages) {
      take_pages(run.first, run.pages);
      dirty = granules;
      Statistics::add_alone(statistics.pagesReused, run.pages);
    } else if (const Hole hole = moving.dead.take_hole(need); hole.granules) {
      first = {hole.first};
      granules = dirty = hole.granules;
      next = moving.dead.next_hole();
      Statistics::add_alone(statistics.holesReused);
    } else if (const Hole spare = moving.black ? moving.spare.take(need) : Hole{0, 0}; spare.granules) {
      first = {spare.first};
      granules = dirty = spare.granules;
      next = moving.spare.next();
      Statistics::add_alone(statistics.holesSpared);
    } else {
      const u32 held = moving.held_pages();
      const u32 top = moving.top;
      const u32 room = held < max_pages_ ? std::min(max_pages_ - held, moving.large_low - top) : 0;
      u32 longest = moving.black ? kBlackTlabPages : most;
      if (moving.dead.pages() > kOddPieces * room_needed()) {
        note_unfit(held + need_pages, limit_pages_.load(std::memory_order_relaxed));
        longest = kUnfitTlabPages;
      } else {
        moving.dead.write_off();
      }
      if (room < need_pages) {
        if (moving.black) owes_flip_.store(true, std::memory_order_relaxed);
        return false;
      }
      const u32 pages = std::min(std::max(need_pages, std::min(most, longest)), room);
      take_pages(top, pages);
      moving.top = top + pages;
      dirty = (moving.dirty_end > top ? std::min(moving.dirty_end - top, pages) : 0) * kGranulesPerPage;
    }
    // Pages that are born black are recorded when their TLAB is closed, once.
    keeps_rest = !moving.black;
    registered = moving.registered;
    // Under the lock, while `registered` is still true: the close waits for us (invariant 9).
    if (registered) compaction.in_flight.fetch_add(1, std::memory_order_seq_cst);
    used = moving.used_pages();
    Statistics::add_alone(statistics.tlabGrants);
    Statistics::add_alone(statistics.bytesAllocated, std::size_t{granules} * kGranuleSize);
  }
  mutator.allowance -= std::min(mutator.allowance, granules);
  consider_cycle(used);
  // Published before it is zeroed: the fence there would wait for all these stores. So would any locked instruction behind them, which
  // is why there is none from here to the end of the slow path but in a compaction.
  open_tlab(mutator, ref(first).word, ref({first.index + granules}).word, keeps_rest);
  if (dirty) std::memset(granule_address(first), 0, std::size_t{dirty} * kGranuleSize);
  for (u32 at = 0; at < std::min(next.granules, kGranulesFetched); at += kGranulesPerLine) {
    __builtin_prefetch(granule_address({next.first + at}), 1);
  }
  if (registered) {
    const u32 page = first.page();
    if (dirty < granules) compaction.fill(page + dirty / kGranulesPerPage, (granules - dirty) / kGranulesPerPage);
    compaction.in_flight.fetch_sub(1, std::memory_order_seq_cst);
  }
  return true;
}

u32 Heap::allocate_reserved(Mutator& mutator, u32 shape, u32 word1, u32 granules) {
  if (mutator.tlab_start == mutator.tlab_limit) return 0;
  const u32 at = mutator.tlab_top();
  const u32 end = at + granules * 2;
  if (end > mutator.tlab_limit) return 0;
  layout::store_word(mutator.block[layout::kTlabTop], static_cast<i32>(end));
  write_header(address({at}), shape, word1);
  return at;
}

u32 Heap::try_small(Mutator& mutator, u32 shape, u32 word1, u32 granules) {
  for (;;) {
    if (const u32 ref = allocate_reserved(mutator, shape, word1, granules); ref != 0) return ref;
    set_tlab_aside(mutator);
    if (!reopen_rest(mutator, granules) && !grant_tlab(mutator, granules)) return 0;
  }
}

u32 Heap::try_large(Mutator& mutator, u32 shape, u32 word1, u32 granules) {
  const u32 pages = pages_for_granules(granules);
  bool registered = false;
  u32 first = PageRuns::kNone;
  u32 ref_word = 0, used;
  {
    std::lock_guard<SpaceLock> lock(moving.lock);
    const u32 held = moving.held_pages();
    // The heap may grow for it; what must not happen is that it finds no room though there is some.
    if (moving.dead.pages() > 0 && pages <= max_pages_) note_unfit(held + pages, max_pages_);
    if (held + pages > max_pages_) {
      if (moving.black) owes_flip_.store(true, std::memory_order_relaxed);
      return 0;
    }
    if (!shapes[shape].has_references()) {
      first = moving.pointer_free.take_lowest(pages);
      if (first != PageRuns::kNone) {
        ref_word = first * kWordsPerPage;
        moving.pointer_free_high = std::max(moving.pointer_free_high, first + pages);
        write_header(address({ref_word}), shape, word1);
        pointer_free_objects.place(first, shape, granules, moving.black);
      }
    }
    if (ref_word == 0) {
      first = moving.large_free.take_highest(pages);
      if (first == PageRuns::kNone) {
        // Lower the boundary; a free run that begins at it counts.
        const u32 low = moving.large_low;
        const u32 joined = moving.large_free.run_at(low);
        if (pages - joined > low - moving.top) return 0;
        if (joined) moving.large_free.remove_run(low);
        first = low - (pages - joined);
        moving.large_low = first;
        if (first < moving.dirty_end) {
          // Recycled pages of the moving space: what they hold is garbage, a large object begins as zeros.
          discard(space.to_page({first}), std::size_t{moving.dirty_end - first} << kPageShift);
          moving.dirty_end = first;
        }
      }
      registered = moving.registered;
      if (registered) compaction.in_flight.fetch_add(1, std::memory_order_seq_cst);
      large_born[first] = epoch;
      ref_word = base_word + first * kWordsPerPage;
    }
    moving.large_pages += pages;
    used = moving.used_pages();
    Statistics::add_alone(statistics.bytesAllocated, std::size_t{pages} << kPageShift);
  }
  if (ref_word >= base_word) {
    if (registered) {
      compaction.fill_zeros(first, pages);
      compaction.in_flight.fetch_sub(1, std::memory_order_seq_cst);
    }
    write_header(address({ref_word}), shape, word1);
    bool black;
    {
      std::lock_guard<SpaceLock> lock(moving.lock);
      black = moving.black;
      large_objects.place(first, shape, granules, black);
    }
    // Its first stores have no cards (decision 016), and nobody traces what is born black: these are what a flip, and a young
    // cycle, know of it. Each comes after a pause that this thread takes part in.
    if (black) cards.dirty_pages(ref_word / kWordsPerPage, pages);
  }
  mutator.allowance -= std::min(mutator.allowance, granules);
  Statistics::add(statistics.largeAllocations);
  consider_cycle(used);
  return ref_word;
}

u32 Heap::allocate(Mutator& mutator, u32 shape, u32 word1, u32 granules) {
  const bool large = granules >= kLargeObjectGranules;
  bool paced = false;
  Stall stall(statistics.allocationStall_ns);
  Counted stalled(stalled_), outrun(outrun_);
  u64 last_chance = 0;  // the number of completed cycles at which no more can be hoped for
  for (;;) {
    safepoint.poll(mutator);
    if (safepoint.closed()) return 0;
    while (!outrun.counted() && outrun_.load(std::memory_order_relaxed) > 0) nap(mutator, kNap, stall);
    if (!std::exchange(paced, true)) pace_allocation(mutator, granules, stall);
    const u32 ref = large ? try_large(mutator, shape, word1, granules) : try_small(mutator, shape, word1, granules);
    if (ref != 0) return ref;
    if (std::size_t{granules} * kGranuleSize > geometry().max_bytes) return 0;
    if (last_chance == 0) {
      Statistics::add(statistics.allocationStalls);
      // Two cycles that began after the first failure, tracing everything, will have shown that it does not fit.
      stalled.count();
      last_chance = cycles_begun() + 2;
    } else if (cycles_completed() >= last_chance) {
      bool alone = true;
      safepoint.for_each([&](const Mutator& other) { alone &= &other == &mutator; });
      if (alone || outrun.counted()) return 0;
      // Others took what the cycles freed before this thread got a processor, perhaps: they wait while it tries once more.
      outrun.count();
      last_chance = cycles_begun() + 2;
    }
    stall.begin();
    safepoint.leave(mutator);
    const bool open = wait_for_memory();
    safepoint.enter(mutator);
    if (!open) return 0;
  }
}

void Heap::nap(Mutator& mutator, u64 ns, Stall& stall) {
  stall.begin();
  safepoint.leave(mutator);
  const timespec pause{0, static_cast<long>(ns)};
  nanosleep(&pause, nullptr);
  safepoint.enter(mutator);
}

/// Waits while the mutator is ahead of the collector, parked and not for long, unless it has an allowance left: a TLAB can
/// be a hole, much shorter than what it was allowed. Some pages are allowed whatever the pace: a program that is slowed
/// goes on in steps of that size.
void Heap::pace_allocation(Mutator& mutator, u32 granules, Stall& stall) {
  constexpr u64 kLongest = 1'000'000;
  constexpr u32 kSmallest = 4;  // pages; the rest of a TLAB that an object does not fit in is lost
  if (mutator.allowance >= granules) return;
  const u32 need = pages_for_granules(granules);
  u32 most = std::max(need, options.tlab_pages);
  const u32 least = std::max(need, std::min(kSmallest, options.tlab_pages));
  const auto allow = [&](u32 pages) { mutator.allowance = pages * kGranulesPerPage; };
  if (stepping) return allow(most);
  // Remark cannot end while the program dirties or builds faster than the collector marks: short steps, and a rest after each.
  if (const u32 pressure = remark_pressure_.load(std::memory_order_relaxed)) {
    nap(mutator, u64{50'000} << std::min(pressure, 6u), stall);
    most = least;
  }
  for (u64 slept = 0;; slept += kNap) {
    const u64 allowance = pacing.allowance(pages_allocated());
    if (allowance >= least || slept >= kLongest) {
      return allow(static_cast<u32>(std::clamp<u64>(allowance, least, most)));
    }
    nap(mutator, kNap, stall);
  }
}

/// `used`: pages, with what has just been given out.
void Heap::consider_cycle(u32 used) {
  const bool due = used >= trigger_pages_.load(std::memory_order_relaxed) || dead_unfit_.load(std::memory_order_relaxed);
  if (!due || stepping) return;
  std::lock_guard<std::mutex> lock(cycle_mutex_);
  if (!cycling_ && wanted_ == Wanted::No) want_cycle(Wanted::Room);
}

u64 Heap::pages_in_use() {
  std::lock_guard<SpaceLock> lock(moving.lock);
  return moving.used_pages();
}

}  // namespace glissade
