// Runs of free pages (native/core/memory/large-objects.h) against a plain list of pages: what is given joins what lies beside it on either side,
// and what is taken is the first fit from the end that was asked for.
#include "core/memory/large-objects.h"

#include <random>
#include <vector>

#include "testing.h"

using namespace glissade;

namespace {

/// The same by looking at every page.
struct Listed {
  std::vector<bool> free;
  bool fits(u32 first, u32 pages) const {
    for (u32 page = first; page < first + pages; page++) {
      if (page >= free.size() || !free[page]) return false;
    }
    return true;
  }
  u32 run_at(u32 first) const {
    if (!free[first] || (first > 0 && free[first - 1])) return 0;
    u32 pages = 0;
    while (fits(first, pages + 1)) pages++;
    return pages;
  }
  u32 lowest(u32 pages) const {
    for (u32 first = 0; first < free.size(); first++) {
      if (fits(first, pages)) return first;
    }
    return PageRuns::kNone;
  }
  u32 highest(u32 pages) const {
    for (u32 first = static_cast<u32>(free.size()); first-- > 0;) {
      if (fits(first, pages)) return first;
    }
    return PageRuns::kNone;
  }
  void set(u32 first, u32 pages, bool value) { std::fill(free.begin() + first, free.begin() + first + pages, value); }
};

TEST(runs_of_free_pages_join_their_neighbours_and_are_taken_by_first_fit_from_either_end) {
  constexpr u32 kSeed = 9, kPages = 120;
  std::mt19937 random(kSeed);
  u32 wrong = 0;
  for (u32 program = 0; program < 50; program++) {
    PageRuns runs;
    Listed listed{std::vector<bool>(kPages)};
    const u32 begin = random() % 3;
    runs.reset(begin, kPages - 5);
    listed.set(begin, kPages - 5 - begin, true);
    std::vector<std::pair<u32, u32>> taken = {{kPages - 5, 5}};
    for (u32 step = 0; step < 400; step++) {
      if (random() % 2 && !taken.empty()) {
        std::swap(taken[random() % taken.size()], taken.back());
        const auto [first, pages] = taken.back();
        taken.pop_back();
        runs.give(first, pages);
        listed.set(first, pages, true);
      } else {
        const u32 pages = 1 + random() % 12;
        const bool low = random() % 2;
        const u32 first = low ? runs.take_lowest(pages) : runs.take_highest(pages);
        wrong += first != (low ? listed.lowest(pages) : listed.highest(pages));
        if (first == PageRuns::kNone) continue;
        listed.set(first, pages, false);
        taken.push_back({first, pages});
      }
      for (u32 page = 0; page < kPages; page++) wrong += runs.run_at(page) != listed.run_at(page);
    }
  }
  if (wrong) std::fprintf(stderr, "  seed %u\n", kSeed);
  CHECK_EQ(wrong, 0u);
}

TEST(a_range_without_pages_has_no_free_run) {
  PageRuns runs;
  runs.reset(7, 7);
  CHECK_EQ(runs.take_lowest(1), PageRuns::kNone);
  CHECK_EQ(runs.take_highest(1), PageRuns::kNone);
  CHECK_EQ(runs.run_at(7), 0u);
}

}  // namespace
