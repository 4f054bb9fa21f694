// The collector's threads beyond the first (native/core/workers.h), and how they share a trace (native/core/mark-bag.h).
#include "core/workers.h"

#include <atomic>
#include <vector>

#include "core/clock.h"
#include "core/mark-bag.h"
#include "testing.h"

using namespace glissade;

namespace {

constexpr u32 kThreads = 4;

TEST(a_run_is_over_when_its_caller_is_and_all_that_have_begun) {
  Workers workers;
  workers.start(kThreads);
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
  workers.start(kThreads);
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
