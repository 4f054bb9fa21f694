// What pacing learns from cycle to cycle; pacing.h says what it is for.
#include "core/allocation/pacing.h"

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

double Pacing::compaction_budget(double room, u64 pages_after_flip, u64 pages_when_full) const {
  const double compaction = compact_ns_per_page_ * static_cast<double>(pages_after_flip);
  const double share = compaction / (compaction + flip_ns_per_page_ * static_cast<double>(std::max<u64>(pages_when_full, 1)));
  return std::max(room * share, std::min(room * 3 / 4, room - needed_to_flip(last_rate_, pages_when_full)));
}

void Pacing::note_rate(u64 now, u64 allocated) {
  if (last_end_ == 0 || now <= last_end_) return;
  last_rate_ = static_cast<double>(allocated - allocated_at_end_) / static_cast<double>(now - last_end_);
  highest_rate_ = std::max(last_rate_, 0.8 * highest_rate_);
}

u64 Pacing::trigger(u64 now, u64 allocated, u64 used, u64 limit, double young_ns) {
  last_end_ = now;
  allocated_at_end_ = allocated;
  const u64 room = limit > used ? limit - used : 0;
  // Three quarters of the room at the most: a program that is faster is slowed.
  const double needed = young_ns > 0 ? highest_rate_ * young_ns * 4 / 3 : needed_to_flip(highest_rate_, limit);
  return limit - std::clamp<u64>(static_cast<u64>(needed), room / 10, room - room / 4);
}

}  // namespace glissade
