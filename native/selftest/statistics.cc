// What is counted and when (native/core/statistics/histogram.h, phase-log.h), without a heap: the buckets and percentiles of durations, and which
// entries of a full log can be read.
#include "core/statistics/statistics.h"

#include <memory>
#include <vector>

#include "core/statistics/phase-log.h"
#include "testing.h"

using namespace glissade;

namespace {

struct Bucket {
  u64 edge, count;
};
std::vector<Bucket> buckets_of(const Histogram& histogram) {
  std::vector<Bucket> buckets;
  histogram.for_each([&](u64 edge, u64 count) { buckets.push_back({edge, count}); });
  return buckets;
}

TEST(a_duration_is_in_a_bucket_that_ends_at_most_a_thirtysecond_above_it) {
  const auto check = [](u64 ns) {
    Histogram histogram;
    histogram.record(ns);
    const std::vector<Bucket> buckets = buckets_of(histogram);
    REQUIRE_EQ(buckets.size(), std::size_t{1});
    CHECK_EQ(buckets[0].count, 1u);
    CHECK(buckets[0].edge >= ns);
    CHECK(buckets[0].edge - ns <= ns / 32);
    const Histogram::Summary s = histogram.summary();
    // No percentile is above what was recorded.
    CHECK_EQ(s.p50, ns);
    CHECK_EQ(s.p9999, ns);
    CHECK_EQ(s.max, ns);
    CHECK_EQ(s.sum, ns);
  };
  for (u64 ns = 0; ns < 3'000; ns++) check(ns);
  for (u32 power = 5; power < 40; power++) {
    for (u64 beside = 0; beside < 3; beside++) check((u64{1} << power) + beside - 1);
  }
}

TEST(durations_beyond_the_last_bucket_are_counted_in_it_and_known_by_the_maximum) {
  Histogram histogram;
  histogram.record(u64{1} << 40);
  histogram.record(u64{1} << 50);
  const std::vector<Bucket> buckets = buckets_of(histogram);
  REQUIRE_EQ(buckets.size(), std::size_t{1});
  CHECK_EQ(buckets[0].edge, (u64{1} << 40) - 1);
  CHECK_EQ(buckets[0].count, 2u);
  CHECK_EQ(histogram.summary().max, u64{1} << 50);
}

TEST(each_percentile_is_the_duration_at_its_rank) {
  Histogram histogram;
  // Nanoseconds below 32 have a bucket each. In an order in which the longest does not come last.
  const struct { u64 ns, times; } durations[] = {{5, 1}, {4, 9}, {1, 5000}, {3, 90}, {2, 4900}};
  for (const auto& [ns, times] : durations) {
    for (u64 i = 0; i < times; i++) histogram.record(ns);
  }
  const Histogram::Summary s = histogram.summary();
  CHECK_EQ(s.count, 10'000u);
  CHECK_EQ(histogram.count(), 10'000u);
  CHECK_EQ(s.sum, 5u + 36 + 5'000 + 270 + 9'800);
  CHECK_EQ(s.p50, 1u);
  CHECK_EQ(s.p99, 2u);
  CHECK_EQ(s.p999, 3u);
  CHECK_EQ(s.p9999, 4u);
  CHECK_EQ(s.max, 5u);
}

TEST(a_histogram_of_nothing_is_all_zeros) {
  const Histogram::Summary s = Histogram().summary();
  CHECK_EQ(s.count + s.sum + s.p50 + s.p99 + s.p999 + s.p9999 + s.max, 0u);
}

TEST(a_full_log_leaves_out_the_entry_that_may_be_half_overwritten) {
  constexpr u32 kMost = PhaseLog::kEntries;
  const auto log = std::make_unique<PhaseLog>();
  std::vector<PhaseLog::Entry> read(kMost);
  CHECK_EQ(log->read(read.data()), 0u);
  u64 added = 0;
  for (const u32 until : {1u, kMost - 1, kMost, kMost + 1, 3 * kMost + 7}) {
    for (; added < until; added++) log->add({added, added + 1, added + 2, added + 3, added + 4});
    const u32 count = log->read(read.data());
    CHECK_EQ(count, until < kMost ? until : kMost - 1);
    u32 wrong = 0;
    for (u32 i = 0; i < count; i++) {
      const u64 n = added - count + i;
      const PhaseLog::Entry& e = read[i];
      wrong += e.at_ns != n || e.phase != n + 1 || e.used_bytes != n + 2 || e.barrier_faults != n + 3 || e.allocation_stalls != n + 4;
    }
    CHECK_EQ(wrong, 0u);
  }
}

}  // namespace
