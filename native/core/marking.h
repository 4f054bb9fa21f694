// Concurrent marking: trace from the roots, preclean dirty cards in rounds, finish in the remark pause.
//
// Incremental update (Dijkstra et al. 1978, with cards): a store into an object that was scanned before dirties its
// card, and the object is scanned again, but for slots that hold what was visited there last (visited-slots.h). Objects born before
// remark are white until traced. A young cycle starts from the marks and the dirty cards that the last one left (young-cycles.h);
// for everything after its trace it is like any. What makes invariant 6 hold: after the remark pause every card is clean or its
// objects have been rescanned, every stack slot equals its shadow or has been visited, and the mark stacks are empty. Where the system
// refuses memory for them the cycle is not whole, and clears, frees and moves nothing.
//
// Weak slots are looked at when a trace is complete, and ephemerons may then go on with it (weak-slots.h): that is a whole trace.
//
// Each marker has a private stack and a short queue between "popped" and "scanned". An object's block is prefetched when it
// enters the queue; its header when it is a few places from the end, unless its mark can be seen by then: in most graphs
// half of the references lead to what has been marked. Whole chunks of work go through a shared bag when others are idle.
// Called by collector threads only; `remark`, `clear_weak` and what these ask by the thread that runs the pause.
#pragma once

#include <atomic>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

#include "layout.h"
#include "mark-bag.h"
#include "mark-stack.h"
#include "units.h"
#include "weak-slots.h"

namespace glissade {

class Heap;
struct AreaView;
struct ShapeEntry;

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

class Marking {
 public:
  explicit Marking(Heap& heap) : heap_(heap), work_(1), weak_(heap) {}

  /// Clears marks and cards, unless the cycle is a young one. Afterwards stores are tracked.
  void begin(bool young);
  /// Visits every root once, concurrently, and what has been stored into marked objects if the cycle is a young one; then
  /// traces to the end.
  void mark_from_roots(bool young);
  /// One concurrent round over dirty cards, tables and stacks, traced to the end. How much there was to do: dirty cards,
  /// and objects found behind them (a card's worth counting as one).
  u64 preclean();
  /// In the pause. False: more was dirty than the pause's budget allows; go back to precleaning (`last` forbids that).
  bool remark(bool last);
  /// In the pause, when remark is done: clears the weak slots whose objects are dead. What is due is marked if it is little.
  void clear_weak();
  /// Objects are due, or something that they lead to, that have no mark yet.
  bool due_unmarked() const { return due_unmarked_; }
  /// In the pause, after `clear_weak`: what is due and has a mark.
  template <typename Visit>
  void for_each_due(Visit&& visit) {
    if (due_unmarked_) return;
    for (const DueObject& object : weak_.due()) visit(object.ref);
  }
  /// After the pause: marks what is due with all that it leads to, and hands it over. No mutator can come to it before.
  void hand_over_due();
  /// False: what has no mark may live. There was no memory for a mark stack, or a reference led to no object. After marking.
  bool is_whole() const;
  /// The end of the highest object with a mark, in granules; large ones apart. No trace is under way.
  u32 end() const { return end_.load(std::memory_order_relaxed); }

 private:
  void note(Marker& marker);
  void trace();
  void trace_whole();
  bool trace_telling(Marker& marker, u64 objects, u64 slots);
  void trace_with(Marker& marker, bool alone);
  u64 take_cards();
  void scan_heap_cards(Marker& marker, bool concurrent);
  void visit_root_card(Marker& marker, u32 card);
  void visit_stack(Marker& marker, u32 area, bool concurrent);
  void note_weak_roots(const AreaView& area, u32 begin, u32 end);

  Heap& heap_;
  std::deque<MarkWork> work_;     // of each worker; between traces only the first has any
  std::vector<u32> heap_cards_, root_cards_;
  std::atomic<u32> end_{0};       // relaxed: the end of a trace, or the pause, publishes it
  std::atomic<bool> lost_{false};  // relaxed, as above: a mark stack has dropped refs in this cycle
  WeakSlots weak_;
  bool counting_ = false;         // what is traced is progress of the cycle (pacing.h)
  bool due_unmarked_ = false;
  bool deferred_ = false;         // the lists hold cards of a remark that was given up
  MarkBag bag_;
};

}  // namespace glissade
