// The safepoint (native/core/threads/safepoint.h): what a mutator finds in its control words when a stop is over, wherever it spent it, and which
// threads a stop is counted for.
#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::selftest;
using namespace glissade::testing;

FILE_NEEDS(why_no_userfaultfd);

namespace {

constexpr i32 kStackSlots = 1'234;

/// The words that a request of a stop changes.
struct Words {
  i32 poll, stack_limit;
  static Words of(const Mutator& mutator) {
    return {layout::load_word(mutator.block[layout::kPoll]), layout::load_word(mutator.block[layout::kStackLimit])};
  }
};

TEST(a_mutator_block_begins_anew_with_each_thread_that_gets_it) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  Safepoint& safepoint = test.heap->safepoint;
  Mutator* first = safepoint.attach();
  REQUIRE(first != nullptr);
  for (u32 i = 0; i < layout::kMutatorWords; i++) layout::store_word(first->block[i], 77);
  // No TLAB of its own, as detach expects it.
  layout::store_word(first->block[layout::kTlabTop], 0);
  test.heap->detach(*first);
  Mutator* second = safepoint.attach();
  REQUIRE(second == first);
  for (u32 i = 0; i < layout::kMutatorWords; i++) CHECK_EQ(layout::load_word(second->block[i]), i == layout::kStackLimitArea ? -1 : 0);
  test.heap->detach(*second);
}

/// Three mutators and a collection: one that parks when it is asked to stop, one that stops and waits, and this thread, the last.
struct Stop {
  TestHeap test{small_heap()};
  std::atomic<u32> running{0};
  std::atomic<bool> parked{false}, last_may_leave{false}, over{false};
  Words after_parking{};

  void prepare(NativeMutator& m, Mutator& mutator) {
    layout::store_word(mutator.block[layout::kStackLimit], kStackSlots);
    layout::store_word(mutator.block[layout::kStackLimitRestore], kStackSlots);
    m.alloc_node();
    running++;
    while (!m.must_poll()) usleep(100);
  }
};

void* park_when_asked(void* argument) {
  auto& s = *static_cast<Stop*>(argument);
  NativeMutator m(s.test, 8);
  Mutator& mutator = s.test.heap->safepoint.mutator(1);
  s.prepare(m, mutator);
  m.park();
  s.parked = true;
  while (!s.over) usleep(100);
  m.unpark();
  s.after_parking = Words::of(mutator);
  return nullptr;
}
void* stop_when_asked(void* argument) {
  auto& s = *static_cast<Stop*>(argument);
  NativeMutator m(s.test, 8);
  Mutator& mutator = s.test.heap->safepoint.mutator(2);
  s.prepare(m, mutator);
  while (!s.parked) usleep(100);
  m.poll();
  // The flip's stop may be on its way already.
  while (!s.over) m.must_poll() ? m.poll() : static_cast<void>(usleep(100));
  return nullptr;
}
void* collect(void* argument) {
  static_cast<Stop*>(argument)->test.heap->collect();
  return nullptr;
}

TEST(a_stop_is_felt_by_those_who_wait_for_its_end_and_leaves_the_words_of_one_who_parked_as_they_were) {
  Stop s;
  REQUIRE(s.test.heap);
  const Statistics& statistics = s.test.heap->statistics;
  pthread_t threads[3];
  {
    NativeMutator m(s.test, 8);
    m.push(0);
    for (void* (*const body)(void*) : {park_when_asked, stop_when_asked}) {
      const u32 before = s.running;
      pthread_create(&threads[before], nullptr, body, &s);
      while (s.running == before) usleep(100);  // one block after the other
    }
    pthread_create(&threads[2], nullptr, collect, &s);
    while (!s.parked) usleep(100);
    // It has reported its arrival and is gone. Nobody has waited for anything yet but the one that polls by now.
    CHECK_EQ(statistics.stop_ns.count(), 0u);
    while (s.test.heap->safepoint.mutator(2).state.load() != (Safepoint::kStopped | Safepoint::kRequested)) usleep(100);
    CHECK_EQ(statistics.stop_ns.count(), 0u);
    CHECK_EQ(statistics.remark_ns.count(), 0u);
    // The last runs the pause, and feels it.
    m.park();
    CHECK(statistics.remark_ns.count() >= 1u);
    CHECK(statistics.stop_ns.count() >= 1u);
    pthread_join(threads[2], nullptr);
    s.over = true;
    pthread_join(threads[0], nullptr);
    pthread_join(threads[1], nullptr);
    m.unpark();
  }
  CHECK_EQ(s.after_parking.poll, 0);
  CHECK_EQ(s.after_parking.stack_limit, kStackSlots);
}

TEST(who_stops_all_others_goes_on_alone_and_they_go_on_where_they_were) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  struct Other {
    TestHeap& test;
    std::atomic<u64> steps{0};
    std::atomic<bool> stop{false};
  } other{test};
  const auto body = [](void* argument) -> void* {
    auto& o = *static_cast<Other*>(argument);
    NativeMutator m(o.test, 8);
    m.push(0);
    while (!o.stop) {
      if (m.must_poll()) m.poll();
      m.set_root(0, m.alloc_node());
      o.steps++;
    }
    return nullptr;
  };
  pthread_t threads[2];
  NativeMutator m(test, 8);
  for (pthread_t& thread : threads) pthread_create(&thread, nullptr, body, &other);
  Safepoint& safepoint = test.heap->safepoint;
  for (u32 round = 0; round < 50; round++) {
    for (const u64 before = other.steps; other.steps < before + 100;) m.must_poll() ? m.poll() : static_cast<void>(usleep(10));
    safepoint.stop_others(&safepoint.mutator(0));
    const u64 stopped = other.steps;
    // Whoever is not parked stands still: what it does next is to wait.
    safepoint.for_each([&](const Mutator& mutator) {
      if (mutator.index != 0) CHECK(mutator.state.load() != Safepoint::kRunning);
    });
    usleep(200);
    CHECK_EQ(other.steps.load(), stopped);
    CHECK_EQ(safepoint.mutator(0).state.load(), Safepoint::kRunning);
    safepoint.resume_others();
  }
  other.stop = true;
  m.park();
  for (const pthread_t thread : threads) pthread_join(thread, nullptr);
  m.unpark();
}

TEST(a_closed_heap_asks_every_mutator_to_poll_for_good_and_gives_it_nothing) {
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  Safepoint& safepoint = test.heap->safepoint;
  Mutator* parked = safepoint.attach();
  NativeMutator m(test, 8);
  m.alloc_node();
  Mutator& running = safepoint.mutator(1);
  layout::store_word(running.block[layout::kStackLimit], kStackSlots);
  layout::store_word(running.block[layout::kStackLimitRestore], kStackSlots);
  test.heap->close();
  const auto is_asked = [](const Mutator& mutator) {
    const Words words = Words::of(mutator);
    return words.poll != 0 && words.stack_limit == -1 && layout::load_word(mutator.block[layout::kTlabLimit]) == 0;
  };
  CHECK(is_asked(running));
  CHECK(is_asked(*parked));
  CHECK(is_asked(*safepoint.attach()));
  CHECK_EQ(m.alloc_node(), 0u);
  // Neither the end of a stop nor a new run undoes it.
  m.park();
  safepoint.stop_others(nullptr);
  safepoint.resume_others();
  m.unpark();
  CHECK(is_asked(running));
  safepoint.enter(*parked);
  CHECK(is_asked(*parked));
  safepoint.leave(*parked);
}

/// What is written to standard error in its lifetime, which the test must not outgrow the pipe with.
class CapturedErrors {
 public:
  CapturedErrors() : before_(dup(STDERR_FILENO)) {
    ready_ = before_ >= 0 && pipe2(pipe_, O_CLOEXEC | O_NONBLOCK) == 0 && dup2(pipe_[1], STDERR_FILENO) >= 0;
  }
  ~CapturedErrors() {
    dup2(before_, STDERR_FILENO);
    for (const int fd : {before_, pipe_[0], pipe_[1]}) ::close(fd);
  }
  bool ready() const { return ready_; }
  std::string text() {
    char bytes[1024];
    const ssize_t got = read(pipe_[0], bytes, sizeof bytes);
    return got > 0 ? std::string(bytes, static_cast<std::size_t>(got)) : "";
  }

 private:
  int before_, pipe_[2] = {-1, -1};
  bool ready_ = false;
};

TEST(a_stop_that_waits_long_says_once_for_which_mutator) {
  constexpr u64 kPatience = 20'000'000;
  TestHeap test(small_heap());
  REQUIRE(test.heap);
  Safepoint& safepoint = test.heap->safepoint;
  safepoint.attach();  // parked: nobody waits for it
  struct Straggler {
    TestHeap& test;
    u64 rounds = 0;  // of a patience each
    std::atomic<bool> running{false};
  } straggler{test};
  const auto body = [](void* argument) -> void* {
    auto& s = *static_cast<Straggler*>(argument);
    NativeMutator m(s.test, 8);
    s.running = true;
    while (!m.must_poll()) usleep(100);
    usleep(static_cast<useconds_t>(s.rounds * kPatience / 1000));
    return nullptr;
  };
  const auto said_in = [&](u64 rounds) {
    straggler.rounds = rounds;
    straggler.running = false;
    CapturedErrors errors;
    if (!errors.ready()) return std::string("no pipe");
    pthread_t thread;
    pthread_create(&thread, nullptr, body, &straggler);
    while (!straggler.running) usleep(100);
    safepoint.stop_others(nullptr);
    safepoint.resume_others();
    pthread_join(thread, nullptr);
    return errors.text();
  };
  safepoint.set_patience(kPatience);
  CHECK_EQ(said_in(20), std::string("glissade: an inspection has waited 0.02 s for mutator 1, which is inside heap.run and reaches no safepoint: "
                                    "poll in long loops (m.mustPoll), and wait in m.parked\n"));
  safepoint.set_patience(1'000 * kPatience);
  CHECK_EQ(said_in(0), std::string());
}

}  // namespace
