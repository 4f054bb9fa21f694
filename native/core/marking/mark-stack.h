// What a marker still has to look at: refs in chunks of memory of their own.
//
// A graph can put as many refs on the stack as it has slots. So the stack grows without copying itself, gives its oldest
// chunk away whole to a marker that has nothing to do, and returns its memory to the kernel chunk by chunk. Up to 8 MiB it
// keeps for good: the remark pause, and precleaning before it, push into memory that is there. Where the system refuses more, what
// comes is dropped, and that is told: the marks of such a cycle are not whole. For the marker that owns it alone.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "core/assert.h"
#include "core/units.h"

namespace glissade {

class MarkStack {
 public:
  /// Refs that were given away, in memory that goes with them.
  struct Gift {
    u32* refs = nullptr;
    u32 count = 0;
  };

  MarkStack() = default;
  MarkStack(const MarkStack&) = delete;
  MarkStack& operator=(const MarkStack&) = delete;
  ~MarkStack() {
    if (begin_) unmap(begin_);
    for (u32* chunk : below_) unmap(chunk);
    for (u32* chunk : spares_) unmap(chunk);
  }

  bool empty() const { return top_ == begin_ && below_.empty(); }
  // Inline wherever it is called: the compiler's budget for a file does not know which calls are the inner loop of marking.
  [[gnu::always_inline]] void push(u32 word) {
    if (top_ == end_) [[unlikely]] {
      if (!add_chunk()) return;
    }
    *top_++ = word;
  }
  /// Whether refs have been dropped since the last call.
  bool take_lost() { return std::exchange(lost_, false); }
  /// The stack is not empty.
  [[gnu::always_inline]] u32 pop() {
    GLISSADE_ASSERT(!empty(), "popping from an empty mark stack");
    if (top_ == begin_) [[unlikely]] {
      release(begin_);
      set_current(below_.back(), kRefs);
      below_.pop_back();
    }
    return *--top_;
  }

  /// The oldest part, which mostly leads to the most work; count = 0: there is too little to share.
  Gift give() {
    if (!below_.empty()) {
      const Gift gift{below_.front(), kRefs};
      below_.erase(below_.begin());
      return gift;
    }
    const u32 half = static_cast<u32>(top_ - begin_) / 2;
    if (half < kLeastGift) return {};
    const Gift gift{acquire(), half};
    if (!gift.refs) return {};
    std::copy(begin_, begin_ + half, gift.refs);
    top_ = std::copy(begin_ + half, top_, begin_);
    return gift;
  }
  /// The stack is empty.
  void take(Gift gift) {
    GLISSADE_ASSERT(empty(), "a mark stack takes a gift in the midst of its own work");
    if (begin_) release(begin_);
    set_current(gift.refs, gift.count);
  }

 private:
  static constexpr u32 kRefs = 16 * 1024;
  static constexpr u32 kLeastGift = 32;

  static constexpr std::size_t kSpares = 8 * kMiB / (kRefs * sizeof(u32));

  /// nullptr: the system refuses.
  u32* acquire() {
    if (!spares_.empty()) {
      u32* chunk = spares_.back();
      spares_.pop_back();
      return chunk;
    }
    void* memory = mmap(nullptr, kRefs * sizeof(u32), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? nullptr : static_cast<u32*>(memory);
  }
  void release(u32* chunk) {
    if (spares_.size() < kSpares) spares_.push_back(chunk);
    else unmap(chunk);
  }
  static void unmap(u32* chunk) { munmap(chunk, kRefs * sizeof(u32)); }
  void set_current(u32* chunk, u32 used) {
    begin_ = chunk;
    top_ = chunk + used;
    end_ = chunk + kRefs;
  }
  bool add_chunk() {
    u32* chunk = acquire();
    if (!chunk) {
      lost_ = true;
      return false;
    }
    if (begin_) below_.push_back(begin_);
    set_current(chunk, 0);
    return true;
  }

  u32 *begin_ = nullptr, *top_ = nullptr, *end_ = nullptr;  // of the chunk on top
  std::vector<u32*> below_;  // full
  std::vector<u32*> spares_;
  bool lost_ = false;
};

}  // namespace glissade
