// The overdraft: what faults take from the kernel and cannot give back yet.
//
// A page built here and there takes a buffer and gives none back: the pages beside it read its sources, too. A program that
// touches its heap at random would have taken a tenth of it, or more, by the time that the collector comes to the neighbours. So
// beyond an overdraft the neighbours come first; each lets go of as many sources as a page is built from. The
// collector begins with pages that faults have built of late. If that is not enough, and the overdraft is twice as
// large, whoever faults builds a few neighbours of its own page.
//
// `note` is for fault handlers (invariant 10: no lock), `take_noted` for compaction threads, `begin` for the driver before the
// flip, which publishes what it wrote to all of them.
#pragma once

#include <algorithm>
#include <atomic>

#include "core/units.h"

namespace glissade {

class Overdraft {
 public:
  static constexpr u32 kNone = ~0u;
  static constexpr u32 kRepaidInFault = 8;  // pages, at the most
  static constexpr u32 kRepaidAround = 4;   // pages on either side, by the collector

  /// `pages`: so many will be compacted. `tolerated`: what to tolerate of them; 0: a part.
  void begin(u32 pages, u32 tolerated) {
    tolerated_ = tolerated ? tolerated : std::max(kLeast, pages / kPart);
    for (std::atomic<u32>& slot : noted_) slot.store(kNone, std::memory_order_relaxed);
  }
  /// Pages; beyond them the collector builds neighbours, …
  u32 tolerated() const { return tolerated_; }
  /// … and beyond these mutators do.
  u32 most() const { return 2 * tolerated_; }

  /// A fault has built this page. Of many the newest are remembered.
  void note(u32 page) {
    // Relaxed, all of it: a hint, nothing is read through it.
    noted_[next_.fetch_add(1, std::memory_order_relaxed) % kNoted].store(page, std::memory_order_relaxed);
  }
  /// One of those noted last.
  u32 take_noted() {
    const u32 next = next_.load(std::memory_order_relaxed);
    for (u32 back = 1; back <= kNoted; back++) {
      std::atomic<u32>& slot = noted_[(next - back) % kNoted];
      if (slot.load(std::memory_order_relaxed) == kNone) continue;
      const u32 page = slot.exchange(kNone, std::memory_order_relaxed);
      if (page != kNone) return page;
    }
    return kNone;
  }

 private:
  static constexpr u32 kNoted = 256;
  static constexpr u32 kPart = 64, kLeast = 256;
  u32 tolerated_ = 0;
  std::atomic<u32> next_{0};
  std::atomic<u32> noted_[kNoted];
};

}  // namespace glissade
