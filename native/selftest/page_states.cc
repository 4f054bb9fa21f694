// The page-state machine, edge by edge, and in every schedule of two threads at work on one page (schedules.h).
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "selftest/kernel.h"
#include "selftest/schedules.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

/// A word brought into some state.
struct Word {
  AtomicPageWord word;
  explicit Word(u32 bits) { std::memcpy(static_cast<void*>(&word), &bits, sizeof bits); }
};

TEST(the_page_words_operations_make_the_edges_of_the_table_and_no_others) {
  struct Operation {
    const char* name;
    bool (*possible)(PageWord);
    void (*apply)(AtomicPageWord&);
  };
  const auto always = [](PageWord) { return true; };
  const Operation operations[] = {
      {"claim", always, [](AtomicPageWord& w) { w.claim(); }},
      {"overtake", always, [](AtomicPageWord& w) { w.overtake(); }},
      // Only a builder publishes.
      {"publish", [](PageWord w) { return w.builders() > 0; }, [](AtomicPageWord& w) { w.publish(7); }},
      {"set_mapped", always, [](AtomicPageWord& w) { bool alone; w.set_mapped(alone); }},
      // Pages are filled that nobody builds, and reset when all builders have left.
      {"set_filled", [](PageWord w) { return w.state() == PageState::Untouched; }, [](AtomicPageWord& w) { w.set_filled(); }},
      {"reset", [](PageWord w) { return w.state() == PageState::Mapped && w.builders() == 0; },
       [](AtomicPageWord& w) { std::memset(static_cast<void*>(&w), 0, sizeof w); }},
  };
  std::set<u32> seen{0};
  std::vector<u32> open{0};
  std::set<std::string> found;
  while (!open.empty()) {
    const PageWord before{open.back()};
    open.pop_back();
    for (const Operation& operation : operations) {
      if (!operation.possible(before)) continue;
      Word w(before.bits);
      operation.apply(w.word);
      const PageWord after = w.word.load();
      if (after.bits == before.bits) continue;
      const Edge* edge = edge_between(before, after);
      if (!edge) std::fprintf(stderr, "%s: %x to %x is no edge\n", operation.name, before.bits, after.bits);
      CHECK(edge != nullptr);
      if (edge) found.insert(edge->name);
      // A buffer that was published stays until the reset, and none comes before.
      if (before.state() >= PageState::Built && after.state() != PageState::Untouched) CHECK_EQ(after.buffer(), before.buffer());
      if (after.state() == PageState::Building) CHECK_EQ(after.buffer(), 0u);
      if (seen.insert(after.bits).second) open.push_back(after.bits);
    }
  }
  for (const Edge& edge : kEdges) {
    if (!found.count(edge.name)) std::fprintf(stderr, "nothing makes the edge %s\n", edge.name);
    CHECK(found.count(edge.name) == 1);
  }
  // 63 builders are the most: the next waiter goes on waiting.
  Word full(PageWord::kBuilderMask | 1u);
  CHECK(!full.word.overtake());
}

TEST(who_publishes_first_and_who_leaves_last_is_told_exactly_once) {
  for (u32 builders = 1; builders <= 63; builders++) {
    Word w(0);
    CHECK(w.word.claim());
    for (u32 i = 1; i < builders; i++) CHECK(w.word.overtake());
    u32 published = 0, last = 0;
    for (u32 i = 0; i < builders; i++) {
      const AtomicPageWord::Left left = w.word.publish(100 + i);
      published += left.published;
      last += left.last;
      CHECK_EQ(left.buffer, 100u);
      CHECK_EQ(left.last, i + 1 == builders);
    }
    CHECK_EQ(published, 1u);
    CHECK_EQ(last, 1u);
  }
}

/// One schedule of the collector (if `with_collector`) and the touchers on one page.
void run_on_page(Stage& stage, std::vector<Toucher*> touchers, bool with_collector, const std::vector<u8>& order, Explored& explored) {
  Heap& heap = *stage.test.heap;
  const u32 page = stage.page();
  alignas(64) u8 expected[kPageSize] = {};
  switch (heap.builder.build(page, expected)) {
    case PageContent::Buffer: break;
    case PageContent::Source: std::memcpy(expected, heap.space.from_page({heap.builder.source_page(page)}), kPageSize); break;
    case PageContent::Zero: std::memset(expected, 0, kPageSize); break;
  }
  Stepping& steps = heap.steps;
  u32 actor = 0;
  if (with_collector) steps.enlist(actor++, heap.collector_thread(), kPagePoints);
  for (Toucher* toucher : touchers) steps.enlist(actor++, toucher->thread(), kPagePoints);
  steps.arm(page, order.data(), static_cast<u32>(order.size()));
  if (with_collector) CHECK(heap.start_page(page));
  for (Toucher* toucher : touchers) toucher->touch(page);
  steps.wait_until_done();
  u32 word;
  std::memcpy(&word, expected, sizeof word);
  bool good = true;
  for (Toucher* toucher : touchers) good &= toucher->wait() == word;
  CHECK(heap.rest() == Rest::Compact);
  steps.disarm();
  check_trace(steps, order, explored);
  const PageWord left = heap.page_words[page].load();
  good &= left.state() == PageState::Mapped && left.builders() == 0 && heap.compaction.in_flight.load() == 0;
  good &= std::memcmp(heap.space.to_page({page}), expected, kPageSize) == 0;
  CHECK(good);
  if (!good) std::fprintf(stderr, "page %u, word %x:\n%s", page, left.bits, describe(steps).c_str());
}

Explored explore_page(Relocation relocation, Stage::Pages pages, u32 mutators, bool with_collector, u32 most = ~0u) {
  Explored explored;
  const bool whole = pages == Stage::Pages::Whole;
  Stage stage(relocation, pages, whole || pages == Stage::Pages::Compacted, whole ? 2'000 : Stage::kNodes);
  if (!stage.test.heap) {
    CHECK(!"no heap");
    return explored;
  }
  std::vector<Toucher*> touchers;
  for (u32 i = 0; i < mutators; i++) touchers.push_back(new Toucher(stage.test));
  std::vector<u8> order;
  do {
    run_on_page(stage, touchers, with_collector, order, explored);
    order = next_schedule(stage.test.heap->steps);
    // Mutators are alike: what begins with the second is the mirror image of what has been seen.
    if (!with_collector && order.size() == 1) break;
  } while (!order.empty() && failed_checks.load() == 0 && explored.schedules < most);
  stage.finish_cycle();
  for (Toucher* toucher : touchers) delete toucher;
  return explored;
}

constexpr std::initializer_list<const char*> kWorkEdges = {"Claim", "Overtake", "Publish", "LeaveBuilt", "LeaveMapped", "Place"};

#ifdef GLISSADE_SANITIZE
constexpr u32 kMostAgain = 500, kRandomRounds = 300;
#else
constexpr u32 kMostAgain = ~0u, kRandomRounds = 1'000;
#endif

/// `most`: where the same code has been explored to the end on pages of another kind, and a sanitizer makes it slow.
void collector_and_mutator(Relocation relocation, Stage::Pages pages, u32 most = ~0u) {
  const Explored explored = explore_page(relocation, pages, 1, true, most);
  if (explored.schedules < most) require_edges(explored, kWorkEdges);
  std::printf("  %u schedules, %llu turns\n", explored.schedules, static_cast<unsigned long long>(explored.turns));
}
void two_mutators(Relocation relocation, Stage::Pages pages, u32 most = ~0u) {
  const Explored explored = explore_page(relocation, pages, 2, false, most);
  if (explored.schedules < most) require_edges(explored, kWorkEdges);
  std::printf("  %u schedules, %llu turns\n", explored.schedules, static_cast<unsigned long long>(explored.turns));
}

TEST(every_schedule_of_the_collector_and_a_mutator_on_a_page_moved) { collector_and_mutator(Relocation::Move, Stage::Pages::Compacted); }
TEST(every_schedule_of_the_collector_and_a_mutator_on_a_page_copied) { collector_and_mutator(Relocation::Copy, Stage::Pages::Compacted); }
TEST(every_schedule_of_the_collector_and_a_mutator_on_a_page_that_slides_as_it_is_copied) { collector_and_mutator(Relocation::Copy, Stage::Pages::Whole, kMostAgain); }
TEST(every_schedule_of_the_collector_and_a_mutator_on_a_kept_page_moved) { collector_and_mutator(Relocation::Move, Stage::Pages::Kept, kMostAgain); }
TEST(every_schedule_of_the_collector_and_a_mutator_on_a_kept_page_copied) { collector_and_mutator(Relocation::Copy, Stage::Pages::Kept, kMostAgain); }
TEST(every_schedule_of_two_mutators_on_a_page_moved) { two_mutators(Relocation::Move, Stage::Pages::Compacted); }
TEST(every_schedule_of_two_mutators_on_a_page_copied) { two_mutators(Relocation::Copy, Stage::Pages::Compacted, kMostAgain); }
TEST(every_schedule_of_two_mutators_on_a_page_that_slides_as_it_is_copied) { two_mutators(Relocation::Copy, Stage::Pages::Whole, kMostAgain); }
TEST(every_schedule_of_two_mutators_on_a_kept_page) { two_mutators(Relocation::Auto, Stage::Pages::Kept, kMostAgain); }
TEST(every_schedule_of_two_mutators_on_a_page_without_content) { two_mutators(Relocation::Auto, Stage::Pages::Empty, kMostAgain); }

TEST(random_schedules_of_the_collector_and_two_mutators_on_a_page) {
  for (const Relocation relocation : {Relocation::Move, Relocation::Copy}) {
    Explored explored;
    Stage stage(relocation, Stage::Pages::Compacted);
    REQUIRE(stage.test.heap);
    Toucher first(stage.test), second(stage.test);
    constexpr u64 kSeed = 11;
    Random random(kSeed);
    for (u32 round = 0; round < kRandomRounds && failed_checks.load() == 0; round++) {
      // What it asks for is not always possible, so the run is compared with nothing but itself.
      std::vector<u8> wanted;
      for (u32 i = 0; i < 40; i++) wanted.push_back(static_cast<u8>(random.below(3)));
      const u32 page = stage.page();
      Heap& heap = *stage.test.heap;
      Stepping& steps = heap.steps;
      steps.enlist(0, heap.collector_thread(), kPagePoints);
      steps.enlist(1, first.thread(), kPagePoints | kHandlerPoints);
      steps.enlist(2, second.thread(), kPagePoints | kHandlerPoints);
      steps.arm(page, wanted.data(), static_cast<u32>(wanted.size()));
      CHECK(heap.start_page(page));
      first.touch(page);
      second.touch(page);
      steps.wait_until_done();
      CHECK_EQ(first.wait(), second.wait());
      CHECK(heap.rest() == Rest::Compact);
      steps.disarm();
      check_trace(steps, {}, explored);
      CHECK(heap.page_words[page].load().state() == PageState::Mapped);
      CHECK_EQ(heap.page_words[page].load().builders(), 0u);
    }
    if (failed_checks.load()) std::fprintf(stderr, "seed %llu\n", static_cast<unsigned long long>(kSeed));
    stage.finish_cycle();
    require_edges(explored, kWorkEdges);
  }
}

}  // namespace
