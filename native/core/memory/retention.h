// Retention: how many pages the heap keeps, free ones included, from the end of one cycle to that of the next.
//
// What a program needs again soon should stay: a page that comes from the kernel costs ten times what it costs to zero one that is
// there. What it needed once should go. So a heap keeps what it may grow to, and forgets half of what it has needed beyond that
// in a time that is longer than the swings of most programs' need. A collection that somebody asks for forgets all of it at
// once. What lies free above the objects and is too much goes back directly; a heap whose objects lie
// scattered over more than twice what it keeps is compacted, though reuse in place (reuse.cc) would suffice.
//
// `note` is for the collector thread. The others may also be asked in a pause, by whoever runs it: the request of the stop
// publishes what was noted.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/units.h"

namespace glissade {

class Retention {
 public:
  /// Once a cycle. `needed`: pages that the heap may grow to before the end of the next; `half_life_ns` 0: only these are kept.
  void note(u64 now_ns, u64 needed, u64 half_life_ns) {
    kept_ = half_life_ns == 0 ? 0 : static_cast<u64>(static_cast<double>(kept_) * std::exp2(-static_cast<double>(now_ns - noted_ns_) / static_cast<double>(half_life_ns)));
    kept_ = std::max(needed, kept_);
    noted_ns_ = now_ns;
  }
  /// Pages.
  u64 kept() const { return kept_; }
  /// Whether a heap that lies in `held` pages is so spread out that it has to be compacted.
  bool spread_out(u64 held) const { return held > kSpread * kept_; }

 private:
  static constexpr u64 kSpread = 2;
  u64 kept_ = 0, noted_ns_ = 0;
};

}  // namespace glissade
