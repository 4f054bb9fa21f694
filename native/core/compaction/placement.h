// Putting built pages under the mutator's addresses, and what to do with everything the kernel may answer.
//
// Pages are placed in runs: consecutive to-space pages whose contents lie in consecutive buffers are one UFFDIO_MOVE
// (about 1.4 µs for a page alone, under 0.1 µs each in runs of 64). Placing needs no claim: any thread that sees `built`
// may place, the kernel maps one and tells the others EEXIST. After EEXIST the source is *unknown* (Linux 6.18 may say
// EEXIST of a thread's own success), so it is never read or reused again in this cycle.
//
// | answer (page-barrier.h) | reaction                                                                          |
// | pages > 0               | those are mapped; go on from there                                                |
// | Again, NoMemory         | again; the content stays built                                                    |
// | Present                 | the first page is mapped; go on one page later                                    |
// | Unmovable               | copy that page, and note it as an error under `relocation: 'move'`. Right whatever |
// |                         | the cause: shared, pinned, VMAs that do not match; a hole reads as the zeros it is, |
// |                         | and if it is one because somebody has just moved it, the copy hears `Present`      |
// | Disarmed                | the cycle is closing, so somebody else has placed it, or it is without content     |
// | Refused                 | again, for as long as a passing cause may last; then nothing can be right any more: |
// |                         | the content can reach no mutator, and the process ends with a message              |
// Async-signal-safe.
#pragma once

#include "core/units.h"

namespace glissade {

class Heap;

/// How pages are placed. Strict: a page that cannot be moved is an error for the caller of the collection.
enum class Relocation : u8 { Auto, Move, Copy };

class Placement {
 public:
  explicit Placement(Heap& heap) : heap_(heap) {}

  /// Why a page could not be moved, for people.
  static const char* cause(int error);

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
  Outcome answer(u32 page, u32 buffer, u32 pages);
  /// `refused`: the errno for which the page was not moved.
  Outcome copy_one(u32 page, u32 buffer, int refused);
  Outcome zero_one(u32 page);
  static void insist(u32& attempts, const char* call, u32 page, int error);
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
