// Pages that a fork shares, or shared, and processes that are started while pages move; causes.h says how a cause is made.
#include <spawn.h>

#include "causes.h"

extern char** environ;

using namespace glissade;
using namespace glissade::selftest;
using namespace glissade::testing;

FILE_NEEDS(why_no_userfaultfd);

TEST(cause_fork_move_is_busy_while_the_child_lives_and_after) {
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(3), from(3);
  from.fill(1);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  Child child;
  CHECK_EQ(uffd.move(to.page(0), from.page(0), kPage).error, EBUSY);
  CHECK_EQ(child.end(), 0);
  CHECK_EQ(uffd.move(to.page(0), from.page(0), kPage).error, EBUSY);
  CHECK_EQ(touch(from.page(1)), 2);  // reading changes nothing
  CHECK_EQ(uffd.move(to.page(1), from.page(1), kPage).error, EBUSY);
  from.page(2)[9] = 3;
  CHECK(uffd.move(to.page(2), from.page(2), kPage).ok());
  CHECK(uffd.copy(to.page(0), from.page(0), kPage).ok());
  CHECK(to.holds(0, 1));
}

TEST(cause_fork_the_pages_of_a_heap_are_not_shared) {
  for (Faults faults : {Faults::Sigbus, Faults::Thread}) {
    TestHeap test(with(Relocation::Move, faults));
    REQUIRE(test.heap);
    Payload payload(test);
    Child child;
    survives(test, payload);
    CHECK_EQ(child.end(), 0);
    payload.grow();
    survives(test, payload);
    CHECK(test.heap->statistics.pagesKept.load() > 0);
    CHECK_EQ(errors(test, Op::Move, kEBUSY), 0u);
    u32 page;
    CHECK_EQ(test.heap->take_relocation_error(page), 0);
  }
}

TEST(cause_fork_shared_pages_of_a_heap_are_copied) {
  for (bool alive : {true, false}) {
    TestHeap test(with(Relocation::Auto));
    REQUIRE(test.heap);
    Payload payload(test);
    REQUIRE(allow_sharing(test));
    Child child;
    if (!alive) CHECK_EQ(child.end(), 0);
    survives(test, payload);
    const Statistics& s = test.heap->statistics;
    CHECK(s.pagesBusy.load() > 0);
    CHECK(s.pagesCopied.load() >= s.pagesBusy.load());
    CHECK(errors(test, Op::Move, kEBUSY) >= s.pagesBusy.load());  // free pages that are shared are dropped
    // Copied pages belong to this process alone again.
    const u64 busy = s.pagesBusy.load();
    payload.grow();
    survives(test, payload);
    CHECK_EQ(s.pagesBusy.load(), busy);
  }
}

TEST(cause_fork_shared_pages_are_an_error_when_moving_is_strict) {
  TestHeap test(with(Relocation::Move));
  REQUIRE(test.heap);
  Payload payload(test);
  REQUIRE(allow_sharing(test));
  Child child;
  survives(test, payload);
  u32 page = 0;
  CHECK_EQ(test.heap->take_relocation_error(page), EBUSY);
  CHECK(page < test.heap->geometry().flipped_pages());
  CHECK_EQ(child.end(), 0);
}

TEST(cause_fork_pages_written_after_it_move_and_the_others_are_copied) {
  TestHeap test(with(Relocation::Auto));
  REQUIRE(test.heap);
  Payload payload(test);
  REQUIRE(allow_sharing(test));
  Child child;
  // Every fourth page is written, and so is its own again: runs of pages that move in part.
  for (std::size_t at = 0; at < payload.bytes(); at += 4 * kPage) {
    volatile u8* byte = payload.at() + at;
    *byte = *byte;
  }
  survives(test, payload);
  CHECK(test.heap->statistics.pagesBusy.load() > 0);
  CHECK(test.heap->statistics.pagesKept.load() > 0);
  CHECK(errors(test, Op::Move, kEAGAIN) > 0);  // partial moves
  CHECK_EQ(child.end(), 0);
}

TEST(cause_fork_and_spawn_in_the_middle_of_a_compaction) {
  for (Relocation relocation : {Relocation::Move, Relocation::Copy}) {
    for (Faults faults : {Faults::Sigbus, Faults::Thread}) {
      HeapOptions options = with(relocation, faults);
      options.stepping = true;
      TestHeap test(options);
      REQUIRE(test.heap);
      Payload payload(test);
      payload.m.publish_top();
      REQUIRE(step_to(test, payload.m, layout::Phase::Compact));
      // Most pages are missing. The child has neither the pages nor the registration, and this process goes on as it was.
      const int seen = in_child([] { return 7; });
      CHECK_EQ(seen, 7);
      pid_t spawned = 0;
      char name[] = "true";
      char* arguments[] = {name, nullptr};
      if (posix_spawnp(&spawned, name, nullptr, nullptr, arguments, environ) == 0) {
        int status = -1;
        waitpid(spawned, &status, 0);
        CHECK_EQ(status, 0);
      }
      Child child;  // alive until the cycle is over
      CHECK(payload.intact());
      payload.collect();
      CHECK(payload.intact());
      CHECK_EQ(child.end(), 0);
      CHECK_EQ(test.heap->statistics.pagesBusy.load(), 0u);
      u32 page;
      CHECK_EQ(test.heap->take_relocation_error(page), 0);
    }
  }
}

TEST(cause_forks_while_mutators_run_and_pages_move) {
  TestHeap test(with(Relocation::Auto));
  REQUIRE(test.heap);
  Payload payload(test);
  REQUIRE(allow_sharing(test));
  Collecting collecting(test);
  for (u32 round = 0; round < kForks; round++) {
    CHECK_EQ(in_child([] { return 0; }), 0);
    payload.grow();
    CHECK(payload.intact());
  }
  collecting.stop(payload.m);
  CHECK(payload.intact());
}
