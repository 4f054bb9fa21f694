// The collector's threads beyond the first: asleep except while a phase runs in parallel.
//
// `run` calls the same function on worker 0, which is the caller, and once on each of the others that is called at all
// (active-workers.h) and gets a processor before the caller's call is over; it returns when all of these calls are. So the caller's call alone must do all the work, if need
// be: nobody waits for a thread that has not begun. With one worker it is a plain call. All signals are blocked in worker
// threads but the synchronous ones: Node's signals belong to Node's threads, and a fault here is a bug to be seen.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

#include "core/kernel/clock.h"
#include "core/statistics/statistics.h"
#include "core/threads/active-workers.h"
#include "core/units.h"

namespace glissade {

/// Blocks all but the synchronous signals in the calling thread.
void block_asynchronous_signals();
/// Lowers the calling thread's priority: it takes the processors that mutators leave idle, and little else. What
/// it has not begun nobody waits for; a marker that others wait for gives a part of its stack away every 1024 objects, a page that it
/// builds is overtaken by faults. The end of what it has begun is waited for.
void yield_to_mutators();

class Workers {
 public:
  ~Workers() { stop(); }
  /// Starts `count - 1` threads; fewer if the system refuses (the count says how many there are). `always`: all are called
  /// for each run, whatever they cost; otherwise `dismissed` counts how often they cost too much.
  void start(u32 count, bool always, Statistics::Counter& dismissed);
  void stop();
  u32 count() const { return count_; }
  /// Whether the next run is its caller's alone: it may do without what it would need to share.
  bool alone() { return active_.count(now_ns()) == 1; }
  void run(const std::function<void(u32 worker)>& task);

 private:
  struct Start {
    Workers* workers;
    u32 index;
  };
  static void* entry(void* start);
  void loop(u32 index);

  u32 count_ = 1;
  std::vector<pthread_t> threads_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(u32)>* task_ = nullptr;  // while worker 0 is at it
  u64 generation_ = 0;
  u32 called_ = 0;  // of this generation
  u32 running_ = 0;
  u64 ran_ns_ = 0;  // processor time of all but the first, in this run
  bool stopping_ = false;
  ActiveWorkers active_;
  Statistics::Counter* dismissed_ = nullptr;
};

}  // namespace glissade
