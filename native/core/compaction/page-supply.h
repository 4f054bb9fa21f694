// Physical pages in circulation during a compaction: where buffers come from, and where evacuated pages go.
//
// A page is named by a buffer index: a from-space page, or one of the overflow (address-space.h). Three stocks:
// - SharedPages: single pages in a lock-free stack. Fault handlers take and give here (invariant 10: no lock).
// - PageSupply: the free pages under a lock. Compaction threads and TLAB grants trade here; consecutive buffers are what
//   makes one MOVE of many pages, so a page that comes back joins whatever free pages lie beside it.
// - a BufferCursor: one compaction thread's private extents.
// A page is in at most one stock, and in none while it is the source of an unbuilt page (invariant 3) or holds the
// content of a page that is built and not yet placed (invariant 4).
#pragma once

#include <atomic>
#include <mutex>
#include <vector>

#include "core/kernel/mapped-array.h"
#include "core/memory/moving-space.h"

namespace glissade {

inline constexpr u32 kNoBuffer = ~0u;

/// A Treiber stack of page indices. The head carries a tag against ABA.
class SharedPages {
 public:
  bool map(u32 pages) { return next_.map(pages); }
  void reset() {
    head_.store(kEmpty, std::memory_order_relaxed);
    count_.store(0, std::memory_order_relaxed);
  }

  void push(u32 page) {
    u64 head = head_.load(std::memory_order_relaxed);
    for (;;) {
      next_[page].store(static_cast<u32>(head), std::memory_order_relaxed);
      const u64 next = ((head + (u64{1} << 32)) & ~u64{0xFFFFFFFF}) | page;
      // release: the popper sees the page's `next`, and that its last reader has left.
      if (head_.compare_exchange_weak(head, next, std::memory_order_release, std::memory_order_relaxed)) break;
    }
    count_.fetch_add(1, std::memory_order_relaxed);
  }

  u32 pop() {
    u64 head = head_.load(std::memory_order_acquire);
    for (;;) {
      const u32 page = static_cast<u32>(head);
      if (page == kNoBuffer) return kNoBuffer;
      const u64 next = ((head + (u64{1} << 32)) & ~u64{0xFFFFFFFF}) | next_[page].load(std::memory_order_relaxed);
      if (head_.compare_exchange_weak(head, next, std::memory_order_acquire, std::memory_order_acquire)) {
        count_.fetch_sub(1, std::memory_order_relaxed);
        return page;
      }
    }
  }

  i32 count() const { return count_.load(std::memory_order_relaxed); }

 private:
  static constexpr u64 kEmpty = 0xFFFFFFFF;
  std::atomic<u64> head_{kEmpty};
  std::atomic<i32> count_{0};
  MappedArray<std::atomic<u32>> next_;
};

/// Free pages for everybody who may take a lock. A map tells which they are; beside it the extents are kept in the order
/// in which they came, the newest (warm in the cache) to be taken first. An extent says where to look, the map what is
/// there: pages of it may have left with a run that began in another, and a run may reach beyond it.
class PageSupply {
 public:
  bool map(u32 pages) { return free_.map(pages + 1); }  // one more, never free
  void reset() {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const Extent& extent : extents_) free_.zero(extent.first, extent.pages);
    extents_.clear();
    pages_ = 0;
  }
  void give(Extent extent) { give(&extent, 1); }
  void give(const Extent* extents, std::size_t count) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (std::size_t i = 0; i < count; i++) {
      const Extent extent = extents[i];
      if (extent.pages == 0) continue;
      std::memset(&free_[extent.first], 1, extent.pages);
      pages_ += extent.pages;
      if (!extents_.empty() && extents_.back().first + extents_.back().pages == extent.first) {
        extents_.back().pages += extent.pages;
      } else {
        extents_.push_back(extent);
      }
    }
  }
  /// Up to `most` consecutive pages, those of the newest extent and their neighbours; pages = 0: none left.
  Extent take(u32 most) {
    std::lock_guard<std::mutex> lock(mutex_);
    while (most && !extents_.empty()) {
      Extent newest = extents_.back();
      extents_.pop_back();
      for (; newest.pages && !free_[newest.first]; newest.pages--) newest.first++;
      if (newest.pages == 0) continue;
      u32 first = newest.first, end = first;
      while (end - first < most && free_[end]) end++;
      while (end - first < most && first > 0 && free_[first - 1]) first--;
      const u32 newest_end = newest.first + newest.pages;
      if (end < newest_end) extents_.push_back({end, newest_end - end});
      free_.zero(first, end - first);
      pages_ -= end - first;
      return {first, end - first};
    }
    return {0, 0};
  }
  u32 pages() {
    std::lock_guard<std::mutex> lock(mutex_);
    return pages_;
  }

 private:
  std::mutex mutex_;
  std::vector<Extent> extents_;
  MappedArray<u8> free_;
  u32 pages_ = 0;
};

/// One thread's buffers: hands out consecutive pages, takes evacuated pages back.
class BufferCursor {
 public:
  explicit BufferCursor(PageSupply& supply) : supply_(supply) {}
  ~BufferCursor() { flush(); }

  /// The next buffer; kNoBuffer when neither this cursor nor the supply has one.
  u32 take() {
    if (current_.pages == 0) {
      donate();
      current_ = supply_.take(kTaken);
      if (current_.pages == 0) return kNoBuffer;
    }
    current_.pages--;
    return current_.first++;
  }
  void adopt(Extent extent) { current_ = extent; }
  /// An evacuated page. Pages come in ascending order within a chunk, so most join the extent before them.
  void recycle(u32 page) {
    if (freed_count_ && freed_[freed_count_ - 1].first + freed_[freed_count_ - 1].pages == page) {
      freed_[freed_count_ - 1].pages++;
    } else {
      if (freed_count_ == kExtents) donate();
      freed_[freed_count_++] = {page, 1};
    }
  }
  /// Evacuated pages become everybody's.
  void donate() {
    supply_.give(freed_, freed_count_);
    freed_count_ = 0;
  }
  void flush() {
    donate();
    supply_.give(current_);
    current_ = {0, 0};
  }

 private:
  static constexpr u32 kTaken = 256;
  static constexpr u32 kExtents = 64;

  PageSupply& supply_;
  Extent current_{0, 0};
  Extent freed_[kExtents];
  u32 freed_count_ = 0;
};

}  // namespace glissade
