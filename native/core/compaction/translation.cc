// Translation: the definition of forwarding.h, one slot after the other; translation-vectors.cc has the other half of translation.h.
#include "core/compaction/translation.h"

#include <cstring>

namespace glissade {
namespace {

constexpr u32 kAhead = 32;

// Found out when the library is loaded: a handler may not be the first to ask.
const bool kVectors = vectors::usable();

// Atomic for the survey's sake, which reads pages that mutators write to.
u32 word_at(const u8* page, u32 word) {
  return __atomic_load_n(reinterpret_cast<const u32*>(page) + word, __ATOMIC_RELAXED);
}

/// Calls `visit(word)` for each word that holds a reference, null or not, until that returns true; whether it did.
template <typename Visit>
bool any_reference(const u8* page, const PageSlots& slots, Visit&& visit) {
  for (u32 group = 0; group < PageSlots::kGroups; group++) {
    const u32 first = group * PageSlots::kWordsPerGroup;
    for (u64 rest = slots.refs(group); rest; rest &= rest - 1) {
      if (visit(first + static_cast<u32>(__builtin_ctzll(rest)))) return true;
    }
    for (u64 rest = slots.values(group); rest; rest &= rest - 1) {
      const u32 word = first + static_cast<u32>(__builtin_ctzll(rest));
      if (word_at(page, word + 1) == layout::kTagRef && visit(word)) return true;
    }
  }
  return false;
}

/// Translates references in place, some slots behind the one that was seen last.
class Trail {
 public:
  Trail(const Forwarding& forwarding, u8* page) : forwarding_(forwarding), page_(page) {}
  ~Trail() {
    while (count_) settle();
  }
  void add(u32 word) {
    const Ref ref{word_at(page_, word)};
    if (forwarding_.is_fixed(ref)) return;
    forwarding_.prefetch(ref);
    if (count_ == kAhead) settle();
    ring_[(first_ + count_++) % kAhead] = word;
  }

 private:
  void settle() {
    const u32 word = ring_[first_];
    first_ = (first_ + 1) % kAhead;
    count_--;
    const u32 to = forwarding_.of(Ref{word_at(page_, word)}).word;
    std::memcpy(page_ + word * PageSlots::kWordBytes, &to, sizeof to);
  }
  const Forwarding& forwarding_;
  u8* page_;
  u32 ring_[kAhead];
  u32 first_ = 0;
  u32 count_ = 0;
};

}  // namespace

bool portable::leads_to_moving(const Forwarding& forwarding, const u8* page, const PageSlots& slots) {
  return any_reference(page, slots, [&](u32 word) { return !forwarding.is_fixed(Ref{word_at(page, word)}); });
}

void portable::translate(const Forwarding& forwarding, u8* page, const PageSlots& slots) {
  Trail trail(forwarding, page);
  any_reference(page, slots, [&](u32 word) {
    trail.add(word);
    return false;
  });
}

bool leads_to_moving(const Forwarding& forwarding, const u8* page, const PageSlots& slots) {
  return (kVectors ? vectors::leads_to_moving : portable::leads_to_moving)(forwarding, page, slots);
}

void translate(const Forwarding& forwarding, u8* page, const PageSlots& slots) {
  (kVectors ? vectors::translate : portable::translate)(forwarding, page, slots);
}

}  // namespace glissade
