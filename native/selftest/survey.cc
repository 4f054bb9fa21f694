// The survey: what it calls intact is placed without being built, many pages at once; and what a program does to such a page
// between the survey and the flip is seen all the same (survey.cc says why).
#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

constexpr u32 kStaying = 20'000;  // nodes of 32 bytes: 156 pages that stay, with references to each other
constexpr u32 kMoving = 20'000;   // and as many that move, one of two
constexpr u32 kSlots = 65'536;    // a large object of references: 64 pages

/// Root 0: the list of nodes that stay, from the last to the first. Root 1: that of the nodes that move. Root 2: a large array
/// whose slots refer to the first.
class Surveyed {
 public:
  /// Four granules, laid out as Node is: they fill a page, and a TLAB, without a rest. An explicit collection, which this is,
  /// leaves only full pages where they are.
  explicit Surveyed(TestHeap& test) : m(test, 64), test_(test), shape_(test.define_fixed(4, {16 << 1, 20 << 1})) {
    m.push(0);
    m.push(0);
    m.push(m.alloc_refs(kSlots));
    for (u32 i = 0; i < kStaying; i++) link(0, i);
    for (u32 i = 0; i < kMoving; i++) {
      link(1, i);
      m.alloc(shape_, 0, 4);
    }
    const u32 staying = node(0, kStaying / 2);
    for (u32 slot = 0; slot < kSlots; slot++) m.store_ref(m.root(2) + 2 + slot, staying);
  }

  u32 page_of(u32 ref) const { return test_.heap->granule(Ref{ref}).index / kGranulesPerPage; }
  bool is_intact(u32 ref) const { return test_.heap->builder.is_intact(page_of(ref)); }
  /// A node of the list at `root`, so many links away from its end that was made last.
  u32 node(u32 root, u32 links) {
    u32 at = m.root(root);
    while (links--) at = m.left(at);
    return at;
  }
  u32 wrong_nodes() {
    u32 wrong = 0;
    for (u32 root = 0; root < 2; root++) {
      u32 i = root == 0 ? kStaying : kMoving;
      for (u32 at = m.root(root); at != 0; at = m.left(at)) wrong += !m.key_intact(at) || m.key(at) != --i;
      wrong += i;
    }
    return wrong;
  }

  NativeMutator m;

 private:
  void link(u32 root, u32 i) {
    const u32 node = m.alloc(shape_, 0, 4);
    m.set_key(node, i);
    m.set_left(node, m.root(root));
    m.set_root(root, node);
  }
  TestHeap& test_;
  u32 shape_;
};

TEST(survey_pages_that_stay_as_they_are_are_placed_in_long_runs_and_never_built) {
  TestHeap test(stepping_heap());
  REQUIRE(test.heap);
  Surveyed program(test);
  REQUIRE(step_to(test, program.m, layout::Phase::Prepare));
  CHECK(test.heap->intact_count >= 200);
  CHECK(program.is_intact(program.node(0, kStaying / 2)));
  CHECK(program.is_intact(program.m.root(2)));
  CHECK(!program.is_intact(program.node(1, kMoving / 2)));
  program.m.collect();
  const Statistics& statistics = test.heap->statistics;
  CHECK(statistics.pagesKept.load() >= 200);
  CHECK(statistics.pagesBuilt.load() < 250);
  CHECK(statistics.moveCalls.load() < 40);
  CHECK_EQ(program.wrong_nodes(), 0u);
  CHECK_EQ(test.heap->verification.take_violation(), std::string());
}

TEST(survey_a_touch_of_an_intact_page_maps_its_neighbours_too) {
  TestHeap test(stepping_heap());
  REQUIRE(test.heap);
  Surveyed program(test);
  REQUIRE(step_to(test, program.m, layout::Phase::Compact));
  const Statistics& statistics = test.heap->statistics;
  const u64 faults = statistics.barrierFaults.load(), built = statistics.faultsBuilt.load();
  // The roots are touched first, and are built.
  const u32 middle = program.node(0, 0);
  const u64 faults_of_root = statistics.barrierFaults.load() - faults;
  CHECK_EQ(program.m.key(middle), u64{kStaying - 1});
  u32 at = middle;
  for (u32 i = 0; i < 4000; i++) at = program.m.left(at);  // 31 pages
  CHECK(statistics.barrierFaults.load() - faults <= faults_of_root + 4);
  CHECK(statistics.faultsBuilt.load() - built <= faults_of_root + 2);
  program.m.collect();
  CHECK_EQ(program.wrong_nodes(), 0u);
  CHECK_EQ(test.heap->verification.take_violation(), std::string());
}

TEST(survey_does_not_look_at_an_object_that_is_being_initialised) {
  TestHeap test(stepping_heap());
  REQUIRE(test.heap);
  Surveyed program(test);
  NativeMutator& m = program.m;
  REQUIRE(step_to(test, m, layout::Phase::Reclaim));
  const u32 moving = program.node(1, 100);
  m.push(moving);
  const u32 born = m.alloc_refs(kSlots);
  // The survey, while the program goes on from this allocation to its next safepoint.
  m.publish_top();
  REQUIRE(test.heap->step(1) == layout::Phase::Prepare);
  CHECK(!program.is_intact(born));
  m.store(born + 2 + kSlots / 2, moving);
  m.set_root(m.top - 1, born);
  m.collect();
  const u32 now = program.node(1, 100);
  CHECK(now != moving);
  CHECK_EQ(m.load(m.root(m.top - 1) + 2 + kSlots / 2), now);
  CHECK_EQ(program.wrong_nodes(), 0u);
  CHECK_EQ(test.heap->verification.take_violation(), std::string());
}

TEST(survey_a_reference_stored_after_it_is_translated) {
  TestHeap test(stepping_heap());
  REQUIRE(test.heap);
  Surveyed program(test);
  NativeMutator& m = program.m;
  REQUIRE(step_to(test, m, layout::Phase::Prepare));
  const u32 staying = program.node(0, kStaying / 2), moving = program.node(1, 100);
  const u32 slot = m.root(2) + 2 + kSlots / 2;
  REQUIRE(program.is_intact(staying));
  REQUIRE(program.is_intact(slot));
  m.set_right(staying, moving);
  m.store_ref(slot, moving);
  // An object that is younger than the survey, in a page that the survey has seen.
  const u32 born = m.alloc_node();
  m.set_key(born, 77);
  m.set_right(program.node(0, 10), born);
  CHECK(!program.is_intact(staying));
  CHECK(!program.is_intact(slot));
  CHECK(!program.is_intact(program.node(0, 10)));
  m.collect();
  const u32 now = program.node(1, 100);
  CHECK(now != moving);
  CHECK_EQ(m.right(program.node(0, kStaying / 2)), now);
  CHECK_EQ(m.load(m.root(2) + 2 + kSlots / 2), now);
  const u32 born_now = m.right(program.node(0, 10));
  CHECK(born_now != born);
  CHECK_EQ(m.key(born_now), u64{77});
  CHECK_EQ(program.wrong_nodes(), 0u);
  CHECK_EQ(test.heap->verification.take_violation(), std::string());
}

TEST(survey_faults_on_pages_that_stay_as_they_are_take_no_memory) {
  HeapOptions options = stepping_heap();
  options.max_bytes = options.min_bytes = 64 * kMiB;
  TestHeap test(options);
  REQUIRE(test.heap);
  Heap& heap = *test.heap;
  NativeMutator m(test, 64);
  // Pages of one array of bytes each. A fault maps 64 of them.
  constexpr u32 kAround = 64, kFaults = 100, kPages = kFaults * kAround;
  const u32 table = m.push(m.alloc_refs(kPages));
  for (u32 i = 0; i < kPages; i++) m.store_ref(m.root(table) + 2 + i, m.alloc_bytes(kPageSize - kGranuleSize));
  m.push(0);
  build_list(m, 1, 10'000, 1);
  REQUIRE(step_to(test, m, layout::Phase::Compact));
  const u64 kept = heap.statistics.pagesKept.load();
  for (u32 page = heap.forwarding.begin.page(); page + kAround <= kPages; page += kAround) m.load(heap.ref(PageIndex{page}.first_granule()).word);
  CHECK(heap.statistics.pagesKept.load() - kept > kPages / 2);
  CHECK(heap.statistics.barrierFaults.load() > kFaults / 2);
  CHECK_EQ(heap.compaction.overflow_used(), 0u);
  m.collect();
  CHECK(list_intact(m, 1, 10'000));
}

TEST(pages_that_were_dead_before_the_flip_are_the_first_that_faults_build_in) {
  HeapOptions options = stepping_heap();
  options.max_bytes = options.min_bytes = 64 * kMiB;
  TestHeap test(options);
  REQUIRE(test.heap);
  Heap& heap = *test.heap;
  NativeMutator m(test, 64);
  m.push(0);
  for (u32 i = 0; i < 200'000; i++) m.alloc_node();  // one run of 1170 pages
  build_list(m, 0, 60'000, 1);
  REQUIRE(step_to(test, m, layout::Phase::Compact));
  // More than the stock that the kernel would have to fill up, here and there.
  const u32 first = heap.forwarding.to_begin.page(), end = heap.forwarding.compact_end.page();
  REQUIRE(end - first > 300);
  for (u32 page = first; page < end; page += 2) m.load(heap.ref(PageIndex{page}.first_granule()).word);
  CHECK(heap.statistics.pagesBuiltByMutators.load() > 150);
  CHECK_EQ(heap.compaction.overflow_used(), 0u);
  m.collect();
  CHECK(list_intact(m, 0, 60'000));
}

// Between plan and flip nothing may be told by where the flip before put what was born black: an array that has come to lie there
// since was taken for it, and another page was called intact in its place.
TEST(survey_calls_pages_intact_of_an_array_that_lies_where_objects_slid_to_before) {
  HeapOptions options = small_heap();
  options.young = Young::AlsoAsked;         // cycles that lower the top and flip nothing
  options.buffer_limit = 65 * kMiB;         // the moving space is 1.25 times the maximum, as in heaps of more than a GiB
  TestHeap test(options);
  REQUIRE(test.heap);
  Heap& heap = *test.heap;
  NativeMutator m(test, 4096);
  const auto slots_of = [](u32 pages) { return pages * (kPageSize / 4) - 2; };
  const auto flips = [&] { return heap.statistics.flips.load(); };
  const auto flip = [&] {
    for (const u64 before = flips(); flips() == before;) m.collect();
  };
  const auto drop = [&](u32 slot, u32 nodes) {
    u32 ref = m.root(slot);
    for (u32 i = 0; i < nodes; i++) ref = m.left(ref);
    m.set_root(slot, ref);
  };

  // Large objects in even slots: markers read slots in pairs, and ThreadSanitizer sees a store and a load meet only at one address.
  const auto push = [&](u32 large) {
    const u32 slot = m.push(large);
    m.push(0);
    return slot;
  };
  const u32 lower = m.push(0), upper = m.push(0), array = push(0);
  build_list(m, lower, 200'000, 0);
  for (u32 i = 0; i < 17'000; i++) m.alloc_node();  // what the flip wins
  build_list(m, upper, 480'000, 0);
  // The large part in fragments: of objects of ten pages one in three stays.
  constexpr u32 kFragments = 360, kFragment = 10;
  const u32 fragments = m.top;
  for (u32 i = 0; i < kFragments; i++) push(m.alloc_refs(slots_of(kFragment)));
  for (u32 i = 0; i < kFragments; i++) {
    if (i % 3) m.set_root(fragments + 2 * i, 0);
  }
  flip();
  const u32 slid_end = heap.forwarding.to_top.index / kGranulesPerPage;
  const u64 flipped = flips();
  drop(upper, 200'000);
  m.collect();
  REQUIRE_EQ(flips(), flipped);
  REQUIRE(heap.moving.top < slid_end);
  // Objects that fit into no gap, until the boundary is near the old top; the array then lies across that.
  while (heap.moving.large_low > slid_end + 2 * kFragment) {
    const u32 object = m.alloc_refs(slots_of(std::max(2 * kFragment + 1, std::min(30u, heap.moving.large_low - slid_end))));
    REQUIRE(object != 0);
    push(object);
  }
  REQUIRE_EQ(flips(), flipped);
  const u32 slots = slots_of(heap.moving.large_low - heap.moving.top - 40);
  m.set_root(array, m.alloc_refs(slots));
  REQUIRE(m.root(array) != 0);
  REQUIRE(heap.granule({m.root(array)}).index / kGranulesPerPage < slid_end);
  drop(lower, 100'000);  // so that the upper list moves
  const u32 node = m.root(upper);
  for (u32 i = slots / 4; i < slots; i++) m.store_ref(m.root(array) + 2 + i, node);
  flip();
  CHECK(m.root(upper) != node);
  u32 wrong = 0;
  for (u32 i = slots / 4; i < slots; i++) wrong += m.load(m.root(array) + 2 + i) != m.root(upper);
  CHECK_EQ(wrong, 0u);
  m.park();
  CHECK_EQ(heap.verification.take_violation(), std::string());
  m.unpark();
}

}  // namespace
