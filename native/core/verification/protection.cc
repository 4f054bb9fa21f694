// The page-protect mode: which pages belong to the heap, its reports, and the SIGSEGV handler that watches from-space.
#include "core/verification/protection.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "core/heap.h"

namespace glissade::protection {
namespace {

constexpr u32 kMostHeaps = 64;

// Static, without destructors: a fault may come after process.exit has begun.
std::atomic<Heap*> watched[kMostHeaps];
std::mutex watch_mutex;
bool installed = false;
struct sigaction previous;

[[noreturn]] void die(const char* text, int length) {
  if (write(STDERR_FILENO, text, static_cast<std::size_t>(length)) < 0) abort();
  abort();
}

u32 cycles_completed(const Heap& heap) { return static_cast<u32>(layout::load_word(heap.space.control()[layout::kCyclesWord])); }

void handle(int signal_number, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  for (const std::atomic<Heap*>& entry : watched) {
    const Heap* heap = entry.load(std::memory_order_acquire);
    if (!heap || info->si_code <= 0) continue;
    const u8* from = heap->space.from_space();
    if (!from) continue;  // the system refused a new range for it (address-space.cc)
    const std::uintptr_t offset = address - reinterpret_cast<std::uintptr_t>(from);
    if (offset >= heap->geometry().flipped_bytes) continue;
    char text[300];
    die(text, std::snprintf(text, sizeof text,
                            "glissade: from-space was touched at page %u (address %p), which was released: the collector broke its invariant 3\n"
                            "  %u collections are complete. Please report it\n",
                            static_cast<u32>(offset >> kPageShift), info->si_addr, cycles_completed(*heap)));
  }
  if (previous.sa_flags & SA_SIGINFO && previous.sa_sigaction) return previous.sa_sigaction(signal_number, info, context);
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) return previous.sa_handler(signal_number);
  // Returning repeats the access, which ends the process with the right signal.
  sigaction(SIGSEGV, &previous, nullptr);
  if (info->si_code <= 0) raise(SIGSEGV);
}

}  // namespace

bool watch(Heap* heap) {
  std::lock_guard<std::mutex> lock(watch_mutex);
  if (!installed) {
    struct sigaction action {};
    action.sa_sigaction = handle;
    sigfillset(&action.sa_mask);
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    if (sigaction(SIGSEGV, &action, &previous) != 0) return false;
    installed = true;
  }
  for (std::atomic<Heap*>& entry : watched) {
    Heap* none = nullptr;
    if (entry.compare_exchange_strong(none, heap)) return true;
  }
  return false;
}

void unwatch(Heap* heap) {
  for (std::atomic<Heap*>& entry : watched) {
    Heap* expected = heap;
    entry.compare_exchange_strong(expected, nullptr);
  }
}

void report_stale(const Heap& heap, std::size_t offset, u32 freed_in) {
  char freed[80];
  if (freed_in == 0) std::snprintf(freed, sizeof freed, "No object has been there");
  else if (freed_in > cycles_completed(heap)) std::snprintf(freed, sizeof freed, "Collection %u, which is under way, freed the page", freed_in);
  else std::snprintf(freed, sizeof freed, "Collection %u freed the page", freed_in);
  char text[800];
  die(text, std::snprintf(text, sizeof text,
                          "glissade: stale reference: word %llu of m.i32 (page %u of the moving space, address %p) was touched, and nothing is there\n"
                          "  %s; %u collections are complete.\n"
                          "  A Ref dies at the next safepoint: an allocation, a poll, the end of run. Across one keep references in a root area,\n"
                          "  a handle or the heap, and read them again. With `checked: true` the same mistake is an exception at its place.\n"
                          "  Or a reference to it was stored without the write barrier, and the collector took the object for garbage.\n",
                          static_cast<unsigned long long>(heap.base_word + offset / 4), static_cast<u32>(offset >> kPageShift),
                          static_cast<const void*>(heap.space.flipped() + offset), freed, cycles_completed(heap)));
}

}  // namespace glissade::protection

namespace glissade {

void Compaction::note_freed(u32 first, u32 end) {
  if (!heap_.options.protect) return;
  const u32 cycle = static_cast<u32>(layout::load_word(heap_.space.control()[layout::kCyclesWord])) + 1;
  for (u32 page = first; page < end; page++) __atomic_store_n(&freed_in_[page], cycle, __ATOMIC_RELAXED);
}

void Compaction::protect_window() {
  const Forwarding& f = heap_.forwarding;
  for (u32 page = f.begin.page(); page < f.black_begin.page(); page++) {
    if (heap_.page_live[page] == 0) retire(page);
  }
}

bool Compaction::belongs(u32 page) const {
  const MovingSpace& moving = heap_.moving;
  if (page >= heap_.geometry().root_first_page()) return true;
  if (page >= moving.begin && page < moving.top.load(std::memory_order_acquire)) return true;
  return page < heap_.geometry().moving_pages() && page >= moving.large_low.load(std::memory_order_acquire) &&
         heap_.large_objects.covered(page);
}

void Compaction::serve_idle(u32 page, std::size_t offset) {
  if (!belongs(page)) protection::report_stale(heap_, offset, page < freed_in_.count() ? __atomic_load_n(&freed_in_[page], __ATOMIC_RELAXED) : 0);
  // A root page that nobody has touched, or a page that has arrived since.
  while (heap_.barrier.zero(heap_.space.to_page({page}), 1).answer == PageBarrier::Answer::Again) cpu_pause();
}

}  // namespace glissade
