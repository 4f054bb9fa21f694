// The SIGBUS handler as one among others: what is not a heap's goes to the handler that was there before, as if no heap were.
// Each test is a child of its own: handlers belong to the process, and one of these processes is meant to die.
#include <setjmp.h>
#include <sys/syscall.h>

#include "core/barrier/fault-handler.h"
#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::selftest;
using namespace glissade::testing;

FILE_NEEDS(why_no_userfaultfd);

namespace {

constexpr int kDied = 1000 + SIGBUS;

/// Memory of a file that has been cut short: a touch is a real bus error.
u8* beyond_the_end() {
  const int file = static_cast<int>(syscall(SYS_memfd_create, "short", 0));
  void* at = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  return static_cast<u8*>(at);
}

void handle(void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

/// A heap that has collected, so that its handler has served faults.
struct Used {
  TestHeap test{small_heap()};
  bool works() {
    NativeMutator m(test, 64);
    m.push(0);
    build_list(m, 0, 2'000, 2);
    m.collect();
    return list_intact(m, 0, 2'000);
  }
};

sigjmp_buf back;
struct sigaction collectors;

}  // namespace

TEST(signals_a_foreign_bus_error_kills_as_before) {
  CHECK_EQ(in_child([] {
    signal(SIGBUS, SIG_DFL);
    Used used;
    if (!used.works()) return 1;
    touch(beyond_the_end());
    return 2;
  }), kDied);
}

TEST(signals_a_foreign_bus_error_goes_to_the_handler_before) {
  CHECK_EQ(in_child([] {
    handle([](int, siginfo_t* info, void*) { _exit(info->si_code == BUS_ADRERR ? 7 : 8); });
    Used used;
    if (!used.works()) return 1;
    touch(beyond_the_end());
    return 2;
  }), 7);
}

TEST(signals_a_handler_may_leave_by_longjmp_again_and_again) {
  CHECK_EQ(in_child([] {
    handle([](int, siginfo_t*, void*) { siglongjmp(back, 1); });
    Used used;
    u8* bad = beyond_the_end();
    // More often than there are places to remember a signal in, from one depth of the stack.
    static int tried, caught;
    while (tried++ < 200) {
      if (sigsetjmp(back, 1) == 0) touch(bad);
      else caught++;
    }
    return caught == 200 && used.works() ? 0 : 1;
  }), 0);
}

TEST(signals_a_handler_that_hands_back_does_not_go_round_in_circles) {
  CHECK_EQ(in_child([] {
    handle([](int number, siginfo_t* info, void* context) { collectors.sa_sigaction(number, info, context); });
    Used used;
    sigaction(SIGBUS, nullptr, &collectors);
    touch(beyond_the_end());
    return 2;
  }), kDied);
}

TEST(signals_one_that_was_sent_is_ignored_if_it_was_before) {
  CHECK_EQ(in_child([] {
    signal(SIGBUS, SIG_IGN);
    Used used;
    raise(SIGBUS);
    return used.works() ? 0 : 1;
  }), 0);
}

TEST(signals_the_handler_before_is_back_after_the_last_heap) {
  CHECK_EQ(in_child([] {
    handle([](int, siginfo_t*, void*) { _exit(7); });
    struct sigaction before, now;
    sigaction(SIGBUS, nullptr, &before);
    {
      Used one;
      {
        Used two;
        if (!two.works()) return 1;
      }
      if (!fault_handler::installed() || !one.works()) return 2;
    }
    sigaction(SIGBUS, nullptr, &now);
    if (now.sa_sigaction != before.sa_sigaction || fault_handler::installed()) return 3;
    Used again;
    if (!fault_handler::installed() || !again.works()) return 4;
    return 0;
  }), 0);
}

TEST(signals_a_blocked_one_is_seen) {
  sigset_t set, old;
  sigemptyset(&set);
  sigaddset(&set, SIGBUS);
  CHECK(!fault_handler::blocked_in_this_thread());
  pthread_sigmask(SIG_BLOCK, &set, &old);
  CHECK(fault_handler::blocked_in_this_thread());
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}
