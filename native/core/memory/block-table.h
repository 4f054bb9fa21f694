// Live words and destinations, a block's side by side so that a forwarding costs one cache line.
//
// A block is 64 granules (512 bytes) of the moving space. While marking, `live` gathers one bit per live granule; an
// object is marked when the bit of its header granule is set, because that granule belongs to nobody else. `cover`
// tells where the object that reaches into the block from before it begins; it is written by the one marker that
// marks that object, before the block's bits (release/acquire through `live`), so an object start can be found from
// any granule by walking at most one block. Prepare fills `destination` (an exclusive scan of the popcounts).
// The new place of a granule is then destination + popcount(live bits below it): the Compressor's forwarding
// (Kermany and Petrank, PLDI 2006), without touching the object.
#pragma once

#include <algorithm>
#include <atomic>

#include "core/kernel/mapped-array.h"

namespace glissade {

struct Block {
  std::atomic<u64> live;
  u32 destination;  // granule, of the block's first live granule
  u32 cover;        // granule of the header of the object that covers the block's first granule from outside; 0 none
};
static_assert(sizeof(Block) == 16);

class BlockTable {
 public:
  bool map(std::size_t moving_bytes) { return blocks_.map((moving_bytes >> kBlockShift) + 1); }

  Block& of(Granule g) { return blocks_[g.block()]; }
  const Block& of(Granule g) const { return blocks_[g.block()]; }
  Block& at(u32 block) { return blocks_[block]; }
  const Block& at(u32 block) const { return blocks_[block]; }
  void clear(u32 first_block, u32 count) { blocks_.zero(first_block, count); }

  /// Whether the granule belongs to a marked object. acquire: pairs with the markers' RMWs or release stores.
  bool is_live(Granule g) const { return of(g).live.load(std::memory_order_acquire) >> g.bit() & 1; }

  /// Marks the object at `header`, all its granules. True: this call did it, and the caller must scan the object.
  /// `Parallel`: other markers are at work, and the bits are set by atomic RMW (acq_rel: pairs with their claims);
  /// a lone marker is the only writer of live bits and stores them plainly.
  template <bool Parallel>
  bool mark(Granule header, u32 granules) {
    const u32 room = kGranulesPerBlock - header.bit();
    const u64 bit = u64{1} << header.bit();
    std::atomic<u64>& live = of(header).live;
    const u64 seen = live.load(std::memory_order_relaxed);
    if (seen & bit) return false;
    const u64 mask = (granules >= 64 ? ~u64{0} : (u64{1} << granules) - 1) << header.bit();
    if constexpr (Parallel) {
      if (live.fetch_or(mask, std::memory_order_acq_rel) & bit) return false;
    } else {
      live.store(seen | mask, std::memory_order_release);
    }
    if (granules > room) set_body<Parallel>(header, header.index + room, header.index + granules);
    return true;
  }

  /// The same of a header, where the bit alone matters and not what its marker has written: relaxed.
  bool is_marked(Granule header) const {
    return of(header).live.load(std::memory_order_relaxed) >> header.bit() & 1;
  }

  /// The header of the object that covers the block's first granule from outside, if that object is live.
  bool covering_header(u32 block, Granule& header) const {
    const Block& b = blocks_[block];
    if (!(b.live.load(std::memory_order_acquire) & 1) || b.cover == 0) return false;
    header = {b.cover - 1};
    return true;
  }

  Granule destination(Granule g) const {
    const Block& b = of(g);
    const u64 below = b.live.load(std::memory_order_relaxed) & ((u64{1} << g.bit()) - 1);
    return {b.destination + static_cast<u32>(__builtin_popcountll(below))};
  }

  /// Sets or clears the live bits of granules that are no object. Nobody else writes live bits meanwhile.
  void set_live(Granule first, u32 granules, bool live) {
    for (u32 at = first.index, end = first.index + granules; at < end;) {
      const u32 bit = at % kGranulesPerBlock, count = std::min(end - at, kGranulesPerBlock - bit);
      const u64 mask = ~u64{0} >> (kGranulesPerBlock - count) << bit;
      std::atomic<u64>& bits = of({at}).live;
      const u64 seen = bits.load(std::memory_order_relaxed);
      bits.store(live ? seen | mask : seen & ~mask, std::memory_order_relaxed);
      at += count;
    }
  }

  void prefetch(Granule g) const { __builtin_prefetch(&of(g)); }

 private:
  /// The granules [first, end) of the object at `header`, from a block boundary on.
  template <bool Parallel>
  void set_body(Granule header, u32 first, u32 end) {
    while (first < end) {
      Block& block = blocks_[first / kGranulesPerBlock];
      const u32 count = end - first < kGranulesPerBlock ? end - first : kGranulesPerBlock;
      const u64 mask = count == 64 ? ~u64{0} : (u64{1} << count) - 1;
      block.cover = header.index + 1;  // +1: granule 0 is a legal header, 0 means none
      // release: whoever sees bit 0 of the block sees `cover`.
      // A block without room for another object has no other writer.
      if (!Parallel || count == kGranulesPerBlock) {
        block.live.store(block.live.load(std::memory_order_relaxed) | mask, std::memory_order_release);
      } else {
        block.live.fetch_or(mask, std::memory_order_release);
      }
      first += count;
    }
  }

  MappedArray<Block> blocks_;
};

/// Of a block's live bits, some of which are set: the one after the highest.
inline u32 end_of_live(u64 bits) { return kGranulesPerBlock - static_cast<u32>(__builtin_clzll(bits)); }

/// … where `length` granules or more in a row are dead between two that are live: the first of each such row. `length` is 1 to 63.
inline u64 gaps_in_live(u64 bits, u32 length) {
  u64 dead = ~bits;  // … and so many that follow
  for (u32 known = 1; known < length;) {
    const u32 more = std::min(known, length - known);
    dead &= dead >> more;
    known += more;
  }
  dead &= ~u64{0} >> (kGranulesPerBlock - end_of_live(bits)) & ~u64{0} << __builtin_ctzll(bits);
  return dead & ~(dead << 1);
}

/// The first live granule at or after `from` and before `end`; `end` if there is none.
inline Granule next_live(const BlockTable& table, Granule from, Granule end) {
  u32 at = from.index;
  while (at < end.index) {
    const u64 bits = table.at(at / kGranulesPerBlock).live.load(std::memory_order_acquire) >> (at % kGranulesPerBlock);
    if (bits) {
      at += static_cast<u32>(__builtin_ctzll(bits));
      return at < end.index ? Granule{at} : end;
    }
    at = (at / kGranulesPerBlock + 1) * kGranulesPerBlock;
  }
  return end;
}

}  // namespace glissade
