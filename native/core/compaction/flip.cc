// The flip pause: everything mutators can touch moves to from-space at once, and to-space is armed.
//
// What happens in the pause depends neither on the heap's size nor on the number of roots: current TLABs are retired (one
// walk of at most one TLAB for each mutator), the tops of the root areas are noted, and three system calls are made. No
// thread touches the flipped range between the mremap and the madvise (invariant 5): running mutators are stopped, parked
// ones keep out by contract, or by the space's lock. Any error is undone at once: the VMA is moved back, the cycle ends without a flip.
#include <sys/mman.h>

#include "core/heap.h"

namespace glissade {

bool Heap::flip() {
  flip_failed_ = false;
  space.expect_move();
  safepoint.stop_and_run([&] { flip_in_pause(); });
  return !flip_failed_;
}

void Heap::flip_in_pause() {
  const u64 begin = now_ns();
  injection::delay(injection::Delay::Flip);
  safepoint.for_each([&](Mutator& mutator) { retire_tlab(mutator); });

  // Parked threads make and free root areas, which are zeroed then, and ask what is in use. What they did in the range while it is away
  // would be lost if the flip is undone.
  std::lock_guard<SpaceLock> lock(moving.lock);
  Forwarding& f = forwarding;
  const u32 top = moving.top;
  f.top = {top * kGranulesPerPage};
  f.slide = static_cast<i32>(f.to_black_begin.index) - static_cast<i32>(f.black_begin.index);
  f.to_top = {f.to_black_begin.index + (f.top.index - f.black_begin.index)};
  const u32 to_top = f.to_top.page();
  if (to_top > moving.large_low) {
    flip_failed_ = true;  // a fresh window that black allocation has outgrown
  } else if (const int error = space.move_to_from_space()) {
    barrier.record(injection::Op::Mremap, error);
    flip_failed_ = true;
  } else {
    if (barrier.arm(space.flipped(), geometry().flipped_bytes) != 0) {
      flip_failed_ = true;
      if (const int refused = space.move_back()) barrier.record(injection::Op::Mremap, refused);
    }
  }
  if (flip_failed_) {
    Statistics::add(statistics.flipsCancelled);
    moving.black = false;
    statistics.flip_ns.record(now_ns() - begin);
    return;
  }
  // A stray reader between the two calls may have mapped a zero page; the range is empty, so this costs nothing.
  madvise(space.flipped(), geometry().flipped_bytes, MADV_DONTNEED);

  for (u32 i = 0, n = roots.count(); i < n; i++) {
    AreaView area;
    if (!roots.view(i, area)) {
      root_snapshots[i] = {};
      continue;
    }
    root_snapshots[i] = {geometry().root_first_page() + area.first_word / kWordsPerPage, area.top, area.is_value()};
  }
  compaction.note_freed(f.begin.page(), top);
  flip_large_low = moving.large_low;
  flip_top = top;
  flip_dirty_end = moving.dirty_end;
  if (verification.wants(4)) verification.note_references();
  if (options.fresh_windows) moving.begin = f.to_begin.page();
  moving.top = to_top;
  moving.dirty_end = to_top;
  moving.black = false;
  moving.registered = true;
  epoch_of_flip = ++epoch;
  layout::store_word(space.control()[layout::kEpochWord], static_cast<i32>(epoch));
  Statistics::add(statistics.flips);
  // Handlers may run from the moment mutators resume; everything above happens before (seq_cst, and the resume).
  compaction.active.store(true, std::memory_order_seq_cst);
  statistics.flip_ns.record(now_ns() - begin);
}

}  // namespace glissade
