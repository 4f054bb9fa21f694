// Translation of 16 words at a time; translation.h says when, and what it must be equal to.
//
// What moves is one range of references, from the end of the prefix to the top: the distance of a word from its beginning, as an
// unsigned number, says with one comparison each whether a word moves, and whether its block has to be looked up; null
// and whatever lies below are huge distances. Blocks are loaded one by one: a load and an insert for each costs less
// than a gather for the live words and another for the destinations (Zen 4), and a block is in one cache line. A lane that has
// nothing to look up loads the block behind the last, which is always there.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own header: a vector that no lane is taken from
#include <immintrin.h>

#include <cstddef>

#include "core/compaction/translation.h"

#define GLISSADE_VECTORS __attribute__((target("avx512f,avx512vpopcntdq")))

namespace glissade::vectors {
namespace {

constexpr u32 kLanes = 16;
/// So many references are translated sooner one by one.
constexpr u32 kFew = 2;
constexpr u32 kWordsPerBlock = kGranulesPerBlock * kGranuleSize / PageSlots::kWordBytes;
static_assert(kWordsPerBlock == 1 << 7 && sizeof(Block) == 1 << 4 && offsetof(Block, live) == 0 && offsetof(Block, destination) == 8);

/// What of a page's words is done to, the same for all of them.
struct Range {
  GLISSADE_VECTORS explicit Range(const Forwarding& f)
      : first(_mm512_set1_epi32(static_cast<int>(f.ref(f.prefix_end).word))),
        compacted(_mm512_set1_epi32(static_cast<int>(2 * (f.black_begin.index - f.prefix_end.index)))),
        moving(_mm512_set1_epi32(static_cast<int>(2 * (f.top.index - f.prefix_end.index)))) {}

  __m512i first;      // the reference that distances are counted from
  __m512i compacted;  // below this distance: to be looked up
  __m512i moving;     // below this: moves
};

/// Of the 16 words at `at`, those that hold references.
GLISSADE_VECTORS inline __mmask16 references(__m512i words, const PageSlots& slots, u32 at) {
  const u32 group = at / PageSlots::kWordsPerGroup, shift = at % PageSlots::kWordsPerGroup;
  const __mmask16 values = static_cast<__mmask16>(slots.values(group) >> shift);
  __mmask16 found = static_cast<__mmask16>(slots.refs(group) >> shift);
  if (values) found |= values & _mm512_cmpeq_epi32_mask(words, _mm512_set1_epi32(layout::kTagRef)) >> 1;
  return found;
}

/// The blocks of every other lane of eight, side by side.
GLISSADE_VECTORS inline __m512i load_blocks(const u8* blocks, const u32* offsets) {
  const auto block = [&](u32 lane) GLISSADE_VECTORS { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks + offsets[lane])); };
  const __m512i two = _mm512_inserti32x4(_mm512_castsi128_si512(block(0)), block(2), 1);
  return _mm512_inserti32x4(_mm512_inserti32x4(two, block(4), 2), block(6), 3);
}

/// Destinations of eight granules, of which `bits` are their places in their blocks.
GLISSADE_VECTORS inline __m256i destinations(const u8* blocks, const u32* offsets, __m256i bits) {
  const __m512i even = load_blocks(blocks, offsets), odd = load_blocks(blocks, offsets + 1);
  const __m512i live = _mm512_unpacklo_epi64(even, odd);
  const __m512i destination = _mm512_unpackhi_epi64(even, odd);  // and `cover` above it
  const __m512i not_below = _mm512_sllv_epi64(_mm512_set1_epi64(-1), _mm512_cvtepu32_epi64(bits));
  const __m512i below = _mm512_popcnt_epi64(_mm512_andnot_si512(not_below, live));
  return _mm512_cvtepi64_epi32(_mm512_add_epi64(destination, below));
}

}  // namespace

bool usable() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vpopcntdq"); }

// Not for ThreadSanitizer: the survey reads here what mutators write. x86-64 does not tear a word of an aligned vector, and of a
// slot that is written during the survey the answer does not count: its card is dirty (survey.cc).
__attribute__((no_sanitize("thread")))
GLISSADE_VECTORS bool leads_to_moving(const Forwarding& forwarding, const u8* page, const PageSlots& slots) {
  const Range range(forwarding);
  for (u32 at = 0; at < kPageSize / PageSlots::kWordBytes; at += kLanes) {
    const __m512i words = _mm512_loadu_si512(page + at * PageSlots::kWordBytes);
    if (_mm512_mask_cmplt_epu32_mask(references(words, slots, at), _mm512_sub_epi32(words, range.first), range.moving)) return true;
  }
  return false;
}

GLISSADE_VECTORS void translate(const Forwarding& forwarding, u8* page, const PageSlots& slots) {
  const Range range(forwarding);
  const __m512i slide = _mm512_set1_epi32(static_cast<int>(forwarding.slide_words()));
  const __m512i base = _mm512_set1_epi32(static_cast<int>(forwarding.base_word));
  const u8* blocks = reinterpret_cast<const u8*>(&forwarding.blocks->of(forwarding.prefix_end));
  alignas(64) u32 offsets[kLanes];
  for (u32 at = 0; at < kPageSize / PageSlots::kWordBytes; at += kLanes) {
    u8* line = page + at * PageSlots::kWordBytes;
    const __m512i words = _mm512_loadu_si512(line);
    const __m512i distance = _mm512_sub_epi32(words, range.first);
    const __mmask16 moving = _mm512_mask_cmplt_epu32_mask(references(words, slots, at), distance, range.moving);
    if (static_cast<u32>(__builtin_popcount(moving)) <= kFew) {
      for (u32 rest = moving; rest; rest &= rest - 1) {
        u32* word = reinterpret_cast<u32*>(line) + __builtin_ctz(rest);
        *word = forwarding.of(Ref{*word}).word;
      }
      continue;
    }
    const __mmask16 compacted = _mm512_mask_cmplt_epu32_mask(moving, distance, range.compacted);
    const __m512i sought = _mm512_mask_mov_epi32(range.compacted, compacted, distance);
    _mm512_store_si512(offsets, _mm512_slli_epi32(_mm512_srli_epi32(sought, 7), 4));
    const __m512i bits = _mm512_and_si512(_mm512_srli_epi32(sought, 1), _mm512_set1_epi32(kGranulesPerBlock - 1));
    const __m256i low = destinations(blocks, offsets, _mm512_castsi512_si256(bits));
    const __m256i high = destinations(blocks, offsets + kLanes / 2, _mm512_extracti64x4_epi64(bits, 1));
    const __m512i granules = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    const __m512i found = _mm512_add_epi32(base, _mm512_slli_epi32(granules, 1));
    const __m512i slid = _mm512_add_epi32(words, slide);
    _mm512_mask_storeu_epi32(line, moving, _mm512_mask_mov_epi32(slid, compacted, found));
  }
}

}  // namespace glissade::vectors
