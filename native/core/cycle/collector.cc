// The cycle, phase by phase, on the collector's thread (collector-thread.cc).
//
//   idle ─► mark ─► REMARK pause ─► reclaim + prepare + survey ─► FLIP pause ─► compact ─► idle
//
// Phases stand in the order of layout::Phase; only this thread changes the phase (and, in a pause, whoever runs it).

#include <algorithm>

#include "core/barrier/fault-handler.h"
#include "core/heap.h"
#include "core/kernel/discard.h"

namespace glissade {
namespace {

constexpr u64 kFewCards = 32;      // preclean work so small that the pause may have it
constexpr u64 kManyCards = 256;    // … so much that it may be too much
constexpr u32 kRoundsAtEase = 3;   // before rounds that do not get shorter are a reason to slow the program
constexpr u32 kGentle = 2;         // pressure before a remark pause has been given up
constexpr u32 kMostRounds = 8;     // preclean rounds before trying to remark
constexpr u32 kMostRetries = 8;    // remark pauses given up before one must finish

}  // namespace

void Heap::set_phase(layout::Phase phase) {
  layout::store_word(space.control()[layout::kPhaseWord], static_cast<i32>(phase));
  phase_log.add({now_ns(), static_cast<u64>(phase), pages_in_use() << kPageShift,
                 statistics.barrierFaults.load(std::memory_order_relaxed),
                 statistics.allocationStall_ns.count()});
}

void Heap::run_cycle(bool forced) {
  const u64 started = now_ns();
  begin_cycle(forced, started);
  mark();
  const u64 marked = now_ns();
  Statistics::add(statistics.markNs, marked - started);
  injection::delay(injection::Delay::Reclaim);
  marking.hand_over_due();
  if (marking.is_whole()) {
    reclaim();
  } else {
    may_reuse_ = false;
    Statistics::add(statistics.marksLost);
  }
  const bool moves = prepare(forced);
  Statistics::add(statistics.prepareNs, now_ns() - marked);
  if (stepping) gate(Rest::Flip);
  // What pacing learns from: the heap at the flip. One that is being built may begin a cycle small, and end it large.
  const u64 full = pages_in_use();
  if (moves) {
    move(started, full);
  } else {
    stay();
    note_trace(started, full);
  }
  set_limits(now_ns() - started);
  statistics.cycle_ns.record(now_ns() - started);
  // In this order: whoever reads "idle" and then the count knows whether the cycle has been.
  Statistics::add(statistics.collections);
  set_phase(layout::Phase::Idle);
}

/// Decides which kind of cycle it is, and lets allocation have its share of the room until the trace is done.
void Heap::begin_cycle(bool forced, u64 now) {
  may_reuse_ = options.reuse != Reuse::Never && !options.fresh_windows && !forced;
  young_ = may_reuse_ && next_young_ && marks_hold_ && !dead_unfit_.load(std::memory_order_relaxed) && !owes_flip_.load(std::memory_order_relaxed);
  marks_hold_ = false;
  if (young_) Statistics::add(statistics.youngCycles);
  {
    std::lock_guard<SpaceLock> lock(moving.lock);
    roots.begin_cycle();
  }
  pacing.note_rate(now, pages_allocated());
  const u64 pages = pages_in_use();
  pacing.begin_lap(room() * pacing.trace_share(), pacing.expected_trace(pages, young_), kHeadStart, pages_allocated());
}

void Heap::mark() {
  set_phase(layout::Phase::Mark);
  if (stepping) gate(Rest::Mark);
  verification.begin_cycle();
  marking.begin(young_);
  injection::delay(injection::Delay::Mark);
  const u64 tracing = now_ns();
  marking.mark_from_roots(young_);
  trace_ns_ = now_ns() - tracing;
  traced_granules_ = pacing.done();
  // Precleaning, remark, prepare and survey are a lap: prepare looks at every page in use twice.
  pacing.begin_lap(room() * kPreparationShare, (2 + kSurveyWork) * pages_in_use(), kPreparationHeadStart, pages_allocated());
  const auto rest = [&] {
    if (!stepping) return;
    traced_.store(true, std::memory_order_relaxed);
    gate(Rest::Preclean);
    traced_.store(false, std::memory_order_relaxed);
  };
  rest();
  // The program dirties or builds faster than we mark: it is slowed at its allocations, more with every failure.
  const auto press = [&] { remark_pressure_.fetch_add(1, std::memory_order_relaxed); };
  u64 last = ~u64{0};
  for (u32 round = 0; round < kMostRounds; round++) {
    const u64 work = marking.preclean();
    if (work <= kFewCards) break;
    if (round >= kRoundsAtEase && work > kManyCards && work > last / 2 && remark_pressure_.load(std::memory_order_relaxed) < kGentle) press();
    last = work;
    rest();
  }
  for (u32 retry = 0; !remark_pause(retry >= kMostRetries); retry++) {
    press();
    marking.preclean();
  }
  remark_pressure_.store(0, std::memory_order_relaxed);
  if (stepping) gate(Rest::Reclaim);
}

/// False: too much is left to mark, and more is done beside the mutators before it is tried again.
bool Heap::remark_pause(bool last) {
  bool done = false;
  safepoint.stop_and_run([&] {
    const u64 begin = now_ns();
    set_phase(layout::Phase::Remark);
    injection::delay(injection::Delay::Remark);
    done = marking.remark(last);
    if (done) end_marking();
    set_phase(done ? layout::Phase::Reclaim : layout::Phase::Mark);
    statistics.remark_ns.record(now_ns() - begin);
  });
  if (!done) Statistics::add(statistics.remarkRetries);
  return done;
}

/// In the remark pause. From here every reachable object is marked, and what is born is black (invariant 6).
void Heap::end_marking() {
  marking.clear_weak();
  // What was lost on the way has no mark.
  if (!marking.is_whole()) may_reuse_ = false;
  if (verification.wants(1)) verification.check_marking();
  safepoint.for_each([&](Mutator& mutator) { retire_tlab(mutator); });
  marked_begin_ = moving.begin;
  marked_end_ = moving.top;
  forget_dead();
  zero_above_stacks();
  begin_black_allocation();
}

void Heap::reclaim() {
  // Allocation goes on: the lock is held to find the dead and to give their addresses out again, not while their pages
  // go back to the kernel.
  std::vector<Extent> dead;
  const auto sweep = [&](LargeObjects& objects, u32 first, u32 end, PageRuns& runs, u8* base) {
    dead.clear();
    {
      std::lock_guard<SpaceLock> lock(moving.lock);
      objects.for_each(first, end, moving.lock, [&](u32 page, const LargeObjects::Head& head) {
        if (objects.is_marked(page)) return;
        dead.push_back({page, pages_for_granules(head.granules)});
        objects.remove(page);
      });
    }
    for (const Extent& run : dead) discard(base + (std::size_t{run.first} << kPageShift), std::size_t{run.pages} << kPageShift);
    if (base == space.flipped()) {
      for (const Extent& run : dead) compaction.note_freed(run.first, run.first + run.pages);
    }
    std::lock_guard<SpaceLock> lock(moving.lock);
    for (const Extent& run : dead) {
      runs.give(run.first, run.pages);
      moving.large_pages -= run.pages;
    }
    Statistics::add(statistics.largeFreed, dead.size());
  };
  const u32 pointer_free_high = [&] {
    std::lock_guard<SpaceLock> lock(moving.lock);
    return moving.pointer_free_high;
  }();
  sweep(pointer_free_objects, 0, pointer_free_high, moving.pointer_free, space.heap_buffer());
  sweep(large_objects, moving.large_low, geometry().moving_pages(), moving.large_free, space.flipped());
  std::lock_guard<SpaceLock> lock(moving.lock);
  // A free run at the boundary goes back to the moving space.
  const u32 low = moving.large_low;
  if (const u32 run = moving.large_free.run_at(low)) {
    moving.large_free.remove_run(low);
    moving.large_low = low + run;
  }
}

/// Finds what is dead, and decides whether objects move: then all is ready for the flip. Otherwise what is dead is found, and
/// `marks_hold_` says whether the next cycle may go on with the marks.
bool Heap::prepare(bool forced) {
  set_phase(layout::Phase::Prepare);
  injection::delay(injection::Delay::Prepare);
  set_spare_live(true);
  const u32 prefix = choose_prefix(forced);
  for (const Hole& hole : spare_) live_granules_ -= hole.granules;
  const u32 gain = possible_gain(prefix);
  note_live();
  consider_holes();
  find_dead();
  decide_short_holes(gain);
  const bool owes_flip = take_owed_flip();
  const bool enough = (!owes_flip && reuse_suffices(gain)) || (options.young == Young::AlsoAsked && may_reuse_);
  dead_was_enough_ = enough;
  // It had settled to stay, and should not have.
  if (stays_ && !young_ && !enough) owes_flip_.store(true, std::memory_order_relaxed);
  // After a young trace nothing is compacted: too much of what is marked may be dead.
  const bool planned = !enough && !young_ && !stays_ && marking.is_whole();
  if (planned && plan(forced, prefix)) {
    if (verification.wants(3)) verification.check_forwarding();
    survey();
    compaction.stock();
    return true;
  }
  // Holes of dense runs have become fillers, and live; short holes may have turned out to be needed, or not to be.
  if (planned || lists_short_holes_ != takes_short_holes_) find_dead();
  marks_hold_ = (enough || !is_worth_moving(gain)) && marking.is_whole();
  return false;
}

/// Flip and compaction. A flip that the kernel refuses leaves everything where it is. `full`: pages in use when it was due.
void Heap::move(u64 started, u64 full) {
  set_phase(layout::Phase::Flip);
  const u64 flipping = now_ns();
  const u64 cpu_before = thread_cpu_ns();
  // process.on('SIGBUS') and others replace handlers: faults must arrive here before the first one can happen.
  if (options.faults == Faults::Sigbus && !fault_handler::installed()) fault_handler::reinstall();
  const bool flipped = flip();
  note_trace(started, full);
  if (!flipped) {
    compaction.unstock();
    // Whatever was asked for, what is dead can be allocated in.
    may_reuse_ = options.reuse != Reuse::Never && !options.fresh_windows;
    with_holes_ = takes_short_holes_ = true;
    find_dead();
    list_dead();
    give_dead();
    return;
  }
  // Whoever found no room for a black object since it was decided has it now.
  owes_flip_.store(false, std::memory_order_relaxed);
  const u64 pages_after_flip = pages_in_use();
  announce_memory();
  set_phase(layout::Phase::Compact);
  if (stepping) gate(Rest::Compact);
  const u64 work = compaction.start();
  pacing.begin_lap(pacing.compaction_budget(room(), pages_after_flip, full), work, kHeadStart, pages_allocated());
  compaction.run();
  pacing.end_lap();
  if (stepping) gate(Rest::Close);
  compaction.close();
  pacing.note_close(now_ns() - flipping, pages_after_flip);
  Statistics::add(statistics.compactNs, now_ns() - flipping);
  Statistics::add(statistics.compactCpuNs, thread_cpu_ns() - cpu_before);
}

/// The end of a cycle in which nothing moves: what is dead is allocated in again.
void Heap::stay() {
  Statistics::add(statistics.flipsSkipped);
  set_spare_live(false);
  list_dead();
  // In one pause: between the two a program would find neither what is dead nor what was spare, and wait for a moment.
  safepoint.stop_and_run([&] {
    moving.black = false;
    give_dead();
  });
  return_unneeded();
}

void Heap::clear_marks() {
  {
    std::lock_guard<SpaceLock> lock(moving.lock);
    large_objects.for_each(moving.large_low, geometry().moving_pages(), moving.lock, [&](u32 page, auto&) { large_objects.clear_mark(page); });
    pointer_free_objects.for_each(0, moving.pointer_free_high, moving.lock, [&](u32 page, auto&) { pointer_free_objects.clear_mark(page); });
  }
  // Every block that a mutator may still allocate into before remark is cleared, too. Only objects below the top of the last remark were ever marked.
  if (marked_end_ > marked_begin_) {
    blocks.clear(marked_begin_ * kBlocksPerPage, (marked_end_ - marked_begin_) * kBlocksPerPage);
    page_bears.zero(marked_begin_, marked_end_ - marked_begin_);
  }
  marked_begin_ = marked_end_ = 0;
}

bool Heap::is_marked(Ref ref) {
  if (verification.wants(1) && !verification.may_follow(ref)) return true;  // a weak slot keeps it, and the cycle says so
  if (ref.word < base_word) return pointer_free_objects.is_marked(ref.word / kWordsPerPage);
  const Granule g = granule(ref);
  const u32 page = g.page();
  return page >= moving.large_low ? large_objects.is_marked(page) : blocks.is_live(g);
}

/// What the trace of a cycle that began at `started` took, for pacing.
void Heap::note_trace(u64 started, u64 full) {
  if (young_) pacing.note_young(traced_granules_);
  else pacing.note_flip(trace_ns_, now_ns() - started, full, traced_granules_);
}

void Heap::note_live() {
  std::lock_guard<SpaceLock> lock(moving.lock);
  // What a young cycle finds marked is no measure of what is alive.
  if (!young_) live_pages_ = live_granules_ / kGranulesPerPage + moving.large_pages;
  statistics.bytesLive.store(live_granules_ * kGranuleSize + (u64{moving.large_pages} << kPageShift), std::memory_order_relaxed);
  const u64 used = used_at_remark_ + moving.top - moving.black_begin;
  retention.note(now_ns(), asked_ ? wanted_pages() : std::max(wanted_pages(), used), asked_ ? 0 : u64{options.retention_ms} * 1'000'000);
}

double Heap::room() {
  const u64 used = pages_in_use();
  return used < max_pages_ ? static_cast<double>(max_pages_ - used) : 0;
}

/// The heap may grow to live × growth, never beyond the maximum.
u64 Heap::wanted_pages() const {
  const u64 wanted = std::max<u64>(static_cast<u64>(static_cast<double>(live_pages_) * options.growth), options.min_bytes >> kPageShift);
  return std::min<u64>(wanted, max_pages_);
}

/// At a cycle's end: how far the heap may grow, when the next cycle begins, and whether that may be a young one.
void Heap::set_limits(u64 took_ns) {
  std::lock_guard<SpaceLock> lock(moving.lock);
  roots.end_cycle();
  const u64 used = moving.used_pages();
  // What has died marked makes the heap grow no further.
  const u64 wanted = wanted_pages();
  const u64 limit = std::min<u64>(std::max(wanted, used + used / 4), max_pages_);
  limit_pages_.store(static_cast<u32>(limit), std::memory_order_relaxed);
  const u64 total = pages_allocated();
  const u64 allocated = total - allocated_at_end_;
  const u64 freed = used_at_end_ + allocated > used ? used_at_end_ + allocated - used : 0;
  used_at_end_ = used;
  allocated_at_end_ = total;
  const u64 room = limit > used ? limit - used : 0;
  young_cycles_.note(young_, took_ns, young_ ? static_cast<double>(freed) / static_cast<double>(std::max<u64>(allocated, 1)) : 1 - young_survival_, room);
  const bool roomy = used + used / 4 <= wanted;
  switch (options.young) {
    case Young::Never: next_young_ = false; break;
    case Young::WhereItPays: next_young_ = marks_hold_ && roomy && !retention.spread_out(moving.held_pages()) && young_cycles_.pays(room); break;
    case Young::AlsoAsked: next_young_ = marks_hold_; break;
  }
  const u64 least = used + Pacing::least_between(room, max_pages_);
  const u64 trigger = std::max(pacing.trigger(now_ns(), total, used, limit, next_young_ ? young_cycles_.expected_ns() : 0), least);
  trigger_pages_.store(static_cast<u32>(std::min<u64>(trigger, max_pages_)), std::memory_order_relaxed);
  statistics.bytesUsed.store(used << kPageShift, std::memory_order_relaxed);
  // The next cycle begins a lap of its own, at once if it must.
  pacing.end_lap();
}

}  // namespace glissade
