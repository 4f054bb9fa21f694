// The independent checks of verification.h.
#include "core/verification/verification.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <unordered_set>

#include "core/heap.h"

namespace glissade {
namespace {

constexpr const char* kNoShape = "has no shape";
std::string name(Ref ref) { return "ref " + std::to_string(ref.word); }

}  // namespace

// Some checks are made in a fault: no memory, no lock (invariant 10).
void Verification::fail(const char* what) {
  // acquire: pairs with the release of the thread that took the last one, which has left `violation_` by then.
  for (Report report = Report::None; !report_.compare_exchange_weak(report, Report::AtWork, std::memory_order_acquire, std::memory_order_relaxed); report = Report::None) {
    if (report == Report::There) return;
    cpu_pause();  // somebody writes or takes one: for no longer than that, and touching no page that could be missing
  }
  const int length = std::snprintf(violation_, sizeof violation_, "glissade: verification: %s\n", what);
  // At once: the program may crash of the damage before it comes to the error.
  const ssize_t written = write(STDERR_FILENO, violation_, std::min(static_cast<std::size_t>(length), sizeof violation_ - 1));
#ifdef GLISSADE_DEBUG
  std::abort();
#endif
  static_cast<void>(written);
  std::snprintf(violation_, sizeof violation_, "%s", what);
  report_.store(Report::There, std::memory_order_release);
}

void Verification::fail_page(u32 page, const char* what) {
  char text[96];
  std::snprintf(text, sizeof text, "page %u %s", page, what);
  fail(text);
}

std::string Verification::take_violation() {
  Report there = Report::There;
  if (!report_.compare_exchange_strong(there, Report::AtWork, std::memory_order_acquire, std::memory_order_relaxed)) return {};
  std::string taken = violation_;
  report_.store(Report::None, std::memory_order_release);
  return taken;
}

const char* Verification::fault_of(Ref ref) const {
  if (ref.word % 2 || ref.word < kWordsPerPage || ref.word >= heap_.geometry().heap_buffer_bytes() / 4) return "is odd or outside the heap";
  // acquire: pairs with the mutator's store of a reference, as the markers' do.
  const u32* header = reinterpret_cast<const u32*>(heap_.address(ref));
  const u32 shape = __atomic_load_n(header, __ATOMIC_ACQUIRE);
  if (!heap_.shapes.is_defined(shape)) return kNoShape;
  if (ref.word < heap_.base_word) return heap_.pointer_free_objects.is_head(ref.word / kWordsPerPage) && ref.word % kWordsPerPage == 0 ? nullptr : "is inside an object";
  const Granule g = heap_.granule(ref);
  const u32 large_low = heap_.moving.large_low;
  if (g.page() >= large_low) return heap_.large_objects.is_head(g.page()) && g.index % kGranulesPerPage == 0 ? nullptr : "is inside an object";
  const u32 granules = heap_.shapes.granules(shape, __atomic_load_n(header + 1, __ATOMIC_RELAXED));
  if (granules >= kLargeObjectGranules || g.index + granules > large_low * kGranulesPerPage) return "is longer than any object there";
  return nullptr;
}

void Verification::check_marking() {
  checks_.fetch_add(1, std::memory_order_relaxed);
  struct Step {
    Ref ref, parent;
  };
  std::vector<Step> stack;
  std::unordered_set<u32> seen;
  // Weak slots as well: whose object is dead has been cleared.
  heap_.roots.for_each([&](const AreaView& area) {
    const u8* words = reinterpret_cast<const u8*>(area.words);
    const u32 top = area.is_stack() ? heap_.roots.noted_top(area.index) : area.top;
    for (u32 i = 0; i < top; i++) {
      if (area.is_value()) {
        if (word_at(words + i * 8ull + 4) == layout::kTagRef) stack.push_back({{word_at(words + i * 8ull)}, {0}});
      } else if (const u32 word = word_at(words + i * 4ull)) {
        stack.push_back({{word}, {0}});
      }
    }
  });
  heap_.marking.for_each_due([&](Ref ref) { stack.push_back({ref, {0}}); });
  while (!stack.empty()) {
    const Step step = stack.back();
    stack.pop_back();
    if (!seen.insert(step.ref.word).second) continue;
    const std::string from = step.parent.is_null() ? "a root" : name(step.parent);
    if (const char* fault = fault_of(step.ref)) {
      const std::string word = fault == kNoShape ? " (word 0 is " + std::to_string(word_at(heap_.address(step.ref))) + ")" : "";
      return fail((name(step.ref) + " " + fault + word + ", held by " + from).c_str());
    }
    if (!wants(2) && !damaged()) continue;  // level 1 looks at the roots alone
    // Behind damage nothing is.
    if (heap_.marking.is_whole() && !heap_.is_marked(step.ref)) return fail((name(step.ref) + ", held by " + from + ", is not marked (invariant 6)").c_str());
    const u8* object = heap_.address(step.ref);
    const u32 shape = word_at(object);
    const u32 granules = heap_.shapes.granules(shape, word_at(object + 4));
    for_each_slot(heap_.shapes, shape, kGranuleSize, granules * kGranuleSize, [&](u32 offset, bool is_value) {
      if (is_value && word_at(object + offset + 4) != layout::kTagRef) return;
      if (const u32 word = word_at(object + offset)) stack.push_back({{word}, step.ref});
    });
  }
  if (damaged()) fail("marking met a reference that leads to no object, and that is gone by now");
}

void Verification::check_due() {
  if (wants(1) && damaged()) fail("an object that is due leads to a reference that leads to no object");
}

std::string Verification::check_cards() {
  if (!heap_.rests_before_remark()) return {};
  checks_.fetch_add(1, std::memory_order_relaxed);
  std::string violation;
  const auto check_object = [&](Ref ref) {
    const u8* object = heap_.address(ref);
    const u32 shape = word_at(object);
    if (heap_.shapes[shape].weak() != layout::Weak::None) return;  // what it holds needs no mark
    const u32 granules = heap_.shapes.granules(shape, word_at(object + 4));
    for_each_slot(heap_.shapes, shape, kGranuleSize, granules * kGranuleSize, [&](u32 offset, bool is_value) {
      if (is_value && word_at(object + offset + 4) != layout::kTagRef) return;
      const Ref to{word_at(object + offset)};
      if (to.is_null() || heap_.is_marked(to)) return;
      const u32 slot = ref.word + offset / 4;
      if (heap_.cards.is_dirty(slot >> layout::kCardShift) || !violation.empty()) return;
      violation = "word " + std::to_string(slot) + " of the marked object at " + name(ref) + " refers to the unmarked " + name(to) +
                  " and its card is clean: a store without the write barrier";
    });
  };
  const Granule end{heap_.moving.top * kGranulesPerPage};
  Granule at{heap_.moving.begin * kGranulesPerPage};
  while ((at = next_live(heap_.blocks, at, end)) < end) {
    const u8* object = heap_.granule_address(at);
    check_object(heap_.ref(at));
    at.index += heap_.shapes.granules(word_at(object), word_at(object + 4));
  }
  heap_.large_objects.for_each(heap_.moving.large_low, heap_.geometry().moving_pages(), [&](u32 page, auto&) {
    if (heap_.large_objects.is_marked(page)) check_object(heap_.ref(PageIndex{page}.first_granule()));
  });
  return violation;
}

bool Verification::is_full_run(Granule at) const {
  if (at.index + kAlignedRun * kGranulesPerPage > heap_.forwarding.black_begin.index) return false;
  for (u32 i = 0; i < kAlignedRun * kGranulesPerPage; i++) {
    if (!heap_.blocks.is_live({at.index + i})) return false;
  }
  return true;
}

void Verification::check_forwarding() {
  checks_.fetch_add(1, std::memory_order_relaxed);
  const Forwarding& f = heap_.forwarding;
  u32 next = f.to_begin.index;
  Granule at = f.begin;
  while ((at = next_live(heap_.blocks, at, f.black_begin)) < f.black_begin) {
    const u8* object = heap_.granule_address(at);
    const u32 shape = word_at(object);
    if (shape != layout::kFillerShape && !heap_.shapes.is_defined(shape)) return fail(("live bits at granule " + std::to_string(at.index) + " without an object").c_str());
    const u32 granules = heap_.shapes.granules(shape, word_at(object + 4));
    if (at >= f.prefix_end && at.index % kGranulesPerPage == 0 && f.of(at).index == round_up(next, kGranulesPerPage) && is_full_run(at)) {
      next = f.of(at).index;
    }
    for (u32 i = 0; i < granules; i++) {
      const Granule g{at.index + i};
      if (!heap_.blocks.is_live(g)) return fail(("a hole in the live bits of granule " + std::to_string(at.index)).c_str());
      const u32 expected = g < f.prefix_end ? g.index : next++;
      if (f.of(g).index != expected) {
        return fail(("granule " + std::to_string(g.index) + " is forwarded to " + std::to_string(f.of(g).index) + ", naive sliding says " +
                     std::to_string(expected)).c_str());
      }
    }
    at.index += granules;
  }
  if (next != f.compact_end.index) fail(("compaction ends at " + std::to_string(f.compact_end.index) + ", naive sliding at " + std::to_string(next)).c_str());
}

// A page that is placed by its source loses it when another builder is quicker: then there is nothing to compare with.
bool Verification::is_undisturbed(u32 page) const { return heap_.page_words[page].load().state() == PageState::Building; }

void Verification::check_page(u32 page, PageContent content, const u8* buffer) {
  checks_.fetch_add(1, std::memory_order_relaxed);
  const u8* made = content == PageContent::Source ? heap_.space.from_page({heap_.builder.source_page(page)}) : buffer;
  const bool right = content == PageContent::Zero ? expected_.accepts_empty(page) : expected_.accepts(page, made);
  if (!right && is_undisturbed(page)) fail_page(page, "is not what its sources give, word by word");
}

void Verification::check_rebuilt(u32 page, PageContent content, const u8* buffer) {
  if (content != PageContent::Buffer) return;
  u8 again[kPageSize];
  const PageContent second = heap_.builder.build(page, again);
  if ((second != content || std::memcmp(again, buffer, kPageSize) != 0) && is_undisturbed(page)) {
    fail_page(page, "built twice is not the same (invariant 1)");
  }
}

}  // namespace glissade
