// userfaultfd as the page barrier; page-barrier.h has the contract. The SIGBUS side of fault delivery is fault-handler.cc.
#include "core/barrier/page-barrier.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>

#include "core/barrier/fault-handler.h"
#include "core/heap.h"

namespace glissade {

const char* PageBarrier::open(Faults faults, int& error) {
  faults_ = faults;
  if (const char* failed = open_descriptor(error)) return failed;
  if (faults_ == Faults::Sigbus) {
    handler_added_ = fault_handler::add(&heap_, heap_.space.flipped(), heap_.geometry().flipped_bytes);
    if (!handler_added_) {
      error = EBUSY;
      close();
      return "installing the SIGBUS handler";
    }
  }
  return nullptr;
}

void PageBarrier::close() {
  close_descriptor();
  if (handler_added_) fault_handler::deactivate(&heap_);
  handler_added_ = false;
}

void PageBarrier::reopen() {
  close_descriptor();
  int error;
  open_descriptor(error);
}

const char* PageBarrier::open_descriptor(int& error) {
  error = uffd_.open(faults_ == Faults::Sigbus ? uffd::kFeatureSigbus : 0);
  if (error != 0) return "opening a userfaultfd";
  if (faults_ == Faults::Sigbus) return nullptr;
  if (pipe2(stop_pipe_, O_CLOEXEC) == 0) {
    error = pthread_create(&thread_, nullptr, serve_entry, this);
    thread_running_ = error == 0;
    if (thread_running_) return nullptr;
    ::close(stop_pipe_[0]);
    ::close(stop_pipe_[1]);
  } else {
    error = errno;
  }
  uffd_.close();
  return "starting the fault thread";
}

void PageBarrier::close_descriptor() {
  armed_.store(false, std::memory_order_seq_cst);
  if (thread_running_) {
    const char stop = 0;
    while (write(stop_pipe_[1], &stop, 1) < 0 && errno == EINTR) {
    }
    pthread_join(thread_, nullptr);
    ::close(stop_pipe_[0]);
    ::close(stop_pipe_[1]);
    thread_running_ = false;
  }
  // Threads that wait for a page are woken by this, and touch an ordinary range again.
  uffd_.close();
}

int PageBarrier::arm(u8* begin, std::size_t bytes) {
  if (!uffd_.is_open()) {
    int error = 0;
    if (open_descriptor(error) != nullptr) return error;
  }
  const UffdResult result = uffd_.register_missing(begin, bytes);
  if (!result.ok()) return result.error;
  begin_ = begin;
  bytes_ = bytes;
  armed_.store(true, std::memory_order_seq_cst);
  return 0;
}

bool PageBarrier::disarm() {
  armed_.store(false, std::memory_order_seq_cst);
  for (int attempt = 0; attempt < kDisarmAttempts; attempt++) {
    if (uffd_.unregister(begin_, bytes_).ok()) return true;
    sched_yield();
  }
  return false;
}

void* PageBarrier::serve_entry(void* barrier) {
  block_asynchronous_signals();
  static_cast<PageBarrier*>(barrier)->serve_faults();
  return nullptr;
}

void PageBarrier::serve_faults() {
  const auto begin = reinterpret_cast<std::uintptr_t>(heap_.space.flipped());
  pollfd wait[2] = {{uffd_.fd(), POLLIN, 0}, {stop_pipe_[0], POLLIN, 0}};
  for (;;) {
    if (::poll(wait, 2, -1) < 0) {
      // Nobody else would serve the faults: without memory the next try may have some.
      if (errno != EINTR) sched_yield();
      continue;
    }
    if (wait[1].revents) return;
    UffdFault fault;
    while (uffd_.read_fault(&fault) == 0) {
      heap_.compaction.serve(fault.address - begin);
      // Mapped by somebody before this message was read: placing woke nobody.
      uffd_.wake(reinterpret_cast<void*>(fault.address), kPageSize);
    }
  }
}

}  // namespace glissade
