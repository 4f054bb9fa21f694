// `create` and `open` for JavaScript: one core heap, its buffers and its methods (ARCHITECTURE.md, "The native border").
#pragma once

#include <napi.h>

namespace glissade::binding {

Napi::Value create_heap(const Napi::CallbackInfo& info);
Napi::Value open_heap(const Napi::CallbackInfo& info);
/// The SIGBUS handler again, if somebody has put another one over it.
Napi::Value reinstall_handler(const Napi::CallbackInfo& info);
Napi::Object layout_constants(Napi::Env env);

}  // namespace glissade::binding
