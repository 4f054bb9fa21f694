// What becomes of weak slots; weak-slots.h states what holds when.
#include "core/marking/weak-slots.h"

#include <cstring>

#include "core/heap.h"

namespace glissade {
namespace {

/// Slots ahead whose words, and whose objects' marks, are asked for.
constexpr std::size_t kSlotAhead = 32;
constexpr std::size_t kMarkAhead = 16;
/// A list keeps so many bytes for the next cycle.
constexpr std::size_t kKeptBytes = kMiB;

/// Of an object: neighbours differ in the low bits.
u32 hash(u32 word) { return (word >> 1) * 0x9E3779B1u >> 4; }

template <typename T>
void empty(std::vector<T>& list) {
  list.clear();
  if (list.capacity() * sizeof(T) > kKeptBytes) list.shrink_to_fit();
}

// acquire: pairs with the mutator's store of a reference, as every load of a marker (marker.h).
u64 load_slot(const u8* at, bool is_value) {
  return is_value ? __atomic_load_n(reinterpret_cast<const u64*>(at), __ATOMIC_ACQUIRE)
                  : __atomic_load_n(reinterpret_cast<const u32*>(at), __ATOMIC_ACQUIRE);
}

}  // namespace

void WeakSlots::forget() {
  empty(noted_);
  empty(waiting_);
  empty(due_);
  empty(last_of_bucket_);
  empty(previous_);
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

void WeakSlots::prefetch(Ref ref) const {
  if (ref.word >= heap_.base_word) heap_.blocks.prefetch(heap_.granule(ref));
}

void WeakSlots::visit_value(const WeakSlot& slot, Marker& marker, u64& visited) const {
  if (!slot.has_value()) return;
  const Ref value = referent(slot.value_at(), slot.is_value());
  if (value.is_null() || heap_.is_marked(value)) return;
  marker.visit(value);
  visited++;
}

bool WeakSlots::keep_waiting(const WeakSlot& slot, Marker& marker, u64& visited) const {
  const Ref now = held(slot);
  if (now.word == slot.ref.word && !heap_.is_marked(slot.ref)) return true;
  // Another reference has its card: it is noted again, or about to be. What is no reference has none, and keeps its value.
  if (now.word == slot.ref.word || now.is_null()) visit_value(slot, marker, visited);
  return false;
}

template <typename Look>
void WeakSlots::filter_waiting(Look&& keeps) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < waiting_.size(); i++) {
    if (!keeps(i)) continue;
    if (kept != i) waiting_[kept] = waiting_[i];
    kept++;
  }
  waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(kept), waiting_.end());
}

u64 WeakSlots::settle(Marker& marker) {
  u64 visited = 0;
  const std::size_t count = waiting_.size();
  Statistics::add(heap_.statistics.weakLooks, count);
  filter_waiting([&](std::size_t i) {
    if (i + kSlotAhead < count) __builtin_prefetch(waiting_[i + kSlotAhead].at());
    if (i + kMarkAhead < count) prefetch(waiting_[i + kMarkAhead].ref);
    return keep_waiting(waiting_[i], marker, visited);
  });
  return visited + settle_noted(marker);
}

u64 WeakSlots::settle_noted(Marker& marker) {
  u64 visited = 0;
  for (const auto& [begin, end, kind] : noted_) {
    const u32 step = kind.step();
    Statistics::add(heap_.statistics.weakLooks, (static_cast<std::size_t>(end - begin) + step - 1) / step);
    for (u8* at = begin; at < end; at += step) {
      if (static_cast<std::size_t>(end - at) > kMarkAhead * step) prefetch(referent(at + kMarkAhead * step, kind.is_value));
      const WeakSlot slot(at, kind, kind.is_pairs && end - at >= static_cast<std::ptrdiff_t>(step), referent(at, kind.is_value));
      if (slot.ref.is_null() || heap_.is_marked(slot.ref)) {
        visit_value(slot, marker, visited);
        continue;
      }
      waiting_.push_back(slot);
      if (watching_) watch_waiting(waiting_.size() - 1);
    }
  }
  noted_.clear();
  return visited;
}

u64 WeakSlots::settle_keyless(Marker& marker) const {
  if (watched_ == 0) return 0;  // no pairs
  u64 visited = 0;
  const std::size_t count = waiting_.size();
  for (std::size_t i = 0; i < count; i++) {
    if (i + kSlotAhead < count) __builtin_prefetch(waiting_[i + kSlotAhead].at(), 1);
    const WeakSlot& slot = waiting_[i];
    if (slot.has_value() && held(slot).is_null()) visit_value(slot, marker, visited);
  }
  return visited;
}

u64 WeakSlots::clear_waiting() {
  // What a cleared value reads as: undefined, so that an empty entry (zero, the number 0) can be told from one that was lost.
  constexpr u64 kUndefined = u64{layout::kTagUndefined} << 32;
  const std::size_t count = waiting_.size();
  u64 cleared = 0;
  for (std::size_t i = 0; i < count; i++) {
    if (i + kSlotAhead < count) __builtin_prefetch(waiting_[i + kSlotAhead].at(), 1);
    const WeakSlot& slot = waiting_[i];
    // Stored into since: then it is in the list again, or settled. Or in the list twice: then it has just been cleared.
    if (held(slot).word != slot.ref.word) continue;
    if (any_recorded_ && may_be_recorded(slot.ref) && heap_.is_marked(slot.ref)) continue;
    if (slot.is_guarded()) {
      const auto page = static_cast<u32>(static_cast<std::size_t>(slot.at() - heap_.space.roots()) >> kPageShift);
      due_.push_back({slot.ref, page});
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

void WeakSlots::begin_record() {
  if (any_recorded_) recorded_.assign(kRecordBits / 64, 0);
  any_recorded_ = false;
}

bool WeakSlots::may_be_recorded(Ref ref) const {
  const u32 bit = hash(ref.word) % kRecordBits;
  return recorded_[bit / 64] >> (bit % 64) & 1;
}

void WeakSlots::watch(std::size_t expected) {
  watching_ = true;
  // Where little waits, making room in the pause costs no more than noting so many slots does.
  if (waiting_.size() < expected) expected = 0;
  waiting_.reserve(waiting_.size() + expected);
  previous_.reserve(waiting_.size() + expected);
  std::size_t pairs = 0;
  for (const WeakSlot& slot : waiting_) pairs += slot.has_value();
  watch_in(pairs + expected / 2);
}

void WeakSlots::watch_in(std::size_t pairs) {
  std::size_t buckets = kLeastBuckets;
  while (buckets < 2 * pairs) buckets *= 2;
  last_of_bucket_.assign(buckets, 0);
  previous_.resize(waiting_.size());
  watched_ = 0;
  for (std::size_t i = 0; i < waiting_.size(); i++) watch_waiting(i);
}

void WeakSlots::watch_waiting(std::size_t index) {
  const WeakSlot& slot = waiting_[index];
  if (previous_.size() <= index) previous_.resize(index + 1);
  if (!slot.has_value()) return;
  if (++watched_ > 2 * last_of_bucket_.size()) return watch_in(watched_);
  u32& last = last_of_bucket_[hash(slot.ref.word) % last_of_bucket_.size()];
  previous_[index] = last;
  last = static_cast<u32>(index + 1);
}

void WeakSlots::marked(u32 word, Marker& marker) {
  const u32 bit = hash(word) % kRecordBits;
  recorded_[bit / 64] |= u64{1} << (bit % 64);
  any_recorded_ = true;
  u64 visited = 0, looks = 0;
  for (u32 i = last_of_bucket_[hash(word) % last_of_bucket_.size()]; i != 0; i = previous_[i - 1], looks++) {
    const WeakSlot& slot = waiting_[i - 1];
    // A key that was stored since has its card, and is noted again.
    if (slot.ref.word == word && held(slot).word == word) visit_value(slot, marker, visited);
  }
  if (looks) Statistics::add(heap_.statistics.weakLooks, looks);
}

void WeakSlots::unwatch() {
  watching_ = false;
  last_of_bucket_.clear();
  previous_.clear();
}

}  // namespace glissade
