// Compacting while mutators run: collector threads build and place pages in batches, a mutator that touches a page
// first builds and places it itself (`serve`, called by the page barrier).
//
// The order is: roots; what the survey found intact, which has only to be placed; large objects, black pages from the top down
// (what mutators touched last), the rest of the prefix, and compacted pages from the top down. The cheapest first, so that the
// number of pages that can still fault falls as fast as it can. Sliding moves objects towards lower addresses, so from the top
// down the sources die in the order in which they are read, and evacuated pages become the next buffers. What faults build comes in
// any order; neighbours of theirs go before the rest once that has taken much memory (overdraft.h).
//
// Source pages: a compacted page reads one or more source pages, neighbours share one; `source_counts` counts the
// unbuilt readers of each. The thread that is the last to leave a page's builders decrements (page-state.h).
#pragma once

#include <atomic>
#include <vector>

#include "core/compaction/overdraft.h"
#include "core/compaction/page-builder.h"
#include "core/compaction/page-supply.h"
#include "core/compaction/placement.h"
#include "core/compaction/stepping.h"

namespace glissade {

class Heap;

class Compaction {
 public:
  explicit Compaction(Heap& heap) : heap_(heap) {}

  /// Before the flip: puts the from-space pages that nobody will read into stock. `unstock` if there is no flip.
  void stock();
  void unstock();
  /// After the flip, concurrently: lists the pages to build, and returns the work, for pacing: pages, an intact one as a sixteenth.
  u64 start();
  /// Builds and places everything. Returns when every page with content is mapped.
  void run();
  /// Moves evacuated pages above the live end, unregisters, drains the handlers, resets the states, frees from-space.
  void close();

  /// A thread has touched a page that is not there, `offset` bytes into the flipped range: maps it, whatever its state. For
  /// the page barrier, which calls it on that thread or on its own; async-signal-safe.
  void serve(std::size_t offset);

  /// Fills [first, first + pages) of to-space with zeroed pages for a TLAB. The caller is inside `in_flight`.
  void fill(u32 first, u32 pages);
  /// The same with zero pages, committed when they are written: for large objects, and where nothing evacuated is left.
  void fill_zeros(u32 first, u32 pages);

  /// `protected_pages`: of the moving space, in the page-protect mode.
  bool map(u32 pages, u32 protected_pages) { return shared_.map(pages) && supply_.map(pages) && freed_in_.map(protected_pages + 1); }
  /// The page-protect mode's notes: these pages have been freed by the cycle under way.
  void note_freed(u32 first, u32 end);
  u32 overflow_used() const { return overflow_used_.load(std::memory_order_relaxed); }

  /// True from the flip until the close: pages of to-space may be missing. seq_cst: pairs with `in_flight`.
  std::atomic<bool> active{false};
  /// Handlers and fillers at work. Entered before `active` or any state is read (invariant 9: drained before reset).
  std::atomic<u32> in_flight{0};

 private:
  struct Chunk {
    u32 first, end;
    bool intact;  // the sweep over intact pages, ahead of everything that has to be built
  };
  /// What had become of a page by the time that a thread needed it; each fault is one of these.
  enum class Found : u8 { Mapped, Ready, Empty, Overtaken, Untouched };
  /// Why a page is built ahead of the collector's order.
  enum class Reason : u8 { Finish, Fault, Beside };

  // By the collector's threads.
  void add_chunks(u32 first, u32 end, bool descending, bool intact = false);
  u32 intact_pages(const Chunk& chunk) const;
  void work(BufferCursor& cursor);
  void work_to_order(BufferCursor& cursor);
  u64 process(const Chunk& chunk, BufferCursor& cursor);
  /// Builds a claimed page, and verifies it. One that slides as it is among built ones is copied, so that it joins their run.
  PageContent build_for_batch(u32 page, u32 buffer);
  void repay(BufferCursor& cursor);
  void finish();

  // By whoever needs a page now: in a fault, or at the end.
  Found resolve(u32 page, Reason reason);
  void build_here(u32 page, u32 buffer, Reason reason);
  void gather_intact(u32 page);
  bool take_intact(u32 page, u32 source);
  void repay_in_fault(u32 page);

  // Buffers, and what a page was made from.
  u32 take_overflow(u32 pages);
  u32 handler_buffer();
  /// For a collector thread whose cursor has none, because nothing is evacuated yet: from a batch that the kernel provides, or of
  /// the handlers'. Waits until there is one: the caller has placed what it has built.
  u32 borrow(BufferCursor& cursor);
  void give_back(u32 buffer);
  void top_up_shared();
  bool can_repay() const;
  u32 taken() const;
  /// The buffer that a built page is placed from.
  u32 placed_from(u32 page, PageContent content, u32 buffer) const;
  template <typename Recycle>
  void release_sources(u32 page, u32 buffer, Recycle&& recycle);
  bool retire(u32 buffer);

  void hold(HoldPoint point, u32 page, u32 pages = 1);

  // filling.cc
  void recycle_above();

  // protection.cc
  void protect_window();
  bool belongs(u32 page) const;
  void serve_idle(u32 page, std::size_t offset);

  static constexpr u32 kChunkPages = 128;
  static constexpr u32 kOverflowPages = 64;
  /// Chunks of the sweep over intact pages, which are as long as its runs: a TLB shootdown for each.
  static constexpr u32 kSweptPages = 256;
  static constexpr u32 kSweptPerWork = 16;  // so many of its pages take as long as one that is built
  static constexpr u32 kFaultAround = 32;
  static constexpr u32 kIntactAround = 64;
  static constexpr u64 kPatience = 20'000;  // nanoseconds that a thread waits for another's claim
  static constexpr u32 kSharedLow = 64;  // below so many, faults' stock is filled up
  static constexpr u32 kMostEvacuated = 2048, kReturnedAtOnce = 512;  // pages, where content is copied

  Heap& heap_;
  std::vector<Chunk> chunks_;
  std::atomic<u32> next_chunk_{0};
  PageSupply supply_;
  SharedPages shared_;
  std::atomic<u32> overflow_used_{0};
  std::atomic<u32> taken_by_faults_{0};  // of those, by threads in a fault
  Overdraft overdraft_;
  MappedArray<u32> freed_in_;  // page-protect mode: the cycle that freed the page last
};

}  // namespace glissade
