// The lock of the moving space: short for mutators, patient for the collector.
//
// A mutator takes it for some instructions at each TLAB and spins a little before it sleeps: to be woken costs it more than
// the whole grant. The collector has milliseconds of work under the same lock; it works in pieces of some microseconds and
// calls `breathe` between them, which lets everybody in who waits. Without that the collector, which never sleeps, would
// take the mutex again before a waiter is awake.
// Lockable in the sense of std::lock_guard. Any thread; never from a fault handler (invariant 10).
#pragma once

#include <sched.h>

#include <atomic>
#include <mutex>

#include "core/kernel/clock.h"
#include "core/units.h"

namespace glissade {

class SpaceLock {
 public:
  void lock() {
    if (mutex_.try_lock()) return;
    waiting_.fetch_add(1, std::memory_order_relaxed);
    for (u32 spins = 0; !mutex_.try_lock(); spins++) {
      if (spins == kSpins) {
        mutex_.lock();
        break;
      }
      cpu_pause();
    }
    waiting_.fetch_sub(1, std::memory_order_relaxed);
  }
  void unlock() { mutex_.unlock(); }

  /// The holder, between two pieces of its work: whoever waits goes first.
  void breathe() {
    if (waiting_.load(std::memory_order_relaxed) == 0) return;
    unlock();
    while (waiting_.load(std::memory_order_relaxed) != 0) sched_yield();
    lock();
  }

 private:
  static constexpr u32 kSpins = 400;  // some ten microseconds

  std::mutex mutex_;
  std::atomic<u32> waiting_{0};
};

}  // namespace glissade
