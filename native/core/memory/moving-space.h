// The moving space: bump allocation of TLABs at one end of the flipped range, large objects at the other.
//
//   granule 0 ───────────────────────────────────────────────► moving_pages
//   [begin … objects … top)[recycled, dirty_end)[ nothing … )[large_low … large objects )
//
// Pages in [top, dirty_end) are mapped and hold garbage: a TLAB is zeroed when it is granted. Pages above dirty_end are
// not there: zero-fill when nothing is registered, filled natively while a compaction is going on ("registered"), because
// a TLAB must never fault. `dead` is garbage below `top` that a cycle found and left (reuse.cc): TLABs come from it first,
// until the next remark. `spare` is the part of it kept for TLABs from that remark to the cycle's end. All fields change
// under `lock` or while the world is stopped.
#pragma once

#include <atomic>
#include <utility>
#include <vector>

#include "core/memory/large-objects.h"
#include "core/units.h"

namespace glissade {

struct Extent {
  u32 first;
  u32 pages;
};

/// Granules between two live objects.
struct Hole {
  u32 first;
  u32 granules;
};

/// Of what a cycle finds dead, what is given out where it lies (reuse.cc). `Never`: a cycle that gains enough compacts. `AlsoShort`, for tests:
/// short holes in every cycle that reuses anything.
enum class Reuse : u8 { Never, WhereItSuffices, AlsoShort };

/// What the last cycle found dead and left where it lies: runs of whole pages, and holes between live objects. Each in
/// ascending order, handed out from the lowest up.
class DeadSpace {
 public:
  void clear() {
    runs_.clear();
    holes_.clear();
    next_run_ = next_hole_ = passed_ = 0;
    granules_ = 0;
    counts_ = true;
  }
  void add_run(Extent run) {
    runs_.push_back(run);
    granules_ += u64{run.pages} * kGranulesPerPage;
  }
  void add_hole(Hole hole) {
    holes_.push_back(hole);
    granules_ += hole.granules;
  }
  /// For how many holes it has memory.
  std::size_t room() const { return holes_.capacity(); }
  /// Returns memory that was needed for many more.
  void trim() {
    if (room() > kMostRoom * holes_.size() + kLittleRoom) holes_.shrink_to_fit();
  }
  const std::vector<Extent>& runs() const { return runs_; }
  const std::vector<Hole>& holes() const { return holes_; }
  /// Up to `most` pages, `need` at least; pages = 0: none left. What is left of a run that is too short is lost until it
  /// is found dead again.
  Extent take_run(u32 need, u32 most) {
    for (; next_run_ < runs_.size(); next_run_++) {
      Extent& run = runs_[next_run_];
      if (run.pages == 0) continue;
      if (run.pages < need) {
        count_out(run.pages * kGranulesPerPage);
        continue;
      }
      const Extent taken{run.first, run.pages < most ? run.pages : most};
      run.first += taken.pages;
      run.pages -= taken.pages;
      count_out(taken.pages * kGranulesPerPage);
      return taken;
    }
    return {0, 0};
  }
  /// A hole in which `need` granules fit; granules = 0: none of the next few. Those that are too short wait for shorter objects.
  Hole take_hole(u32 need) {
    for (std::size_t at = passed_; at > 0 && passed_ - at < kPassedTried; at--) {
      if (holes_[at - 1].granules < need) continue;
      std::swap(holes_[at - 1], holes_[--passed_]);
      return taken(holes_[passed_]);
    }
    for (u32 tried = 0; tried < kHolesTried && next_hole_ < holes_.size(); tried++) {
      const Hole hole = holes_[next_hole_++];
      if (hole.granules >= need) return taken(hole);
      holes_[passed_++] = hole;
    }
    return {0, 0};
  }
  bool has_holes() const { return passed_ > 0 || next_hole_ < holes_.size(); }
  /// The hole that a small object will be put into next, if there is one.
  Hole next_hole() const {
    if (passed_ > 0) return holes_[passed_ - 1];
    return next_hole_ < holes_.size() ? holes_[next_hole_] : Hole{0, 0};
  }
  /// What is left counts as used from here on: it is too short for what is allocated. Shorter objects still go there.
  void write_off() {
    granules_ = 0;
    counts_ = false;
  }
  /// Of what is left, if it counts.
  u64 granules() const { return granules_; }
  u32 pages() const { return static_cast<u32>(granules_ / kGranulesPerPage); }

 private:
  Hole taken(const Hole& hole) {
    count_out(hole.granules);
    return hole;
  }
  void count_out(u32 granules) {
    if (counts_) granules_ -= granules;
  }

  static constexpr u32 kHolesTried = 64, kPassedTried = 8;
  static constexpr std::size_t kMostRoom = 4, kLittleRoom = 4096;
  std::vector<Extent> runs_;
  std::vector<Hole> holes_;
  std::size_t next_run_ = 0, next_hole_ = 0;
  std::size_t passed_ = 0;  // holes passed over, at the front of the list, whose first ones are taken
  u64 granules_ = 0;
  bool counts_ = true;
};

/// Dead space kept back for what is born black while the next cycle decides what to do (reuse.cc).
class SpareSpace {
 public:
  void set(const std::vector<Hole>& holes) {
    holes_ = holes;
    next_ = 0;
    granules_taken_ = 0;
  }
  void clear() {
    holes_.clear();
    next_ = 0;
    granules_taken_ = 0;
  }
  /// One in which `need` granules fit; granules = 0: none of the next few, which are passed over for good.
  Hole take(u32 need) {
    for (u32 tried = 0; tried < kTried && next_ < holes_.size(); tried++) {
      const Hole hole = holes_[next_++];
      if (hole.granules < need) continue;
      granules_taken_ += hole.granules;
      return hole;
    }
    return {0, 0};
  }
  /// The one to be taken next, if there is one.
  Hole next() const { return next_ < holes_.size() ? holes_[next_] : Hole{0, 0}; }
  u32 pages_taken() const { return pages_for_granules(static_cast<u32>(granules_taken_)); }

 private:
  static constexpr u32 kTried = 16;
  std::vector<Hole> holes_;
  std::size_t next_ = 0;
  u64 granules_taken_ = 0;
};

/// How long the objects are that did not fit into a TLAB: what a hole should have room for.
class Needs {
 public:
  void note(u32 granules) {
    sum_ += granules;
    squares_ += u64{granules} * granules;
    count_++;
  }
  bool known() const { return count_ >= kEnough; }
  /// In granules: of lengths that differ the longer ones count for more, as most of the memory is theirs.
  u32 usual() const { return static_cast<u32>(squares_ / sum_); }

 private:
  static constexpr u32 kEnough = 16;
  u64 sum_ = 0, squares_ = 0;
  u32 count_ = 0;
};

struct MovingSpace {
  SpaceLock lock;
  u32 begin = 0;                   // first page in use (a fresh window after each flip of a checked heap)
  std::atomic<u32> top{0};         // first page not given out; protection.cc reads it without the lock
  u32 dirty_end = 0;
  std::atomic<u32> large_low{0};   // first page of the large part; markers read it without the lock
  PageRuns large_free;         // free runs in [large_low, moving_pages)
  PageRuns pointer_free;       // pages of the pointer-free space; page 0 holds null
  u32 pointer_free_high = 0;   // no object has ever lain at or above this page of it
  u32 large_pages = 0;         // in use, of either kind
  bool black = false;          // from remark to the flip, or to the end of a cycle without one: new objects are live
  u32 black_begin = 0;
  bool registered = false;     // between flip and close

  DeadSpace dead;
  SpareSpace spare;            // counts as used
  Needs needs;                 // since a cycle last looked
  u32 black_pages = 0;         // given out in the last black allocation that ended without a flip

  /// Pages with something in them.
  u32 used_pages() const { return held_pages() - dead.pages(); }
  /// The same and those of dead space: what counts against the maximum.
  u32 held_pages() const { return top.load(std::memory_order_relaxed) - begin + large_pages; }
};

}  // namespace glissade
