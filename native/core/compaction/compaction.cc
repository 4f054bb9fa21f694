// Building and placing, by collector threads and by faulting mutators; compaction.h has the order and the rules.
#include "core/compaction/compaction.h"

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "core/compaction/placement-batch.h"
#include "core/heap.h"
#include "core/kernel/clock.h"

namespace glissade {

void Compaction::add_chunks(u32 first, u32 end, bool descending, bool intact) {
  const u32 pages = intact ? kSweptPages : kChunkPages;
  if (descending) {
    for (u32 at = end; at > first;) {
      const u32 low = at - first > pages ? at - pages : first;
      chunks_.push_back({low, at, intact});
      at = low;
    }
  } else {
    for (u32 at = first; at < end; at += pages) chunks_.push_back({at, at + pages < end ? at + pages : end, intact});
  }
}

u32 Compaction::intact_pages(const Chunk& chunk) const {
  u32 intact = 0;
  for (u32 page = chunk.first; page < chunk.end; page++) intact += heap_.builder.is_intact(page);
  return intact;
}

u64 Compaction::start() {
  const Forwarding& f = heap_.forwarding;
  chunks_.clear();
  next_chunk_.store(0, std::memory_order_relaxed);
  for (u32 i = 0; i < layout::kMaxAreas; i++) {
    const Heap::RootSnapshot& area = heap_.root_snapshots[i];
    if (area.top) add_chunks(area.first_page, area.first_page + pages_for_bytes(u64{area.top} * (area.is_value ? 8 : 4)), true);
  }
  std::vector<Extent> large;
  {
    // Mutators go on allocating large objects: the table is read under the lock that they are placed under.
    std::lock_guard<SpaceLock> lock(heap_.moving.lock);
    heap_.large_objects.for_each(heap_.flip_large_low, heap_.geometry().moving_pages(), heap_.moving.lock, [&](u32 page, const LargeObjects::Head& head) {
      if (heap_.large_born[page] != heap_.epoch_of_flip) large.push_back({page, pages_for_granules(head.granules)});
    });
  }
  const u32 prefix = f.begin.page(), prefix_end = f.prefix_end.page();
  const u32 compact = f.to_begin.page(), compact_end = pages_for_granules(f.compact_end.index);
  for (const bool intact : {true, false}) {
    for (const Extent& object : large) add_chunks(object.first, object.first + object.pages, false, intact);
    if (!intact) add_chunks(pages_for_granules(f.to_black_begin.index), pages_for_granules(f.to_top.index), true);
    add_chunks(prefix, prefix_end, true, intact);
    add_chunks(compact, compact_end, true, intact);
  }
  u64 work = 0;
  for (const Chunk& chunk : chunks_) work += chunk.intact ? 0 : chunk.end - chunk.first;
  work -= std::min<u64>(work, heap_.intact_count - heap_.intact_count / kSweptPerWork);

  if (heap_.options.protect) {
    protect_window();
  } else {
    // Recycled garbage above the live end of before the flip: nobody reads it, its pages are buffers.
    if (heap_.flip_dirty_end > heap_.flip_top) supply_.give({heap_.flip_top, heap_.flip_dirty_end - heap_.flip_top});
    top_up_shared();
  }
  return work;
}

void Compaction::stock() {
  if (heap_.options.protect) return;
  // From-space pages without a live object: free at the flip, so handlers have buffers from the first fault on.
  const Forwarding& f = heap_.forwarding;
  overdraft_.begin((f.compact_end.index - f.to_begin.index) / kGranulesPerPage, heap_.options.overdraft);
  Extent free{0, 0};
  for (u32 page = f.prefix_end.page(); page < f.black_begin.page(); page++) {
    if (heap_.page_live[page] != 0) continue;
    if (free.pages && free.first + free.pages == page) {
      free.pages++;
    } else {
      supply_.give(free);
      free = {page, 1};
    }
  }
  supply_.give(free);
  top_up_shared();
}

void Compaction::unstock() {
  supply_.reset();
  shared_.reset();
}

u32 Compaction::take_overflow(u32 pages) {
  u32 used = overflow_used_.load(std::memory_order_relaxed);
  do {
    if (used + pages > heap_.geometry().overflow_pages) return kNoBuffer;
  } while (!overflow_used_.compare_exchange_weak(used, used + pages, std::memory_order_relaxed));
  Statistics::add(heap_.statistics.buffersFromKernel, pages);
  return heap_.geometry().first_overflow() + used;
}

void Compaction::top_up_shared() {
  // What faults have taken is given back to where they take from; but for what the collector needs to go on freeing pages.
  const auto owes = [&] { return taken() > overdraft_.tolerated() && supply_.pages() > kSharedLow; };
  while (shared_.count() < static_cast<i32>(kSharedLow) || owes()) {
    const Extent extent = supply_.take(kSharedLow);
    if (extent.pages == 0) return;
    for (u32 i = 0; i < extent.pages; i++) shared_.push(extent.first + i);
  }
}

template <typename Recycle>
void Compaction::release_sources(u32 page, u32 buffer, Recycle&& recycle) {
  const PageKind kind = heap_.builder.kind(page);
  if (kind == PageKind::Empty) return;  // the from-space page of that number is no source of it
  if (kind != PageKind::Compacted) {
    // A kept page's source is its content. What counts is the buffer that was published, not this builder's.
    const u32 source = heap_.builder.source_page(page);
    if (buffer != source) recycle(source);
    return;
  }
  const PageInfo& info = heap_.page_infos[page];
  for (u32 source = info.source / kGranulesPerPage; source <= info.last / kGranulesPerPage; source++) {
    if (heap_.page_live[source] == 0) continue;  // free since the flip
    // acq_rel: the last reader's decrement acquires the ends of all other readers' reads (invariant 3).
    // A source that was placed itself is the page now.
    if (heap_.source_counts[source].fetch_sub(1, std::memory_order_acq_rel) == 1 && source != buffer) recycle(source);
  }
}

u32 Compaction::borrow(BufferCursor& cursor) {
  const u32 overflow = take_overflow(kOverflowPages);
  if (overflow == kNoBuffer) return handler_buffer();
  cursor.adopt({overflow, kOverflowPages});
  return cursor.take();
}

PageContent Compaction::build_for_batch(u32 page, u32 buffer) {
  u8* to = heap_.space.buffer(buffer);
  const PageContent content = heap_.builder.build(page, to);
  if (heap_.verification.wants(4)) {
    heap_.verification.check_page(page, content, to);
    heap_.verification.check_rebuilt(page, content, to);
  }
  if (content != PageContent::Source || heap_.options.placing_batch <= 1 || !heap_.builder.slides_alone(page)) return content;
  std::memcpy(to, heap_.space.from_page({heap_.builder.source_page(page)}), kPageSize);
  return PageContent::Buffer;
}

u64 Compaction::process(const Chunk& chunk, BufferCursor& cursor) {
  const u64 begin = now_ns();
  const auto recycle = [&](u32 page) {
    if (!retire(page)) cursor.recycle(page);
  };
  PlacementBatch batch(heap_, recycle);
  u64 built = 0;
  // The buffer comes before the claim: a claimant that waited for one would count as a builder and hold back the very
  // sources that could become buffers (test/model, CLAIM_BEFORE_BUFFER).
  u32 buffer = kNoBuffer;
  for (u32 page = chunk.first; page < chunk.end; page++) {
    AtomicPageWord& word = heap_.page_words[page];
    hold(HoldPoint::Looking, page);
    if (word.load().state() != PageState::Untouched) continue;
    if (chunk.intact && !heap_.builder.is_intact(page)) continue;
    if (buffer == kNoBuffer) buffer = cursor.take();
    if (buffer == kNoBuffer) {
      // Placed first: buffers come back when pages are placed, and `borrow` may wait for one.
      batch.flush();
      buffer = borrow(cursor);
    }
    hold(HoldPoint::Claiming, page);
    if (!word.claim()) continue;
    hold(HoldPoint::Claimed, page);
    const PageContent content = build_for_batch(page, buffer);
    const u32 result = placed_from(page, content, buffer);
    hold(HoldPoint::Built, page);
    const AtomicPageWord::Left left = word.publish(result);
    hold(HoldPoint::Published, page);
    if (content == PageContent::Buffer) {
      if (left.published) {
        buffer = kNoBuffer;
        built++;
      } else {
        Statistics::add(heap_.statistics.pagesBuiltTwice);  // the buffer serves the next page
      }
    }
    if (left.last) release_sources(page, left.buffer, recycle);
    if (left.published) batch.add(page, result);
  }
  if (buffer != kNoBuffer) cursor.recycle(buffer);
  batch.flush();
  cursor.donate();
  Statistics::add(heap_.statistics.pagesBuilt, built);
  Statistics::add(heap_.statistics.placeNs, batch.placing_ns());
  Statistics::add(heap_.statistics.buildNs, now_ns() - begin - batch.placing_ns());
  return built;
}

void Compaction::hold(HoldPoint point, u32 page, u32 pages) {
  if (heap_.stepping) [[unlikely]] heap_.steps.hold(point, page, pages);
}

void Compaction::work_to_order(BufferCursor& cursor) {
  for (u32 page = heap_.steps.take_order(); page != Stepping::kNone; page = heap_.steps.take_order()) {
    process({page, page + 1, false}, cursor);
    heap_.steps.leave();
    heap_.gate(Rest::Compact);
  }
}

void Compaction::work(BufferCursor& cursor) {
  for (;;) {
    if (heap_.stepping) work_to_order(cursor);
    repay(cursor);
    const u32 index = next_chunk_.fetch_add(1, std::memory_order_relaxed);
    if (index >= chunks_.size()) return;
    injection::delay(injection::Delay::Compact);
    const Chunk& chunk = chunks_[index];
    const u32 intact = intact_pages(chunk);
    // A page here and there that was written since the survey would cut the run in two: it is built with the others.
    if (!chunk.intact || 2 * intact > chunk.end - chunk.first) process({chunk.first, chunk.end, false}, cursor);
    else if (intact) process(chunk, cursor);
    heap_.pacing.advance(chunk.intact ? intact / kSweptPerWork : chunk.end - chunk.first - intact);
    if (shared_.count() < static_cast<i32>(kSharedLow)) top_up_shared();
    if (heap_.copying) {
      // Evacuated pages go back to the kernel in pieces, or the heap would exist twice.
      while (supply_.pages() > kMostEvacuated) {
        const Extent extent = supply_.take(kReturnedAtOnce);
        madvise(heap_.space.buffer(extent.first), std::size_t{extent.pages} << kPageShift, MADV_DONTNEED);
      }
    }
    if (heap_.stepping) heap_.gate(Rest::Compact);
  }
}

void Compaction::finish() {
  // Whatever others claimed is placed, or built again, by us: the cycle never depends on a thread being scheduled.
  for (const Chunk& chunk : chunks_) {
    for (u32 page = chunk.first; page < chunk.end; page++) {
      while (heap_.page_words[page].load().state() != PageState::Mapped) resolve(page, Reason::Finish);
    }
  }
}

void Compaction::run() {
  heap_.workers.run([&](u32) {
    BufferCursor cursor(supply_);
    work(cursor);
  });
  finish();
}

u32 Compaction::handler_buffer() {
  for (;;) {
    u32 buffer = shared_.pop();
    if (buffer != kNoBuffer) return buffer;
    buffer = take_overflow(1);
    if (buffer != kNoBuffer) {
      taken_by_faults_.fetch_add(1, std::memory_order_relaxed);
      return buffer;
    }
    sched_yield();  // every page is a buffer at work: one comes back as soon as its page is placed
  }
}

void Compaction::give_back(u32 buffer) {
  if (!retire(buffer)) shared_.push(buffer);
}

u32 Compaction::placed_from(u32 page, PageContent content, u32 buffer) const {
  switch (content) {
    case PageContent::Source: return heap_.builder.source_page(page);
    case PageContent::Zero: return Placement::kZeroBuffer;
    case PageContent::Buffer: break;
  }
  return buffer;
}

void Compaction::build_here(u32 page, u32 buffer, Reason reason) {
  hold(HoldPoint::Claimed, page);
  // Claimed (or joined) by this thread: build into its single buffer, publish, let the last builder free the sources.
  const PageContent content = heap_.builder.build(page, heap_.space.buffer(buffer));
  if (heap_.verification.wants(4)) heap_.verification.check_page(page, content, heap_.space.buffer(buffer));
  hold(HoldPoint::Built, page);
  const AtomicPageWord::Left left = heap_.page_words[page].publish(placed_from(page, content, buffer));
  hold(HoldPoint::Published, page);
  if (content != PageContent::Buffer || !left.published) give_back(buffer);
  if (content == PageContent::Buffer) {
    Statistics::add(left.published ? heap_.statistics.pagesBuilt : heap_.statistics.pagesBuiltTwice);
    if (left.published && reason != Reason::Finish) Statistics::add(heap_.statistics.pagesBuiltByMutators);
    if (left.published && reason == Reason::Beside) Statistics::add(heap_.statistics.pagesBuiltBeside);
  }
  if (left.last) release_sources(page, left.buffer, [&](u32 index) { give_back(index); });
}

bool Compaction::can_repay() const { return !heap_.copying && !heap_.options.protect; }

u32 Compaction::taken() const {
  const u32 taken = taken_by_faults_.load(std::memory_order_relaxed);
  return taken - std::min(taken, static_cast<u32>(std::max(shared_.count(), 0)));
}

void Compaction::repay_in_fault(u32 page) {
  if (!can_repay() || heap_.builder.kind(page) != PageKind::Compacted) return;
  overdraft_.note(page);
  u32 left = Overdraft::kRepaidInFault;
  const auto build = [&](u32 beside) {
    if (left == 0 || taken() <= overdraft_.most() || heap_.builder.kind(beside) != PageKind::Compacted) return false;
    // An intact page is its own source: it takes nothing, and gives nothing back.
    if (heap_.page_words[beside].load().state() != PageState::Untouched || heap_.builder.is_intact(beside)) return false;
    resolve(beside, Reason::Beside);
    left--;
    return true;
  };
  for (u32 above = page + 1; build(above); above++) {
  }
  for (u32 below = page; below > 0 && build(below - 1); below--) {
  }
}

void Compaction::repay(BufferCursor& cursor) {
  const Forwarding& f = heap_.forwarding;
  const u32 begin = f.to_begin.page(), end = f.compact_end.page();
  if (!can_repay()) return;
  for (top_up_shared(); taken() > overdraft_.tolerated(); top_up_shared()) {
    const u32 page = overdraft_.take_noted();
    if (page == Overdraft::kNone) return;
    const u32 first = std::max(begin, page - std::min(page, Overdraft::kRepaidAround));
    const u32 last = std::min(end, page + Overdraft::kRepaidAround + 1);
    Statistics::add(heap_.statistics.pagesBuiltBeside, process({first, last, false}, cursor));
  }
}

void Compaction::gather_intact(u32 page) {
  // Placed by the call that places `page`: one signal and one TLB shootdown for all of them.
  const u32 first = page - page % kIntactAround;
  const u32 source = heap_.builder.source_page(page);
  for (u32 before = 1; before <= page - first && take_intact(page - before, source - before); before++) {
  }
  for (u32 after = 1; page + after < first + kIntactAround && take_intact(page + after, source + after); after++) {
  }
}

bool Compaction::take_intact(u32 page, u32 source) {
  if (!heap_.builder.is_intact(page) || heap_.builder.source_page(page) != source) return false;
  hold(HoldPoint::Claiming, page);
  if (!heap_.page_words[page].claim()) return false;
  hold(HoldPoint::Claimed, page);
  if (heap_.verification.wants(4)) heap_.verification.check_page(page, PageContent::Source, nullptr);
  const AtomicPageWord::Left left = heap_.page_words[page].publish(source);
  hold(HoldPoint::Published, page);
  if (left.last) release_sources(page, left.buffer, [&](u32 index) { give_back(index); });
  return true;
}

bool Compaction::retire(u32 buffer) {
  if (!heap_.options.protect || buffer >= heap_.geometry().first_overflow()) return false;
  // Not for use again. A page that was compacted is read by builders alone: whoever still reads it has broken invariant 3.
  // (A refusal, for too many mappings, costs only that.) A thread that is late with placing it as it was hears that the page is
  // there, or that it has no source any more, and finds it mapped.
  if (buffer < heap_.forwarding.black_begin.page()) mprotect(heap_.space.buffer(buffer), kPageSize, PROT_NONE);
  return true;
}

void Compaction::serve(std::size_t offset) {
  const u32 page = static_cast<u32>(offset >> kPageShift);
  const u64 entered = now_ns();
  injection::delay(injection::Delay::Fault);
  hold(HoldPoint::Faulted, page);
  in_flight.fetch_add(1, std::memory_order_seq_cst);
  hold(HoldPoint::Entered, page);
  // Inactive: a late fault, after the close. The page is there, or will be zero-filled by the access itself.
  if (active.load(std::memory_order_seq_cst)) {
    if (heap_.options.protect && !belongs(page)) serve_idle(page, offset);
    Statistics& statistics = heap_.statistics;
    Statistics::add(statistics.barrierFaults);
    const Found found = resolve(page, Reason::Fault);
    if (found == Found::Untouched) repay_in_fault(page);
    switch (found) {
      case Found::Mapped: Statistics::add(statistics.faultsMapped); break;
      case Found::Ready: Statistics::add(statistics.faultsReady); break;
      case Found::Empty: Statistics::add(statistics.faultsZero); break;
      case Found::Overtaken: Statistics::add(statistics.faultsOvertaken); break;
      case Found::Untouched: Statistics::add(statistics.faultsBuilt); break;
    }
    statistics.faultStall_ns.record(now_ns() - entered);
  } else if (heap_.options.protect) {
    serve_idle(page, offset);
  }
  in_flight.fetch_sub(1, std::memory_order_seq_cst);
  if (heap_.stepping) [[unlikely]] heap_.steps.leave();
}

Compaction::Found Compaction::resolve(u32 page, Reason reason) {
  AtomicPageWord& word = heap_.page_words[page];
  u64 patience_ends = 0;
  bool built = false;  // by this thread
  Found found = Found::Mapped;
  for (;;) {
    if (patience_ends == 0) hold(HoldPoint::Looking, page);
    switch (word.load().state()) {
      case PageState::Mapped:
        return found;
      case PageState::Built: {
        if (!built) found = Found::Ready;
        Placement placement(heap_);
        const Placement::Run run = placement.ready_run(page, found == Found::Ready && heap_.builder.is_intact(page) ? kIntactAround : kFaultAround);
        placement.place(run.page, run.buffer, run.pages, [&](u32 buffer) { give_back(buffer); });
        return found;
      }
      case PageState::Untouched: {
        const u32 buffer = handler_buffer();  // before the claim, as in `process`
        hold(HoldPoint::Claiming, page);
        if (word.claim()) {
          const bool intact = heap_.builder.is_intact(page);
          found = intact ? Found::Ready : heap_.builder.kind(page) == PageKind::Empty ? Found::Empty : Found::Untouched;
          build_here(page, buffer, reason);
          if (intact && !heap_.copying) gather_intact(page);
          built = true;
        } else {
          shared_.push(buffer);
        }
        break;
      }
      case PageState::Building: {
        const u64 now = now_ns();
        if (patience_ends == 0) patience_ends = now + kPatience;
        if (now < patience_ends) {
          cpu_pause();
          break;
        }
        // The builder may be off the processor for milliseconds: nobody waits for it (invariant 1 makes this safe).
        const u32 buffer = handler_buffer();
        hold(HoldPoint::Overtaking, page);
        if (word.overtake()) {
          found = Found::Overtaken;
          build_here(page, buffer, reason);
          built = true;
        } else {
          shared_.push(buffer);
        }
        break;
      }
    }
  }
}

void Compaction::close() {
  const bool stays_armed = heap_.options.protect;
  if (!heap_.copying && !stays_armed) recycle_above();
  injection::delay(injection::Delay::Close);
  const Geometry& geometry = heap_.geometry();
  const u32 all = geometry.flipped_pages();
  hold(HoldPoint::Closing, 0, all);
  const bool disarmed = stays_armed || heap_.barrier.disarm();
  if (!stays_armed) {
    std::lock_guard<SpaceLock> lock(heap_.moving.lock);
    heap_.moving.registered = false;
  }
  // From here a late handler returns at once; those inside finish against states that still stand (invariant 9).
  hold(HoldPoint::Disarmed, 0, all);
  active.store(false, std::memory_order_seq_cst);
  hold(HoldPoint::Draining, 0, all);
  while (in_flight.load(std::memory_order_seq_cst) != 0) {
    sched_yield();
    hold(HoldPoint::Waiting, 0, all);
  }
  hold(HoldPoint::Drained, 0, all);
  if (!disarmed) heap_.barrier.reopen();
  heap_.page_words.zero(0, geometry.moving_pages());
  heap_.page_words.zero(geometry.root_first_page(), geometry.flipped_pages() - geometry.root_first_page());
  unstock();
  heap_.space.reset_from_space();
  // Only here are they given back: what the cycle took in all is what it held at its end.
  Statistics::Counter& peak = heap_.statistics.buffersPeak;
  if (overflow_used() > peak.load(std::memory_order_relaxed)) peak.store(overflow_used(), std::memory_order_relaxed);
  heap_.space.drop_overflow(overflow_used());
  overflow_used_.store(0, std::memory_order_relaxed);
  taken_by_faults_.store(0, std::memory_order_relaxed);
  if (heap_.stepping) heap_.steps.leave();
}

}  // namespace glissade
