// What a marker does with an object, an array or a card; marker.h states in what order.
#include "core/marking/marker.h"

#include <algorithm>

#include "core/heap.h"

namespace glissade {
namespace {

/// A piece of a large array counts as so many objects.
constexpr u32 kPieceBytes = 16 * 1024;
constexpr u64 kPieceObjects = 256;

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
    if (heap_.pointer_free_objects.mark(ref.word / kWordsPerPage)) marked++;
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

}  // namespace glissade
