// Injection rules: parsing, messages, and that the same seed gives the same sequence.
#include "core/kernel/injection.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "core/kernel/clock.h"
#include "native-mutator.h"
#include "selftest/kernel.h"

namespace injection = glissade::injection;
using injection::Op;

namespace {
char message[256];
bool configure(const char* rules, uint64_t seed = 1) {
  message[0] = 0;
  return injection::configure(rules, seed, message, sizeof message);
}
}  // namespace

TEST(injection_once_fires_on_the_first_call_only) {
  REQUIRE(configure("move:EBUSY=once"));
  CHECK_EQ(injection::check(Op::Move), EBUSY);
  for (int i = 0; i < 100; i++) CHECK_EQ(injection::check(Op::Move), 0);
  CHECK_EQ(injection::total(), 1u);
  injection::clear();
}

TEST(injection_every_counts_calls_of_its_own_operation) {
  REQUIRE(configure("copy:EAGAIN=every:3"));
  for (int i = 1; i <= 9; i++) {
    CHECK_EQ(injection::check(Op::Move), 0);
    CHECK_EQ(injection::check(Op::Copy), i % 3 == 0 ? EAGAIN : 0);
  }
  injection::clear();
  CHECK_EQ(injection::check(Op::Copy), 0);
}

TEST(injection_same_seed_same_sequence) {
  uint64_t bits[2][16];
  for (auto& run : bits) {
    REQUIRE(configure("move:EEXIST=0.5", 42));
    for (auto& word : run) {
      word = 0;
      for (int i = 0; i < 64; i++) word = word << 1 | (injection::check(Op::Move) != 0);
    }
  }
  CHECK(std::memcmp(bits[0], bits[1], sizeof bits[0]) == 0);
  CHECK(injection::total() > 400 && injection::total() < 624);
  REQUIRE(configure("move:EEXIST=0.5", 43));
  uint64_t other = 0;
  for (int i = 0; i < 64; i++) other = other << 1 | (injection::check(Op::Move) != 0);
  CHECK(other != bits[0][0]);
  injection::clear();
}

TEST(injection_probability_one_is_always) {
  REQUIRE(configure("mremap:ENOMEM=1"));
  for (int i = 0; i < 1000; i++) CHECK_EQ(injection::check(Op::Mremap), ENOMEM);
  injection::clear();
}

TEST(injection_bad_rules_are_named_and_change_nothing) {
  REQUIRE(configure("move:EBUSY=1"));
  struct {
    const char* rules;
    const char* part;
  } bad[] = {{"mov:EBUSY=1", "unknown operation"},   {"move:EBUZY=1", "unknown errno"},
             {"move:EBUSY", "expected"},             {"move:EBUSY=2", "probability"},
             {"move:EBUSY=0", "probability"},        {"move:EBUSY=every:0", "whole number"},
             {"move:EBUSY=every:1.5", "whole number"}, {"delay:marc=1us", "unknown phase"},
             {"delay:mark=5", "us or ms"},           {"copy:EBUSY=1, move:EBUSY=x", "move:EBUSY=x"}};
  for (const auto& entry : bad) {
    CHECK(!configure(entry.rules));
    CHECK(std::strstr(message, entry.part) != nullptr);
  }
  CHECK_EQ(injection::check(Op::Move), EBUSY);
  CHECK(configure(""));
  CHECK_EQ(injection::check(Op::Move), 0);
}

TEST(injection_delay_is_counted_by_its_rule) {
  REQUIRE(configure("delay:compact=20us; delay:fault=100us"));
  injection::delay(injection::Delay::Compact);
  injection::delay(injection::Delay::Compact);
  injection::delay(injection::Delay::Fault);
  injection::delay(injection::Delay::Mark);
  injection::RuleCount counts[4];
  CHECK_EQ(injection::counts(counts, 4), 2);
  CHECK_EQ(counts[0].fired, 2u);
  CHECK_EQ(counts[1].fired, 1u);
  injection::clear();
}

TEST(injection_a_delay_lasts_as_long_as_its_rule_says) {
  const struct { const char* rules; uint64_t ns; } delays[] = {{"delay:mark=30us", 30'000}, {"delay:mark=70us", 70'000}, {"delay:mark=3ms", 3'000'000}};
  for (const auto& [rules, ns] : delays) {
    REQUIRE(configure(rules));
    errno = EXDEV;
    const uint64_t before = glissade::now_ns();
    injection::delay(injection::Delay::Mark);
    CHECK(glissade::now_ns() - before >= ns);
    CHECK_EQ(errno, EXDEV);
  }
  injection::clear();
}

TEST(injection_every_phase_of_a_collection_has_its_delay) {
  using namespace glissade::testing;
  if (const char* reason = glissade::selftest::why_no_userfaultfd()) SKIP(reason);
  TestHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  build_list(m, 0, 10'000, 2);
  const char* phases[] = {"mark", "remark", "reclaim", "prepare", "flip", "compact", "close", "fault"};
  std::string rules;
  for (const char* phase : phases) rules += std::string("delay:") + phase + "=1us,";
  REQUIRE(configure(rules.c_str()));
  REQUIRE(step_to(test, m, glissade::layout::Phase::Compact));
  CHECK(list_intact(m, 0, 10'000));  // faults
  m.collect();
  injection::RuleCount counts[injection::kMaxRules];
  CHECK_EQ(injection::counts(counts, injection::kMaxRules), 8);
  for (const injection::RuleCount& count : counts) {
    if (&count - counts == 8) break;
    if (count.fired == 0) std::fprintf(stderr, "  %s\n", count.text);
    CHECK(count.fired > 0);
  }
  injection::clear();
}

TEST(injection_of_several_rules_for_a_call_the_first_that_strikes_is_the_answer) {
  REQUIRE(configure("copy:ENOENT=once,move:EBUSY=every:3,move:EINVAL=every:2,move:EAGAIN=once"));
  const int answers[] = {EAGAIN, EINVAL, EBUSY, EINVAL, 0, EBUSY};  // the sixth is both a third and a second
  for (const int answer : answers) CHECK_EQ(injection::check(Op::Move), answer);
  CHECK_EQ(injection::check(Op::Copy), ENOENT);
  injection::RuleCount counts[4];
  REQUIRE_EQ(injection::counts(counts, 4), 4);
  const uint64_t fired[] = {1, 2, 2, 1};
  for (int i = 0; i < 4; i++) CHECK_EQ(counts[i].fired, fired[i]);
  CHECK_EQ(std::string(counts[2].text), "move:EINVAL=every:2");
  CHECK_EQ(injection::total(), 6u);
  // New rules begin anew.
  REQUIRE(configure("move:EBUSY=once"));
  CHECK_EQ(injection::check(Op::Move), EBUSY);
  CHECK_EQ(injection::total(), 1u);
  injection::clear();
}

TEST(injection_rules_are_as_many_and_delays_as_long_as_is_said_and_no_more) {
  std::string rules;
  for (int i = 0; i < injection::kMaxRules; i++) rules += "move:EBUSY=every:100; ";
  CHECK(configure(rules.c_str()));
  CHECK(configure((rules + "\n ").c_str()));
  CHECK(!configure((rules + "copy:EBUSY=1").c_str()));
  CHECK(std::strstr(message, "at most 32 rules") != nullptr);
  CHECK(configure("delay:close=10000ms"));
  CHECK(configure("delay:close=10000000us"));
  CHECK(!configure("delay:close=10001ms"));
  CHECK(std::strstr(message, "at most 10000ms") != nullptr);
  injection::clear();
}
