// The stepping half of a heap's binding: for tests, on heaps made with `stepping`. native/core/compaction/stepping.h says what it steps.
#pragma once

#include <napi.h>

namespace glissade {
class Heap;
}

namespace glissade::binding {

void bind_stepping(Napi::Env env, Napi::Object object, Heap& heap);
/// The names of rests, hold points, page kinds and edges, for the test that compares.
Napi::Object stepping_names(Napi::Env env);

}  // namespace glissade::binding
