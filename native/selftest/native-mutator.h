// A mutator in C++: "Memory of one heap" of ARCHITECTURE.md as JavaScript keeps it, so that the core can be driven without Node.
//
// The same fast paths (bump of two control words, reference store then card store, payload then tag). Stores are release,
// which is what x86-64 makes of JavaScript's plain stores, so that ThreadSanitizer judges the protocol and not the language.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "core/heap.h"
#include "testing.h"

namespace glissade::testing {

/// What most self-tests run on: small enough to collect often, everything checked.
inline HeapOptions small_heap() {
  HeapOptions options;
  options.max_bytes = 32 * kMiB;
  options.min_bytes = 4 * kMiB;
  options.root_bytes = 16 * kMiB;
  options.verify = 4;
  return options;
}

/// The same, and its cycles rest at gates (step_to).
inline HeapOptions stepping_heap() {
  HeapOptions options = small_heap();
  options.stepping = true;
  return options;
}

/// A heap with four shapes: Node { ref left, ref right, u64 key }, Refs (array of ref), Values (array of value), Bytes.
class TestHeap {
 public:
  explicit TestHeap(HeapOptions options) {
    std::string error;
    int error_number = 0;
    heap = Heap::create(options, error, error_number);
    if (!heap) {
      std::fprintf(stderr, "heap: %s (errno %d)\n", error.c_str(), error_number);
      return;
    }
    node = define_fixed(3, {16 << 1, 20 << 1});
    refs = define_array(layout::ShapeKind::ArrayRef, 2);
    values = define_array(layout::ShapeKind::ArrayValue, 3);
    bytes = define_array(layout::ShapeKind::ArrayU8, 0);
  }
  ~TestHeap() {
    if (heap) heap->destroy();
  }

  u32 define_fixed(u32 granules, std::vector<u32> slots) {
    i32* control = heap->space.control();
    const i32 start = control[layout::kSlotMapLengthWord];
    for (u32 slot : slots) control[layout::kSlotMapBase + control[layout::kSlotMapLengthWord]++] = static_cast<i32>(slot);
    return define(layout::ShapeKind::Fixed, static_cast<i32>(granules), start, static_cast<i32>(slots.size()));
  }
  u32 define_array(layout::ShapeKind kind, i32 log2, layout::Weak weak = layout::Weak::None) {
    return define(kind, log2, 0, static_cast<i32>(weak));
  }

  Heap* heap = nullptr;
  u32 node = 0, refs = 0, values = 0, bytes = 0;

 private:
  u32 define(layout::ShapeKind kind, i32 size, i32 start, i32 count) {
    i32* control = heap->space.control();
    const i32 id = control[layout::kShapeCountWord];
    i32* entry = control + layout::kShapeBase + id * layout::kShapeWords;
    entry[layout::kShapeKind] = static_cast<i32>(kind);
    entry[layout::kShapeSize] = size;
    entry[layout::kShapeSlotStart] = start;
    entry[layout::kShapeSlotCount] = count;
    __atomic_store_n(control + layout::kShapeCountWord, id + 1, __ATOMIC_RELEASE);
    return static_cast<u32>(id);
  }
};

/// How often the kernel (or injection) has answered a call of this heap with the errno of that name.
inline u64 counted_answers(const Heap& heap, injection::Op op, const char* name) {
  for (int kind = 0; kind < Userfaultfd::kErrorKinds; kind++) {
    if (std::strcmp(Userfaultfd::error_name(kind), name) == 0) return heap.barrier.errors(op, kind);
  }
  return 0;
}

class NativeMutator {
 public:
  /// Attaches, enters, and makes a stack of `slots` refs.
  NativeMutator(TestHeap& test, u32 slots) : test_(test), heap_(*test.heap) {
    mutator_ = heap_.safepoint.attach();
    area_ = heap_.create_area(layout::AreaKind::RefStack, slots, static_cast<i32>(mutator_->index));
    AreaView view;
    heap_.roots.view(static_cast<u32>(area_), view);
    stack_ = view.words;
    heap_.safepoint.enter(*mutator_);
  }
  ~NativeMutator() {
    heap_.safepoint.leave(*mutator_);
    heap_.detach(*mutator_);
  }

  u32 alloc_node() { return alloc(test_.node, 0, 3); }
  u32 alloc_refs(u32 length) { return alloc(test_.refs, length << 2, 1 + (length + 1) / 2); }
  u32 alloc_values(u32 length) { return alloc(test_.values, length << 2, 1 + length); }
  u32 alloc_bytes(u32 length) { return alloc(test_.bytes, length << 2, 1 + (length + 7) / 8); }

  /// A safepoint: raw refs held before it are dead.
  u32 alloc(u32 shape, u32 word1, u32 granules) {
    publish_top();
    i32* block = mutator_->block;
    const u32 at = static_cast<u32>(layout::load_word(block[layout::kTlabTop]));
    const u32 next = at + 2 * granules;
    if (granules < kLargeObjectGranules && next <= static_cast<u32>(layout::load_word(block[layout::kTlabLimit]))) {
      layout::store_word(block[layout::kTlabTop], static_cast<i32>(next));
      store(at, shape);
      store(at + 1, word1);
      return at;
    }
    return heap_.allocate(*mutator_, shape, word1, granules);
  }

  u32 load(u32 word) const { return __atomic_load_n(memory() + word, __ATOMIC_RELAXED); }
  void store(u32 word, u32 value) { __atomic_store_n(memory() + word, value, __ATOMIC_RELEASE); }
  void store_ref(u32 word, u32 ref) {
    store(word, ref);
    // Invariant 8: the reference, then its card.
    __atomic_store_n(heap_.space.cards() + (word >> layout::kCardShift), u8{1}, __ATOMIC_RELEASE);
  }
  void store_value_ref(u32 word, u32 ref) {
    store(word, ref);
    __atomic_store_n(memory() + word + 1, layout::kTagRef, __ATOMIC_RELEASE);
    __atomic_store_n(heap_.space.cards() + (word >> layout::kCardShift), u8{1}, __ATOMIC_RELEASE);
  }

  // Node: key at byte 8 (64 bits), left at 16, right at 20.
  u32 left(u32 ref) const { return load(ref + 4); }
  u32 right(u32 ref) const { return load(ref + 5); }
  /// Of a node that nobody else knows yet: no card (decision 016).
  void init_left(u32 ref, u32 to) { store(ref + 4, to); }
  void set_left(u32 ref, u32 to) { store_ref(ref + 4, to); }
  void set_right(u32 ref, u32 to) { store_ref(ref + 5, to); }
  u32 key(u32 ref) const { return load(ref + 2); }
  void set_key(u32 ref, u32 key) { store(ref + 2, key), store(ref + 3, ~key); }
  bool is_node(u32 ref) const { return load(ref) == test_.node; }
  bool key_intact(u32 ref) const { return load(ref + 3) == ~load(ref + 2); }

  // The stack of roots.
  u32 root(u32 slot) const { return __atomic_load_n(stack_ + slot, __ATOMIC_RELAXED); }
  void set_root(u32 slot, u32 ref) { __atomic_store_n(stack_ + slot, ref, __ATOMIC_RELEASE); }
  u32 push(u32 ref) {
    set_root(top, ref);
    return top++;
  }
  void pop(u32 slots = 1) { top -= slots; }
  i32 area() const { return area_; }
  void publish_top() {
    layout::store_word(heap_.space.control()[layout::kAreaBase + static_cast<u32>(area_) * layout::kAreaWords + layout::kAreaTop],
                       static_cast<i32>(top));
  }
  bool must_poll() const { return layout::load_word(mutator_->block[layout::kPoll]) != 0; }
  void poll() {
    publish_top();
    heap_.safepoint.poll(*mutator_);
  }
  void park() {
    publish_top();
    heap_.safepoint.leave(*mutator_);
  }
  void unpark() { heap_.safepoint.enter(*mutator_); }
  void collect() {
    publish_top();
    heap_.safepoint.leave(*mutator_);
    heap_.collect();
    heap_.safepoint.enter(*mutator_);
  }

  u32 top = 0;

 private:
  u32* memory() const { return reinterpret_cast<u32*>(heap_.space.heap_buffer()); }
  TestHeap& test_;
  Heap& heap_;
  Mutator* mutator_;
  i32 area_;
  u32* stack_;
};

/// A list of `length` nodes in root slot `slot`, with `garbage` dead nodes between each two.
inline void build_list(NativeMutator& m, u32 slot, u32 length, u32 garbage) {
  m.set_root(slot, 0);
  for (u32 i = 0; i < length; i++) {
    for (u32 g = 0; g < garbage; g++) m.alloc_node();
    const u32 node = m.alloc_node();
    m.set_key(node, i);
    m.init_left(node, m.root(slot));
    m.set_root(slot, node);
  }
}

inline bool list_intact(NativeMutator& m, u32 slot, u32 length) {
  u32 ref = m.root(slot);
  for (u32 i = length; i-- > 0;) {
    if (ref == 0 || !m.is_node(ref) || m.key(ref) != i || !m.key_intact(ref)) return false;
    ref = m.left(ref);
  }
  return ref == 0;
}

/// The collector's verification has found nothing.
inline void expect_no_violation(TestHeap& test, NativeMutator& m) {
  m.park();
  CHECK_EQ(test.heap->verification.take_violation(), std::string());
  m.unpark();
}

/// Another thread that collects without a pause, for as long as it lives.
class Collecting {
 public:
  explicit Collecting(TestHeap& test) : test_(test) { pthread_create(&thread_, nullptr, loop, this); }
  ~Collecting() { stop(); }
  /// The caller is no running mutator: the thread may be waiting for a cycle that stops them all.
  void stop() {
    if (stop_.exchange(true)) return;
    pthread_join(thread_, nullptr);
  }
  void stop(NativeMutator& m) {
    m.park();
    stop();
    m.unpark();
  }

 private:
  static void* loop(void* argument) {
    auto& self = *static_cast<Collecting*>(argument);
    while (!self.stop_) self.test_.heap->collect();
    return nullptr;
  }
  TestHeap& test_;
  std::atomic<bool> stop_{false};
  pthread_t thread_;
};

/// Allocates pages of their own, which die at once, until a cycle has begun by itself and is over.
inline void let_a_cycle_begin(TestHeap& test, NativeMutator& m) {
  const u64 cycles = test.heap->statistics.collections.load();
  while (test.heap->statistics.collections.load() == cycles) {
    m.alloc_bytes(100'000);
    m.park();
    test.heap->rest();
    m.unpark();
  }
}

/// Lets a stepping heap go on to `wanted`; false if it never comes there.
inline bool step_to(TestHeap& test, NativeMutator& m, layout::Phase wanted, bool asked = true) {
  for (u32 i = 0; i < 10'000; i++) {
    m.park();
    const layout::Phase phase = test.heap->step(1, asked);
    m.unpark();
    if (phase == wanted) return true;
  }
  return false;
}

/// xorshift64*: seeded, printed by whoever uses it.
struct Random {
  u64 state;
  explicit Random(u64 seed) : state(seed * 0x9E3779B97F4A7C15ull + 1) {}
  u64 next() {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545F4914F6CDD1Dull;
  }
  u32 below(u32 n) { return static_cast<u32>((next() >> 32) * n >> 32); }
};

}  // namespace glissade::testing
