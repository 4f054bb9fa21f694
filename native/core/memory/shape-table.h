// Shapes as the collector reads them: straight from the control words that the mutator's side wrote.
//
// A shape is complete before its id is published (the definer writes the entry, then the count), and never changes.
// Any thread may read; nobody in the core writes.
#pragma once

#include <algorithm>

#include "core/memory/layout.h"

namespace glissade {

/// One slot that bears references: `offset` bytes from the header, a 64-bit value or a 32-bit ref.
struct SlotEntry {
  u32 bits;
  u32 offset() const { return bits >> 1; }
  bool is_value() const { return bits & 1; }
};

struct ShapeEntry {
  i32 kind;
  i32 size;
  i32 slot_start;
  i32 slot_count;  // of an array: layout::Weak

  bool is_fixed() const { return kind == static_cast<i32>(layout::ShapeKind::Fixed); }
  bool is_ref_array() const { return kind == static_cast<i32>(layout::ShapeKind::ArrayRef); }
  bool is_value_array() const { return kind == static_cast<i32>(layout::ShapeKind::ArrayValue); }
  /// Weak slots are not followed by marking; to whatever moves objects they are like any other.
  layout::Weak weak() const { return is_fixed() ? layout::Weak::None : static_cast<layout::Weak>(slot_count); }
  bool has_references() const {
    return is_fixed() ? slot_count != 0 : kind <= static_cast<i32>(layout::ShapeKind::ArrayValue);
  }
};
static_assert(offsetof(ShapeEntry, kind) == 4 * layout::kShapeKind && offsetof(ShapeEntry, size) == 4 * layout::kShapeSize);
static_assert(offsetof(ShapeEntry, slot_start) == 4 * layout::kShapeSlotStart && offsetof(ShapeEntry, slot_count) == 4 * layout::kShapeSlotCount);
static_assert(layout::kShapeWeak == layout::kShapeSlotCount && sizeof(ShapeEntry) == 4 * layout::kShapeWords);

class ShapeTable {
 public:
  void bind(const i32* control) { control_ = control; }

  const ShapeEntry& operator[](u32 shape) const {
    return *reinterpret_cast<const ShapeEntry*>(control_ + layout::kShapeBase + shape * layout::kShapeWords);
  }
  const SlotEntry* slots(const ShapeEntry& shape) const {
    return reinterpret_cast<const SlotEntry*>(control_ + layout::kSlotMapBase + shape.slot_start);
  }

  /// Granules of an object with this header (its shape id and word 1).
  u32 granules(u32 shape, u32 word1) const {
    if (shape == layout::kFillerShape) return word1 >> layout::kFlagBits;
    const ShapeEntry& entry = (*this)[shape];
    if (entry.is_fixed()) return static_cast<u32>(entry.size);
    const u64 bytes = u64{word1 >> layout::kFlagBits} << entry.size;
    return 1 + static_cast<u32>((bytes + kGranuleSize - 1) >> kGranuleShift);
  }

  bool is_defined(u32 shape) const {
    return shape >= layout::kFirstShape && shape < static_cast<u32>(control_[layout::kShapeCountWord]);
  }

 private:
  const i32* control_ = nullptr;
};

/// Calls `visit(offset, is_value)` for each reference-bearing slot of an object whose byte offset from the header lies
/// in [begin, end). Slots never straddle a granule, so a page sees whole slots.
template <typename Visit>
inline void for_each_slot(const ShapeTable& shapes, u32 shape, u32 begin, u32 end, Visit&& visit) {
  const ShapeEntry& entry = shapes[shape];
  if (entry.is_fixed()) {
    const SlotEntry* slot = shapes.slots(entry);
    const SlotEntry* last = slot + entry.slot_count;
    if (begin > kGranuleSize) {
      slot = std::lower_bound(slot, last, begin, [](SlotEntry s, u32 offset) { return s.offset() < offset; });
    }
    for (; slot != last && slot->offset() < end; ++slot) visit(slot->offset(), slot->is_value());
  } else if (entry.is_ref_array()) {
    for (u32 at = std::max(begin, kGranuleSize); at < end; at += 4) visit(at, false);
  } else if (entry.is_value_array()) {
    for (u32 at = std::max(begin, kGranuleSize); at < end; at += 8) visit(at, true);
  }
}

/// The same from the last slot to the first.
template <typename Visit>
inline void for_each_slot_backwards(const ShapeTable& shapes, u32 shape, u32 begin, u32 end, Visit&& visit) {
  const ShapeEntry& entry = shapes[shape];
  if (entry.is_fixed()) {
    const SlotEntry* first = shapes.slots(entry);
    const SlotEntry* slot = first + entry.slot_count;
    while (slot != first && (slot - 1)->offset() >= end) --slot;
    for (; slot != first && (slot - 1)->offset() >= begin; --slot) visit((slot - 1)->offset(), (slot - 1)->is_value());
  } else if (entry.is_ref_array()) {
    for (u32 at = end; at > std::max(begin, kGranuleSize); at -= 4) visit(at - 4, false);
  } else if (entry.is_value_array()) {
    for (u32 at = end; at > std::max(begin, kGranuleSize); at -= 8) visit(at - 8, true);
  }
}

}  // namespace glissade
