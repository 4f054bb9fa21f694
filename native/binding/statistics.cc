// What a heap has counted, and when its phases began, for JavaScript.
#include <vector>

#include "binding/heap-binding.h"

namespace glissade::binding {

napi_value stats(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Heap& heap = call.heap();
  const Statistics& s = heap.statistics;
  heap.statistics.bytesUsed.store(heap.pages_in_use() << kPageShift, std::memory_order_relaxed);
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
#define X(name, doc) histograms.Set(#name, summary(s.name##_ns));
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

}  // namespace glissade::binding
