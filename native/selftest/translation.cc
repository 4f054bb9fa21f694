// Translation: which words of a page are taken for references, what becomes of each, and that the two ways to do it are one.
#include "core/compaction/translation.h"

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "testing.h"

using namespace glissade;

namespace {

constexpr u32 kWords = kPageSize / PageSlots::kWordBytes;

/// Shapes as a program defines them, without a heap.
class Shapes {
 public:
  Shapes() : control_(layout::kControlWords) {
    control_[layout::kShapeCountWord] = layout::kFirstShape;
    table.bind(control_.data());
  }
  u32 define_fixed(u32 granules, const std::vector<u32>& slots) {
    i32& used = control_[layout::kSlotMapLengthWord];
    const i32 start = used;
    for (u32 slot : slots) control_[layout::kSlotMapBase + used++] = static_cast<i32>(slot);
    return define(layout::ShapeKind::Fixed, static_cast<i32>(granules), start, static_cast<i32>(slots.size()));
  }
  u32 define_array(layout::ShapeKind kind, i32 log2) { return define(kind, log2, 0, 0); }

  ShapeTable table;

 private:
  u32 define(layout::ShapeKind kind, i32 size, i32 start, i32 count) {
    const i32 id = control_[layout::kShapeCountWord]++;
    i32* entry = &control_[layout::kShapeBase + id * layout::kShapeWords];
    entry[0] = static_cast<i32>(kind), entry[1] = size, entry[2] = start, entry[3] = count;
    return static_cast<u32>(id);
  }
  std::vector<i32> control_;
};

/// A fixed shape of that size in which granules are values, one or two references, or neither, at random.
u32 define_random(Shapes& shapes, u32 granules, std::mt19937& random) {
  std::vector<u32> slots;
  for (u32 granule = 1; granule < granules; granule++) {
    const u32 offset = granule * kGranuleSize, kind = random() % 5;
    if (kind == 0) slots.push_back(offset << 1 | 1);
    if (kind == 1 || kind == 3) slots.push_back(offset << 1);
    if (kind == 2 || kind == 3) slots.push_back((offset + 4) << 1);
  }
  return shapes.define_fixed(granules, slots);
}

/// Slots as two lists of truths, word by word.
struct Listed {
  std::vector<bool> refs = std::vector<bool>(kWords), values = std::vector<bool>(kWords);
};

u32 differing_words(const PageSlots& slots, const Listed& listed) {
  u32 differing = 0;
  for (u32 word = 0; word < kWords; word++) {
    const u32 group = word / PageSlots::kWordsPerGroup, bit = word % PageSlots::kWordsPerGroup;
    differing += (slots.refs(group) >> bit & 1) != listed.refs[word] || (slots.values(group) >> bit & 1) != listed.values[word];
  }
  return differing;
}

TEST(the_slots_of_a_page_are_those_that_its_objects_shapes_declare) {
  Shapes shapes;
  std::mt19937 random(1);
  std::vector<u32> all = {shapes.define_array(layout::ShapeKind::ArrayRef, 2), shapes.define_array(layout::ShapeKind::ArrayValue, 3),
                          shapes.define_array(layout::ShapeKind::ArrayF64, 3), shapes.define_array(layout::ShapeKind::ArrayU8, 0)};
  for (u32 granules : {1, 2, 3, 8, 31, 32, 33, 34, 100, 600, 1500}) all.push_back(define_random(shapes, granules, random));
  for (u32 round = 0; round < 2000; round++) {
    PageSlots slots;
    Listed listed;
    const auto add = [&](u32 shape, u32 at, u32 begin, u32 granules) {
      const u32 end = begin + granules * kGranuleSize;
      slots.add_object(shapes.table, shape, at, begin, end);
      for_each_slot(shapes.table, shape, begin, end, [&](u32 offset, bool is_value) {
        (is_value ? listed.values : listed.refs)[(at + offset - begin) / PageSlots::kWordBytes] = true;
      });
    };
    const auto any_shape = [&] { return all[random() % all.size()]; };
    const auto size_of = [&](u32 shape) {
      const ShapeEntry& entry = shapes.table[shape];
      return entry.is_fixed() ? static_cast<u32>(entry.size) : 1 + static_cast<u32>(random()) % (round % 2 ? 20 : 700);
    };
    // The page begins in the middle of an object, as often as not.
    const u32 first = any_shape(), size = size_of(first);
    const u32 phase = round % 4 < 2 ? random() % size : 0;
    u32 at = std::min(size - phase, kGranulesPerPage);
    add(first, 0, phase * kGranuleSize, at);
    while (at < kGranulesPerPage) {
      const u32 shape = any_shape(), granules = std::min(size_of(shape), kGranulesPerPage - at);
      // Some objects of a shape in a row, as programs have them.
      for (u32 copies = 1 + random() % 4; copies && at + granules <= kGranulesPerPage; copies--, at += granules) {
        add(shape, at * kGranuleSize, 0, granules);
      }
    }
    CHECK_EQ(differing_words(slots, listed), 0u);
  }
}

TEST(slots_in_a_row_are_found_wherever_they_begin_and_end) {
  for (u32 begin = 0; begin < kWords; begin += 2) {
    for (u32 end : {begin, begin + 2, begin + 62, begin + 64, begin + 66, begin + 200, kWords}) {
      if (end > kWords) continue;
      for (const bool is_value : {false, true}) {
        PageSlots slots;
        Listed listed;
        slots.add_run(begin * PageSlots::kWordBytes, end * PageSlots::kWordBytes, is_value);
        for (u32 word = begin; word < end; word += 1 + is_value) (is_value ? listed.values : listed.refs)[word] = true;
        CHECK_EQ(differing_words(slots, listed), 0u);
      }
    }
  }
}

// ── the two ways to translate ───────────────────────────────────────────────────────────────────────────────────────

struct Way {
  const char* name;
  bool (*leads_to_moving)(const Forwarding&, const u8*, const PageSlots&);
  void (*translate)(const Forwarding&, u8*, const PageSlots&);
};

std::vector<Way> ways() {
  std::vector<Way> all = {{"portable", portable::leads_to_moving, portable::translate}, {"chosen", leads_to_moving, translate}};
  if (vectors::usable()) all.push_back({"vectors", vectors::leads_to_moving, vectors::translate});
  return all;
}

/// A forwarding of nothing in particular, with references to each of its parts.
class Moved {
 public:
  Moved(BlockTable& blocks, u32 pages, std::mt19937& random) : random_(random) {
    const auto granules = [&](u32 below) { return Granule{static_cast<u32>(random()) % (below + 1) * kGranulesPerPage}; };
    f.top = granules(pages);
    f.black_begin = granules(f.top.index / kGranulesPerPage);
    f.prefix_end = granules(f.black_begin.index / kGranulesPerPage);
    f.base_word = 2 * (static_cast<u32>(random()) % (1u << 20));
    // The highest heap that references reach, at times: distances wrap around.
    if (random() % 4 == 0) f.base_word = 0u - 2 * (pages * kGranulesPerPage);
    f.slide = static_cast<i32>(random() % 64) * -static_cast<i32>(kGranulesPerPage);
    f.blocks = &blocks;
    for (u32 i = 0; i <= pages * kBlocksPerPage; i++) {
      Block& block = blocks.at(i);
      block.live.store((u64{static_cast<u32>(random())} << 32 | random()) | (random() % 8 ? 0 : ~u64{0}));
      block.destination = static_cast<u32>(random()) % (pages * kGranulesPerPage);
      block.cover = static_cast<u32>(random());
    }
  }

  u32 any_word() {
    const auto between = [&](Granule first, Granule end) {
      return f.ref({first.index + static_cast<u32>(random_()) % (end.index - first.index + 1)}).word;
    };
    switch (random_() % 8) {
      case 0: return 0;
      case 1: return between({0}, f.prefix_end);
      case 2: return between(f.black_begin, f.top);
      case 3: return f.base_word ? static_cast<u32>(random_()) % f.base_word & ~1u : 0;
      case 4: return f.ref(f.top).word + 2 * (random_() % 3);
      case 5: return static_cast<u32>(random_());
      default: return between(f.prefix_end, f.black_begin);
    }
  }

  Forwarding f;

 private:
  std::mt19937& random_;
};

TEST(every_reference_of_a_page_and_nothing_else_is_translated_as_the_forwarding_says) {
  constexpr u32 kPages = 300;
  static BlockTable blocks;
  REQUIRE(blocks.map(std::size_t{kPages} << kPageShift));
  std::mt19937 random(2);
  for (u32 round = 0; round < 1000; round++) {
    Moved moved(blocks, kPages, random);
    const u32 fixed = round % 3 == 0 ? 95 : 0;  // per cent of the words that are null
    const u32 empty = round % 2 ? 80 : 0;       // … and of the granules without a slot
    // At no particular address, behind what must not be written to.
    u32 words[kWords + 2];
    PageSlots slots;
    Listed listed;
    for (u32& word : words) word = random() % 100 < fixed ? 0 : moved.any_word();
    for (u32 word = 0; word < kWords; word += 2) {
      const u32 kind = random() % 100 < empty ? 4 : random() % 4;
      listed.refs[word] = kind == 0 || kind == 2;
      listed.refs[word + 1] = kind == 1 || kind == 2;
      listed.values[word] = kind == 3;
      if (kind == 3 && random() % 2) words[1 + word + 1] = layout::kTagRef;
      if (kind == 0) slots.add_run(word * 4, word * 4 + 4, false);
      if (kind == 1) slots.add_run(word * 4 + 4, word * 4 + 8, false);
      if (kind == 2) slots.add_run(word * 4, word * 4 + 8, false);
      if (kind == 3) slots.add_run(word * 4, word * 4 + 8, true);
    }
    u32 expected[kWords + 2];
    std::memcpy(expected, words, sizeof words);
    bool any_moves = false;
    for (u32 word = 0; word < kWords; word++) {
      if (!listed.refs[word] && !(listed.values[word] && words[1 + word + 1] == layout::kTagRef)) continue;
      const Ref ref{words[1 + word]};
      expected[1 + word] = moved.f.of(ref).word;
      any_moves = any_moves || !moved.f.is_fixed(ref);
    }
    for (const Way& way : ways()) {
      u32 page[kWords + 2];
      std::memcpy(page, words, sizeof words);
      u8* at = reinterpret_cast<u8*>(page + 1);
      CHECK_EQ(way.leads_to_moving(moved.f, at, slots), any_moves);
      way.translate(moved.f, at, slots);
      if (std::memcmp(page, expected, sizeof page) != 0) testing::report_failure(__FILE__, __LINE__, "page == expected", way.name);
    }
  }
  if (!vectors::usable()) SKIP("in part: no AVX-512 here, only the portable way was tried");
}

TEST(a_page_with_one_reference_is_found_to_change_wherever_that_is) {
  constexpr u32 kPages = 8;
  static BlockTable blocks;
  REQUIRE(blocks.map(std::size_t{kPages} << kPageShift));
  Forwarding f;
  f.base_word = 1 << 10;
  f.prefix_end = {kGranulesPerPage};
  f.black_begin = {4 * kGranulesPerPage};
  f.top = {kPages * kGranulesPerPage};
  f.blocks = &blocks;
  const u32 inside = f.ref({2 * kGranulesPerPage + 5}).word, outside = f.ref({0}).word;
  for (const Way& way : ways()) {
    for (u32 word = 0; word < kWords; word++) {
      u32 page[kWords];
      for (u32& other : page) other = inside;  // not in a slot: no reference
      const u8* at = reinterpret_cast<const u8*>(page);
      PageSlots slots;
      slots.add_run(word * 4, word * 4 + 4, false);
      CHECK(way.leads_to_moving(f, at, slots));
      page[word] = outside;
      CHECK(!way.leads_to_moving(f, at, slots));
    }
  }
}

}  // namespace
