// Root areas: operand stacks, handle tables, globals. They lie in the flipped range, so the flip does not depend on how
// many roots there are: after it their pages are translated lazily, like any other page (page-builder.cc).
//
// Two kinds, two ways to notice a store made while marking (decision 001):
// - a *stack* takes no barrier; its live part is copied with the trace of the roots, and again while precleaning; remark
//   compares it with the copy and visits what differs. A stack is short (an operand stack of 16 384 values is 128 KiB: about
//   10 µs).
// - a *table* may be long (a million handles); its stores are card-marked, and remark visits dirty cards only.
// `top` is a control word that the mutator writes at its safepoints; [0, top) is initialised (invariant 7). What lies
// above reads as zero after a flip, and in a stack after each remark pause, too (reuse.cc). Weak tables are tables whose slots
// are not visited but looked at (weak-slots.h). So are guarded tables; an object that only they refer to is handed over: the
// collector moves it to the next slot of another table, in a ring, and counts.
//
// Mutators, parked or running, create and free areas, and the collector begins and ends cycles, under the space's lock; a
// collector thread reads the table at any time, so an area's kind is stored last when it is made and first when it goes.
#pragma once

#include <vector>

#include "core/memory/layout.h"

namespace glissade {

struct AreaView {
  u32 index;
  layout::AreaKind kind;
  u32* words;       // first slot, in the mutator's roots
  u32 first_word;   // 32-bit-word index of the first slot in the root region
  u32 capacity;     // slots
  u32 top;          // slots
  bool is_value() const { return kind == layout::AreaKind::ValueStack || kind == layout::AreaKind::ValueTable; }
  bool is_stack() const { return kind == layout::AreaKind::RefStack || kind == layout::AreaKind::ValueStack; }
  bool is_weak() const { return kind == layout::AreaKind::WeakRefTable || is_guarded(); }
  bool is_guarded() const { return kind == layout::AreaKind::GuardedTable; }
  u32 slot_bytes() const { return is_value() ? 8 : 4; }
};

class RootSet {
 public:
  void bind(i32* control, u8* roots, std::size_t root_bytes);

  /// -1: no room, or too many areas. The new area's slots are zero.
  i32 create(layout::AreaKind kind, u32 slots, i32 owner);
  /// During a cycle the pages stay taken until its end: a marker may be reading them, a page builder must find the same
  /// area each time it asks (invariant 1).
  void free(u32 area);
  /// Hands an object over to whoever guards it. False: nobody does any more.
  bool hand_over(u32 guarded_area, Ref ref);
  /// Areas wait for the end of the cycle.
  bool has_retired() const;
  void begin_cycle() { in_cycle_ = true; }
  void end_cycle();

  u32 count() const { return static_cast<u32>(layout::load_word(control_[layout::kAreaCountWord])); }
  /// False if there is no such area.
  bool view(u32 area, AreaView& out) const;
  template <typename Visit>
  void for_each(Visit&& visit) const {
    AreaView v;
    for (u32 i = 0, n = count(); i < n; i++) {
      if (view(i, v)) visit(v);
    }
  }

  /// The area that a page of the root region belongs to, and -1 for none.
  i32 area_of_page(u32 root_page) const { return __atomic_load_n(&page_area_[root_page], __ATOMIC_RELAXED); }

  /// The remark pause looks at the top of each stack once: a thread that is parked may be storing one, against the rule, and
  /// what is visited, what is cleared and what is verified have to be parted at the same place.
  void note_stack_tops();
  u32 noted_top(u32 area) const { return noted_tops_[area]; }

  /// Copies of stacks, made when roots are traced and renewed while precleaning.
  std::vector<u64>& shadow(u32 area) { return shadows_[area]; }

 private:
  void release(u32 area);
  i32* entry(u32 area) const { return control_ + layout::kAreaBase + area * layout::kAreaWords; }

  i32* control_ = nullptr;
  u8* roots_ = nullptr;
  u32 pages_ = 0;
  u32 used_end_ = 0;  // pages below have been given out before
  std::vector<i32> page_area_;
  std::vector<u64> shadows_[layout::kMaxAreas];
  u32 noted_tops_[layout::kMaxAreas] = {};
  bool in_cycle_ = false;
  bool retired_[layout::kMaxAreas] = {};  // freed in this cycle, its pages still taken
};

}  // namespace glissade
