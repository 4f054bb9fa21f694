// What the files of a heap's glue share: a core heap, which every isolate that opened it shares, and one isolate's view of it.
//
// A core heap goes when its last user has let go: the buffers of each isolate, until they are finalised, and collections that
// run off the JavaScript threads.
#pragma once

#include <napi.h>

#include <mutex>
#include <string>
#include <vector>

#include "core/heap.h"

namespace glissade::binding {

struct SharedHeap {
  Heap* heap;
  u32 id;
  u32 users = 0;          // under the registry's lock
  std::mutex defining{};  // one isolate at a time defines a shape
};

void hold(SharedHeap* shared);
/// The last user's destroys the heap.
void release(SharedHeap* shared);

/// One isolate's view of a heap. Never freed (a few words): JavaScript functions point to it until their own end.
struct HeapBinding {
  SharedHeap* shared;
  std::vector<u32> attached;
  u32 buffers = 0;  // of this isolate, not finalised yet
  Mutator* inspecting = nullptr;  // this isolate's, while it holds the others stopped

  Heap& heap() const { return *shared->heap; }
  Mutator& mutator(u32 index) const { return heap().safepoint.mutator(index); }
  bool is_running(i32 index) const {
    return index >= 0 && (mutator(static_cast<u32>(index)).state.load() & Safepoint::kRunning);
  }
  /// False: the block may be another thread's by now, where an exit listener, or a callback that was cut off, has closed the heap.
  bool is_attached(u32 index) const;
  /// From `run`, or `parked` in it. Twice is once.
  void leave(u32 index);
  /// The others have stopped, and the mutator allocates nothing meanwhile.
  void begin_inspection(Mutator& mutator);
  /// Twice is once, too: the thread may end inside what it stopped the others for.
  void end_inspection();
  void detach(u32 index);
  void detach_all();
};

/// The arguments of one call of a method, which belongs to a view.
struct Call {
  napi_env env;
  HeapBinding* binding;
  napi_value argument[4];

  Call(napi_env e, napi_callback_info info) : env(e) {
    std::size_t count = 4;
    void* data;
    napi_get_cb_info(env, info, &count, argument, nullptr, &data);
    binding = static_cast<HeapBinding*>(data);
  }
  i32 integer(u32 i) const {
    i32 value = 0;
    napi_get_value_int32(env, argument[i], &value);
    return value;
  }
  u32 natural(u32 i) const {
    u32 value = 0;
    napi_get_value_uint32(env, argument[i], &value);
    return value;
  }
  napi_value number(double value) const {
    napi_value result;
    napi_create_double(env, value, &result);
    return result;
  }
  Heap& heap() const { return binding->heap(); }
};

napi_value make_error(napi_env env, const char* code, const std::string& message, int error_number);
void throw_error(napi_env env, const char* code, const std::string& message, int error_number);

/// methods.cc, statistics.cc: gives `object` the methods of a heap.
void bind_methods(Napi::Env env, Napi::Object& object, HeapBinding* binding);
napi_value stats(napi_env env, napi_callback_info info);
napi_value phase_log(napi_env env, napi_callback_info info);

}  // namespace glissade::binding
