// The probe: each step of a page's way is taken once, in memory of its own; probe.h says what is found out.
#include "core/kernel/probe.h"

#include <sys/mman.h>
#include <sys/utsname.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/kernel/userfaultfd.h"
#include "core/units.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

namespace glissade {

namespace {

constexpr int kReadWrite = PROT_READ | PROT_WRITE;

u8* map_pages(int pages) {
  void* address = mmap(nullptr, static_cast<std::size_t>(pages) * kPageSize, kReadWrite, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return address == MAP_FAILED ? nullptr : static_cast<u8*>(address);
}

void probe_userfaultfd(Probe* out) {
  auto& found = out->userfaultfd;
  found.step = "open";
  Userfaultfd uffd(Userfaultfd::Injection::Off);
  found.errno_ = uffd.open(0);
  if (found.errno_ != 0) return;
  found.user_mode_only = uffd.user_mode_only();
  found.wp_async = (uffd.features() & uffd::kFeatureWpAsync) != 0;
  if ((uffd.features() & uffd::kFeatureSigbus) != 0) {
    // Offered is one thing; a handshake that takes it is another.
    Userfaultfd with_sigbus(Userfaultfd::Injection::Off);
    found.sigbus = with_sigbus.open(uffd::kFeatureSigbus) == 0;
  }
  // Pages: 0 and 1 are the registered destination, 2 and 3 the source.
  found.step = "register";
  u8* pages = map_pages(4);
  if (pages == nullptr) {
    found.errno_ = errno;
    return;
  }
  u8* source = pages + 2 * kPageSize;
  madvise(pages, 4 * kPageSize, MADV_DONTFORK);
  madvise(pages, 4 * kPageSize, MADV_NOHUGEPAGE);
  std::memset(source, 0x5A, 2 * kPageSize);
  u64 ioctls = 0;
  found.errno_ = uffd.register_missing(pages, 2 * kPageSize, &ioctls).error;
  if (found.errno_ == 0) {
    // Only pages known to be mapped are read afterwards: a read of a missing one would wait for ever.
    UffdResult moved{0, EAGAIN};
    for (int attempt = 0; attempt < 8 && moved.error == EAGAIN; attempt++) moved = uffd.move(pages, source, kPageSize);
    found.move_errno = moved.error;
    found.move = moved.ok() && pages[0] == 0x5A && pages[kPageSize - 1] == 0x5A;
    found.step = "copy";
    UffdResult copied{0, EAGAIN};
    for (int attempt = 0; attempt < 8 && copied.error == EAGAIN; attempt++) {
      copied = uffd.copy(pages + kPageSize, source + kPageSize, kPageSize);
    }
    found.errno_ = copied.error;
    found.available = copied.ok() && pages[kPageSize] == 0x5A;
    uffd.unregister(pages, 2 * kPageSize);
  }
  if (found.available) found.step = "";
  munmap(pages, 4 * kPageSize);
}

void probe_mremap(Probe* out) {
  u8* from = map_pages(1);
  u8* to = map_pages(1);
  if (from != nullptr && to != nullptr) {
    from[0] = 0x5A;
    void* moved = mremap(from, kPageSize, kPageSize, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);
    if (moved == to) {
      out->mremap_dontunmap = to[0] == 0x5A && from[0] == 0;
    } else {
      out->mremap_errno = errno;
    }
  } else {
    out->mremap_errno = errno;
  }
  if (from != nullptr) munmap(from, kPageSize);
  if (to != nullptr) munmap(to, kPageSize);
}

}  // namespace

Probe probe() {
  Probe result{};
  const int saved = errno;
  utsname names;
  if (uname(&names) == 0) std::snprintf(result.kernel, sizeof result.kernel, "%s", names.release);
  probe_userfaultfd(&result);
  probe_mremap(&result);
  errno = saved;
  return result;
}

}  // namespace glissade
