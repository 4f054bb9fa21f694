// Reuse in place: a cycle that need not compact gives what is dead to TLABs where it lies.
//
// Programs whose objects die together (trees, messages, the garbage of one request) leave whole pages dead, or holes between
// what lives that have room for several objects; others, whose objects die one by one, holes for one or two. Sliding what
// lives over them would move every page of the heap: each move of a run of pages interrupts the mutators' processors to flush their
// TLBs, and a mutator that touches its heap at random meets a fault at every page. So if runs of dead pages and holes are
// most of what a compaction would win, there is no flip; they are the next TLABs, runs first (the idea of mark-region
// collectors: Blackburn and McKinley, Immix, PLDI 2008). A short hole is a dear TLAB, so short ones are taken only where the others
// are not enough, and only those into which the program's objects would fit. What this leaves behind adds up over the cycles until
// compacting wins more, and then everything slides as ever. So it does if the objects turn out not to fit.
// Explicit collections always compact.
//
// What is born while the collector decides ("black") must not be in its way if it decides for a flip: it lies above everything
// else. If what lies at the end of the space is dead, `top` is lowered by as much; if not, each cycle would make the heap
// longer, and a heap whose garbage all fits its holes would flip in the end for want of room above `top`. So where that is how
// it goes some of the dead space is kept back ("spare") for what is born black in the next cycle, and that cycle has made up its
// mind beforehand: it stays. If such a cycle finds that it should have compacted, the next one compacts. So does the one after a
// cycle that had no room for black objects: none were born, so nothing else would show that room was wanting. The live bits of
// spare space are set from prepare, which must not find it dead once more, to the end of the cycle: what has been born there is
// as little marked then as anything else that is young.
//
// Why nobody meets an object that is gone: a run or a hole has no live bit when all is marked, and is given out in the pause that
// ends black allocation. Markers find objects from roots, marked objects and their cards only, never by walking
// pages. What remains is a root stack's slots above `top`: a mutator may raise `top` before it has stored the slots. A
// marker that reads them meanwhile follows old references: it would mark the start of whatever lies there now, perhaps an
// object that is being initialised, which nobody may know (decision 016). So each remark pause, a safepoint, zeroes them, as a
// flip does (also in cycles that reuse nothing: all give back large objects). What is left there after that is a reference to
// what was reachable after the marking, and stays until the next remark, or zero.
#include <algorithm>
#include <cstring>

#include "core/heap.h"
#include "core/kernel/discard.h"

namespace glissade {
namespace {

/// The shortest run: an object that is not large fits.
constexpr u32 kShortestRun = pages_for_bytes(kLargeObjectBytes);
/// Room for what is born black: so many times what it was in the last cycle.
constexpr u32 kBlackRoom = 2;
/// Of what is dead, no more than this part is kept back for it.
constexpr u32 kSparePart = 8;
/// The remark pause lowers the top over so many dead pages at least, where there are so many: room for what is born black.
constexpr u32 kLeastLowered = 512;
/// A hole is long, in granules, if a few objects fit: taking a shorter one costs more than allocating in it. That is still less than
/// the faults after a flip, so short ones are reused where long ones do not suffice: those into which what the program allocates
/// fits, so many granules at the least.
constexpr u32 kLongHole = 32;
constexpr u32 kShortestHole = 4;
/// The list of holes is memory, too: so many granules' worth of the shortest holes for each page of the heap.
constexpr u32 kMostHoleGranules = 160;
/// Reuse suffices if it yields this share of what compacting would.
constexpr double kEnough = 0.75;

bool is_enough(u64 granules, u32 gain) { return static_cast<double>(granules) >= kEnough * gain * kGranulesPerPage; }

}  // namespace

/// In the remark pause, TLABs retired: what was dead counts as used until it is found dead once more.
void Heap::forget_dead() {
  used_at_remark_ = moving.used_pages();
  // A parked thread may ask what is in use (pages_in_use).
  std::lock_guard<SpaceLock> lock(moving.lock);
  moving.dead.clear();
  found_dead_.clear();  // of a cycle that flipped, what was dead before
  // The memory of these lists is for those that the cycle is going to make.
  if (moving.dead.room() > found_dead_.room()) std::swap(moving.dead, found_dead_);
}

/// In the remark pause, after `forget_dead`. `top` is lowered over what is dead at the end of the space: by what black allocation is going
/// to need, or every cycle would raise it, and by what the heap holds too much of. Where that is not enough there may be spare space, for
/// a cycle that settles here not to move.
void Heap::begin_black_allocation() {
  std::lock_guard<SpaceLock> lock(moving.lock);
  lacks_black_room_ = lower_top() < kBlackRoom * moving.black_pages;
  stays_ = lacks_black_room_ && spare_end_ > 0 && spare_end_ <= moving.top * kGranulesPerPage && may_stay();
  if (!stays_) forget_spare();
  moving.black = true;
  moving.black_begin = moving.top;
}

/// By how many pages.
u32 Heap::lower_top() {
  // What has no mark yet may lie anywhere.
  if (!may_reuse_ || marking.due_unmarked()) return 0;
  const u32 top = moving.top, live_end = std::max(moving.begin, pages_for_granules(marking.end()));
  GLISSADE_ASSERT(next_live(blocks, {live_end * kGranulesPerPage}, {top * kGranulesPerPage}).index == top * kGranulesPerPage, "marked above the highest mark");
  const u64 held = moving.held_pages(), kept = retention.kept();
  const u64 wanted = std::max<u64>({kLeastLowered, kBlackRoom * moving.black_pages, held > kept ? held - kept : 0});
  const u32 lowered = static_cast<u32>(std::min<u64>(wanted, top - live_end));
  moving.dirty_end = std::max(moving.dirty_end, top);
  moving.top = top - lowered;
  return lowered;
}

/// Whether it may be settled now that the cycle under way will not compact. Of the one after it nothing is said.
bool Heap::may_stay() const {
  if (!may_reuse_) return false;
  if (young_) return true;
  if (dead_unfit_.load(std::memory_order_relaxed) || owes_flip_.load(std::memory_order_relaxed)) return false;
  return dead_was_enough_ && !retention.spread_out(moving.held_pages());
}

bool Heap::is_dead(const Hole& hole) const {
  const Granule end{hole.first + hole.granules};
  return next_live(blocks, {hole.first}, end) == end;
}

/// What is spare looks live while the dead is looked for.
void Heap::set_spare_live(bool live) {
  GLISSADE_ASSERT(!live || std::all_of(spare_.begin(), spare_.end(), [&](const Hole& hole) { return is_dead(hole); }), "something is marked in spare space");
  for (const Hole& hole : spare_) blocks.set_live({hole.first}, hole.granules, live);
}

void Heap::forget_spare() {
  spare_.clear();
  spare_end_ = 0;
  moving.spare.clear();
}

/// From what is dead the lowest: the end of the space should die.
void Heap::choose_spare() {
  spare_.clear();
  spare_end_ = 0;
  if (!lacks_black_room_) return;
  const u64 wanted = std::min<u64>(u64{kBlackRoom} * moving.black_pages * kGranulesPerPage, found_dead_.granules() / kSparePart);
  for (u64 kept = 0; kept < wanted;) {
    Hole hole{0, 0};
    if (const Extent run = found_dead_.take_run(1, options.tlab_pages); run.pages) {
      hole = {run.first * kGranulesPerPage, run.pages * kGranulesPerPage};
    } else {
      hole = found_dead_.take_hole(0);
    }
    if (hole.granules == 0) break;
    spare_.push_back(hole);
    spare_end_ = std::max(spare_end_, hole.first + hole.granules);
    kept += hole.granules;
  }
}

void Heap::zero_above_stacks() {
  roots.for_each([&](const AreaView& area) {
    if (!area.is_stack()) return;
    u8* begin = reinterpret_cast<u8*>(area.words);
    const std::size_t top = std::size_t{roots.noted_top(area.index)} * area.slot_bytes();
    const std::size_t page = round_up(top, kPageSize);
    const std::size_t end = round_up(std::size_t{area.capacity} * area.slot_bytes(), kPageSize);
    std::memset(begin + top, 0, page - top);
    if (page < end) discard(begin + page, end - page);
  });
}

/// Once in a cycle, before `find_dead`.
void Heap::consider_holes() {
  // A cycle that does not compact, whatever it finds, leaves the wish to the next one.
  must_compact_ = !young_ && !stays_ && dead_unfit_.exchange(false, std::memory_order_relaxed);
  CyclesWithout& without = short_holes_given_ ? without_short_holes_ : without_holes_;
  if (must_compact_) without.failed();
  else if (holes_given_ && !dead_unfit_.load(std::memory_order_relaxed)) without.succeeded();
  holes_given_ = short_holes_given_ = false;
  with_holes_ = !without_holes_.next();
  const bool with_short = !without_short_holes_.next() && (!young_ || takes_short_holes_);
  std::lock_guard<SpaceLock> lock(moving.lock);
  if (moving.needs.known()) {
    usual_need_ = moving.needs.usual();
    moving.needs = {};
  }
  shortest_hole_ = options.reuse == Reuse::AlsoShort ? kShortestHole : with_short ? std::clamp(usual_need_, kShortestHole, kLongHole) : kLongHole;
}

/// From the live bits, and from the live granules of each page that `choose_prefix` has counted. Short holes are listed if they will be
/// given out; others are only counted.
void Heap::find_dead() {
  found_dead_.clear();
  short_granules_ = 0;
  lists_short_holes_ = takes_short_holes_;
  if (!may_reuse_) return;
  const u32 pages = moving.black_begin - moving.begin;
  std::size_t holes_left = with_holes_ ? std::size_t{kMostHoleGranules / shortest_hole_} * pages : 0;

  const auto add_hole = [&](u32 begin, u32 end) {
    const bool is_long = end - begin >= kLongHole;
    if (end - begin < shortest_hole_ || holes_left == 0) return;
    holes_left--;
    if (is_long || lists_short_holes_) found_dead_.add_hole({begin, end - begin});
    if (!is_long) short_granules_ += end - begin;
  };
  const auto add = [&](u32 begin, u32 end) {
    const u32 first = pages_for_granules(begin), last = end / kGranulesPerPage;
    if (first + kShortestRun > last) return add_hole(begin, end);
    add_hole(begin, first * kGranulesPerPage);
    found_dead_.add_run({first, last - first});
    add_hole(last * kGranulesPerPage, end);
  };
  u32 dead = moving.begin * kGranulesPerPage;  // what lies from here to the granule looked at is dead
  for (u32 page = moving.begin; page < moving.black_begin; page++) {
    if (page_live[page] == 0) continue;
    if (page_live[page] == kGranulesPerPage && dead == page * kGranulesPerPage) {
      dead += kGranulesPerPage;
      continue;
    }
    for (u32 b = page * kBlocksPerPage; b < (page + 1) * kBlocksPerPage; b++) {
      u64 bits = blocks.at(b).live.load(std::memory_order_relaxed);
      if (bits == 0) continue;
      const u32 at = b * kGranulesPerBlock;
      add(dead, at + static_cast<u32>(__builtin_ctzll(bits)));
      for (u64 left = gaps_in_live(bits, shortest_hole_); left; left &= left - 1) {
        const u32 first = static_cast<u32>(__builtin_ctzll(left));
        add(at + first, at + first + static_cast<u32>(__builtin_ctzll(bits >> first)));
      }
      dead = at + end_of_live(bits);
    }
  }
  add(dead, moving.black_begin * kGranulesPerPage);
  found_dead_.trim();
}

/// In holes that are long, and in runs.
u64 Heap::found_long() const { return found_dead_.granules() - (lists_short_holes_ ? short_granules_ : 0); }

/// `gain`: the pages that a compaction would win, at the most. A cycle that has traced everything says, for itself and for the young ones
/// after it, whether the short holes are to be given out: if they make the difference, or there is no choice.
void Heap::decide_short_holes(u32 gain) {
  if (young_) return;
  const bool needed = is_worth_moving(gain) && !is_enough(found_long(), gain) && (stays_ || is_enough(found_long() + short_granules_, gain));
  takes_short_holes_ = needed || options.reuse == Reuse::AlsoShort;
}

/// Once in a cycle: whether it has to move. One that cannot leaves the debt to the next.
bool Heap::take_owed_flip() {
  const bool can_move = !young_ && !stays_;
  return can_move ? owes_flip_.exchange(false, std::memory_order_relaxed) : owes_flip_.load(std::memory_order_relaxed);
}

/// True: what is dead is enough, and nothing need move.
bool Heap::reuse_suffices(u32 gain) {
  if (!may_reuse_ || must_compact_) return false;
  std::lock_guard<SpaceLock> lock(moving.lock);
  if (retention.spread_out(moving.held_pages()) || !is_enough(found_long() + (takes_short_holes_ ? short_granules_ : 0), gain)) return false;
  // The next cycle, too, will need room from its remark until what it finds dead is given out.
  const u32 black = moving.top - moving.black_begin;
  return fits_above_top(black) || u64{kBlackRoom} * black * kGranulesPerPage <= found_dead_.granules() / kSparePart;
}

/// Whether the next cycle, too, could have so many pages for what is born black, and more, without keeping any back. Under the space's lock.
bool Heap::fits_above_top(u32 black) const { return moving.held_pages() + u64{kBlackRoom} * black <= max_pages_; }

/// What is born in a run or in a hole must not be taken for marked, and traced, by a young cycle.
bool Heap::nothing_marked_in_dead() const {
  for (const Extent& run : found_dead_.runs()) {
    if (!is_dead({run.first * kGranulesPerPage, run.pages * kGranulesPerPage})) return false;
  }
  const std::vector<Hole>& holes = found_dead_.holes();
  return std::all_of(holes.begin(), holes.end(), [&](const Hole& hole) { return is_dead(hole); });
}

/// Free pages above the objects that are too many, the highest first, in pieces: mutators allocate there meanwhile.
void Heap::return_unneeded() {
  if (moving.registered) return;  // protected heaps
  constexpr u32 kPiecePages = 64;
  std::lock_guard<SpaceLock> lock(moving.lock);
  for (;; moving.lock.breathe()) {
    const u32 top = moving.top;
    const u64 kept = retention.kept(), held = moving.held_pages();
    const u32 needed = held < kept ? static_cast<u32>(std::min<u64>(kept - held, max_pages_)) : 0;
    const u32 free = std::max(moving.dirty_end, top) - top;
    if (free <= needed) return;
    const u32 pages = std::min(free - needed, kPiecePages);
    moving.dirty_end -= pages;
    discard(space.to_page({moving.dirty_end}), std::size_t{pages} << kPageShift);
    Statistics::add(statistics.pagesReturned, pages);
  }
}

/// Of what has been found dead, what will be given out and what is kept back. Lists of thousands, in no mutator's way.
void Heap::list_dead() {
  GLISSADE_ASSERT(lists_short_holes_ == takes_short_holes_, "what is listed is not what was decided");
  GLISSADE_ASSERT(nothing_marked_in_dead(), "something is marked in what is about to be reused");
  {
    std::lock_guard<SpaceLock> lock(moving.lock);
    moving.black_pages = moving.top - moving.black_begin + moving.spare.pages_taken();
    lacks_black_room_ |= !fits_above_top(moving.black_pages);
  }
  holes_given_ = found_dead_.has_holes();
  short_holes_given_ = takes_short_holes_ && short_granules_ > 0;
  choose_spare();
  found_spare_.set(spare_);
}

/// In the pause that ends black allocation, or after a flip that was refused.
void Heap::give_dead() {
  std::lock_guard<SpaceLock> lock(moving.lock);
  std::swap(moving.dead, found_dead_);
  std::swap(moving.spare, found_spare_);
}

/// Pages to be allocated from the beginning of the next cycle on, as pacing expects it.
u32 Heap::room_needed() const {
  const u32 limit = limit_pages_.load(std::memory_order_relaxed);
  return limit - std::min(limit, trigger_pages_.load(std::memory_order_relaxed));
}

/// Under the space's lock. An object has not fitted into the dead space and takes fresh pages: with them `held` are taken, of
/// `most` that may be.
void Heap::note_unfit(u32 held, u32 most) {
  // The room that the next cycle was to have does not come from what is dead, then.
  if (held + room_needed() / 2 > most) dead_unfit_.store(true, std::memory_order_relaxed);
}

}  // namespace glissade
