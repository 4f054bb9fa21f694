// When the phases of the latest cycles began, and what the heap held then: what a timeline is drawn from.
//
// A ring in fixed memory. One thread at a time writes, whoever changes the phase; any thread reads meanwhile, without a
// lock: entries that the writer may have overtaken during the copy are left out, so that what is returned is never torn.
#pragma once

#include <atomic>

#include "core/units.h"

namespace glissade {

class PhaseLog {
 public:
  struct Entry {
    u64 at_ns;  // CLOCK_MONOTONIC
    u64 phase;  // layout::Phase
    u64 used_bytes, barrier_faults, allocation_stalls;
  };
  static constexpr u32 kEntries = 2048;  // a cycle makes seven, five without a flip

  PhaseLog() {
    // Touched now: a page that the kernel has to provide would lengthen a pause.
    for (auto& word : words_) word.store(0, std::memory_order_relaxed);
  }

  void add(const Entry& entry) {
    const u64 n = count_.load(std::memory_order_relaxed);
    // Whoever reads a word of this entry must see, later, that the count has reached n.
    std::atomic_thread_fence(std::memory_order_release);
    std::atomic<u64>* word = &words_[(n % kEntries) * kWords];
    for (const u64 value : {entry.at_ns, entry.phase, entry.used_bytes, entry.barrier_faults, entry.allocation_stalls}) {
      word++->store(value, std::memory_order_relaxed);
    }
    count_.store(n + 1, std::memory_order_release);
  }

  /// Copies what is there, oldest first, into room for kEntries; returns how many there are.
  u32 read(Entry* into) const {
    const u64 end = count_.load(std::memory_order_acquire);
    const u64 first = end > kEntries ? end - kEntries : 0;
    for (u64 i = first; i < end; i++) {
      const std::atomic<u64>* word = &words_[(i % kEntries) * kWords];
      u64 values[kWords];
      for (u64& value : values) value = word++->load(std::memory_order_relaxed);
      into[i - first] = {values[0], values[1], values[2], values[3], values[4]};
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    const u64 now = count_.load(std::memory_order_relaxed);
    // Entry `now` may be half written, in the place of entry `now - kEntries`.
    const u64 good = now >= kEntries ? now - kEntries + 1 : 0;
    if (good <= first) return static_cast<u32>(end - first);
    if (good >= end) return 0;
    for (u64 i = good; i < end; i++) into[i - good] = into[i - first];
    return static_cast<u32>(end - good);
  }

 private:
  static constexpr u32 kWords = 5;
  std::atomic<u64> words_[kEntries * kWords];
  std::atomic<u64> count_{0};
};

}  // namespace glissade
