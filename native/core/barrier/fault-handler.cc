// The SIGBUS handler; fault-handler.h has the rules.
#include "core/barrier/fault-handler.h"

#include <errno.h>
#include <signal.h>

#include <mutex>

#include "core/heap.h"

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

/// Bus errors that are being handed on, so that a handler that hands them back to us does not go round in circles: the
/// signal's own siginfo, and how deep the stack was. Not thread_local, whose first touch may allocate (this library is loaded
/// late); and not a flag, which a handler that leaves by longjmp would leave behind. A signal's siginfo may lie where that
/// of an abandoned one lay, but then it is not deeper in the stack.
struct Chained {
  std::atomic<const siginfo_t*> info{nullptr};
  std::atomic<std::uintptr_t> depth{0};
};
constexpr u32 kMostChained = 64;
Chained chained[kMostChained];
std::atomic<u32> next_chained{0};

bool comes_back(const siginfo_t* info, std::uintptr_t depth) {
  for (const Chained& entry : chained) {
    if (entry.info.load(std::memory_order_relaxed) == info && depth < entry.depth.load(std::memory_order_relaxed)) return true;
  }
  return false;
}

void default_action(const siginfo_t* info) {
  // Returning re-executes the access, which kills the process with the right signal.
  struct sigaction fallback {};
  fallback.sa_handler = SIG_DFL;
  sigaction(SIGBUS, &fallback, nullptr);
  if (info->si_code <= 0) raise(SIGBUS);
}

/// Somebody else's bus error: as if we were not here.
void chain(int signal_number, siginfo_t* info, void* context) {
  const auto depth = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  if (comes_back(info, depth)) return default_action(info);
  if (previous.sa_flags & SA_SIGINFO ? previous.sa_sigaction == nullptr : previous.sa_handler == SIG_DFL) return default_action(info);
  if (!(previous.sa_flags & SA_SIGINFO) && previous.sa_handler == SIG_IGN) {
    // A real fault cannot be ignored; a signal that somebody sent can.
    if (info->si_code > 0) default_action(info);
    return;
  }
  Chained& entry = chained[next_chained.fetch_add(1, std::memory_order_relaxed) % kMostChained];
  entry.depth.store(depth, std::memory_order_relaxed);
  entry.info.store(info, std::memory_order_relaxed);
  if (previous.sa_flags & SA_SIGINFO) previous.sa_sigaction(signal_number, info, context);
  else previous.sa_handler(signal_number);
  entry.info.store(nullptr, std::memory_order_relaxed);
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
        heap->compaction.serve(offset);
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
  bool last = true;
  for (Entry& entry : table) {
    if (entry.begin.load(std::memory_order_relaxed) == reinterpret_cast<std::uintptr_t>(begin)) entry.end.store(0, std::memory_order_release);
    if (entry.end.load(std::memory_order_relaxed) != 0) last = false;
  }
  // Unless somebody has put a handler over ours, which may hand on to it.
  if (last && handler_installed && installed()) {
    sigaction(SIGBUS, &previous, nullptr);
    handler_installed = false;
  }
}

bool installed() {
  struct sigaction now;
  return sigaction(SIGBUS, nullptr, &now) == 0 && (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == handle;
}

void reinstall() {
  std::lock_guard<std::mutex> lock(table_mutex);
  if (handler_installed && !installed()) install();
}

bool blocked_in_this_thread() {
  sigset_t set;
  return pthread_sigmask(SIG_BLOCK, nullptr, &set) == 0 && sigismember(&set, SIGBUS) == 1;
}

}  // namespace fault_handler

}  // namespace glissade
