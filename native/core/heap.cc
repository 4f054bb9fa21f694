// Making and unmaking a heap, and the operations that are not a collection.
#include "core/heap.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/barrier/fault-handler.h"
#include "core/verification/protection.h"

namespace glissade {

Heap* Heap::create(const HeapOptions& options, std::string& error, int& error_number) {
  auto* heap = new Heap();
  heap->options = options;
  if (heap->initialise(error, error_number)) return heap;
  heap->space.unmap();
  delete heap;
  return nullptr;
}

bool Heap::initialise(std::string& error, int& error_number) {
  error_number = ENOMEM;
  options.tlab_pages = std::max(options.tlab_pages, kLargeObjectBytes / kPageSize);  // any object fits into an empty one
  options.fresh_windows = options.fresh_windows || options.protect;
  stepping = options.stepping;
  relocation = options.relocation;
  copying = relocation == Relocation::Copy;
  const Geometry g = Geometry::for_heap(options.max_bytes, options.root_bytes, options.buffer_limit, options.protect);
  if (!space.map(g, error)) return false;
  const u32 moving_pages = g.moving_pages();
  if (!blocks.map(g.moving_bytes) || !page_infos.map(moving_pages + 1) || !black_infos.map(moving_pages + 1) ||
      !page_live.map(moving_pages + 1) || !page_bears.map(moving_pages + 1) || !page_young.map(moving_pages + 1) ||
      !intact_pages.map(moving_pages + 1) || !source_counts.map(moving_pages + 1) || !page_words.map(g.flipped_pages()) ||
      !large_born.map(moving_pages + 1) || !large_objects.map(moving_pages + 1) ||
      !pointer_free_objects.map(g.pointer_free_pages() + 1) || !visited_slots.map(g.heap_buffer_bytes() / layout::kCardBytes) || !compaction.map(g.first_overflow() + g.overflow_pages, options.protect ? g.moving_pages() : 0) ||
      !verification.start(options.verify)) {
    error = "mapping the collector's metadata";
    return false;
  }
  i32* control = space.control();
  layout::store_word(control[layout::kMagicWord], static_cast<i32>(layout::kMagic));
  layout::store_word(control[layout::kShapeCountWord], static_cast<i32>(layout::kFirstShape));
  base_word = static_cast<u32>(g.pointer_free_bytes / 4);
  shapes.bind(control);
  cards.bind(space.cards(), g.heap_buffer_bytes() / layout::kCardBytes);
  root_cards.bind(space.root_cards(), g.root_bytes / layout::kCardBytes);
  roots.bind(control, space.roots(), g.root_bytes);
  safepoint.bind(control, &statistics);
  moving.large_low = moving_pages;
  moving.pointer_free.reset(1, g.pointer_free_pages());
  max_pages_ = static_cast<u32>(g.max_bytes >> kPageShift);
  limit_pages_ = max_pages_;
  trigger_pages_ = static_cast<u32>(std::min(options.min_bytes, g.max_bytes / 2) >> kPageShift);

  // Without it remark looks through all cards: correct, and as long as the heap is large.
  card_pages.start(space.cards(), g.card_bytes);

  if (const char* failed = barrier.open(options.faults, error_number)) {
    error = failed;
    return false;
  }
  if (options.protect && !protection::watch(this)) {
    error = "watching for stale references";
    error_number = EBUSY;  // sigaction of a valid signal is never refused: the table is full
    barrier.close();
    fault_handler::remove(space.flipped());
    return false;
  }
  if (!stepping) workers.start(std::max(1u, options.collector_threads), options.all_threads, statistics.workersDismissed);
  collector_running_ = pthread_create(&collector_thread_, nullptr, collector_entry, this) == 0;
  if (!collector_running_) {
    error = "starting the collector thread";
    error_number = EAGAIN;
    workers.stop();
    barrier.close();
    if (options.protect) protection::unwatch(this);
    fault_handler::remove(space.flipped());
    return false;
  }
  return true;
}

void Heap::close() {
  {
    std::lock_guard<std::mutex> lock(cycle_mutex_);
    if (closed_) return;
    closed_ = true;
    closing_ = true;
  }
  cycle_wanted_.notify_all();
  cycle_done_.notify_all();
  open_gates();
  gate_arrived_.notify_all();
  // A cycle under way runs to its end: mutators of other threads may be in the middle of it.
  if (collector_running_) pthread_join(collector_thread_, nullptr);
  workers.stop();
  barrier.close();
  if (options.protect) protection::unwatch(this);
  card_pages.stop();
  layout::store_word(space.control()[layout::kHeapStateWord], 1);
  // A thread that is inside `run` learns it at its next safepoint. Until then it reads zeros.
  safepoint.close();
  space.drop_pages();
}

void Heap::destroy() {
  close();
  // In this order: what is unmapped another thread's heap may get, and make its own entry for.
  fault_handler::remove(space.flipped());
  space.unmap();
  delete this;
}

i32 Heap::create_area(layout::AreaKind kind, u32 slots, i32 owner) {
  std::lock_guard<SpaceLock> lock(moving.lock);
  return roots.create(kind, slots, owner);
}

void Heap::free_area(u32 area) {
  std::lock_guard<SpaceLock> lock(moving.lock);
  roots.free(area);
}

void Heap::detach(Mutator& mutator) {
  // Its TLAB must not stay open: enter once, so that no stop is in force, and retire it.
  safepoint.enter(mutator);
  retire_tlab(mutator);
  safepoint.leave(mutator);
  {
    std::lock_guard<SpaceLock> lock(moving.lock);
    for (u32 i = 0, n = roots.count(); i < n; i++) {
      const i32* entry = space.control() + layout::kAreaBase + i * layout::kAreaWords;
      if (layout::load_word(entry[layout::kAreaKind]) && layout::load_word(entry[layout::kAreaOwner]) == static_cast<i32>(mutator.index)) {
        roots.free(i);
      }
    }
  }
  safepoint.detach(mutator);
}

void Heap::note_relocation_error(int error, u32 page) {
  int none = 0;
  if (relocation_error_.compare_exchange_strong(none, error)) relocation_error_page_.store(page);
}

int Heap::take_relocation_error(u32& page) {
  page = relocation_error_page_.load();
  return relocation_error_.exchange(0);
}

}  // namespace glissade
