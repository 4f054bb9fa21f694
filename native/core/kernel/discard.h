// Memory whose content is over: it reads as zeros afterwards, whatever the system says.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstring>

namespace glissade {

/// Gives whole pages of a private mapping back. Where the process has locked them (mlock, mlockall) a plain MADV_DONTNEED is
/// refused (madvise(2)); then locked pages are dropped as such (Linux 5.18), or overwritten. Any thread, also in a pause.
inline void discard(void* at, std::size_t bytes) {
  constexpr int kDontNeedLocked = 24;
  if (madvise(at, bytes, MADV_DONTNEED) == 0 || madvise(at, bytes, kDontNeedLocked) == 0) return;
  std::memset(at, 0, bytes);
}

}  // namespace glissade
