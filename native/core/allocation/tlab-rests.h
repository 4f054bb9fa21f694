// What is left of TLABs: an object that is too long for the rest of the one that is being allocated in opens another, and the rest
// waits for shorter ones (decision 019).
//
// A rest is covered by a filler like all that lies behind the end of a TLAB. One thread's, in its slow path; a pause that retires
// TLABs forgets it, and the rest is lost until it is found dead.
#pragma once

#include "core/units.h"

namespace glissade {

class TlabRests {
 public:
  /// Ref words; top == limit: none.
  struct Rest {
    u32 top, limit;
    u32 words() const { return limit - top; }
  };

  /// If it is worth it. With no place left the shortest goes.
  void keep(Rest rest) {
    if (rest.words() < kShortest) return;
    u32 at = count_;
    if (count_ == kMost) {
      at = 0;
      for (u32 i = 1; i < kMost; i++) {
        if (rests_[i].words() < rests_[at].words()) at = i;
      }
      if (rest.words() <= rests_[at].words()) return;
    } else {
      count_++;
    }
    rests_[at] = rest;
  }
  /// The one in which `words` fit that was kept last.
  Rest take(u32 words) {
    for (u32 i = count_; i-- > 0;) {
      if (rests_[i].words() < words) continue;
      const Rest taken = rests_[i];
      count_--;
      for (; i < count_; i++) rests_[i] = rests_[i + 1];
      return taken;
    }
    return {0, 0};
  }
  void forget() { count_ = 0; }

 private:
  static constexpr u32 kMost = 4;
  static constexpr u32 kShortest = 32;  // a few small objects

  Rest rests_[kMost];
  u32 count_ = 0;
};

}  // namespace glissade
