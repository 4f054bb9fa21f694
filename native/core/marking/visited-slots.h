// What has been visited, by slot: so that a card which is dirty again costs a look at what was stored, not at all that it covers.
//
// To visit a reference is to look at the mark of its object, somewhere in the block table: a cache miss for each. A card of a table
// covers 256 references, of which the program has stored one or two since it was scanned last. Here lies for each word of a card what
// was visited there last in this cycle. A slot that holds the same need not be visited: what has been visited is marked, or waits
// on a mark stack, until the cycle ends. That holds whatever has become of the slot meanwhile, and of the object that it lies in:
// nothing here is ever wrong, only out of date.
//
// Which cards: those of large arrays that are dirty when the trace comes by, and whatever is dirty for the second time. Most cards
// never are, and would cost more than they save.
//
// `add` may be called by several markers at once, each for cards that are its own; all others by the collector thread between traces, `find`
// also by whoever runs the remark pause, which takes no memory.
#pragma once

#include <algorithm>
#include <atomic>

#include "core/kernel/mapped-array.h"
#include "core/memory/layout.h"

namespace glissade {

class VisitedSlots {
 public:
  static constexpr u32 kWords = layout::kCardBytes / 4;

  bool map(std::size_t cards) { return entries_.map(cards) && words_.map(std::size_t{kMostCards} * kWords); }

  /// For each word of the card the reference that was visited there last, 0: none. nullptr: nothing is known of the card.
  u32* find(std::size_t card) {
    const u32 number = entries_[card] - cycle_;
    return number - 1 < kMostCards ? words_of(number) : nullptr;
  }
  /// … nullptr: too many cards are known.
  u32* add(std::size_t card) {
    if (u32* words = find(card)) return words;
    // relaxed: numbers are given out, nothing else; the end of a trace publishes what lies there.
    if (known_.load(std::memory_order_relaxed) >= kMostCards) return nullptr;
    const u32 number = known_.fetch_add(1, std::memory_order_relaxed) + 1;
    if (number > kMostCards) return nullptr;
    entries_[card] = cycle_ + number;
    words_.zero((number - 1) * std::size_t{kWords}, kWords);
    return words_of(number);
  }
  /// … nullptr: so it is, or the card is scanned for the first time.
  u32* add_if_again(std::size_t card) {
    if (entries_[card] - cycle_ <= kMostCards) return add(card);
    entries_[card] = cycle_;
    return nullptr;
  }
  /// A cycle begins: nothing has been visited.
  void forget() {
    const u32 known = std::min(known_.exchange(0, std::memory_order_relaxed), kMostCards);
    touched_ = std::max(touched_, known);
    if (known < touched_ / 2) {
      words_.drop();
      touched_ = 0;
    }
    cycle_ += kStep;
    if (cycle_ == 0) {
      entries_.drop();
      cycle_ = kStep;
    }
  }

 private:
  u32* words_of(u32 number) { return &words_[(number - 1) * std::size_t{kWords}]; }

  /// 16 MiB: tables of four million references.
  static constexpr u32 kMostCards = 16384;
  static constexpr u32 kStep = 2 * kMostCards;
  // For each card: the number of the cycle that scanned it last (a multiple of kStep), plus, if its words are kept, 1 + their index.
  MappedArray<u32> entries_;
  MappedArray<u32> words_;
  std::atomic<u32> known_{0};
  u32 cycle_ = kStep;
  u32 touched_ = 0;  // cards whose words are memory, about
};

}  // namespace glissade
