// Physical pages in circulation during a compaction: where buffers come from, and where evacuated pages go.
//
// A page is named by a buffer index: a from-space page, or one of the small reserve. Three stocks:
// - SharedPages: single pages in a lock-free stack. Fault handlers take and give here (invariant 10: no lock).
// - PageSupply: extents of consecutive pages under a lock. Compaction threads and TLAB grants trade here; consecutive
//   buffers are what makes one MOVE of many pages.
// - a BufferCursor: one compaction thread's private extents.
// A page is in at most one stock, and in none while it is the source of an unbuilt page (invariant 3) or holds the
// content of a page that is built and not yet placed (invariant 4).
#pragma once

#include <atomic>
#include <mutex>
#include <vector>

#include "mapped-array.h"
#include "moving-space.h"

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

/// Extents for everybody who may take a lock.
class PageSupply {
 public:
  void reset() {
    std::lock_guard<std::mutex> lock(mutex_);
    extents_.clear();
    pages_ = 0;
  }
  void give(Extent extent) {
    if (extent.pages == 0) return;
    std::lock_guard<std::mutex> lock(mutex_);
    pages_ += extent.pages;
    if (!extents_.empty() && extents_.back().first + extents_.back().pages == extent.first) {
      extents_.back().pages += extent.pages;
    } else {
      extents_.push_back(extent);
    }
  }
  /// Up to `most` consecutive pages, from the end of the newest extent; pages = 0: none left.
  Extent take(u32 most) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (extents_.empty()) return {0, 0};
    Extent& last = extents_.back();
    const u32 pages = last.pages < most ? last.pages : most;
    last.pages -= pages;
    const Extent taken{last.first + last.pages, pages};
    if (last.pages == 0) extents_.pop_back();
    pages_ -= pages;
    return taken;
  }
  u32 pages() {
    std::lock_guard<std::mutex> lock(mutex_);
    return pages_;
  }

 private:
  std::mutex mutex_;
  std::vector<Extent> extents_;
  u32 pages_ = 0;
};

/// One thread's buffers: hands out consecutive pages, takes evacuated pages back.
class BufferCursor {
 public:
  explicit BufferCursor(PageSupply& supply) : supply_(supply) {}
  ~BufferCursor() { flush(); }

  /// The next buffer; kNoBuffer when neither this cursor nor the supply has one.
  u32 take() {
    if (current_.pages == 0 && !refill()) return kNoBuffer;
    current_.pages--;
    return current_.first++;
  }
  void adopt(Extent extent) { current_ = extent; }
  /// An evacuated page. Pages come in ascending order within a chunk, so most join the extent before them.
  void recycle(u32 page) {
    if (freed_.pages && freed_.first + freed_.pages == page) {
      freed_.pages++;
    } else {
      stash();
      freed_ = {page, 1};
    }
    if (freed_.pages >= kDonation) {
      supply_.give(freed_);
      freed_ = {0, 0};
    }
  }
  void flush() {
    stash();
    for (const Extent& extent : kept_) supply_.give(extent);
    kept_.clear();
    supply_.give(current_);
    current_ = {0, 0};
  }

 private:
  static constexpr u32 kDonation = 256;

  void stash() {
    if (freed_.pages) kept_.push_back(freed_);
    freed_ = {0, 0};
    if (kept_.size() >= 64) {
      for (const Extent& extent : kept_) supply_.give(extent);
      kept_.clear();
    }
  }
  bool refill() {
    current_ = supply_.take(kDonation);
    if (current_.pages == 0 && !kept_.empty()) {
      current_ = kept_.back();
      kept_.pop_back();
    }
    if (current_.pages == 0) {
      current_ = freed_;
      freed_ = {0, 0};
    }
    return current_.pages != 0;
  }

  PageSupply& supply_;
  Extent current_{0, 0};
  Extent freed_{0, 0};
  std::vector<Extent> kept_;
};

}  // namespace glissade
