// A latency histogram that any thread, a signal handler included, may record into: log-linear buckets, 32 to each
// power of two (3 % wide), relaxed atomics. Reading while others record gives a slightly torn, never a wrong, count.
#pragma once

#include <atomic>

#include "core/units.h"

namespace glissade {

class Histogram {
 public:
  void record(u64 ns) {
    buckets_[bucket(ns)].fetch_add(1, std::memory_order_relaxed);
    u64 seen = max_.load(std::memory_order_relaxed);
    while (ns > seen && !max_.compare_exchange_weak(seen, ns, std::memory_order_relaxed)) {
    }
    sum_.fetch_add(ns, std::memory_order_relaxed);
    count_.fetch_add(1, std::memory_order_relaxed);
  }

  struct Summary {
    u64 count, sum, p50, p99, p999, p9999, max;  // nanoseconds
  };

  u64 count() const { return count_.load(std::memory_order_relaxed); }

  /// Calls back with the upper edge in nanoseconds and the count of every bucket that is not empty.
  template <typename Visit>
  void for_each(Visit visit) const {
    for (u32 i = 0; i < kBuckets; i++) {
      if (const u64 count = buckets_[i].load(std::memory_order_relaxed)) visit(upper_bound(i), count);
    }
  }

  Summary summary() const {
    Summary s{};
    s.max = max_.load(std::memory_order_relaxed);
    s.sum = sum_.load(std::memory_order_relaxed);
    u64 counts[kBuckets];
    for (u32 i = 0; i < kBuckets; i++) s.count += counts[i] = buckets_[i].load(std::memory_order_relaxed);
    auto quantile = [&](double q) {
      const u64 rank = static_cast<u64>(q * static_cast<double>(s.count) + 0.999999);
      u64 seen = 0;
      for (u32 i = 0; i < kBuckets; i++) {
        seen += counts[i];
        if (seen >= rank && seen > 0) return upper_bound(i) < s.max ? upper_bound(i) : s.max;
      }
      return s.max;
    };
    if (s.count == 0) return s;
    s.p50 = quantile(0.50);
    s.p99 = quantile(0.99);
    s.p999 = quantile(0.999);
    s.p9999 = quantile(0.9999);
    return s;
  }

 private:
  static constexpr u32 kSubBits = 5;
  static constexpr u32 kSub = 1u << kSubBits;
  static constexpr u32 kBuckets = kSub * 36;  // up to 2^40 ns, 18 minutes

  static u32 bucket(u64 ns) {
    if (ns < kSub) return static_cast<u32>(ns);
    const u32 power = 63 - static_cast<u32>(__builtin_clzll(ns));
    const u32 index = (power - kSubBits + 1) * kSub + static_cast<u32>((ns >> (power - kSubBits)) & (kSub - 1));
    return index < kBuckets ? index : kBuckets - 1;
  }
  static u64 upper_bound(u32 index) {
    if (index < kSub) return index;
    const u32 power = index / kSub - 1 + kSubBits;
    return ((u64{kSub} + index % kSub + 1) << (power - kSubBits)) - 1;
  }

  std::atomic<u64> buckets_[kBuckets]{};
  std::atomic<u64> max_{0};
  std::atomic<u64> sum_{0};
  std::atomic<u64> count_{0};
};

}  // namespace glissade
