// Maps and moves the ranges of one heap; see address-space.h for why they lie as they do.
#include "core/memory/address-space.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "core/assert.h"
#include "core/kernel/injection.h"
#include "core/memory/layout.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

namespace glissade {
namespace {

using Part = AddressSpace::Part;

/// Held from an mremap to the end of what it may leave behind: no other heap of the process comes to lie in a hole, for one could not be
/// told from the other (`own_parts`).
std::mutex mapping_heaps;

constexpr int kReserveFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

u8* align_up(u8* address, std::size_t unit) {
  return reinterpret_cast<u8*>(round_up(reinterpret_cast<std::uintptr_t>(address), unit));
}

bool map_readwrite(u8* address, std::size_t bytes) {
  return mmap(address, bytes, PROT_READ | PROT_WRITE, kReserveFlags | MAP_FIXED, -1, 0) == address &&
         madvise(address, bytes, MADV_DONTFORK) == 0;
}

/// NOHUGEPAGE: a 4 KiB move out of a huge page splits it (300 µs). It also keeps this VMA apart from its neighbours.
/// EINVAL: a kernel without transparent huge pages; its VMAs are kept apart by the anon_vma then.
bool forbid_huge_pages(u8* address, std::size_t bytes) { return madvise(address, bytes, MADV_NOHUGEPAGE) == 0 || errno == EINVAL; }

u8* reserve(std::size_t bytes) {
  void* address = mmap(nullptr, bytes, PROT_NONE, kReserveFlags, -1, 0);
  return address == MAP_FAILED ? nullptr : static_cast<u8*>(address);
}

/// What of a range is a mapping of this file: what goes on to no child (DONTFORK), which is said of few others. All of it where the
/// system does not tell.
std::vector<Part> own_parts(u8* range, std::size_t bytes) {
  std::FILE* maps = std::fopen("/proc/self/smaps", "re");
  if (!maps) return {{range, bytes}};
  const auto low = reinterpret_cast<std::uintptr_t>(range), high = low + bytes;
  std::vector<Part> parts;
  char line[512];
  unsigned long begin = 0, end = 0;
  while (std::fgets(line, sizeof line, maps)) {
    unsigned long first, last;
    if (std::sscanf(line, "%lx-%lx ", &first, &last) == 2) {
      begin = std::max(first, low);
      end = std::min(last, high);
    } else if (begin < end && std::strncmp(line, "VmFlags:", 8) == 0 && std::strstr(line, " dc")) {
      parts.push_back({range + (begin - low), end - begin});
    }
  }
  std::fclose(maps);
  return parts;
}

bool cover(const std::vector<Part>& parts, std::size_t bytes) {
  std::size_t covered = 0;
  for (const Part& part : parts) covered += part.bytes;
  return covered == bytes;
}

/// Maps a range that nothing is mapped in.
bool map_hole(u8* range, std::size_t bytes, int protection) {
  void* address = mmap(range, bytes, protection, kReserveFlags | MAP_FIXED_NOREPLACE, -1, 0);
  if (address != range) {
    if (address != MAP_FAILED) munmap(address, bytes);  // a kernel before 4.17 takes it for a hint
    return false;
  }
  madvise(range, bytes, MADV_DONTFORK);
  forbid_huge_pages(range, bytes);
  return true;
}

}  // namespace

Geometry Geometry::for_heap(std::size_t max_bytes, std::size_t root_bytes, std::size_t buffer_limit, bool roomy) {
  Geometry g{};
  g.max_bytes = max_bytes / kPageSize * kPageSize;  // a hard limit
  g.root_bytes = round_up(root_bytes, kPageSize);
  // Address space is free and lets either kind of object fill the heap in spite of holes: twice the budget for the
  // kind that shares its range with the moving space, once (and a page for null) for the pointer-free kind. Where
  // the buffer ends first, the moving range is served first; pointer-free objects then live in it too.
  const std::size_t limit = buffer_limit / kPageSize * kPageSize;
  g.moving_bytes = std::min((roomy ? 8 : 2) * g.max_bytes, limit - kPageSize);
  if (roomy && limit >= 3 * g.max_bytes + kPageSize) g.moving_bytes = std::min(g.moving_bytes, limit - g.max_bytes - kPageSize);
  if (limit - g.moving_bytes < g.max_bytes + kPageSize) {
    g.moving_bytes = std::min(round_up(g.max_bytes + g.max_bytes / 4, kPageSize), limit - kPageSize);
  }
  g.pointer_free_bytes = std::min(g.max_bytes + kPageSize, limit - g.moving_bytes);
  g.flipped_bytes = round_up(g.moving_bytes + g.root_bytes, kGiB);
  g.control_bytes = round_up(layout::kControlWords * 4ull, kPageSize);
  g.card_bytes = round_up(g.heap_buffer_bytes() / layout::kCardBytes, kPageSize);
  g.root_card_bytes = round_up(g.root_bytes / layout::kCardBytes, kPageSize);
  g.overflow_pages = static_cast<u32>(g.max_bytes / kPageSize) + 1024;
  // Every page that is built takes a buffer of its own: root pages, too, and what threads hold or lose.
  if (roomy) g.overflow_pages += static_cast<u32>(g.root_bytes / kPageSize) + 4096;
  return g;
}

bool AddressSpace::map(const Geometry& geometry, std::string& error) {
  std::lock_guard<std::mutex> lock(mapping_heaps);
  geometry_ = geometry;
  const std::size_t below = geometry.pointer_free_bytes;
  GLISSADE_ASSERT(below % kPageSize == 0 && geometry.moving_bytes % kPageSize == 0, "spaces that are not whole pages");
  const std::size_t above = geometry.control_bytes + geometry.card_bytes + geometry.root_card_bytes;
  reservation_bytes_ = below + geometry.flipped_bytes + above + 2 * kGiB;
  auto fail = [&](const char* what) {
    error = std::string(what) + ": " + std::strerror(errno);
    unmap();
    return false;
  };
  reservation_ = reserve(reservation_bytes_);
  if (!reservation_) return fail("reserving the heap's address space");
  flipped_ = align_up(reservation_ + below, kGiB);
  if (!reserve_from_space()) return fail("reserving from-space");
  if (!map_readwrite(flipped_ - below, below)) return fail("mapping the pointer-free space");
  if (!map_readwrite(flipped_, geometry.flipped_bytes)) return fail("mapping the flipped range");
  if (!forbid_huge_pages(flipped_, geometry.flipped_bytes)) return fail("NOHUGEPAGE");
  if (!map_readwrite(flipped_ + geometry.flipped_bytes, above)) return fail("mapping the control words");
  const std::size_t overflow = std::size_t{geometry.overflow_pages} << kPageShift;
  overflow_ = reserve(overflow);
  if (!overflow_ || !map_readwrite(overflow_, overflow)) return fail("mapping the buffer overflow");
  if (!forbid_huge_pages(overflow_, overflow)) return fail("NOHUGEPAGE");
  return true;
}

bool AddressSpace::reserve_from_space() {
  const std::size_t bytes = geometry_.flipped_bytes + kGiB;
  u8* reservation = reserve(bytes);
  if (!reservation) return false;
  from_reservation_ = reservation;
  from_reservation_bytes_ = bytes;
  from_ = align_up(reservation, kGiB);
  return true;
}

void AddressSpace::expect_move() {
  if (!from_) return;
  mmap(from_, geometry_.flipped_bytes, PROT_NONE, kReserveFlags | MAP_FIXED, -1, 0);
  madvise(from_, geometry_.flipped_bytes, MADV_DONTFORK);
}

int AddressSpace::move_to_from_space() {
  if (int injected = injection::check(injection::Op::Mremap)) return injected;
  std::lock_guard<std::mutex> lock(mapping_heaps);
  if (!from_) {
    if (!reserve_from_space()) return ENOMEM;
    expect_move();
  }
  const std::size_t bytes = geometry_.flipped_bytes;
  if (mremap(flipped_, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, from_) == from_) return 0;
  const int error = errno;
  // What is to be replaced is unmapped before the kernel knows whether it can be: until here anybody's mapping may have come to lie there.
  if (map_hole(from_, bytes, PROT_NONE)) return error;
  const std::vector<Part> ours = own_parts(from_, bytes);
  // A range that somebody has split (by locking or protecting a part) may have moved in part.
  copy_back(ours);
  if (cover(ours, bytes)) reset_from_space();
  else leave_from_space(ours);
  return error;
}

int AddressSpace::move_back() {
  std::lock_guard<std::mutex> lock(mapping_heaps);
  const std::size_t bytes = geometry_.flipped_bytes;
  int error = injection::check(injection::Op::Mremap);
  // DONTUNMAP again: a plain move would leave a hole where from-space was, for anybody to map something into.
  if (error == 0 && mremap(from_, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, flipped_) != flipped_) error = errno;
  if (error != 0) {
    if (!map_hole(flipped_, bytes, PROT_READ | PROT_WRITE) && !cover(own_parts(flipped_, bytes), bytes)) {
      std::fprintf(stderr, "glissade: a flip could not be undone (%s), and another mapping lies where the heap was\n", std::strerror(error));
      std::abort();
    }
    copy_back({{from_, bytes}});
  }
  reset_from_space();
  return error;
}

void AddressSpace::copy_back(const std::vector<Part>& parts) {
  unsigned char state;
  const auto mapped = [&](u8* page) { return mincore(page, kPageSize, &state) == 0; };
  // Present or swapped; the other pages, and what is not mapped, would cost a look at each.
  constexpr u64 kHasPage = u64{3} << 62;
  constexpr std::size_t kPages = 512;
  u64 entries[kPages];
  static constexpr u8 zeros[kPageSize] = {};
  const int pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  for (const Part& part : parts) {
    mprotect(part.begin, part.bytes, PROT_READ);
    for (std::size_t at = 0; at < part.bytes; at += kPages * kPageSize) {
      const std::size_t pages = std::min(kPages, (part.bytes - at) / kPageSize);
      const auto entry = static_cast<off_t>(reinterpret_cast<std::uintptr_t>(part.begin + at) / kPageSize * 8);
      const bool known = pread(pagemap, entries, pages * 8, entry) == static_cast<ssize_t>(pages * 8);
      for (std::size_t i = 0; i < pages; i++) {
        u8* from = part.begin + at + i * kPageSize;
        if (known ? (entries[i] & kHasPage) == 0 : !mapped(from)) continue;
        if (std::memcmp(from, zeros, kPageSize) != 0) std::memcpy(flipped_ + (from - from_), from, kPageSize);
      }
    }
  }
  if (pagemap >= 0) ::close(pagemap);
}

void AddressSpace::leave_from_space(const std::vector<Part>& ours) {
  for (const Part& part : ours) munmap(part.begin, part.bytes);
  // The margins that aligned it were never in anybody's way.
  u8* end = from_reservation_ + from_reservation_bytes_;
  if (from_ > from_reservation_) munmap(from_reservation_, static_cast<std::size_t>(from_ - from_reservation_));
  if (from_ + geometry_.flipped_bytes < end) munmap(from_ + geometry_.flipped_bytes, static_cast<std::size_t>(end - from_) - geometry_.flipped_bytes);
  from_ = from_reservation_ = nullptr;
}

void AddressSpace::reset_from_space() {
  if (!from_) return;
  constexpr std::size_t kPiece = 64 * kMiB;
  for (std::size_t at = 0; at < geometry_.flipped_bytes; at += kPiece) {
    const std::size_t bytes = std::min(kPiece, geometry_.flipped_bytes - at);
    // The pages first: madvise frees them beside page faults, mmap would hold them up for milliseconds.
    madvise(from_ + at, bytes, MADV_DONTNEED);
    // If the system refuses, this piece keeps its pages and stays readable until the next flip replaces it: no harm to the
    // heap, only to its footprint.
    mmap(from_ + at, bytes, PROT_NONE, kReserveFlags | MAP_FIXED, -1, 0);
  }
}

void AddressSpace::drop_overflow(u32 pages) {
  if (pages) madvise(overflow_, std::size_t{pages} << kPageShift, MADV_DONTNEED);
}

void AddressSpace::drop_pages() {
  const std::size_t below = geometry_.pointer_free_bytes;
  const auto drop = [](u8* range, std::size_t bytes) {
    // Of locked pages madvise drops none. They are nobody's from now on.
    munlock(range, bytes);
    madvise(range, bytes, MADV_DONTNEED);
  };
  drop(flipped_ - below, below + geometry_.flipped_bytes);
  drop(cards(), geometry_.card_bytes + geometry_.root_card_bytes);
  reset_from_space();
  munlock(overflow_, std::size_t{geometry_.overflow_pages} << kPageShift);
  drop_overflow(geometry_.overflow_pages);
}

void AddressSpace::unmap() {
  if (reservation_) munmap(reservation_, reservation_bytes_);
  if (from_reservation_) munmap(from_reservation_, from_reservation_bytes_);
  if (overflow_) munmap(overflow_, std::size_t{geometry_.overflow_pages} << kPageShift);
  reservation_ = from_reservation_ = overflow_ = nullptr;
}

}  // namespace glissade
