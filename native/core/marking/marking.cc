// Marking, precleaning and the remark pause's work; marking.h states what holds when.
#include "core/marking/marking.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "core/heap.h"

namespace glissade {
namespace {

/// Pause budgets: beyond them remark gives up and precleaning goes on.
constexpr u64 kRemarkCards = 512;
constexpr u64 kRemarkObjects = 2'000;
constexpr u64 kRemarkWeakSlots = 16 * 1024;
/// Ephemerons are followed round by round so often before each key is watched.
constexpr u32 kEphemeronRounds = 4;
/// A marker looks up from its work this often: for others that have none, for steps and for the pacing.
constexpr u64 kStepObjects = 1024;

}  // namespace

bool Marking::is_whole() const { return !lost_.load(std::memory_order_relaxed) && !heap_.verification.damaged(); }

void Marking::note(Marker& marker) {
  if (marker.stack().take_lost()) lost_.store(true, std::memory_order_relaxed);
  Statistics::add(heap_.statistics.objectsMarked, marker.marked);
  u32 end = end_.load(std::memory_order_relaxed);
  while (end < marker.end && !end_.compare_exchange_weak(end, marker.end, std::memory_order_relaxed)) {
  }
}

void Marking::begin(bool young) {
  weak_.forget();
  lost_.store(false, std::memory_order_relaxed);
  if (!young) {
    end_.store(0, std::memory_order_relaxed);
    heap_.clear_marks();
    heap_.cards.clear_all();
  }
  heap_.root_cards.clear_all();
  // Nothing has been visited in this cycle.
  heap_.visited_slots.forget();
  for (u32 i = 0; i < layout::kMaxAreas; i++) heap_.roots.shadow(i).clear();
  // Cards are cleared before the first slot is read: a store whose card we erased is seen by the trace.
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

void Marking::mark_from_roots(bool young) {
  Marker marker(heap_, false, work_[0]);
  if (young) {
    take_cards();
    scan_heap_cards(marker, true);
  }
  heap_.roots.for_each([&](const AreaView& area) {
    if (area.is_stack()) {
      visit_stack(marker, area.index, true);
    } else if (area.is_weak()) {
      note_weak_roots(area, 0, area.top);
    } else {
      const u8* words = reinterpret_cast<const u8*>(area.words);
      for (u32 i = 0; i < area.top; i++) {
        if (area.is_value()) marker.visit_value(load64(words + i * 8ull));
        else marker.visit_word(load32(words + i * 4ull));
      }
    }
  });
  counting_ = true;
  trace_whole();
  counting_ = false;
}

void Marking::note_weak_roots(const AreaView& area, u32 begin, u32 end) {
  if (begin >= end) return;
  weak_.note({reinterpret_cast<u8*>(area.words + begin), reinterpret_cast<u8*>(area.words + end),
              WeakKind{false, false, area.is_guarded()}});
}

void Marking::visit_stack(Marker& marker, u32 index, bool concurrent) {
  AreaView area;
  if (!heap_.roots.view(index, area)) return;
  if (!concurrent) area.top = heap_.roots.noted_top(index);
  std::vector<u64>& shadow = heap_.roots.shadow(index);
  const u8* bytes = reinterpret_cast<const u8*>(area.words);
  const std::size_t words = (std::size_t{area.top} * area.slot_bytes() + 7) / 8;
  // Slots at and above `top` mean nothing: with an odd number of refs the last pair is half empty.
  const std::size_t half = !area.is_value() && area.top % 2 ? words - 1 : words;
  auto load = [&](std::size_t i) { return i == half ? u64{load32(bytes + i * 8)} : load64(bytes + i * 8); };
  auto visit = [&](u64 bits) {
    if (area.is_value()) {
      marker.visit_value(bits);
    } else {
      marker.visit_word(static_cast<u32>(bits));
      marker.visit_word(static_cast<u32>(bits >> 32));
    }
  };
  if (!concurrent) {
    const std::size_t known = std::min(words, shadow.size());
    for (std::size_t i = 0; i < known; i++) {
      const u64 bits = load(i);
      if (bits != shadow[i]) visit(bits);
    }
    for (std::size_t i = known; i < words; i++) visit(load(i));
    return;
  }
  const std::size_t known = std::min(words, shadow.size());
  shadow.resize(words);
  for (std::size_t i = 0; i < words; i++) {
    const u64 bits = load(i);
    if (i < known && bits == shadow[i]) continue;  // visited in an earlier round of this cycle
    shadow[i] = bits;
    visit(bits);
  }
}

void Marking::trace() {
  if (heap_.workers.alone()) {
    Marker marker(heap_, false, work_[0]);
    trace_with(marker, true);
    return;
  }
  while (work_.size() < heap_.workers.count()) work_.emplace_back();
  // The first has all the work, and gives it away while others are hungry.
  bag_.open();
  heap_.workers.run([&](u32 worker) {
    if (worker != 0 && !bag_.join()) return;
    Marker marker(heap_, true, work_[worker]);
    trace_with(marker, false);
  });
}

/// Traces, and follows ephemerons, until neither finds anything. Then the keys that wait are watched.
void Marking::trace_whole() {
  weak_.unwatch();
  for (u32 round = 0;; round++) {
    trace();
    for (MarkWork& work : work_) weak_.note_all(work.weak);
    Marker marker(heap_, false, work_[0]);
    if (weak_.settle(marker) == 0) break;
    if (round < kEphemeronRounds) continue;
    weak_.watch();
    trace_telling(marker, ~u64{0} >> 1, ~u64{0});
    note(marker);
    weak_.unwatch();
  }
  weak_.watch(kRemarkWeakSlots);
}

/// Traces to the end, and follows each ephemeron as soon as its key is marked. False: that is more than `objects` objects, or more
/// than `slots` weak slots have been noted.
bool Marking::trace_telling(Marker& marker, u64 objects, u64 slots) {
  marker.tell(&weak_);
  const u64 begun = marker.done();
  do {
    if (!marker.drain(objects - std::min(objects, marker.done() - begun))) return false;
    weak_.note_all(work_[0].weak);
    const u64 noted = weak_.noted();
    if (noted > slots) return false;
    slots -= noted;
  } while (weak_.settle_noted(marker) != 0);
  return true;
}

void Marking::trace_with(Marker& marker, bool alone) {
  for (;;) {
    if (marker.idle() && (alone || !bag_.take(marker.stack()))) break;
    marker.drain(heap_.stepping ? heap_.steps.portion.load(std::memory_order_relaxed) : kStepObjects);
    if (counting_) heap_.pacing.advance(marker.take_granules());
    if (heap_.stepping) {
      heap_.steps.marked.store(marker.marked, std::memory_order_relaxed);
      heap_.gate(Rest::Trace);
    }
    if (alone || !bag_.hungry()) continue;
    if (const MarkStack::Gift gift = marker.stack().give(); gift.count) bag_.give(gift);
  }
  note(marker);
}

u64 Marking::take_cards() {
  if (!deferred_) {
    heap_cards_.clear();
    root_cards_.clear();
  }
  deferred_ = false;
  // Written pages first, cards second: see write-tracking.h for the order. One byte is one card.
  heap_.card_pages.take([&](WriteTracking::Range written) {
    const std::size_t end = std::min(written.end, heap_.cards.count());
    heap_.cards.take_dirty(written.begin, end, [&](std::size_t card) { heap_cards_.push_back(static_cast<u32>(card)); });
  });
  heap_.roots.for_each([&](const AreaView& area) {
    if (area.is_stack()) return;
    const std::size_t first = area.first_word >> layout::kCardShift;
    const std::size_t words = std::size_t{area.top} * area.slot_bytes() / 4;
    heap_.root_cards.take_dirty(first, first + ((words + (1u << layout::kCardShift) - 1) >> layout::kCardShift),
                                [&](std::size_t card) { root_cards_.push_back(static_cast<u32>(card)); });
  });
  // Invariant 8: cleared above, fenced here, scanned by the caller.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  Statistics::add(heap_.statistics.cardsScanned, heap_cards_.size() + root_cards_.size());
  return heap_cards_.size() + root_cards_.size();
}

void Marking::scan_heap_cards(Marker& marker, bool concurrent) {
  for (const u32 card : heap_cards_) marker.scan_card(card, concurrent ? heap_.visited_slots.add_if_again(card) : heap_.visited_slots.find(card));
}

void Marking::visit_root_card(Marker& marker, u32 card) {
  const u32 first = card << layout::kCardShift;
  const i32 index = heap_.roots.area_of_page(first / kWordsPerPage);
  AreaView area;
  if (index < 0 || !heap_.roots.view(static_cast<u32>(index), area)) return;
  const u8* base = reinterpret_cast<const u8*>(area.words);
  const u32 begin = first - area.first_word;
  const u32 end = std::min(begin + (1u << layout::kCardShift), area.top * (area.slot_bytes() / 4));
  if (area.is_weak()) return note_weak_roots(area, begin, end);
  for (u32 word = begin; word < end;) {
    if (area.is_value()) {
      marker.visit_value(load64(base + word * 4ull));
      word += 2;
    } else {
      marker.visit_word(load32(base + word * 4ull));
      word++;
    }
  }
}

u64 Marking::preclean() {
  Statistics::add(heap_.statistics.precleanRounds);
  const u64 marked_before = heap_.statistics.objectsMarked.load(std::memory_order_relaxed);
  const u64 dirty = take_cards();
  Marker marker(heap_, false, work_[0]);
  scan_heap_cards(marker, true);
  for (u32 card : root_cards_) visit_root_card(marker, card);
  heap_.roots.for_each([&](const AreaView& area) {
    if (area.is_stack()) visit_stack(marker, area.index, true);
  });
  note(marker);
  trace_whole();
  constexpr u64 kObjectsPerCard = 32;
  return dirty + (heap_.statistics.objectsMarked.load(std::memory_order_relaxed) - marked_before) / kObjectsPerCard;
}

bool Marking::remark(bool last) {
  const u64 dirty = take_cards();
  if (dirty > kRemarkCards && !last) {
    // Too much for a pause. The cards are clean now, so the lists are what knows: the next preclean begins with them.
    deferred_ = true;
    return false;
  }
  heap_.roots.note_stack_tops();
  Marker marker(heap_, false, work_[0]);
  scan_heap_cards(marker, false);
  for (u32 card : root_cards_) visit_root_card(marker, card);
  heap_.roots.for_each([&](const AreaView& area) {
    if (area.is_stack()) visit_stack(marker, area.index, false);
  });
  weak_.settle_keyless(marker);
  weak_.begin_record();
  const bool done = last ? trace_telling(marker, ~u64{0} >> 1, ~u64{0}) : trace_telling(marker, kRemarkObjects, kRemarkWeakSlots);
  note(marker);
  // What is not finished stays on the mark stack, and noted, which the next preclean goes on with.
  return done;
}

void Marking::clear_weak() {
  due_unmarked_ = false;
  if (!is_whole()) return;  // nobody knows what is dead
  Statistics::add(heap_.statistics.weakCleared, weak_.clear_waiting());
  if (weak_.due().empty()) return;
  Marker marker(heap_, false, work_[0]);
  u64 visited = 0;
  for (const DueObject& object : weak_.due()) {
    if (++visited > kRemarkObjects) break;
    marker.visit(object.ref);
  }
  due_unmarked_ = visited > kRemarkObjects || !marker.drain(kRemarkObjects) || !work_[0].weak.empty();
  note(marker);
}

void Marking::hand_over_due() {
  std::vector<DueObject> due = std::move(weak_.due());
  weak_.due().clear();
  if (due.empty()) return;
  Marker marker(heap_, false, work_[0]);
  for (const DueObject& object : due) marker.visit(object.ref);
  trace_whole();
  heap_.verification.check_due();
  due_unmarked_ = false;
  // Of weak arrays among what has been marked now, which no mutator knows yet.
  if (is_whole()) Statistics::add(heap_.statistics.weakCleared, weak_.clear_waiting());
  u64 handed_over = 0;
  heap_.safepoint.between_stops([&] {
    std::lock_guard<SpaceLock> lock(heap_.moving.lock);
    for (const DueObject& object : due) {
      heap_.moving.lock.breathe();
      const i32 area = heap_.roots.area_of_page(object.root_page);
      if (area >= 0) handed_over += heap_.roots.hand_over(static_cast<u32>(area), object.ref);
    }
  });
  Statistics::add(heap_.statistics.guardedDue, handed_over);
}

}  // namespace glissade
