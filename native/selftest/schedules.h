// Threads under a schedule.
//
// core/stepping.h holds threads between the sub-steps of their work on one page and gives them turns. Its trace says for
// each turn who could have had it; so all schedules of a few threads are found by trying, at the last turn where another
// choice is left, that choice (depth first, in lexicographic order). One schedule takes one page, so a cycle serves for
// hundreds. What must hold after each: the content is what the pure function gives, the page is mapped, nobody is left inside, each
// change of the page's word was an edge of GLISSADE_PAGE_EDGES, and the run went the way it was told to.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "native-mutator.h"

namespace glissade::testing {

struct Edge {
  const char* name;
  PageState from, to;
  int builders;
};
inline constexpr Edge kEdges[] = {
#define X(name, from, to, builders) {#name, PageState::from, PageState::to, builders},
    GLISSADE_PAGE_EDGES(X)
#undef X
};

inline const Edge* edge_between(PageWord before, PageWord after) {
  for (const Edge& edge : kEdges) {
    if (edge.from == before.state() && edge.to == after.state() &&
        (edge.to == PageState::Untouched ||
         static_cast<int>(after.builders()) - static_cast<int>(before.builders()) == edge.builders)) {
      return &edge;
    }
  }
  return nullptr;
}

constexpr u32 points(std::initializer_list<HoldPoint> list) {
  u32 mask = 0;
  for (const HoldPoint point : list) mask |= 1u << static_cast<u32>(point);
  return mask;
}
inline constexpr u32 kPagePoints = points({HoldPoint::Looking, HoldPoint::Claiming, HoldPoint::Overtaking, HoldPoint::Claimed, HoldPoint::Built,
                                    HoldPoint::Published, HoldPoint::Placing, HoldPoint::Placed});
inline constexpr u32 kHandlerPoints = points({HoldPoint::Faulted, HoldPoint::Entered});
inline constexpr u32 kClosePoints = points({HoldPoint::Closing, HoldPoint::Disarmed, HoldPoint::Draining, HoldPoint::Waiting, HoldPoint::Drained});

inline constexpr const char* kPointNames[] = {
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

inline std::string describe(const Stepping& steps) {
  std::string text;
  for (u32 i = 0; i < steps.turns(); i++) {
    const Stepping::Turn& turn = steps.turn(i);
    text += "  " + std::to_string(turn.actor) + " " + kPointNames[static_cast<u32>(turn.from)] + " " + std::to_string(turn.before.bits & 255) + "->" +
            std::to_string(turn.after.bits & 255) + "\n";
  }
  return text;
}

/// The schedule after the one that has just run, in lexicographic order; empty: there is none.
inline std::vector<u8> next_schedule(const Stepping& steps) {
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
inline void check_trace(const Stepping& steps, const std::vector<u8>& order, Explored& explored) {
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

inline void require_edges(const Explored& explored, std::initializer_list<const char*> edges) {
  for (const char* edge : edges) {
    if (!explored.edges.count(edge)) std::fprintf(stderr, "no schedule of %u took the edge %s\n", explored.schedules, edge);
    CHECK(explored.edges.count(edge) == 1);
  }
}

}  // namespace glissade::testing
