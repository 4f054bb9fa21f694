// `selftest --atomicity SECONDS`: see atomicity.cc.
#pragma once

namespace glissade::selftest {

// Runs every combination in turn for a share of the time, prints a line for each; 0, or 1 when a write was lost.
int run_atomicity(double seconds);

}  // namespace glissade::selftest
