// `selftest --random SECONDS [SEED]`: see random_programs.cc.
#pragma once

#include "core/units.h"

namespace glissade::selftest {

/// Episodes one after the other, from `seed` on, until `seconds` are over or one fails. The exit status.
int run_random_programs(double seconds, u64 seed);

}  // namespace glissade::selftest
