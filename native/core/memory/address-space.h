// The address space of one heap: one reservation that the mutator sees, and from-space beside it.
//
//   [pointer-free large objects][ flipped range: moving space → ← large objects … roots ][control][cards]
//
// The flipped range is one VMA, a multiple of 1 GiB long and 1 GiB-aligned whatever the heap's size: mremap then
// moves page-table entries of the largest kind, and the flip's length does not depend on the heap. Its neighbours
// must not merge with it into one VMA, so it, unlike them, carries NOHUGEPAGE. From-space is a range of the same length
// elsewhere; it is PROT_NONE outside a compaction, so that a stray access to it faults at once.
// Every mapping that holds pages is MADV_DONTFORK: a page shared with a child cannot be moved (EBUSY), and Node's spawn forks.
#pragma once

#include <string>
#include <vector>

#include "core/units.h"

namespace glissade {

struct Geometry {
  std::size_t pointer_free_bytes;  // length of the pointer-free large-object space
  std::size_t moving_bytes;        // moving space and large objects that hold references
  std::size_t root_bytes;
  std::size_t max_bytes;           // the byte budget
  std::size_t flipped_bytes;       // n × 1 GiB ≥ moving + root
  std::size_t control_bytes;
  std::size_t card_bytes;
  std::size_t root_card_bytes;
  u32 overflow_pages;              // buffers beyond the recycled ones: address space, given back after each cycle

  /// Lays a heap of `max_bytes` out in a heap buffer of at most `buffer_limit` bytes. `roomy`: the moving space has room for
  /// several windows, where the limit allows it, and nothing is recycled (protection.h).
  static Geometry for_heap(std::size_t max_bytes, std::size_t root_bytes, std::size_t buffer_limit, bool roomy = false);

  std::size_t heap_buffer_bytes() const { return pointer_free_bytes + moving_bytes; }
  std::size_t control_buffer_bytes() const { return root_bytes + control_bytes + card_bytes + root_card_bytes; }
  u32 flipped_pages() const { return static_cast<u32>(flipped_bytes >> kPageShift); }
  /// Buffer indices from here on name overflow pages. One index is left out, so that no run of consecutive indices
  /// crosses from one range of addresses into the other.
  u32 first_overflow() const { return flipped_pages() + 1; }
  u32 moving_pages() const { return static_cast<u32>(moving_bytes >> kPageShift); }
  u32 pointer_free_pages() const { return static_cast<u32>(pointer_free_bytes >> kPageShift); }
  u32 root_first_page() const { return static_cast<u32>((flipped_bytes - root_bytes) >> kPageShift); }
};

class AddressSpace {
 public:
  AddressSpace() = default;
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

  /// Maps everything. False: `error` says which call failed with what.
  bool map(const Geometry& geometry, std::string& error);
  /// Gives every page back but the control words', and keeps the mutator's ranges mapped (reading zeros) for views that still exist.
  void drop_pages();
  void unmap();

  const Geometry& geometry() const { return geometry_; }
  u8* heap_buffer() const { return flipped_ - geometry_.pointer_free_bytes; }
  u8* flipped() const { return flipped_; }
  u8* from_space() const { return from_; }
  u8* roots() const { return flipped_ + geometry_.flipped_bytes - geometry_.root_bytes; }
  i32* control() const { return reinterpret_cast<i32*>(flipped_ + geometry_.flipped_bytes); }
  u8* cards() const { return reinterpret_cast<u8*>(control()) + geometry_.control_bytes; }
  u8* root_cards() const { return cards() + geometry_.card_bytes; }

  u8* to_page(PageIndex page) const { return flipped_ + (std::size_t{page.index} << kPageShift); }
  u8* from_page(PageIndex page) const { return from_ + (std::size_t{page.index} << kPageShift); }
  /// A buffer index names a from-space page, or (past them) a page of the overflow.
  u8* buffer(u32 index) const {
    const u32 overflow = geometry_.first_overflow();
    return index < overflow ? from_ + (std::size_t{index} << kPageShift)
                            : overflow_ + (std::size_t{index - overflow} << kPageShift);
  }

  /// Outside the pause, shortly before it: what mremap would have to do there otherwise. From-space is mapped anew as a whole,
  /// so that the page tables above its pieces' tables are freed, and it is a VMA of its own (DONTFORK: the reservation around
  /// it is not), which mremap replaces without splitting it off. Freeing a table also makes processors that sleep on our
  /// page tables let go of them; the shootdown in the pause then need not wake them, which takes longer than all the rest.
  void expect_move();
  /// mremap of the flipped range to from-space, leaving it mapped and empty. 0 or errno; on error nothing has moved, and from-space
  /// may lie elsewhere than before.
  int move_to_from_space();
  /// Undoes it when registering failed: all is where it was. 0, or the errno for which it had to be copied.
  int move_back();
  /// Frees from-space's pages and page tables, in pieces short enough not to hold the mmap lock for long.
  void reset_from_space();
  /// Gives the first `pages` pages of the overflow back to the kernel.
  void drop_overflow(u32 pages);

  struct Part {
    u8* begin;
    std::size_t bytes;
  };

 private:
  bool reserve_from_space();
  /// Somebody else's mapping has come to lie in from-space. What of it is ours goes back; the next flip takes another.
  void leave_from_space(const std::vector<Part>& ours);
  /// Copies back whatever lies in these parts of from-space: slow, and what no mremap can refuse.
  void copy_back(const std::vector<Part>& parts);

  Geometry geometry_{};
  u8* reservation_ = nullptr;
  std::size_t reservation_bytes_ = 0;
  u8* flipped_ = nullptr;
  u8* from_reservation_ = nullptr;
  std::size_t from_reservation_bytes_ = 0;
  u8* from_ = nullptr;  // null: lost, see leave_from_space
  u8* overflow_ = nullptr;
};

}  // namespace glissade
