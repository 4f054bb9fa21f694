// Prepare: from live bits to a complete forwarding, while mutators run and allocate black above `black_begin`.
//
// One pass counts live granules by page and chooses the dense prefix. If garbage need not be compacted (reuse.cc), which another pass
// or two over the pages that are partly live may have to tell, that is all. Otherwise a second finds the dense runs that slide by
// whole pages and makes fillers of their holes, which are live from then on; a third gives every block its destination (an exclusive scan) and every to-space page the object
// that covers its first byte. Headers are read in place: shapes and lengths do not change while an object is live (setShape
// keeps size and reference map).
#include <algorithm>
#include <mutex>

#include "core/heap.h"

namespace glissade {
namespace {

/// The prefix that stays is at least this dense; explicit collections leave only full pages alone.
constexpr double kPrefixDensity = 0.95;
/// Moving less than this is not worth a flip: pages, and a fraction of the pages in use.
constexpr u32 kWorthPages = 32;
constexpr double kWorthFraction = 0.03;
constexpr u32 kProgressPages = 64;

}  // namespace

u32 Heap::choose_prefix(bool forced) {
  const u32 begin = moving.begin;
  const u32 end = moving.black_begin;
  u64 live = 0;
  u64 young_live = 0, young_pages = 0;
  u32 prefix = begin;
  for (u32 page = begin; page < end; page++) {
    u32 granules = 0;
    for (u32 b = page * kBlocksPerPage; b < (page + 1) * kBlocksPerPage; b++) {
      granules += static_cast<u32>(__builtin_popcountll(blocks.at(b).live.load(std::memory_order_relaxed)));
    }
    page_live[page] = static_cast<u16>(granules);
    live += granules;
    // Nobody is given a page of these before the cycle's end.
    if (page_young[page]) {
      page_young[page] = 0;
      young_pages++;
      young_live += granules;
    }
    const u64 possible = u64{page - begin + 1} * kGranulesPerPage;
    const bool dense = forced ? live == possible
                              : static_cast<double>(live) >= kPrefixDensity * static_cast<double>(possible) &&
                                    granules >= kPrefixDensity * kGranulesPerPage;
    if (dense) prefix = page + 1;
    if (page % kProgressPages == 0) pacing.advance(kProgressPages);
  }
  live_granules_ = live;
  young_survival_ = young_pages ? static_cast<double>(young_live) / static_cast<double>(young_pages * kGranulesPerPage) : 1;
  return options.fresh_windows ? begin : prefix;
}

void Heap::align_runs(bool forced) {
  aligned_pages_.clear();
  const double density = forced ? 1.0 : kPrefixDensity;
  const u32 end = moving.black_begin;
  for (u32 page = forwarding.prefix_end.page(); page < end;) {
    u64 live = 0;
    u32 first = page;
    for (; page < end; page++) {
      const double possible = static_cast<double>(page + 1 - first) * kGranulesPerPage;
      if (page_live[page] < kGranulesPerPage / 2 || static_cast<double>(live + page_live[page]) < density * possible) break;
      live += page_live[page];
    }
    Granule header;
    while (first < page && blocks.covering_header(first * kBlocksPerPage, header)) first++;
    if (page - first >= kAlignedRun) {
      fill_holes({first * kGranulesPerPage}, {page * kGranulesPerPage});
      std::fill(&page_live[first], &page_live[first] + (page - first), static_cast<u16>(kGranulesPerPage));
      aligned_pages_.push_back(first);
    }
    if (page == first || page_live[page] < kGranulesPerPage / 2) page++;
  }
}

void Heap::fill_holes(Granule begin, Granule end) {
  // Nobody can reach what is dead: a filler may be written there while mutators run.
  for (u32 at = begin.index; at < end.index;) {
    const u32 bit = at % kGranulesPerBlock;
    const u64 dead = ~blocks.of({at}).live.load(std::memory_order_relaxed) >> bit;
    if (dead == 0) {
      at += kGranulesPerBlock - bit;
      continue;
    }
    at += static_cast<u32>(__builtin_ctzll(dead));
    const u32 next = next_live(blocks, {at}, end).index;
    u32* words = reinterpret_cast<u32*>(granule_address({at}));
    words[0] = layout::kFillerShape;
    words[1] = (next - at) << layout::kFlagBits;
    blocks.mark<false>({at}, next - at);
    at = next;
  }
}

void Heap::scan_blocks() {
  const Forwarding& f = forwarding;
  u32 next = f.to_begin.index;     // destination of the next live granule
  u32 last_live = 0;               // the live granule before it, in from-space
  u32 open_page = ~0u;             // the to-space page being filled
  const u32 prefix_block = f.prefix_end.index / kGranulesPerBlock;
  const u32 end_block = f.black_begin.index / kGranulesPerBlock;

  // The live object that covers granule `at` (live), from the block's covering object or its first live granule.
  const auto covering = [&](u32 at, PageInfo& info) {
    const u32 block = at / kGranulesPerBlock;
    Granule header;
    if (!blocks.covering_header(block, header)) header = next_live(blocks, {block * kGranulesPerBlock}, {at + 1});
    for (;;) {
      const u8* object = granule_address(header);
      const u32 shape = word_at(object);
      const u32 granules = shapes.granules(shape, word_at(object + 4));
      if (at < header.index + granules) {
        const bool begins = header.index == at;
        info.shape = begins ? 0 : shape;
        info.phase = at - header.index;
        info.remaining = begins ? 0 : header.index + granules - at;
        return;
      }
      header = next_live(blocks, {header.index + granules}, {at + 1});
    }
  };

  for (u32 page = f.begin.page(); page < f.prefix_end.page(); page++) {
    PageInfo& info = page_infos[page];
    info = {};
    const u32 at = page * kGranulesPerPage;
    if (blocks.is_live({at})) covering(at, info);
  }

  source_counts.zero(f.prefix_end.page(), (f.black_begin.index - f.prefix_end.index) / kGranulesPerPage);
  const auto close_page = [&] {
    if (open_page == ~0u) return;
    PageInfo& info = page_infos[open_page];
    info.last = last_live;
    for (u32 source = info.source / kGranulesPerPage; source <= last_live / kGranulesPerPage; source++) {
      if (page_live[source]) source_counts[source].fetch_add(1, std::memory_order_relaxed);
    }
  };
  auto aligned = aligned_pages_.begin();
  for (u32 b = prefix_block; b < end_block; b++) {
    if (b % kBlocksPerPage == 0) {
      const u32 page = b / kBlocksPerPage;
      if (page % kProgressPages == 0) pacing.advance(kProgressPages);
      if (page_live[page] == 0) {
        b += kBlocksPerPage - 1;
        continue;
      }
      if (aligned != aligned_pages_.end() && page == *aligned) {
        next = static_cast<u32>(round_up(next, kGranulesPerPage));
        aligned++;
      }
    }
    Block& block = blocks.at(b);
    const u64 bits = block.live.load(std::memory_order_relaxed);
    block.destination = next;
    if (bits == 0) continue;
    const u32 count = static_cast<u32>(__builtin_popcountll(bits));
    const u32 boundary = static_cast<u32>(round_up(next, kGranulesPerPage));
    if (boundary < next + count) {
      // The block's granules cross into page `boundary`: find the one that becomes its first.
      u64 rest = bits;
      u32 previous = last_live;
      for (u32 skip = boundary - next; skip; skip--) {
        previous = b * kGranulesPerBlock + static_cast<u32>(__builtin_ctzll(rest));
        rest &= rest - 1;
      }
      const u32 source = b * kGranulesPerBlock + static_cast<u32>(__builtin_ctzll(rest));
      last_live = previous;
      close_page();
      open_page = boundary / kGranulesPerPage;
      PageInfo& info = page_infos[open_page];
      info.source = source;
      covering(source, info);
    }
    next += count;
    last_live = b * kGranulesPerBlock + 63 - static_cast<u32>(__builtin_clzll(bits));
  }
  close_page();
  forwarding.compact_end = {next};
}

u32 Heap::possible_gain(u32 prefix) const {
  u64 live = 0;
  for (u32 page = prefix; page < moving.black_begin; page++) live += page_live[page];
  return moving.black_begin - prefix - static_cast<u32>(round_up(live, kGranulesPerPage) / kGranulesPerPage);
}

bool Heap::is_worth_moving(u32 gain) const {
  return gain >= kWorthPages && gain >= kWorthFraction * static_cast<double>(moving.black_begin - moving.begin);
}

bool Heap::plan(bool forced, u32 prefix) {
  Forwarding& f = forwarding;
  f.base_word = base_word;
  f.blocks = &blocks;
  f.begin = {moving.begin * kGranulesPerPage};
  f.black_begin = {moving.black_begin * kGranulesPerPage};
  f.top = f.black_begin;  // the flip sets it to where black allocation has got by then
  f.prefix_end = {prefix * kGranulesPerPage};
  u32 to_begin = prefix;
  if (options.fresh_windows) {
    // Not where anything was in the last collection; refs of the collection before that may lie there again. Above it lies whatever may
    // be allocated next: a window that leaves no room for that makes a heap that is nearly empty look exhausted.
    const u32 live_pages = static_cast<u32>(live_granules_ / kGranulesPerPage) + 2;
    std::lock_guard<SpaceLock> lock(moving.lock);
    const u32 room = moving.large_low;
    const u32 slack = max_pages_ / 8;
    const u32 above = moving.top + slack;
    const u32 allocatable = std::max(live_pages, max_pages_ - std::min(max_pages_, moving.large_pages));
    if (above + allocatable + slack < room) to_begin = above;
    else if (moving.begin != 0) to_begin = 0;
    else if (live_pages + slack < room) to_begin = std::min(above, room - live_pages - slack);
    else return false;
  }
  f.to_begin = {to_begin * kGranulesPerPage};
  align_runs(forced);
  scan_blocks();
  f.to_black_begin = {static_cast<u32>(round_up(f.compact_end.index, kGranulesPerPage))};
  f.to_top = f.to_black_begin;  // the flip sets these, too; until then nothing is to be found by those of the flip before
  f.slide = 0;
  if (options.fresh_windows) return true;
  const u32 gain = (f.black_begin.index - f.to_black_begin.index) / kGranulesPerPage;
  return forced ? gain > 0 : is_worth_moving(gain);
}

}  // namespace glissade
