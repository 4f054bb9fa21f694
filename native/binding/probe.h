// `probe()` for JavaScript: the core's Probe as the object that src/gc/capabilities.ts describes.
#pragma once

#include <napi.h>

namespace glissade::binding {

Napi::Value probe(const Napi::CallbackInfo& info);

}  // namespace glissade::binding
