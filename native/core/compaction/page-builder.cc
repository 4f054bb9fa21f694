// The page builder; page-builder.h states the invariants that every function here keeps.
//
// Where time goes: reading sources, which nothing else has touched for long, and in a page full of references their
// translation: up to 1000 of them, each a lookup of a far block. So sources are asked for ahead; objects are walked for where
// their slots are only, and all slots of a page are translated together (translation.h); and pages that cannot change are
// recognised without a copy.
#include "core/compaction/page-builder.h"

#include <cstring>

#include "core/compaction/translation.h"
#include "core/heap.h"

namespace glissade {
namespace {

constexpr u32 kBlocksAhead = 8;
/// So many pages that slide as they are make a run of their own.
constexpr u32 kKeptTogether = 8;

/// Asks for a block. All of it, holes included: lines in a row come at twice the rate of lines here and there.
void prefetch_block(const u8* block) {
  for (u32 line = 0; line < 8; line++) __builtin_prefetch(block + line * 64);
}

/// Copies `granules`, in whole cache lines as long as source and destination have `room`: what is written beyond the end is
/// written again by the next run, and a call of memcpy would cost as much as a small object.
void copy_run(u8* to, const u8* from, u32 granules, u32 room) {
  constexpr u32 kLine = 8;
  u32 at = 0;
  for (; at < granules && at + kLine <= room; at += kLine) std::memcpy(to + at * kGranuleSize, from + at * kGranuleSize, kLine * kGranuleSize);
  for (; at < granules; at++) std::memcpy(to + at * kGranuleSize, from + at * kGranuleSize, kGranuleSize);
}

/// Changes to a page that stays where it is: copied only if there is one.
class Patch {
 public:
  Patch(const Forwarding& forwarding, const u8* source) : forwarding_(forwarding), source_(source) {}

  void filler(u32 granule, u32 granules) {
    const u8* at = source_ + granule * kGranuleSize;
    if (word_at(at) == layout::kFillerShape && word_at(at + 4) == granules << layout::kFlagBits) return;
    fillers_[filler_count_++] = {static_cast<u16>(granule), static_cast<u16>(granules)};
  }
  void zero_from(u32 offset) {
    if (offset < zero_from_) zero_from_ = offset;
  }

  PageContent apply(u8* buffer) const {
    const bool translated = leads_to_moving(forwarding_, source_, slots);
    if (!translated && filler_count_ == 0 && zero_from_ == kPageSize) return PageContent::Source;
    std::memcpy(buffer, source_, zero_from_);
    std::memset(buffer + zero_from_, 0, kPageSize - zero_from_);
    if (translated) translate(forwarding_, buffer, slots);
    for (u32 i = 0; i < filler_count_; i++) {
      const u32 header[2] = {layout::kFillerShape, u32{fillers_[i].granules} << layout::kFlagBits};
      std::memcpy(buffer + fillers_[i].granule * kGranuleSize, header, sizeof header);
    }
    return PageContent::Buffer;
  }

  PageSlots slots;

 private:
  struct Filler {
    u16 granule, granules;
  };
  const Forwarding& forwarding_;
  const u8* source_;
  u32 filler_count_ = 0;
  u32 zero_from_ = kPageSize;
  Filler fillers_[kGranulesPerPage / 2];
};

/// The same page before the flip, while mutators are at work in it: whether it would be copied.
class Inspection {
 public:
  Inspection(const Forwarding& forwarding, u8* source) : forwarding_(forwarding), source_(source) {}

  void filler(u32 granule, u32 granules) {
    // Nobody can reach what is dead: it is filled in place.
    u8* at = source_ + granule * kGranuleSize;
    if (word_at(at) == layout::kFillerShape && word_at(at + 4) == granules << layout::kFlagBits) return;
    const u32 header[2] = {layout::kFillerShape, granules << layout::kFlagBits};
    std::memcpy(at, header, sizeof header);
  }
  // What has been born since remark counts as fixed here: a reference to it was stored since remark, and its card says so.
  bool changes() const { return leads_to_moving(forwarding_, source_, slots); }

  PageSlots slots;

 private:
  const Forwarding& forwarding_;
  u8* source_;
};

/// Adds the slots of the object that reaches into the page; returns the granule of the page at which it ends.
u32 add_covering(PageSlots& slots, const ShapeTable& shapes, const PageInfo& info, u32 granules) {
  if (info.shape == 0) return 0;
  const u32 begin = info.phase * kGranuleSize;
  const u32 covered = info.remaining < granules ? info.remaining : granules;
  if (info.shape != layout::kFillerShape) slots.add_object(shapes, info.shape, 0, begin, begin + covered * kGranuleSize);
  return covered;
}

/// Adds the slots on this page of an object that begins at its granule `at`.
void add_object(PageSlots& slots, const ShapeTable& shapes, u32 shape, u32 at, u32 granules) {
  const u32 end = granules < kGranulesPerPage - at ? granules : kGranulesPerPage - at;
  slots.add_object(shapes, shape, at * kGranuleSize, 0, end * kGranuleSize);
}

/// Adds the slots of a page whose first `granules` are objects without holes between them.
void add_objects(PageSlots& slots, const ShapeTable& shapes, const PageInfo& info, const u8* page, u32 granules) {
  u32 at = add_covering(slots, shapes, info, granules);
  while (at < granules) {
    const u8* object = page + at * kGranuleSize;
    const u32 shape = word_at(object);
    if (shape == layout::kFreeShape) break;  // the unused rest of a TLAB
    const u32 size = shapes.granules(shape, word_at(object + 4));
    if (shape != layout::kFillerShape) add_object(slots, shapes, shape, at, size);
    at += size;
  }
}

/// A page of the prefix, from live object to live object.
template <typename Visitor>
void visit_prefix(Visitor& visitor, const ShapeTable& shapes, const BlockTable& blocks, u32 page, const PageInfo& info, const u8* source) {
  const u32 first = page * kGranulesPerPage;
  u32 at = add_covering(visitor.slots, shapes, info, kGranulesPerPage);
  while (at < kGranulesPerPage) {
    const u32 next = next_live(blocks, {first + at}, {first + kGranulesPerPage}).index - first;
    // What lies between live objects is dead: a filler keeps the page walkable and its stale references out of sight.
    if (next > at) visitor.filler(at, next - at);
    if (next == kGranulesPerPage) break;
    const u8* object = source + next * kGranuleSize;
    const u32 shape = word_at(object);
    const u32 size = shapes.granules(shape, word_at(object + 4));
    add_object(visitor.slots, shapes, shape, next, size);
    at = next + size;
  }
}

/// Adds the slots of a page of a large object.
void add_large(PageSlots& slots, const ShapeTable& shapes, const LargeObjects::Head& head, u32 pages_before) {
  const u32 begin = pages_before * kPageSize;
  const u32 size = head.granules * kGranuleSize;
  const u32 end = size - begin < kPageSize ? size : begin + kPageSize;
  slots.add_object(shapes, head.shape, 0, begin, end);
}

}  // namespace

PageKind PageBuilder::kind(u32 page) const {
  const Forwarding& f = heap_.forwarding;
  const u32 granule = page * kGranulesPerPage;
  if (page >= heap_.geometry().root_first_page()) return PageKind::Root;
  if (granule >= f.begin.index && granule < f.prefix_end.index) return PageKind::Prefix;
  if (granule >= f.to_begin.index && granule < f.compact_end.index) return PageKind::Compacted;
  if (granule >= f.to_black_begin.index && granule < f.to_top.index) return PageKind::Black;
  if (page >= heap_.flip_large_low && page < heap_.geometry().moving_pages()) return PageKind::Large;
  return PageKind::Empty;
}

u32 PageBuilder::source_page(u32 page) const {
  switch (kind(page)) {
    case PageKind::Compacted: return heap_.page_infos[page].source / kGranulesPerPage;
    case PageKind::Black:
      return static_cast<u32>(static_cast<i32>(page) - heap_.forwarding.slide / static_cast<i32>(kGranulesPerPage));
    default: return page;
  }
}

PageContent PageBuilder::build(u32 page, u8* buffer) const {
  if (is_intact(page)) return PageContent::Source;
  switch (kind(page)) {
    case PageKind::Compacted: return build_compacted(page, buffer);
    case PageKind::Prefix: return build_prefix(page, buffer);
    case PageKind::Black: return build_black(page, buffer);
    case PageKind::Large: return build_large(page, buffer);
    case PageKind::Root: return build_root(page, buffer);
    case PageKind::Empty: break;
  }
  return PageContent::Zero;
}

bool PageBuilder::is_intact(u32 page) const {
  if (page >= heap_.geometry().moving_pages()) return false;
  const u32 source = source_page(page);
  if (!heap_.intact_pages[source]) return false;
  const PageKind of = kind(page);
  // One source page can be the first of several compacted ones; it is intact as the page that it becomes whole.
  if (of == PageKind::Compacted ? !is_whole(heap_.page_infos[page]) : of != PageKind::Prefix && of != PageKind::Large) return false;
  return heap_.cards.page_is_clean((heap_.base_word * 4 >> kPageShift) + source);
}

bool PageBuilder::inspect(u32 page) const {
  const u32 source = source_page(page);
  u8* at = heap_.space.to_page({source});
  Inspection inspection(heap_.forwarding, at);
  if (kind(page) == PageKind::Prefix) {
    if (heap_.page_live[page] == kGranulesPerPage && !bears_references(page, page)) return true;
    visit_prefix(inspection, heap_.shapes, heap_.blocks, page, heap_.page_infos[page], at);
  } else if (is_whole(heap_.page_infos[page]) && !slides_alone(page)) {
    if (!bears_references(source, source)) return true;
    add_objects(inspection.slots, heap_.shapes, heap_.page_infos[page], at, kGranulesPerPage);
  } else {
    return false;
  }
  return !inspection.changes();
}

bool PageBuilder::inspect_large(u32 page, u32 head_page) const {
  Inspection inspection(heap_.forwarding, heap_.space.to_page({page}));
  add_large(inspection.slots, heap_.shapes, heap_.large_objects.head(head_page), page - head_page);
  return !inspection.changes();
}

bool PageBuilder::is_whole(const PageInfo& info) const {
  // A page that ends early may span one of from-space with holes in it: what slides together does not stay where it is.
  return info.source % kGranulesPerPage == 0 && heap_.page_live[info.source / kGranulesPerPage] == kGranulesPerPage;
}

bool PageBuilder::slides_alone(u32 page) const {
  const Forwarding& f = heap_.forwarding;
  if (kind(page) != PageKind::Compacted) return false;
  const u32 first = f.to_begin.page(), end = f.compact_end.page();
  const auto slides = [&](u32 neighbour, i32 by) {
    if (neighbour < first || neighbour >= end) return false;
    const PageInfo& info = heap_.page_infos[neighbour];
    return is_whole(info) && info.source - heap_.page_infos[page].source == static_cast<u32>(by) * kGranulesPerPage;
  };
  u32 together = 1;
  for (i32 by = 1; together < kKeptTogether && slides(page + static_cast<u32>(by), by); by++) together++;
  for (i32 by = -1; together < kKeptTogether && slides(page + static_cast<u32>(by), by); by--) together++;
  return together < kKeptTogether;
}

bool PageBuilder::bears_references(u32 first_page, u32 last_page) const {
  for (u32 page = first_page; page <= last_page; page++) {
    if (__atomic_load_n(&heap_.page_bears[page], __ATOMIC_RELAXED)) return true;
  }
  return false;
}

u32 PageBuilder::gather(const PageInfo& info, u8* buffer) const {
  const u8* from = heap_.space.from_space();
  const u32 first = info.source / kGranulesPerBlock, last = info.last / kGranulesPerBlock;
  // The next page is mostly built next, by the same thread: what it reads is asked for, too.
  const u32 end = heap_.forwarding.black_begin.index / kGranulesPerBlock;
  const auto live = [&](u32 block) { return heap_.blocks.at(block).live.load(std::memory_order_relaxed); };
  const auto ask = [&](u32 block) {
    if (live(block) != 0) prefetch_block(from + (std::size_t{block} << kBlockShift));
  };
  for (u32 block = first; block < first + kBlocksAhead && block < end; block++) ask(block);
  u32 filled = 0;
  for (u32 block = first; block <= last; block++) {
    if (block + kBlocksAhead < end) ask(block + kBlocksAhead);
    u64 bits = live(block);
    if (block == first) bits &= ~u64{0} << info.source % kGranulesPerBlock;
    if (block == last) bits &= ~u64{0} >> (kGranulesPerBlock - 1 - info.last % kGranulesPerBlock);
    const u8* at = from + (std::size_t{block} << kBlockShift);
    // Beyond the page there may be nothing to read: its neighbour may be gone.
    const u32 readable = (kBlocksPerPage - block % kBlocksPerPage) * kGranulesPerBlock;
    while (bits) {
      const u32 begin = static_cast<u32>(__builtin_ctzll(bits));
      const u64 holes = ~(bits >> begin);
      const u32 run = holes ? static_cast<u32>(__builtin_ctzll(holes)) : kGranulesPerBlock;
      copy_run(buffer + filled * kGranuleSize, at + begin * kGranuleSize, run, std::min(readable - begin, kGranulesPerPage - filled));
      filled += run;
      bits = begin + run < kGranulesPerBlock ? bits & (~u64{0} << (begin + run)) : 0;
    }
  }
  return filled;
}

PageContent PageBuilder::build_compacted(u32 page, u8* buffer) const {
  const PageInfo& info = heap_.page_infos[page];
  const bool bears = bears_references(info.source / kGranulesPerPage, info.last / kGranulesPerPage);
  if (is_whole(info)) {
    return bears ? build_whole(info.source / kGranulesPerPage, info, buffer) : PageContent::Source;
  }
  const u32 filled = gather(info, buffer);
  std::memset(buffer + filled * kGranuleSize, 0, kPageSize - filled * kGranuleSize);
  if (bears) {
    PageSlots slots;
    add_objects(slots, heap_.shapes, info, buffer, filled);
    translate(heap_.forwarding, buffer, slots);
  }
  return PageContent::Buffer;
}

PageContent PageBuilder::build_black(u32 page, u8* buffer) const {
  const u32 source = source_page(page);
  const PageInfo& info = heap_.black_infos[source];
  if (info.shape == layout::kFillerShape && info.remaining >= kGranulesPerPage) return PageContent::Zero;
  return build_whole(source, info, buffer);
}

PageContent PageBuilder::build_whole(u32 source_page, const PageInfo& info, u8* buffer) const {
  const u8* source = heap_.space.from_page({source_page});
  Patch patch(heap_.forwarding, source);
  add_objects(patch.slots, heap_.shapes, info, source, kGranulesPerPage);
  return patch.apply(buffer);
}

PageContent PageBuilder::build_prefix(u32 page, u8* buffer) const {
  if (heap_.page_live[page] == kGranulesPerPage && !bears_references(page, page)) return PageContent::Source;
  const u8* source = heap_.space.from_page({page});
  Patch patch(heap_.forwarding, source);
  visit_prefix(patch, heap_.shapes, heap_.blocks, page, heap_.page_infos[page], source);
  return patch.apply(buffer);
}

PageContent PageBuilder::build_large(u32 page, u8* buffer) const {
  if (!heap_.large_objects.covered(page)) return PageContent::Zero;
  const u32 head_page = heap_.large_objects.head_page(page);
  // Born after the flip: not part of the state that is being moved.
  if (heap_.large_born[head_page] == heap_.epoch_of_flip) return PageContent::Zero;
  const LargeObjects::Head& head = heap_.large_objects.head(head_page);
  if (!heap_.shapes[head.shape].has_references()) return PageContent::Source;
  Patch patch(heap_.forwarding, heap_.space.from_page({page}));
  add_large(patch.slots, heap_.shapes, head, page - head_page);
  return patch.apply(buffer);
}

PageContent PageBuilder::build_root(u32 page, u8* buffer) const {
  const u32 root_page = page - heap_.geometry().root_first_page();
  const i32 index = heap_.roots.area_of_page(root_page);  // an area made since has an empty snapshot
  if (index < 0) return PageContent::Zero;
  const Heap::RootSnapshot& area = heap_.root_snapshots[index];
  const u32 slot_bytes = area.is_value ? 8 : 4;
  const u64 live = u64{area.top} * slot_bytes;
  const u64 begin = u64{page - area.first_page} * kPageSize;
  if (begin >= live) return PageContent::Zero;
  Patch patch(heap_.forwarding, heap_.space.from_page({page}));
  const u32 end = live - begin < kPageSize ? static_cast<u32>(live - begin) : kPageSize;
  patch.slots.add_run(0, end, area.is_value);
  if (end < kPageSize) patch.zero_from(end);
  return patch.apply(buffer);
}

}  // namespace glissade
