// The addon's entry: Node-API glue over native/core, and nothing else.
#include <napi.h>

#include "binding/frame.h"
#include "binding/heap.h"
#include "binding/injection.h"
#include "binding/probe.h"
#include "binding/stepping.h"

static_assert(__cplusplus >= 202002L, "the core is C++20; see binding.gyp on how the flag can get lost");

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("probe", Napi::Function::New<glissade::binding::probe>(env, "probe"));
  exports.Set("create", Napi::Function::New<glissade::binding::create_heap>(env, "create"));
  exports.Set("open", Napi::Function::New<glissade::binding::open_heap>(env, "open"));
  exports.Set("reinstallHandler", Napi::Function::New<glissade::binding::reinstall_handler>(env, "reinstallHandler"));
  napi_value frame;
  napi_create_function(env, "frame", NAPI_AUTO_LENGTH, glissade::binding::frame, nullptr, &frame);
  exports.Set("frame", Napi::Value(env, frame));
  exports.Set("layout", glissade::binding::layout_constants(env));
  exports.Set("stepping", glissade::binding::stepping_names(env));
  exports.Set("configureInjection", Napi::Function::New<glissade::binding::configure_injection>(env));
  exports.Set("injectionCounts", Napi::Function::New<glissade::binding::injection_counts>(env));
  return exports;
}

NODE_API_MODULE(glissade, init)
