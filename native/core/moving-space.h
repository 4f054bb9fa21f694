// The moving space: bump allocation of TLABs at one end of the flipped range, large objects at the other.
//
//   granule 0 ───────────────────────────────────────────────► moving_pages
//   [begin … objects … top)[recycled, dirty_end)[ holes … )[large_low … large objects )
//
// Pages in [top, dirty_end) are mapped and hold garbage: a TLAB is zeroed when it is granted. Pages above dirty_end are
// holes: zero-fill when nothing is registered, filled natively while a compaction is going on ("registered"), because
// a TLAB must never fault. All fields change under `lock` or while the world is stopped.
#pragma once

#include <atomic>

#include "large-objects.h"
#include "units.h"

namespace glissade {

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

  u32 used_pages() const { return top.load(std::memory_order_relaxed) - begin + large_pages; }
};

}  // namespace glissade
