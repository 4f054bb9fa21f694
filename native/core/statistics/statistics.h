// One table of counters and one of histograms; JavaScript's `heap.stats()` takes its names from here.
//
// All are relaxed atomics: any thread, a fault handler included, may count. Durations are nanoseconds here and
// microseconds in JavaScript.
#pragma once

#include "core/statistics/histogram.h"

namespace glissade {

// name, what it counts
#define GLISSADE_COUNTERS(X)                                                              \
  X(collections, "cycles completed")                                                      \
  X(flips, "cycles that moved objects")                                                   \
  X(flipsSkipped, "cycles that moved nothing: little to gain, or garbage reused")       \
  X(flipsCancelled, "flips undone: a call refused by the kernel, or a fresh window outgrown") \
  X(bytesAllocated, "bytes handed out as TLABs and large objects")                        \
  X(tlabGrants, "TLABs handed out")                                                       \
  X(largeAllocations, "large objects allocated")                                          \
  X(largeFreed, "large objects swept")                                                    \
  X(bytesLive, "bytes found live by the last mark")                                       \
  X(bytesUsed, "bytes in use: moving space and large objects")                            \
  X(objectsMarked, "objects marked, over all cycles")                                     \
  X(marksLost, "cycles that freed and moved nothing: no memory to mark with, or (option verify) damage met") \
  X(precleanRounds, "rounds of concurrent card scanning")                                 \
  X(cardsScanned, "dirty cards scanned, in young cycles' begin, preclean and remark")      \
  X(remarkRetries, "remark pauses given up because too much was dirty")                   \
  X(weakLooks, "looks at weak slots and ephemerons, in all rounds of precleaning and remark") \
  X(weakCleared, "weak slots and ephemerons whose object or key was found dead")          \
  X(guardedDue, "objects handed over to guardians: nothing else referred to them")         \
  X(pagesMoved, "pages placed by UFFDIO_MOVE")                                            \
  X(pagesCopied, "pages placed by UFFDIO_COPY")                                           \
  X(pagesZeroFilled, "pages placed by UFFDIO_ZEROPAGE")                                   \
  X(pagesKept, "pages that changed by nothing, placed by moving their source itself")     \
  X(pagesBuilt, "pages built in a buffer")                                                \
  X(pagesBuiltByMutators, "of those, built in a fault by the thread that took it")        \
  X(pagesBuiltBeside, "pages built early, to free the sources they share with a page that a fault built") \
  X(pagesBuiltTwice, "buffers discarded because another builder was first")               \
  X(moveCalls, "MOVE calls (COPY where pages are copied); pages / moveCalls is the batch") \
  X(barrierFaults, "faults taken by threads that touched a page not yet mapped")          \
  X(faultsBuilt, "of those, on pages that nobody had begun to build")                     \
  X(faultsOvertaken, "of those, on pages that another thread took too long to build")     \
  X(faultsReady, "of those, on pages that were built, or had only to be placed")          \
  X(faultsMapped, "of those, on pages that somebody mapped meanwhile")                    \
  X(faultsZero, "of those, on pages without content")                                     \
  X(pagesBusy, "pages that could not be moved (EBUSY) and were copied")                   \
  X(pagesExisting, "placements that found the page mapped already (EEXIST)")              \
  X(pagesRetried, "placements that were tried again")                                      \
  X(buffersFromKernel, "buffers taken beyond the recycled ones")                          \
  X(buffersPeak, "of those, the most that one cycle took: memory that compaction needed") \
  X(pagesRecycled, "evacuated pages that went on as free memory of the heap")             \
  X(pagesReturned, "free pages given back to the system, too many for what the heap needs") \
  X(pagesReused, "dead pages that became TLABs where they lay, without a compaction")     \
  X(holesReused, "holes between live objects that became TLABs, in the same way")         \
  X(holesSpared, "dead space kept back, that became TLABs while a cycle was at work")     \
  X(youngCycles, "cycles that kept the marks of the one before, and traced what was new") \
  X(workersDismissed, "times that further collector threads cost more than they brought: fewer for a while") \
  X(allocationStalls, "allocations that found no memory and waited for some; naps are not counted") \
  X(verifications, "checks that the collector made of itself (option verify)")            \
  X(markNs, "time spent marking concurrently")                                            \
  X(prepareNs, "time spent in reclaim, prepare and survey")                               \
  X(compactNs, "time from flip to close")                                                 \
  X(compactCpuNs, "of that, processor time of the thread that drives the cycle")          \
  X(buildNs, "collector time spent building pages")                                       \
  X(placeNs, "collector time spent placing pages")

#define GLISSADE_HISTOGRAMS(X)                                                            \
  X(remark, "work of the remark pause, all mutators stopped")                             \
  X(flip, "work of the flip pause, all mutators stopped")                                 \
  X(stop, "a thread stopped: from its arrival at the safepoint until it runs again")      \
  X(timeToSafepoint, "from the request of a stop to the last mutator's stop")             \
  X(faultStall, "time a mutator spent in the fault handler")                              \
  X(allocationStall, "time a mutator waited for memory, or for root areas freed in the cycle under way") \
  X(cycle, "a whole cycle")

struct Statistics {
  using Counter = std::atomic<u64>;
#define X(name, doc) Counter name{0};
  GLISSADE_COUNTERS(X)
#undef X
#define X(name, doc) Histogram name##_ns;
  GLISSADE_HISTOGRAMS(X)
#undef X

  static void add(Counter& counter, u64 n = 1) { counter.fetch_add(n, std::memory_order_relaxed); }
  /// Where a lock keeps all others that add to it out: a locked instruction costs what several of these do.
  static void add_alone(Counter& counter, u64 n = 1) { counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
};

}  // namespace glissade
