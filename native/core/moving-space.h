// The moving space: bump allocation of TLABs at one end of the flipped range, large objects at the other.
//
//   granule 0 ───────────────────────────────────────────────► moving_pages
//   [begin … objects … top)[recycled, dirty_end)[ holes … )[large_low … large objects )
//
// Pages in [top, dirty_end) are mapped and hold garbage: a TLAB is zeroed when it is granted. Pages above dirty_end are
// holes: zero-fill when nothing is registered, filled natively while a compaction is going on ("registered"), because
// a TLAB must never fault. Between a cycle that reused dead pages in place (reuse.cc) and the next remark, `dead` are runs of
// garbage below `top` that TLABs are taken from first. All fields change under `lock` or while the world is stopped.
#pragma once

#include <atomic>

#include <vector>

#include "large-objects.h"
#include "units.h"

namespace glissade {

struct Extent {
  u32 first;
  u32 pages;
};

/// Runs of dead pages in ascending order, handed out from the lowest up.
class DeadRuns {
 public:
  void set(std::vector<Extent>& runs, u32 pages) {
    runs_.swap(runs);
    next_ = 0;
    pages_ = pages;
  }
  void clear() {
    runs_.clear();
    next_ = pages_ = 0;
  }
  /// Up to `most` pages, `need` at least; pages = 0: none left. What is left of a run that is too short is lost until it
  /// is found dead again.
  Extent take(u32 need, u32 most) {
    for (; next_ < runs_.size(); next_++) {
      Extent& run = runs_[next_];
      if (run.pages == 0) continue;
      if (run.pages < need) {
        pages_ -= run.pages;
        continue;
      }
      const Extent taken{run.first, run.pages < most ? run.pages : most};
      run.first += taken.pages;
      run.pages -= taken.pages;
      pages_ -= taken.pages;
      return taken;
    }
    return {0, 0};
  }
  u32 pages() const { return pages_; }

 private:
  std::vector<Extent> runs_;
  std::size_t next_ = 0;
  u32 pages_ = 0;
};

struct MovingSpace {
  SpaceLock lock;
  u32 begin = 0;                   // first page in use (a fresh window after each flip of a checked heap)
  std::atomic<u32> top{0};         // first page not given out; markers read it without the lock
  u32 dirty_end = 0;
  std::atomic<u32> large_low{0};   // first page of the large part
  PageRuns large_free;         // free runs in [large_low, moving_pages)
  PageRuns pointer_free;       // pages of the pointer-free space; page 0 holds null
  u32 pointer_free_high = 0;   // no object has ever lain at or above this page of it
  u32 large_pages = 0;         // in use, of either kind
  bool black = false;          // between remark and flip: new objects are live and their pages slide
  u32 black_begin = 0;
  bool registered = false;     // between flip and close

  DeadRuns dead;

  /// Pages with something in them, and pages that have something or dead runs in them: what counts against the maximum.
  u32 used_pages() const { return held_pages() - dead.pages(); }
  u32 held_pages() const { return top.load(std::memory_order_relaxed) - begin + large_pages; }
};

}  // namespace glissade
