// Young cycles: a cycle after which nothing has moved leaves its marks to the next one, which traces only what is new.
//
// Between remark and the next cycle every object that a marked one refers to is marked, unless the reference has been stored
// since: then its card is dirty (invariant 8), and cards are left alone between cycles. So if the objects are where they
// were (the cycle reused garbage in place, reuse.cc), a cycle may keep marks and cards, and begin its trace at the roots and
// at the dirty cards of marked objects. What was born since has no mark: runs and holes had no live bit when they became
// TLABs, and black objects are told by their page, not by a bit; large ones, which have a mark, have dirty cards. The idea is
// Demers et al.'s sticky mark bits (POPL 1990).
//
// The price is garbage that keeps its mark until the next full trace. It counts as live, and a weak reference to it is not
// cleared; so nothing is compacted after a young cycle. Explicit collections, and all that begin while a mutator is
// stalled for memory, trace everything.
//
// This file is the policy: does the next young cycle win memory cheaper than the last cycles have on average? Each trace of
// everything begins a new account. Called by the collector thread only.
#pragma once

#include <algorithm>

#include "core/units.h"

namespace glissade {

/// When a cycle after which nothing has moved is followed by a young one. `AlsoAsked`, for tests: always, and three of four
/// explicit collections are young ones, too, so that only the fourth moves anything.
enum class Young : u8 { Never, WhereItPays, AlsoAsked };

class YoungCycles {
 public:
  /// At a cycle's end: what it took; of what has been allocated since the end of the one before, the share that a young cycle
  /// frees, or would have freed; how many pages may be allocated now.
  void note(bool young, u64 took_ns, double yield, u64 room) {
    const double took = static_cast<double>(took_ns);
    yield_ = (yield_ + std::clamp(yield, 0.0, 1.0)) / 2;
    if (young) {
      young_ns_ = young_ns_ == 0 ? took : (young_ns_ + took) / 2;
    } else {
      spent_ns_ = gained_ = 0;
      young_ns_ *= 0.75;  // a program that was no case for young cycles may become one
    }
    spent_ns_ += took;
    gained_ += static_cast<double>(room);
  }

  /// Whether the next cycle should be a young one, `room` pages having been allocated by then.
  bool pays(u64 room) const {
    // One that frees little takes the room that a full trace needs.
    return yield_ > kLeastYield && young_ns_ * gained_ <= spent_ns_ * yield_ * static_cast<double>(room);
  }

  /// What a young cycle takes, in nanoseconds; 0: nobody knows.
  double expected_ns() const { return young_ns_; }

 private:
  static constexpr double kLeastYield = 0.5;
  double young_ns_ = 0;               // of one
  double yield_ = 0;                  // of what is allocated before a young cycle, the share that it frees
  double spent_ns_ = 0, gained_ = 0;  // since the last full cycle began: time; pages made free
};

}  // namespace glissade
