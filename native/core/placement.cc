// Placing pages: the reactions of placement.h's table.
#include "placement.h"

#include <time.h>

#include <cerrno>

#include "heap.h"

namespace glissade {
namespace {

void wait_a_little() {
  const timespec pause{0, 20'000};
  nanosleep(&pause, nullptr);
}

}  // namespace

bool Placement::settle(u32 page, bool& alone) { return heap_.page_words[page].set_mapped(alone); }

bool Placement::is_source(u32 page, u32 buffer) const { return heap_.builder.source_page(page) == buffer; }

Placement::Run Placement::ready_run(u32 page, u32 most) const {
  const PageWord word = heap_.page_words[page].load();
  Run run{page, word.buffer(), 1};
  if (run.buffer == kZeroBuffer) return run;
  auto built = [&](u32 p, u32 buffer) {
    const PageWord w = heap_.page_words[p].load();
    return w.state() == PageState::Built && w.buffer() == buffer;
  };
  const u32 pages = heap_.geometry().flipped_pages();
  while (run.pages < most && run.page + run.pages < pages && built(run.page + run.pages, run.buffer + run.pages)) run.pages++;
  while (run.pages < most && run.page > 0 && run.buffer > 0 && built(run.page - 1, run.buffer - 1)) {
    run.page--;
    run.buffer--;
    run.pages++;
  }
  return run;
}

Placement::Outcome Placement::zero_one(u32 page) {
  for (;;) {
    const UffdResult result = heap_.uffd.zeropage(heap_.space.to_page({page}), kPageSize);
    if (result.ok()) {
      Statistics::add(heap_.statistics.pagesZeroFilled);
      return {1, false};
    }
    // EEXIST: mapped already. ENOENT, EINVAL: no longer registered, the touch will be an ordinary zero-fill.
    if (result.error != EAGAIN && result.error != ENOMEM) {
      if (result.error == EEXIST) heap_.uffd.wake(heap_.space.to_page({page}), kPageSize);
      return {1, false};
    }
    Statistics::add(heap_.statistics.pagesRetried);
    wait_a_little();
  }
}

Placement::Outcome Placement::copy_one(u32 page, u32 buffer) {
  for (;;) {
    const UffdResult result = heap_.uffd.copy(heap_.space.to_page({page}), heap_.space.buffer(buffer), kPageSize);
    if (result.ok()) {
      Statistics::add(heap_.statistics.pagesCopied);
      return {1, true};
    }
    if (result.error != EAGAIN && result.error != ENOMEM) {
      if (result.error == EEXIST) {
        Statistics::add(heap_.statistics.pagesExisting);
        heap_.uffd.wake(heap_.space.to_page({page}), kPageSize);
      }
      return {1, true};
    }
    Statistics::add(heap_.statistics.pagesRetried);
    wait_a_little();
  }
}

Placement::Outcome Placement::attempt(u32 page, u32 buffer, u32 pages) {
  if (buffer == kZeroBuffer) return zero_one(page);
  const bool kept = is_source(page, buffer);
  u8* destination = heap_.space.to_page({page});
  const u8* source = heap_.space.buffer(buffer);
  const std::size_t bytes = std::size_t{pages} << kPageShift;
  const bool copying = heap_.copying;
  Statistics::add(heap_.statistics.moveCalls);
  const UffdResult result = copying ? heap_.uffd.copy(destination, source, bytes) : heap_.uffd.move(destination, source, bytes);
  const u32 done = static_cast<u32>(result.done >> kPageShift);
  if (done > 0) {
    if (copying) {
      Statistics::add(heap_.statistics.pagesCopied, done);
    } else {
      Statistics::add(heap_.statistics.pagesMoved, done);
      if (kept) Statistics::add(heap_.statistics.pagesKept, done);
    }
    return {done, copying};
  }
  switch (result.error) {
    case EEXIST:
      Statistics::add(heap_.statistics.pagesExisting);
      heap_.uffd.wake(destination, kPageSize);
      // A copied-from buffer is still whole; a moved-from one is unknown and is left alone.
      return {1, copying};
    case ENOENT:
      // COPY: no longer registered. MOVE: a hole at the source.
      return copying ? Outcome{1, true} : zero_one(page);
    case EINVAL:
      // Two VMAs that do not match (mlock of one), or no longer registered: COPY needs no match and tells them apart.
      return copying ? Outcome{1, true} : copy_one(page, buffer);
    case EBUSY:
      Statistics::add(heap_.statistics.pagesBusy);
      if (heap_.relocation == Relocation::Move) heap_.note_relocation_error(EBUSY, page);
      return copy_one(page, buffer);
    case ENOMEM:
      Statistics::add(heap_.statistics.pagesRetried);
      if (!copying) return copy_one(page, buffer);
      wait_a_little();
      return {0, false};
    case EFAULT:
      // COPY from a source that was never touched reads as a fault inside the kernel only for userfault ranges;
      // from-space is none. A MOVE of an entry that is neither a page nor swap: the kernel cannot, a copy can.
      if (!copying) return copy_one(page, buffer);
      return zero_one(page);
    default:
      Statistics::add(heap_.statistics.pagesRetried);
      if (result.error != EAGAIN) return copying ? Outcome{1, true} : copy_one(page, buffer);
      cpu_pause();
      return {0, false};
  }
}

}  // namespace glissade
