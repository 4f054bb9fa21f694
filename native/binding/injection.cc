// Fault injection for JavaScript; injection.h has the two functions.
#include "binding/injection.h"

#include <string>

#include "core/kernel/injection.h"

namespace glissade::binding {

Napi::Value configure_injection(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string rules = info[0].ToString().Utf8Value();
  const double seed = info.Length() > 1 ? info[1].ToNumber().DoubleValue() : 0;
  char message[256];
  if (injection::configure(rules.c_str(), static_cast<uint64_t>(static_cast<int64_t>(seed)), message, sizeof message)) {
    return env.Undefined();
  }
  return Napi::String::New(env, message);
}

Napi::Value injection_counts(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  injection::RuleCount counts[injection::kMaxRules];
  const int n = injection::counts(counts, injection::kMaxRules);
  Napi::Object result = Napi::Object::New(env);
  for (int i = 0; i < n; i++) result.Set(counts[i].text, Napi::Number::New(env, static_cast<double>(counts[i].fired)));
  return result;
}

}  // namespace glissade::binding
