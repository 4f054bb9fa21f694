// Fault injection for JavaScript (`glissade/testing`): the process's rules, and what they have done.
#pragma once

#include <napi.h>

namespace glissade::binding {

// configureInjection(rules: string, seed: number): string | undefined, a sentence when a rule is wrong. Not while a
// heap is in a collection.
Napi::Value configure_injection(const Napi::CallbackInfo& info);
// injectionCounts(): { [rule: string]: number }
Napi::Value injection_counts(const Napi::CallbackInfo& info);

}  // namespace glissade::binding
