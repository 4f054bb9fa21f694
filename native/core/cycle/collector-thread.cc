// The collector's thread: it runs a cycle when somebody wants one. And those who wait: for a cycle, for memory, for root areas.
//
// `cycle_mutex_` guards what they tell each other, and the gates, and is held for no longer than that. Who waits inside a
// heap is parked (safepoint.h). While anybody waits, a stepping cycle stops at no gate (gates.cc).
#include <algorithm>
#include <utility>

#include "core/heap.h"

namespace glissade {

void* Heap::collector_entry(void* heap) {
  block_asynchronous_signals();
  static_cast<Heap*>(heap)->collector_loop();
  return nullptr;
}

void Heap::collector_loop() {
  std::unique_lock<std::mutex> lock(cycle_mutex_);
  for (;;) {
    cycle_wanted_.wait(lock, [&] { return wanted_ != Wanted::No || closing_; });
    if (closing_) return;
    const Wanted wanted = std::exchange(wanted_, Wanted::No);
    const bool whole = wanted >= Wanted::Memory && (options.young != Young::AlsoAsked || cycles_ % 4 == 0);
    const bool forced = whole || stalled_.load(std::memory_order_relaxed) > 0;
    asked_ = whole && wanted == Wanted::Asked;
    cycling_ = true;
    lock.unlock();
    run_cycle(forced);
    lock.lock();
    cycling_ = false;
    cycles_++;
    releases_++;
    layout::store_word(space.control()[layout::kCyclesWord], static_cast<i32>(cycles_));
    cycle_done_.notify_all();
    gate_arrived_.notify_all();
  }
}

/// Under `cycle_mutex_`.
void Heap::want_cycle(Wanted why) {
  wanted_ = std::max(wanted_, why);
  cycle_wanted_.notify_one();
}

/// Somebody waits, under `cycle_mutex_`: gates stand open meanwhile.
class Heap::Waiting {
 public:
  explicit Waiting(Heap& heap) : heap_(heap), lock_(heap.cycle_mutex_) {
    heap_.waiters_++;
    heap_.open_gates();
  }
  ~Waiting() { heap_.waiters_--; }

  void want(Wanted why) { heap_.want_cycle(why); }
  void wait() { heap_.cycle_done_.wait(lock_); }

 private:
  Heap& heap_;
  std::unique_lock<std::mutex> lock_;
};

bool Heap::collect() {
  Waiting waiting(*this);
  // A cycle under way may have marked already what is garbage by now.
  const u64 target = cycles_ + (cycling_ ? 2 : 1);
  while (cycles_ < target && !closing_) {
    if (!cycling_ || cycles_ + 1 < target) waiting.want(Wanted::Asked);
    waiting.wait();
  }
  return !closing_;
}

bool Heap::wait_for_memory() {
  Waiting waiting(*this);
  const u64 target = releases_ + 1;
  while (releases_ < target && !closing_) {
    if (!cycling_ && wanted_ == Wanted::No) waiting.want(Wanted::Memory);
    waiting.wait();
  }
  return !closing_;
}

bool Heap::wait_for_freed_areas() {
  {
    std::lock_guard<SpaceLock> lock(moving.lock);
    if (!roots.has_retired()) return false;
  }
  Stall stall(statistics.allocationStall_ns);
  Waiting waiting(*this);
  const u64 target = cycles_ + 1;
  while (cycling_ && cycles_ < target && !closing_) {
    stall.begin();
    waiting.wait();
  }
  return !closing_;
}

void Heap::announce_memory() {
  std::lock_guard<std::mutex> lock(cycle_mutex_);
  releases_++;
  cycle_done_.notify_all();
}

u64 Heap::cycles_begun() {
  std::lock_guard<std::mutex> lock(cycle_mutex_);
  return cycles_ + (cycling_ ? 1 : 0);
}
u64 Heap::cycles_completed() {
  std::lock_guard<std::mutex> lock(cycle_mutex_);
  return cycles_;
}

}  // namespace glissade
