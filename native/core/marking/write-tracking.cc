// PAGEMAP_SCAN over an asynchronously write-protected range; see write-tracking.h.
#include "core/marking/write-tracking.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace glissade {
namespace {

// include/uapi/linux/fs.h of Linux 6.7; Debian 12's headers do not have it.
struct ScanArgument {
  u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
  u64 category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct ScanRegion {
  u64 start, end, categories;
};
constexpr unsigned long kPagemapScan = 0xC0606610;
constexpr u64 kProtectMatching = 1, kCheckAsync = 2;
constexpr u64 kPageIsWritten = 2;
constexpr u64 kFeatureWriteProtectUnpopulated = 1u << 13;

}  // namespace

bool WriteTracking::start(void* begin, std::size_t bytes) {
  begin_ = static_cast<u8*>(begin);
  bytes_ = bytes;
  if (uffd_.open(uffd::kFeatureWpAsync | kFeatureWriteProtectUnpopulated) != 0) return false;
  if (!uffd_.register_range(begin, bytes, uffd::kModeWriteProtect).ok()) {
    stop();
    return false;
  }
  pagemap_ = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap_ < 0) {
    stop();
    return false;
  }
  // The first pass shows whether the kernel knows the call; it also protects everything.
  take([](Range) {});
  return active();
}

void WriteTracking::stop() {
  if (pagemap_ >= 0) ::close(pagemap_);
  pagemap_ = -1;
  uffd_.close();
}

u32 WriteTracking::scan(std::size_t& at, Range* found) {
  ScanRegion regions[kRanges];
  ScanArgument argument{};
  argument.size = sizeof argument;
  argument.flags = kProtectMatching | kCheckAsync;
  argument.start = reinterpret_cast<u64>(begin_ + at);
  argument.end = reinterpret_cast<u64>(begin_ + bytes_);
  argument.vec = reinterpret_cast<u64>(regions);
  argument.vec_len = kRanges;
  argument.category_mask = kPageIsWritten;
  argument.return_mask = kPageIsWritten;
  const int count = ioctl(pagemap_, kPagemapScan, &argument);
  if (count < 0) {
    // From here on nothing is known: report the rest, and everything in later calls.
    ::close(pagemap_);
    pagemap_ = -1;
    found[0] = {at, bytes_};
    at = bytes_;
    return 1;
  }
  const u64 base = reinterpret_cast<u64>(begin_);
  for (int i = 0; i < count; i++) found[i] = {static_cast<std::size_t>(regions[i].start - base), static_cast<std::size_t>(regions[i].end - base)};
  at = static_cast<std::size_t>(argument.walk_end - base);
  return static_cast<u32>(count);
}

}  // namespace glissade
