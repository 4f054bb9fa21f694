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

/// A list in root 0 of nodes of four granules, every other one dead: it is worth moving, and each page is made of two.
struct Program {
  TestHeap test;
  NativeMutator m;
  explicit Program(u32 level) : test(at_level(level)), m(test, 64) {
    const u32 shape = test.define_fixed(4, {16 << 1, 20 << 1});
    m.push(0);
    for (u32 i = 0; i < kNodes; i++) {
      const u32 node = m.alloc(shape, 0, 4);
      m.set_key(node, i);
      m.init_left(node, m.root(0));
      m.set_root(0, node);
      m.alloc(shape, 0, 4);
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
std::string finding(u32 level, const std::function<const char*(Program&)>& body) {
  int out[2];
  if (pipe(out) != 0) return "no pipe";
  const int status = in_child([&] {
    dup2(out[1], STDERR_FILENO);
    signal(SIGABRT, [](int) { _exit(0); });
    Program program(level);
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
