// `probe()` for JavaScript: field by field. See src/gc/capabilities.ts for what is made of it.
#include "binding/probe.h"

#include "core/kernel/probe.h"

namespace glissade::binding {

Napi::Value probe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Probe found = glissade::probe();
  Napi::Object userfaultfd = Napi::Object::New(env);
  userfaultfd.Set("available", found.userfaultfd.available);
  userfaultfd.Set("errno", found.userfaultfd.errno_);
  userfaultfd.Set("step", found.userfaultfd.step);
  userfaultfd.Set("userModeOnly", found.userfaultfd.user_mode_only);
  userfaultfd.Set("move", found.userfaultfd.move);
  userfaultfd.Set("moveErrno", found.userfaultfd.move_errno);
  userfaultfd.Set("sigbus", found.userfaultfd.sigbus);
  userfaultfd.Set("wpAsync", found.userfaultfd.wp_async);
  Napi::Object result = Napi::Object::New(env);
  result.Set("kernel", found.kernel);
  result.Set("userfaultfd", userfaultfd);
  result.Set("mremapDontunmap", found.mremap_dontunmap);
  result.Set("mremapErrno", found.mremap_errno);
  return result;
}

}  // namespace glissade::binding
