// What pacing learns from cycle to cycle; pacing.h says what it is for.
#include "pacing.h"

namespace glissade {

void Pacing::learn(double& mean, u64 took_ns, u64 pages) {
  if (pages < 256) return;
  const double now = static_cast<double>(took_ns) / static_cast<double>(pages);
  mean = mean == kFirstGuess ? now : (3 * mean + now) / 4;
}

void Pacing::note_flip(u64 trace_ns, u64 took_ns, u64 pages, u64 live_granules) {
  learn(flip_ns_per_page_, took_ns, pages);
  const double share = static_cast<double>(trace_ns) / static_cast<double>(std::max<u64>(took_ns, 1));
  trace_share_ = std::clamp((3 * trace_share_ + share) / 4, 0.3, 0.9);
  last_live_ = live_granules;
  known_ = true;
}

double Pacing::compaction_share(u64 pages_after_flip, u64 pages_when_full) const {
  const double compaction = compact_ns_per_page_ * static_cast<double>(pages_after_flip);
  return compaction / (compaction + flip_ns_per_page_ * static_cast<double>(std::max<u64>(pages_when_full, 1)));
}

void Pacing::note_rate(u64 now, u64 allocated) {
  if (last_end_ == 0 || now <= last_end_) return;
  const double rate = static_cast<double>(allocated - allocated_at_end_) / static_cast<double>(now - last_end_);
  allocation_rate_ = std::max(rate, 0.8 * allocation_rate_);
}

u64 Pacing::trigger(u64 now, u64 allocated, u64 used, u64 limit) {
  last_end_ = now;
  allocated_at_end_ = allocated;
  const u64 room = limit > used ? limit - used : 0;
  // With a third to spare, and three quarters of the room at the most: a program that is faster is slowed.
  const double to_flip = flip_ns_per_page_ * static_cast<double>(limit);
  return limit - std::clamp<u64>(static_cast<u64>(allocation_rate_ * to_flip * 4 / 3), room / 10, room - room / 4);
}

}  // namespace glissade
