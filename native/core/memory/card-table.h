// Dirty tracking by cards: one byte for each KiB of heap buffer and of root region.
//
// A mutator stores a reference and then its card (invariant 8), unless nobody else knows the object yet (decision 016). A
// collector takes dirty cards in two passes: it clears them all, issues one full fence, and only then scans what they cover. A
// plain clear that drained after the scan's loads would lose a store; clearing first and scanning after the fence can only
// scan too much.
// Cards mean something from the start of a cycle that traces everything (when all are cleared) to the end of its compaction: a
// page whose cards are clean after the last take, in remark, has the references that the survey saw (survey.cc). If there was
// none they say what has been stored into marked objects since that remark, until a young cycle takes them (young-cycles.h).
#pragma once

#include <atomic>

#include "core/memory/layout.h"

namespace glissade {

class CardTable {
 public:
  void bind(u8* cards, std::size_t count) {
    cards_ = cards;
    count_ = count;
  }
  std::size_t count() const { return count_; }

  /// Clears whole groups that a mutator may be storing into: relaxed stores of words, which lose such a byte. That is
  /// right at the start of a cycle only, before the first slot is read (marking.cc, begin).
  void clear_all() {
    u64* words = reinterpret_cast<u64*>(cards_);
    for (std::size_t i = 0; i < (count_ + 7) / 8; i++) {
      if (__atomic_load_n(words + i, __ATOMIC_RELAXED) != 0) __atomic_store_n(words + i, u64{0}, __ATOMIC_RELAXED);
    }
  }

  /// Clears every dirty card of [first, end) and calls `found(card)` for each. The caller fences before it scans.
  template <typename Found>
  void take_dirty(std::size_t first, std::size_t end, Found&& found) {
    std::size_t at = first;
    while (at < end && at % kGroup != 0) take(at++, found);
    for (; at + kGroup <= end; at += kGroup) {
      if (!group_dirty(at)) continue;
      for (std::size_t card = at; card < at + kGroup; card++) take(card, found);
    }
    while (at < end) take(at++, found);
  }

  /// No reference has been stored into this page of the heap buffer since its cards were taken last.
  bool page_is_clean(std::size_t page) const {
    static_assert(layout::kCardBytes * 4 == kPageSize);
    return __atomic_load_n(reinterpret_cast<const u32*>(cards_) + page, __ATOMIC_RELAXED) == 0;
  }
  /// As if into every slot of these pages a reference had been stored.
  void dirty_pages(std::size_t first, std::size_t pages) {
    u32* four = reinterpret_cast<u32*>(cards_);
    for (std::size_t page = first; page < first + pages; page++) __atomic_store_n(four + page, 0x01010101u, __ATOMIC_RELAXED);
  }
  bool is_dirty(std::size_t card) const { return __atomic_load_n(cards_ + card, __ATOMIC_RELAXED) != 0; }

 private:
  static constexpr std::size_t kGroup = 64;

  /// Loads whole words: a mutator's byte store beside them is not lost, because nothing is written here.
  bool group_dirty(std::size_t at) const {
    const u64* words = reinterpret_cast<const u64*>(cards_ + at);
    u64 any = 0;
    for (std::size_t i = 0; i < kGroup / 8; i++) any |= __atomic_load_n(words + i, __ATOMIC_RELAXED);
    return any != 0;
  }

  template <typename Found>
  void take(std::size_t card, Found&& found) {
    if (__atomic_load_n(cards_ + card, __ATOMIC_RELAXED) == 0) return;
    // An exchange, not a store: it takes part in the card's modification order before the caller's fence.
    if (__atomic_exchange_n(cards_ + card, u8{0}, __ATOMIC_SEQ_CST) != 0) found(card);
  }

  u8* cards_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace glissade
