// Weak arrays and ephemerons (native/core/marking/weak-slots.h): a slot is cleared by the collection that finds its object dead, and by
// no other, whenever it was stored and whatever the mutator does with it meanwhile.
#include <vector>

#include "selftest/kernel.h"
#include "weak_slots.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

TEST(weak_elements_are_cleared_when_their_objects_are_dead_and_not_before) {
  WeakHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  m.push(0);
  for (const u32 shape : {test.weak_refs, test.weak_values}) {
    for (const u32 length : {1u, 7u, 600u, 20'000u}) {  // the last is large in both kinds
      m.set_root(0, alloc_array(m, test, shape, length));
      m.set_root(1, 0);
      for (u32 i = 0; i < length; i++) {
        const u32 node = alloc_keyed(m, i);
        if (i % 3 == 0) {  // kept by a list
          m.init_left(node, m.root(1));
          m.set_root(1, node);
        }
        set_element(m, test, 0, i, node);
      }
      const u64 cleared = test.heap->statistics.weakCleared.load();
      for (u32 round = 0; round < 2; round++) {
        m.collect();
        u32 wrong = 0;
        for (u32 i = 0; i < length; i++) {
          const u32 node = element(m, test, 0, i);
          if (i % 3 == 0) wrong += node == 0 || !m.is_node(node) || m.key(node) != i || !m.key_intact(node);
          else wrong += !reads_as_cleared(m, test, 0, i);
        }
        CHECK_EQ(wrong, 0u);
      }
      CHECK_EQ(test.heap->statistics.weakCleared.load() - cleared, u64{length - (length + 2) / 3});
    }
  }
  expect_no_violation(test, m);
}

TEST(a_value_lives_as_long_as_its_key_also_if_it_refers_to_it) {
  WeakHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  m.push(0);
  m.push(0);
  for (const u32 shape : {test.ref_pairs, test.value_pairs}) {
    // The smaller arrays lie between others at every alignment: pairs of values cross the borders of cards.
    for (const u32 pairs : {1u, 40u, 700u, 10'000u}) {
      m.alloc_values(pairs % 2);
      m.set_root(0, alloc_array(m, test, shape, 2 * pairs + 1));
      m.set_root(1, 0);
      for (u32 i = 0; i < pairs; i++) {
        const u32 key = alloc_keyed(m, i);
        set_element(m, test, 0, 2 * i, key);
        if (i % 4 == 0) {
          m.init_left(key, m.root(1));
          m.set_root(1, key);
        }
        if (i % 4 == 1) continue;  // a key without a value
        m.set_root(2, key);
        const u32 value = alloc_keyed(m, pairs + i);
        m.init_left(value, m.root(2));  // to its own key
        set_element(m, test, 0, 2 * i + 1, value);
        m.set_root(2, 0);
      }
      // The last element is a key that can have no value; a pair without a key keeps its value.
      set_element(m, test, 0, 2 * pairs, alloc_keyed(m, 1));
      const bool keyless = pairs > 40;
      if (keyless) {
        set_element(m, test, 0, 2 * 39 + 1, alloc_keyed(m, 77));
        m.store(element_at(m, test, 0, 2 * 39), 5);
        m.store(element_at(m, test, 0, 2 * 39) + (test.is_value(shape) ? 1 : 0), 0);
      }
      for (u32 round = 0; round < 2; round++) {
        m.collect();
        u32 wrong = 0;
        for (u32 i = 0; i < pairs; i++) {
          const u32 key = element(m, test, 0, 2 * i), value = element(m, test, 0, 2 * i + 1);
          if (keyless && i == 39) wrong += value == 0 || m.key(value) != 77;
          else if (i % 4 == 0) wrong += key == 0 || value == 0 || m.key(key) != i || m.key(value) != pairs + i || m.left(value) != key;
          else wrong += !reads_as_cleared(m, test, 0, 2 * i) || (round == 1 && value != 0);
        }
        CHECK_EQ(wrong, 0u);
        CHECK(reads_as_cleared(m, test, 0, 2 * pairs));
      }
    }
  }
  expect_no_violation(test, m);
}

/// Pairs (node i, node i + 1) in `arrays` arrays, the far end of the chain first: each look finds one more key marked.
void build_chain(NativeMutator& m, const WeakHeap& test, u32 length, u32 arrays) {
  const u32 per_array = length / arrays;
  m.set_root(0, m.alloc_refs(arrays));
  m.set_root(1, alloc_keyed(m, length));
  for (u32 array = 0; array < arrays; array++) {
    m.set_root(2, alloc_array(m, test, test.ref_pairs, 2 * per_array));
    m.store_ref(m.root(0) + 2 + array, m.root(2));
    for (u32 i = 0; i < per_array; i++) {
      const u32 key = alloc_keyed(m, m.key(m.root(1)) - 1);
      set_element(m, test, 2, 2 * i, key);
      set_element(m, test, 2, 2 * i + 1, m.root(1));
      m.set_root(1, key);
    }
  }
  m.set_root(2, 0);
}

TEST(a_chain_of_ephemerons_lives_and_dies_whole_after_looks_in_proportion_to_its_length) {
  HeapOptions options = small_heap();
  options.min_bytes = options.max_bytes;  // no collection but those asked for
  WeakHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  for (u32 i = 0; i < 4; i++) m.push(0);
  for (const u32 arrays : {1u, 400u}) {
    constexpr u32 kLength = 40'000;
    build_chain(m, test, kLength, arrays);
    const auto chain_length = [&] {
      u32 found = 0, wrong = 0;
      for (u32 array = arrays; array-- > 0;) {
        m.set_root(2, m.load(m.root(0) + 2 + array));
        for (u32 i = kLength / arrays; i-- > 0;) {
          const u32 key = element(m, test, 2, 2 * i), value = element(m, test, 2, 2 * i + 1);
          wrong += (key == 0) != (value == 0) || (key != 0 && m.key(value) != m.key(key) + 1);
          found += key != 0;
        }
      }
      m.set_root(2, 0);
      CHECK_EQ(wrong, 0u);
      return found;
    };
    for (u32 round = 0; round < 2; round++) {
      const u64 looks = test.heap->statistics.weakLooks.load();
      m.collect();
      CHECK(test.heap->statistics.weakLooks.load() - looks < 20 * kLength);
    }
    CHECK_EQ(chain_length(), kLength);
    // The middle of the chain: what comes before dies.
    m.set_root(2, m.load(m.root(0) + 2 + arrays / 2));
    m.set_root(1, element(m, test, 2, arrays == 1 ? kLength : 0));
    const u32 left = kLength - m.key(m.root(1));
    m.collect();
    CHECK_EQ(chain_length(), left);
    m.set_root(1, 0);
    m.collect();
    CHECK_EQ(chain_length(), 0u);
  }
  expect_no_violation(test, m);
}

TEST(what_a_weak_slot_gives_while_marking_is_alive_from_then_on) {
  WeakHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  for (u32 i = 0; i < 6; i++) m.push(0);
  // 0: weak elements. 1: pairs. 2: what a weak slot gave. 3: a strong array.
  m.set_root(0, alloc_array(m, test, test.weak_refs, 10));
  m.set_root(1, alloc_array(m, test, test.ref_pairs, 10));
  m.set_root(3, m.alloc_refs(4));
  for (u32 i = 0; i < 5; i++) {
    set_element(m, test, 0, i, alloc_keyed(m, i));
    set_element(m, test, 1, 2 * i, element(m, test, 0, i));
    set_element(m, test, 1, 2 * i + 1, alloc_keyed(m, 100 + i));
  }
  REQUIRE(rest_at(test, m, Rest::Preclean));
  // All of the five wait. One comes to life by a stack, one by a store, one by a store and is let go again.
  m.set_root(2, element(m, test, 0, 0));
  m.store_ref(m.root(3) + 2, element(m, test, 0, 1));
  m.store_ref(m.root(3) + 3, element(m, test, 0, 2));
  m.store_ref(m.root(3) + 3, 0);
  REQUIRE(step_to(test, m, layout::Phase::Reclaim));
  const auto check = [&] {
    CHECK_EQ(element(m, test, 0, 0), m.root(2));
    CHECK_EQ(element(m, test, 0, 1), m.load(m.root(3) + 2));
    for (u32 i = 0; i < 5; i++) {
      const u32 key = element(m, test, 1, 2 * i), value = element(m, test, 1, 2 * i + 1);
      CHECK_EQ(key, element(m, test, 0, i));
      if (i >= 2) CHECK_EQ(key, 0u);
      if (key == 0) CHECK_EQ(value, 0u);
      else CHECK(m.key(key) == i && m.key(value) == 100 + i && m.key_intact(value));
    }
  };
  check();
  REQUIRE(step_to(test, m, layout::Phase::Idle));
  check();
  expect_no_violation(test, m);
}

TEST(weak_slots_that_are_stored_into_while_marking_are_looked_at_again) {
  WeakHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  for (u32 i = 0; i < 6; i++) m.push(0);
  // Twice: when the trace is complete, and in the rounds after it.
  for (u32 round = 0; round < 2; round++) {
    m.set_root(0, alloc_array(m, test, test.weak_refs, 10));
    m.set_root(1, alloc_array(m, test, test.value_pairs, 10));
    m.set_root(2, alloc_keyed(m, 1));
    for (u32 i = 0; i < 5; i++) {
      set_element(m, test, 0, i, m.root(2));
      set_element(m, test, 1, 2 * i, m.root(2));
    }
    REQUIRE(rest_at(test, m, Rest::Preclean));
    if (round == 1) REQUIRE(rest_at(test, m, Rest::Preclean));
    // All are settled, and known alive. Now: one that will be dead, and one that is new and alive.
    set_element(m, test, 0, 0, alloc_keyed(m, 2));
    set_element(m, test, 1, 0, alloc_keyed(m, 3));
    set_element(m, test, 1, 1, alloc_keyed(m, 4));
    m.set_root(3, alloc_keyed(m, 5));
    set_element(m, test, 0, 1, m.root(3));
    set_element(m, test, 1, 2, m.root(3));
    set_element(m, test, 1, 3, alloc_keyed(m, 6));
    // Of a settled pair the value alone; of one that stays settled the key alone.
    set_element(m, test, 1, 5, alloc_keyed(m, 7));
    // An array that nobody has seen before, with both.
    m.set_root(4, alloc_array(m, test, test.ref_pairs, 4));
    set_element(m, test, 4, 0, m.root(3));
    set_element(m, test, 4, 1, alloc_keyed(m, 8));
    set_element(m, test, 4, 2, alloc_keyed(m, 9));
    set_element(m, test, 4, 3, m.root(3));
    REQUIRE(step_to(test, m, layout::Phase::Idle));
    CHECK(reads_as_cleared(m, test, 0, 0));
    CHECK_EQ(element(m, test, 0, 1), m.root(3));
    for (u32 i = 2; i < 5; i++) CHECK_EQ(element(m, test, 0, i), m.root(2));
    CHECK(reads_as_cleared(m, test, 1, 0) && reads_as_cleared(m, test, 1, 1));
    CHECK(m.key(element(m, test, 1, 2)) == 5 && m.key(element(m, test, 1, 3)) == 6);
    CHECK(m.key(element(m, test, 1, 4)) == 1 && m.key(element(m, test, 1, 5)) == 7);
    CHECK(m.key(element(m, test, 4, 0)) == 5 && m.key(element(m, test, 4, 1)) == 8);
    CHECK(reads_as_cleared(m, test, 4, 2) && reads_as_cleared(m, test, 4, 3));
    m.set_root(3, 0);
    m.set_root(4, 0);
  }
  expect_no_violation(test, m);
}

TEST(a_value_outlives_a_key_that_becomes_a_number_while_marking) {
  WeakHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  for (u32 i = 0; i < 4; i++) m.push(0);
  m.set_root(0, alloc_array(m, test, test.value_pairs, 10));
  for (u32 i = 0; i < 5; i++) {
    m.set_root(1, alloc_keyed(m, i));
    set_element(m, test, 0, 2 * i, m.root(1));
    m.set_root(2, alloc_keyed(m, 100 + i));
    m.init_left(m.root(2), m.root(1));
    set_element(m, test, 0, 2 * i + 1, m.root(2));
  }
  m.set_root(1, 0);
  m.set_root(2, 0);
  REQUIRE(rest_at(test, m, Rest::Preclean));
  // No key is marked: all pairs wait.
  set_key_to_number(m, test, 0, 1);
  set_key_to_number(m, test, 0, 3);
  for (const layout::Phase phase : {layout::Phase::Reclaim, layout::Phase::Idle}) {
    REQUIRE(step_to(test, m, phase));
    for (u32 i = 0; i < 5; i++) {
      const u32 value = element(m, test, 0, 2 * i + 1);
      if (i % 2 == 0) CHECK(reads_as_cleared(m, test, 0, 2 * i) && value == 0);
      else CHECK(value != 0 && m.is_node(value) && m.key(value) == 100 + i && m.key_intact(value) && m.key(m.left(value)) == i);
    }
  }
  expect_no_violation(test, m);
}

TEST(values_outlive_keys_that_become_numbers_at_any_time) {
  for (const u32 garbage : {0u, 30u}) {
    WeakHeap test(small_heap());
    REQUIRE(test.heap);
    NativeMutator m(test, 64);
    for (u32 i = 0; i < 4; i++) m.push(0);
    constexpr u32 kPairs = 200;
    m.set_root(0, alloc_array(m, test, test.value_pairs, 2 * kPairs));
    u32 wrong = 0, kept = 0, next = 1;
    bool numbered[kPairs] = {};
    Random random(7);
    {
      Collecting collecting(test);
      for (u32 round = 0; round < 200'000; round++) {
        const u32 i = random.below(kPairs);
        const u32 value = element(m, test, 0, 2 * i + 1);
        if (numbered[i]) {
          wrong += value == 0 || !m.is_node(value) || !m.key_intact(value);
          kept++;
        } else if (value != 0) {
          set_key_to_number(m, test, 0, i);
          numbered[i] = true;
          if (m.must_poll()) m.poll();
          continue;
        }
        m.set_root(1, alloc_keyed(m, next++));
        m.set_root(2, alloc_keyed(m, next++));
        set_element(m, test, 0, 2 * i, m.root(1));
        set_element(m, test, 0, 2 * i + 1, m.root(2));
        numbered[i] = false;
        m.set_root(1, 0);
        m.set_root(2, 0);
        for (u32 g = 0; g < garbage; g++) m.alloc_node();
        if (m.must_poll()) m.poll();
      }
      collecting.stop(m);
    }
    CHECK_EQ(wrong, 0u);
    CHECK(kept > 0);
    expect_no_violation(test, m);
  }
}

}  // namespace
