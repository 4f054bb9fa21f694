// Putting built pages under the mutator's addresses, and what to do with everything the kernel may answer.
//
// Pages are placed in runs: consecutive to-space pages whose contents lie in consecutive buffers are one UFFDIO_MOVE
// (about 1.4 µs for a page alone, under 0.1 µs each in runs of 64). Placing needs no claim: any thread that sees `built`
// may place, the kernel maps one and tells the others EEXIST. After EEXIST the source is *unknown* (Linux 6.18 may say
// EEXIST of a thread's own success), so it is never read or reused again in this cycle.
//
// | answer                     | reaction                                                                        |
// | done > 0                   | those pages are mapped; go on from there                                        |
// | EEXIST                     | the first page is mapped; go on one page later                                  |
// | ENOENT (MOVE: source hole) | somebody moved it meanwhile, or the source was never touched: ZEROPAGE, which   |
// |                            | never replaces a page that is there                                             |
// | EBUSY                      | shared with a fork, merged or pinned: COPY that page (an error under 'move')    |
// | EAGAIN, ENOMEM             | again, the content stays built                                                  |
// | EINVAL (MOVE)              | VMAs that do not match, or no longer registered: COPY, which needs no match     |
// | ENOENT (COPY)              | no longer registered: the cycle is closing and somebody else finished           |
// Async-signal-safe.
#pragma once

#include "units.h"

namespace glissade {

class Heap;

/// How pages are placed. Strict: a page that cannot be moved is an error for the caller of the collection.
enum class Relocation : u8 { Auto, Move, Copy };

class Placement {
 public:
  explicit Placement(Heap& heap) : heap_(heap) {}

  static constexpr u32 kZeroBuffer = (1u << 24) - 1;

  /// Places `pages` consecutive built pages from consecutive buffers. `recycle(buffer)` gets each buffer whose content
  /// was copied and that this call is the one to own.
  template <typename Recycle>
  void place(u32 page, u32 buffer, u32 pages, Recycle&& recycle) {
    for (u32 done = 0; done < pages;) done += step(page + done, buffer == kZeroBuffer ? buffer : buffer + done, pages - done, recycle);
  }

  /// The run of built pages around `page`, at most `most` long.
  struct Run {
    u32 page, buffer, pages;
  };
  Run ready_run(u32 page, u32 most) const;

 private:
  struct Outcome {
    u32 pages;    // settled
    bool copied;  // by COPY: the buffers still hold their pages
  };
  Outcome attempt(u32 page, u32 buffer, u32 pages);
  Outcome copy_one(u32 page, u32 buffer);
  Outcome zero_one(u32 page);
  bool settle(u32 page, bool& alone);
  bool is_source(u32 page, u32 buffer) const;

  template <typename Recycle>
  u32 step(u32 page, u32 buffer, u32 pages, Recycle&& recycle) {
    const Outcome outcome = attempt(page, buffer, pages);
    for (u32 i = 0; i < outcome.pages; i++) {
      bool alone = false;
      if (!settle(page + i, alone) || !outcome.copied) continue;
      // A kept page is its own source: with a late builder still reading it, it stays out of stock until the close.
      if (alone || !is_source(page + i, buffer + i)) recycle(buffer + i);
    }
    return outcome.pages;
  }

  Heap& heap_;
};

}  // namespace glissade
