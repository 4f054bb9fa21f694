// Units of the heap, as one-word newtypes that do not mix.
//
// A Ref is what the mutator holds: the index of an object's header in the 32-bit view of the heap buffer.
// A Granule counts 8-byte words from the start of the flipped range; a PageIndex counts its 4 KiB pages. Objects
// of the moving space, large objects that hold references and root areas all have a page index, because all of
// them are flipped together. Pointer-free large objects lie below the flipped range and have a Ref only.
#pragma once

#if __cplusplus < 202002L
#error "glissade needs C++20: the gyp target must remove Node's -std flag"
#endif

#include <cstddef>
#include <cstdint>

namespace glissade {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i32 = std::int32_t;
using i64 = std::int64_t;

inline constexpr u32 kPageShift = 12;
inline constexpr u32 kPageSize = 1u << kPageShift;
inline constexpr u32 kGranuleShift = 3;
inline constexpr u32 kGranuleSize = 1u << kGranuleShift;
inline constexpr u32 kGranulesPerPage = kPageSize / kGranuleSize;
/// Words are 32 bits: the unit of a Ref.
inline constexpr u32 kWordsPerPage = kPageSize / 4;
/// A block is what one 64-bit word of live bits covers: 64 granules, 512 bytes.
inline constexpr u32 kGranulesPerBlock = 64;
inline constexpr u32 kBlockShift = 9;
inline constexpr u32 kBlocksPerPage = kPageSize >> kBlockShift;
inline constexpr std::size_t kGiB = std::size_t{1} << 30;
inline constexpr std::size_t kMiB = std::size_t{1} << 20;
/// Objects of this size and above are large: page-aligned, never moved.
inline constexpr u32 kLargeObjectBytes = 32 * 1024;
inline constexpr u32 kLargeObjectGranules = kLargeObjectBytes / kGranuleSize;

struct Ref {
  u32 word = 0;
  constexpr bool is_null() const { return word == 0; }
  friend constexpr bool operator==(Ref, Ref) = default;
};

struct Granule {
  u32 index = 0;
  constexpr u32 block() const { return index / kGranulesPerBlock; }
  constexpr u32 bit() const { return index % kGranulesPerBlock; }
  constexpr u32 page() const { return index / kGranulesPerPage; }
  friend constexpr auto operator<=>(Granule, Granule) = default;
};

struct PageIndex {
  u32 index = 0;
  constexpr Granule first_granule() const { return {index * kGranulesPerPage}; }
  friend constexpr auto operator<=>(PageIndex, PageIndex) = default;
};

inline constexpr u32 pages_for_bytes(std::size_t bytes) {
  return static_cast<u32>((bytes + kPageSize - 1) >> kPageShift);
}
inline constexpr u32 pages_for_granules(u32 granules) {
  return (granules + kGranulesPerPage - 1) / kGranulesPerPage;
}
inline constexpr std::size_t round_up(std::size_t value, std::size_t unit) {
  return (value + unit - 1) / unit * unit;
}

}  // namespace glissade
