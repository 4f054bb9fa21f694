// What an object does not fit into waits for others (native/core/allocation/tlab-rests.h, DeadSpace of moving-space.h): the rests of TLABs, and
// the holes that are passed over.
#include "core/allocation/tlab-rests.h"

#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

constexpr u32 kNodeWords = 6;

TEST(the_longest_rests_are_kept_and_the_last_one_that_is_long_enough_is_taken) {
  TlabRests rests;
  rests.keep({1000, 1000});
  rests.keep({1000, 1030});  // too short to be worth it
  CHECK_EQ(rests.take(2).words(), 0u);
  for (const u32 words : {100u, 40u, 300u, 60u, 200u, 34u}) rests.keep({words * 1000, words * 1000 + words});
  CHECK_EQ(rests.take(250).top, 300'000u);
  CHECK_EQ(rests.take(250).words(), 0u);
  // 40 had to go for 200, and 34 was shorter than all.
  u32 kept = 0;
  for (TlabRests::Rest rest = rests.take(2); rest.words() > 0; rest = rests.take(2)) kept += rest.words();
  CHECK_EQ(kept, 100u + 60u + 200u);
  rests.keep({1000, 1100});
  rests.forget();
  CHECK_EQ(rests.take(2).words(), 0u);
}

TEST(holes_that_are_too_short_for_an_object_wait_for_shorter_ones) {
  DeadSpace dead;
  for (const Hole hole : {Hole{1000, 200}, {2000, 40}, {3000, 300}, {4000, 50}}) dead.add_hole(hole);
  CHECK_EQ(dead.next_hole().first, 1000u);
  CHECK_EQ(dead.take_hole(250).first, 3000u);
  CHECK_EQ(dead.take_hole(250).granules, 0u);
  CHECK_EQ(dead.pages(), 0u);  // 290 granules are less than a page
  // Those that were passed over, the last one first, whatever the length of what is asked for.
  CHECK(dead.has_holes());
  CHECK_EQ(dead.next_hole().first, 4000u);
  CHECK_EQ(dead.take_hole(3).first, 4000u);
  CHECK_EQ(dead.take_hole(3).first, 2000u);
  CHECK_EQ(dead.take_hole(3).first, 1000u);
  CHECK(!dead.has_holes());
  CHECK_EQ(dead.take_hole(1).granules, 0u);
}

/// A table of messages of 512 bytes, one after the other in memory, of which every second has died and left its hole.
class Messages {
 public:
  static constexpr u32 kCount = 2'000, kBytes = 504;

  Messages(TestHeap& test, NativeMutator& m) : m_(m) {
    table_ = m.push(m.alloc_refs(kCount));
    for (u32 i = 0; i < kCount; i++) put(i);
    for (u32 i = 0; i < kCount; i += 2) m.store(m.root(table_) + 2 + i, 0);
    let_a_cycle_begin(test, m);
  }
  /// A message whose words all say which it is.
  u32 put(u32 i) {
    const u32 message = m_.alloc_bytes(kBytes);
    for (u32 word = 0; word < kBytes / 4; word++) m_.store(message + 2 + word, i);
    m_.store_ref(m_.root(table_) + 2 + i, message);
    return message;
  }
  u32 at(u32 i) const { return m_.load(m_.root(table_) + 2 + i); }
  u32 intact() const {
    u32 intact = 0;
    for (u32 i = 0; i < kCount; i++) {
      const u32 message = at(i);
      u32 words = 0;
      while (message != 0 && words < kBytes / 4 && m_.load(message + 2 + words) == i) words++;
      intact += words == kBytes / 4;
    }
    return intact;
  }

 private:
  NativeMutator& m_;
  u32 table_;
};

TEST(small_objects_go_on_where_a_longer_one_did_not_fit) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  Messages messages(test, m);
  const Statistics& statistics = test.heap->statistics;
  CHECK_EQ(statistics.flips.load(), 0u);
  const u32 list = m.push(0);
  u32 length = 0;
  const auto add_node = [&] {
    const u32 node = m.alloc_node();
    m.set_key(node, length++);
    m.init_left(node, m.root(list));
    m.set_root(list, node);
    return node;
  };
  const u64 holes = statistics.holesReused.load();
  u32 apart = 0, last = add_node();
  for (u32 i = 0; i < 20; i += 2) {
    // Exactly as long as a hole: none that has a node in it will do.
    const u32 message = messages.put(i);
    CHECK_EQ(message, messages.at(i + 1) + (Messages::kBytes / 4 + 2));
    const u32 next = add_node();
    apart += next != last + kNodeWords;
    last = next;
  }
  CHECK_EQ(apart, 0u);
  CHECK_EQ(statistics.holesReused.load() - holes, 11u);
  // A rest that is set aside when the next cycle finds it dead is not given out twice.
  messages.put(20);
  let_a_cycle_begin(test, m);
  for (u32 i = 22; i < Messages::kCount; i += 2) {
    messages.put(i);
    add_node();
  }
  CHECK_EQ(messages.intact(), Messages::kCount);
  CHECK(list_intact(m, list, length));
}

TEST(longer_objects_between_short_ones_are_born_black) {
  HeapOptions options = stepping_heap();
  options.reuse = Reuse::Never;  // what is dead is compacted away
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  const u32 list = m.push(0), held = m.push(0);
  build_list(m, list, 100, 3);
  REQUIRE(step_to(test, m, layout::Phase::Prepare));
  CHECK(test.heap->moving.black);
  u32 length = 100;
  const auto add_nodes = [&](u32 nodes) {
    for (u32 i = 0; i < nodes; i++) {
      const u32 node = m.alloc_node();
      m.set_key(node, length++);
      m.init_left(node, m.root(list));
      m.set_root(list, node);
    }
  };
  for (u32 i = 0; i < 8; i++) {
    add_nodes(250);  // into the second page
    m.set_root(held, m.alloc_bytes(30'000));
  }
  REQUIRE(step_to(test, m, layout::Phase::Compact));
  CHECK(list_intact(m, list, length));
  m.collect();
  CHECK(list_intact(m, list, length));
  CHECK_EQ(test.heap->verification.take_violation(), std::string());
}

}  // namespace
