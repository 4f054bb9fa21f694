// Large objects: 32 KiB and more, page-aligned, never moved. Two spaces, one page allocator each.
//
// Those that bear references live at the top of the flipped range's moving part, growing downwards towards the moving
// space; they go through the flip and are translated page by page. Pointer-free ones live below the flipped range and
// are never touched by a collection, except where the heap buffer has no room for that space (very large heaps).
// What a page builder needs to know of an object (its shape and extent) is kept here by page, because the object's own
// header lies on a page that may be rebuilt already (invariant 1).
//
// Allocation and sweep run under the space's lock. `mark` may be called by any marker; page info is constant from
// the flip to the end of the cycle for the objects that existed at the flip.
#pragma once

#include <atomic>
#include <map>

#include "core/kernel/mapped-array.h"
#include "core/memory/space-lock.h"

namespace glissade {

/// Free runs of pages in [low, end), first-fit from the top (flipped space) or from the bottom (pointer-free space).
class PageRuns {
 public:
  void reset(u32 first, u32 end);
  static constexpr u32 kNone = ~0u;
  u32 take_lowest(u32 pages);
  u32 take_highest(u32 pages);
  void give(u32 first, u32 pages);
  /// The length of the free run that begins at `first`; 0: none does.
  u32 run_at(u32 first) const;
  void remove_run(u32 first) { runs_.erase(first); }

 private:
  std::map<u32, u32> runs_;  // first page → pages
};

class LargeObjects {
 public:
  struct Head {
    u32 shape;     // 0: no object begins at this page
    u32 granules;  // with header
    std::atomic<u8> mark;
  };

  bool map(u32 pages) { return heads_.map(pages) && head_of_.map(pages); }

  /// Notes the object that begins at `page`.
  void place(u32 page, u32 shape, u32 granules, bool marked);
  void remove(u32 page);

  // acquire: pairs with `place`, which stores the shape last. Markers may ask without the lock.
  bool is_head(u32 page) const { return __atomic_load_n(&heads_[page].shape, __ATOMIC_ACQUIRE) != 0; }
  const Head& head(u32 page) const { return heads_[page]; }
  /// The page where the object that covers `page` begins; the caller knows that one does.
  u32 head_page(u32 page) const { return head_of_[page] - 1; }
  bool covered(u32 page) const { return head_of_[page] != 0; }

  /// True: this call marked it.
  bool mark(u32 page) { return heads_[page].mark.exchange(1, std::memory_order_acq_rel) == 0; }
  bool is_marked(u32 page) const { return heads_[page].mark.load(std::memory_order_relaxed) != 0; }
  void clear_mark(u32 page) { heads_[page].mark.store(0, std::memory_order_relaxed); }

  /// Calls `visit(page, head)` for every object that begins in [first, end), by address.
  template <typename Visit>
  void for_each(u32 first, u32 end, Visit&& visit) {
    for (u32 page = first; page < end;) {
      const u32 pages = is_head(page) ? pages_for_granules(heads_[page].granules) : 1;
      if (is_head(page)) visit(page, heads_[page]);
      page += pages;
    }
  }

  /// The same while mutators allocate: the caller's `lock` breathes on the way. An object placed meanwhile may be missed.
  template <typename Visit>
  void for_each(u32 first, u32 end, SpaceLock& lock, Visit&& visit) {
    constexpr u32 kPiecePages = 8192;
    for (u32 at = first; at < end; at += kPiecePages, lock.breathe()) for_each(at, end - at < kPiecePages ? end : at + kPiecePages, visit);
  }

 private:
  MappedArray<Head> heads_;
  MappedArray<u32> head_of_;  // page + 1, 0: no object
};

}  // namespace glissade
