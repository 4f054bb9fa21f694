// What was visited at the slots of a card (native/core/marking/visited-slots.h): whatever it knows, marking visits what was stored since, and little else.
#include "core/marking/visited-slots.h"

#include <algorithm>
#include <array>
#include <vector>

#include "core/marking/marker.h"
#include "native-mutator.h"

using namespace glissade;
using namespace glissade::testing;

namespace {

constexpr std::size_t kCards = 40'000;

TEST(what_was_visited_is_known_until_the_next_cycle_and_of_so_many_cards) {
  VisitedSlots visited;
  REQUIRE(visited.map(kCards));
  CHECK(visited.find(7) == nullptr);
  CHECK(visited.add_if_again(7) == nullptr);
  CHECK(visited.find(7) == nullptr);
  u32* words = visited.add_if_again(7);
  REQUIRE(words != nullptr);
  CHECK(std::all_of(words, words + VisitedSlots::kWords, [](u32 word) { return word == 0; }));
  words[0] = words[255] = 9;
  CHECK(visited.find(7) == words && visited.add(7) == words && visited.add_if_again(7) == words);
  // Cards that are given words at once, until there are none left.
  std::size_t known = 1;
  for (; known < kCards && visited.add(100 + known); known++) visited.find(100 + known)[1] = static_cast<u32>(known);
  CHECK(known > 1'000 && known < kCards);
  CHECK(visited.add_if_again(3) == nullptr && visited.add_if_again(3) == nullptr && visited.add(3) == nullptr);
  for (std::size_t i = 1; i < known; i++) CHECK_EQ(visited.find(100 + i)[1], i);
  CHECK_EQ(words[255], 9u);

  visited.forget();
  CHECK(visited.find(7) == nullptr && visited.find(101) == nullptr && visited.find(3) == nullptr);
  CHECK(visited.add_if_again(7) == nullptr);
  words = visited.add_if_again(7);
  REQUIRE(words != nullptr);
  CHECK(std::all_of(words, words + VisitedSlots::kWords, [](u32 word) { return word == 0; }));
}

TEST(what_was_visited_in_a_cycle_long_ago_is_not_taken_for_this_ones) {
  VisitedSlots visited;
  REQUIRE(visited.map(kCards));
  REQUIRE(visited.add(5));
  CHECK(visited.add_if_again(6) == nullptr);
  u32 remembered = 0;
  for (u32 cycle = 0; cycle < (1u << 18); cycle++) {
    visited.forget();
    remembered += visited.find(5) != nullptr || visited.find(6) != nullptr;
  }
  CHECK_EQ(remembered, 0u);
}

/// Lets the cycle of a stepping heap go on until its trace is complete; before that `between` is called at each rest.
template <typename Between>
bool trace(TestHeap& test, NativeMutator& m, Between&& between) {
  for (u32 i = 0; i < 100'000; i++) {
    m.park();
    test.heap->step(1);
    const bool traced = test.heap->rests_before_remark();
    m.unpark();
    if (traced) return true;
    between();
  }
  return false;
}

/// Of arrays of `length` the card `number`, counted from that in which they begin.
void scan_again_and_again(u32 length, u32 number) {
  TestHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 8);
  const u32 node = m.push(m.alloc_node()), other = m.push(m.alloc_node());
  const u32 table = m.push(m.alloc_refs(length)), values = m.push(m.alloc_values(length));
  for (u32 i = 0; i < length; i += 2) m.store_ref(m.root(table) + 2 + i, m.root(node));
  for (u32 i = 0; i < length; i += 3) m.store_value_ref(m.root(values) + 2 + 2 * i, m.root(node));
  REQUIRE(trace(test, m, [] {}));

  // The collector rests. What this marker visits nobody marks.
  MarkWork work;
  Marker marker(*test.heap, false, work);
  const u32 kept = m.root(node), stored = m.root(other);
  for (const bool is_table : {true, false}) {
    const u32 array = m.root(is_table ? table : values);
    const u32 card = (array >> layout::kCardShift) + number;
    std::array<u32, VisitedSlots::kWords> words{};
    const auto visited_with = [&](u32* known) {
      marker.scan_card(card, known);
      std::vector<u32> refs;
      while (!work.refs.empty()) refs.push_back(work.refs.pop());
      return refs;
    };
    const std::vector<u32> first = visited_with(words.data());
    CHECK(first.size() > 40 && std::count(first.begin(), first.end(), kept) == static_cast<i64>(first.size()));
    CHECK(visited_with(words.data()).empty());
    // One slot that had a reference and one that had none; and a number with the bits of one.
    const u32 slot = ((card << layout::kCardShift) + 120 - array) / 6 * 6 + array + 2;
    if (is_table) {
      m.store_ref(slot, stored);
      m.store_ref(slot + 1, stored);
    } else {
      m.store_value_ref(slot, stored);
      m.store_value_ref(slot + 2, stored);
      m.store(slot + 4, stored);
    }
    CHECK(visited_with(words.data()) == std::vector<u32>({stored, stored}));
    CHECK(visited_with(words.data()).empty());
    CHECK_EQ(visited_with(nullptr).size(), first.size() + 1);
    // Back to what it was: another visit, as the last one was of something else.
    if (is_table) m.store_ref(slot, kept);
    else m.store_value_ref(slot, kept);
    CHECK(visited_with(words.data()) == std::vector<u32>({kept}));
  }
  REQUIRE(step_to(test, m, layout::Phase::Idle));
}

TEST(a_card_that_is_dirty_again_is_looked_at_for_what_was_stored) {
  scan_again_and_again(2'000, 3);
  scan_again_and_again(20'000, 0);  // large arrays begin with a card
  scan_again_and_again(20'000, 7);
}

TEST(what_is_moved_about_in_tables_while_they_are_traced_is_kept) {
  HeapOptions options = stepping_heap();
  options.reuse = Reuse::AlsoShort;  // addresses of the dead are used again soon
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 8);
  constexpr u32 kLength = 20'000;
  constexpr u32 kSeed = 3;
  Random random{kSeed};
  const u32 table = m.push(m.alloc_refs(kLength)), other = m.push(m.alloc_values(kLength));
  std::vector<u32> keys(2 * kLength);  // of the node in each slot of both, 0: none
  u32 next_key = 0;
  const auto slot = [&](u32 i) { return i < kLength ? m.root(table) + 2 + i : m.root(other) + 2 + 2 * (i - kLength); };
  const auto put = [&](u32 i, u32 ref, u32 key) {
    keys[i] = key;
    if (i < kLength) m.store_ref(slot(i), ref);
    else m.store_value_ref(slot(i), ref);
  };
  const auto renew = [&](u32 i) {
    const u32 node = m.alloc_node();
    m.store(node + 2, ++next_key);
    put(i, node, next_key);
  };
  // Nobody else refers to what moves from one slot to another: whoever takes a slot for visited loses it.
  const auto disturb = [&] {
    for (u32 n = 0; n < 200; n++) {
      const u32 from = random.below(2 * kLength), to = random.below(2 * kLength);
      if (keys[from] != 0 && from != to) {
        put(to, m.load(slot(from)), keys[from]);
        put(from, 0, 0);
      }
      renew(random.below(2 * kLength));
    }
  };
  for (u32 i = 0; i < 2 * kLength; i++) renew(i);
  test.heap->steps.portion.store(400);
  for (u32 cycle = 0; cycle < 12; cycle++) {
    REQUIRE(trace(test, m, disturb));
    for (u32 round = 0; round < 4; round++) {
      disturb();
      m.park();
      if (test.heap->rests_before_remark()) test.heap->step(1);
      m.unpark();
    }
    REQUIRE(step_to(test, m, layout::Phase::Idle));
    m.park();
    CHECK_EQ(test.heap->verification.take_violation(), std::string());
    m.unpark();
    u32 lost = 0;
    for (u32 i = 0; i < 2 * kLength; i++) lost += keys[i] != 0 && m.load(m.load(slot(i)) + 2) != keys[i];
    if (lost) std::fprintf(stderr, "  seed %u, cycle %u\n", kSeed, cycle);
    CHECK_EQ(lost, 0u);
  }
}

}  // namespace
