// The page-state machine: one atomic word per to-space page, all that builders and placers agree through.
//
//   untouched ──claim──► building ──publish──► built ──place──► mapped
//
// | state     | meaning                                          | who may leave it                              |
// | untouched | nobody has claimed the page                      | any thread, by CAS                            |
// | building  | its content is being prepared                    | any of its builders (a waiter may overtake)   |
// | built     | the content is ready in the buffer that it names | any thread: the kernel's EEXIST picks the one |
// | mapped    | in to-space, final until the cycle's end         | nobody; the collector resets after draining   |
//
// A page's content is a pure function of the state before the flip (invariant 1), so building twice is harmless and a
// claim only saves work. The word also counts the builders at work: source pages may be recycled only when every
// builder of every page that reads them has left (invariant 3), and the thread whose leaving makes the count zero in
// state built or mapped is the one that releases them, exactly once.
// test/model/page-protocol.pml models these transitions (test/model/README.md). GLISSADE_PAGE_EDGES lists every one; the
// self-test finds the same list by trying every operation on every word, and runs all but `Fill` with threads.
#pragma once

#include <atomic>

#include "core/units.h"

namespace glissade {

enum class PageState : u32 { Untouched = 0, Building = 1, Built = 2, Mapped = 3 };

/// X(edge, from, to, change of the number of builders)
#define GLISSADE_PAGE_EDGES(X)                \
  X(Claim, Untouched, Building, +1)           \
  X(Overtake, Building, Building, +1)         \
  X(Publish, Building, Built, -1)             \
  X(LeaveBuilt, Built, Built, -1)             \
  X(LeaveMapped, Mapped, Mapped, -1)          \
  X(Place, Built, Mapped, 0)                  \
  X(Fill, Untouched, Mapped, 0)               \
  X(Reset, Mapped, Untouched, 0)

struct PageWord {
  u32 bits = 0;

  static constexpr u32 kBuilderOne = 1u << 2;
  static constexpr u32 kBuilderMask = 63u << 2;
  static constexpr u32 kBufferShift = 8;

  PageState state() const { return static_cast<PageState>(bits & 3); }
  u32 builders() const { return (bits & kBuilderMask) >> 2; }
  u32 buffer() const { return bits >> kBufferShift; }
};

class AtomicPageWord {
 public:
  /// acquire: pairs with the release of publish, so that whoever sees `built` sees the buffer's content.
  PageWord load() const { return {word_.load(std::memory_order_acquire)}; }

  /// untouched → building. seq_cst CAS: also orders the claim after the handler's entry into the in-flight counter.
  bool claim() {
    u32 expected = 0;
    return word_.compare_exchange_strong(expected, 1u | PageWord::kBuilderOne);
  }

  /// A waiter joins the builders. False: the page is no longer being built.
  bool overtake() {
    u32 seen = word_.load(std::memory_order_acquire);
    while (PageWord{seen}.state() == PageState::Building && PageWord{seen}.builders() < 63) {
      if (word_.compare_exchange_weak(seen, seen + PageWord::kBuilderOne)) return true;
    }
    return false;
  }

  struct Left {
    bool published;  // this builder's buffer became the page's
    bool last;       // nobody builds this page any more: release its sources
    u32 buffer;      // the page's buffer, whoever built it
  };

  /// building → built for the first builder to finish; the others only leave. acq_rel: releases the buffer's content,
  /// acquires (for the last to leave) the end of the other builders' reads of the sources.
  Left publish(u32 buffer) {
    u32 seen = word_.load(std::memory_order_acquire);
    for (;;) {
      const PageWord word{seen};
      u32 next = seen - PageWord::kBuilderOne;
      const bool first = word.state() == PageState::Building;
      if (first) next = (next & PageWord::kBuilderMask) | static_cast<u32>(PageState::Built) | buffer << PageWord::kBufferShift;
      if (word_.compare_exchange_weak(seen, next, std::memory_order_acq_rel, std::memory_order_acquire)) {
        return {first, PageWord{next}.builders() == 0, PageWord{next}.buffer()};
      }
    }
  }

  /// built → mapped. True: this call did it (in COPY mode the caller then owns the buffer); `alone` then tells whether
  /// nobody was building the page any more.
  bool set_mapped(bool& alone) {
    u32 seen = word_.load(std::memory_order_acquire);
    while (PageWord{seen}.state() == PageState::Built) {
      if (word_.compare_exchange_weak(seen, seen | static_cast<u32>(PageState::Mapped))) {
        alone = PageWord{seen}.builders() == 0;
        return true;
      }
    }
    return false;
  }

  /// Untouched → mapped, for pages that are filled and never built (a TLAB granted during a compaction).
  void set_filled() { word_.store(static_cast<u32>(PageState::Mapped), std::memory_order_release); }

 private:
  std::atomic<u32> word_{0};
};
static_assert(sizeof(AtomicPageWord) == 4);

}  // namespace glissade
