// Monotonic time in nanoseconds. The vDSO makes it a load and a multiply; it is async-signal-safe.
#pragma once

#include <time.h>

#include "core/units.h"

namespace glissade {

inline u64 now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<u64>(t.tv_sec) * 1'000'000'000ull + static_cast<u64>(t.tv_nsec);
}

/// Processor time of the calling thread: what it did, however busy the machine is. A system call.
inline u64 thread_cpu_ns() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<u64>(t.tv_sec) * 1'000'000'000ull + static_cast<u64>(t.tv_nsec);
}

inline void cpu_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  __asm__ __volatile__("yield");
#endif
}

}  // namespace glissade
