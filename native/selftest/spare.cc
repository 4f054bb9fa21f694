// Spare dead space (native/core/allocation/reuse.cc): what is born while a cycle decides goes to holes that the cycle before kept back, so a
// heap whose garbage fits its holes neither grows nor flips; it is as young as anything that is born then, and a hole is given out
// once.
#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

constexpr u32 kItemBytes = 1'016;

/// A table of items of 1 KiB, on a stepping heap whose cycles do without a flip three times of four: those with a number that four does not divide.
class Table {
 public:
  static constexpr u32 kItems = 4'000, kBlack = 48;

  Table(TestHeap& test, NativeMutator& m) : test_(test), heap_(*test.heap), m_(m) {
    table_ = m.push(0);
    m.set_root(table_, m.alloc_refs(kItems));
    fill(kItems);
  }
  static HeapOptions options() {
    HeapOptions options = stepping_heap();
    options.young = Young::AlsoAsked;
    return options;
  }
  /// The first items that are not there, so many; returns the address of the last.
  u32 fill(u32 count) {
    u32 last = 0;
    for (u32 i = 0; i < kItems && count > 0; i++) {
      if (item(i) != 0) continue;
      last = m_.alloc_bytes(kItemBytes);
      m_.store(last + 2, i);
      m_.store(last + 1 + kItemBytes / 4, ~i);
      m_.store_ref(m_.root(table_) + 2 + i, last);
      count--;
    }
    return last;
  }
  /// One item in `every`, from `first` on.
  void drop(u32 first, u32 count, u32 every = 2) {
    for (u32 i = first; count > 0; i += every, count--) m_.store_ref(m_.root(table_) + 2 + i, 0);
  }
  u32 intact() const {
    u32 intact = 0;
    for (u32 i = 0; i < kItems; i++) intact += item(i) == 0 || (m_.load(item(i) + 2) == i && m_.load(item(i) + 1 + kItemBytes / 4) == ~i);
    return intact;
  }
  /// A cycle; `black` is called when its remark pause is over.
  template <typename Black>
  void cycle(Black&& black) {
    REQUIRE(step_to(test_, m_, layout::Phase::Reclaim));
    black();
    REQUIRE(step_to(test_, m_, layout::Phase::Idle));
    cycles_++;
  }
  /// Until the cycle with that number is next. Each has items born in its time; the last one before it finds a fifth of all dead.
  void cycles_before(u32 number) {
    while (cycles_ < number) {
      drop(1, cycles_ + 1 == number ? kItems / 5 : kBlack);
      cycle([&] { fill(kBlack); });
    }
  }
  u64 spared() const { return heap_.statistics.holesSpared.load(); }

 private:
  u32 item(u32 i) const { return m_.load(m_.root(table_) + 2 + i); }
  TestHeap& test_;
  Heap& heap_;
  NativeMutator& m_;
  u32 table_ = 0, cycles_ = 0;
};

TEST(what_is_born_while_a_cycle_decides_goes_to_spare_holes) {
  TestHeap test(Table::options());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  Table table(test, m);
  const Heap& heap = *test.heap;
  table.cycles_before(6);  // 4 compacts; 5 knows how much was born in 3, cannot lower the top, and keeps holes back
  const u64 spared = table.spared(), flips = heap.statistics.flips.load();
  const u32 top = heap.moving.top;
  table.cycle([&] {
    for (u32 i = 0; i < Table::kBlack; i++) CHECK(heap.granule({table.fill(1)}).page() < heap.moving.black_begin);
  });
  CHECK(table.spared() - spared >= Table::kBlack / 16);  // a hole is one item, or the sixteen of a TLAB
  CHECK(heap.moving.top <= top);
  CHECK_EQ(heap.statistics.flips.load(), flips);
  CHECK_EQ(table.intact(), Table::kItems);
  table.fill(Table::kItems);  // into what was found dead beside them
  CHECK_EQ(table.intact(), Table::kItems);
  table.cycles_before(12);
  CHECK_EQ(table.intact(), Table::kItems);
  expect_no_violation(test, m);
}

TEST(what_is_born_in_a_spare_hole_is_traced_by_the_young_cycle_after) {
  TestHeap test(Table::options());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  Table table(test, m);
  table.cycles_before(6);
  const u32 slot = m.push(0);
  table.cycle([&] {
    // Longer than a hole and younger than the marks; nothing leads to it but an initialising store, which needs no card.
    m.set_root(slot, m.alloc_refs(20 * kPageSize / 4 / 16));
    for (const u64 spared = table.spared(); table.spared() == spared;) table.fill(1);
    const u32 node = m.alloc_node();
    CHECK(test.heap->granule({node}).page() < test.heap->moving.black_begin);
    m.init_left(node, m.root(slot));
    m.set_key(node, 1);
    m.set_root(slot, node);
  });
  const u64 young = test.heap->statistics.youngCycles.load();
  table.cycle([] {});
  CHECK_EQ(test.heap->statistics.youngCycles.load(), young + 1);
  for (u32 i = 0; i < 2'000; i++) m.alloc_bytes(kItemBytes);  // over everything that was found dead
  CHECK(m.is_node(m.root(slot)));
  CHECK_EQ(m.load(m.left(m.root(slot))), test.refs);
  expect_no_violation(test, m);
}

/// A heap of items with so many free pages left, all of whose cycles trace everything.
class FullTable : public Table {
 public:
  FullTable(TestHeap& test, NativeMutator& m, u32 free_pages) : Table(test, m), test_(test), m_(m) {
    const Heap& heap = *test.heap;
    for (const u32 pages = pages_for_bytes(heap.geometry().max_bytes); pages - heap.moving.held_pages() > free_pages;) {
      const u32 slot = m.push(0);
      m.set_root(slot, m.alloc_bytes(kItemBytes));
    }
  }
  /// Of a cycle that begins because little room is left.
  bool step_to(layout::Phase wanted) { return testing::step_to(test_, m_, wanted, false); }
  template <typename Black>
  void cycle(Black&& black) {
    REQUIRE(step_to(layout::Phase::Reclaim));
    black();
    REQUIRE(step_to(layout::Phase::Idle));
  }
  static HeapOptions options() {
    HeapOptions options = stepping_heap();
    options.max_bytes = 5 * kMiB;
    options.young = Young::Never;
    return options;
  }

 private:
  TestHeap& test_;
  NativeMutator& m_;
};

TEST(a_full_heap_whose_garbage_fits_its_holes_keeps_some_back_instead_of_moving) {
  TestHeap test(FullTable::options());
  REQUIRE(test.heap);
  NativeMutator m(test, 2'000);
  FullTable table(test, m, 60);
  table.drop(0, FullTable::kItems / 2);
  // Two of these have no room above the top, and less than an eighth of the dead holds them.
  table.cycle([&] { table.fill(90); });
  CHECK_EQ(test.heap->statistics.flips.load(), 0u);
  const u64 spared = table.spared();
  table.cycle([&] { table.fill(90); });
  CHECK(table.spared() > spared);
  CHECK_EQ(test.heap->statistics.flips.load(), 0u);
  table.fill(FullTable::kItems);
  CHECK_EQ(table.intact(), FullTable::kItems);
  expect_no_violation(test, m);
}

TEST(a_full_heap_that_could_not_keep_enough_back_moves_and_once) {
  TestHeap test(FullTable::options());
  REQUIRE(test.heap);
  NativeMutator m(test, 2'000);
  FullTable table(test, m, 100);
  table.drop(0, FullTable::kItems / 2);
  REQUIRE(table.step_to(layout::Phase::Reclaim));
  table.fill(320);
  REQUIRE(table.step_to(layout::Phase::Prepare));  // the gate before the flip: it is decided
  CHECK_EQ(test.heap->statistics.flips.load(), 0u);
  table.fill(400);  // the last of them have no room until the flip, and for who waits gates are open
  CHECK_EQ(test.heap->statistics.flips.load(), 1u);
  if (test.heap->statistics.collections.load() == 0) REQUIRE(table.step_to(layout::Phase::Idle));
  table.drop(1, 1'000);
  table.cycle([] {});
  CHECK_EQ(test.heap->statistics.flips.load(), 1u);
  CHECK(test.heap->moving.dead.granules() > 0);
  table.fill(FullTable::kItems);
  CHECK_EQ(table.intact(), FullTable::kItems);
  expect_no_violation(test, m);
}

TEST(what_is_too_short_for_what_is_allocated_counts_as_used_and_serves_shorter_objects_all_the_same) {
  TestHeap test(Table::options());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  Table table(test, m);
  Heap& heap = *test.heap;
  constexpr u32 kDropped = 20;
  table.cycles_before(1);  // compacts: what is left of the first items has even numbers
  table.drop(0, kDropped, 4);
  table.cycle([] {});
  CHECK(heap.moving.dead.pages() > 0);
  for (u32 i = 0; i < kDropped && heap.moving.dead.pages() > 0; i++) m.alloc_bytes(2 * kItemBytes);
  CHECK_EQ(heap.moving.dead.pages(), 0u);
  CHECK(heap.moving.dead.has_holes());
  const u32 all = heap.pages_in_use();
  CHECK_EQ(all, heap.moving.held_pages());
  const u64 holes = heap.statistics.holesReused.load();
  for (u32 i = 0; i < 200 && heap.statistics.holesReused.load() < holes + 5; i++) table.fill(1);
  CHECK(heap.statistics.holesReused.load() >= holes + 5);
  CHECK_EQ(heap.pages_in_use(), all);
  CHECK_EQ(table.intact(), Table::kItems);
  table.cycles_before(6);
  CHECK_EQ(table.intact(), Table::kItems);
  expect_no_violation(test, m);
}

TEST(a_heap_whose_garbage_fits_its_holes_neither_grows_nor_flips) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  Heap& heap = *test.heap;
  constexpr u32 kHeld = 12'000;  // 12 MB in 32 MiB
  const u32 table = m.push(0);
  m.set_root(table, m.alloc_refs(kHeld));
  Random random(11);
  u32 wrong = 0;
  const auto replace = [&](u32 i) {
    const u32 slot = 2 + i;
    if (const u32 item = m.load(m.root(table) + slot); item != 0) wrong += m.load(item + 2) != i || m.load(item + 1 + kItemBytes / 4) != ~i;
    const u32 item = m.alloc_bytes(kItemBytes);
    m.store(item + 2, i);
    m.store(item + 1 + kItemBytes / 4, ~i);
    m.store_ref(m.root(table) + slot, item);
  };
  // The program waits for a collector that gets no processor.
  const auto replace_one = [&] {
    replace(random.below(kHeld));
    if (heap.pages_in_use() <= pages_for_bytes(heap.geometry().max_bytes / 8 * 7)) return;
    m.park();
    test.heap->rest();
    m.unpark();
  };
  for (u32 i = 0; i < kHeld; i++) replace(i);
  // A program that runs out of memory is compacted for. On a busy machine it may be: not time after time.
  bool level = false;
  for (u32 attempt = 0; attempt < 6 && !level; attempt++) {
    for (u32 i = 0; i < 60'000; i++) replace_one();
    const u64 flips = heap.statistics.flips.load(), cycles = heap.statistics.collections.load();
    const u32 top = heap.moving.top;
    while (heap.statistics.collections.load() < cycles + 12) replace_one();
    level = heap.statistics.flips.load() == flips && heap.moving.top < top + 200;
  }
  CHECK(level);
  CHECK_EQ(wrong, 0u);
  expect_no_violation(test, m);
}

}  // namespace
