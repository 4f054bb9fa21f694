// Built pages on their way: consecutive ones from consecutive buffers are placed together (placement.h says why).
//
// One thread's. What it has been given is published, so others may place it first.
#pragma once

#include "core/compaction/placement.h"
#include "core/heap.h"
#include "core/kernel/clock.h"

namespace glissade {

template <typename Recycle>
class PlacementBatch {
 public:
  PlacementBatch(Heap& heap, const Recycle& recycle) : heap_(heap), placement_(heap), recycle_(recycle) {}
  PlacementBatch(Heap&, const Recycle&&) = delete;  // it outlives the call

  void add(u32 page, u32 buffer) {
    if (!joins(page, buffer)) flush();
    if (run_.pages == 0) run_ = {page, buffer, 0};
    run_.pages++;
  }
  void flush() {
    if (run_.pages == 0) return;
    const u64 before = now_ns();
    placement_.place(run_.page, run_.buffer, run_.pages, recycle_);
    placing_ns_ += now_ns() - before;
    run_.pages = 0;
  }
  u64 placing_ns() const { return placing_ns_; }

 private:
  bool joins(u32 page, u32 buffer) const {
    if (run_.pages == 0 || run_.pages >= heap_.options.placing_batch) return false;
    if (run_.buffer == Placement::kZeroBuffer || buffer == Placement::kZeroBuffer) return false;
    return run_.page + run_.pages == page && run_.buffer + run_.pages == buffer;
  }

  Heap& heap_;
  Placement placement_;
  const Recycle& recycle_;
  Placement::Run run_{0, 0, 0};
  u64 placing_ns_ = 0;
};

}  // namespace glissade
