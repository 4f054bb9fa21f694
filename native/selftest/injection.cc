// Injection rules: parsing, messages, and that the same seed gives the same sequence.
#include "core/injection.h"

#include <cerrno>
#include <cstring>

#include "selftest/testing.h"

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
