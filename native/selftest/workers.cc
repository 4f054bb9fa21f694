// The collector's threads beyond the first (native/core/threads/workers.h), how many of them are called (native/core/threads/active-workers.h), and
// how they share a trace (native/core/marking/mark-bag.h).
#include "core/threads/workers.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "core/kernel/clock.h"
#include "core/marking/mark-bag.h"
#include "testing.h"

using namespace glissade;

namespace {

constexpr u32 kThreads = 4;

TEST(a_run_is_over_when_its_caller_is_and_all_that_have_begun) {
  Workers workers;
  Statistics::Counter dismissed{0};
  workers.start(kThreads, true, dismissed);
  REQUIRE(workers.count() == kThreads);
  std::atomic<bool> open{false};
  std::atomic<u32> first{0}, others{0}, late{0}, inside{0};
  constexpr u32 kRuns = 20'000;
  for (u32 run = 0; run < kRuns; run++) {
    open.store(true);
    std::atomic<u32> calls[kThreads]{};
    workers.run([&](u32 worker) {
      inside.fetch_add(1);
      late += !open.load();
      late += calls[worker].fetch_add(1) != 0;
      (worker == 0 ? first : others).fetch_add(1);
      // Some are short enough to be over before the others are awake.
      for (u32 i = 0; i < run % 64 * 16; i++) cpu_pause();
      inside.fetch_sub(1);
    });
    late += inside.load() != 0;
    open.store(false);
  }
  CHECK_EQ(first.load(), kRuns);
  CHECK_EQ(late.load(), 0u);
  CHECK(others.load() > 0);
}

constexpr u64 kMs = 1'000'000;

TEST(all_workers_are_called_while_they_run_longer_than_the_first_does_not) {
  ActiveWorkers active(4, false);
  u64 now = 1;
  for (u32 phase = 0; phase < 100; phase++, now += 10 * kMs) {
    CHECK_EQ(active.count(now), 4u);
    active.note(16 * kMs, 10 * kMs, now);
  }
}

TEST(workers_that_cost_more_than_they_bring_are_halved_and_tried_again_later_and_later) {
  ActiveWorkers active(4, false);
  u64 now = 1;
  // One phase in 10 ms, in which the others run as long as the first does not: when are all of them called?
  std::vector<u64> tried;
  const auto phases = [&](u64 ms, u64 ran_ns) {
    for (u64 end = now + ms * kMs; now < end; now += 10 * kMs) {
      const u32 called = active.count(now);
      if (called == 4) tried.push_back(now / kMs);
      if (called > 1) active.note(ran_ns, 6 * kMs, now);
    }
  };
  phases(60'000, 6 * kMs);
  CHECK_EQ(active.count(now), 1u);
  const std::vector<u64> doubling = {0, 200, 600, 1400, 3000, 6200, 12600, 25400, 38200, 51000};
  CHECK(tried == doubling);
  // Once they pay they stay, and are given up for as short a time as at first when they cease to.
  phases(20'000, 60 * kMs);
  CHECK_EQ(active.count(now), 4u);
  tried.clear();
  const u64 from = now / kMs;
  phases(1'000, 6 * kMs);
  const std::vector<u64> again = {from, from + 200, from + 600};
  CHECK(tried == again);
}

TEST(half_of_the_workers_stay_where_half_of_them_pay) {
  ActiveWorkers active(4, false);
  active.note(0, 10 * kMs, 1);
  for (u64 now = 2; now < 190 * kMs; now += 10 * kMs) {
    CHECK_EQ(active.count(now), 2u);
    active.note(8 * kMs, 0, now);
  }
  CHECK_EQ(active.count(200 * kMs + 1), 4u);
}

TEST(what_half_of_the_workers_did_says_nothing_of_all) {
  ActiveWorkers active(4, false);
  active.note(0, 10 * kMs, 1);
  CHECK_EQ(active.count(2), 2u);
  active.note(0, 4 * kMs, 2);
  CHECK_EQ(active.count(200 * kMs + 1), 4u);
  active.note(2 * kMs, 1 * kMs, 200 * kMs + 1);
  CHECK_EQ(active.count(200 * kMs + 1), 4u);
}

TEST(workers_are_judged_by_more_than_a_moment) {
  ActiveWorkers active(2, false);
  active.note(0, 4 * kMs, 1);
  CHECK_EQ(active.count(1), 2u);
  active.note(0, 1 * kMs, 1);
  CHECK_EQ(active.count(1), 1u);
}

TEST(a_worker_that_is_waited_for_is_left_asleep_unless_all_are_to_be_called) {
  for (const bool always : {false, true}) {
    Workers workers;
    Statistics::Counter dismissed{0};
    workers.start(2, always, dismissed);
    REQUIRE(workers.count() == 2);
    std::atomic<u32> others{0};
    // The first waits for the other to begin, and then until it has slept.
    const auto with_a_sleeper = [&](u32 worker) {
      if (worker == 1) {
        others++;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      } else {
        for (u32 i = 0; i < 100 && others.load() == 0; i++) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    };
    bool left_asleep = false;
    // The time for which it is may be over before we look: the next time it is longer.
    for (u32 i = 0; i < 5 && !left_asleep; i++) {
      others.store(0);
      workers.run(with_a_sleeper);
      const bool alone = workers.alone();
      others.store(0);
      workers.run(with_a_sleeper);
      left_asleep = alone && others.load() == 0;
    }
    CHECK_EQ(left_asleep, !always);
    CHECK_EQ(dismissed.load() > 0, !always);
  }
}

/// Of a tree in which each word has 40 children: enough to be given away.
void expand(MarkStack& stack, std::vector<std::atomic<u8>>& seen) {
  const u32 word = stack.pop();
  seen[word].fetch_add(1, std::memory_order_relaxed);
  for (u32 child = 40 * word + 1; child <= 40 * word + 40; child++) {
    if (child < seen.size()) stack.push(child);
  }
}

TEST(markers_that_share_a_bag_see_everything_once_and_all_learn_that_it_is_over) {
  Workers workers;
  Statistics::Counter dismissed{0};
  workers.start(kThreads, true, dismissed);
  REQUIRE(workers.count() == kThreads);
  MarkBag bag;
  MarkStack stacks[kThreads];
  u32 wrong = 0;
  std::atomic<u32> gifts{0};
  // Few words: the trace is over before most have joined; many: they live on what others give.
  for (u32 round = 0; round < 300; round++) {
    std::vector<std::atomic<u8>> seen(round % 3 == 0 ? 3 : round % 3 == 1 ? 5'000 : 60'000);
    stacks[0].push(0);
    bag.open();
    workers.run([&](u32 worker) {
      if (worker != 0 && !bag.join()) return;
      MarkStack& stack = stacks[worker];
      while (!stack.empty() || bag.take(stack)) {
        for (u32 i = 0; i < 100 && !stack.empty(); i++) expand(stack, seen);
        if (!bag.hungry()) continue;
        if (const MarkStack::Gift gift = stack.give(); gift.count) {
          gifts++;
          bag.give(gift);
        }
      }
    });
    for (const auto& times : seen) wrong += times.load() != 1;
    for (const MarkStack& stack : stacks) wrong += !stack.empty();
  }
  CHECK_EQ(wrong, 0u);
  CHECK(gifts.load() > 0);
}

TEST(a_marker_that_comes_when_the_trace_is_over_does_not_join) {
  MarkBag bag;
  MarkStack stack;
  CHECK(!bag.join());
  bag.open();
  CHECK(!bag.take(stack));
  CHECK(!bag.join());
  bag.open();
  CHECK(bag.join());
}

}  // namespace
