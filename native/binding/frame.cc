// JavaScript runs no `finally` when a vm timeout cuts it off; a native frame is returned to nevertheless. It is passed by
// every `run` of a portable heap, so the arguments are looked at only if it is needed.
#include "binding/frame.h"

#include "core/memory/layout.h"

namespace glissade::binding {

napi_value frame(napi_env env, napi_callback_info info) {
  std::size_t count = 4;
  napi_value argument[4], undefined, result = nullptr;
  napi_get_cb_info(env, info, &count, argument, nullptr, nullptr);
  napi_get_undefined(env, &undefined);
  if (napi_call_function(env, undefined, argument[0], 0, nullptr, &result) == napi_ok) return result;
  napi_typedarray_type type;
  std::size_t length = 0;
  void* data = nullptr;
  u32 block = 0;
  i32 running = 0;
  napi_get_typedarray_info(env, argument[1], &type, &length, &data, nullptr, nullptr);
  napi_get_value_uint32(env, argument[2], &block);
  napi_get_value_int32(env, argument[3], &running);
  // The buffer may have been transferred away.
  if (block + layout::kMutatorWords > length) return nullptr;
  i32* words = static_cast<i32*>(data) + block;
  words[layout::kInspecting] = 0;
  words[layout::kTlabLimit] = 0;
  words[layout::kReservedEnd] = 0;
  words[layout::kRunning] = running;
  return nullptr;
}

}  // namespace glissade::binding
