// A native frame for the portable collectors.
#pragma once

#include <napi.h>

namespace glissade::binding {

/// `frame(fn, control, block, running)`: what `fn` returns or throws. Where it does not return, the mutator block at that
/// index of the control words is one that inspects nothing, and has no TLAB, nothing reserved and that running word.
napi_value frame(napi_env env, napi_callback_info info);

}  // namespace glissade::binding
