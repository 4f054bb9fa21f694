// The SIGBUS handler and the fault thread; fault-handler.h has the rules.
#include "fault-handler.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <mutex>

#include "heap.h"

namespace glissade {
namespace fault_handler {
namespace {

constexpr u32 kMaxHeaps = 256;

struct Entry {
  std::atomic<std::uintptr_t> begin{0};
  std::atomic<std::uintptr_t> end{0};  // 0: free
  std::atomic<Heap*> heap{nullptr};
  std::atomic<u32> inside{0};          // handlers between looking this entry up and leaving it
};

Entry table[kMaxHeaps];
struct sigaction previous;
std::mutex table_mutex;
bool handler_installed = false;

void handle(int signal_number, siginfo_t* info, void* context);

bool install() {
  struct sigaction action {};
  action.sa_sigaction = handle;
  sigfillset(&action.sa_mask);
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  struct sigaction old;
  if (sigaction(SIGBUS, &action, &old) != 0) return false;
  if (!((old.sa_flags & SA_SIGINFO) && old.sa_sigaction == handle)) previous = old;
  handler_installed = true;
  return true;
}

/// Set while this thread is in a chained handler: one that chains back to us must not go round in circles.
thread_local bool chaining = false;

void default_action(const siginfo_t* info) {
  // Returning re-executes the access, which kills the process with the right signal.
  struct sigaction fallback {};
  fallback.sa_handler = SIG_DFL;
  sigaction(SIGBUS, &fallback, nullptr);
  if (info->si_code <= 0) raise(SIGBUS);
}

/// Somebody else's bus error: as if we were not here.
void chain(int signal_number, siginfo_t* info, void* context) {
  if (chaining) return default_action(info);
  if (previous.sa_flags & SA_SIGINFO ? previous.sa_sigaction == nullptr : previous.sa_handler == SIG_DFL) return default_action(info);
  if (!(previous.sa_flags & SA_SIGINFO) && previous.sa_handler == SIG_IGN) {
    // A real fault cannot be ignored; a signal that somebody sent can.
    if (info->si_code > 0) default_action(info);
    return;
  }
  chaining = true;
  if (previous.sa_flags & SA_SIGINFO) previous.sa_sigaction(signal_number, info, context);
  else previous.sa_handler(signal_number);
  chaining = false;
}

void handle(int signal_number, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  if (info->si_code == BUS_ADRERR) {
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    for (Entry& entry : table) {
      const std::uintptr_t begin = entry.begin.load(std::memory_order_acquire);
      if (address < begin || address >= entry.end.load(std::memory_order_acquire)) continue;
      entry.inside.fetch_add(1, std::memory_order_seq_cst);
      Heap* heap = entry.heap.load(std::memory_order_seq_cst);
      const auto offset = heap ? address - reinterpret_cast<std::uintptr_t>(heap->space.flipped()) : 0;
      // The range again, by the heap itself: the entry may have changed hands between the loads.
      if (heap && offset < heap->geometry().flipped_bytes) {
        const u64 entered = now_ns();
        injection::delay(injection::Delay::Fault);
        Compaction& compaction = heap->compaction;
        compaction.in_flight.fetch_add(1, std::memory_order_seq_cst);
        // Inactive: a late fault, after the close. The page is there, or will be zero-filled by the access itself.
        if (compaction.active.load(std::memory_order_seq_cst)) {
          Statistics::add(heap->statistics.barrierFaults);
          compaction.resolve(static_cast<u32>(offset >> kPageShift));
          heap->statistics.faultStall_us.record(now_ns() - entered);
        }
        compaction.in_flight.fetch_sub(1, std::memory_order_seq_cst);
      }
      entry.inside.fetch_sub(1, std::memory_order_seq_cst);
      errno = saved_errno;
      return;
    }
  }
  errno = saved_errno;
  chain(signal_number, info, context);
}

}  // namespace

bool add(Heap* heap, u8* begin, std::size_t bytes) {
  std::lock_guard<std::mutex> lock(table_mutex);
  if (!handler_installed && !install()) return false;
  // A closed heap keeps its entry for late faults as long as there is room for others.
  Entry* place = nullptr;
  for (Entry& entry : table) {
    if (entry.end.load(std::memory_order_relaxed) == 0) {
      place = &entry;
      break;
    }
    if (!place && entry.heap.load(std::memory_order_relaxed) == nullptr) place = &entry;
  }
  if (place) {
    Entry& entry = *place;
    entry.end.store(0, std::memory_order_seq_cst);
    entry.heap.store(heap, std::memory_order_seq_cst);
    entry.begin.store(reinterpret_cast<std::uintptr_t>(begin), std::memory_order_release);
    entry.end.store(reinterpret_cast<std::uintptr_t>(begin) + bytes, std::memory_order_release);
    return true;
  }
  return false;
}

void deactivate(Heap* heap) {
  std::lock_guard<std::mutex> lock(table_mutex);
  for (Entry& entry : table) {
    if (entry.heap.load(std::memory_order_relaxed) != heap) continue;
    entry.heap.store(nullptr, std::memory_order_seq_cst);
    while (entry.inside.load(std::memory_order_seq_cst) != 0) cpu_pause();
  }
}

void remove(const u8* begin) {
  std::lock_guard<std::mutex> lock(table_mutex);
  for (Entry& entry : table) {
    if (entry.begin.load(std::memory_order_relaxed) == reinterpret_cast<std::uintptr_t>(begin)) entry.end.store(0, std::memory_order_release);
  }
}

bool installed() {
  struct sigaction now;
  return sigaction(SIGBUS, nullptr, &now) == 0 && (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == handle;
}

void reinstall() {
  std::lock_guard<std::mutex> lock(table_mutex);
  if (!installed()) install();
}

bool blocked_in_this_thread() {
  sigset_t set;
  return pthread_sigmask(SIG_BLOCK, nullptr, &set) == 0 && sigismember(&set, SIGBUS) == 1;
}

}  // namespace fault_handler

void* Heap::fault_thread_entry(void* argument) {
  Heap& heap = *static_cast<Heap*>(argument);
  block_asynchronous_signals();
  pollfd wait[2] = {{heap.uffd.fd(), POLLIN, 0}, {heap.fault_pipe_[0], POLLIN, 0}};
  for (;;) {
    if (::poll(wait, 2, -1) < 0 && errno != EINTR) return nullptr;
    if (wait[1].revents) return nullptr;
    UffdFault fault;
    while (heap.uffd.read_fault(&fault) == 0) {
      const u64 entered = now_ns();
      const auto page = static_cast<u32>((fault.address - reinterpret_cast<std::uintptr_t>(heap.space.flipped())) >> kPageShift);
      heap.compaction.in_flight.fetch_add(1, std::memory_order_seq_cst);
      if (heap.compaction.active.load(std::memory_order_seq_cst)) {
        Statistics::add(heap.statistics.barrierFaults);
        heap.compaction.resolve(page);
        heap.statistics.faultStall_us.record(now_ns() - entered);
      }
      heap.compaction.in_flight.fetch_sub(1, std::memory_order_seq_cst);
      // Mapped by somebody before this message was read: placing woke nobody.
      heap.uffd.wake(heap.space.to_page({page}), kPageSize);
    }
  }
}

void Heap::start_fault_thread() {
  if (pipe(fault_pipe_) != 0) return;
  fault_thread_running_ = pthread_create(&fault_thread_, nullptr, fault_thread_entry, this) == 0;
}

void Heap::stop_fault_thread() {
  if (!fault_thread_running_) return;
  const char stop = 0;
  if (write(fault_pipe_[1], &stop, 1) == 1) pthread_join(fault_thread_, nullptr);
  ::close(fault_pipe_[0]);
  ::close(fault_pipe_[1]);
  fault_thread_running_ = false;
}

}  // namespace glissade
