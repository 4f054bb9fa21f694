// The mark stack (native/core/marking/mark-stack.h): nothing that was pushed is lost or seen twice, in whatever order it is popped and given away.
#include "core/marking/mark-stack.h"

#include <random>

#include "testing.h"

using namespace glissade;

namespace {

TEST(a_mark_stack_gives_back_what_was_pushed_last_first) {
  MarkStack stack;
  constexpr u32 kMany = 100'000;  // chunks of 16 Ki refs: several, and not a whole number of them
  for (u32 round = 0; round < 2; round++) {
    for (u32 word = 0; word < kMany; word++) stack.push(word);
    u32 wrong = 0;
    for (u32 word = kMany; word-- > 0;) wrong += stack.empty() || stack.pop() != word;
    CHECK_EQ(wrong, 0u);
    CHECK(stack.empty());
  }
}

TEST(what_a_mark_stack_gives_away_and_what_it_keeps_are_all_that_was_pushed) {
  constexpr u32 kSeed = 3, kMarkers = 3;
  std::mt19937 random(kSeed);
  MarkStack stacks[kMarkers];
  constexpr u32 kMost = 3'000'000;
  std::vector<u32> seen(kMost);
  u32 pushed = 0, gifts = 0;
  bool left = true;
  while (pushed < kMost || left) {
    MarkStack& stack = stacks[random() % kMarkers];
    for (u32 i = random() % 4 ? random() % 4'000 : random() % 60'000; i > 0 && pushed < kMost; i--) stack.push(pushed++);
    for (u32 i = random() % 3 ? random() % 2'000 : kMost; i > 0 && !stack.empty(); i--) seen[stack.pop()]++;  // one in three: all
    for (MarkStack& hungry : stacks) {
      if (&hungry == &stack || !hungry.empty()) continue;
      const MarkStack::Gift gift = stack.give();
      if (gift.count == 0) continue;
      hungry.take(gift);
      gifts++;
    }
    left = false;
    for (const MarkStack& any : stacks) left |= !any.empty();
  }
  u32 wrong = 0;
  for (u32 times : seen) wrong += times != 1;
  if (wrong) std::fprintf(stderr, "  seed %u\n", kSeed);
  CHECK_EQ(wrong, 0u);
  CHECK(gifts > 30);
}

TEST(a_mark_stack_with_little_in_it_gives_nothing_away) {
  MarkStack stack;
  CHECK_EQ(stack.give().count, 0u);
  for (u32 word = 0; word < 20; word++) stack.push(word);
  CHECK_EQ(stack.give().count, 0u);
  for (u32 word = 20; word-- > 0;) CHECK_EQ(stack.pop(), word);
}

}  // namespace
