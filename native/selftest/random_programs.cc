// Random programs on random heaps, each beside a model that knows what every object holds.
//
// A seed is an episode: a heap (size, young cycles, reuse, buffers, relocation, faults, verification, collector threads,
// checked or protected or neither), perhaps answers of the kernel that are injected, and one or two threads. Each thread builds a graph
// of nodes and of arrays that may be large, changes it, drops parts of it, fills the heap until it is full, and compares
// all that it can reach with its model: no object twice, none in another's place, no reference but those that were stored.
//
// Everything is drawn from the seed. Threads are not: an episode with two of them, or with a collection under way, need not fail again. Each
// object carries its number in the model, an array in its first element's node.
#include "selftest/random_programs.h"

#include <optional>
#include <string>
#include <unordered_map>

#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::selftest;
using namespace glissade::testing;

FILE_NEEDS(why_no_userfaultfd);

namespace {

/// What a program mostly allocates.
enum class Mix { Everything, Nodes, LargeArrays };

struct Episode {
  u64 seed = 0;
  Mix mix = Mix::Everything;
  HeapOptions heap;
  const char* injected = "";
  u32 threads = 1;
  u32 operations = 0;
  u32 large_pages = 1;  // the most that a large object has

  explicit Episode(u64 number) : seed(number) {
    Random random(seed);
    const auto one_in = [&](u32 n) { return random.below(n) == 0; };
    mix = static_cast<Mix>(random.below(3));
    heap.max_bytes = (4 + random.below(28)) * kMiB;
    heap.min_bytes = kMiB << random.below(4);
    heap.root_bytes = kMiB;
    heap.young = static_cast<Young>(random.below(3));
    heap.reuse = mix != Mix::LargeArrays && one_in(5) ? Reuse::Never : static_cast<Reuse>(1 + random.below(2));
    heap.verify = 2 * random.below(3);
    heap.collector_threads = 1 + random.below(3);
    if (one_in(2)) heap.buffer_limit = heap.max_bytes * 2 + kMiB;
    else if (one_in(2)) heap.buffer_limit = heap.max_bytes * 5 / 4 + 2 * kMiB;
    if (one_in(4)) heap.relocation = Relocation::Copy;
    if (one_in(5)) heap.faults = Faults::Thread;
    heap.overdraft = random.below(2);
    heap.retention_ms = random.below(2) * 100;
    heap.tlab_pages = 8 << random.below(3);
    if (one_in(6)) heap.placing_batch = 1;
    heap.fresh_windows = one_in(4);
    heap.protect = heap.fresh_windows && one_in(2);
    constexpr const char* kInjected[] = {
        "move:EBUSY=0.02,move:EAGAIN=0.02,copy:EAGAIN=0.05",
        "move:EEXIST=0.01,zeropage:EAGAIN=0.1",
        "mremap:ENOMEM=0.3,register:ENOMEM=0.2",
        "unregister:ENOMEM=0.3,open:EMFILE=0.1",
    };
    if (one_in(2)) injected = kInjected[random.below(4)];
    threads = 1 + random.below(2);
    operations = mix == Mix::Nodes ? 40'000 : mix == Mix::Everything ? 3'000 : 600;
    large_pages = 1 + random.below(static_cast<u32>(heap.max_bytes / kPageSize / 8));
  }
};

/// An object as the model knows it: which object each of its slots leads to. What is not there is null.
struct Expected {
  bool is_array = false;
  u32 slots = 0;
  std::unordered_map<u32, u32> leads_to;
};

class Program {
 public:
  Program(TestHeap& test, const Episode& episode, u64 seed) : test_(test), episode_(episode), random_(seed), m_(test, kRoots + 1) {
    expected_.emplace_back();  // number 0 is null
    for (u32 i = 0; i <= kRoots; i++) m_.push(0);
  }

  /// Empty, or what is wrong.
  const char* run() {
    const bool small = episode_.mix == Mix::Nodes;
    for (u32 i = 0; i < episode_.operations && wrong_ == nullptr; i++) {
      operate();
      if (random_.below(small ? 4000 : 400) == 0) m_.collect();
      if (random_.below(small ? 2000 : 300) == 0) compare();
      if (random_.below(50) == 0) m_.park(), m_.unpark();
      m_.poll();
    }
    if (wrong_ == nullptr) compare();
    return wrong_;
  }
  u32 times_full() const { return times_full_; }
  u64 compared() const { return compared_; }

 private:
  static constexpr u32 kRoots = 200;
  static constexpr u32 kHeld = kRoots;  // a slot for what is being made

  u32 some_root() { return random_.below(kRoots); }
  /// The word of a slot: after an array's header and its first element, or after a node's header and key.
  static u32 slot_word(u32 ref, const Expected& object, u32 slot) { return ref + (object.is_array ? 3 : 4) + slot; }
  void set_root(u32 slot, u32 ref, u32 number) {
    m_.set_root(slot, ref);
    numbers_[slot] = number;
  }

  void operate() {
    const u32 slot = some_root();
    switch (random_.below(10)) {
      case 6:
      case 7: return relink(slot);
      case 8: {
        const u32 other = some_root();
        return set_root(slot, m_.root(other), numbers_[other]);
      }
      case 9:
        if (random_.below(3) != 0) return follow(slot);
        for (u32 n = random_.below(30); n > 0; n--) set_root(some_root(), 0, 0);
        return;
      default:
        if (!make(slot)) make_room();
    }
  }

  void relink(u32 slot) {
    Expected& object = expected_[numbers_[slot]];
    if (object.slots == 0) return;
    const u32 at = random_.below(object.slots), other = some_root();
    m_.store_ref(slot_word(m_.root(slot), object, at), m_.root(other));
    object.leads_to[at] = numbers_[other];
  }

  /// A root goes where its object leads: what was reachable by one path alone.
  void follow(u32 slot) {
    const Expected& object = expected_[numbers_[slot]];
    if (object.leads_to.empty()) return;
    const auto& [at, number] = *object.leads_to.begin();
    if (number != 0) set_root(slot, m_.load(slot_word(m_.root(slot), object, at)), number);
  }

  void make_room() {
    times_full_++;
    if (random_.below(4) == 0) compare();
    for (u32 slot = 0; slot < kRoots; slot++) {
      if (random_.below(2)) set_root(slot, 0, 0);
    }
    m_.set_root(kHeld, 0);
  }

  /// False: the heap is full.
  bool make(u32 slot) {
    u32 kind = random_.below(100);
    if (episode_.mix == Mix::Nodes) {
      for (u32 garbage = random_.below(60); garbage > 0; garbage--) {
        if (!m_.alloc_node()) return false;
      }
      if (random_.below(60) != 0) kind = 0;
    }
    if (kind >= 97) return m_.alloc_bytes(kind == 99 ? 40'000 + random_.below(episode_.large_pages * kPageSize) : random_.below(20'000)) != 0;
    return kind < 60 ? make_node(slot) : make_array(slot, array_length(kind));
  }

  u32 array_length(u32 kind) {
    const u32 large = 8200 + random_.below(episode_.large_pages * 1024);
    if (episode_.mix == Mix::LargeArrays && kind >= 62) return large * (1 + random_.below(4));
    return kind < 80 ? random_.below(60) : kind < 88 ? random_.below(4000) : kind < 92 ? 6000 + random_.below(2100) : large;
  }

  bool make_node(u32 slot) {
    Expected object{false, 2, {}};
    const u32 node = m_.alloc_node();
    if (!node) return false;
    m_.set_key(node, static_cast<u32>(expected_.size()));
    for (u32 at = 0; at < 2; at++) {
      const u32 other = some_root();
      if (random_.below(2)) initialise(node, object, at, other);
    }
    add(slot, node, std::move(object));
    return true;
  }

  bool make_array(u32 slot, u32 slots) {
    Expected object{true, slots, {}};
    const u32 tag = m_.alloc_node();
    if (!tag) return false;
    m_.set_key(tag, static_cast<u32>(expected_.size()));
    m_.set_root(kHeld, tag);
    const u32 array = m_.alloc_refs(1 + slots);
    if (!array) return false;
    m_.store(array + 2, m_.root(kHeld));
    m_.set_root(kHeld, 0);
    if (slots > 0 && random_.below(8) == 0) {
      const u32 begin = random_.below(slots), end = begin + random_.below(std::min(slots - begin, 20'000u) + 1), other = some_root();
      for (u32 at = begin; at < end; at++) initialise(array, object, at, other);
    } else if (slots > 0) {
      for (u32 n = random_.below(std::min(slots, 40u) + 1); n > 0; n--) initialise(array, object, random_.below(slots), some_root());
    }
    add(slot, array, std::move(object));
    return true;
  }

  /// A store into an object that nobody else knows yet: no card (decision 016).
  void initialise(u32 ref, Expected& object, u32 at, u32 root) {
    m_.store(slot_word(ref, object, at), m_.root(root));
    object.leads_to[at] = numbers_[root];
  }
  void add(u32 slot, u32 ref, Expected object) {
    set_root(slot, ref, static_cast<u32>(expected_.size()));
    expected_.push_back(std::move(object));
  }

  // ── the comparison ──────────────────────────────────────────────────────────────────────────────────────────────

  void compare() {
    std::unordered_map<u32, u32> seen;  // number by ref
    std::vector<u32> pending;
    const auto visit = [&](u32 ref, u32 number) {
      if ((ref == 0) != (number == 0)) return complain("a reference is null that was stored, or the other way round");
      if (ref == 0) return;
      const auto [known, is_new] = seen.emplace(ref, number);
      if (known->second != number) return complain("two objects at one address");
      if (is_new) pending.push_back(ref);
    };
    for (u32 slot = 0; slot < kRoots; slot++) visit(m_.root(slot), numbers_[slot]);
    while (!pending.empty() && wrong_ == nullptr) {
      const u32 ref = pending.back(), number = seen[ref];
      pending.pop_back();
      const Expected& object = expected_[number];
      compared_++;
      if (!is_itself(ref, object, number)) return complain("another object, or a damaged one");
      for (const auto& [at, leads_to] : object.leads_to) visit(m_.load(slot_word(ref, object, at)), leads_to);
      if (object.is_array && (object.slots < 100 || random_.below(4) == 0)) expect_nothing_else(ref, object);
    }
  }
  bool is_itself(u32 ref, const Expected& object, u32 number) const {
    if (object.is_array && (m_.load(ref) != test_.refs || m_.load(ref + 1) >> 2 != object.slots + 1)) return false;
    const u32 bearer = object.is_array ? m_.load(ref + 2) : ref;
    return bearer != 0 && m_.is_node(bearer) && m_.key(bearer) == number && m_.key_intact(bearer);
  }
  void expect_nothing_else(u32 ref, const Expected& object) {
    for (u32 at = 0; at < object.slots; at++) {
      if (m_.load(slot_word(ref, object, at)) != 0 && object.leads_to.count(at) == 0) complain("a slot holds what was never stored");
    }
  }
  void complain(const char* what) {
    if (wrong_ == nullptr) wrong_ = what;
  }

  TestHeap& test_;
  const Episode& episode_;
  Random random_;
  NativeMutator m_;
  std::vector<Expected> expected_;
  u32 numbers_[kRoots] = {};
  u32 times_full_ = 0;
  u64 compared_ = 0;
  const char* wrong_ = nullptr;
};

struct Thread {
  TestHeap& test;
  const Episode& episode;
  u64 seed;
  const char* wrong = nullptr;
  u32 times_full = 0;
  u64 compared = 0;
  pthread_t thread = {};

  static void* run(void* argument) {
    auto& self = *static_cast<Thread*>(argument);
    Program program(self.test, self.episode, self.seed);
    self.wrong = program.run();
    self.times_full = program.times_full();
    self.compared = program.compared();
    return nullptr;
  }
};

struct Result {
  std::string wrong;  // empty: nothing
  u64 collections = 0, flips = 0, compared = 0;  // compared: objects, each time that they were
  u32 times_full = 0;
};

Result run(const Episode& episode) {
  std::optional<Injected> injected;  // for as long as the heap has cycles
  TestHeap test(episode.heap);
  if (!test.heap) return {"no heap"};
  injected.emplace(episode.injected, episode.seed);
  std::vector<Thread> threads;
  for (u32 i = 0; i < episode.threads; i++) threads.push_back({test, episode, episode.seed * 7 + i});
  for (Thread& thread : threads) pthread_create(&thread.thread, nullptr, Thread::run, &thread);
  Result result;
  for (Thread& thread : threads) {
    pthread_join(thread.thread, nullptr);
    result.times_full += thread.times_full;
    result.compared += thread.compared;
    if (thread.wrong != nullptr && result.wrong.empty()) result.wrong = thread.wrong;
  }
  if (result.wrong.empty()) result.wrong = test.heap->verification.take_violation();
  result.collections = test.heap->statistics.collections;
  result.flips = test.heap->statistics.flips;
  return result;
}

void print(const Episode& episode, const Result& result) {
  constexpr const char* kMixes[] = {"everything", "nodes", "large arrays"};
  const auto n = [](u64 value) { return static_cast<unsigned long long>(value); };
  std::printf("seed %llu: %s, %zu MiB, %u threads%s%s%s: %llu collections, %llu flips, %u times full, %llu objects compared%s%s\n", n(episode.seed),
              kMixes[static_cast<int>(episode.mix)], episode.heap.max_bytes / kMiB, episode.threads,
              episode.heap.protect         ? ", protected"
              : episode.heap.fresh_windows ? ", fresh windows"
                                           : "",
              *episode.injected ? ", " : "", episode.injected, n(result.collections), n(result.flips), result.times_full, n(result.compared),
              result.wrong.empty() ? "" : "; WRONG: ", result.wrong.c_str());
  std::fflush(stdout);
}

}  // namespace

namespace glissade::selftest {

int run_random_programs(double seconds, u64 seed) {
  if (const char* missing = why_no_userfaultfd()) {
    std::fprintf(stderr, "selftest --random: %s\n", missing);
    return 1;
  }
  for (const u64 end = now_ns() + static_cast<u64>(seconds * 1e9); now_ns() < end; seed++) {
    const Episode episode(seed);
    const Result result = run(episode);
    print(episode, result);
    if (!result.wrong.empty()) return 1;
  }
  return 0;
}

}  // namespace glissade::selftest

TEST(random_programs_and_their_models_agree) {
  Result all;
#ifdef GLISSADE_SANITIZE
  constexpr u64 kEpisodes = 5;
#else
  constexpr u64 kEpisodes = 9;
#endif
  for (u64 seed = 1; seed <= kEpisodes; seed++) {
    const Episode episode(seed);
    const Result result = run(episode);
    CHECK(result.wrong.empty());
    if (!result.wrong.empty()) print(episode, result);
    all.collections += result.collections;
    all.flips += result.flips;
    all.times_full += result.times_full;
    all.compared += result.compared;
  }
  CHECK(all.collections > 20 && all.flips > 5 && all.times_full > 0 && all.compared > 10'000);
}
