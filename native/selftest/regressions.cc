// Interleavings that were once wrong, each as small as it gets.
#include <cerrno>

#include "core/injection.h"
#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

HeapOptions small() {
  HeapOptions options;
  options.max_bytes = 32 * kMiB;
  options.min_bytes = 4 * kMiB;
  options.root_bytes = 16 * kMiB;
  options.verify = 4;
  return options;
}

/// Another thread that collects without a pause, for as long as it lives.
class Collecting {
 public:
  explicit Collecting(TestHeap& test) : test_(test) { pthread_create(&thread_, nullptr, loop, this); }
  /// `m` is parked while the thread is joined: it may be waiting for a cycle that stops the mutators.
  void stop(NativeMutator& m) {
    stop_ = true;
    m.park();
    pthread_join(thread_, nullptr);
    m.unpark();
  }

 private:
  static void* loop(void* argument) {
    auto& self = *static_cast<Collecting*>(argument);
    while (!self.stop_) self.test_.heap->collect();
    return nullptr;
  }
  TestHeap& test_;
  std::atomic<bool> stop_{false};
  pthread_t thread_;
};

/// Steps a cycle to its compaction and reads one word of each page that had objects before the flip.
void touch_stale_pages(bool fresh_windows) {
  HeapOptions options = small();
  options.stepping = true;
  options.fresh_windows = fresh_windows;
  TestHeap test(options);
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  build_list(m, 0, 100'000, 2);
  const u32 first = test.heap->base_word;
  const u32 end = first + test.heap->moving.top * (kPageSize / 4);
  m.publish_top();
  layout::Phase phase = layout::Phase::Idle;
  for (u32 i = 0; i < 10'000 && phase != layout::Phase::Compact; i++) {
    m.park();
    phase = test.heap->step(1);
    m.unpark();
  }
  REQUIRE(phase == layout::Phase::Compact);
  u32 sum = 0;
  for (u32 word = first; word < end; word += kPageSize / 4) sum |= m.load(word);
  (void)sum;
  CHECK(list_intact(m, 0, 100'000));
  m.collect();
  CHECK(list_intact(m, 0, 100'000));
}

TEST(a_touch_of_a_page_without_content_frees_nobodys_source) {
  touch_stale_pages(false);
  touch_stale_pages(true);
}

TEST(a_mutator_that_enters_after_a_pause_does_not_publish_its_retired_tlab) {
  TestHeap test(small());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  Collecting collecting(test);
  u32 wrong = 0;
  for (u32 i = 0; i < 2'000; i++) {
    if (m.alloc_node() < test.heap->base_word) wrong++;
    m.park();
    m.unpark();
  }
  collecting.stop(m);
  CHECK_EQ(wrong, 0u);
}

TEST(root_areas_that_come_and_go_during_cycles_are_not_read_as_one_another) {
  TestHeap test(small());
  REQUIRE(test.heap);
  NativeMutator m(test, 64);
  m.push(0);
  build_list(m, 0, 50'000, 1);
  i32* control = test.heap->space.control();
  Collecting collecting(test);
  for (u32 round = 0; round < 200; round++) {
    m.poll();
    const bool value = round % 2;
    const u32 slots = 1u << 19;
    const i32 area = test.heap->create_area(value ? layout::AreaKind::ValueTable : layout::AreaKind::RefTable, value ? slots / 2 : slots, 0);
    if (area < 0) continue;  // the pages of areas freed in this cycle are still taken
    AreaView view;
    test.heap->roots.view(static_cast<u32>(area), view);
    for (u32 i = 0; i < 50'000; i++) {
      const double number = 3.14159 * i;
      if (value) __atomic_store(reinterpret_cast<double*>(view.words) + i, &number, __ATOMIC_RELEASE);
      else __atomic_store_n(view.words + i, m.root(0), __ATOMIC_RELEASE);
    }
    layout::store_word(control[layout::kAreaBase + static_cast<u32>(area) * layout::kAreaWords + layout::kAreaTop], 50'000);
    m.poll();
    test.heap->free_area(static_cast<u32>(area));
  }
  collecting.stop(m);
  CHECK(list_intact(m, 0, 50'000));
}

/// Churn under injected answers of the kernel; nothing may be lost.
void churn_under(const char* rules, Relocation relocation) {
  char message[200];
  REQUIRE(injection::configure(rules, 7, message, sizeof message));
  {
    HeapOptions options = small();
    options.relocation = relocation;
    TestHeap test(options);
    REQUIRE(test.heap);
    NativeMutator m(test, 64);
    m.push(0);
    m.push(0);
    build_list(m, 1, 60'000, 0);
    for (u32 round = 0; round < 12; round++) {
      build_list(m, 0, 30'000, 2);
      CHECK(list_intact(m, 0, 30'000));
      CHECK(list_intact(m, 1, 60'000));
    }
    m.collect();
    CHECK(list_intact(m, 0, 30'000));
    CHECK(list_intact(m, 1, 60'000));
  }
  injection::clear();
}

TEST(move_answers_busy) { churn_under("move:EBUSY=0.05", Relocation::Auto); }
TEST(move_answers_invalid) { churn_under("move:EINVAL=0.02", Relocation::Auto); }
TEST(move_answers_exist_again_nomem) { churn_under("move:EEXIST=0.05,move:EAGAIN=0.1,move:ENOMEM=0.02", Relocation::Auto); }
TEST(move_answers_fault) { churn_under("move:EFAULT=0.02", Relocation::Auto); }
TEST(copy_answers_exist_again_nomem) { churn_under("copy:EEXIST=0.05,copy:EAGAIN=0.1,copy:ENOMEM=0.02", Relocation::Copy); }
TEST(zeropage_answers_nomem) { churn_under("zeropage:ENOMEM=0.3,delay:compact=100us,delay:close=1ms", Relocation::Auto); }
TEST(the_flip_is_cancelled_and_the_heap_goes_on) { churn_under("mremap:ENOMEM=every:2,register:ENOMEM=every:3", Relocation::Auto); }
TEST(strict_relocation_reports_the_page_and_loses_nothing) {
  char message[200];
  REQUIRE(injection::configure("move:EBUSY=every:3", 7, message, sizeof message));
  {
    HeapOptions options = small();
    options.relocation = Relocation::Move;
    TestHeap test(options);
    REQUIRE(test.heap);
    NativeMutator m(test, 64);
    m.push(0);
    build_list(m, 0, 100'000, 2);
    m.collect();
    u32 page = 0;
    CHECK_EQ(test.heap->take_relocation_error(page), EBUSY);
    CHECK(list_intact(m, 0, 100'000));
  }
  injection::clear();
}

}  // namespace
