// What the self-tests of weak slots share: a heap with the four kinds of weak arrays, and arrays in root slots.
#pragma once

#include "core/marking/weak-slots.h"
#include "native-mutator.h"

namespace glissade::testing {

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

inline u32 alloc_array(NativeMutator& m, const WeakHeap& test, u32 shape, u32 length) {
  return m.alloc(shape, length << 2, test.is_value(shape) ? 1 + length : 1 + (length + 1) / 2);
}

/// Element `i` of the array in root slot `array`.
inline u32 element_at(NativeMutator& m, const WeakHeap& test, u32 array, u32 i) {
  const u32 ref = m.root(array);
  return ref + 2 + (test.is_value(m.load(ref)) ? 2 * i : i);
}
inline void set_element(NativeMutator& m, const WeakHeap& test, u32 array, u32 i, u32 to) {
  const u32 at = element_at(m, test, array, i);
  if (test.is_value(m.load(m.root(array)))) m.store_value_ref(at, to);
  else m.store_ref(at, to);
}
/// 0: it holds no reference.
inline u32 element(NativeMutator& m, const WeakHeap& test, u32 array, u32 i) {
  const u32 at = element_at(m, test, array, i);
  if (test.is_value(m.load(m.root(array))) && m.load(at + 1) != layout::kTagRef) return 0;
  return m.load(at);
}
inline bool reads_as_cleared(NativeMutator& m, const WeakHeap& test, u32 array, u32 i) {
  const u32 at = element_at(m, test, array, i);
  return m.load(at) == 0 && (!test.is_value(m.load(m.root(array))) || m.load(at + 1) == layout::kTagUndefined);
}

inline u32 alloc_keyed(NativeMutator& m, u32 key) {
  const u32 node = m.alloc_node();
  m.set_key(node, key);
  return node;
}

inline bool rest_at(TestHeap& test, NativeMutator& m, Rest wanted) {
  for (u32 i = 0; i < 10'000; i++) {
    m.park();
    test.heap->step(1);
    const Rest rest = test.heap->rest();
    m.unpark();
    if (rest == wanted) return true;
  }
  return false;
}

/// As a mutator stores a number: no card, for nothing is referred to.
inline void set_key_to_number(NativeMutator& m, const WeakHeap& test, u32 array, u32 pair) {
  const u32 at = element_at(m, test, array, 2 * pair);
  m.store(at + 1, layout::kTagUndefined);
  m.store(at, 0);
}


// The heaps that a model is run on, a seed for each: run(options, seed, concurrently, rounds).

/// Collections are those that the test asks for, and trace everything.
template <typename Run>
void run_between_collections(Run&& run) {
  HeapOptions options = small_heap();
  options.young = Young::Never;
  for (u64 seed = 1; seed <= 4; seed++) {
    options.fresh_windows = seed % 2;
    run(options, seed, false, 25);
  }
}
/// Another thread collects without a pause.
template <typename Run>
void run_beside_collections(Run&& run) {
  HeapOptions options = small_heap();
  for (u64 seed = 11; seed <= 14; seed++) {
    options.collector_threads = 1 + seed % 3;
    run(options, seed, true, 60);
  }
}
template <typename Run>
void run_in_young_cycles(Run&& run) {
  HeapOptions options = small_heap();
  options.young = Young::AlsoAsked;
  for (u64 seed = 21; seed <= 24; seed++) run(options, seed, seed % 2, 40);
}

}  // namespace glissade::testing
