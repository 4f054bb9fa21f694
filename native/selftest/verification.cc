// The collector's verification, level by level: damage that is planted where the check of a level runs is found by that
// level, is said in its words, and is not found by the level below.
//
// A damaged heap is good for nothing afterwards, and a debug build stops at what it finds; so every program runs in a child
// that ends at once, and the sentence comes back through a pipe.
#include <functional>
#include <string>

#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::selftest;
using namespace glissade::testing;

FILE_NEEDS(why_no_userfaultfd);

namespace {

constexpr u32 kNodes = 20'000;

HeapOptions at_level(u32 level) {
  HeapOptions options = stepping_heap();
  options.verify = level;
  return options;
}

/// A list in root 0 of nodes of four granules, every other one dead but for the first `staying`: it is worth moving, and each page
/// is made of two, but for those that stay.
struct Program {
  TestHeap test;
  NativeMutator m;
  u32 shape;
  explicit Program(u32 level, u32 staying = 0) : test(at_level(level)), m(test, 64) {
    shape = test.define_fixed(4, {16 << 1, 20 << 1});
    m.push(0);
    for (u32 i = 0; i < kNodes; i++) {
      const u32 node = m.alloc(shape, 0, 4);
      m.set_key(node, i);
      m.init_left(node, m.root(0));
      m.set_root(0, node);
      if (i >= staying) m.alloc(shape, 0, 4);
    }
  }
  bool intact() {
    u32 at = m.root(0);
    for (u32 i = kNodes; i-- > 0; at = m.left(at)) {
      if (at == 0 || m.key(at) != i || !m.key_intact(at)) return false;
    }
    return at == 0;
  }
  Heap& heap() { return *test.heap; }
  u32 node(u32 links) {
    u32 at = m.root(0);
    while (links--) at = m.left(at);
    return at;
  }
  Granule granule(u32 ref) { return heap().granule(Ref{ref}); }
  void clear_live(Granule g) { heap().blocks.of(g).live.fetch_and(~(u64{1} << g.bit())); }
  /// To the last rest of the trace: what is marked is marked for good, and its cards are clean.
  bool to_remark() {
    for (u32 i = 0; i < 10'000; i++) {
      m.park();
      heap().step(1);
      m.unpark();
      if (heap().rests_before_remark()) return true;
    }
    return false;
  }
};

constexpr const char* kNever = "the cycle never came there";

/// What a program says, or else what verification says after it; empty: nothing.
std::string finding(u32 level, const std::function<const char*(Program&)>& body, u32 staying = 0) {
  int out[2];
  if (pipe(out) != 0) return "no pipe";
  const int status = in_child([&] {
    dup2(out[1], STDERR_FILENO);
    signal(SIGABRT, [](int) { _exit(0); });
    Program program(level, staying);
    const char* trouble = body(program);
    const std::string said = trouble ? trouble : program.heap().verification.take_violation();
    const ssize_t written = write(STDERR_FILENO, said.data(), said.size());
    _exit(written == static_cast<ssize_t>(said.size()) ? 0 : 1);
    return 0;
  });
  ::close(out[1]);
  std::string said;
  char piece[512];
  for (ssize_t length; (length = read(out[0], piece, sizeof piece)) > 0;) said.append(piece, static_cast<std::size_t>(length));
  ::close(out[0]);
  if (status != 0) said += " (status " + std::to_string(status) + ")";
  return said;
}

bool says(const std::string& said, const char* sentence) {
  const bool found = said.find(sentence) != std::string::npos;
  if (!found) std::fprintf(stderr, "  said: '%s', not '%s'\n", said.c_str(), sentence);
  return found;
}

}  // namespace

TEST(verification_of_a_whole_cycle_finds_nothing_where_nothing_is_wrong) {
  for (u32 level = 0; level <= 4; level++) {
    const std::string said = finding(level, [&](Program& p) -> const char* {
      const u64 before = p.heap().verification.count();
      p.m.collect();
      if (!p.intact()) return "the list is broken";
      // A page's check is one of many; levels 1 to 3 have one or two in a cycle.
      const u64 checks = p.heap().verification.count() - before;
      const bool right = level == 0 ? checks == 0 : level <= 2 ? checks == 1 : level == 3 ? checks == 2 : checks > 100;
      return right ? nullptr : "not as many checks as the level has";
    });
    CHECK_EQ(said, std::string());
  }
}

TEST(verification_level_1_finds_a_root_that_is_no_object) {
  for (u32 level = 0; level <= 1; level++) {
    const std::string said = finding(level, [](Program& p) -> const char* {
      if (!p.to_remark()) return kNever;
      p.m.store(p.m.root(0), 60'000);
      return step_to(p.test, p.m, layout::Phase::Reclaim) ? nullptr : kNever;
    });
    if (level == 0) CHECK_EQ(said, std::string());
    else CHECK(says(said, "has no shape (word 0 is 60000), held by a root"));
  }
}

TEST(verification_level_1_looks_at_tables_and_at_values_and_at_what_is_no_ref_at_all) {
  const auto planted = [](layout::AreaKind kind, u32 slot, const std::function<u32(Program&)>& word) {
    return finding(1, [&](Program& p) -> const char* {
      const bool value = kind == layout::AreaKind::ValueTable;
      const i32 index = p.heap().create_area(kind, 4096, -1);
      AreaView area;
      if (index < 0 || !p.heap().roots.view(static_cast<u32>(index), area)) return "no area";
      layout::store_word(p.heap().space.control()[layout::kAreaBase + static_cast<u32>(index) * layout::kAreaWords + layout::kAreaTop], 4096);
      if (!p.to_remark()) return kNever;
      // No card: remark does not look there.
      area.words[slot * (value ? 2 : 1)] = word(p);
      if (value) area.words[slot * 2 + 1] = layout::kTagRef;
      return step_to(p.test, p.m, layout::Phase::Reclaim) ? nullptr : kNever;
    });
  };
  const auto node = [](Program& p) { return p.node(7); };
  const auto body = [](Program& p) { return p.node(7) + 2; };
  const auto odd = [](Program& p) { return p.node(7) + 1; };
  const auto outside = [](Program& p) { return static_cast<u32>(p.heap().geometry().heap_buffer_bytes() / 4); };
  for (const layout::AreaKind kind : {layout::AreaKind::RefTable, layout::AreaKind::ValueTable}) {
    for (const u32 slot : {0u, 4095u}) {
      CHECK_EQ(planted(kind, slot, node), std::string());
      CHECK(says(planted(kind, slot, body), " has no shape (word 0 is "));
      CHECK(says(planted(kind, slot, odd), " is odd or outside the heap, held by a root"));
      CHECK(says(planted(kind, slot, outside), " is odd or outside the heap, held by a root"));
    }
  }
}

TEST(verification_level_1_does_not_follow_what_is_no_object_and_says_who_holds_it) {
  // Before the cycle: marking meets it.
  const auto planted = [](const std::function<void(Program&)>& damage) {
    return finding(1, [&](Program& p) -> const char* {
      damage(p);
      const u64 flips = p.heap().statistics.flips.load();
      p.m.collect();
      return p.heap().statistics.flips.load() == flips ? nullptr : "a damaged heap has moved";
    });
  };
  const auto refer = [&](const std::function<u32(Program&)>& word) {
    return planted([&](Program& p) { p.m.set_left(p.node(5), word(p)); });
  };
  CHECK(says(refer([](Program& p) { return p.node(7) + 1; }), " is odd or outside the heap, held by ref "));
  CHECK(says(refer([](Program&) { return 2u; }), " is odd or outside the heap, held by ref "));
  CHECK(says(refer([](Program&) { return 0xFFFFFFF8u; }), " is odd or outside the heap, held by ref "));
  CHECK(says(refer([](Program& p) { return p.heap().ref(Granule{p.heap().moving.top * kGranulesPerPage}).word - 2; }), " has no shape (word 0 is 0), held by ref "));
  CHECK(says(refer([](Program& p) { return p.heap().ref(Granule{(p.heap().geometry().moving_pages() - 1) * kGranulesPerPage}).word; }), ", held by ref "));
  CHECK(says(refer([](Program& p) { return p.heap().base_word - 1024; }), ", held by ref "));
  CHECK(says(planted([](Program& p) { p.m.store(p.node(7), 60'000); }), " has no shape (word 0 is 60000), held by ref "));
}

TEST(verification_level_2_finds_a_reachable_object_that_is_not_marked) {
  for (u32 level = 1; level <= 2; level++) {
    const std::string said = finding(level, [](Program& p) -> const char* {
      if (!p.to_remark()) return kNever;
      p.clear_live(p.granule(p.node(kNodes / 2)));
      return step_to(p.test, p.m, layout::Phase::Reclaim) ? nullptr : kNever;
    });
    if (level == 1) CHECK_EQ(said, std::string());
    else CHECK(says(said, ", is not marked (invariant 6)") && says(said, ", held by ref "));
  }
}
TEST(verification_level_2_follows_values_and_large_objects) {
  const std::string said = finding(2, [](Program& p) -> const char* {
    const u32 length = 20'000;
    p.m.push(p.m.alloc_values(length));
    p.m.push(p.m.alloc_refs(length));
    p.m.store_ref(p.m.root(2) + 2 + length - 1, p.m.root(1));
    const u32 only = p.m.alloc_node();
    p.m.store_value_ref(p.m.root(1) + 2 + 2 * (length - 1), only);
    p.m.set_root(1, 0);
    if (!p.to_remark()) return kNever;
    p.clear_live(p.granule(only));
    return step_to(p.test, p.m, layout::Phase::Reclaim) ? nullptr : kNever;
  });
  CHECK(says(said, ", is not marked (invariant 6)"));
  // And a large one that is not marked itself.
  const std::string large = finding(2, [](Program& p) -> const char* {
    p.m.push(p.m.alloc_refs(20'000));
    if (!p.to_remark()) return kNever;
    p.heap().large_objects.clear_mark(p.granule(p.m.root(1)).index / kGranulesPerPage);
    return step_to(p.test, p.m, layout::Phase::Reclaim) ? nullptr : kNever;
  });
  CHECK(says(large, "held by a root, is not marked (invariant 6)"));
}

TEST(verification_level_3_finds_live_bits_that_are_not_those_of_an_object) {
  for (u32 level = 2; level <= 3; level++) {
    const std::string said = finding(level, [](Program& p) -> const char* {
      if (!step_to(p.test, p.m, layout::Phase::Reclaim)) return kNever;
      const Granule body{p.granule(p.node(kNodes / 2)).index + 1};
      p.clear_live(body);
      return step_to(p.test, p.m, layout::Phase::Prepare) ? nullptr : kNever;
    });
    if (level == 2) CHECK_EQ(said, std::string());
    else CHECK(says(said, "a hole in the live bits of granule "));
  }
}
TEST(verification_level_3_finds_a_wrong_destination) {
  const std::string said = finding(3, [](Program& p) -> const char* {
    if (!step_to(p.test, p.m, layout::Phase::Prepare)) return kNever;
    // The cycle has looked already; it looks again in the same state, and then once more after the damage.
    p.heap().verification.check_forwarding();
    if (!p.heap().verification.take_violation().empty()) return "a violation where nothing is wrong";
    p.heap().blocks.of(p.granule(p.node(kNodes / 2))).destination++;
    p.heap().verification.check_forwarding();
    return nullptr;
  });
  CHECK(says(said, " is forwarded to ") && says(said, ", naive sliding says "));
}
TEST(verification_level_3_finds_a_wrong_end_of_the_compaction) {
  const std::string said = finding(3, [](Program& p) -> const char* {
    if (!step_to(p.test, p.m, layout::Phase::Prepare)) return kNever;
    p.heap().forwarding.compact_end.index += kGranulesPerPage;
    p.heap().verification.check_forwarding();
    return nullptr;
  });
  CHECK(says(said, "compaction ends at ") && says(said, ", naive sliding at "));
}

TEST(verification_level_4_finds_a_page_that_another_build_makes_otherwise) {
  const auto damaged = [](u32 word, u32 difference) {
    return finding(4, [=](Program& p) -> const char* {
      if (!step_to(p.test, p.m, layout::Phase::Compact)) return kNever;
      Heap& heap = p.heap();
      const u32 page = heap.forwarding.to_begin.index / kGranulesPerPage + 1;
      // Claimed, as by a builder: a page that nobody builds is none of its business.
      if (!heap.page_words[page].claim()) return "the page is taken";
      u32 buffer[kPageSize / 4];
      u8* bytes = reinterpret_cast<u8*>(buffer);
      const PageContent content = heap.builder.build(page, bytes);
      if (content != PageContent::Buffer) return "the page has nothing to build";
      buffer[word] += difference;
      heap.verification.check_rebuilt(page, content, bytes);
      return nullptr;
    });
  };
  CHECK_EQ(damaged(0, 0), std::string());
  for (u32 word : {u32{0}, u32{511}, u32{kPageSize / 4 - 1}}) CHECK(says(damaged(word, 1), " built twice is not the same (invariant 1)"));
}
TEST(verification_level_4_finds_pages_that_are_not_what_their_sources_give) {
  for (u32 level = 3; level <= 4; level++) {
    const std::string said = finding(level, [](Program& p) -> const char* {
      if (!step_to(p.test, p.m, layout::Phase::Compact)) return kNever;
      Heap& heap = p.heap();
      const Forwarding& f = heap.forwarding;
      // The builder takes a page with holes for a full one, and slides it whole. Found by the collector's own check.
      bool planted = false;
      for (u32 page = f.to_begin.index / kGranulesPerPage; page < f.compact_end.index / kGranulesPerPage && !planted; page++) {
        const PageInfo& info = heap.page_infos[page];
        if (heap.page_words[page].load().state() != PageState::Untouched || info.source % kGranulesPerPage != 0) continue;
        heap.page_live[info.source / kGranulesPerPage] = kGranulesPerPage;
        planted = true;
      }
      if (!planted) return "no page begins with a page";
      p.m.collect();
      return nullptr;
    });
    if (level == 3) CHECK_EQ(said, std::string());
    else CHECK(says(said, " is not what its sources give, word by word"));
  }
}
TEST(verification_level_4_finds_references_that_were_not_translated) {
  for (u32 level = 3; level <= 4; level++) {
    const std::string said = finding(level, [](Program& p) -> const char* {
      const u32 length = 20'000;
      p.m.push(p.m.alloc_refs(length));
      for (u32 i = 0; i < length; i++) p.m.store_ref(p.m.root(1) + 2 + i, p.m.root(0));
      if (!step_to(p.test, p.m, layout::Phase::Compact)) return kNever;
      // The builder takes a large array of references for one of bytes. Every copy of a page is the same.
      LargeObjects& objects = p.heap().large_objects;
      const u32 page = p.heap().flip_large_low;
      if (!objects.is_head(page)) return "there is no large object";
      objects.place(page, p.test.bytes, objects.head(page).granules, true);
      for (bool at_rest = false; !at_rest;) {
        p.m.park();
        at_rest = p.heap().step(1) == layout::Phase::Idle;
        p.m.unpark();
      }
      return nullptr;
    });
    if (level == 3) CHECK_EQ(said, std::string());
    else CHECK(says(said, " is not what its sources give, word by word"));
  }
}

namespace {

constexpr u32 kStaying = 1'280;  // ten pages, of which the last five refer to what moves

/// A page of each kind, in a cycle that rests before its compaction: none of them has been built.
struct Furnished {
  u32 intact = 0, prefix = 0, compacted = 0, last = 0, black = 0, large = 0, root = 0;
  const char* trouble = nullptr;

  explicit Furnished(Program& p) {
    Heap& heap = p.heap();
    const u32 moving = p.node(0);
    u32 at = p.node(kNodes - kStaying);
    prefix = p.granule(at).page() - 1;
    intact = p.granule(p.node(kNodes - kStaying / 4)).page();
    for (u32 i = 0; i < kStaying / 2; i++, at = p.m.left(at)) p.m.set_right(at, moving);
    constexpr u32 kSlots = 20'000;
    p.m.push(p.m.alloc_refs(kSlots));
    for (u32 slot = 0; slot < kSlots; slot++) p.m.store_ref(p.m.root(1) + 2 + slot, moving);
    trouble = kNever;
    if (!step_to(p.test, p.m, layout::Phase::Reclaim)) return;
    const u32 born = p.m.alloc(p.shape, 0, 4);
    p.m.set_key(born, 1);
    p.m.set_right(born, p.node(0));
    p.m.push(born);
    p.m.publish_top();
    if (!step_to(p.test, p.m, layout::Phase::Compact)) return;
    compacted = heap.forwarding.to_begin.page();
    last = (heap.forwarding.compact_end.index - 1) / kGranulesPerPage;
    black = heap.forwarding.to_black_begin.page();
    large = heap.flip_large_low;
    root = heap.geometry().root_first_page();
    const auto is = [&](u32 page, PageKind kind) { return heap.builder.kind(page) == kind && heap.page_words[page].load().state() == PageState::Untouched; };
    const bool all = is(prefix, PageKind::Prefix) && is(intact, PageKind::Prefix) && heap.builder.is_intact(intact) && !heap.builder.is_intact(prefix) &&
                     is(compacted, PageKind::Compacted) && is(last, PageKind::Compacted) && heap.forwarding.compact_end.index % kGranulesPerPage != 0 &&
                     is(black, PageKind::Black) && is(large, PageKind::Large) && is(root, PageKind::Root);
    trouble = all ? nullptr : "not a page of each kind";
  }
};

/// What is said of a page, one word of which is not what it should be by so much.
std::string of_damaged(u32 Furnished::*which, u32 word, u32 difference) {
  return finding(4, [=](Program& p) -> const char* {
    const Furnished pages(p);
    if (pages.trouble) return pages.trouble;
    Heap& heap = p.heap();
    const u32 page = pages.*which;
    if (!heap.page_words[page].claim()) return "the page is taken";
    u32 buffer[kPageSize / 4];
    const PageContent content = heap.builder.build(page, reinterpret_cast<u8*>(buffer));
    if (content != PageContent::Buffer) return "the page has nothing to build";
    buffer[word] += difference;
    heap.verification.check_page(page, content, reinterpret_cast<u8*>(buffer));
    return nullptr;
  }, kStaying);
}
/// … of a page that is said to be as it was, or empty.
std::string of_content(u32 Furnished::*which, PageContent content) {
  return finding(4, [=](Program& p) -> const char* {
    const Furnished pages(p);
    if (pages.trouble) return pages.trouble;
    if (!p.heap().page_words[pages.*which].claim()) return "the page is taken";
    p.heap().verification.check_page(pages.*which, content, nullptr);
    return nullptr;
  }, kStaying);
}

constexpr const char* kWrong = " is not what its sources give, word by word";

}  // namespace

TEST(verification_level_4_finds_one_wrong_word_in_a_page_of_any_kind) {
  constexpr u32 kKey = 2, kLeft = 4, kRight = 5, kLast = kPageSize / 4 - 1;
  const struct {
    u32 Furnished::*which;
    std::vector<u32> words;
  } pages[] = {{&Furnished::prefix, {0, kKey, kLeft, kRight, kLast}},
               {&Furnished::compacted, {0, kKey, kLeft, kRight, kLast}},
               {&Furnished::last, {0, kLeft, kLast}},  // behind its last object there is nothing
               {&Furnished::black, {0, kKey, kRight}},
               {&Furnished::large, {0, 2, kLast}},
               {&Furnished::root, {0, 1, 2, 3, kLast}}};  // three roots, and nothing above them
  for (const auto& [which, words] : pages) {
    CHECK_EQ(of_damaged(which, 0, 0), std::string());
    for (const u32 word : words) CHECK(says(of_damaged(which, word, 2), kWrong));
  }
}

TEST(verification_level_4_finds_a_page_with_references_that_is_taken_for_unchanged_or_empty) {
  CHECK_EQ(of_content(&Furnished::intact, PageContent::Source), std::string());
  for (u32 Furnished::*which : {&Furnished::prefix, &Furnished::black, &Furnished::large, &Furnished::root}) {
    CHECK(says(of_content(which, PageContent::Source), kWrong));
    CHECK(says(of_content(which, PageContent::Zero), kWrong));
  }
  CHECK(says(of_content(&Furnished::compacted, PageContent::Zero), kWrong));
}

TEST(verification_level_4_looks_at_pages_that_a_fault_builds_and_at_their_neighbours) {
  // A page with references to what moves is taken for intact: touched itself, or beside one that is.
  for (const bool beside : {false, true}) {
    for (u32 level = 3; level <= 4; level++) {
      const std::string said = finding(level, [=](Program& p) -> const char* {
        const Furnished pages(p);
        if (pages.trouble) return pages.trouble;
        Heap& heap = p.heap();
        for (u32 page = beside ? pages.intact : pages.prefix; page <= pages.prefix; page++) heap.intact_pages[page] = 1;
        p.m.load(heap.ref(PageIndex{beside ? pages.intact : pages.prefix}.first_granule()).word);
        return heap.page_words[pages.prefix].load().state() == PageState::Mapped ? nullptr : "the page is not there";
      }, kStaying);
      if (level == 3) CHECK_EQ(said, std::string());
      else CHECK(says(said, kWrong));
    }
  }
}

TEST(verification_of_cards_finds_a_store_without_one_in_objects_of_every_kind) {
  constexpr u32 kLength = 20'000;
  enum class Where { Nowhere, Node, LargeRefs, LargeValues, WithCard, Marked };
  for (const Where where : {Where::Nowhere, Where::Node, Where::LargeRefs, Where::LargeValues, Where::WithCard, Where::Marked}) {
    const std::string said = finding(0, [=](Program& p) -> const char* {
      p.m.push(p.m.alloc_refs(kLength));
      p.m.push(p.m.alloc_values(kLength));
      if (!p.to_remark()) return kNever;
      const u32 born = p.m.alloc_node();  // nothing has marked it
      u32 slot = 0;
      switch (where) {
        case Where::Nowhere: break;
        case Where::Node: slot = p.node(kNodes / 2) + 5; break;
        case Where::LargeRefs: slot = p.m.root(1) + 2 + kLength - 1; break;
        case Where::LargeValues: slot = p.m.root(2) + 2 + 2 * (kLength - 1); break;
        case Where::WithCard: p.m.set_right(p.node(kNodes / 2), born); break;
        case Where::Marked: p.m.store(p.node(kNodes / 2) + 5, p.node(3)); break;
      }
      if (slot) p.m.store(slot, born);
      if (where == Where::LargeValues) p.m.store(slot + 1, layout::kTagRef);
      const std::string found = p.heap().verification.check_cards();
      std::fputs(found.c_str(), stderr);
      return nullptr;
    });
    if (where == Where::Nowhere || where == Where::WithCard || where == Where::Marked) CHECK_EQ(said, std::string());
    else CHECK(says(said, " and its card is clean: a store without the write barrier"));
  }
}
