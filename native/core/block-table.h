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

#include <atomic>

#include "mapped-array.h"

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

  bool is_live(Granule g) const { return of(g).live.load(std::memory_order_acquire) >> g.bit() & 1; }

  /// Sets the header's bit. True: this call did it, and the caller must `set_body` and scan the object.
  /// acq_rel: pairs with other markers' claims of the same object.
  bool mark_header(Granule g) {
    const u64 bit = u64{1} << g.bit();
    std::atomic<u64>& live = of(g).live;
    if (live.load(std::memory_order_relaxed) & bit) return false;
    return !(live.fetch_or(bit, std::memory_order_acq_rel) & bit);
  }

  /// Sets the bits of the granules after the header.
  void set_body(Granule header, u32 granules) {
    u32 first = header.index + 1;
    const u32 end = header.index + granules;
    while (first < end) {
      const u32 block = first / kGranulesPerBlock;
      const u32 bit = first % kGranulesPerBlock;
      const u32 count = end - first < kGranulesPerBlock - bit ? end - first : kGranulesPerBlock - bit;
      const u64 mask = (count == 64 ? ~u64{0} : (u64{1} << count) - 1) << bit;
      if (bit == 0) blocks_[block].cover = header.index + 1;  // +1: granule 0 is a legal header, 0 means none
      // release: whoever sees bit 0 of the block sees `cover`.
      blocks_[block].live.fetch_or(mask, std::memory_order_release);
      first += count;
    }
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

  void prefetch(Granule g) const { __builtin_prefetch(&of(g)); }

 private:
  MappedArray<Block> blocks_;
};

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
