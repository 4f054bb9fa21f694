// Placing pages: the reactions of placement.h's table.
#include "core/compaction/placement.h"

#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "core/heap.h"

namespace glissade {
namespace {

using Answer = PageBarrier::Answer;

/// 70 ms and more: longer than any cause that passes.
constexpr u32 kInsistences = 1000;

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

const char* Placement::cause(int error) {
  switch (error) {
    case EBUSY: return "the page is shared with a forked process, merged by KSM, or pinned for input and output";
    case EINVAL: return "the page's mapping does not match its destination's: part of the heap was locked or protected";
    case ENOENT: return "the page was taken away from under the heap";
    case ENOMEM: return "the kernel had no memory for page tables";
    default: return "the kernel would not say why";
  }
}

void Placement::insist(u32& attempts, const char* call, u32 page, int error) {
  if (++attempts < kInsistences) return wait_a_little();
  char message[160];
  const int length = std::snprintf(message, sizeof message, "glissade: page %u of a heap cannot be placed: %s answers errno %d\n", page, call, error);
  if (write(STDERR_FILENO, message, static_cast<std::size_t>(length)) < 0) std::abort();
  std::abort();
}

Placement::Outcome Placement::zero_one(u32 page) {
  for (u32 attempts = 0;;) {
    const PageBarrier::Placing placing = heap_.barrier.zero(heap_.space.to_page({page}), 1);
    switch (placing.answer) {
      case Answer::Placed: Statistics::add(heap_.statistics.pagesZeroFilled); return {1, false};
      case Answer::Present:
      case Answer::Disarmed: return {1, false};
      case Answer::Refused: insist(attempts, "UFFDIO_ZEROPAGE", page, placing.error); break;
      default: wait_a_little();
    }
    Statistics::add(heap_.statistics.pagesRetried);
  }
}

Placement::Outcome Placement::copy_one(u32 page, u32 buffer, int refused) {
  for (u32 attempts = 0;;) {
    const PageBarrier::Placing placing = heap_.barrier.copy(heap_.space.to_page({page}), heap_.space.buffer(buffer), 1);
    switch (placing.answer) {
      case Answer::Placed:
        Statistics::add(heap_.statistics.pagesCopied);
        // Only now: a move that another thread's move of the same page has overtaken is refused, too (ENOENT).
        if (refused && heap_.relocation == Relocation::Move) heap_.note_relocation_error(refused, page);
        return {1, true};
      case Answer::Present: Statistics::add(heap_.statistics.pagesExisting); return {1, true};
      case Answer::Disarmed: return {1, true};
      case Answer::Refused:
        // Somebody else has placed the page, and its source is out of reach by now (protection.h).
        if (heap_.page_words[page].load().state() == PageState::Mapped) return {1, true};
        insist(attempts, "UFFDIO_COPY", page, placing.error);
        break;
      default: wait_a_little();
    }
    Statistics::add(heap_.statistics.pagesRetried);
  }
}

Placement::Outcome Placement::attempt(u32 page, u32 buffer, u32 pages) {
  if (heap_.stepping) heap_.steps.hold(HoldPoint::Placing, page, pages);
  const Outcome outcome = answer(page, buffer, pages);
  if (heap_.stepping) heap_.steps.hold(HoldPoint::Placed, page, pages);
  return outcome;
}

Placement::Outcome Placement::answer(u32 page, u32 buffer, u32 pages) {
  if (buffer == kZeroBuffer) return zero_one(page);
  u8* to = heap_.space.to_page({page});
  const u8* from = heap_.space.buffer(buffer);
  const bool copying = heap_.copying;
  Statistics::add(heap_.statistics.moveCalls);
  const PageBarrier::Placing placing = copying ? heap_.barrier.copy(to, from, pages) : heap_.barrier.move(to, from, pages);
  if (placing.pages > 0) {
    Statistics::add(copying ? heap_.statistics.pagesCopied : heap_.statistics.pagesMoved, placing.pages);
    if (!copying && is_source(page, buffer)) Statistics::add(heap_.statistics.pagesKept, placing.pages);
    return {placing.pages, copying};
  }
  switch (placing.answer) {
    case Answer::Present:
      Statistics::add(heap_.statistics.pagesExisting);
      // A copied-from buffer is still whole; a moved-from one is unknown and is left alone.
      return {1, copying};
    case Answer::Disarmed: return {1, copying};
    case Answer::Unmovable:
      if (placing.error == EBUSY) Statistics::add(heap_.statistics.pagesBusy);
      // A page that the program has never touched (the inside of an array) has no source. That refuses nothing: zeros are copied.
      return copy_one(page, buffer, placing.error == ENOENT && is_source(page, buffer) ? 0 : placing.error);
    case Answer::Refused: return copy_one(page, buffer, 0);
    case Answer::NoMemory: wait_a_little(); break;
    default: cpu_pause();
  }
  Statistics::add(heap_.statistics.pagesRetried);
  return {0, false};
}

}  // namespace glissade
