// The page barrier: all that the collector asks of the memory management unit. Arm a range, and a thread that touches a
// page of it that is not there stops at that very instruction; place the page, and the thread goes on and finds it; disarm.
//
//   open ──► arm ──► move | copy | zero, from any thread ──► disarm ──► arm … ──► close
//
// What stands behind it has to keep this contract, and the collector relies on nothing else:
// - arm      the range is private memory without pages, and nobody touches it meanwhile (invariant 5). From then on a touch
//            of a missing page is a call of Compaction::serve(offset), on the touching thread (`Faults::Sigbus`) or on one of
//            the barrier's (`Faults::Thread`); when that returns the touch is repeated, and served again if need be. An
//            error: nothing is armed.
// - place    a thread sees a page whole or not at all, and a page that is there is never replaced: of many that place one
//            page, one does and the others hear `Present`. Runs are placed in order and may stop anywhere.
// - disarm   when it returns, pages that are there stay, missing ones read as zeros, and touches are nobody's business.
//            It cannot be refused for long (see `reopen`). Who places meanwhile hears `Disarmed`.
// The system call's errno is kept in every answer and counted by operation, but only this file decides what it means:
//
// | answer    | move                                    | copy                  | zero                  | is                           |
// | Placed    | done                                    | done                  | done                  | all pages are there          |
// | Again     | EAGAIN, or a part is done               | the same              | the same              | go on behind `pages`         |
// | Present   | EEXIST                                  | EEXIST                | EEXIST                | the first page is there      |
// | Disarmed  | any but the above, once disarm began    | the same              | the same              | there is nothing to place    |
// | Unmovable | EBUSY EINVAL ENOENT ENOMEM EFAULT, any  |                       |                       | its content can be copied    |
// | NoMemory  |                                         | ENOMEM                | ENOMEM                | later, or somewhere else     |
// | Refused   |                                         | any other             | any other             | cannot be, of an armed range |
//
// After `Present` a *moved* source is unknown: Linux 6.18 may answer EEXIST to a thread's own success, so it is neither read
// nor used again in this cycle. After `Present` to a copy the source is as it was.
//
// userfaultfd is the one barrier there is: registration is arming, UFFDIO_MOVE, COPY and ZEROPAGE are placing.
// open: who makes the heap; close: who closes it; arm and disarm: the collector thread, or whoever runs a pause. Placing: any thread and
// any signal handler (invariant 10). Nothing here is virtual: another barrier would be another class of this shape.
#pragma once

#include <pthread.h>

#include <atomic>

#include "core/kernel/userfaultfd.h"
#include "core/units.h"

namespace glissade {

class Heap;

/// Who serves the touch of a missing page: a signal handler on the thread itself, or a thread of the barrier.
enum class Faults : u8 { Sigbus, Thread };

class PageBarrier {
 public:
  enum class Answer : u8 { Placed, Again, Present, Unmovable, NoMemory, Disarmed, Refused };
  struct Placing {
    u32 pages;  // that are there now by this call; a lower bound after `Present`
    Answer answer;
    int error;
  };

  explicit PageBarrier(Heap& heap) : heap_(heap) {}
  PageBarrier(const PageBarrier&) = delete;
  PageBarrier& operator=(const PageBarrier&) = delete;

  /// Null, or what could not be had, with its errno.
  const char* open(Faults faults, int& error);
  /// Ends everything, an armed range included.
  void close();
  /// Closes and opens: whatever was armed is not any more. What was lost (descriptors, permission) is asked for again when
  /// the barrier is armed the next time.
  void reopen();

  /// 0 or errno.
  int arm(u8* begin, std::size_t bytes);
  /// False: the system would not let go of the range, and goes on serving faults. `reopen` ends that, when nobody is at work
  /// in the range any more.
  bool disarm();

  Placing move(u8* to, const u8* from, u32 pages) { return answer(Op::Move, uffd_.move(to, from, bytes(pages))); }
  Placing copy(u8* to, const u8* from, u32 pages) { return answer(Op::Copy, uffd_.copy(to, from, bytes(pages))); }
  Placing zero(u8* to, u32 pages) { return answer(Op::Zeropage, uffd_.zeropage(to, bytes(pages))); }

  using Op = Userfaultfd::Op;
  /// What the system has answered so far, by operation and Userfaultfd::error_name(kind).
  u64 errors(Op op, int kind) const { return uffd_.errors(op, kind); }
  /// An error of an operation that belongs in the same table and is done elsewhere (mremap).
  void record(Op op, int error) { uffd_.record(op, error); }

 private:
  static std::size_t bytes(u32 pages) { return std::size_t{pages} << kPageShift; }

  Placing answer(Op op, const UffdResult& result) const {
    const u32 pages = static_cast<u32>(result.done >> kPageShift);
    if (result.ok()) return {pages, Answer::Placed, 0};
    if (pages > 0 || result.error == EAGAIN) return {pages, Answer::Again, result.error};
    if (result.error == EEXIST) return {0, Answer::Present, EEXIST};
    // seq_cst, and set before the range is let go of: a refusal that comes from that finds it cleared.
    if (!armed_.load(std::memory_order_seq_cst)) return {0, Answer::Disarmed, result.error};
    if (op == Op::Move) return {0, Answer::Unmovable, result.error};
    return {0, result.error == ENOMEM ? Answer::NoMemory : Answer::Refused, result.error};
  }

  const char* open_descriptor(int& error);
  void close_descriptor();
  static void* serve_entry(void* barrier);
  void serve_faults();

  static constexpr int kDisarmAttempts = 16;

  Heap& heap_;
  Userfaultfd uffd_;
  Faults faults_ = Faults::Sigbus;
  bool handler_added_ = false;
  std::atomic<bool> armed_{false};
  u8* begin_ = nullptr;
  std::size_t bytes_ = 0;
  pthread_t thread_{};
  bool thread_running_ = false;
  int stop_pipe_[2] = {-1, -1};
};

}  // namespace glissade
