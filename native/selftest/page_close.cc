// The edges of the page states that no work on a page makes: pages filled for allocation, and the close, which resets them, in
// every schedule beside a late fault (schedules.h).
#include <vector>

#include "selftest/kernel.h"
#include "selftest/schedules.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

TEST(a_tlab_granted_during_a_compaction_fills_its_pages_and_the_close_resets_them) {
  Stage stage(Relocation::Auto, Stage::Pages::Compacted, false, 5'000);
  REQUIRE(stage.test.heap);
  Heap& heap = *stage.test.heap;
  stage.to(Rest::Compact);
  const u32 top = heap.moving.top;
  {
    NativeMutator m(stage.test, 8);
    const u32 node = m.alloc_node();
    CHECK_EQ(heap.page_words[top].load().bits, static_cast<u32>(PageState::Mapped));
    CHECK_EQ((node - heap.base_word) / (kPageSize / 4), top);
    CHECK_EQ(m.load(node + 4), 0u);
    m.park();
    stage.to(Rest::Close);
    CHECK_EQ(heap.page_words[top].load().bits, static_cast<u32>(PageState::Mapped));
    stage.finish_cycle();
    m.unpark();
  }
  u32 left = 0;
  for (u32 page = 0; page < heap.geometry().flipped_pages(); page++) left += heap.page_words[page].load().bits != 0;
  CHECK_EQ(left, 0u);
}

/// One cycle: a mutator's fault on `page` against the closing collector. `early`: it faults while the compaction rests, on a page
/// with content, and is held until the close; otherwise on a page without content, which is missing to the end.
void close_against_a_fault(Stage& stage, Toucher& toucher, bool early, const std::vector<u8>& order, Explored& explored) {
  Heap& heap = *stage.test.heap;
  Stepping& steps = heap.steps;
  stage.to(early ? Rest::Compact : Rest::Close);
  const Forwarding& f = heap.forwarding;
  // Far above the live end, where the close puts no evacuated pages.
  const u32 page = early ? f.to_begin.index / kGranulesPerPage : heap.flip_large_low - 3;
  steps.enlist(0, heap.collector_thread(), kClosePoints);
  steps.enlist(1, toucher.thread(), kHandlerPoints | kPagePoints);
  steps.arm(page, order.data(), static_cast<u32>(order.size()));
  toucher.touch(page);
  while (steps.missing() == 2) sched_yield();
  while (early && heap.rest() != Rest::Close) heap.start_step();
  CHECK(heap.start_step());
  steps.wait_until_done();
  const u32 word = toucher.wait();
  CHECK(heap.rest() == Rest::Idle);
  steps.disarm();
  if (early) CHECK(word == stage.test.node);
  else CHECK_EQ(word, 0u);
  CHECK_EQ(heap.page_words[page].load().bits, 0u);
  // The word of the last turn may already belong to the next cycle: only what it was while it stood counts.
  explored.schedules++;
  explored.turns += steps.turns();
  bool good = order.size() <= steps.turns();
  for (u32 i = 0; good && i < order.size(); i++) good = steps.turn(i).actor == order[i];
  for (u32 i = 0; i < steps.turns(); i++) {
    const Stepping::Turn& turn = steps.turn(i);
    if (turn.before.bits == turn.after.bits) continue;
    const Edge* edge = edge_between(turn.before, turn.after);
    if (edge) explored.edges.insert(edge->name);
    else good = false;
    // Invariant 9: the states are reset when no handler is inside, and by nobody else.
    if (turn.after.bits == 0) good &= turn.actor == 0 && turn.from == HoldPoint::Drained;
  }
  CHECK(good);
  if (!good) std::fprintf(stderr, "%s", describe(steps).c_str());
}

void explore_close(bool early, Relocation relocation, u32 least) {
  Explored explored;
  Stage stage(relocation, Stage::Pages::Compacted, false, 300);
  REQUIRE(stage.test.heap);
  {
    Toucher toucher(stage.test);
    std::vector<u8> order;
    do {
      close_against_a_fault(stage, toucher, early, order, explored);
      order = next_schedule(stage.test.heap->steps);
    } while (!order.empty() && failed_checks.load() == 0);
  }
  stage.finish_cycle();
  std::printf("  %u schedules, %llu turns\n", explored.schedules, static_cast<unsigned long long>(explored.turns));
  CHECK(explored.schedules >= least);
  require_edges(explored, {"Reset"});
}

TEST(every_schedule_of_a_late_fault_and_the_close_on_a_mapped_page) { explore_close(true, Relocation::Auto, 10); }
TEST(every_schedule_of_a_late_fault_and_the_close_on_a_missing_page_moved) { explore_close(false, Relocation::Move, 50); }
TEST(every_schedule_of_a_late_fault_and_the_close_on_a_missing_page_copied) { explore_close(false, Relocation::Copy, 50); }

}  // namespace
