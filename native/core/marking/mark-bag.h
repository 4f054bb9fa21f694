// What markers share of a trace: work that one gives away, and the knowledge that there is none left.
//
// A trace begins with one marker at work. Others join while it lasts, and are hungry; one with something on its stack sees that and
// gives some of it. Who is hungry sleeps: a thread that waits for another must leave it the processor, the more so as the further
// markers run at low priority (workers.h). The trace is complete when no marker is at work and the bag is empty. Nobody
// waits for a marker that has not joined.
//
// Any thread of the collector; `open` before the others know of the trace.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "core/assert.h"
#include "core/marking/mark-stack.h"

namespace glissade {

class MarkBag {
 public:
  /// A new trace, with the caller's marker at work.
  void open() {
    std::lock_guard<std::mutex> lock(mutex_);
    GLISSADE_ASSERT(complete_ && bag_.empty(), "a trace begins before the last one is complete");
    complete_ = false;
    at_work_ = 1;
  }
  /// A further marker, its stack empty, is at work. False: too late, the trace is complete.
  bool join() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (complete_) return false;
    at_work_++;
    return true;
  }
  /// For a marker that is at work and has an empty stack: waits until it has something on it, or (false) until the trace is complete.
  bool take(MarkStack& stack) {
    std::unique_lock<std::mutex> lock(mutex_);
    at_work_--;
    if (at_work_ == 0 && bag_.empty()) {
      complete_ = true;
      changed_.notify_all();
      return false;
    }
    hungry_.fetch_add(1, std::memory_order_relaxed);
    changed_.wait(lock, [&] { return complete_ || !bag_.empty(); });
    hungry_.fetch_sub(1, std::memory_order_relaxed);
    if (complete_) return false;
    at_work_++;
    stack.take(bag_.back());
    bag_.pop_back();
    return true;
  }
  /// Whether somebody waits. Relaxed: who gives looks again after its next thousand objects.
  bool hungry() const { return hungry_.load(std::memory_order_relaxed) != 0; }
  void give(MarkStack::Gift gift) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      bag_.push_back(gift);
    }
    changed_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<MarkStack::Gift> bag_;
  u32 at_work_ = 0;
  std::atomic<u32> hungry_{0};
  bool complete_ = true;
};

}  // namespace glissade
