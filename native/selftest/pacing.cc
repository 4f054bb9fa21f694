// Pacing without a heap: what a share of the work buys, and when a cycle begins. And the lock that breathes.
#include "core/allocation/pacing.h"

#include <pthread.h>

#include "core/memory/space-lock.h"
#include "testing.h"

using namespace glissade;

namespace {

constexpr u64 kMany = 1'000'000;

TEST(allocation_is_free_outside_of_laps) {
  Pacing pacing;
  CHECK(pacing.allowance(0) > kMany);
  pacing.begin_lap(10, 10, 0, 0);
  CHECK(pacing.allowance(0) < kMany);
  pacing.end_lap();
  CHECK(pacing.allowance(kMany) > kMany);
}

TEST(a_share_of_the_work_buys_the_same_share_of_the_budget) {
  Pacing pacing;
  pacing.begin_lap(1000, 200, 0.1, 5000);
  CHECK_EQ(pacing.allowance(5000), 100u);  // the head start
  CHECK_EQ(pacing.allowance(5060), 40u);
  CHECK_EQ(pacing.allowance(5100), 0u);
  CHECK_EQ(pacing.allowance(6000), 0u);  // granted beyond the pace: no debt that wraps around
  pacing.advance(100);
  CHECK_EQ(pacing.allowance(5100), 450u);
  pacing.advance(100);
  CHECK_EQ(pacing.allowance(5100), 900u);
  pacing.advance(100);  // more work than was expected
  CHECK_EQ(pacing.allowance(5100), 900u);
  pacing.begin_lap(50, 0, 0, 6000);  // nothing to do: all of it at once, when anything is done
  pacing.advance(1);
  CHECK_EQ(pacing.allowance(6000), 50u);
}

TEST(a_trace_is_expected_to_find_what_the_last_one_found_and_a_part_of_what_is_new) {
  Pacing pacing;
  CHECK_EQ(pacing.expected_trace(10), 10 * u64{kGranulesPerPage});  // nothing is known yet
  pacing.note_flip(1, 2, 1000, 4 * u64{kGranulesPerPage});
  CHECK_EQ(pacing.expected_trace(12), 6 * u64{kGranulesPerPage});
  CHECK_EQ(pacing.expected_trace(2), 2 * u64{kGranulesPerPage});  // never more than there is
}

TEST(a_program_that_allocates_faster_has_its_cycles_begin_earlier) {
  constexpr u64 kLimit = 100'000, kUsed = 20'000, kSecond = 1'000'000'000;
  u64 last = kLimit;
  for (const u64 pages_a_second : {u64{0}, u64{30'000}, u64{100'000}, u64{10'000'000}}) {
    Pacing pacing;
    pacing.note_flip(kSecond / 5, kSecond / 4, kLimit, kUsed * kGranulesPerPage);  // a full heap takes 250 ms to its flip
    pacing.trigger(kSecond, 0, kUsed, kLimit);
    pacing.note_rate(2 * kSecond, pages_a_second);
    const u64 trigger = pacing.trigger(2 * kSecond, pages_a_second, kUsed, kLimit);
    CHECK(trigger <= last);
    // A tenth of the room is kept free at the least, and a quarter is never touched.
    CHECK(trigger <= kLimit - (kLimit - kUsed) / 10);
    CHECK(trigger >= kUsed + (kLimit - kUsed) / 4);
    last = trigger;
  }
  CHECK_EQ(last, kUsed + (kLimit - kUsed) / 4);
}

TEST(a_cycle_that_leaves_little_room_does_not_use_it_up_before_the_next_begins) {
  constexpr u64 kMost = 1'048'576;  // pages: 4 GiB
  CHECK_EQ(Pacing::least_between(kMost / 2, kMost), kMost / 64);
  CHECK_EQ(Pacing::least_between(kMost / 100, kMost), kMost / 800);  // not 64 MiB of 40
  CHECK_EQ(Pacing::least_between(0, kMost), 16u);
  CHECK_EQ(Pacing::least_between(500, 512), 16u);
}

TEST(a_young_trace_is_expected_to_find_what_the_last_young_one_found) {
  Pacing pacing;
  pacing.note_flip(1, 2, 1000, 40 * u64{kGranulesPerPage});
  CHECK_EQ(pacing.expected_trace(40, true), 40 * u64{kGranulesPerPage});  // there has been none
  pacing.note_young(77);
  CHECK_EQ(pacing.expected_trace(40, true), 77u);
  CHECK_EQ(pacing.expected_trace(40), 40 * u64{kGranulesPerPage});
  pacing.note_young(0);  // one that found nothing has been one all the same
  CHECK_EQ(pacing.expected_trace(40, true), 1u);
}

TEST(a_traces_share_of_the_way_to_the_flip_follows_what_was_measured_within_bounds) {
  constexpr u64 kTook = 1'000'000;
  Pacing pacing;
  const auto after = [&](u64 trace_ns, u32 times) {
    while (times--) pacing.note_flip(trace_ns, kTook, 1000, 1);
    return pacing.trace_share();
  };
  const double half = after(kTook / 2, 50);
  CHECK(half > 0.499 && half < 0.501);
  // One cycle is no trend.
  CHECK(after(kTook * 9 / 10, 1) < 0.7);
  CHECK_EQ(after(0, 50), 0.3);
  CHECK_EQ(after(kTook, 50), 0.9);
}

/// 3 us a page to the flip, 1 us a page to compact, measured; the program allocates so many pages a second.
struct Measured : Pacing {
  explicit Measured(u64 pages_a_second) {
    constexpr u64 kPages = 1000, kSecond = 1'000'000'000;
    note_flip(1, 3'000 * kPages, kPages, 1);
    note_close(1'000 * kPages, kPages);
    trigger(kSecond, 0, 1, 100);
    note_rate(2 * kSecond, pages_a_second);
  }
};

TEST(a_compaction_leaves_the_room_that_the_way_to_the_next_flip_needs_or_takes_its_share) {
  const auto budget = [](u64 pages_a_second) { return static_cast<u64>(Measured(pages_a_second).compaction_budget(1000, 1000, 1000) + 0.5); };
  CHECK_EQ(budget(0), 750u);  // a quarter of the room stays, whatever the program does
  CHECK_EQ(budget(100'000), 600u);  // 300 pages in 3 ms, and a third to spare
  CHECK_EQ(budget(10'000'000), 250u);  // no room is enough: one part in four of the time
}

TEST(cycles_of_few_pages_are_no_measure) {
  Measured pacing(10'000'000);
  const double before = pacing.compaction_budget(1000, 1000, 1000);
  pacing.note_close(1'000'000'000, 255);
  CHECK_EQ(pacing.compaction_budget(1000, 1000, 1000), before);
  pacing.note_close(1'000'000'000, 256);
  CHECK(pacing.compaction_budget(1000, 1000, 1000) > 2 * before);
}

TEST(a_young_cycle_begins_when_what_is_allocated_while_it_lasts_still_fits) {
  constexpr u64 kUsed = 20'000, kLimit = 100'000, kSecond = 1'000'000'000;
  Measured pacing(100'000);
  // Of a full cycle, 300 ms to the flip of a full heap: 40 000 pages. Of a young one of 120 ms: 16 000.
  const u64 full = pacing.trigger(2 * kSecond, 100'000, kUsed, kLimit);
  const u64 young = pacing.trigger(2 * kSecond, 100'000, kUsed, kLimit, 0.12 * kSecond);
  CHECK(full >= kLimit - 40'001 && full <= kLimit - 39'999);
  CHECK(young >= kLimit - 16'001 && young <= kLimit - 15'999);
}

TEST(a_program_that_was_fast_lately_is_expected_to_be_so_again) {
  constexpr u64 kUsed = 20'000, kLimit = 100'000, kSecond = 1'000'000'000;
  Measured pacing(100'000);
  u64 last = pacing.trigger(2 * kSecond, 100'000, kUsed, kLimit);
  // It stands still: what is kept free for it becomes a fifth less with each cycle, down to a tenth of the room.
  for (u64 second = 3; second < 20; second++) {
    pacing.note_rate(second * kSecond, 100'000);
    const u64 trigger = pacing.trigger(second * kSecond, 100'000, kUsed, kLimit);
    if (second == 3) CHECK(trigger >= kLimit - 32'001 && trigger <= kLimit - 31'999);
    CHECK(trigger >= last);
    last = trigger;
  }
  CHECK_EQ(last, kLimit - (kLimit - kUsed) / 10);
}

/// A thread that wants the lock `kTimes` times while another does nothing but hold it and breathe.
struct Contender {
  static constexpr u32 kTimes = 200;
  SpaceLock lock;
  u64 shared = 0;  // under the lock
  std::atomic<bool> done{false};

  static void* run(void* argument) {
    auto& self = *static_cast<Contender*>(argument);
    for (u32 i = 0; i < kTimes; i++) {
      std::lock_guard<SpaceLock> lock(self.lock);
      self.shared++;
    }
    self.done = true;
    return nullptr;
  }
};

TEST(a_holder_that_breathes_lets_everybody_in) {
  Contender contender;
  pthread_t thread;
  u64 before = 0, turns = 0;
  {
    std::lock_guard<SpaceLock> lock(contender.lock);
    pthread_create(&thread, nullptr, Contender::run, &contender);
    // Without `breathe` giving way nothing would ever be done: the holder does not let go.
    for (const u64 until = now_ns() + 120'000'000'000; !contender.done && now_ns() < until;) {
      contender.lock.breathe();
      if (contender.shared != before) turns++;
      before = contender.shared;
    }
    CHECK(contender.done);
  }
  pthread_join(thread, nullptr);
  CHECK_EQ(contender.shared, u64{Contender::kTimes});
  CHECK(turns > 0);
}

}  // namespace
