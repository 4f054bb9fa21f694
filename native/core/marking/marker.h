// One marker: takes refs from its stack, marks what they lead to, and visits the slots there.
//
// An object is scanned once, whole, when it is marked; large arrays in pieces, each when the stack is empty; and a card of what is
// marked already again where it was stored into, but for slots that hold what was visited there last (visited-slots.h). Weak
// slots are noted and not followed.
//
// Each marker has a private stack and a short queue between "popped" and "scanned". An object's block is prefetched when it
// enters the queue; its header when it is a few places from the end, unless its mark can be seen by then: in most graphs
// half of the references lead to what has been marked.
// For one thread at a time: a collector thread, or the one that runs the pause.
#pragma once

#include <utility>
#include <vector>

#include "core/marking/mark-stack.h"
#include "core/marking/weak-slots.h"
#include "core/memory/layout.h"
#include "core/units.h"

namespace glissade {

class Heap;
struct ShapeEntry;

// acquire: pairs with the mutator's store of a reference, which comes after the object's header and zeroed body. (In
// JavaScript it is a plain store; x86-64 keeps stores in order. Another architecture needs its own proof.)
inline u32 load32(const u8* at) { return __atomic_load_n(reinterpret_cast<const u32*>(at), __ATOMIC_ACQUIRE); }
inline u64 load64(const u8* at) { return __atomic_load_n(reinterpret_cast<const u64*>(at), __ATOMIC_ACQUIRE); }

/// A large array whose slots from byte `begin` on have not been visited yet.
struct ArrayPiece {
  u32 page, begin;
};

/// What is left to do; it outlives the marker that was interrupted in it. And where the marker found weak slots.
struct MarkWork {
  MarkStack refs;
  std::vector<ArrayPiece> arrays;
  std::vector<WeakRange> weak;
  bool empty() const { return refs.empty() && arrays.empty(); }
};

class Marker {
 public:
  /// `parallel`: other markers work at the same time.
  Marker(Heap& heap, bool parallel, MarkWork& work) : heap_(heap), parallel_(parallel), work_(work) {}

  /// Queues what a slot refers to.
  void visit(Ref ref) {
    if (ref.word != 0) work_.refs.push(ref.word);
  }
  void visit_word(u32 word) { visit(Ref{word}); }
  void visit_value(u64 bits) {
    if (static_cast<u32>(bits >> 32) == layout::kTagRef) visit(Ref{static_cast<u32>(bits)});
  }

  /// Scans until nothing is queued here, or `budget` objects have been marked, a piece of a large array counting as some
  /// hundred. False: the budget ended first.
  bool drain(u64 budget);
  bool idle() const { return work_.empty(); }
  /// What counts against budgets, so far.
  u64 done() const;

  /// Visits the slots of marked objects that a card of the heap buffer covers; `visited`, if there is any, knows which need not be.
  void scan_card(std::size_t card, u32* visited);

  /// The slots from `begin` to `end` (bytes) of a weak array are left to weak-slots.h.
  [[gnu::cold]] void note_weak(const u8* object, const ShapeEntry& shape, u32 begin, u32 end);
  /// Tells `weak` of each object that is marked from now on. For a lone marker.
  void tell(WeakSlots* weak) { told_ = weak; }

  MarkStack& stack() { return work_.refs; }
  u64 marked = 0;
  u32 end = 0;  // of the highest object marked that can move, in granules
  /// Granules scanned since the last call.
  u64 take_granules() { return std::exchange(granules_, 0); }

 private:
  enum class Way { Alone, Parallel, Telling, Checking };  // the last: any of these, where references are verified
  template <Way kWay>
  void drain_some(u64 goal);
  template <bool Parallel>
  void mark_and_scan(Ref ref);
  bool scan_array_piece();
  void scan(const u8* object, u32 shape, u32 begin, u32 end);
  void scan_in_card(Granule header, u32 shape, u32 begin, u32 end, std::size_t card, u32* visited);

  /// Objects in the queue (more lose the order of the stack, which is that of allocation), and those whose header is on its way.
  static constexpr u32 kQueue = 24;
  static constexpr u32 kAhead = 8;
  static constexpr u32 kRing = 32;
  Heap& heap_;
  bool parallel_;
  MarkWork& work_;
  WeakSlots* told_ = nullptr;
  u64 granules_ = 0, pieces_ = 0;
};

}  // namespace glissade
