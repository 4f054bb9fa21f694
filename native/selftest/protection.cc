// The page-protect mode (native/core/verification/protection.h) under threads that allocate and collect: nothing is recycled, and nothing that
// is still needed is out of reach. That a stale touch is reported is for JavaScript's tests: it ends the process.
#include <pthread.h>

#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::testing;

FILE_NEEDS(glissade::selftest::why_no_userfaultfd);

namespace {

#ifdef GLISSADE_SANITIZE
constexpr u32 kChurnRounds = 6;
#else
constexpr u32 kChurnRounds = 30;
#endif

TEST(a_heap_that_recycles_nothing_serves_threads_that_allocate_and_collect) {
  for (const bool copy : {false, true}) {
    HeapOptions options;
    options.max_bytes = 16 * kMiB;
    options.min_bytes = 2 * kMiB;
    options.root_bytes = kMiB;
    options.protect = true;
    options.verify = 4;
    options.relocation = copy ? Relocation::Copy : Relocation::Move;
    TestHeap test(options);
    REQUIRE(test.heap);
    std::atomic<bool> stop{false};
    struct Other {
      TestHeap& test;
      std::atomic<bool>& stop;
    } other{test, stop};
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void* argument) -> void* {
          auto& o = *static_cast<Other*>(argument);
          NativeMutator m(o.test, 8);
          m.push(0);
          while (!o.stop) {
            build_list(m, 0, 2'000, 1);
            CHECK(list_intact(m, 0, 2'000));
          }
          return nullptr;
        },
        &other);
    {
      NativeMutator m(test, 64);
      // Even slots: markers read slots in pairs, and ThreadSanitizer sees a store and a load meet only at one address.
      for (u32 i = 0; i < 3; i++) m.push(0);
      for (u32 round = 0; round < kChurnRounds; round++) {
        build_list(m, 0, 5'000, 2);
        m.set_root(2, m.alloc_refs(30'000));
        m.store_ref(m.root(2) + 2 + 20'000, m.root(0));
        if (round % 3 == 0) m.collect();
        CHECK(list_intact(m, 0, 5'000));
        CHECK_EQ(m.load(m.root(2) + 2 + 20'000), m.root(0));
      }
      stop = true;
      m.park();
      pthread_join(thread, nullptr);
      m.unpark();
    }
    CHECK(test.heap->statistics.flips.load() >= kChurnRounds / 3);
    CHECK(test.heap->verification.take_violation().empty());
  }
}

}  // namespace
