// The expected pages; expected-pages.h says what they share with the builder. Plain loops: nothing here has to be quick.
#include "core/verification/expected-pages.h"

#include <algorithm>

#include "core/heap.h"

namespace glissade {
namespace {

bool is_zero(const u8* begin, const u8* end) {
  return std::all_of(begin, end, [](u8 byte) { return byte == 0; });
}

}  // namespace

bool ExpectedPages::map() { return references_.map(std::size_t{heap_.geometry().flipped_pages()} * kWordsPerPage / 64); }

void ExpectedPages::forget(u32 first_page, u32 end_page) {
  constexpr u32 kGroupsPerPage = kWordsPerPage / 64;
  if (first_page < end_page) references_.zero(std::size_t{first_page} * kGroupsPerPage, std::size_t{end_page - first_page} * kGroupsPerPage);
}

void ExpectedPages::note() {
  const Geometry& g = heap_.geometry();
  const Forwarding& f = heap_.forwarding;
  forget(f.begin.page(), f.top.page());
  forget(heap_.flip_large_low, g.moving_pages());
  forget(g.root_first_page(), g.flipped_pages());
  note_live();
  note_black();
  note_large();
  note_roots();
}

void ExpectedPages::note_live() {
  const Forwarding& f = heap_.forwarding;
  Granule at = f.begin;
  while ((at = next_live(heap_.blocks, at, f.black_begin)) < f.black_begin) at.index += note_object(at);
}

void ExpectedPages::note_black() {
  const Forwarding& f = heap_.forwarding;
  for (Granule at = f.black_begin; at < f.top;) {
    const bool ends = word_at(heap_.space.from_space() + std::size_t{at.index} * kGranuleSize) == layout::kFreeShape;
    // The unused rest of a TLAB. TLABs are whole pages here.
    at.index = ends ? (at.page() + 1) * kGranulesPerPage : at.index + note_object(at);
  }
}

void ExpectedPages::note_large() {
  heap_.large_objects.for_each(heap_.flip_large_low, heap_.geometry().moving_pages(),
                               [&](u32 page, const LargeObjects::Head&) { note_object(PageIndex{page}.first_granule()); });
}

void ExpectedPages::note_roots() {
  for (u32 i = 0, n = heap_.roots.count(); i < n; i++) {
    const Heap::RootSnapshot& area = heap_.root_snapshots[i];
    const u32 slot_bytes = area.is_value ? 8 : 4;
    for (std::size_t slot = 0; slot < area.top; slot++) {
      note_slot((std::size_t{area.first_page} << kPageShift) + slot * slot_bytes, area.is_value);
    }
  }
}

u32 ExpectedPages::note_object(Granule at) {
  const std::size_t begin = std::size_t{at.index} * kGranuleSize;
  const u8* object = heap_.space.from_space() + begin;
  const u32 shape = word_at(object);
  const u32 granules = heap_.shapes.granules(shape, word_at(object + 4));
  if (shape != layout::kFillerShape) {
    const u32 bytes = granules * kGranuleSize;
    for_each_slot(heap_.shapes, shape, kGranuleSize, bytes, [&](u32 offset, bool is_value) { note_slot(begin + offset, is_value); });
  }
  return granules;
}

void ExpectedPages::note_slot(std::size_t byte, bool is_value) {
  if (is_value && word_at(heap_.space.from_space() + byte + 4) != layout::kTagRef) return;
  const std::size_t word = byte / 4;
  references_[word / 64] |= u64{1} << word % 64;
}

bool ExpectedPages::accepts_words(std::size_t first, u32 words, const u8* content) const {
  const u8* source = heap_.space.from_space() + first * 4;
  for (u32 i = 0; i < words; i++) {
    const u32 before = word_at(source + i * 4), after = word_at(content + i * 4);
    if (after != (is_reference(first + i) ? heap_.forwarding.of(Ref{before}).word : before)) return false;
  }
  return true;
}

bool ExpectedPages::accepts_compacted(u32 page, const u8* content) const {
  const PageInfo& info = heap_.page_infos[page];
  u32 filled = 0;
  for (Granule at{info.source}; at.index <= info.last; at.index++) {
    if (!heap_.blocks.is_live(at)) continue;
    if (filled == kGranulesPerPage || !accepts_words(std::size_t{at.index} * 2, 2, content + filled * kGranuleSize)) return false;
    filled++;
  }
  return is_zero(content + filled * kGranuleSize, content + kPageSize);
}

bool ExpectedPages::accepts_root(u32 page, const u8* content) const {
  std::size_t words = 0;  // of the page, below the top of its area
  for (u32 i = 0, n = heap_.roots.count(); i < n; i++) {
    const Heap::RootSnapshot& area = heap_.root_snapshots[i];
    const std::size_t live = std::size_t{area.top} * (area.is_value ? 2 : 1);
    if (page < area.first_page || page >= area.first_page + pages_for_bytes(live * 4)) continue;
    words = std::min<std::size_t>(kWordsPerPage, live - std::size_t{page - area.first_page} * kWordsPerPage);
  }
  return accepts_words(std::size_t{page} * kWordsPerPage, static_cast<u32>(words), content) && is_zero(content + words * 4, content + kPageSize);
}

bool ExpectedPages::accepts(u32 page, const u8* content) const {
  const PageKind kind = heap_.builder.kind(page);
  if (kind == PageKind::Compacted) return accepts_compacted(page, content);
  if (kind == PageKind::Root) return accepts_root(page, content);
  const std::size_t first = std::size_t{heap_.builder.source_page(page)} * kWordsPerPage;
  if (kind != PageKind::Prefix) return accepts_words(first, kWordsPerPage, content);
  for (u32 at = 0; at < kGranulesPerPage; at++) {
    // What is dead there becomes a filler.
    if (heap_.blocks.is_live({page * kGranulesPerPage + at}) && !accepts_words(first + at * 2, 2, content + at * kGranuleSize)) return false;
  }
  return true;
}

bool ExpectedPages::accepts_empty(u32 page) const {
  const PageKind kind = heap_.builder.kind(page);
  if (kind == PageKind::Empty) return true;  // the page of that number in from-space is no source of it
  const std::size_t first = std::size_t{heap_.builder.source_page(page)} * kWordsPerPage;
  for (u32 i = 0; i < kWordsPerPage; i++) {
    if (is_reference(first + i)) return false;
  }
  return kind != PageKind::Compacted;
}

}  // namespace glissade
