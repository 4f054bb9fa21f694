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
// What one marker does is in marker.h; whole chunks of their work go through a shared bag when others are idle.
// Called by collector threads only; `remark`, `clear_weak` and what these ask by the thread that runs the pause.
#pragma once

#include <atomic>
#include <deque>
#include <vector>

#include "core/marking/mark-bag.h"
#include "core/marking/marker.h"
#include "core/marking/weak-slots.h"
#include "core/units.h"

namespace glissade {

class Heap;
struct AreaView;

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
