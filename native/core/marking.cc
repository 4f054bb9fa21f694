// Marking, precleaning and the remark pause's work; marking.h states what holds when.
#include "marking.h"

#include <algorithm>
#include <cstring>

#include "clock.h"
#include "heap.h"

namespace glissade {
namespace {

/// Pause budgets: beyond them remark gives up and precleaning goes on.
constexpr u64 kRemarkCards = 512;
constexpr u64 kRemarkObjects = 2'000;
constexpr u64 kRemarkWeakSlots = 16 * 1024;
/// Ephemerons are followed round by round so often before each key is watched.
constexpr u32 kEphemeronRounds = 4;
/// A piece of a large array counts as so many objects.
constexpr u32 kPieceBytes = 16 * 1024;
constexpr u64 kPieceObjects = 256;
constexpr u64 kStepObjects = 1024;

// acquire: pairs with the mutator's store of a reference, which comes after the object's header and zeroed body. (In
// JavaScript it is a plain store; x86-64 keeps stores in order. Another architecture needs its own proof.)
u32 load32(const u8* at) { return __atomic_load_n(reinterpret_cast<const u32*>(at), __ATOMIC_ACQUIRE); }
u64 load64(const u8* at) { return __atomic_load_n(reinterpret_cast<const u64*>(at), __ATOMIC_ACQUIRE); }

}  // namespace

void Marker::scan(const u8* object, u32 shape, u32 begin, u32 end) {
  const ShapeEntry& entry = heap_.shapes[shape];
  if (entry.weak() != layout::Weak::None) [[unlikely]] return note_weak(object, entry, begin, end);
  // Backwards: the stack gives the first slot first, and what a program links first it has mostly allocated beside it.
  for_each_slot_backwards(heap_.shapes, shape, begin, end, [&](u32 offset, bool is_value) {
    // A value is read as 64 bits at once: a tag and a payload of different stores are told apart by the store order.
    if (is_value) visit_value(load64(object + offset));
    else visit_word(load32(object + offset));
  });
}

/// What lies in one card of the slots from `begin` to `end` (bytes, as in `scan`).
void Marker::scan_in_card(Granule header, u32 shape, u32 begin, u32 end, std::size_t card, u32* visited) {
  const Ref ref = heap_.ref(header);
  const u8* object = heap_.address(ref);
  if (!visited || heap_.shapes[shape].weak() != layout::Weak::None) return scan(object, shape, begin, end);
  const u32 word = ref.word - static_cast<u32>(card << layout::kCardShift);  // below the card, perhaps: modulo 2^32
  for_each_slot_backwards(heap_.shapes, shape, begin, end, [&](u32 offset, bool is_value) {
    u32 now;
    if (is_value) {
      const u64 bits = load64(object + offset);
      now = static_cast<u32>(bits >> 32) == layout::kTagRef ? static_cast<u32>(bits) : 0;
    } else {
      now = load32(object + offset);
    }
    u32& last = visited[static_cast<u32>(word + offset / 4)];
    if (now == last) return;
    last = now;
    visit(Ref{now});
  });
}

void Marker::note_weak(const u8* object, const ShapeEntry& shape, u32 begin, u32 end) {
  const WeakKind kind{shape.is_value_array(), shape.weak() == layout::Weak::Keys};
  const u32 length = (load32(object + 4) >> layout::kFlagBits) * kind.slot_bytes();
  // Pairs are noted whole, whatever part of one was asked for.
  const u32 first = (std::max(begin, kGranuleSize) - kGranuleSize) / kind.step() * kind.step();
  const u32 last = std::min(static_cast<u32>(round_up(end - kGranuleSize, kind.step())), length);
  if (first >= last) return;
  u8* elements = const_cast<u8*>(object) + kGranuleSize;
  work_.weak.push_back({elements + first, elements + last, kind});
}

template <bool Parallel>
void Marker::mark_and_scan(Ref ref) {
  const u8* object = heap_.address(ref);
  if (ref.word < heap_.base_word) {
    if (heap_.pointer_free_objects.mark(ref.word / (kPageSize / 4))) marked++;
    return;
  }
  const Granule g = heap_.granule(ref);
  if (g.index >= heap_.moving.large_low * kGranulesPerPage) {
    const u32 page = g.page();
    if (!heap_.large_objects.mark(page)) return;
    marked++;
    const LargeObjects::Head& head = heap_.large_objects.head(page);
    // In pieces, each when the stack is empty: the stack would otherwise hold every slot of the array at once.
    if (heap_.shapes[head.shape].has_references()) work_.arrays.push_back({page, kGranuleSize});
    return;
  }
  if (heap_.blocks.is_marked(g)) return;
  const u32 shape = load32(object);
  GLISSADE_ASSERT(heap_.shapes.is_defined(shape), "marking an object without a shape");
  const u32 granules = heap_.shapes.granules(shape, load32(object + 4));
  if (!heap_.blocks.mark<Parallel>(g, granules)) return;
  marked++;
  granules_ += granules;
  end = std::max(end, g.index + granules);
  if (!heap_.shapes[shape].has_references()) return;
  for (u32 page = g.page(); page <= (g.index + granules - 1) / kGranulesPerPage; page++) {
    // Mostly so already; other markers look at the same line.
    u8& bears = heap_.page_bears[page];
    if (!__atomic_load_n(&bears, __ATOMIC_RELAXED)) __atomic_store_n(&bears, 1, __ATOMIC_RELAXED);
  }
  scan(object, shape, kGranuleSize, granules * kGranuleSize);
}

u64 Marker::done() const { return marked + pieces_ * kPieceObjects; }

bool Marker::drain(u64 budget) {
  const u64 goal = done() + budget;
  if (heap_.verification.wants(1)) drain_some<Way::Checking>(goal);
  else if (parallel_) drain_some<Way::Parallel>(goal);
  else if (told_) drain_some<Way::Telling>(goal);
  else drain_some<Way::Alone>(goal);
  return idle();
}

bool Marker::scan_array_piece() {
  if (work_.arrays.empty()) return false;
  ArrayPiece& piece = work_.arrays.back();
  const u32 page = piece.page;
  const LargeObjects::Head& head = heap_.large_objects.head(page);
  const u32 end = head.granules * kGranuleSize;
  const u32 begin = piece.begin;
  const u32 next = static_cast<u32>(std::min((u64{begin} / kPieceBytes + 1) * kPieceBytes, u64{end}));
  if (next == end) work_.arrays.pop_back();
  else piece.begin = next;
  granules_ += (next - begin) / kGranuleSize;
  pieces_++;
  const Granule header{page * kGranulesPerPage};
  if (heap_.shapes[head.shape].weak() != layout::Weak::None) {
    scan(heap_.granule_address(header), head.shape, begin, next);
    return true;
  }
  // A card that is dirty by now will be scanned again.
  const std::size_t first_card = heap_.ref(header).word >> layout::kCardShift;
  for (u32 at = next; at > begin;) {
    const u32 part = (at - 1) / layout::kCardBytes;
    const std::size_t card = first_card + part;
    const u32 from = std::max(begin, part * layout::kCardBytes);
    scan_in_card(header, head.shape, from, at, card, heap_.cards.is_dirty(card) ? heap_.visited_slots.add(card) : nullptr);
    at = from;
  }
  return true;
}

template <Marker::Way kWay>
void Marker::drain_some(u64 goal) {
  MarkStack& refs = work_.refs;
  u32 queue[kRing];
  u32 head = 0, queued = 0;
  u32 fetched = 0;  // of the first kAhead in the queue: their headers have been asked for, if they were not marked
  for (;;) {
    while (queued < kQueue && !refs.empty()) {
      const Ref ref{refs.pop()};
      if (kWay == Way::Checking && !heap_.verification.may_follow(ref)) continue;
      queue[(head + queued) % kRing] = ref.word;
      const bool near = queued++ < kAhead;  // no time to look at the mark first
      if (ref.word >= heap_.base_word) {
        heap_.blocks.prefetch(heap_.granule(ref));
        if (near) __builtin_prefetch(heap_.address(ref));
      }
      if (near) fetched = queued;
    }
    if (queued == 0) {
      if (!scan_array_piece() || done() >= goal) return;
      continue;
    }
    if (fetched < kAhead && fetched < queued) {
      const Ref ref{queue[(head + fetched++) % kRing]};
      if (ref.word >= heap_.base_word && !heap_.blocks.is_marked(heap_.granule(ref))) __builtin_prefetch(heap_.address(ref));
    }
    const u32 word = queue[head];
    head = (head + 1) % kRing;
    queued--;
    fetched--;
    const u64 before = marked;
    mark_and_scan<kWay == Way::Parallel || kWay == Way::Checking>(Ref{word});
    if (kWay >= Way::Telling && told_ && marked != before) told_->marked(word, *this);
    if (done() >= goal) {
      while (queued) refs.push(queue[(head + --queued) % kRing]);
      return;
    }
  }
}

void Marker::scan_card(std::size_t card, u32* visited) {
  const u32 first_word = static_cast<u32>(card << layout::kCardShift);
  if (first_word < heap_.base_word) return;  // pointer-free objects bear no references
  const u32 begin = (first_word - heap_.base_word) / 2;
  const u32 end = begin + layout::kCardGranules;
  if (begin >= heap_.moving.large_low * kGranulesPerPage) {
    const u32 page = begin / kGranulesPerPage;
    if (!heap_.large_objects.covered(page)) return;
    const u32 head_page = heap_.large_objects.head_page(page);
    if (!heap_.large_objects.is_marked(head_page)) return;  // its scan is still to come
    const LargeObjects::Head& head = heap_.large_objects.head(head_page);
    const u32 start = head_page * kGranulesPerPage;
    const u32 to = std::min(end - start, head.granules);
    return scan_in_card({start}, head.shape, (begin - start) * kGranuleSize, to * kGranuleSize, card, visited);
  }
  // Marked objects only: an unmarked one is scanned whole when it is marked.
  Granule at{begin};
  Granule covering;
  auto scan_object = [&](Granule header) {
    const u8* object = heap_.address(heap_.ref(header));
    const u32 shape = load32(object);
    // A hole of a dense run is a live filler where the cycle then did not move (prepare.cc), and a young one finds it here. Behind
    // what is damaged nobody knows where the next begins.
    if (heap_.verification.wants(1) && shape != layout::kFillerShape && !heap_.verification.may_follow(heap_.ref(header))) [[unlikely]] return end;
    const u32 granules = heap_.shapes.granules(shape, load32(object + 4));
    const u32 from = header.index < begin ? (begin - header.index) * kGranuleSize : kGranuleSize;
    const u32 to = std::min(header.index + granules, end) - header.index;
    scan_in_card(header, shape, from, to * kGranuleSize, card, visited);
    return header.index + granules;
  };
  if (heap_.blocks.covering_header(at.block(), covering)) at.index = scan_object(covering);
  for (;;) {
    at = next_live(heap_.blocks, at, {end});
    if (at.index >= end) return;
    at.index = scan_object(at);
  }
}

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
  const i32 index = heap_.roots.area_of_page(first / (kPageSize / 4));
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
