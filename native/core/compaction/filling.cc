// Pages for the program to allocate in while a compaction goes on, when to-space is armed and nothing of it is there by itself: TLABs
// and large objects get theirs when they are granted, and at the end evacuated pages become the heap's free memory.
//
// A page given out here has no content to build: its state is set to mapped at once. Callers of `fill` and `fill_zeros` are mutators
// inside `in_flight`; `recycle_above` is the driver's.
#include <sched.h>

#include <algorithm>
#include <cstring>

#include "core/heap.h"

namespace glissade {

void Compaction::fill(u32 first, u32 pages) {
  for (u32 done = 0; done < pages;) {
    const u32 page = first + done;
    const Extent extent = heap_.copying || heap_.options.protect ? Extent{0, 0} : supply_.take(pages - done);
    if (extent.pages == 0) {
      fill_zeros(page, pages - done);
      break;
    }
    u8* source = heap_.space.buffer(extent.first);
    std::memset(source, 0, std::size_t{extent.pages} << kPageShift);
    for (u32 moved = 0; moved < extent.pages;) {
      const PageBarrier::Placing placing =
          heap_.barrier.move(heap_.space.to_page({page + moved}), source + (std::size_t{moved} << kPageShift), extent.pages - moved);
      Statistics::add(heap_.statistics.pagesRecycled, placing.pages);
      moved += placing.pages;
      if (placing.answer == PageBarrier::Answer::Placed || placing.answer == PageBarrier::Answer::Again) continue;
      if (placing.answer == PageBarrier::Answer::Disarmed) return;
      // This page comes from the kernel instead.
      if (placing.answer == PageBarrier::Answer::Unmovable) fill_zeros(page + moved, 1);
      moved++;
    }
    for (u32 filled = page; filled < page + extent.pages; filled++) heap_.page_words[filled].set_filled();
    done += extent.pages;
  }
}

void Compaction::fill_zeros(u32 first, u32 pages) {
  for (u32 done = 0; done < pages;) {
    const PageBarrier::Placing placing = heap_.barrier.zero(heap_.space.to_page({first + done}), pages - done);
    Statistics::add(heap_.statistics.pagesZeroFilled, placing.pages);
    done += placing.pages;
    switch (placing.answer) {
      case PageBarrier::Answer::Placed:
      case PageBarrier::Answer::Again: break;
      case PageBarrier::Answer::Present: done++; break;
      case PageBarrier::Answer::NoMemory: sched_yield(); break;
      default: return;  // disarmed: the touch itself will be an ordinary zero-fill; refused: its fault will say so
    }
  }
  // Between compactions (page-protect mode) the states are zero, and stay so for the next one.
  if (!active.load(std::memory_order_seq_cst)) return;
  for (u32 page = first; page < first + pages; page++) heap_.page_words[page].set_filled();
}

void Compaction::recycle_above() {
  // Evacuated pages become the heap's free memory: mapped above the live end, where the next TLABs will be.
  MovingSpace& moving = heap_.moving;
  constexpr u32 kPiecePages = 64;
  for (u32 page = shared_.pop(); page != kNoBuffer; page = shared_.pop()) supply_.give({page, 1});
  std::lock_guard<SpaceLock> lock(moving.lock);
  for (;; moving.lock.breathe()) {
    if (moving.dirty_end < moving.top) moving.dirty_end = moving.top;
    const u32 limit = moving.large_low;
    const u64 resident = moving.used_pages() + moving.dirty_end - moving.top, kept = heap_.retention.kept();
    const u32 room = moving.dirty_end < limit ? limit - moving.dirty_end : 0;
    const u32 wanted = resident < kept ? static_cast<u32>(std::min<u64>(kept - resident, room)) : 0;
    const Extent extent = supply_.take(std::min(wanted, kPiecePages));
    if (extent.pages == 0) break;
    for (u32 done = 0; done < extent.pages;) {
      const PageBarrier::Placing placing =
          heap_.barrier.move(heap_.space.to_page({moving.dirty_end}), heap_.space.buffer(extent.first + done), extent.pages - done);
      moving.dirty_end += placing.pages;
      done += placing.pages;
      Statistics::add(heap_.statistics.pagesRecycled, placing.pages);
      if (placing.answer == PageBarrier::Answer::Placed || placing.answer == PageBarrier::Answer::Again) continue;
      if (placing.answer == PageBarrier::Answer::Present) moving.dirty_end++;  // by whomever; garbage either way
      done++;  // a hole, a shared page: not worth keeping
    }
  }
  // The rest goes with from-space.
  Statistics::add(heap_.statistics.pagesReturned, supply_.pages());
}

}  // namespace glissade
