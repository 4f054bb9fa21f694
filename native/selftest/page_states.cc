// The page-state machine, edge by edge and schedule by schedule.
//
// core/stepping.h holds threads between the sub-steps of their work on one page and gives them turns. Its trace says for
// each turn who could have had it; so all schedules of a few threads are found by trying, at the last turn where another
// choice is left, that choice (depth first, in lexicographic order). One schedule takes one page, so a cycle serves for
// hundreds. What must hold after each: the content is what the pure function gives, the page is mapped, nobody is left inside, each
// change of the page's word was an edge of GLISSADE_PAGE_EDGES, and the run went the way it was told to.
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "core/injection.h"
#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

// ── the table of edges ──────────────────────────────────────────────────────────────────────────────────────────────

struct Edge {
  const char* name;
  PageState from, to;
  int builders;
};
constexpr Edge kEdges[] = {
#define X(name, from, to, builders) {#name, PageState::from, PageState::to, builders},
    GLISSADE_PAGE_EDGES(X)
#undef X
};

const Edge* edge_between(PageWord before, PageWord after) {
  for (const Edge& edge : kEdges) {
    if (edge.from == before.state() && edge.to == after.state() &&
        (edge.to == PageState::Untouched ||
         static_cast<int>(after.builders()) - static_cast<int>(before.builders()) == edge.builders)) {
      return &edge;
    }
  }
  return nullptr;
}

/// A word brought into some state.
struct Word {
  AtomicPageWord word;
  explicit Word(u32 bits) { std::memcpy(static_cast<void*>(&word), &bits, sizeof bits); }
};

TEST(the_page_words_operations_make_the_edges_of_the_table_and_no_others) {
  struct Operation {
    const char* name;
    bool (*possible)(PageWord);
    void (*apply)(AtomicPageWord&);
  };
  const auto always = [](PageWord) { return true; };
  const Operation operations[] = {
      {"claim", always, [](AtomicPageWord& w) { w.claim(); }},
      {"overtake", always, [](AtomicPageWord& w) { w.overtake(); }},
      // Only a builder publishes.
      {"publish", [](PageWord w) { return w.builders() > 0; }, [](AtomicPageWord& w) { w.publish(7); }},
      {"set_mapped", always, [](AtomicPageWord& w) { bool alone; w.set_mapped(alone); }},
      // Pages are filled that nobody builds, and reset when all builders have left.
      {"set_filled", [](PageWord w) { return w.state() == PageState::Untouched; }, [](AtomicPageWord& w) { w.set_filled(); }},
      {"reset", [](PageWord w) { return w.state() == PageState::Mapped && w.builders() == 0; },
       [](AtomicPageWord& w) { std::memset(static_cast<void*>(&w), 0, sizeof w); }},
  };
  std::set<u32> seen{0};
  std::vector<u32> open{0};
  std::set<std::string> found;
  while (!open.empty()) {
    const PageWord before{open.back()};
    open.pop_back();
    for (const Operation& operation : operations) {
      if (!operation.possible(before)) continue;
      Word w(before.bits);
      operation.apply(w.word);
      const PageWord after = w.word.load();
      if (after.bits == before.bits) continue;
      const Edge* edge = edge_between(before, after);
      if (!edge) std::fprintf(stderr, "%s: %x to %x is no edge\n", operation.name, before.bits, after.bits);
      CHECK(edge != nullptr);
      if (edge) found.insert(edge->name);
      // A buffer that was published stays until the reset, and none comes before.
      if (before.state() >= PageState::Built && after.state() != PageState::Untouched) CHECK_EQ(after.buffer(), before.buffer());
      if (after.state() == PageState::Building) CHECK_EQ(after.buffer(), 0u);
      if (seen.insert(after.bits).second) open.push_back(after.bits);
    }
  }
  for (const Edge& edge : kEdges) {
    if (!found.count(edge.name)) std::fprintf(stderr, "nothing makes the edge %s\n", edge.name);
    CHECK(found.count(edge.name) == 1);
  }
  // 63 builders are the most: the next waiter goes on waiting.
  Word full(PageWord::kBuilderMask | 1u);
  CHECK(!full.word.overtake());
}

TEST(who_publishes_first_and_who_leaves_last_is_told_exactly_once) {
  for (u32 builders = 1; builders <= 63; builders++) {
    Word w(0);
    CHECK(w.word.claim());
    for (u32 i = 1; i < builders; i++) CHECK(w.word.overtake());
    u32 published = 0, last = 0;
    for (u32 i = 0; i < builders; i++) {
      const AtomicPageWord::Left left = w.word.publish(100 + i);
      published += left.published;
      last += left.last;
      CHECK_EQ(left.buffer, 100u);
      CHECK_EQ(left.last, i + 1 == builders);
    }
    CHECK_EQ(published, 1u);
    CHECK_EQ(last, 1u);
  }
}

// ── threads under a schedule ────────────────────────────────────────────────────────────────────────────────────────

constexpr u32 points(std::initializer_list<HoldPoint> list) {
  u32 mask = 0;
  for (const HoldPoint point : list) mask |= 1u << static_cast<u32>(point);
  return mask;
}
constexpr u32 kPagePoints = points({HoldPoint::Looking, HoldPoint::Claiming, HoldPoint::Overtaking, HoldPoint::Claimed, HoldPoint::Built,
                                    HoldPoint::Published, HoldPoint::Placing, HoldPoint::Placed});
constexpr u32 kHandlerPoints = points({HoldPoint::Faulted, HoldPoint::Entered});
constexpr u32 kClosePoints = points({HoldPoint::Closing, HoldPoint::Disarmed, HoldPoint::Draining, HoldPoint::Waiting, HoldPoint::Drained});

constexpr const char* kPointNames[] = {
#define X(name, doc) #name,
    GLISSADE_HOLD_POINTS(X)
#undef X
};

/// A thread that is a mutator and reads the first word of a page when it is told to.
class Toucher {
 public:
  explicit Toucher(TestHeap& test) : test_(test) {
    pthread_create(&thread_, nullptr, entry, this);
    wait();
  }
  ~Toucher() {
    send(kStop);
    pthread_join(thread_, nullptr);
  }
  pthread_t thread() const { return thread_; }
  void touch(u32 page) { send(page); }
  u32 wait() {
    u32 busy;
    while ((busy = busy_.load(std::memory_order_acquire)) != 0) futex_wait(busy_, busy);
    return value_;
  }

 private:
  static constexpr u32 kStop = ~0u;
  void send(u32 page) {
    page_ = page;
    busy_.store(1, std::memory_order_release);
    command_.fetch_add(1, std::memory_order_release);
    futex_wake(command_);
  }
  static void* entry(void* argument) {
    static_cast<Toucher*>(argument)->loop();
    return nullptr;
  }
  void loop() {
    Heap& heap = *test_.heap;
    NativeMutator m(test_, 8);
    m.park();
    for (u32 seen = 0;;) {
      busy_.store(0, std::memory_order_release);
      futex_wake(busy_);
      while (command_.load(std::memory_order_acquire) == seen) futex_wait(command_, seen);
      seen++;
      if (page_ == kStop) break;
      m.unpark();
      value_ = __atomic_load_n(reinterpret_cast<u32*>(heap.space.to_page({page_})), __ATOMIC_RELAXED);
      heap.steps.leave();  // it may have been mapped before the touch: then there was no fault
      m.park();
    }
    m.unpark();
  }

  TestHeap& test_;
  pthread_t thread_{};
  std::atomic<u32> command_{0}, busy_{1};
  u32 page_ = 0, value_ = 0;
};

/// A heap whose cycles are stepped, and whose pages are handed out one by one while a compaction rests.
class Stage {
 public:
  enum class Pages { Compacted, Whole, Kept, Empty };
  static constexpr u32 kNodes = 40'000;

  /// Compacted pages are explored with freed pages out of reach: a builder that reads a released source is found, even if
  /// what it built is thrown away.
  static HeapOptions options(Relocation relocation, bool protect) {
    HeapOptions options;
    options.max_bytes = 8 * kMiB;
    options.root_bytes = kMiB;
    options.stepping = true;
    options.fresh_windows = true;  // every cycle compacts every page, garbage or not
    options.protect = protect;
    options.relocation = relocation;
    return options;
  }

  Stage(Relocation relocation, Pages pages, bool protect = false, u32 nodes = kNodes)
      : test(options(relocation, protect)), pages_(pages), nodes_(nodes) {
    if (!test.heap) return;
    m_ = new NativeMutator(test, 64);
    m_->push(0);
    m_->push(0);
    build_list(*m_, 0, nodes_, 0);
    if (pages == Pages::Whole) {
      // A dense run without references: each of its pages slides as it is.
      constexpr u32 kObjects = 900;
      m_->set_root(1, m_->alloc_refs(kObjects));
      for (u32 i = 0; i < kObjects; i++) {
        const u32 object = m_->alloc_bytes(2040);
        m_->store_ref(m_->root(1) + 2 + i, object);
      }
    }
    // References that are all null: its pages change by nothing and are placed by moving them.
    if (pages == Pages::Kept) m_->set_root(1, m_->alloc_refs(400 * 1024));
    m_->park();
  }
  ~Stage() {
    if (!m_) return;
    m_->unpark();
    delete m_;
  }

  void to(Rest rest) {
    Heap& heap = *test.heap;
    for (u32 i = 0; i < 100'000; i++) {
      heap.step(heap.rest() == Rest::Idle ? 0 : 1);
      if (heap.rest() == rest) return;
    }
    CHECK(!"the cycle never came there");
  }

  /// An untouched page of the kind wanted, in a compaction that rests.
  u32 page() {
    const Heap& heap = *test.heap;
    for (;;) {
      while (next_ < end_) {
        const u32 page = next_++;
        if (heap.page_words[page].load().state() != PageState::Untouched) continue;
        u8 buffer[kPageSize];
        if (pages_ != Pages::Whole || (heap.builder.build(page, buffer) == PageContent::Source && !heap.builder.slides_alone(page))) return page;
      }
      finish_cycle();
      to(Rest::Compact);
      const Forwarding& f = heap.forwarding;
      switch (pages_) {
        case Pages::Whole:
        case Pages::Compacted:
          next_ = f.to_begin.index / kGranulesPerPage;
          end_ = f.compact_end.index / kGranulesPerPage;
          break;
        case Pages::Kept:
          next_ = heap.flip_large_low;
          end_ = heap.geometry().moving_pages();
          break;
        case Pages::Empty:
          next_ = f.to_top.index / kGranulesPerPage + 1;
          end_ = heap.flip_large_low;
          break;
      }
    }
  }
  void finish_cycle() {
    if (test.heap->rest() != Rest::Idle) to(Rest::Idle);
    m_->unpark();
    CHECK(list_intact(*m_, 0, nodes_));
    m_->park();
    CHECK_EQ(test.heap->compaction.in_flight.load(), 0u);
  }

  TestHeap test;

 private:
  Pages pages_;
  u32 nodes_, next_ = 0, end_ = 0;
  NativeMutator* m_ = nullptr;
};

std::string describe(const Stepping& steps) {
  std::string text;
  for (u32 i = 0; i < steps.turns(); i++) {
    const Stepping::Turn& turn = steps.turn(i);
    text += "  " + std::to_string(turn.actor) + " " + kPointNames[static_cast<u32>(turn.from)] + " " + std::to_string(turn.before.bits & 255) + "->" +
            std::to_string(turn.after.bits & 255) + "\n";
  }
  return text;
}

/// The schedule after the one that has just run, in lexicographic order; empty: there is none.
std::vector<u8> next_schedule(const Stepping& steps) {
  for (u32 i = steps.turns(); i-- > 0;) {
    const u32 others = steps.turn(i).enabled >> steps.turn(i).actor >> 1;
    if (others == 0) continue;
    std::vector<u8> order;
    for (u32 k = 0; k < i; k++) order.push_back(static_cast<u8>(steps.turn(k).actor));
    order.push_back(static_cast<u8>(steps.turn(i).actor + 1 + static_cast<u32>(__builtin_ctz(others))));
    return order;
  }
  return {};
}

struct Explored {
  u32 schedules = 0;
  std::set<std::string> edges;
  u64 turns = 0;
};

/// Checks that the run followed `order` and changed the word along edges only.
void check_trace(const Stepping& steps, const std::vector<u8>& order, Explored& explored) {
  explored.schedules++;
  explored.turns += steps.turns();
  bool good = steps.turns() < Stepping::kMostTurns && order.size() <= steps.turns();
  for (u32 i = 0; good && i < order.size(); i++) good = steps.turn(i).actor == order[i];
  for (u32 i = 0; good && i < steps.turns(); i++) {
    const Stepping::Turn& turn = steps.turn(i);
    // The word is never ahead of the kernel: who reads `mapped` finds the page.
    good = turn.after.state() != PageState::Mapped || turn.there;
    if (turn.before.bits == turn.after.bits) continue;
    const Edge* edge = edge_between(turn.before, turn.after);
    good &= edge != nullptr;
    if (edge) explored.edges.insert(edge->name);
  }
  CHECK(good);
  if (!good) std::fprintf(stderr, "%s", describe(steps).c_str());
}

/// One schedule of the collector (if `with_collector`) and the touchers on one page.
void run_on_page(Stage& stage, std::vector<Toucher*> touchers, bool with_collector, const std::vector<u8>& order, Explored& explored) {
  Heap& heap = *stage.test.heap;
  const u32 page = stage.page();
  alignas(64) u8 expected[kPageSize] = {};
  switch (heap.builder.build(page, expected)) {
    case PageContent::Buffer: break;
    case PageContent::Source: std::memcpy(expected, heap.space.from_page({heap.builder.source_page(page)}), kPageSize); break;
    case PageContent::Zero: std::memset(expected, 0, kPageSize); break;
  }
  Stepping& steps = heap.steps;
  u32 actor = 0;
  if (with_collector) steps.enlist(actor++, heap.collector_thread(), kPagePoints);
  for (Toucher* toucher : touchers) steps.enlist(actor++, toucher->thread(), kPagePoints);
  steps.arm(page, order.data(), static_cast<u32>(order.size()));
  if (with_collector) CHECK(heap.start_page(page));
  for (Toucher* toucher : touchers) toucher->touch(page);
  steps.wait_until_done();
  u32 word;
  std::memcpy(&word, expected, sizeof word);
  bool good = true;
  for (Toucher* toucher : touchers) good &= toucher->wait() == word;
  CHECK(heap.rest() == Rest::Compact);
  steps.disarm();
  check_trace(steps, order, explored);
  const PageWord left = heap.page_words[page].load();
  good &= left.state() == PageState::Mapped && left.builders() == 0 && heap.compaction.in_flight.load() == 0;
  good &= std::memcmp(heap.space.to_page({page}), expected, kPageSize) == 0;
  CHECK(good);
  if (!good) std::fprintf(stderr, "page %u, word %x:\n%s", page, left.bits, describe(steps).c_str());
}

Explored explore_page(Relocation relocation, Stage::Pages pages, u32 mutators, bool with_collector, u32 most = ~0u) {
  Explored explored;
  const bool whole = pages == Stage::Pages::Whole;
  Stage stage(relocation, pages, whole || pages == Stage::Pages::Compacted, whole ? 2'000 : Stage::kNodes);
  if (!stage.test.heap) {
    CHECK(!"no heap");
    return explored;
  }
  std::vector<Toucher*> touchers;
  for (u32 i = 0; i < mutators; i++) touchers.push_back(new Toucher(stage.test));
  std::vector<u8> order;
  do {
    run_on_page(stage, touchers, with_collector, order, explored);
    order = next_schedule(stage.test.heap->steps);
    // Mutators are alike: what begins with the second is the mirror image of what has been seen.
    if (!with_collector && order.size() == 1) break;
  } while (!order.empty() && failed_checks.load() == 0 && explored.schedules < most);
  stage.finish_cycle();
  for (Toucher* toucher : touchers) delete toucher;
  return explored;
}

void require_edges(const Explored& explored, std::initializer_list<const char*> edges) {
  for (const char* edge : edges) {
    if (!explored.edges.count(edge)) std::fprintf(stderr, "no schedule of %u took the edge %s\n", explored.schedules, edge);
    CHECK(explored.edges.count(edge) == 1);
  }
}

constexpr std::initializer_list<const char*> kWorkEdges = {"Claim", "Overtake", "Publish", "LeaveBuilt", "LeaveMapped", "Place"};

#ifdef GLISSADE_SANITIZE
constexpr u32 kMostAgain = 500, kRandomRounds = 300;
#else
constexpr u32 kMostAgain = ~0u, kRandomRounds = 1'000;
#endif

/// `most`: where the same code has been explored to the end on pages of another kind, and a sanitizer makes it slow.
void collector_and_mutator(Relocation relocation, Stage::Pages pages, u32 most = ~0u) {
  const Explored explored = explore_page(relocation, pages, 1, true, most);
  if (explored.schedules < most) require_edges(explored, kWorkEdges);
  std::printf("  %u schedules, %llu turns\n", explored.schedules, static_cast<unsigned long long>(explored.turns));
}
void two_mutators(Relocation relocation, Stage::Pages pages, u32 most = ~0u) {
  const Explored explored = explore_page(relocation, pages, 2, false, most);
  if (explored.schedules < most) require_edges(explored, kWorkEdges);
  std::printf("  %u schedules, %llu turns\n", explored.schedules, static_cast<unsigned long long>(explored.turns));
}

TEST(every_schedule_of_the_collector_and_a_mutator_on_a_page_moved) { collector_and_mutator(Relocation::Move, Stage::Pages::Compacted); }
TEST(every_schedule_of_the_collector_and_a_mutator_on_a_page_copied) { collector_and_mutator(Relocation::Copy, Stage::Pages::Compacted); }
TEST(every_schedule_of_the_collector_and_a_mutator_on_a_page_that_slides_as_it_is_copied) { collector_and_mutator(Relocation::Copy, Stage::Pages::Whole, kMostAgain); }
TEST(every_schedule_of_the_collector_and_a_mutator_on_a_kept_page_moved) { collector_and_mutator(Relocation::Move, Stage::Pages::Kept, kMostAgain); }
TEST(every_schedule_of_the_collector_and_a_mutator_on_a_kept_page_copied) { collector_and_mutator(Relocation::Copy, Stage::Pages::Kept, kMostAgain); }
TEST(every_schedule_of_two_mutators_on_a_page_moved) { two_mutators(Relocation::Move, Stage::Pages::Compacted); }
TEST(every_schedule_of_two_mutators_on_a_page_copied) { two_mutators(Relocation::Copy, Stage::Pages::Compacted, kMostAgain); }
TEST(every_schedule_of_two_mutators_on_a_page_that_slides_as_it_is_copied) { two_mutators(Relocation::Copy, Stage::Pages::Whole, kMostAgain); }
TEST(every_schedule_of_two_mutators_on_a_kept_page) { two_mutators(Relocation::Auto, Stage::Pages::Kept, kMostAgain); }
TEST(every_schedule_of_two_mutators_on_a_page_without_content) { two_mutators(Relocation::Auto, Stage::Pages::Empty, kMostAgain); }

TEST(random_schedules_of_the_collector_and_two_mutators_on_a_page) {
  for (const Relocation relocation : {Relocation::Move, Relocation::Copy}) {
    Explored explored;
    Stage stage(relocation, Stage::Pages::Compacted);
    REQUIRE(stage.test.heap);
    Toucher first(stage.test), second(stage.test);
    constexpr u64 kSeed = 11;
    Random random(kSeed);
    for (u32 round = 0; round < kRandomRounds && failed_checks.load() == 0; round++) {
      // What it asks for is not always possible, so the run is compared with nothing but itself.
      std::vector<u8> wanted;
      for (u32 i = 0; i < 40; i++) wanted.push_back(static_cast<u8>(random.below(3)));
      const u32 page = stage.page();
      Heap& heap = *stage.test.heap;
      Stepping& steps = heap.steps;
      steps.enlist(0, heap.collector_thread(), kPagePoints);
      steps.enlist(1, first.thread(), kPagePoints | kHandlerPoints);
      steps.enlist(2, second.thread(), kPagePoints | kHandlerPoints);
      steps.arm(page, wanted.data(), static_cast<u32>(wanted.size()));
      CHECK(heap.start_page(page));
      first.touch(page);
      second.touch(page);
      steps.wait_until_done();
      CHECK_EQ(first.wait(), second.wait());
      CHECK(heap.rest() == Rest::Compact);
      steps.disarm();
      check_trace(steps, {}, explored);
      CHECK(heap.page_words[page].load().state() == PageState::Mapped);
      CHECK_EQ(heap.page_words[page].load().builders(), 0u);
    }
    if (failed_checks.load()) std::fprintf(stderr, "seed %llu\n", static_cast<unsigned long long>(kSeed));
    stage.finish_cycle();
    require_edges(explored, kWorkEdges);
  }
}

// ── the other edges, and the close ──────────────────────────────────────────────────────────────────────────────────

TEST(a_tlab_granted_during_a_compaction_fills_its_pages_and_the_close_resets_them) {
  Stage stage(Relocation::Auto, Stage::Pages::Compacted, false, 5'000);
  REQUIRE(stage.test.heap);
  Heap& heap = *stage.test.heap;
  stage.to(Rest::Compact);
  const u32 top = heap.moving.top;
  {
    NativeMutator m(stage.test, 8);
    const u32 node = m.alloc_node();
    CHECK_EQ(heap.page_words[top].load().bits, static_cast<u32>(PageState::Mapped));
    CHECK_EQ((node - heap.base_word) / (kPageSize / 4), top);
    CHECK_EQ(m.load(node + 4), 0u);
    m.park();
    stage.to(Rest::Close);
    CHECK_EQ(heap.page_words[top].load().bits, static_cast<u32>(PageState::Mapped));
    stage.finish_cycle();
    m.unpark();
  }
  u32 left = 0;
  for (u32 page = 0; page < heap.geometry().flipped_pages(); page++) left += heap.page_words[page].load().bits != 0;
  CHECK_EQ(left, 0u);
}

/// One cycle: a mutator's fault on `page` against the closing collector. `early`: it faults while the compaction rests, on a page
/// with content, and is held until the close; otherwise on a page without content, which is missing to the end.
void close_against_a_fault(Stage& stage, Toucher& toucher, bool early, const std::vector<u8>& order, Explored& explored) {
  Heap& heap = *stage.test.heap;
  Stepping& steps = heap.steps;
  stage.to(early ? Rest::Compact : Rest::Close);
  const Forwarding& f = heap.forwarding;
  // Far above the live end, where the close puts no evacuated pages.
  const u32 page = early ? f.to_begin.index / kGranulesPerPage : heap.flip_large_low - 3;
  steps.enlist(0, heap.collector_thread(), kClosePoints);
  steps.enlist(1, toucher.thread(), kHandlerPoints | kPagePoints);
  steps.arm(page, order.data(), static_cast<u32>(order.size()));
  toucher.touch(page);
  while (steps.missing() == 2) sched_yield();
  while (early && heap.rest() != Rest::Close) heap.start_step();
  CHECK(heap.start_step());
  steps.wait_until_done();
  const u32 word = toucher.wait();
  CHECK(heap.rest() == Rest::Idle);
  steps.disarm();
  if (early) CHECK(word == stage.test.node);
  else CHECK_EQ(word, 0u);
  CHECK_EQ(heap.page_words[page].load().bits, 0u);
  // The word of the last turn may already belong to the next cycle: only what it was while it stood counts.
  explored.schedules++;
  explored.turns += steps.turns();
  bool good = order.size() <= steps.turns();
  for (u32 i = 0; good && i < order.size(); i++) good = steps.turn(i).actor == order[i];
  for (u32 i = 0; i < steps.turns(); i++) {
    const Stepping::Turn& turn = steps.turn(i);
    if (turn.before.bits == turn.after.bits) continue;
    const Edge* edge = edge_between(turn.before, turn.after);
    if (edge) explored.edges.insert(edge->name);
    else good = false;
    // Invariant 9: the states are reset when no handler is inside, and by nobody else.
    if (turn.after.bits == 0) good &= turn.actor == 0 && turn.from == HoldPoint::Drained;
  }
  CHECK(good);
  if (!good) std::fprintf(stderr, "%s", describe(steps).c_str());
}

void explore_close(bool early, Relocation relocation, u32 least) {
  Explored explored;
  Stage stage(relocation, Stage::Pages::Compacted, false, 300);
  REQUIRE(stage.test.heap);
  {
    Toucher toucher(stage.test);
    std::vector<u8> order;
    do {
      close_against_a_fault(stage, toucher, early, order, explored);
      order = next_schedule(stage.test.heap->steps);
    } while (!order.empty() && failed_checks.load() == 0);
  }
  stage.finish_cycle();
  std::printf("  %u schedules, %llu turns\n", explored.schedules, static_cast<unsigned long long>(explored.turns));
  CHECK(explored.schedules >= least);
  require_edges(explored, {"Reset"});
}

TEST(every_schedule_of_a_late_fault_and_the_close_on_a_mapped_page) { explore_close(true, Relocation::Auto, 10); }
TEST(every_schedule_of_a_late_fault_and_the_close_on_a_missing_page_moved) { explore_close(false, Relocation::Move, 50); }
TEST(every_schedule_of_a_late_fault_and_the_close_on_a_missing_page_copied) { explore_close(false, Relocation::Copy, 50); }

}  // namespace
