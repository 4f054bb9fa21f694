// `selftest --bench barrier`: see barrier-bench.cc.
#pragma once

namespace glissade::selftest {

// Prints one JSON object; 0, or 1 when this kernel or user has no userfaultfd.
int bench_barrier();

}  // namespace glissade::selftest
