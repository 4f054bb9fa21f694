// What one operation of a mutator waits for memory: from its first wait until it is done, with what it wanted or without.
//
// For the thread that waits; lives as long as the operation.
#pragma once

#include "core/kernel/clock.h"
#include "core/statistics/histogram.h"
#include "core/units.h"

namespace glissade {

class Stall {
 public:
  explicit Stall(Histogram& histogram) : histogram_(histogram) {}
  Stall(const Stall&) = delete;
  Stall& operator=(const Stall&) = delete;
  ~Stall() {
    if (since_ != 0) histogram_.record(now_ns() - since_);
  }
  /// Before a wait. Only the first counts.
  void begin() {
    if (since_ == 0) since_ = now_ns();
  }

 private:
  Histogram& histogram_;
  u64 since_ = 0;  // nanoseconds; 0: it has not had to wait
};

}  // namespace glissade
