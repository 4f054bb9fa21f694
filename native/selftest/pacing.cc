// Pacing without a heap: what a share of the work buys, and when a cycle begins. And the lock that breathes.
#include "core/pacing.h"

#include <pthread.h>

#include "core/space-lock.h"
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
