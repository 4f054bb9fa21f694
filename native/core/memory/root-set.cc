// Root areas: first-fit of whole pages in the root region. See root-set.h.
#include "core/memory/root-set.h"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace glissade {

void RootSet::bind(i32* control, u8* roots, std::size_t root_bytes) {
  control_ = control;
  roots_ = roots;
  pages_ = pages_for_bytes(root_bytes);
  page_area_.assign(pages_, -1);
}

bool RootSet::view(u32 area, AreaView& out) const {
  const i32* e = entry(area);
  const auto kind = static_cast<layout::AreaKind>(__atomic_load_n(e + layout::kAreaKind, __ATOMIC_ACQUIRE));
  if (kind == layout::AreaKind::Free) return false;
  out.index = area;
  out.kind = kind;
  out.first_word = static_cast<u32>(layout::load_word(e[layout::kAreaStart]));
  out.words = reinterpret_cast<u32*>(roots_) + out.first_word;
  out.capacity = static_cast<u32>(layout::load_word(e[layout::kAreaCapacity]));
  const u32 top = static_cast<u32>(layout::load_word(e[layout::kAreaTop]));
  out.top = top < out.capacity ? top : out.capacity;
  return true;
}

void RootSet::note_stack_tops() {
  // A stack that is made from now on has no slots that anybody visits.
  std::fill(std::begin(noted_tops_), std::end(noted_tops_), 0);
  for_each([&](const AreaView& area) {
    if (area.is_stack()) noted_tops_[area.index] = area.top;
  });
}

i32 RootSet::create(layout::AreaKind kind, u32 slots, i32 owner) {
  const bool value = kind == layout::AreaKind::ValueStack || kind == layout::AreaKind::ValueTable;
  const u32 needed = pages_for_bytes(std::size_t{slots} * (value ? 8 : 4));
  if (slots == 0 || needed > pages_) return -1;
  u32 area = 0;
  const u32 areas = count();
  while (area < areas && (retired_[area] || layout::load_word(entry(area)[layout::kAreaKind]) != 0)) area++;
  if (area == layout::kMaxAreas) return -1;

  u32 run = 0, first = 0;
  for (u32 page = 0; page < pages_ && run < needed; page++) {
    if (page_area_[page] >= 0) {
      run = 0;
      continue;
    }
    if (run++ == 0) first = page;
  }
  if (run < needed) return -1;
  // A reused range may hold what an earlier owner left. Fresh pages are zero; do not touch them.
  u64* words = reinterpret_cast<u64*>(roots_ + (std::size_t{first} << kPageShift));
  const u32 used = used_end_ > first ? (used_end_ < first + needed ? used_end_ - first : needed) : 0;
  for (std::size_t i = 0; i < std::size_t{used} * kGranulesPerPage; i++) {
    if (words[i] != 0) words[i] = 0;
  }
  if (first + needed > used_end_) used_end_ = first + needed;
  i32* e = entry(area);
  for (u32 page = first; page < first + needed; page++) {
    __atomic_store_n(&page_area_[page], static_cast<i32>(area), __ATOMIC_RELAXED);
  }
  layout::store_word(e[layout::kAreaStart], static_cast<i32>(first * kWordsPerPage));
  layout::store_word(e[layout::kAreaCapacity], static_cast<i32>(slots));
  layout::store_word(e[layout::kAreaTop], 0);
  layout::store_word(e[layout::kAreaOwner], owner);
  layout::store_word(e[layout::kAreaDue], 0);
  layout::store_word(e[layout::kAreaDueArea], 0);
  // release: whoever sees the kind sees the rest.
  __atomic_store_n(e + layout::kAreaKind, static_cast<i32>(kind), __ATOMIC_RELEASE);
  if (area == areas) layout::store_word(control_[layout::kAreaCountWord], static_cast<i32>(areas + 1));
  return static_cast<i32>(area);
}

void RootSet::free(u32 area) {
  __atomic_store_n(entry(area) + layout::kAreaKind, 0, __ATOMIC_RELEASE);
  if (in_cycle_) retired_[area] = true;
  else release(area);
}

bool RootSet::hand_over(u32 guarded_area, Ref ref) {
  AreaView guarded, due;
  if (!view(guarded_area, guarded) || !guarded.is_guarded()) return false;
  i32* e = entry(guarded_area);
  // Whoever frees the two frees the guarded one first, under the same lock as we are called under.
  if (!view(static_cast<u32>(layout::load_word(e[layout::kAreaDueArea])), due)) return false;
  const u32 count = static_cast<u32>(layout::load_word(e[layout::kAreaDue]));
  // The mutator guards no more objects than there are slots until it has taken them: this one is free.
  __atomic_store_n(due.words + count % due.capacity, ref.word, __ATOMIC_RELAXED);
  // release: pairs with the mutator's load of the count, after which it reads the slot.
  __atomic_store_n(e + layout::kAreaDue, static_cast<i32>(count + 1), __ATOMIC_RELEASE);
  return true;
}

bool RootSet::has_retired() const { return std::find(std::begin(retired_), std::end(retired_), true) != std::end(retired_); }

void RootSet::release(u32 area) {
  for (i32& owner : page_area_) {
    if (owner == static_cast<i32>(area)) __atomic_store_n(&owner, -1, __ATOMIC_RELAXED);
  }
}

void RootSet::end_cycle() {
  in_cycle_ = false;
  for (u32 area = 0; area < layout::kMaxAreas; area++) {
    if (retired_[area]) release(area);
    retired_[area] = false;
  }
}

}  // namespace glissade
