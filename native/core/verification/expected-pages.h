// What a page must hold after a flip, worked out word by word: how the collector checks what its page builder makes.
//
// The builder is asked only of what kind a page is and which page it comes from. Not shared with it: the notes of objects that
// reach into a page, slots by page, translation, copying in runs. In the flip's pause every object is walked from its header,
// and the words that are references are noted. Later a page is compared with its sources in from-space word by word: what was
// noted leads where its object went, every other word is as it was. Where objects go is taken from
// the forwarding table, which level 3 compares with a naive sliding.
//
// Takes a bit for each word of the flipped range that is in use, from the first flip on. `note` in the flip's pause; `accepts` from any
// thread, while the builders of the page hold its sources.
#pragma once

#include "core/kernel/mapped-array.h"
#include "core/units.h"

namespace glissade {

class Heap;

class ExpectedPages {
 public:
  explicit ExpectedPages(Heap& heap) : heap_(heap) {}

  /// Once, before the first flip; false: no memory.
  bool map();
  void note();
  /// Whether `content` is what `page` must hold.
  bool accepts(u32 page, const u8* content) const;
  /// Whether `page` may be empty.
  bool accepts_empty(u32 page) const;

 private:
  void forget(u32 first_page, u32 end_page);
  void note_live();
  void note_black();
  void note_large();
  void note_roots();
  /// Returns the granules of the object.
  u32 note_object(Granule at);
  void note_slot(std::size_t byte, bool is_value);
  bool accepts_compacted(u32 page, const u8* content) const;
  bool accepts_root(u32 page, const u8* content) const;
  bool is_reference(std::size_t word) const { return references_[word / 64] >> word % 64 & 1; }
  /// Whether `content` is what becomes of the words of from-space from `first` on.
  bool accepts_words(std::size_t first, u32 words, const u8* content) const;

  Heap& heap_;
  MappedArray<u64> references_;  // a bit for each word of from-space
};

}  // namespace glissade
