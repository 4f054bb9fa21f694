// Where references may be on a page: a bit for each of its 32-bit words.
//
// A page is walked object by object, and shapes say where an object's slots are; what is then done to the slots is the same
// for all of them, and it is done to a page's worth at a time (translation.h). Between the two stands this map. It costs an
// array or a small object a few instructions, however many slots it has, where a call for each slot would cost as much as
// its translation.
#pragma once

#include "core/memory/shape-table.h"

namespace glissade {

class PageSlots {
 public:
  static constexpr u32 kWordBytes = 4;
  static constexpr u32 kWordsPerGroup = 64;
  static constexpr u32 kGroups = kPageSize / kWordBytes / kWordsPerGroup;

  /// Words that are references, of the 64 words of a group.
  u64 refs(u32 group) const { return refs_[group]; }
  /// The first words of values, each of which is a reference if the word behind it says so.
  u64 values(u32 group) const { return values_[group]; }

  /// Slots in a row in the page's bytes [begin, end).
  void add_run(u32 begin, u32 end, bool is_value) {
    if (begin >= end) return;
    const u32 first = begin / kWordBytes, last = end / kWordBytes - 1;
    u64* groups = is_value ? values_ : refs_;
    const u64 slots = is_value ? kEvenWords : ~u64{0};
    const u64 from = slots << first % kWordsPerGroup;
    const u64 to = slots >> (kWordsPerGroup - 1 - last % kWordsPerGroup);
    u32 group = first / kWordsPerGroup;
    const u32 last_group = last / kWordsPerGroup;
    if (group == last_group) {
      groups[group] |= from & to;
      return;
    }
    groups[group] |= from;
    while (++group < last_group) groups[group] |= slots;
    groups[group] |= to;
  }

  /// The slots in the bytes [begin, end) of an object, counted from its header, of which the first lies at the page's byte `at`.
  void add_object(const ShapeTable& shapes, u32 shape, u32 at, u32 begin, u32 end) {
    const ShapeEntry& entry = shapes[shape];
    if (!entry.has_references()) return;
    if (!entry.is_fixed()) {
      const u32 payload = std::max(begin, kGranuleSize);
      add_run(at + payload - begin, at + end - begin, entry.is_value_array());
    } else if (begin == 0 && static_cast<u32>(entry.size) <= kSmallGranules) {
      add_small(shapes, shape, at);
    } else {
      for_each_slot(shapes, shape, begin, end, [&](u32 offset, bool is_value) {
        const u32 word = (at + offset - begin) / kWordBytes;
        (is_value ? values_ : refs_)[word / kWordsPerGroup] |= u64{1} << word % kWordsPerGroup;
      });
    }
  }

 private:
  static constexpr u64 kEvenWords = 0x5555555555555555;
  /// An object whose words have a bit each in one group's worth.
  static constexpr u32 kSmallGranules = kWordsPerGroup * kWordBytes / kGranuleSize;

  void add_small(const ShapeTable& shapes, u32 shape, u32 at) {
    // Neighbours are mostly of one shape.
    if (shape != small_shape_) {
      small_shape_ = shape;
      small_refs_ = small_values_ = 0;
      for_each_slot(shapes, shape, 0, kSmallGranules * kGranuleSize, [&](u32 offset, bool is_value) {
        (is_value ? small_values_ : small_refs_) |= u64{1} << offset / kWordBytes;
      });
    }
    const u32 group = at / kWordBytes / kWordsPerGroup, shift = at / kWordBytes % kWordsPerGroup;
    refs_[group] |= small_refs_ << shift;
    values_[group] |= small_values_ << shift;
    // Twice, because a shift by 64 is none. What lies behind the page's end goes where nobody looks.
    refs_[group + 1] |= small_refs_ >> 1 >> (kWordsPerGroup - 1 - shift);
    values_[group + 1] |= small_values_ >> 1 >> (kWordsPerGroup - 1 - shift);
  }

  u64 refs_[kGroups + 1] = {};
  u64 values_[kGroups + 1] = {};
  u32 small_shape_ = layout::kFreeShape;
  u64 small_refs_ = 0, small_values_ = 0;
};

}  // namespace glissade
