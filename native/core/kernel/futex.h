// The two futex calls that the safepoint protocol needs, private to the process.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <climits>

#include "core/units.h"

namespace glissade {

/// Sleeps while the word holds `seen`; may return early.
inline void futex_wait(std::atomic<u32>& word, u32 seen) {
  syscall(SYS_futex, reinterpret_cast<u32*>(&word), FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
}
/// The same for so long at the most.
inline void futex_wait_for(std::atomic<u32>& word, u32 seen, u64 ns) {
  const timespec most{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  syscall(SYS_futex, reinterpret_cast<u32*>(&word), FUTEX_WAIT_PRIVATE, seen, &most, nullptr, 0);
}
inline void futex_wake(std::atomic<u32>& word) {
  syscall(SYS_futex, reinterpret_cast<u32*>(&word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace glissade
