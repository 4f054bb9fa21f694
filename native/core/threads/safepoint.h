// Stopping the mutators, for N of them, whatever N is.
//
// Each mutator has one state word. It is entered and left by atomic read-modify-write, so a request and an entry can
// never miss each other: either the requester sees `running` and waits, or the mutator sees `requested` and waits.
//
//   parked ──enter──► running ──poll──► stopped ──(resume)──► running        requested: a bit set by the requester
//          ◄──leave──         (only when requested)
//
// A parked mutator counts as stopped and is never waited for: it touches neither heap nor roots (invariant 5). The last
// mutator to stop runs the pause's operation itself, on its own thread: waking the collector would cost as much as a flip.
// One stop at a time.
// While a stop is in force nobody is `running` (but who inspects: `stop_others`); heap and roots are touched by the operation alone (invariant 5).
//
// The mutator's JavaScript sees a request as three control words: poll = 1, TLAB limit = 0, stack limit = -1. Whoever
// resumes the world restores them before the state word says `running` again: from then on they are the mutator's own. A thread that
// was resumed and that the scheduler has not run yet is running, and waited for by the next stop.
// test/model/safepoint.pml models this, function by function (test/model/README.md).
#pragma once

#include <atomic>
#include <mutex>

#include "core/allocation/tlab-rests.h"
#include "core/kernel/futex.h"
#include "core/memory/layout.h"
#include "core/statistics/statistics.h"

namespace glissade {

struct Mutator {
  std::atomic<u32> state{0};
  std::atomic<bool> attached{false};
  u32 index = 0;
  i32* block = nullptr;  // its control words
  u32 tlab_start = 0;    // Ref words; start == limit: no TLAB
  u32 tlab_limit = 0;
  bool keeps_rest = false;  // what an object does not fit into of the TLAB waits for others
  TlabRests rests;
  u32 allowance = 0;     // granules that pacing has allowed and that have not been granted
  char padding[64];      // state words of different mutators do not share a cache line

  u32 tlab_top() const { return static_cast<u32>(layout::load_word(block[layout::kTlabTop])); }
};

class Safepoint {
 public:
  static constexpr u32 kParked = 0, kRunning = 1, kRequested = 2, kStopped = 4;

  void bind(i32* control, Statistics* statistics);

  /// A mutator block for the calling thread, parked; nullptr when all 64 are taken.
  Mutator* attach();
  /// The mutator must be parked.
  void detach(Mutator& mutator);

  /// Blocks while a stop is in force.
  void enter(Mutator& mutator);
  void leave(Mutator& mutator);
  /// The slow path of a safepoint: stops if requested, else returns at once.
  void poll(Mutator& mutator);
  /// Publishes the mutator's TLAB limit to JavaScript, unless a stop is requested. Call from the mutator's thread.
  void publish_tlab(Mutator& mutator);

  /// Stops all mutators, calls `work` once, on the thread that stopped last, and resumes. The caller is not a running mutator.
  template <typename Work>
  void stop_and_run(Work&& work) {
    run_stopped([](void* context) { (*static_cast<std::remove_reference_t<Work>*>(context))(); }, &work);
  }

  /// Stops every mutator but `self` (which must be running, or null) until `resume_others`.
  void stop_others(Mutator* self);
  void resume_others();
  /// The heap is closed: whoever is inside `run`, or comes to it, is to poll, and goes on with no TLAB. For good.
  void close();
  bool closed() const { return closed_.load(std::memory_order_relaxed); }
  /// For tests: how long a stop waits before it says for whom.
  void set_patience(u64 ns) { patience_ns_ = ns; }
  /// Calls `work` while nobody holds mutators stopped: what an inspection looks at does not change under it. Not by a running mutator.
  template <typename Work>
  void between_stops(Work&& work) {
    std::lock_guard<std::mutex> lock(stop_mutex_);
    work();
  }

  Mutator& mutator(u32 index) { return mutators_[index]; }
  template <typename Visit>
  void for_each(Visit&& visit) {
    for (Mutator& m : mutators_) {
      if (m.attached.load(std::memory_order_acquire)) visit(m);
    }
  }

 private:
  using Operation = void (*)(void* context);
  void run_stopped(Operation operation, void* context);
  void request(Mutator* except);
  /// True: this thread was the last and has run the operation. `self`: the mutator of this thread, which need not be woken.
  bool arrive(const Mutator* self);
  void run_operation(const Mutator* self);
  void resume(const Mutator* self);
  void wait_while(Mutator& mutator, u32 state);
  void wait_until_stopped();
  bool name_straggler() const;
  static void ask_for_good(Mutator& mutator);

  Mutator mutators_[layout::kMaxMutators];
  Statistics* statistics_ = nullptr;
  std::mutex stop_mutex_;           // one stop at a time; attach and detach take it too
  std::atomic<i32> pending_{0};     // mutators still running, plus the requester's hold
  std::atomic<u32> done_{1};        // futex: the operation of the current stop has run
  Operation operation_ = nullptr;   // null: the requester only wants the world stopped
  void* context_ = nullptr;
  u64 requested_at_ = 0;
  u64 patience_ns_ = 5'000'000'000;
  std::atomic<bool> closed_{false};
};

}  // namespace glissade
