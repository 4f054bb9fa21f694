// The glue of one heap. A core heap is shared by every isolate that opened it; each isolate has a HeapBinding with its own
// two external ArrayBuffers. The core heap goes when the last buffer of the last isolate has been finalised: buffers are
// never detached by us, because one detach anywhere makes every typed array of an isolate slower.
//
// `run` is a native frame around the callback, so that the mutator is left whatever ends the callback: `finally` does not
// run after a vm timeout or worker.terminate(). So are `stopped`, which resumes the others, and `defining`, which lets the
// next one define. An environment cleanup hook detaches what is still attached.
// The registry of heaps is process-wide, and leaks on purpose: process.exit runs no destructor.
#include "binding/heap.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "binding/stepping.h"
#include "core/fault-handler.h"
#include "core/heap.h"

namespace glissade::binding {
namespace {

/// A core heap and how many buffers still show its memory.
struct SharedHeap {
  Heap* heap;
  u32 id;
  u32 buffers = 0;
  std::mutex defining{};  // one isolate at a time defines a shape
};

struct Registry {
  std::mutex mutex;
  std::map<u32, SharedHeap*> heaps;
  u32 next_id = 1;
};
Registry& registry() {
  static auto* instance = new Registry();
  return *instance;
}

void release_buffer(SharedHeap* shared) {
  {
    std::lock_guard<std::mutex> lock(registry().mutex);
    if (--shared->buffers != 0) return;
    registry().heaps.erase(shared->id);
  }
  shared->heap->destroy();
  delete shared;
}

/// One isolate's view of a heap. Never freed (a few words): JavaScript functions point to it until their own end.
struct HeapBinding {
  SharedHeap* shared;
  std::vector<u32> attached;
  u32 buffers = 0;  // of this isolate, not finalised yet

  Heap& heap() const { return *shared->heap; }
  Mutator& mutator(u32 index) const { return heap().safepoint.mutator(index); }
  bool is_running(i32 index) const {
    return index >= 0 && (mutator(static_cast<u32>(index)).state.load() & Safepoint::kRunning);
  }
  /// Twice is once; and the block may be another thread's by now, where an exit listener has closed the heap.
  void leave(u32 index) {
    if (std::find(attached.begin(), attached.end(), index) == attached.end()) return;
    if (is_running(static_cast<i32>(index))) heap().safepoint.leave(mutator(index));
  }
  void detach(u32 index) {
    leave(index);
    heap().detach(mutator(index));
    std::erase(attached, index);
  }
  void detach_all() {
    while (!attached.empty()) detach(attached.back());
  }
};

/// Leaves the mutator for the duration of a wait, if it is running.
class ParkedScope {
 public:
  ParkedScope(HeapBinding& binding, i32 index) : binding_(binding), index_(binding.is_running(index) ? index : -1) {
    if (index_ >= 0) binding_.heap().safepoint.leave(binding_.mutator(static_cast<u32>(index_)));
  }
  ~ParkedScope() {
    if (index_ >= 0) binding_.heap().safepoint.enter(binding_.mutator(static_cast<u32>(index_)));
  }

 private:
  HeapBinding& binding_;
  i32 index_;
};

// ── arguments and results ─────────────────────────────────────────────────────────────────────────────────────────

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

napi_value make_error(napi_env env, const char* code, const std::string& message, int error_number) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  error.Set("errno", Napi::Number::New(env, error_number));
  return error.Value();
}

void throw_error(napi_env env, const char* code, const std::string& message, int error_number) {
  napi_throw(env, make_error(env, code, message, error_number));
}

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

// ── methods ───────────────────────────────────────────────────────────────────────────────────────────────────────

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
  call.heap().safepoint.enter(call.binding->mutator(index));
  napi_value result = call_function(call, 1);
  call.binding->leave(index);
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
  SharedHeap* shared;  // counted: the heap may lose its last buffer while the collection runs
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
  release_buffer(work->shared);
}

napi_value collect_async(napi_env env, napi_callback_info info) {
  Call call(env, info);
  SharedHeap* shared = call.binding->shared;
  {
    std::lock_guard<std::mutex> lock(registry().mutex);
    shared->buffers++;
  }
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
  safepoint.stop_others(call.binding->is_running(index) ? &call.binding->mutator(static_cast<u32>(index)) : nullptr);
  napi_value result = call_function(call, 1);
  safepoint.resume_others();
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

napi_value stats(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Heap& heap = call.heap();
  const Statistics& s = heap.statistics;
  heap.statistics.heapBytes.store(heap.pages_in_use() << kPageShift, std::memory_order_relaxed);
  heap.statistics.verifications.store(heap.verification.count(), std::memory_order_relaxed);
  Napi::Object counters = Napi::Object::New(env), histograms = Napi::Object::New(env), errors = Napi::Object::New(env);
#define X(name, doc) counters.Set(#name, static_cast<double>(s.name.load(std::memory_order_relaxed)));
  GLISSADE_COUNTERS(X)
#undef X
  const auto summary = [&](const Histogram& histogram) {
    const Histogram::Summary h = histogram.summary();
    Napi::Object o = Napi::Object::New(env);
    o.Set("count", static_cast<double>(h.count));
    o.Set("sum", static_cast<double>(h.sum) / 1000);
    o.Set("p50", static_cast<double>(h.p50) / 1000);
    o.Set("p99", static_cast<double>(h.p99) / 1000);
    o.Set("p999", static_cast<double>(h.p999) / 1000);
    o.Set("p9999", static_cast<double>(h.p9999) / 1000);
    o.Set("max", static_cast<double>(h.max) / 1000);
    Napi::Array buckets = Napi::Array::New(env);
    u32 length = 0;
    histogram.for_each([&](u64 edge, u64 count) {
      Napi::Array bucket = Napi::Array::New(env, 2);
      bucket.Set(0u, static_cast<double>(edge) / 1000);
      bucket.Set(1u, static_cast<double>(count));
      buckets.Set(length++, bucket);
    });
    o.Set("buckets", buckets);
    return o;
  };
#define X(name, doc) histograms.Set(#name, summary(s.name##_us));
  GLISSADE_HISTOGRAMS(X)
#undef X
  for (int op = 0; op < injection::kOpCount; op++) {
    Napi::Object kinds = Napi::Object::New(env);
    bool any = false;
    for (int kind = 0; kind < Userfaultfd::kErrorKinds; kind++) {
      const u64 count = heap.barrier.errors(static_cast<injection::Op>(op), kind);
      if (count == 0) continue;
      kinds.Set(Userfaultfd::error_name(kind), static_cast<double>(count));
      any = true;
    }
    if (any) errors.Set(Userfaultfd::op_name(static_cast<injection::Op>(op)), kinds);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("counters", counters);
  result.Set("histograms", histograms);
  result.Set("errors", errors);
  return result;
}

/// One flat array of numbers, five to an entry: many entries, and one call for each would be slow.
napi_value phase_log(napi_env env, napi_callback_info info) {
  Call call(env, info);
  std::vector<PhaseLog::Entry> entries(PhaseLog::kEntries);
  const u32 count = call.heap().phase_log.read(entries.data());
  Napi::Float64Array flat = Napi::Float64Array::New(env, std::size_t{count} * 5);
  double* at = flat.Data();
  for (u32 i = 0; i < count; i++) {
    const PhaseLog::Entry& e = entries[i];
    *at++ = static_cast<double>(e.at_ns);
    *at++ = static_cast<double>(e.phase);
    *at++ = static_cast<double>(e.used_bytes);
    *at++ = static_cast<double>(e.barrier_faults);
    *at++ = static_cast<double>(e.allocation_stalls);
  }
  return flat;
}

napi_value close(napi_env env, napi_callback_info info) {
  Call call(env, info);
  call.binding->detach_all();
  call.heap().close();
  return nullptr;
}

// ── creation ──────────────────────────────────────────────────────────────────────────────────────────────────────

void cleanup(void* data) { static_cast<HeapBinding*>(data)->detach_all(); }

/// The isolate has let go of a buffer: with the last one goes its part in the heap, closed or not.
void finalise_buffer(napi_env env, void*, void* hint) {
  auto* binding = static_cast<HeapBinding*>(hint);
  if (--binding->buffers == 0) {
    napi_remove_env_cleanup_hook(env, cleanup, binding);
    binding->detach_all();
  }
  release_buffer(binding->shared);
}

Napi::Value external_buffer(Napi::Env env, HeapBinding* binding, u8* start, std::size_t bytes) {
  {
    std::lock_guard<std::mutex> lock(registry().mutex);
    binding->shared->buffers++;
  }
  binding->buffers++;
  napi_value buffer = nullptr;
  if (napi_create_external_arraybuffer(env, start, bytes, finalise_buffer, binding, &buffer) == napi_ok) return Napi::Value(env, buffer);
  binding->buffers--;
  release_buffer(binding->shared);
  throw_error(env, "ERR_EXTERNAL_BUFFERS", "this JavaScript engine does not allow external array buffers (a sandboxed V8)", 0);
  return env.Undefined();
}

Napi::Value bind(Napi::Env env, SharedHeap* shared) {
  auto* binding = new HeapBinding{shared, {}, 0};
  napi_add_env_cleanup_hook(env, cleanup, binding);
  Heap& heap = *shared->heap;
  const Geometry& g = heap.geometry();
  Napi::Object object = Napi::Object::New(env);
  Napi::Value heap_buffer = external_buffer(env, binding, heap.space.heap_buffer(), g.heap_buffer_bytes());
  if (env.IsExceptionPending()) return env.Undefined();
  Napi::Value control_buffer = external_buffer(env, binding, heap.space.roots(), g.control_buffer_bytes());
  object.Set("id", shared->id);
  object.Set("heapBuffer", heap_buffer);
  object.Set("controlBuffer", control_buffer);
  object.Set("rootBytes", static_cast<double>(g.root_bytes));
  object.Set("controlOffset", static_cast<double>(g.root_bytes));
  object.Set("cardsOffset", static_cast<double>(g.root_bytes + g.control_bytes));
  object.Set("rootCardsOffset", static_cast<double>(g.root_bytes + g.control_bytes + g.card_bytes));
  object.Set("movingStart", static_cast<double>(heap.base_word));
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
  if (heap.stepping) bind_stepping(env, object, heap);
  return object;
}

}  // namespace

Napi::Value create_heap(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object given = info[0].As<Napi::Object>();
  const auto number = [&](const char* name, double absent) {
    const Napi::Value value = given.Get(name);
    return value.IsNumber() ? value.ToNumber().DoubleValue() : absent;
  };
  HeapOptions options;
  options.max_bytes = static_cast<std::size_t>(number("maxBytes", static_cast<double>(options.max_bytes)));
  options.root_bytes = static_cast<std::size_t>(number("maxRootBytes", static_cast<double>(options.root_bytes)));
  options.buffer_limit = static_cast<std::size_t>(number("bufferLimit", static_cast<double>(options.buffer_limit)));
  options.min_bytes = static_cast<std::size_t>(number("minBytes", static_cast<double>(options.min_bytes)));
  options.collector_threads = static_cast<u32>(number("collectorThreads", 1));
  options.reuse = number("reuse", 1) != 0;
  options.young = static_cast<Young>(number("young", 1));
  options.overdraft = static_cast<u32>(number("overdraft", 0));
  options.retention_ms = static_cast<u32>(number("retentionMs", options.retention_ms));
  options.placing_batch = static_cast<u32>(number("placingBatch", options.placing_batch));
  options.relocation = static_cast<Relocation>(static_cast<int>(number("relocation", 0)));
  options.faults = static_cast<Faults>(static_cast<int>(number("faults", 0)));
  options.fresh_windows = number("freshWindows", 0) != 0;
  options.protect = number("protect", 0) != 0;
  options.stepping = number("stepping", 0) != 0;
  options.verify = static_cast<u32>(number("verify", 0));

  std::string message;
  int error_number = 0;
  Heap* heap = Heap::create(options, message, error_number);
  if (!heap) {
    throw_error(env, "ERR_NATIVE_HEAP", message + ": " + std::strerror(error_number), error_number);
    return env.Undefined();
  }
  SharedHeap* shared;
  {
    std::lock_guard<std::mutex> lock(registry().mutex);
    shared = new SharedHeap{heap, registry().next_id++};
    registry().heaps[shared->id] = shared;
  }
  return bind(env, shared);
}

Napi::Value open_heap(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const u32 id = info[0].ToNumber().Uint32Value();
  SharedHeap* shared = nullptr;
  {
    std::lock_guard<std::mutex> lock(registry().mutex);
    const auto found = registry().heaps.find(id);
    // The count is taken here: between this look-up and the buffers' creation the creator may let go of the heap.
    if (found != registry().heaps.end()) {
      shared = found->second;
      shared->buffers++;
    }
  }
  if (!shared) {
    throw_error(env, "ERR_HEAP_CLOSED", "there is no heap " + std::to_string(id) + " in this process any more", 0);
    return env.Undefined();
  }
  Napi::Value result = bind(env, shared);
  release_buffer(shared);
  return result;
}

Napi::Value reinstall_handler(const Napi::CallbackInfo& info) {
  fault_handler::reinstall();
  return info.Env().Undefined();
}

Napi::Object layout_constants(Napi::Env env) {
  Napi::Object o = Napi::Object::New(env);
  using namespace layout;
#define X(name) o.Set(#name, static_cast<double>(name));
  X(kMagic) X(kHeapStateWord) X(kPhaseWord) X(kEpochWord) X(kCyclesWord) X(kShapeCountWord) X(kSlotMapLengthWord)
  X(kAreaCountWord) X(kMutatorBase) X(kMutatorWords) X(kMaxMutators) X(kPoll) X(kTlabTop) X(kTlabLimit) X(kRunning)
  X(kStackLimit) X(kStackLimitRestore) X(kStackLimitArea) X(kPollRestore) X(kReservedEnd) X(kAreaBase) X(kAreaWords) X(kMaxAreas) X(kAreaKind) X(kAreaStart)
  X(kAreaCapacity) X(kAreaTop) X(kAreaOwner) X(kShapeBase) X(kShapeWords) X(kMaxShapes) X(kSlotMapBase) X(kMaxSlotMap)
  X(kControlWords) X(kFillerShape) X(kFirstShape) X(kTagRef) X(kCardShift) X(kFlagBits) X(kLargeObjectBytes) X(kPageSize)
#undef X
  return o;
}

}  // namespace glissade::binding
