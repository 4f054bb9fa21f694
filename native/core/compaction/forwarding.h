// Where an object of before the flip lies after it. Constant from the flip to the end of the cycle; any thread reads.
//
// The flipped range of a cycle, in granules of before the flip:
//
//   [begin, prefix_end)         dense prefix: stays (its dead objects become fillers)
//   [prefix_end, black_begin)   compacted to to_begin + …: block destination + popcount. Objects slide without gaps, but
//                               for long runs of dense pages: such a run starts a new page and its holes count as live, so
//                               that its pages stay pages, and those without references are moved as they are
//   [black_begin, top)          born after remark ("black"): whole pages, slid by one distance
//   [top, …)                    large objects and roots: stay
//
// Pointer-free large objects lie below the flipped range and stay, too. (Invariant 2: callers translate a reference
// exactly once into any copy that becomes visible; translating twice would apply this map to a new address.)
#pragma once

#include "core/memory/block-table.h"

namespace glissade {

/// So many dense pages in a row are a long run; at most one page is lost to the alignment of each.
inline constexpr u32 kAlignedRun = 64;

struct Forwarding {
  u32 base_word = 0;  // Ref of granule 0: refs below are pointer-free large objects (and null)
  Granule begin, prefix_end, black_begin, top;
  Granule to_begin;       // where the compacted part starts (prefix_end, or a fresh window in checked heaps)
  Granule compact_end;    // end of the compacted part, in to-space
  Granule to_black_begin; // page-aligned
  Granule to_top;
  i32 slide = 0;          // granules from a black object's old place to its new one
  const BlockTable* blocks = nullptr;

  Granule granule(Ref ref) const { return {(ref.word - base_word) >> 1}; }
  Ref ref(Granule g) const { return {base_word + (g.index << 1)}; }

  /// The map is the identity there, so nothing needs to be looked up.
  bool is_fixed(Ref ref) const {
    if (ref.word < base_word) return true;
    const Granule g = granule(ref);
    return g < prefix_end || g >= top;
  }

  Granule of(Granule g) const {
    if (g < prefix_end || g >= top) return g;
    if (g < black_begin) return blocks->destination(g);
    return {g.index + static_cast<u32>(slide)};
  }

  Ref of(Ref old) const {
    if (old.word < base_word) return old;
    const Granule g = granule(old);
    if (g < prefix_end || g >= top) return old;
    if (g < black_begin) return ref(blocks->destination(g));
    return {old.word + slide_words()};
  }

  /// From a reference to a black object to its new one.
  u32 slide_words() const { return 2 * static_cast<u32>(slide); }

  void prefetch(Ref old) const { blocks->prefetch(granule(old)); }
};

}  // namespace glissade
