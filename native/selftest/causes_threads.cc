// Several threads that place the same pages, and faults that race the close; causes.h says how a cause is made.
#include "causes.h"

using namespace glissade;
using namespace glissade::selftest;
using namespace glissade::testing;

FILE_NEEDS(why_no_userfaultfd);

namespace {

struct Touching {
  TestHeap& test;
  const std::vector<u32>& words;
  std::atomic<u32> ready{0}, wrong{0};
  std::atomic<bool> go{false};
};
void* touch_all(void* opaque) {
  auto& t = *static_cast<Touching*>(opaque);
  NativeMutator m(t.test, 8);
  t.ready.fetch_add(1);
  while (!t.go.load()) sched_yield();
  for (u32 i = 0; i < t.words.size(); i++) {
    if (m.load(t.words[i]) != i) t.wrong.fetch_add(1);
  }
  return nullptr;
}

}  // namespace

TEST(cause_threads_place_the_same_pages_at_once) {
  for (Relocation relocation : {Relocation::Move, Relocation::Copy}) {
    for (Faults faults : {Faults::Sigbus, Faults::Thread}) {
      HeapOptions options = with(relocation, faults);
      options.stepping = true;
      TestHeap test(options);
      REQUIRE(test.heap);
      const Statistics& s = test.heap->statistics;
      NativeMutator m(test, 4096);
      // Arrays of half a page with garbage between: every page has to be built.
      constexpr u32 kArrays = 2000;
      for (u32 i = 0; i < kArrays; i++) {
        const u32 array = m.push(m.alloc_bytes(2040));
        m.store(m.root(array) + 2, i);
        m.alloc_bytes(2040);
      }
      m.publish_top();
      REQUIRE(step_to(test, m, layout::Phase::Compact));
      std::vector<u32> words;
      for (u32 i = 0; i < kArrays; i++) words.push_back(m.root(i) + 2);
      Touching touching{test, words};
      Threads threads;
      for (int i = 0; i < 4; i++) threads.start(touch_all, &touching);
      while (touching.ready.load() < 4) sched_yield();
      touching.go = true;
      m.park();
      threads.join();
      m.unpark();
      CHECK_EQ(touching.wrong.load(), 0u);
      m.collect();
      for (u32 i = 0; i < kArrays; i++) CHECK_EQ(m.load(m.root(i) + 2), i);
      // Every fault had one outcome. (A page above the live end may have been asked for, too.)
      CHECK(s.barrierFaults.load() > 0);
      CHECK_EQ(s.faultsBuilt.load() + s.faultsOvertaken.load() + s.faultsReady.load() + s.faultsMapped.load() + s.faultsZero.load(),
               s.barrierFaults.load());
      CHECK_EQ(s.faultStall_ns.summary().count, s.barrierFaults.load());
      u32 page;
      CHECK_EQ(test.heap->take_relocation_error(page), 0);
    }
  }
}

namespace {

struct Late {
  TestHeap& test;
  std::atomic<bool> stop{false};
};
/// Reads pages without content, all over the range, for as long as it may: many of its faults meet the close.
void* touch_empty_pages(void* opaque) {
  auto& late = *static_cast<Late*>(opaque);
  Random random(3);
  NativeMutator m(late.test, 8);
  const Heap& heap = *late.test.heap;
  const u32 first = heap.geometry().max_bytes >> kPageShift, end = heap.moving.large_low;
  while (!late.stop.load()) {
    const u32 page = first + random.below(end - first);
    if (m.load(heap.base_word + page * (kPageSize / 4)) != 0) report_failure(__FILE__, __LINE__, "an empty page reads zeros", "");
    if (m.must_poll()) m.poll();
  }
  return nullptr;
}

}  // namespace

TEST(cause_faults_that_race_the_close) {
  for (Faults faults : {Faults::Sigbus, Faults::Thread}) {
    Injected injected("delay:close=300us,unregister:ENOMEM=0.3");
    TestHeap test(with(Relocation::Auto, faults));
    REQUIRE(test.heap);
    NativeMutator m(test, 64);
    m.push(0);
    Late late{test};
    Threads threads;
    threads.start(touch_empty_pages, &late);
    threads.start(touch_empty_pages, &late);
    // On a busy machine the threads may miss many a compaction; not every one.
    const Statistics& s = test.heap->statistics;
    for (u32 round = 0; round < kCloses || (s.faultsZero.load() == 0 && round < 2'000); round++) {
      build_list(m, 0, 4'000, 2);
      m.collect();
      CHECK(list_intact(m, 0, 4'000));
    }
    late.stop = true;
    m.park();
    threads.join();
    m.unpark();
    CHECK(s.flips.load() >= kCloses);
    CHECK(s.faultsZero.load() > 0);
    CHECK_EQ(s.faultsBuilt.load() + s.faultsOvertaken.load() + s.faultsReady.load() + s.faultsMapped.load() + s.faultsZero.load(),
             s.barrierFaults.load());
  }
}
