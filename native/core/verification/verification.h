// The collector checks itself at phase boundaries, by slower means that share nothing with what they check.
//
// Levels (HeapOptions::verify), each including those below it:
//   0  nothing
//   1  every reference that marking meets is the header of an object               before it is followed
//      every root is null or one                                                   in the remark pause
//   2  everything reachable is marked: a second trace with a set of its own         in the remark pause
//   3  the forwarding table equals a naive sliding of the live objects              after prepare
//   4  every page is what its sources give, word by word (expected-pages.h), and  before it is placed
//      the same when it is built again
// A reference that leads to no object is not followed, and then the second trace is made at level 1, too, to say who holds it; the
// cycle clears nothing, frees nothing and moves nothing, so that the program can look at what is damaged (`Heap::verify` of JavaScript).
// Roots are scanned anew each time, never cached. The first violation is written to stderr and kept, and surfaces as an error
// of the collection, or of the next slow allocation or poll of a mutator, whichever comes first. Debug builds stop at it.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "core/compaction/page-builder.h"
#include "core/verification/expected-pages.h"

namespace glissade {

class Heap;

class Verification {
 public:
  explicit Verification(Heap& heap) : heap_(heap), expected_(heap) {}

  /// A cycle begins.
  void begin_cycle() { damaged_.store(false, std::memory_order_relaxed); }
  /// Any marker, from level 1 on: whether an object begins there. Not: the cycle knows of it.
  bool may_follow(Ref ref) {
    if (!fault_of(ref)) [[likely]] return true;
    damaged_.store(true, std::memory_order_relaxed);
    return false;
  }
  /// Whether this cycle's marking has met what is no object. After marking.
  bool damaged() const { return damaged_.load(std::memory_order_relaxed); }
  /// In the remark pause, when marking says that it is complete.
  void check_marking();
  /// When what is due has been marked, after the pause.
  void check_due();
  /// After prepare, before the flip.
  void check_forwarding();
  /// In the flip's pause, when everything lies in from-space.
  void note_references() { expected_.note(); }
  /// When `page` has been built, into `buffer` if its content is there, and its builders still hold its sources. In a fault,
  /// too: what is right is found so without memory and on a small stack.
  void check_page(u32 page, PageContent content, const u8* buffer);
  /// Then: builds it again, and compares. Not in a fault: takes a page of stack.
  void check_rebuilt(u32 page, PageContent content, const u8* buffer);

  /// While a stepping cycle rests between trace and remark, mutators stopped: every reference from a marked object to an
  /// unmarked one lies on a dirty card (invariant 8). Empty: it holds, or the cycle is not at such a point.
  std::string check_cards();

  bool wants(u32 level) const { return level_ >= level; }
  /// Once, when the heap is made. False: no memory.
  bool start(u32 level) {
    level_ = level;
    return !wants(4) || expected_.map();
  }
  /// The first violation since the last call; empty if none.
  std::string take_violation();
  bool has_violation() const { return report_.load(std::memory_order_acquire) == Report::There; }
  /// Checks made so far, whatever they found.
  u64 count() const { return checks_.load(std::memory_order_relaxed); }

 private:
  enum class Report : u8 { None, AtWork, There };

  void fail(const char* what);
  void fail_page(u32 page, const char* what);
  /// What is wrong with a reference that is not null; nullptr: it is the header of an object.
  const char* fault_of(Ref ref) const;
  bool is_undisturbed(u32 page) const;
  /// Whether the pages from `at` on, which begins one, are a run that keeps its alignment (forwarding.h).
  bool is_full_run(Granule at) const;

  Heap& heap_;
  ExpectedPages expected_;
  u32 level_ = 0;
  std::atomic<u64> checks_{0};
  std::atomic<bool> damaged_{false};  // relaxed: the end of a trace publishes it
  char violation_[256];  // of whoever has set `report_` to AtWork; readable while it is There
  std::atomic<Report> report_{Report::None};
};

}  // namespace glissade
