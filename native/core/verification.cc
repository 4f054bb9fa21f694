// The independent checks of verification.h.
#include "verification.h"

#include <unistd.h>

#include <cstring>
#include <unordered_set>

#include "heap.h"

namespace glissade {
namespace {

u32 word_at(const u8* at) {
  u32 word;
  std::memcpy(&word, at, 4);
  return word;
}
std::string name(Ref ref) { return "ref " + std::to_string(ref.word); }

}  // namespace

void Verification::fail(const std::string& what) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (has_violation()) return;
  // At once: the program may crash of the damage before it comes to the error. In a fault, too, so not by stdio.
  const std::string line = "glissade: verification: " + what + "\n";
  const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
#ifdef GLISSADE_DEBUG
  std::abort();
#endif
  static_cast<void>(written);
  violation_ = what;
  has_violation_.store(true, std::memory_order_release);
}

std::string Verification::take_violation() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::string taken;
  taken.swap(violation_);
  has_violation_.store(false, std::memory_order_relaxed);
  return taken;
}

bool Verification::is_object(Ref ref, std::string& why) const {
  const std::size_t words = heap_.geometry().heap_buffer_bytes() / 4;
  if (ref.word % 2 || ref.word >= words) return why = name(ref) + " is odd or outside the heap", false;
  const u32 shape = word_at(heap_.address(ref));
  if (!heap_.shapes.is_defined(shape)) return why = name(ref) + " has no shape (word 0 is " + std::to_string(shape) + ")", false;
  return true;
}

void Verification::check_marking() {
  checks_.fetch_add(1, std::memory_order_relaxed);
  struct Step {
    Ref ref, parent;
  };
  std::vector<Step> stack;
  std::unordered_set<u32> seen;
  heap_.roots.for_each([&](const AreaView& area) {
    if (area.is_weak()) return;
    const u8* words = reinterpret_cast<const u8*>(area.words);
    for (u32 i = 0; i < area.top; i++) {
      if (area.is_value()) {
        if (word_at(words + i * 8ull + 4) == layout::kTagRef) stack.push_back({{word_at(words + i * 8ull)}, {0}});
      } else if (const u32 word = word_at(words + i * 4ull)) {
        stack.push_back({{word}, {0}});
      }
    }
  });
  while (!stack.empty()) {
    const Step step = stack.back();
    stack.pop_back();
    if (!seen.insert(step.ref.word).second) continue;
    std::string why;
    const std::string from = step.parent.is_null() ? "a root" : name(step.parent);
    if (!is_object(step.ref, why)) return fail(why + ", held by " + from);
    if (!wants(2)) continue;  // level 1 looks at the roots alone
    if (!heap_.is_marked(step.ref)) return fail(name(step.ref) + ", held by " + from + ", is not marked (invariant 6)");
    const u8* object = heap_.address(step.ref);
    const u32 shape = word_at(object);
    const u32 granules = heap_.shapes.granules(shape, word_at(object + 4));
    for_each_slot(heap_.shapes, shape, kGranuleSize, granules * kGranuleSize, [&](u32 offset, bool is_value) {
      if (is_value && word_at(object + offset + 4) != layout::kTagRef) return;
      if (const u32 word = word_at(object + offset)) stack.push_back({{word}, step.ref});
    });
  }
}

std::string Verification::check_cards() {
  if (!heap_.rests_before_remark()) return {};
  checks_.fetch_add(1, std::memory_order_relaxed);
  std::string violation;
  const auto check_object = [&](Ref ref) {
    const u8* object = heap_.address(ref);
    const u32 shape = word_at(object);
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
    if (shape != layout::kFillerShape && !heap_.shapes.is_defined(shape)) return fail("live bits at granule " + std::to_string(at.index) + " without an object");
    const u32 granules = heap_.shapes.granules(shape, word_at(object + 4));
    if (at >= f.prefix_end && at.index % kGranulesPerPage == 0 && f.of(at).index == round_up(next, kGranulesPerPage) && is_full_run(at)) {
      next = f.of(at).index;
    }
    for (u32 i = 0; i < granules; i++) {
      const Granule g{at.index + i};
      if (!heap_.blocks.is_live(g)) return fail("a hole in the live bits of granule " + std::to_string(at.index));
      const u32 expected = g < f.prefix_end ? g.index : next++;
      if (f.of(g).index != expected) {
        return fail("granule " + std::to_string(g.index) + " is forwarded to " + std::to_string(f.of(g).index) + ", naive sliding says " +
                    std::to_string(expected));
      }
    }
    at.index += granules;
  }
  if (next != f.compact_end.index) fail("compaction ends at " + std::to_string(f.compact_end.index) + ", naive sliding at " + std::to_string(next));
}

// A page that is placed by its source loses it when another builder is quicker: then there is nothing to compare with.
bool Verification::is_undisturbed(u32 page) const { return heap_.page_words[page].load().state() == PageState::Building; }

void Verification::check_page(u32 page, PageContent content, const u8* buffer) {
  checks_.fetch_add(1, std::memory_order_relaxed);
  const u8* made = content == PageContent::Source ? heap_.space.from_page({heap_.builder.source_page(page)}) : buffer;
  const bool right = content == PageContent::Zero ? expected_.accepts_empty(page) : expected_.accepts(page, made);
  if (!right && is_undisturbed(page)) fail("page " + std::to_string(page) + " is not what its sources give, word by word");
}

void Verification::check_rebuilt(u32 page, PageContent content, const u8* buffer) {
  if (content != PageContent::Buffer) return;
  u8 again[kPageSize];
  const PageContent second = heap_.builder.build(page, again);
  if ((second != content || std::memcmp(again, buffer, kPageSize) != 0) && is_undisturbed(page)) {
    fail("page " + std::to_string(page) + " built twice is not the same (invariant 1)");
  }
}

}  // namespace glissade
