// One heap: its memory, its metadata and its mechanisms, wired together. The mechanisms live in files of their own; this
// one says what they share and when it is constant.
//
// | data                                        | written by                          | constant                    |
// | forwarding, page_infos, page_live,          | collector, mark to flip             | from the flip to the close  |
// | page_bears, intact_pages, blocks            |                                     |                             |
// | black_infos                                 | a mutator retiring its TLAB         | from the flip to the close  |
// | root_snapshots, flip_*                      | the flip                            | from the flip to the close  |
// | source_counts, page_words                   | any thread, atomically              |                             |
#pragma once

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>

#include "core/allocation/pacing.h"
#include "core/assert.h"
#include "core/barrier/page-barrier.h"
#include "core/compaction/compaction.h"
#include "core/compaction/forwarding.h"
#include "core/compaction/page-builder.h"
#include "core/compaction/page-state.h"
#include "core/compaction/placement.h"
#include "core/compaction/stepping.h"
#include "core/kernel/clock.h"
#include "core/kernel/injection.h"
#include "core/marking/marking.h"
#include "core/marking/visited-slots.h"
#include "core/marking/write-tracking.h"
#include "core/marking/young-cycles.h"
#include "core/memory/address-space.h"
#include "core/memory/block-table.h"
#include "core/memory/card-table.h"
#include "core/memory/large-objects.h"
#include "core/memory/layout.h"
#include "core/memory/moving-space.h"
#include "core/memory/retention.h"
#include "core/memory/root-set.h"
#include "core/memory/shape-table.h"
#include "core/statistics/phase-log.h"
#include "core/statistics/stall.h"
#include "core/statistics/statistics.h"
#include "core/threads/safepoint.h"
#include "core/threads/workers.h"
#include "core/verification/verification.h"

namespace glissade {

struct HeapOptions {
  std::size_t max_bytes = 256 * kMiB;
  std::size_t root_bytes = 32 * kMiB;
  std::size_t buffer_limit = 4 * kGiB;
  u32 collector_threads = 1;
  bool all_threads = true;     // false: in each phase as many as bring more than they cost (active-workers.h)
  u32 tlab_pages = 16;
  Relocation relocation = Relocation::Auto;
  Faults faults = Faults::Sigbus;
  Reuse reuse = Reuse::WhereItSuffices;
  Young young = Young::WhereItPays;
  bool fresh_windows = false;  // every collection moves all but large objects to addresses not used lately (checked heaps)
  bool protect = false;        // protection.h; implies fresh_windows
  u32 verify = 0;              // verification.h
  bool stepping = false;       // the cycle waits at gates for `step`
  double growth = 2.0;         // the heap may grow to live × growth before objects have moved (pacing.h says when a cycle begins)
  std::size_t min_bytes = 16 * kMiB;  // … and to this, whatever is live; the first cycle begins there, or at half the maximum
  u32 overdraft = 0;           // overdraft.h: pages; 0: as many as that says
  u32 retention_ms = 2000;     // retention.h: half of what is no longer needed is forgotten in this time
  u32 placing_batch = ~0u;     // built pages that the collector places in one call, at the most (1: page by page)
};

/// Cycles that do without something that has failed: one, and if it fails again soon twice as many, so many at the most.
class CyclesWithout {
 public:
  explicit CyclesWithout(u32 most) : most_(most) {}
  /// Once a cycle: whether this one does.
  bool next() {
    if (left_ == 0) return false;
    left_--;
    return true;
  }
  void failed() {
    left_ = again_;
    again_ = std::min(2 * again_, most_);
  }
  void succeeded() { again_ = std::max(again_ / 2, 1u); }

 private:
  u32 most_, left_ = 0, again_ = 1;
};

class Heap {
 public:
  /// nullptr: `error` says why. The heap's collector thread runs from here on.
  static Heap* create(const HeapOptions& options, std::string& error, int& error_number);
  /// Joins the threads and gives the pages back; the mutator's ranges stay mapped, and read as zeros but for the control words.
  void close();
  /// After `close`, when no view of the buffers exists any more.
  void destroy();

  // ── for mutators (binding) ──────────────────────────────────────────────────────────────────────────────────────

  /// The allocation slow path: a safepoint. 0: exhausted, after full collections.
  u32 allocate(Mutator& mutator, u32 shape, u32 word1, u32 granules);
  /// In the open TLAB, also while a stop is requested: no safepoint. 0: there is no such room.
  u32 allocate_reserved(Mutator& mutator, u32 shape, u32 word1, u32 granules);
  i32 create_area(layout::AreaKind kind, u32 slots, i32 owner);
  void free_area(u32 area);
  /// Areas freed in the cycle under way can be had again from its end on: waits for that. The caller is not running. False: there
  /// are none, or the heap was closed meanwhile.
  bool wait_for_freed_areas();
  void detach(Mutator& mutator);
  /// Runs a cycle that starts after this call, and waits for it. The caller is not running. False: closed meanwhile.
  bool collect();
  /// Lets a stepping cycle pass `gates` gates (starting one if none is under way: one that was asked for, or as if room ran short);
  /// returns the phase it then is in.
  layout::Phase step(u32 gates, bool asked = true);
  /// Where a stepping cycle rests, waiting until it does.
  Rest rest();
  /// Lets a cycle that rests in its compaction go on with `page` alone; waits until the cycle rests, and not for the page.
  /// False: it rests elsewhere.
  bool start_page(u32 page);
  /// Lets the cycle pass one gate and does not wait. False: it rests at none.
  bool start_step();
  pthread_t collector_thread() const { return collector_thread_; }
  /// The error of a strict relocation since the last call: errno and page, or 0.
  int take_relocation_error(u32& page);
  u64 pages_in_use();
  /// Pages granted to mutators since the heap was made.
  u64 pages_allocated() const { return statistics.bytesAllocated.load(std::memory_order_relaxed) >> kPageShift; }

  // ── shared by the mechanisms ────────────────────────────────────────────────────────────────────────────────────

  const Geometry& geometry() const { return space.geometry(); }
  u8* address(Ref ref) const { return space.heap_buffer() + std::size_t{ref.word} * 4; }
  Granule granule(Ref ref) const { return {(ref.word - base_word) >> 1}; }
  Ref ref(Granule g) const { return {base_word + (g.index << 1)}; }
  u8* granule_address(Granule g) const { return space.flipped() + std::size_t{g.index} * kGranuleSize; }

  void set_phase(layout::Phase phase);
  void clear_marks();
  bool is_marked(Ref ref);
  void gate(Rest rest);
  /// True while a stepping cycle waits at a gate with its trace complete and remark still to come.
  bool rests_before_remark();
  void note_relocation_error(int error, u32 page);
  /// Retires the mutator's TLAB: fills its rest, and records black pages' first objects. The mutator's own thread, or any
  /// while the mutator is stopped.
  void retire_tlab(Mutator& mutator);

  struct RootSnapshot {
    u32 first_page, top;
    bool is_value;
  };

  HeapOptions options;
  Statistics statistics;
  PhaseLog phase_log;
  AddressSpace space;
  u32 base_word = 0;  // Ref of granule 0
  ShapeTable shapes;
  CardTable cards, root_cards;
  VisitedSlots visited_slots;
  WriteTracking card_pages;  // which pages of `cards` have been written
  BlockTable blocks;
  RootSet roots;
  MovingSpace moving;
  LargeObjects large_objects;         // by flipped page
  LargeObjects pointer_free_objects;  // by page of the pointer-free space
  Safepoint safepoint;
  Workers workers;
  Pacing pacing;
  Retention retention;
  PageBarrier barrier{*this};
  Relocation relocation = Relocation::Auto;
  bool copying = false;
  bool stepping = false;

  Forwarding forwarding;
  MappedArray<PageInfo> page_infos;
  MappedArray<PageInfo> black_infos;
  MappedArray<u16> page_live;  // live granules of each from-space page of the moving part
  MappedArray<u8> page_bears;  // whether a marked object with reference slots lies on it
  MappedArray<u8> page_young;  // whether it was given out since the last cycle looked (about: a flip forgets)
  MappedArray<u8> intact_pages;  // by source page: what the survey found (survey.cc)
  u32 intact_count = 0;
  MappedArray<std::atomic<u8>> source_counts;
  MappedArray<AtomicPageWord> page_words;
  MappedArray<u32> large_born;  // epoch in which the large object at this page was allocated
  RootSnapshot root_snapshots[layout::kMaxAreas] = {};
  u32 flip_large_low = 0, flip_top = 0, flip_dirty_end = 0;
  u32 epoch = 0;          // flips so far
  u32 epoch_of_flip = 0;  // the epoch after the flip under way

  PageBuilder builder{*this};
  Marking marking{*this};
  Stepping steps{*this};
  Compaction compaction{*this};
  Verification verification{*this};

 private:
  Heap() = default;
  bool initialise(std::string& error, int& error_number);

  // allocation.cc
  u32 try_small(Mutator& mutator, u32 shape, u32 word1, u32 granules);
  u32 try_large(Mutator& mutator, u32 shape, u32 word1, u32 granules);
  bool grant_tlab(Mutator& mutator, u32 need);
  void open_tlab(Mutator& mutator, u32 start, u32 limit, bool keeps_rest);
  void close_tlab(Mutator& mutator);
  void set_tlab_aside(Mutator& mutator);
  bool reopen_rest(Mutator& mutator, u32 need);
  void record_black_pages(u32 first_word, u32 end_word);
  void consider_cycle(u32 used);
  void pace_allocation(Mutator& mutator, u32 granules, Stall& stall);
  void nap(Mutator& mutator, u64 ns, Stall& stall);

  // gates.cc
  void open_gates();

  // collector-thread.cc
  /// Why a cycle is wanted: the greatest reason counts.
  enum class Wanted : u8 {
    No,
    Room,    // little room is left
    Memory,  // a mutator waits for some: everything is traced, and compacted
    Asked,   // the program has asked for it: the same, and memory that it needed is forgotten
  };
  class Waiting;
  static void* collector_entry(void* heap);
  void collector_loop();
  void want_cycle(Wanted why);
  bool wait_for_memory();
  void announce_memory();
  u64 cycles_begun();
  u64 cycles_completed();

  // collector.cc
  void run_cycle(bool forced);
  void begin_cycle(bool forced, u64 now);
  bool prepare(bool forced);
  void move(u64 started, u64 full);
  void stay();
  void note_trace(u64 started, u64 full);
  void mark();
  bool remark_pause(bool last);
  void end_marking();
  void reclaim();
  void note_live();
  u64 wanted_pages() const;
  double room();
  void set_limits(u64 took_ns);

  // reuse.cc
  void forget_dead();
  void begin_black_allocation();
  u32 lower_top();
  bool may_stay() const;
  void set_spare_live(bool live);
  void choose_spare();
  void forget_spare();
  void zero_above_stacks();
  void consider_holes();
  void find_dead();
  u64 found_long() const;
  void decide_short_holes(u32 gain);
  bool take_owed_flip();
  bool reuse_suffices(u32 gain);
  bool fits_above_top(u32 black) const;
  void list_dead();
  void give_dead();
  u32 room_needed() const;
  void note_unfit(u32 held, u32 most);
  bool is_dead(const Hole& hole) const;
  bool nothing_marked_in_dead() const;
  void return_unneeded();

  // prepare.cc
  u32 choose_prefix(bool forced);
  u32 possible_gain(u32 prefix) const;
  bool is_worth_moving(u32 gain) const;
  bool plan(bool forced, u32 prefix);
  void align_runs(bool forced);
  void fill_holes(Granule begin, Granule end);
  void scan_blocks();

  // survey.cc
  void survey();

  // flip.cc
  bool flip();
  void flip_in_pause();

  pthread_t collector_thread_{};
  bool collector_running_ = false;

  std::mutex cycle_mutex_;
  std::condition_variable cycle_wanted_, cycle_done_;
  Wanted wanted_ = Wanted::No;
  bool cycling_ = false, closing_ = false, closed_ = false;
  bool asked_ = false;                     // the program has asked for the cycle under way
  u64 cycles_ = 0;
  u64 releases_ = 0;  // times that memory became available: flips and ends of cycles
  u32 waiters_ = 0;  // threads that wait for a cycle, for memory or for areas: a stepping cycle does not stop at gates for them

  // Gates of a stepping heap.
  std::condition_variable gate_arrived_, gate_opened_;
  u32 gate_permits_ = 0;
  bool at_gate_ = false;
  Rest rest_ = Rest::Idle;
  std::atomic<bool> traced_{false};  // between the end of a trace and the next preclean or remark

  u64 trace_ns_ = 0, traced_granules_ = 0;  // of the cycle under way: for pacing
  std::atomic<u32> remark_pressure_{0};    // how much the program is slowed: rounds that do not get shorter, and remark pauses given up
  std::atomic<u32> trigger_pages_{0};
  std::atomic<u32> limit_pages_{0};        // how far the heap may grow before the end of the next cycle
  std::atomic<bool> dead_unfit_{false};    // objects do not fit into the dead space, and fresh pages run short
  bool must_compact_ = false;              // the same, as the cycle under way found it
  // No room was left for what was to be born black, or a cycle had settled to stay and should not have: the next one that decides
  // moves. Set by mutators and the collector thread, taken by the latter where it decides, and after a flip. Relaxed, as dead_unfit_:
  // nothing is read on the strength of it.
  std::atomic<bool> owes_flip_{false};
  CyclesWithout without_holes_{8};         // objects did not fit into the holes
  CyclesWithout without_short_holes_{64};  // … when there were short ones among them
  bool with_holes_ = false;                // the cycle under way reuses holes
  u32 usual_need_ = ~0u;                   // granules: what the program allocated before the last cycle that could tell
  u32 shortest_hole_ = ~0u;                // granules: of those that the cycle under way looks for
  u64 short_granules_ = 0;                 // in the short holes that it has found
  bool takes_short_holes_ = false;         // … are given out: without them the last full trace would have had to flip
  bool lists_short_holes_ = false;         // … are in found_dead_
  bool short_holes_given_ = false;         // the last cycle has given some out
  bool holes_given_ = false;               // the last cycle has given some out
  u32 max_pages_ = 0;
  double young_survival_ = 1;              // of the granules given out since the last cycle, the share that is marked in this one
  bool dead_was_enough_ = false;           // at the end of the last cycle reuse sufficed
  std::vector<Hole> spare_;                // what the last cycle left in moving.spare; none if it is not to be used
  u32 spare_end_ = 0;                      // the granule at which the highest of them ends
  DeadSpace found_dead_;                   // what moving.dead and moving.spare become next; what the cycle under way finds
  SpareSpace found_spare_;
  bool lacks_black_room_ = false;          // the last remark could not lower the top far enough, or the next will not find enough above it
  bool stays_ = false;                     // the cycle under way will do without a flip: what is born black may lie anywhere
  bool may_reuse_ = false;                 // the cycle under way may do without a flip
  YoungCycles young_cycles_;
  bool marks_hold_ = false;                // the next cycle may keep the marks: nothing has moved since remark, and nothing had to
  bool young_ = false;                     // the cycle under way keeps the marks of the one before
  bool next_young_ = false;                // … the next one may
  u64 live_granules_ = 0;                  // of the moving space, as the cycle under way found them
  u64 live_pages_ = 0;                     // at the last full trace
  u32 used_at_remark_ = 0;                 // pages
  u64 used_at_end_ = 0, allocated_at_end_ = 0;  // pages, at the end of the last cycle
  std::atomic<u32> stalled_{0};            // mutators that found no memory, and wait for cycles that trace everything
  std::atomic<u32> outrun_{0};             // of those, the ones for which all others wait
  std::vector<u32> aligned_pages_;         // from-space pages whose first object goes to the start of a page
  u32 marked_begin_ = 0, marked_end_ = 0;  // pages whose blocks may hold mark bits
  bool flip_failed_ = false;
  std::atomic<int> relocation_error_{0};
  std::atomic<u32> relocation_error_page_{0};
};

}  // namespace glissade
