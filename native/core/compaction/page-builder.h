// Building one to-space page: the pure function at the centre of the collector.
//
// Invariant 1: the content of to-space page p depends on the state before the flip and on nothing else. Building p reads
// the bytes whose destination is p, in from-space, and side metadata that is constant from the flip to the close: never a
// neighbour's header, never a to-space page. So no order matters, nothing cascades, an object that straddles two pages
// needs nobody else, and two threads that build p write the same bytes. (But for a builder that is late where a page is placed as it
// is: its source may be gone, it reads zeros, and what it makes is thrown away. Cards, which mutators dirty meanwhile, decide only
// whether a page is copied or placed as it is.) Invariant 2: references are translated in the copy, once; an abandoned copy is thrown away whole.
//
// Async-signal-safe (invariant 10): called by compaction threads and by fault handlers alike.
#pragma once

#include "core/compaction/forwarding.h"
#include "core/kernel/mapped-array.h"

namespace glissade {

class Heap;

/// What the object that covers a page's first byte is, and where a compacted page's content begins.
struct PageInfo {
  u32 source;     // compacted pages: granule of before the flip that becomes the page's first
  u32 last;       // … and its last
  u32 shape;      // of the object that reaches into the page; 0: an object (or nothing) begins at its first granule
  u32 phase;      // granules from that object's header to the page's first granule
  u32 remaining;  // granules from the page's first granule to that object's end
};

#define GLISSADE_PAGE_KINDS(X) X(Compacted) X(Prefix) X(Black) X(Large) X(Root) X(Empty)
enum class PageKind {
#define X(name) name,
  GLISSADE_PAGE_KINDS(X)
#undef X
};

/// Where a page's content is once it has been built.
enum class PageContent {
  Buffer,  // in the buffer
  Source,  // the source page itself: the page changes by nothing and is placed by moving it
  Zero,    // nowhere: the page is empty
};

class PageBuilder {
 public:
  explicit PageBuilder(Heap& heap) : heap_(heap) {}

  PageKind kind(u32 page) const;
  /// Builds to-space page `page`. Writes the whole buffer if the result is Buffer, and may write it otherwise.
  PageContent build(u32 page, u8* buffer) const;

  /// Whether a compacted page that can be placed by moving its source has few neighbours that can. Placed so, it would cut the
  /// run of built pages around it in two: two calls more, which cost more than to copy it into the run.
  bool slides_alone(u32 page) const;

  /// Before the flip, once it is planned: whether to-space page `page`, of the prefix or the compacted part, will be its source
  /// page as that is now, whatever happens to other pages. Fills its holes.
  bool inspect(u32 page) const;
  bool inspect_large(u32 page, u32 head_page) const;
  /// After the flip, of a page that nobody has placed: whether it is its source page, by the survey (survey.cc). Then there is
  /// nothing to build.
  bool is_intact(u32 page) const;
  /// The one source page of a page that is not compacted, or the first of one that is.
  u32 source_page(u32 page) const;

 private:
  PageContent build_compacted(u32 page, u8* buffer) const;
  /// Whether all of a compacted page comes from one page, and all of that.
  bool is_whole(const PageInfo& info) const;
  /// Whether a live object with reference slots lies on one of these from-space pages of the moving part.
  bool bears_references(u32 first_page, u32 last_page) const;
  /// Puts the live granules that become the page side by side; returns their number.
  u32 gather(const PageInfo& info, u8* buffer) const;
  PageContent build_black(u32 page, u8* buffer) const;
  /// A page whose source is one page, whole.
  PageContent build_whole(u32 source_page, const PageInfo& info, u8* buffer) const;
  PageContent build_prefix(u32 page, u8* buffer) const;
  PageContent build_large(u32 page, u8* buffer) const;
  PageContent build_root(u32 page, u8* buffer) const;

  Heap& heap_;
};

}  // namespace glissade
