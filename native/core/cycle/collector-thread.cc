// The collector's thread: it runs a cycle when somebody wants one. And those who wait: for a cycle, for memory, for root areas.
//
// `cycle_mutex_` guards what they tell each other, and the gates, and is held for no longer than that. Who waits inside a
// heap is parked (safepoint.h). While anybody waits, a stepping cycle stops at no gate (gates.cc).
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
    cycle_wanted_.wait(lock, [&] { return wanted_ || closing_; });
    if (closing_) return;
    const bool asked = wanted_forced_ && (options.young != Young::AlsoAsked || cycles_ % 4 == 0);
    const bool forced = asked || stalled_.load(std::memory_order_relaxed) > 0;
    asked_ = asked && wanted_asked_;
    wanted_ = wanted_forced_ = wanted_asked_ = false;
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

/// Somebody waits, under `cycle_mutex_`: gates stand open meanwhile.
class Heap::Waiting {
 public:
  explicit Waiting(Heap& heap) : heap_(heap), lock_(heap.cycle_mutex_) {
    heap_.waiters_++;
    heap_.open_gates();
  }
  ~Waiting() { heap_.waiters_--; }

  /// `asked`: by the program, and not because it has no memory.
  void want_forced_cycle(bool asked) {
    heap_.wanted_ = heap_.wanted_forced_ = true;
    heap_.wanted_asked_ |= asked;
    heap_.cycle_wanted_.notify_one();
  }
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
    if (!cycling_ || cycles_ + 1 < target) waiting.want_forced_cycle(true);
    waiting.wait();
  }
  return !closing_;
}

bool Heap::wait_for_memory() {
  Waiting waiting(*this);
  const u64 target = releases_ + 1;
  while (releases_ < target && !closing_) {
    if (!cycling_ && !wanted_) waiting.want_forced_cycle(false);
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
