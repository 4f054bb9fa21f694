// Weak arrays and ephemerons (native/core/weak-slots.h): a slot is cleared by the collection that finds its object dead, and by
// no other, whenever it was stored and whatever the mutator does with it meanwhile.
#include "core/weak-slots.h"

#include <unistd.h>

#include <memory>
#include <vector>

#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

using layout::ShapeKind;
using layout::Weak;

/// A heap with the four kinds of weak arrays.
struct WeakHeap : TestHeap {
  explicit WeakHeap(HeapOptions options) : TestHeap(options) {
    if (!heap) return;
    weak_refs = define_array(ShapeKind::ArrayRef, 2, Weak::Elements);
    weak_values = define_array(ShapeKind::ArrayValue, 3, Weak::Elements);
    ref_pairs = define_array(ShapeKind::ArrayRef, 2, Weak::Keys);
    value_pairs = define_array(ShapeKind::ArrayValue, 3, Weak::Keys);
  }
  bool is_value(u32 shape) const { return shape == weak_values || shape == value_pairs; }
  u32 weak_refs = 0, weak_values = 0, ref_pairs = 0, value_pairs = 0;
};

u32 alloc_array(NativeMutator& m, const WeakHeap& test, u32 shape, u32 length) {
  return m.alloc(shape, length << 2, test.is_value(shape) ? 1 + length : 1 + (length + 1) / 2);
}

/// Element `i` of the array in root slot `array`.
u32 element_at(NativeMutator& m, const WeakHeap& test, u32 array, u32 i) {
  const u32 ref = m.root(array);
  return ref + 2 + (test.is_value(m.load(ref)) ? 2 * i : i);
}
void set_element(NativeMutator& m, const WeakHeap& test, u32 array, u32 i, u32 to) {
  const u32 at = element_at(m, test, array, i);
  if (test.is_value(m.load(m.root(array)))) m.store_value_ref(at, to);
  else m.store_ref(at, to);
}
/// 0: it holds no reference.
u32 element(NativeMutator& m, const WeakHeap& test, u32 array, u32 i) {
  const u32 at = element_at(m, test, array, i);
  if (test.is_value(m.load(m.root(array))) && m.load(at + 1) != layout::kTagRef) return 0;
  return m.load(at);
}
bool reads_as_cleared(NativeMutator& m, const WeakHeap& test, u32 array, u32 i) {
  const u32 at = element_at(m, test, array, i);
  return m.load(at) == 0 && (!test.is_value(m.load(m.root(array))) || m.load(at + 1) == layout::kTagUndefined);
}

u32 alloc_keyed(NativeMutator& m, u32 key) {
  const u32 node = m.alloc_node();
  m.set_key(node, key);
  return node;
}

bool rest_at(TestHeap& test, NativeMutator& m, Rest wanted) {
  for (u32 i = 0; i < 10'000; i++) {
    m.park();
    test.heap->step(1);
    const Rest rest = test.heap->rest();
    m.unpark();
    if (rest == wanted) return true;
  }
  return false;
}

void expect_no_violation(TestHeap& test, NativeMutator& m) {
  m.park();
  CHECK_EQ(test.heap->verification.take_violation(), std::string());
  m.unpark();
}

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

/// As a mutator stores a number: no card, for nothing is referred to.
void set_key_to_number(NativeMutator& m, const WeakHeap& test, u32 array, u32 pair) {
  const u32 at = element_at(m, test, array, 2 * pair);
  m.store(at + 1, layout::kTagUndefined);
  m.store(at, 0);
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

/// Random strong roots, weak slots and ephemerons beside a model, with collections under way all the time or asked for.
struct Model {
  static constexpr u32 kObjects = 300, kPairs = 400;
  struct Pair {
    u32 key = 0, value = 0;  // numbers of objects, 0: none
  };
  WeakHeap& test;
  NativeMutator& m;
  Random random;
  u32 next_number = 1;
  u32 strong[kObjects] = {};  // numbers in root slot 0, an array
  Pair pairs[kPairs];         // … in root slots 1 and 2 (refs, values)
  u32 weak[kPairs] = {};      // … in root slots 3 and 4

  Model(WeakHeap& heap, NativeMutator& mutator, u64 seed) : test(heap), m(mutator), random(seed) {
    for (u32 i = 0; i < 8; i++) m.push(0);
    m.set_root(0, m.alloc_refs(kObjects));
    // One of each pair of arrays is large, one moves.
    m.set_root(1, alloc_array(m, test, test.ref_pairs, 2 * kPairs));
    m.set_root(2, alloc_array(m, test, test.value_pairs, 12'000));
    m.set_root(3, alloc_array(m, test, test.weak_refs, 12'000));
    m.set_root(4, alloc_array(m, test, test.weak_values, kPairs));
  }
  u32 pairs_at(u32 i) const { return i % 2 ? 1 : 2; }
  u32 weak_at(u32 i) const { return i % 2 ? 3 : 4; }

  /// An object that something strong gives, in root slot `to`, and its number: 0 if the one chosen is none.
  u32 choose(u32 to) {
    const u32 i = random.below(kObjects);
    u32 ref = m.load(m.root(0) + 2 + i), number = strong[i];
    // Or what an ephemeron of it gives: alive, as its key is.
    for (const Pair& pair : pairs) {
      if (number != 0 && pair.key == number && random.below(2)) {
        ref = element(m, test, pairs_at(static_cast<u32>(&pair - pairs)), 2 * static_cast<u32>(&pair - pairs) + 1);
        number = pair.value;
      }
    }
    m.set_root(to, number ? ref : 0);
    return number;
  }
  u32 make(u32 to) {
    m.set_root(to, alloc_keyed(m, next_number));
    return next_number++;
  }
  u32 choose_or_make(u32 to) {
    const u32 number = random.below(2) ? choose(to) : 0;
    return number ? number : make(to);
  }

  void act() {
    const u32 i = random.below(kPairs), object = random.below(kObjects);
    Pair pair;
    switch (random.below(6)) {
      case 0:
        strong[object] = choose_or_make(5);
        m.store_ref(m.root(0) + 2 + object, m.root(5));
        break;
      case 1:
        strong[object] = 0;
        m.store_ref(m.root(0) + 2 + object, 0);
        break;
      case 2:
      case 3:
        // A pair whole, so that the model knows what belongs to which key at every safepoint.
        pair.key = choose_or_make(5);
        pair.value = choose_or_make(6);
        set_element(m, test, pairs_at(i), 2 * i, m.root(5));
        set_element(m, test, pairs_at(i), 2 * i + 1, m.root(6));
        pairs[i] = pair;
        break;
      case 4:
        weak[i] = choose_or_make(5);
        set_element(m, test, weak_at(i), i, m.root(5));
        break;
      default:
        for (u32 garbage = random.below(40); garbage > 0; garbage--) m.alloc_node();
    }
    m.set_root(5, 0);
    m.set_root(6, 0);
    if (m.must_poll()) m.poll();
  }

  /// `exactly`: a collection has ended with nothing done since it began.
  void check(bool exactly) {
    std::vector<bool> alive(next_number);
    for (const u32 number : strong) alive[number] = true;
    for (bool more = true; more;) {
      more = false;
      for (const Pair& pair : pairs) {
        if (pair.key == 0 || !alive[pair.key] || alive[pair.value]) continue;
        more = alive[pair.value] = true;
      }
    }
    alive[0] = false;
    u32 lost = 0, wrong = 0, kept = 0;
    const auto look = [&](u32& number, u32 ref, bool lives) {
      if (ref == 0) {
        lost += lives && number != 0;
        number = 0;
        return;
      }
      wrong += !m.is_node(ref) || m.key(ref) != number || !m.key_intact(ref);
      kept += exactly && !lives;
    };
    for (u32 i = 0; i < kObjects; i++) {
      if (strong[i]) wrong += m.key(m.load(m.root(0) + 2 + i)) != strong[i];
    }
    for (u32 i = 0; i < kPairs; i++) {
      const bool lives = alive[pairs[i].key];
      const u32 key = element(m, test, pairs_at(i), 2 * i), value = element(m, test, pairs_at(i), 2 * i + 1);
      wrong += (key == 0) != (value == 0);
      look(pairs[i].key, key, lives);
      look(pairs[i].value, value, lives);
      look(weak[i], element(m, test, weak_at(i), i), alive[weak[i]]);
    }
    CHECK_EQ(lost, 0u);
    CHECK_EQ(wrong, 0u);
    CHECK_EQ(kept, 0u);
  }
};

void run_model(HeapOptions options, u64 seed, bool concurrently, u32 rounds) {
  WeakHeap test(options);
  REQUIRE(test.heap);
  const int failures = failed_checks.load();
  NativeMutator m(test, 64);
  Model model(test, m, seed);
  {
    std::unique_ptr<Collecting> collecting = concurrently ? std::make_unique<Collecting>(test) : nullptr;
    for (u32 round = 0; round < rounds; round++) {
      for (u32 i = 0; i < 300; i++) model.act();
      if (!concurrently) m.collect();
      model.check(!concurrently && options.young == Young::Never);
    }
    if (collecting) collecting->stop(m);
  }
  m.collect();
  model.check(false);
  expect_no_violation(test, m);
  CHECK(test.heap->statistics.weakCleared.load() > 0);
  if (failed_checks.load() != failures) std::fprintf(stderr, "  seed %llu\n", static_cast<unsigned long long>(seed));
}

TEST(random_weak_slots_and_ephemerons_are_what_a_model_says_after_each_collection) {
  HeapOptions options = small_heap();
  options.young = Young::Never;
  for (u64 seed = 1; seed <= 4; seed++) {
    options.fresh_windows = seed % 2;
    run_model(options, seed, false, 25);
  }
}

TEST(random_weak_slots_and_ephemerons_lose_nothing_alive_while_collections_run) {
  HeapOptions options = small_heap();
  for (u64 seed = 11; seed <= 14; seed++) {
    options.collector_threads = 1 + seed % 3;
    run_model(options, seed, true, 60);
  }
}

TEST(random_weak_slots_and_ephemerons_lose_nothing_alive_in_young_cycles) {
  HeapOptions options = small_heap();
  options.young = Young::AlsoAsked;
  for (u64 seed = 21; seed <= 24; seed++) run_model(options, seed, seed % 2, 40);
}

}  // namespace
