// One core heap is shared by every isolate that opened it; each isolate has a HeapBinding with its own two external
// ArrayBuffers. The core heap goes when the last buffer of the last isolate has been finalised: buffers are
// never detached by us, because one detach anywhere makes every typed array of an isolate slower.
//
// An environment cleanup hook detaches the mutators that are still attached.
// The registry of heaps is process-wide, and leaks on purpose: process.exit runs no destructor.
#include "binding/heap.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "binding/heap-binding.h"
#include "binding/stepping.h"
#include "core/barrier/fault-handler.h"

namespace glissade::binding {
namespace {

struct Registry {
  std::mutex mutex;
  std::map<u32, SharedHeap*> heaps;
  u32 next_id = 1;
};
Registry& registry() {
  static auto* instance = new Registry();
  return *instance;
}

}  // namespace

void hold(SharedHeap* shared) {
  std::lock_guard<std::mutex> lock(registry().mutex);
  shared->users++;
}

void release(SharedHeap* shared) {
  {
    std::lock_guard<std::mutex> lock(registry().mutex);
    if (--shared->users != 0) return;
    registry().heaps.erase(shared->id);
  }
  shared->heap->destroy();
  delete shared;
}

bool HeapBinding::is_attached(u32 index) const { return std::find(attached.begin(), attached.end(), index) != attached.end(); }
void HeapBinding::leave(u32 index) {
  if (!is_attached(index)) return;
  if (is_running(static_cast<i32>(index))) heap().safepoint.leave(mutator(index));
  else layout::store_word(mutator(index).block[layout::kRunning], 0);  // `parked`
}
void HeapBinding::begin_inspection(Mutator& mutator) {
  inspecting = &mutator;
  layout::store_word(mutator.block[layout::kTlabLimit], 0);
}
void HeapBinding::end_inspection() {
  if (!inspecting) return;
  layout::store_word(inspecting->block[layout::kInspecting], 0);
  if (is_running(static_cast<i32>(inspecting->index))) heap().safepoint.publish_tlab(*inspecting);
  inspecting = nullptr;
  heap().safepoint.resume_others();
}
void HeapBinding::detach(u32 index) {
  leave(index);
  heap().detach(mutator(index));
  std::erase(attached, index);
}
void HeapBinding::detach_all() {
  while (!attached.empty()) detach(attached.back());
}

napi_value make_error(napi_env env, const char* code, const std::string& message, int error_number) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  error.Set("errno", Napi::Number::New(env, error_number));
  return error.Value();
}

void throw_error(napi_env env, const char* code, const std::string& message, int error_number) {
  napi_throw(env, make_error(env, code, message, error_number));
}

namespace {

void cleanup(void* data) { static_cast<HeapBinding*>(data)->detach_all(); }

/// The isolate has let go of a buffer: with the last one goes its part in the heap, closed or not.
void finalise_buffer(napi_env env, void*, void* hint) {
  auto* binding = static_cast<HeapBinding*>(hint);
  if (--binding->buffers == 0) {
    napi_remove_env_cleanup_hook(env, cleanup, binding);
    binding->detach_all();
  }
  release(binding->shared);
}

Napi::Value external_buffer(Napi::Env env, HeapBinding* binding, u8* start, std::size_t bytes) {
  hold(binding->shared);
  binding->buffers++;
  napi_value buffer = nullptr;
  if (napi_create_external_arraybuffer(env, start, bytes, finalise_buffer, binding, &buffer) == napi_ok) return Napi::Value(env, buffer);
  binding->buffers--;
  release(binding->shared);
  throw_error(env, "ERR_EXTERNAL_BUFFERS", "this JavaScript engine does not allow external array buffers (a sandboxed V8)", 0);
  return env.Undefined();
}

Napi::Value bind(Napi::Env env, SharedHeap* shared) {
  auto* binding = new HeapBinding{shared, {}, 0, nullptr};
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
  bind_methods(env, object, binding);
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
  options.growth = number("growth", options.growth);
  options.collector_threads = static_cast<u32>(number("collectorThreads", 1));
  options.all_threads = number("allThreads", 1) != 0;
  options.reuse = static_cast<Reuse>(number("reuse", 1));
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
      shared->users++;
    }
  }
  if (!shared) {
    throw_error(env, "ERR_HEAP_CLOSED", "there is no heap " + std::to_string(id) + " in this process any more", 0);
    return env.Undefined();
  }
  Napi::Value result = bind(env, shared);
  release(shared);
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
  X(kMagic) X(kMagicWord) X(kHeapStateWord) X(kPhaseWord) X(kEpochWord) X(kCyclesWord) X(kShapeCountWord) X(kSlotMapLengthWord)
  X(kAreaCountWord) X(kMutatorBase) X(kMutatorWords) X(kMaxMutators) X(kPoll) X(kTlabTop) X(kTlabLimit) X(kRunning)
  X(kStackLimit) X(kStackLimitRestore) X(kStackLimitArea) X(kPollRestore) X(kReservedEnd) X(kInspecting) X(kAreaBase) X(kAreaWords) X(kMaxAreas) X(kAreaKind) X(kAreaStart)
  X(kAreaCapacity) X(kAreaTop) X(kAreaOwner) X(kAreaDue) X(kAreaDueArea) X(kShapeBase) X(kShapeWords) X(kMaxShapes) X(kShapeKind) X(kShapeSize) X(kShapeSlotStart) X(kShapeSlotCount) X(kShapeWeak) X(kWeakElements) X(kWeakKeys) X(kSlotMapBase) X(kMaxSlotMap)
  X(kControlWords) X(kFreeShape) X(kFillerShape) X(kFirstShape) X(kTagRef) X(kTagUndefined) X(kCardShift) X(kFlagBits) X(kLargeObjectBytes) X(kPageSize)
#undef X
  const auto enumeration = [&](const char* name, std::initializer_list<std::pair<const char*, double>> values) {
    Napi::Object all = Napi::Object::New(env);
    for (const auto& [value_name, value] : values) all.Set(value_name, value);
    o.Set(name, all);
  };
#define X(name) {#name, static_cast<double>(Phase::name)},
  enumeration("Phase", {X(Idle) X(Mark) X(Remark) X(Reclaim) X(Prepare) X(Flip) X(Compact)});
#undef X
#define X(name) {#name, static_cast<double>(AreaKind::name)},
  enumeration("AreaKind", {X(Free) X(RefStack) X(ValueStack) X(RefTable) X(ValueTable) X(WeakRefTable) X(GuardedTable)});
#undef X
#define X(name) {#name, static_cast<double>(ShapeKind::name)},
  enumeration("ShapeKind", {X(Fixed) X(ArrayRef) X(ArrayValue) X(ArrayF64) X(ArrayI32) X(ArrayU32) X(ArrayU16) X(ArrayU8)});
#undef X
  return o;
}

}  // namespace glissade::binding
