// Survey: which pages the flip will leave as they are. It runs between prepare and the flip, on all collector threads, while
// mutators go on.
//
// A page that stays a page (of the prefix, of a long dense run, of a large object) is *intact* if none of its references is to
// something that moves. After the flip nothing has to be built for it: it is placed by moving its source, beside its
// neighbours, by whoever needs one of them first. So the collector maps the intact part of the heap at the speed of
// UFFDIO_MOVE in long runs, and a mutator that touches it pays one fault for many pages. Without a survey the same pages
// would be read after the flip, one by one, when every touch of them waits for it.
//
// Why it may look while mutators write: a slot that is written after it was inspected has a dirty card at the flip (invariant
// 8: the store, then its card; and a mutator that has stopped has done both), and cards are not taken between remark and the
// close. So "intact" is the survey's word and clean cards at the time of asking (PageBuilder::is_intact). A mutator's stores
// after the flip come after the page has been placed, and then nobody asks any more; a dirty card of anything else on that
// address only makes a page be built in vain. The stores that initialise an object need no card (decision 016): they end before
// the next safepoint, so in the time of a survey they go to pages born black, which it does not look at, and to large
// objects born black, whose cards are all dirty from birth.
#include <algorithm>

#include "core/heap.h"

namespace glissade {

void Heap::survey() {
  constexpr u32 kPiecePages = 64;
  struct Piece {
    u32 first, end;
    u32 head;  // of the large object; kNone: prefix and compacted part
  };
  constexpr u32 kNone = ~0u;
  std::vector<Piece> pieces;
  const auto add = [&](u32 first, u32 end, u32 head) {
    for (u32 at = first; at < end; at += kPiecePages) pieces.push_back({at, std::min(at + kPiecePages, end), head});
  };
  intact_pages.drop();
  const Forwarding& f = forwarding;
  {
    std::lock_guard<SpaceLock> lock(moving.lock);
    large_objects.for_each(moving.large_low, geometry().moving_pages(), moving.lock, [&](u32 page, const LargeObjects::Head& head) {
      add(page, page + pages_for_granules(head.granules), page);
    });
  }
  add(f.begin.page(), f.prefix_end.page(), kNone);
  add(f.to_begin.page(), f.compact_end.page(), kNone);

  std::atomic<u32> next{0}, found{0};
  workers.run([&](u32) {
    for (u32 i = next.fetch_add(1, std::memory_order_relaxed); i < pieces.size(); i = next.fetch_add(1, std::memory_order_relaxed)) {
      const Piece& piece = pieces[i];
      u32 intact_here = 0;
      for (u32 page = piece.first; page < piece.end; page++) {
        const bool large = piece.head != kNone;
        const bool intact = large ? builder.inspect_large(page, piece.head) : builder.inspect(page);
        if (intact) intact_pages[large ? page : builder.source_page(page)] = 1;
        intact_here += intact;
      }
      found.fetch_add(intact_here, std::memory_order_relaxed);
      pacing.advance(kSurveyWork * kPiecePages);
    }
  });
  intact_count = found.load(std::memory_order_relaxed);
}

}  // namespace glissade
