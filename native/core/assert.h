// Invariants, asserted in debug builds (`-Ddebug_checks=1`); a failure says which and where, and stops the process: a
// heap whose invariant is broken must not go on writing.
#pragma once

#include <cstdio>
#include <cstdlib>

#ifdef GLISSADE_DEBUG
#define GLISSADE_ASSERT(condition, what)                                                              \
  do {                                                                                                \
    if (!(condition)) {                                                                               \
      std::fprintf(stderr, "glissade: %s (%s) at %s:%d\n", what, #condition, __FILE__, __LINE__);     \
      std::abort();                                                                                   \
    }                                                                                                 \
  } while (0)
#else
#define GLISSADE_ASSERT(condition, what) \
  do {                                   \
  } while (0)
#endif
