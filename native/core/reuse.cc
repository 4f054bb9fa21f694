// Reuse in place: a cycle that need not compact gives dead pages to TLABs where they lie.
//
// Programs whose objects die together (trees, messages, the garbage of one request) leave whole pages dead. Sliding what
// lives over them would move every page of the heap, and every move of a run of pages interrupts the mutators' processors
// to flush their TLBs: with hardly anything alive a compaction slowed a mutator to less than half. So if whole dead runs
// are most of what a compaction would win, there is no flip; the runs are the next TLABs (the idea of mark-region
// collectors: Blackburn and McKinley, Immix, PLDI 2008). What this leaves behind, pages with little in them, adds up
// over the cycles until compacting wins more, and then everything slides as ever. Explicit collections always compact.
//
// Why nobody meets an object that is gone: a run has no live bit after remark, and is not given out before the pause
// that ends black allocation. Markers find objects from roots, marked objects and their cards only, never by walking
// pages. What remains is a root stack's slots above `top`: a mutator may raise `top` before it has stored the slots (it
// must have by its next safepoint), and a marker that reads them meanwhile would chase what was there long ago. So
// the remark pause, a safepoint, zeroes them, as a flip does.
#include <algorithm>
#include <cstring>

#include "discard.h"
#include "heap.h"

namespace glissade {
namespace {

/// The shortest run: an object that is not large fits.
constexpr u32 kShortestRun = pages_for_bytes(kLargeObjectBytes);
/// Reuse suffices if it yields this share of what compacting would.
constexpr double kEnough = 0.75;
/// The remark pause looks at so many pages, about what mutators allocate from remark to the runs' release.
constexpr u32 kTrimPages = 512;

}  // namespace

/// In the remark pause, TLABs retired. Dead runs count as used again until they are found dead once more, except those at
/// the end: black allocation begins below them, or every cycle would raise `top`.
void Heap::forget_dead() {
  moving.dead.clear();
  if (!may_reuse_) return;
  zero_above_stacks();
  const u32 top = moving.top;
  const u32 lowest = std::max(moving.begin, top - std::min(top, kTrimPages));
  u32 first = top;
  for (; first > lowest; first--) {
    u64 live = 0;
    for (u32 b = (first - 1) * kBlocksPerPage; b < first * kBlocksPerPage; b++) live |= blocks.at(b).live.load(std::memory_order_relaxed);
    if (live) break;
  }
  moving.dirty_end = std::max(moving.dirty_end, top);
  moving.top = first;
}

void Heap::zero_above_stacks() {
  roots.for_each([](const AreaView& area) {
    if (!area.is_stack()) return;
    u8* begin = reinterpret_cast<u8*>(area.words);
    const std::size_t top = std::size_t{area.top} * area.slot_bytes();
    const std::size_t page = round_up(top, kPageSize);
    const std::size_t end = round_up(std::size_t{area.capacity} * area.slot_bytes(), kPageSize);
    std::memset(begin + top, 0, page - top);
    if (page < end) discard(begin + page, end - page);
  });
}

/// After `plan`, which has counted the live granules of each page: finds the dead runs. True: no flip is needed.
bool Heap::reuse_suffices() {
  dead_runs_.clear();
  dead_pages_ = 0;
  if (!may_reuse_) return false;
  const u32 end = moving.black_begin;
  for (u32 page = moving.begin; page < end;) {
    const u32 first = page;
    while (page < end && page_live[page] == 0) page++;
    if (page - first >= kShortestRun) {
      dead_runs_.push_back({first, page - first});
      dead_pages_ += page - first;
    }
    while (page < end && page_live[page] != 0) page++;
  }
  const u32 gain = (forwarding.black_begin.index - forwarding.to_black_begin.index) / kGranulesPerPage;
  std::lock_guard<SpaceLock> lock(moving.lock);
  // The next cycle, too, will need room above `top` from its remark until its runs are given out.
  const u32 black = moving.top - moving.black_begin;
  return dead_pages_ >= kEnough * gain && moving.held_pages() + 2 * black <= max_pages_;
}

/// After the pause that ended black allocation.
void Heap::reuse_dead() {
  std::lock_guard<SpaceLock> lock(moving.lock);
  moving.dead.set(dead_runs_, dead_pages_);
}

}  // namespace glissade
