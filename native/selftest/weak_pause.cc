// Weak slots in the remark pause (native/core/marking/weak-slots.h): what it is the first to see, what it marks itself, and what it is given
// up for.
#include <unistd.h>
#include <vector>

#include "selftest/kernel.h"
#include "weak_slots.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

/// Lets a cycle that rests before a preclean go on until it asks for the remark pause, which then waits for this mutator: every
/// concurrent look at weak slots is over, and what the mutator does now the pause is the first to see.
bool run_to_pause(TestHeap& test, NativeMutator& m) {
  if (!rest_at(test, m, Rest::Preclean)) return false;
  for (u32 i = 0; i < 100'000 && !m.must_poll(); i++) {
    test.heap->start_step();
    usleep(20);
  }
  return m.must_poll();
}

TEST(a_value_outlives_a_key_that_becomes_a_number_just_before_the_pause) {
  WeakHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  for (u32 i = 0; i < 4; i++) m.push(0);
  m.set_root(0, alloc_array(m, test, test.value_pairs, 10));
  // The values are keys of one another: what the pause marks for one it follows.
  for (u32 i = 0; i < 5; i++) {
    m.set_root(1, alloc_keyed(m, i));
    set_element(m, test, 0, 2 * i, i == 4 ? element(m, test, 0, 3) : m.root(1));
    set_element(m, test, 0, 2 * i + 1, alloc_keyed(m, 100 + i));
  }
  m.set_root(1, 0);
  REQUIRE(run_to_pause(test, m));
  set_key_to_number(m, test, 0, 1);
  m.poll();
  REQUIRE(step_to(test, m, layout::Phase::Idle));
  for (u32 i = 0; i < 5; i++) {
    const u32 value = element(m, test, 0, 2 * i + 1);
    const bool lives = i == 1 || i == 4;
    if (lives) CHECK(value != 0 && m.is_node(value) && m.key(value) == 100 + i && m.key_intact(value));
    else CHECK(reads_as_cleared(m, test, 0, 2 * i) && value == 0);
  }
  expect_no_violation(test, m);
}

TEST(what_the_pause_marks_keeps_its_weak_slots_and_the_values_of_its_keys_and_nothing_else_does) {
  WeakHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  for (u32 i = 0; i < 6; i++) m.push(0);
  // 0: pairs (i, 100 000 + i); 1: weak references to the keys; 2: a strong array; 4: pairs stored late; 5: more pairs.
  constexpr u32 kPairs = 20'000, kTaken = 40;
  for (const u32 shape : {test.ref_pairs, test.value_pairs}) {
    m.set_root(0, alloc_array(m, test, shape, 2 * kPairs));
    m.set_root(1, alloc_array(m, test, test.weak_refs, kPairs));
    m.set_root(2, m.alloc_refs(kTaken));
    m.set_root(4, alloc_array(m, test, shape, 4 * kTaken));
    m.set_root(5, alloc_array(m, test, shape, 2 * kPairs));
    for (u32 i = 0; i < kPairs; i++) {
      m.set_root(3, alloc_keyed(m, i));
      set_element(m, test, 0, 2 * i, m.root(3));
      set_element(m, test, 1, i, m.root(3));
      set_element(m, test, 0, 2 * i + 1, alloc_keyed(m, 100'000 + i));
      // Every key has a second value.
      set_element(m, test, 5, 2 * i, m.root(3));
      set_element(m, test, 5, 2 * i + 1, alloc_keyed(m, 200'000 + i));
    }
    m.set_root(3, 0);
    REQUIRE(run_to_pause(test, m));
    // Some keys live. In pairs that the pause is the first to see, chains begin at their values, the far end first.
    const auto chosen = [&](u32 i) { return i * (kPairs / kTaken) + i; };
    for (u32 i = 0; i < kTaken; i++) {
      m.store_ref(m.root(2) + 2 + i, element(m, test, 1, chosen(i)));
      const auto value = [&](u32 pair) { return element(m, test, 0, 2 * pair + 1); };
      set_element(m, test, 4, 4 * i, value(chosen(i) + 1));
      set_element(m, test, 4, 4 * i + 1, value(chosen(i) + 2));
      set_element(m, test, 4, 4 * i + 2, value(chosen(i)));
      set_element(m, test, 4, 4 * i + 3, value(chosen(i) + 1));
    }
    const u64 retries = test.heap->statistics.remarkRetries.load();
    m.poll();
    REQUIRE(step_to(test, m, layout::Phase::Idle));
    CHECK_EQ(test.heap->statistics.remarkRetries.load(), retries);
    u32 lost = 0, kept = 0, wrong = 0;
    for (u32 i = 0; i < kTaken; i++) {
      const u32 key = element(m, test, 0, 2 * chosen(i)), value = element(m, test, 0, 2 * chosen(i) + 1);
      lost += key == 0 || value == 0 || element(m, test, 1, chosen(i)) != key || element(m, test, 4, 4 * i + 2) != value;
      lost += element(m, test, 4, 4 * i) == 0 || element(m, test, 4, 4 * i) != element(m, test, 4, 4 * i + 3);
      if (key && value) wrong += m.key(key) != chosen(i) || m.key(value) != 100'000 + chosen(i) || m.load(m.root(2) + 2 + i) != key;
      const u32 second = element(m, test, 5, 2 * chosen(i) + 1);
      lost += element(m, test, 5, 2 * chosen(i)) != key || second == 0;
      if (second != 0) wrong += m.key(second) != 200'000 + chosen(i) || !m.key_intact(second);
      const u32 far = element(m, test, 4, 4 * i + 1);
      lost += far == 0;
      if (far != 0) wrong += m.key(far) != 100'000 + chosen(i) + 2 || !m.key_intact(far);
    }
    for (u32 i = 0, next = 0; i < kPairs; i++) {
      if (next < kTaken && i == chosen(next)) {
        next++;
        continue;
      }
      kept += !reads_as_cleared(m, test, 0, 2 * i) || element(m, test, 0, 2 * i + 1) != 0 || element(m, test, 1, i) != 0;
    }
    CHECK_EQ(lost, 0u);
    CHECK_EQ(wrong, 0u);
    CHECK_EQ(kept, 0u);
    m.set_root(2, 0);
  }
  expect_no_violation(test, m);
}

TEST(a_pause_that_marks_many_objects_clears_the_slots_of_all_that_it_has_not_marked) {
  WeakHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  for (u32 i = 0; i < 4; i++) m.push(0);
  // Enough of both for bits of the record that stand for two.
  constexpr u32 kDead = 20'000, kRevived = 1'500;
  m.set_root(0, alloc_array(m, test, test.weak_refs, kDead));
  m.set_root(1, alloc_array(m, test, test.weak_refs, 1));
  for (u32 i = 0; i < kDead; i++) set_element(m, test, 0, i, alloc_keyed(m, i));
  build_list(m, 2, kRevived, 0);
  set_element(m, test, 1, 0, m.root(2));
  m.set_root(2, 0);
  REQUIRE(run_to_pause(test, m));
  m.set_root(2, element(m, test, 1, 0));
  m.poll();
  REQUIRE(step_to(test, m, layout::Phase::Idle));
  CHECK(list_intact(m, 2, kRevived));
  CHECK_EQ(element(m, test, 1, 0), m.root(2));
  u32 kept = 0;
  for (u32 i = 0; i < kDead; i++) kept += element(m, test, 0, i) != 0;
  CHECK_EQ(kept, 0u);
  expect_no_violation(test, m);
}

TEST(slots_that_a_pause_is_given_up_for_are_looked_at_by_the_next) {
  WeakHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  for (u32 i = 0; i < 4; i++) m.push(0);
  constexpr u32 kLength = 20'000;
  for (u32 i = 0; i < 2; i++) m.set_root(i, alloc_array(m, test, test.weak_refs, kLength));
  for (u32 i = 0; i < kLength; i++) set_element(m, test, 0, i, alloc_keyed(m, i));
  m.set_root(2, element(m, test, 0, kLength / 2));
  REQUIRE(run_to_pause(test, m));
  for (u32 i = 0; i < kLength; i++) set_element(m, test, 1, i, element(m, test, 0, i));
  const u64 retries = test.heap->statistics.remarkRetries.load();
  m.poll();
  REQUIRE(step_to(test, m, layout::Phase::Idle));
  CHECK(test.heap->statistics.remarkRetries.load() > retries);
  u32 wrong = 0;
  for (u32 i = 0; i < kLength; i++) wrong += element(m, test, 1, i) != (i == kLength / 2 ? m.root(2) : 0);
  CHECK_EQ(wrong, 0u);
  CHECK_EQ(m.key(m.root(2)), kLength / 2);
  expect_no_violation(test, m);
}

TEST(cards_that_a_pause_is_given_up_for_are_scanned_by_the_next) {
  WeakHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  for (u32 i = 0; i < 4; i++) m.push(0);
  constexpr u32 kCards = 600, kSlots = 1 << layout::kCardShift;
  m.set_root(0, alloc_array(m, test, test.weak_refs, kCards));
  m.set_root(1, m.alloc_refs(kCards * kSlots));
  for (u32 i = 0; i < kCards; i++) set_element(m, test, 0, i, alloc_keyed(m, i));
  REQUIRE(run_to_pause(test, m));
  for (u32 i = 0; i < kCards; i++) m.store_ref(m.root(1) + 2 + i * kSlots, element(m, test, 0, i));
  const u64 retries = test.heap->statistics.remarkRetries.load();
  m.poll();
  REQUIRE(step_to(test, m, layout::Phase::Idle));
  CHECK(test.heap->statistics.remarkRetries.load() > retries);
  u32 wrong = 0;
  for (u32 i = 0; i < kCards; i++) {
    const u32 node = element(m, test, 0, i);
    wrong += node == 0 || node != m.load(m.root(1) + 2 + i * kSlots) || m.key(node) != i || !m.key_intact(node);
  }
  CHECK_EQ(wrong, 0u);
  expect_no_violation(test, m);
}

TEST(a_pause_that_has_too_many_weak_slots_to_look_at_is_given_up_and_none_is_forgotten) {
  WeakHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  for (u32 i = 0; i < 4; i++) m.push(0);
  constexpr u32 kLength = 50'000;
  u32 wrong = 0;
  {
    Collecting collecting(test);
    m.set_root(1, alloc_keyed(m, 1));
    // Arrays that are new all the time: sooner or later the pause is the first to meet one.
    const u64 retries = test.heap->statistics.remarkRetries.load();
    for (u32 round = 0; round < 20'000 && test.heap->statistics.remarkRetries.load() < retries + 5; round++) {
      m.set_root(0, alloc_array(m, test, test.weak_refs, kLength));
      for (u32 i = 0; i < kLength; i++) m.store(m.root(0) + 2 + i, m.root(1));
      set_element(m, test, 0, kLength - 1, alloc_keyed(m, 2));
      if (m.must_poll()) m.poll();
      for (u32 i = 0; i < kLength - 1; i++) wrong += element(m, test, 0, i) != m.root(1);
      const u32 last = element(m, test, 0, kLength - 1);
      wrong += last != 0 && m.key(last) != 2;
    }
    CHECK(test.heap->statistics.remarkRetries.load() > retries);
    collecting.stop(m);
  }
  m.collect();
  CHECK_EQ(wrong, 0u);
  CHECK(reads_as_cleared(m, test, 0, kLength - 1));
  expect_no_violation(test, m);
}

TEST(ephemerons_that_the_pause_is_the_first_to_meet_are_followed_to_the_end) {
  WeakHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  for (u32 i = 0; i < 4; i++) m.push(0);
  constexpr u32 kDepth = 8;
  m.set_root(1, alloc_keyed(m, 1));
  m.set_root(0, alloc_array(m, test, test.ref_pairs, 2));
  set_element(m, test, 0, 0, m.root(1));
  u32 wrong = 0;
  const auto check = [&](u32 leaf) {
    u32 at = m.root(0);
    for (u32 depth = 0; depth <= kDepth; depth++) {
      if (m.load(at) != test.ref_pairs || m.load(at + 2) != m.root(1)) return false;
      at = m.load(at + 3);
    }
    return m.is_node(at) && m.key(at) == leaf && m.key_intact(at);
  };
  {
    Collecting collecting(test);
    const u64 cycles = test.heap->statistics.collections.load();
    for (u32 round = 0; round < 1'000'000 && test.heap->statistics.collections.load() < cycles + 1'500; round++) {
      // From the inside: arrays that each only the one before leads to, by a value whose key lives. One store makes them reachable.
      m.set_root(2, alloc_keyed(m, round));
      for (u32 depth = 0; depth < kDepth; depth++) {
        const u32 array = alloc_array(m, test, test.ref_pairs, 2);
        m.store(array + 2, m.root(1));
        m.store(array + 3, m.root(2));
        m.set_root(2, array);
      }
      set_element(m, test, 0, 1, m.root(2));
      m.set_root(2, 0);
      if (m.must_poll()) m.poll();
      wrong += !check(round);
    }
    collecting.stop(m);
  }
  CHECK_EQ(wrong, 0u);
  expect_no_violation(test, m);
}

}  // namespace
