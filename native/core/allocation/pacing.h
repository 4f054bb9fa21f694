// Pacing: when a cycle begins, and how fast mutators may allocate while it is on its way to freeing memory.
//
// The way to the next release of memory goes in laps: the trace; what follows it up to the flip; the compaction. A lap has
// a budget, the pages that may be allocated in it, and an amount of work. After a share p of the work mutators may have
// used that share of the budget (and a little more, so that a lap does not begin with a wait). One that is ahead of the
// collector waits, in naps too short to notice, and for a few pages at a time, instead of meeting one long stall at the end.
//
// The measure is work, not time: a collector that gets half a processor lets the program have half as much a second, not
// all of it too soon and then nothing.
//
// `allowance` is for mutators, `advance` for any collector thread, the rest for the one that drives the cycle.
#pragma once

#include <algorithm>
#include <atomic>

#include "core/units.h"

namespace glissade {

/// Of the lap before the flip: to survey a page is so many times the work of looking at its live bits.
inline constexpr u64 kSurveyWork = 8;
/// Of the budget of a trace or a compaction, what may be used before any of the work is done: nobody waits at once.
inline constexpr double kHeadStart = 0.08;
/// Between the two, work that is short, and some of which cannot be counted, has nearly all of the room, and much of it at once.
inline constexpr double kPreparationShare = 0.9, kPreparationHeadStart = 0.3;

class Pacing {
 public:
  /// A lap of `work` units in which `pages` may be allocated, the share `head_start` of them at once; `allocated` have been
  /// since the heap was made.
  void begin_lap(double pages, u64 work, double head_start, u64 allocated) {
    // Order does not matter: a mutator that mixes two laps waits one nap too long, or gets one TLAB too many.
    done_.store(0, std::memory_order_relaxed);
    work_.store(std::max<u64>(work, 1), std::memory_order_relaxed);
    begin_.store(allocated, std::memory_order_relaxed);
    head_start_.store(head_start, std::memory_order_relaxed);
    budget_.store(std::max<u64>(static_cast<u64>(pages), 1), std::memory_order_relaxed);
  }
  /// No work is under way: allocation is free.
  void end_lap() { budget_.store(kFree, std::memory_order_relaxed); }
  /// `work` units more are done. Any collector thread.
  void advance(u64 work) { done_.fetch_add(work, std::memory_order_relaxed); }
  u64 done() const { return done_.load(std::memory_order_relaxed); }

  /// Pages that may be allocated now.
  u64 allowance(u64 allocated) const {
    const u64 budget = budget_.load(std::memory_order_relaxed);
    if (budget == kFree) return kFree;
    const double share = std::min(1.0, static_cast<double>(done_.load(std::memory_order_relaxed)) /
                                           static_cast<double>(work_.load(std::memory_order_relaxed)));
    const double head_start = head_start_.load(std::memory_order_relaxed);
    const u64 allowed = static_cast<u64>(static_cast<double>(budget) * (head_start + (1 - head_start) * share));
    const u64 begin = begin_.load(std::memory_order_relaxed);
    const u64 gone = allocated > begin ? allocated - begin : 0;
    return allowed > gone ? allowed - gone : 0;
  }

  /// Work of a trace: granules to be found live. The heap as it was last, and a part of what is new in it.
  u64 expected_trace(u64 used_pages, bool young = false) const {
    const u64 used = used_pages * kGranulesPerPage;
    if (young && last_young_ != 0) return last_young_;
    return known_ && last_live_ < used ? last_live_ + (used - last_live_) / 4 : used;
  }

  /// After a trace of everything, at the flip or where one would have been: what the way there took, and what was found live.
  void note_flip(u64 trace_ns, u64 took_ns, u64 pages, u64 live_granules);
  /// The same after the trace of a young cycle.
  void note_young(u64 granules) { last_young_ = std::max<u64>(granules, 1); }
  /// At a close: what the compaction took.
  void note_close(u64 took_ns, u64 pages) { learn(compact_ns_per_page_, took_ns, pages); }
  /// The share of the way from a cycle's begin to its flip that is the trace.
  double trace_share() const { return trace_share_; }
  /// Pages that may be allocated in a compaction, of `room` free ones: what remains of them when that is set aside which the program,
  /// as fast as it is now, needs from the begin of the next cycle to its flip; but the compaction's share of that time at least.
  double compaction_budget(double room, u64 pages_after_flip, u64 pages_when_full) const;

  /// At a cycle's begin: how fast the program has allocated since the last one.
  void note_rate(u64 now, u64 allocated);
  /// At a cycle's end: pages in use at which the next one begins, so that what the program allocates until its flip fits.
  /// `limit`: how far the heap may grow; `young_ns`: what the next cycle takes if it is a young one; 0: it is not, or is not known.
  u64 trigger(u64 now, u64 allocated, u64 used, u64 limit, double young_ns = 0);
  /// Pages from a cycle's end to the begin of the next at the least: cycles do not follow each other for nothing, but where
  /// little room is left the next one needs it.
  static u64 least_between(u64 room, u64 max_pages) { return std::clamp<u64>(room / 8, 16, std::max<u64>(max_pages / 64, 16)); }

 private:
  static constexpr u64 kFree = ~u64{0};
  static constexpr double kFirstGuess = 2500;  // nanoseconds a page

  /// A running mean. Too few pages are nothing to measure by.
  static void learn(double& mean, u64 took_ns, u64 pages);

  /// Pages that a program of that rate allocates from a cycle's begin to its flip, with a third to spare.
  double needed_to_flip(double rate, u64 pages) const { return rate * flip_ns_per_page_ * static_cast<double>(pages) * 4 / 3; }

  std::atomic<u64> budget_{kFree}, begin_{0}, work_{1}, done_{0};
  std::atomic<double> head_start_{0};

  double flip_ns_per_page_ = kFirstGuess;     // from a cycle's begin to its flip, by page in use
  double compact_ns_per_page_ = kFirstGuess;  // from a flip to the close, by page in use after the flip
  double trace_share_ = 0.7;
  double last_rate_ = 0;                      // pages allocated a nanosecond between cycles, where nothing slows the program
  double highest_rate_ = 0;                   // … in the last few cycles
  u64 last_end_ = 0, allocated_at_end_ = 0;
  u64 last_live_ = 0, last_young_ = 0;        // granules found by the last full trace, and by the last young one
  bool known_ = false;
};

}  // namespace glissade
