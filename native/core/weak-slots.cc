// What becomes of weak slots; weak-slots.h states what holds when.
#include "weak-slots.h"

#include <cstring>

#include "heap.h"

namespace glissade {
namespace {

/// Slots ahead whose words, and whose objects' marks, are asked for.
constexpr std::size_t kSlotAhead = 32;
constexpr std::size_t kMarkAhead = 16;
/// A list keeps so many bytes for the next cycle.
constexpr std::size_t kKeptBytes = kMiB;

template <typename T>
void empty(std::vector<T>& list) {
  list.clear();
  if (list.capacity() * sizeof(T) > kKeptBytes) list.shrink_to_fit();
}

// acquire: pairs with the mutator's store of a reference, as every load of a marker (marking.cc).
u64 load_slot(const u8* at, bool is_value) {
  return is_value ? __atomic_load_n(reinterpret_cast<const u64*>(at), __ATOMIC_ACQUIRE)
                  : __atomic_load_n(reinterpret_cast<const u32*>(at), __ATOMIC_ACQUIRE);
}

}  // namespace

void WeakSlots::forget() {
  empty(noted_);
  empty(waiting_);
  empty(due_);
}

void WeakSlots::note_all(std::vector<WeakRange>& ranges) {
  noted_.insert(noted_.end(), ranges.begin(), ranges.end());
  empty(ranges);
}

u64 WeakSlots::noted() const {
  u64 slots = 0;
  for (const WeakRange& range : noted_) slots += static_cast<u64>(range.end - range.begin) / range.kind.slot_bytes();
  return slots;
}

Ref WeakSlots::referent(const u8* at, bool is_value) const {
  const u64 bits = load_slot(at, is_value);
  if (is_value && static_cast<u32>(bits >> 32) != layout::kTagRef) return {0};
  return {static_cast<u32>(bits)};
}

void WeakSlots::prefetch(const u8* at, bool is_value) const {
  const Ref ref = referent(at, is_value);
  if (ref.word >= heap_.base_word) heap_.blocks.prefetch(heap_.granule(ref));
}

bool WeakSlots::settles(WeakSlot slot, Marker& marker, u64& visited) const {
  const Ref ref = referent(slot.at(), slot.is_value());
  if (!ref.is_null() && !heap_.is_marked(ref)) return false;
  if (!slot.has_value()) return true;
  const Ref value = referent(slot.value_at(), slot.is_value());
  if (!value.is_null() && !heap_.is_marked(value)) {
    marker.visit(value);
    visited++;
  }
  return true;
}

u64 WeakSlots::settle(Marker& marker) {
  u64 visited = 0;
  std::size_t kept = 0;
  const std::size_t count = waiting_.size();
  Statistics::add(heap_.statistics.weakLooks, count);
  for (std::size_t i = 0; i < count; i++) {
    if (i + kSlotAhead < count) __builtin_prefetch(waiting_[i + kSlotAhead].at());
    if (i + kMarkAhead < count) prefetch(waiting_[i + kMarkAhead].at(), waiting_[i + kMarkAhead].is_value());
    const WeakSlot slot = waiting_[i];
    if (!settles(slot, marker, visited)) waiting_[kept++] = slot;
  }
  waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(kept), waiting_.end());
  return visited + settle_noted(marker);
}

u64 WeakSlots::settle_noted(Marker& marker) {
  u64 visited = 0;
  for (const auto& [begin, end, kind] : noted_) {
    const u32 step = kind.step();
    Statistics::add(heap_.statistics.weakLooks, (static_cast<std::size_t>(end - begin) + step - 1) / step);
    for (u8* at = begin; at < end; at += step) {
      if (static_cast<std::size_t>(end - at) > kMarkAhead * step) prefetch(at + kMarkAhead * step, kind.is_value);
      const WeakSlot slot(at, kind, kind.is_pairs && end - at >= static_cast<std::ptrdiff_t>(step));
      if (settles(slot, marker, visited)) continue;
      waiting_.push_back(slot);
      if (watching_) watch_waiting(waiting_.size() - 1);
    }
  }
  noted_.clear();
  return visited;
}

u64 WeakSlots::clear_waiting() {
  // What a cleared value reads as: undefined, so that an empty entry (zero, the number 0) can be told from one that was lost.
  constexpr u64 kUndefined = u64{layout::kTagUndefined} << 32;
  const std::size_t count = waiting_.size();
  u64 cleared = 0;
  for (std::size_t i = 0; i < count; i++) {
    if (i + kSlotAhead < count) __builtin_prefetch(waiting_[i + kSlotAhead].at(), 1);
    const WeakSlot slot = waiting_[i];
    const Ref ref = referent(slot.at(), slot.is_value());
    if (ref.is_null()) continue;  // in the list twice, noted by its card after all others
    if (slot.is_guarded()) {
      const auto page = static_cast<u32>(static_cast<std::size_t>(slot.at() - heap_.space.roots()) >> kPageShift);
      due_.push_back({ref, page});
    } else {
      cleared++;
    }
    if (slot.is_value()) std::memcpy(slot.at(), &kUndefined, 8);
    else std::memset(slot.at(), 0, 4);
    if (slot.has_value()) std::memcpy(slot.value_at(), slot.at(), slot.is_value() ? 8 : 4);
  }
  waiting_.clear();  // its memory goes back outside pauses
  return cleared;
}

void WeakSlots::watch() {
  watching_ = true;
  for (std::size_t i = 0; i < waiting_.size(); i++) watch_waiting(i);
}

void WeakSlots::watch_waiting(std::size_t index) {
  const WeakSlot slot = waiting_[index];
  previous_.resize(index + 1);
  if (!slot.has_value()) return;
  u32& last = last_of_key_[referent(slot.at(), slot.is_value()).word];
  previous_[index] = last;
  last = static_cast<u32>(index + 1);
}

void WeakSlots::key_marked(u32 word, Marker& marker) {
  const auto found = last_of_key_.find(word);
  if (found == last_of_key_.end()) return;
  u64 visited = 0;
  for (u32 i = found->second; i != 0; i = previous_[i - 1]) {
    settles(waiting_[i - 1], marker, visited);
    Statistics::add(heap_.statistics.weakLooks);
  }
}

void WeakSlots::unwatch() {
  watching_ = false;
  last_of_key_.clear();
  previous_.clear();
}

}  // namespace glissade
