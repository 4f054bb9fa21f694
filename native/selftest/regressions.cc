// Interleavings that were once wrong, each as small as it gets.
#include <sys/resource.h>

#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

/// Steps a cycle to its compaction and reads one word of each page that had objects before the flip.
void touch_stale_pages(bool fresh_windows) {
  HeapOptions options = stepping_heap();
  options.fresh_windows = fresh_windows;
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  build_list(m, 0, 100'000, 2);
  const u32 first = test.heap->base_word;
  const u32 end = first + test.heap->moving.top * (kPageSize / 4);
  m.publish_top();
  REQUIRE(step_to(test, m, layout::Phase::Compact));
  u32 sum = 0;
  for (u32 word = first; word < end; word += kPageSize / 4) sum |= m.load(word);
  (void)sum;
  CHECK(list_intact(m, 0, 100'000));
  m.collect();
  CHECK(list_intact(m, 0, 100'000));
}

TEST(a_touch_of_a_page_without_content_frees_nobodys_source) {
  touch_stale_pages(false);
  touch_stale_pages(true);
}

TEST(a_mutator_that_enters_after_a_pause_does_not_publish_its_retired_tlab) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  Collecting collecting(test);
  u32 wrong = 0;
  for (u32 i = 0; i < 2'000; i++) {
    if (m.alloc_node() < test.heap->base_word) wrong++;
    m.park();
    m.unpark();
  }
  collecting.stop(m);
  CHECK_EQ(wrong, 0u);
}

TEST(root_areas_that_come_and_go_during_cycles_are_not_read_as_one_another) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  build_list(m, 0, 50'000, 1);
  i32* control = test.heap->space.control();
  Collecting collecting(test);
  for (u32 round = 0; round < 200; round++) {
    m.poll();
    const bool value = round % 2;
    const u32 slots = 1u << 19;
    const i32 area = test.heap->create_area(value ? layout::AreaKind::ValueTable : layout::AreaKind::RefTable, value ? slots / 2 : slots, 0);
    if (area < 0) continue;  // the pages of areas freed in this cycle are still taken
    AreaView view;
    test.heap->roots.view(static_cast<u32>(area), view);
    for (u32 i = 0; i < 50'000; i++) {
      const double number = 3.14159 * i;
      if (value) __atomic_store(reinterpret_cast<double*>(view.words) + i, &number, __ATOMIC_RELEASE);
      else __atomic_store_n(view.words + i, m.root(0), __ATOMIC_RELEASE);
    }
    layout::store_word(control[layout::kAreaBase + static_cast<u32>(area) * layout::kAreaWords + layout::kAreaTop], 50'000);
    m.poll();
    test.heap->free_area(static_cast<u32>(area));
  }
  collecting.stop(m);
  CHECK(list_intact(m, 0, 50'000));
}

TEST(root_areas_of_a_mutator_that_ended_come_back) {
  HeapOptions options = stepping_heap();
  options.root_bytes = kMiB;
  TestHeap test(options);
  REQUIRE(test.heap);
  const auto area_pages = [&] {
    u32 pages = 0;
    for (u32 page = 0; page < options.root_bytes >> kPageShift; page++) pages += test.heap->roots.area_of_page(page) >= 0;
    return pages;
  };
  NativeMutator m(test, 64);
  m.push(0);
  build_list(m, 0, 20'000, 1);
  const i32 table = test.heap->create_area(layout::AreaKind::RefTable, 64, -1);
  const u32 before = area_pages();
  // Of each kind, 64 pages in all: four mutators at a time would fill the region.
  const auto visit = [&] {
    Mutator* mutator = test.heap->safepoint.attach();
    if (mutator == nullptr) return false;
    bool made = true;
    for (const layout::AreaKind kind : {layout::AreaKind::RefStack, layout::AreaKind::ValueStack, layout::AreaKind::RefTable, layout::AreaKind::WeakRefTable}) {
      const i32 area = test.heap->create_area(kind, kind == layout::AreaKind::ValueStack ? 8 * 1024 : 16 * 1024, static_cast<i32>(mutator->index));
      made &= area >= 0;
      AreaView view;
      if (made && test.heap->roots.view(static_cast<u32>(area), view)) view.words[0] = 1;  // what the next one must not see
    }
    test.heap->detach(*mutator);
    return made;
  };
  u32 refused = 0;
  for (u32 round = 0; round < 300; round++) refused += !visit();
  CHECK_EQ(refused, 0u);
  CHECK_EQ(area_pages(), before);
  // In a cycle their pages stay taken until its end (root-set.h).
  REQUIRE(step_to(test, m, layout::Phase::Compact));
  for (u32 round = 0; round < 3; round++) CHECK(visit());
  CHECK(!visit());
  CHECK(area_pages() > before);
  m.collect();
  CHECK_EQ(area_pages(), before);
  for (u32 round = 0; round < 300; round++) refused += !visit();
  CHECK_EQ(refused, 0u);
  // What is not theirs stays, and what they were given was zero.
  AreaView view;
  CHECK(test.heap->roots.view(static_cast<u32>(table), view));
  const i32 last = test.heap->create_area(layout::AreaKind::RefTable, 64 * 1024, -1);
  REQUIRE(last >= 0);
  REQUIRE(test.heap->roots.view(static_cast<u32>(last), view));
  for (u32 i = 0; i < view.capacity; i++) CHECK_EQ(view.words[i], 0u);
  CHECK(list_intact(m, 0, 20'000));
}

TEST(a_heap_has_blocks_for_64_mutators) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  Mutator* mutators[layout::kMaxMutators];
  for (Mutator*& mutator : mutators) {
    mutator = test.heap->safepoint.attach();
    REQUIRE(mutator != nullptr);
  }
  CHECK(test.heap->safepoint.attach() == nullptr);
  test.heap->detach(*mutators[10]);
  CHECK(test.heap->safepoint.attach() == mutators[10]);
  CHECK(test.heap->safepoint.attach() == nullptr);
  CHECK(test.heap->collect());
  for (Mutator* mutator : mutators) test.heap->detach(*mutator);
}

TEST(root_areas_that_were_freed_in_a_cycle_come_back_at_its_end) {
  TestHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(m.alloc_node());
  REQUIRE(step_to(test, m, layout::Phase::Mark));
  const auto create = [&] { return test.heap->create_area(layout::AreaKind::RefTable, 16, -1); };
  u32 made = 0;
  for (i32 area = create(); area >= 0; area = create(), made++) test.heap->free_area(static_cast<u32>(area));
  CHECK_EQ(made, layout::kMaxAreas - 1);
  m.park();
  CHECK(test.heap->wait_for_freed_areas());
  m.unpark();
  CHECK(create() >= 0);
  m.park();
  CHECK(!test.heap->wait_for_freed_areas());
  m.unpark();
}

TEST(a_thread_that_waits_for_root_areas_learns_that_the_heap_was_closed) {
  struct Shared {
    TestHeap test{stepping_heap()};
    std::atomic<bool> entered{false}, leave{false}, returned{false};
    bool found = true;
  } shared;
  REQUIRE(shared.test.heap);
  Heap& heap = *shared.test.heap;
  CHECK(heap.step(1) != layout::Phase::Idle);
  const i32 area = heap.create_area(layout::AreaKind::RefTable, 16, -1);
  REQUIRE(area >= 0);
  heap.free_area(static_cast<u32>(area));
  // Holds the cycle up: it cannot come to its remark pause before this one leaves.
  const auto run = [](void* argument) -> void* {
    auto& s = *static_cast<Shared*>(argument);
    NativeMutator m(s.test, 8);
    s.entered = true;
    while (!s.leave) usleep(1000);
    return nullptr;
  };
  const auto wait = [](void* argument) -> void* {
    auto& s = *static_cast<Shared*>(argument);
    s.found = s.test.heap->wait_for_freed_areas();
    s.returned = true;
    return nullptr;
  };
  const auto close = [](void* argument) -> void* {
    static_cast<Shared*>(argument)->test.heap->close();
    return nullptr;
  };
  pthread_t running, waiting, closing;
  pthread_create(&running, nullptr, run, &shared);
  while (!shared.entered) usleep(1000);
  pthread_create(&waiting, nullptr, wait, &shared);
  usleep(50'000);
  CHECK(!shared.returned);
  pthread_create(&closing, nullptr, close, &shared);
  // Before the cycle has ended, which it cannot.
  pthread_join(waiting, nullptr);
  CHECK(!shared.found);
  CHECK_EQ(heap.statistics.allocationStall_ns.count(), 1u);
  shared.leave = true;
  pthread_join(running, nullptr);
  pthread_join(closing, nullptr);
}

// A builder that has lost its processor for good, in effect: it has claimed a page and does nothing more. The close must not
// come before that page is there.
TEST(a_page_whose_builder_never_comes_back_is_built_by_the_collector) {
  TestHeap test(stepping_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  build_list(m, 0, 20'000, 3);
  REQUIRE(step_to(test, m, layout::Phase::Compact));
  const u32 first = test.heap->forwarding.to_begin.index / kGranulesPerPage;
  for (u32 page = first; page < first + 8; page++) {
    REQUIRE(test.heap->builder.kind(page) == PageKind::Compacted);
    CHECK(test.heap->page_words[page].claim());
  }
  m.collect();
  CHECK(list_intact(m, 0, 20'000));
}

TEST(a_mutator_that_others_outrun_is_not_told_that_the_heap_is_full) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  struct Shared {
    TestHeap& test;
    std::atomic<bool> stop{false};
    std::atomic<u32> refused{0};
  } shared{test};
  const auto fill = [](void* argument) -> void* {
    auto& s = *static_cast<Shared*>(argument);
    NativeMutator m(s.test, 8);
    while (!s.stop) s.refused += m.alloc_node() == 0;
    return nullptr;
  };
  // Hardly anything lives: three quarters of the heap are there for one object. But this thread comes late to every release.
  const auto large = [](void* argument) -> void* {
    auto& s = *static_cast<Shared*>(argument);
    setpriority(PRIO_PROCESS, 0, 19);
    NativeMutator m(s.test, 8);
    for (u32 round = 0; round < 6; round++) s.refused += m.alloc_refs(static_cast<u32>(24 * kMiB / 4)) == 0;
    s.stop = true;
    return nullptr;
  };
  pthread_t threads[7];
  for (pthread_t& thread : threads) pthread_create(&thread, nullptr, &thread == threads ? +large : +fill, &shared);
  for (const pthread_t thread : threads) pthread_join(thread, nullptr);
  CHECK_EQ(shared.refused.load(), 0u);
}

TEST(a_large_array_that_remark_finds_is_scanned_outside_the_pause) {
  HeapOptions options = stepping_heap();
  options.max_bytes = 64 * kMiB;
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  const u32 array = m.push(0), last = m.push(m.alloc_node());
  // To where the last precleaning has looked at the stack: what is allocated now is remark's.
  REQUIRE(step_to(test, m, layout::Phase::Mark));
  for (u32 steps = 0; test.heap->rest() != Rest::Preclean && steps < 10'000; steps++) {
    m.park();
    test.heap->step(1);
    m.unpark();
  }
  REQUIRE(test.heap->rest() == Rest::Preclean);
  m.push(m.alloc_node());
  m.park();
  test.heap->step(1);
  m.unpark();
  REQUIRE(test.heap->rest() == Rest::Trace);
  constexpr u32 kSlots = 32 * kMiB / 4;
  m.set_root(array, m.alloc_refs(kSlots));
  REQUIRE(m.root(array) != 0);
  m.store(m.root(array) + 2 + kSlots - 1, m.root(last));
  m.set_root(last, 0);
  m.publish_top();
  REQUIRE(step_to(test, m, layout::Phase::Reclaim));
  CHECK(test.heap->statistics.remarkRetries.load() > 0);
  m.collect();
  CHECK(m.is_node(m.load(m.root(array) + 2 + kSlots - 1)));
}

TEST(heaps_that_come_and_go_in_other_threads_do_not_take_this_ones_faults) {
  // Where one heap is unmapped the next may be mapped: an entry that is removed too late is another's.
  const auto loop = [](void*) -> void* {
    for (u32 round = 0; round < 150; round++) {
      HeapOptions options = stepping_heap();
      options.max_bytes = 4 * kMiB;
      options.min_bytes = options.root_bytes = kMiB;
      TestHeap test(options);
      if (!test.heap) {
        CHECK(!"no heap");
        return nullptr;
      }
      NativeMutator m(test, 64);
      m.push(0);
      build_list(m, 0, 2'000, 2);
      CHECK(step_to(test, m, layout::Phase::Compact));
      CHECK(list_intact(m, 0, 2'000));
      m.collect();
    }
    return nullptr;
  };
  pthread_t threads[6];
  for (pthread_t& thread : threads) pthread_create(&thread, nullptr, loop, nullptr);
  for (const pthread_t thread : threads) pthread_join(thread, nullptr);
}

}  // namespace
