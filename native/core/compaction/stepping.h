// Single steps, for tests: a virtual schedule for the threads that work on one page, and the points where it holds them.
//
// Work on a page falls into sub-steps, each between two hold points. A schedule names up to four threads (its actors) and
// the points at which each of them stops. When all have arrived at their first one they get turns: the actor whose turn it is
// runs to its next point, all others wait, and what it did is settled before the next turn. So a schedule is a list of
// actors; where it ends, the lowest actor that can go on gets the turn. Equal lists give equal runs, because nothing that
// an actor does within a turn waits for another: nobody in a compaction waits for a thread that may be descheduled. The one
// exception, the closing collector's wait for the handlers inside, is known here: it gets no turn while they are inside.
//
// The trace tells for each turn who could have had it, which is all that is needed to enumerate every interleaving.
//
// Only heaps made with `stepping` come here; others pay a predictable branch for each page. `hold` and `leave` run in fault
// handlers too: atomics and futexes, nothing else (invariant 10). Everything that is not atomic is handed from turn to
// turn by `turn_`, or was written before `arm`.
#pragma once

#include <pthread.h>

#include <atomic>

#include "core/compaction/page-state.h"

namespace glissade {

class Heap;

/// Where a cycle of a stepping heap rests, named after what comes next. X(name, what has been done)
#define GLISSADE_RESTS(X)                                                                                    \
  X(Idle, "no cycle is under way")                                                                           \
  X(Mark, "the cycle has begun; nothing is marked")                                                          \
  X(Trace, "as many objects as asked for are marked; more are queued, or the next portion finds none")       \
  X(Preclean, "the trace is complete; cards and stacks are looked at again, then remark")                    \
  X(Reclaim, "the remark pause is over")                                                                     \
  X(Flip, "every object has its new address; nothing has moved")                                             \
  X(Compact, "flipped: the next page, or portion of pages")                                                  \
  X(Close, "every page is in its place; the range is still armed")

enum class Rest : u8 {
#define X(name, doc) name,
  GLISSADE_RESTS(X)
#undef X
};

/// X(name, what the thread does when it goes on from there)
#define GLISSADE_HOLD_POINTS(X)                                                                       \
  X(Faulted, "count itself among the handlers at work")                                               \
  X(Entered, "look whether a compaction is going on")                                                 \
  X(Looking, "read the page's state")                                                                 \
  X(Claiming, "claim the page, a buffer in hand")                                                     \
  X(Overtaking, "join its builders, having waited long enough")                                       \
  X(Claimed, "build the page")                                                                        \
  X(Built, "publish what it has built")                                                               \
  X(Published, "release the page's sources, if it is the last builder")                               \
  X(Placing, "ask the kernel to map the page")                                                        \
  X(Placed, "say that the page is mapped")                                                            \
  X(Closing, "disarm the range")                                                                      \
  X(Disarmed, "end the compaction for handlers that enter from now on")                               \
  X(Draining, "look whether handlers are inside")                                                     \
  X(Waiting, "look again; it has no turn while there are any")                                        \
  X(Drained, "reset all states and free from-space")

enum class HoldPoint : u8 {
#define X(name, doc) name,
  GLISSADE_HOLD_POINTS(X)
#undef X
};

class Stepping {
 public:
  explicit Stepping(Heap& heap) : heap_(heap) {}

  static constexpr u32 kActors = 4;
  static constexpr u32 kMostTurns = 256;
  static constexpr u32 kNone = ~0u;

  struct Turn {
    u32 actor;
    HoldPoint from;  // the point that it left
    u32 enabled;     // the actors that could have had this turn, one bit each
    PageWord before, after;
    bool there;      // afterwards the kernel had the page mapped
  };

  // ── a schedule: arm, let the threads come, wait_until_done, disarm. One at a time, all from one thread. ────────────

  static constexpr u32 bit(HoldPoint point) { return 1u << static_cast<u32>(point); }

  void enlist(u32 actor, pthread_t thread, u32 points);
  /// An actor that is no thread: while it has the turn the others stand still. `release` ends it.
  void enlist_keeper(u32 actor);
  void arm(u32 page, const u8* order, u32 turns);
  /// Waits until `actor` has the turn, or all are done: false.
  bool wait_for_turn_of(u32 actor);
  void release(u32 keeper);
  void wait_until_done();
  bool done(u32 actor) const { return actors_[actor].done; }
  /// Actors that have not arrived at their first point.
  u32 missing() const { return missing_.load(std::memory_order_acquire); }
  /// Ends the schedule; its turns stay readable until the next `arm`.
  void disarm();
  u32 turns() const { return turns_; }
  const Turn& turn(u32 i) const { return trace_[i]; }

  // ── for the threads at work ───────────────────────────────────────────────────────────────────────────────────────

  /// Holds the calling thread until its turn, if the schedule is about one of these pages and knows the thread.
  void hold(HoldPoint point, u32 first_page, u32 pages);
  /// The calling thread's work is done, in so far as the schedule is concerned.
  void leave();
  /// Lets everybody run, for good: a thread that is held must not keep a mutator waiting for memory, or a heap from closing.
  void abandon();

  // ── orders to the collector thread, which takes them at its gates ─────────────────────────────────────────────────

  void order(u32 page) { ordered_.store(page, std::memory_order_relaxed); }
  u32 take_order() { return ordered_.exchange(kNone, std::memory_order_relaxed); }
  /// Objects that a trace marks between two gates, and what this trace has marked so far.
  std::atomic<u64> portion{1024}, marked{0};

 private:
  struct Actor {
    pthread_t thread{};
    u32 points = 0;
    bool enlisted = false, keeper = false, arrived = false, has_turn = false, done = false;
    HoldPoint at = HoldPoint::Faulted;
  };
  static constexpr u32 kNobody = kActors, kAbandoned = kActors + 1;

  u32 find(pthread_t thread) const;
  bool enabled(const Actor& actor) const;
  void arrive();
  void pass_on();
  void finish_turn();

  Heap& heap_;
  std::atomic<bool> armed_{false}, abandoned_{false};
  std::atomic<u32> turn_{kNobody};
  std::atomic<u32> finished_{1};
  std::atomic<u32> missing_{0};  // actors that have not arrived
  std::atomic<u32> ordered_{kNone};
  Actor actors_[kActors];
  u32 page_ = 0;
  u8 order_[kMostTurns] = {};
  u32 ordered_turns_ = 0, next_turn_ = 0;
  Turn trace_[kMostTurns] = {};
  u32 turns_ = 0;
};

}  // namespace glissade
