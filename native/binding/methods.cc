// The methods of a heap.
//
// `run` is a native frame around the callback, so that the mutator is left whatever ends the callback, for outside or for the
// `parked` that it is in: `finally` does not run after a vm timeout or worker.terminate(). So are `stopped`, which resumes the
// others, and `defining`, which lets the next one define.
#include <algorithm>
#include <cstring>
#include <memory>

#include "binding/heap-binding.h"
#include "core/barrier/fault-handler.h"

namespace glissade::binding {
namespace {

/// Leaves the mutator for the duration of a wait, if it is running.
class ParkedScope {
 public:
  ParkedScope(HeapBinding& binding, i32 index) : binding_(binding), index_(binding.is_running(index) ? index : -1) {
    if (index_ >= 0) binding_.heap().safepoint.leave(binding_.mutator(static_cast<u32>(index_)));
  }
  ~ParkedScope() {
    if (index_ >= 0 && binding_.is_attached(static_cast<u32>(index_))) binding_.heap().safepoint.enter(binding_.mutator(static_cast<u32>(index_)));
  }

 private:
  HeapBinding& binding_;
  i32 index_;
};

/// Verification's first violation, and a strict relocation ('move') that had to copy a page, are errors of the collection
/// that met them. Null: there was none.
napi_value cycle_error(napi_env env, Heap& heap) {
  const std::string violation = heap.verification.take_violation();
  if (!violation.empty()) return make_error(env, "ERR_INVALID_HEAP", violation, 0);
  u32 page = 0;
  const int error = heap.take_relocation_error(page);
  if (error == 0) return nullptr;
  napi_value value = make_error(env, "ERR_RELOCATION", "page " + std::to_string(page) + " could not be moved: " + std::strerror(error) + ": " + Placement::cause(error), error);
  Napi::Value(env, value).As<Napi::Object>().Set("page", Napi::Number::New(env, page));
  return value;
}

napi_value attach(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.heap().options.faults == Faults::Sigbus && fault_handler::blocked_in_this_thread()) {
    throw_error(env, "ERR_SIGBUS_BLOCKED", "SIGBUS is blocked in this thread: the first page fault would kill the process", 0);
    return nullptr;
  }
  Mutator* mutator = call.heap().safepoint.attach();
  if (!mutator) return call.number(-1);
  call.binding->attached.push_back(mutator->index);
  return call.number(mutator->index);
}

napi_value detach(napi_env env, napi_callback_info info) {
  Call call(env, info);
  call.binding->detach(call.natural(0));
  return nullptr;
}

napi_value leave(napi_env env, napi_callback_info info) {
  Call call(env, info);
  call.binding->end_inspection();
  call.binding->leave(call.natural(0));
  return nullptr;
}

napi_value call_function(const Call& call, u32 i) {
  napi_value undefined, result = nullptr;
  napi_get_undefined(call.env, &undefined);
  napi_call_function(call.env, undefined, call.argument[i], 0, nullptr, &result);
  return result;  // null with an exception pending: it goes on to the caller
}

napi_value run(napi_env env, napi_callback_info info) {
  Call call(env, info);
  const u32 index = call.natural(0);
  Mutator& mutator = call.binding->mutator(index);
  i32& running = mutator.block[layout::kRunning];
  const i32 before = layout::load_word(running);  // 2 inside `parked`
  call.heap().safepoint.enter(mutator);
  napi_value result = call_function(call, 1);
  call.binding->leave(index);
  if (before != 0 && call.binding->is_attached(index)) layout::store_word(running, before);
  return result;
}

napi_value parked(napi_env env, napi_callback_info info) {
  Call call(env, info);
  ParkedScope scope(*call.binding, call.integer(0));
  return call_function(call, 1);
}

/// A cycle that began by itself has nobody who waits for its errors: a violation is thrown where mutators come by.
void throw_violation(const Call& call) {
  Verification& verification = call.heap().verification;
  if (!verification.has_violation()) return;
  const std::string violation = verification.take_violation();
  if (!violation.empty()) throw_error(call.env, "ERR_INVALID_HEAP", violation, 0);
}

napi_value poll(napi_env env, napi_callback_info info) {
  Call call(env, info);
  call.heap().safepoint.poll(call.binding->mutator(call.natural(0)));
  throw_violation(call);
  return nullptr;
}

napi_value allocate(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Mutator& mutator = call.binding->mutator(call.natural(0));
  const u32 ref = call.heap().allocate(mutator, call.natural(1), call.natural(2), call.natural(3));
  throw_violation(call);
  return call.number(ref);
}

napi_value allocate_reserved(napi_env env, napi_callback_info info) {
  Call call(env, info);
  const u32 ref = call.heap().allocate_reserved(call.binding->mutator(call.natural(0)), call.natural(1), call.natural(2), call.natural(3));
  return call.number(ref);
}

napi_value create_area(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Heap& heap = call.heap();
  const auto create = [&] { return heap.create_area(static_cast<layout::AreaKind>(call.integer(0)), call.natural(1), call.integer(2)); };
  i32 area = create();
  // A fourth argument: the mutator that may wait, -1 for a thread without one.
  napi_valuetype type = napi_undefined;
  napi_typeof(env, call.argument[3], &type);
  while (area < 0 && type == napi_number) {
    {
      ParkedScope parked(*call.binding, call.integer(3));
      if (!heap.wait_for_freed_areas()) break;
    }
    area = create();
  }
  return call.number(area);
}

napi_value free_area(napi_env env, napi_callback_info info) {
  Call call(env, info);
  call.heap().free_area(call.natural(0));
  return nullptr;
}

double cycles(Heap& heap) { return static_cast<double>(static_cast<u32>(layout::load_word(heap.space.control()[layout::kCyclesWord]))); }

napi_value collect(napi_env env, napi_callback_info info) {
  Call call(env, info);
  {
    ParkedScope scope(*call.binding, call.integer(0));
    call.heap().collect();
  }
  if (napi_value error = cycle_error(env, call.heap())) napi_throw(env, error);
  return call.number(cycles(call.heap()));
}

struct CollectWork {
  SharedHeap* shared;  // held: the heap may lose its last buffer while the collection runs
  napi_async_work work;
  napi_deferred deferred;
};

void collect_execute(napi_env, void* data) { static_cast<CollectWork*>(data)->shared->heap->collect(); }

void collect_complete(napi_env env, napi_status, void* data) {
  std::unique_ptr<CollectWork> work(static_cast<CollectWork*>(data));
  if (napi_value error = cycle_error(env, *work->shared->heap)) {
    napi_reject_deferred(env, work->deferred, error);
  } else {
    napi_value undefined;
    napi_get_undefined(env, &undefined);
    napi_resolve_deferred(env, work->deferred, undefined);
  }
  napi_delete_async_work(env, work->work);
  release(work->shared);
}

napi_value collect_async(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SharedHeap* shared = call.binding->shared;
  hold(shared);
  auto* work = new CollectWork{shared, nullptr, nullptr};
  napi_value promise, name;
  napi_create_promise(env, &work->deferred, &promise);
  napi_create_string_utf8(env, "glissade.collect", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, nullptr, name, collect_execute, collect_complete, work, &work->work);
  napi_queue_async_work(env, work->work);
  return promise;
}

napi_value step(napi_env env, napi_callback_info info) {
  Call call(env, info);
  layout::Phase phase;
  {
    ParkedScope scope(*call.binding, call.integer(0));
    phase = call.heap().step(call.natural(1));
  }
  return call.number(static_cast<double>(phase));
}

napi_value stopped(napi_env env, napi_callback_info info) {
  Call call(env, info);
  const i32 index = call.integer(0);
  Safepoint& safepoint = call.heap().safepoint;
  Mutator& mutator = call.binding->mutator(static_cast<u32>(index));
  safepoint.stop_others(call.binding->is_running(index) ? &mutator : nullptr);
  call.binding->begin_inspection(mutator);
  napi_value result = call_function(call, 1);
  call.binding->end_inspection();
  return result;
}

napi_value defining(napi_env env, napi_callback_info info) {
  Call call(env, info);
  std::lock_guard<std::mutex> lock(call.binding->shared->defining);
  return call_function(call, 0);
}

napi_value check_cards(napi_env env, napi_callback_info info) {
  Call call(env, info);
  const std::string violation = call.heap().verification.check_cards();
  napi_value result;
  napi_create_string_utf8(env, violation.c_str(), violation.size(), &result);
  return result;
}

napi_value close(napi_env env, napi_callback_info info) {
  Call call(env, info);
  call.binding->detach_all();
  call.heap().close();
  return nullptr;
}

}  // namespace

void bind_methods(Napi::Env env, Napi::Object& object, HeapBinding* binding) {
  const struct {
    const char* name;
    napi_callback callback;
  } methods[] = {
      {"attach", attach},
      {"detach", detach},
      {"leave", leave},
      {"run", run},
      {"parked", parked},
      {"poll", poll},
      {"allocate", allocate},
      {"allocateReserved", allocate_reserved},
      {"createArea", create_area},
      {"freeArea", free_area},
      {"collect", collect},
      {"collectAsync", collect_async},
      {"step", step},
      {"stopped", stopped},
      {"defining", defining},
      {"checkCards", check_cards},
      {"stats", stats},
      {"phaseLog", phase_log},
      {"close", close},
  };
  for (const auto& method : methods) {
    napi_value function;
    napi_create_function(env, method.name, NAPI_AUTO_LENGTH, method.callback, binding, &function);
    object.Set(method.name, Napi::Value(env, function));
  }
}

}  // namespace glissade::binding
