// Which pages of a range have been written since the last time somebody asked: the MMU as a summary of the card table.
//
// A remark that looked through all cards would grow with the heap (160 µs at 1 GiB, decision 002). Instead the pages of the card
// table are write-protected asynchronously (UFFD_FEATURE_WP_ASYNC, Linux 6.7): the kernel lifts the protection at the first
// write by itself, and one PAGEMAP_SCAN tells and re-protects the written ones. A card page covers 4 MiB of heap, so a
// cycle costs the mutators at most 256 such first writes (1.2 µs each) per GiB and round. Where the kernel cannot do it,
// `take` reports the whole range, and remark is as long as the table.
//
// Order: a page is protected again, with its TLB entries flushed, before `take` returns; a card stored later makes the page
// written again. So a caller that takes the ranges first and reads the cards second misses nothing.
// Called by one thread at a time: the collector, or whoever runs the remark pause.
#pragma once

#include "core/kernel/userfaultfd.h"
#include "core/units.h"

namespace glissade {

class WriteTracking {
 public:
  ~WriteTracking() { stop(); }

  /// False: not available here; `take` will report everything.
  bool start(void* begin, std::size_t bytes);
  void stop();
  bool active() const { return pagemap_ >= 0; }

  struct Range {
    std::size_t begin, end;  // bytes from the range's start
  };

  /// Calls `visit(Range)` for what has been written since the last call, and begins anew.
  template <typename Visit>
  void take(Visit&& visit) {
    if (!active()) return visit(Range{0, bytes_});
    std::size_t at = 0;
    Range found[kRanges];
    while (at < bytes_) {
      const u32 count = scan(at, found);
      for (u32 i = 0; i < count; i++) visit(found[i]);
    }
  }

 private:
  static constexpr u32 kRanges = 64;
  /// Scans from `at`, moves it to where the scan ended.
  u32 scan(std::size_t& at, Range* found);

  Userfaultfd uffd_;
  u8* begin_ = nullptr;
  std::size_t bytes_ = 0;
  int pagemap_ = -1;
};

}  // namespace glissade
