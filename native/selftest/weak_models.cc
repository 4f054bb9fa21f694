// Random weak slots and ephemerons (native/core/marking/weak-slots.h) beside a model.
#include <memory>
#include <vector>

#include "selftest/kernel.h"
#include "weak_slots.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

/// Random strong roots, weak slots and ephemerons beside a model, with collections under way all the time or asked for.
struct Model {
  static constexpr u32 kObjects = 300, kPairs = 400;
  struct Pair {
    u32 key = 0, value = 0;  // numbers of objects, 0: none
  };
  WeakHeap& test;
  NativeMutator& m;
  Random random;
  u32 next_number = 1;
  u32 strong[kObjects] = {};  // numbers in root slot 0, an array
  Pair pairs[kPairs];         // … in root slots 1 and 2 (refs, values)
  u32 weak[kPairs] = {};      // … in root slots 3 and 4

  Model(WeakHeap& heap, NativeMutator& mutator, u64 seed) : test(heap), m(mutator), random(seed) {
    for (u32 i = 0; i < 8; i++) m.push(0);
    m.set_root(0, m.alloc_refs(kObjects));
    // One of each pair of arrays is large, one moves.
    m.set_root(1, alloc_array(m, test, test.ref_pairs, 2 * kPairs));
    m.set_root(2, alloc_array(m, test, test.value_pairs, 12'000));
    m.set_root(3, alloc_array(m, test, test.weak_refs, 12'000));
    m.set_root(4, alloc_array(m, test, test.weak_values, kPairs));
  }
  u32 pairs_at(u32 i) const { return i % 2 ? 1 : 2; }
  u32 weak_at(u32 i) const { return i % 2 ? 3 : 4; }

  /// An object that something strong gives, in root slot `to`, and its number: 0 if the one chosen is none.
  u32 choose(u32 to) {
    const u32 i = random.below(kObjects);
    u32 ref = m.load(m.root(0) + 2 + i), number = strong[i];
    // Or what an ephemeron of it gives: alive, as its key is.
    for (const Pair& pair : pairs) {
      if (number != 0 && pair.key == number && random.below(2)) {
        ref = element(m, test, pairs_at(static_cast<u32>(&pair - pairs)), 2 * static_cast<u32>(&pair - pairs) + 1);
        number = pair.value;
      }
    }
    m.set_root(to, number ? ref : 0);
    return number;
  }
  u32 make(u32 to) {
    m.set_root(to, alloc_keyed(m, next_number));
    return next_number++;
  }
  u32 choose_or_make(u32 to) {
    const u32 number = random.below(2) ? choose(to) : 0;
    return number ? number : make(to);
  }

  void act() {
    const u32 i = random.below(kPairs), object = random.below(kObjects);
    Pair pair;
    switch (random.below(6)) {
      case 0:
        strong[object] = choose_or_make(5);
        m.store_ref(m.root(0) + 2 + object, m.root(5));
        break;
      case 1:
        strong[object] = 0;
        m.store_ref(m.root(0) + 2 + object, 0);
        break;
      case 2:
      case 3:
        // A pair whole, so that the model knows what belongs to which key at every safepoint.
        pair.key = choose_or_make(5);
        pair.value = choose_or_make(6);
        set_element(m, test, pairs_at(i), 2 * i, m.root(5));
        set_element(m, test, pairs_at(i), 2 * i + 1, m.root(6));
        pairs[i] = pair;
        break;
      case 4:
        weak[i] = choose_or_make(5);
        set_element(m, test, weak_at(i), i, m.root(5));
        break;
      default:
        for (u32 garbage = random.below(40); garbage > 0; garbage--) m.alloc_node();
    }
    m.set_root(5, 0);
    m.set_root(6, 0);
    if (m.must_poll()) m.poll();
  }

  /// `exactly`: a collection has ended with nothing done since it began.
  void check(bool exactly) {
    std::vector<bool> alive(next_number);
    for (const u32 number : strong) alive[number] = true;
    for (bool more = true; more;) {
      more = false;
      for (const Pair& pair : pairs) {
        if (pair.key == 0 || !alive[pair.key] || alive[pair.value]) continue;
        more = alive[pair.value] = true;
      }
    }
    alive[0] = false;
    u32 lost = 0, wrong = 0, kept = 0;
    const auto look = [&](u32& number, u32 ref, bool lives) {
      if (ref == 0) {
        lost += lives && number != 0;
        number = 0;
        return;
      }
      wrong += !m.is_node(ref) || m.key(ref) != number || !m.key_intact(ref);
      kept += exactly && !lives;
    };
    for (u32 i = 0; i < kObjects; i++) {
      if (strong[i]) wrong += m.key(m.load(m.root(0) + 2 + i)) != strong[i];
    }
    for (u32 i = 0; i < kPairs; i++) {
      const bool lives = alive[pairs[i].key];
      const u32 key = element(m, test, pairs_at(i), 2 * i), value = element(m, test, pairs_at(i), 2 * i + 1);
      wrong += (key == 0) != (value == 0);
      look(pairs[i].key, key, lives);
      look(pairs[i].value, value, lives);
      look(weak[i], element(m, test, weak_at(i), i), alive[weak[i]]);
    }
    CHECK_EQ(lost, 0u);
    CHECK_EQ(wrong, 0u);
    CHECK_EQ(kept, 0u);
  }
};

void run_model(HeapOptions options, u64 seed, bool concurrently, u32 rounds) {
  WeakHeap test(options);
  REQUIRE(test.heap);
  const int failures = failed_checks.load();
  NativeMutator m(test, 64);
  Model model(test, m, seed);
  {
    std::unique_ptr<Collecting> collecting = concurrently ? std::make_unique<Collecting>(test) : nullptr;
    for (u32 round = 0; round < rounds; round++) {
      for (u32 i = 0; i < 300; i++) model.act();
      if (!concurrently) m.collect();
      model.check(!concurrently && options.young == Young::Never);
    }
    if (collecting) collecting->stop(m);
  }
  m.collect();
  model.check(false);
  expect_no_violation(test, m);
  CHECK(test.heap->statistics.weakCleared.load() > 0);
  if (failed_checks.load() != failures) std::fprintf(stderr, "  seed %llu\n", static_cast<unsigned long long>(seed));
}

TEST(random_weak_slots_and_ephemerons_are_what_a_model_says_after_each_collection) { run_between_collections(run_model); }
TEST(random_weak_slots_and_ephemerons_lose_nothing_alive_while_collections_run) { run_beside_collections(run_model); }
TEST(random_weak_slots_and_ephemerons_lose_nothing_alive_in_young_cycles) { run_in_young_cycles(run_model); }

}  // namespace
