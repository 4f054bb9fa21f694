// How many workers are called for a phase: those that bring more than they cost.
//
// A worker beyond the first runs at low priority, on a processor that the mutators leave idle. Where they leave none, it takes
// that of the first worker, or gets a small part of one, and the first waits for what it has begun. So the gain of a phase is
// what the others ran, and its cost the time for which the first stood still meanwhile: on idle processors all is gained, on
// that of the first nothing, and less than nothing where it waits for them. What does not pay is halved, for a while; then all
// are tried again, after a longer while each time that it ends in the same way.
//
// This file is the policy alone: it starts no thread and reads no clock. Called by the thread that drives the cycle.
#pragma once

#include <algorithm>

#include "core/units.h"

namespace glissade {

class ActiveWorkers {
 public:
  ActiveWorkers() = default;
  /// Of `all`, the first included. `always`: so many, whatever they cost.
  ActiveWorkers(u32 all, bool always) : all_(all), count_(all), always_(always) {}

  /// For a phase that begins now: 1 to all.
  u32 count(u64 now_ns) {
    if (now_ns >= until_ns_ && count_ != all_) {
      count_ = all_;
      ran_ns_ = idle_ns_ = 0;  // what fewer did says nothing of all
    }
    return count_;
  }

  /// At the end of a phase for which more than one was called: the processor time of all but the first, and the time in which the
  /// first did not run, though the phase was not over. True: they do not pay, and there will be fewer.
  bool note(u64 ran_ns, u64 idle_ns, u64 now_ns) {
    if (always_) return false;
    ran_ns_ += ran_ns;
    idle_ns_ += idle_ns;
    if (ran_ns_ + idle_ns_ < kEvidenceNs) return false;
    const bool pays = ran_ns_ * kPart >= idle_ns_ * kOfIdle;
    ran_ns_ = idle_ns_ = 0;
    if (count_ == all_) {
      if (pays) rest_ns_ = kShortestRestNs;
      else until_ns_ = now_ns + rest_ns_, rest_ns_ = std::min(2 * rest_ns_, kLongestRestNs);
    }
    if (!pays) count_ = std::max(count_ / 2, 1u);
    return !pays;
  }

 private:
  static constexpr u64 kEvidenceNs = 5'000'000;
  // They pay where they run one and a half times as long as the first does not: marking together, each object costs more.
  static constexpr u64 kPart = 2, kOfIdle = 3;
  static constexpr u64 kShortestRestNs = 200'000'000, kLongestRestNs = 12'800'000'000;

  u32 all_ = 1, count_ = 1;
  bool always_ = true;
  u64 ran_ns_ = 0, idle_ns_ = 0;   // since they were last judged
  u64 until_ns_ = 0;               // fewer than all are called
  u64 rest_ns_ = kShortestRestNs;  // the next time
};

}  // namespace glissade
