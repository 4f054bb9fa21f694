// The system calls of one userfaultfd, their arguments spelled out; userfaultfd.h says why, and what each answer means.
#include "core/kernel/userfaultfd.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "core/kernel/kernel-names.h"
#include "core/units.h"

namespace glissade {

namespace {

#if defined(__x86_64__)
constexpr long kSysUserfaultfd = 323;
#elif defined(__aarch64__)
constexpr long kSysUserfaultfd = 282;
#else
#error "the number of the userfaultfd system call is not known for this architecture"
#endif

constexpr unsigned long kIocApi = 0xC018AA3F;
constexpr unsigned long kIocRegister = 0xC020AA00;
constexpr unsigned long kIocUnregister = 0x8010AA01;
constexpr unsigned long kIocWake = 0x8010AA02;
constexpr unsigned long kIocCopy = 0xC028AA03;
constexpr unsigned long kIocZeropage = 0xC020AA04;
constexpr unsigned long kIocMove = 0xC028AA05;
constexpr std::uint64_t kApi = 0xAA;

constexpr std::uint64_t kDontWake = 1;  // the same bit for COPY, ZEROPAGE and MOVE
constexpr std::uint64_t kAllowSourceHoles = 2;

struct ApiArgument {
  std::uint64_t api, features, ioctls;
};
struct RangeArgument {
  std::uint64_t start, length;
};
struct RegisterArgument {
  RangeArgument range;
  std::uint64_t mode, ioctls;
};
struct TransferArgument {  // COPY and MOVE
  std::uint64_t destination, source, length, mode;
  std::int64_t done;
};
struct ZeropageArgument {
  RangeArgument range;
  std::uint64_t mode;
  std::int64_t done;
};
struct Message {
  std::uint8_t event, reserved1;
  std::uint16_t reserved2;
  std::uint32_t reserved3;
  std::uint64_t flags, address, rest;
};
static_assert(sizeof(ApiArgument) == 24 && sizeof(RegisterArgument) == 32 && sizeof(TransferArgument) == 40 &&
              sizeof(ZeropageArgument) == 32 && sizeof(Message) == 32);

static_assert(Userfaultfd::kErrorKinds == kErrnoCount + 1);

std::uint64_t number(const void* address) { return reinterpret_cast<std::uintptr_t>(address); }

// The bare system call: ThreadSanitizer's interceptor of ioctl() takes locks, and this runs in a signal handler.
int control(int fd, unsigned long request, void* argument) {
  const int saved = errno;
  const int error = syscall(SYS_ioctl, fd, request, argument) == 0 ? 0 : errno;
  errno = saved;
  return error;
}

}  // namespace

const char* Userfaultfd::error_name(int kind) { return kind < kErrnoCount ? kErrnoNames[kind].name : "other"; }

const char* Userfaultfd::op_name(Op op) { return kOpNames[static_cast<int>(op)].name; }

void Userfaultfd::record(Op op, int error) const {
  calls_[static_cast<int>(op)].fetch_add(1, std::memory_order_relaxed);
  if (error == 0) return;
  int kind = 0;
  while (kind < kErrnoCount && kErrnoNames[kind].value != error) kind++;
  errors_[static_cast<int>(op)][kind].fetch_add(1, std::memory_order_relaxed);
}

int Userfaultfd::open(std::uint64_t features) {
  close();
  int error = injected(Op::Open);
  if (error == 0) error = open_with(features);
  if (error != 0) close();
  record(Op::Open, error);
  return error;
}

int Userfaultfd::open_with(std::uint64_t features) {
  const int saved = errno;
  constexpr unsigned long flags = O_CLOEXEC | O_NONBLOCK;
  long fd = syscall(kSysUserfaultfd, flags | uffd::kUserModeOnly);
  user_mode_only_ = fd >= 0;
  // EINVAL: a kernel before 5.11 that does not know the flag.
  if (fd < 0) fd = syscall(kSysUserfaultfd, flags);
  const int error = fd < 0 ? errno : 0;
  errno = saved;
  if (error != 0) return error;
  fd_ = static_cast<int>(fd);
  ApiArgument argument{kApi, features, 0};
  if (const int refused = control(fd_, kIocApi, &argument)) return refused;
  features_ = argument.features;
  dont_wake_ = (features & uffd::kFeatureSigbus) != 0 ? kDontWake : 0;
  return 0;
}

void Userfaultfd::close() {
  if (fd_ < 0) return;
  const int saved = errno;
  ::close(fd_);
  errno = saved;
  fd_ = -1;
  features_ = 0;
}

UffdResult Userfaultfd::register_missing(void* start, std::size_t bytes, std::uint64_t* allowed_ioctls) const {
  return register_range(start, bytes, uffd::kModeMissing, allowed_ioctls);
}

UffdResult Userfaultfd::register_range(void* start, std::size_t bytes, std::uint64_t mode,
                                       std::uint64_t* allowed_ioctls) const {
  int error = injected(Op::Register);
  if (error == 0) {
    RegisterArgument argument{{number(start), bytes}, mode, 0};
    error = control(fd_, kIocRegister, &argument);
    if (error == 0 && allowed_ioctls != nullptr) *allowed_ioctls = argument.ioctls;
  }
  record(Op::Register, error);
  return {error == 0 ? static_cast<std::int64_t>(bytes) : 0, error};
}

UffdResult Userfaultfd::unregister(void* start, std::size_t bytes) const {
  int error = injected(Op::Unregister);
  if (error == 0) {
    RangeArgument argument{number(start), bytes};
    error = control(fd_, kIocUnregister, &argument);
  }
  record(Op::Unregister, error);
  return {error == 0 ? static_cast<std::int64_t>(bytes) : 0, error};
}

UffdResult Userfaultfd::wake(void* start, std::size_t bytes) const {
  RangeArgument argument{number(start), bytes};
  const int error = control(fd_, kIocWake, &argument);
  return {error == 0 ? static_cast<std::int64_t>(bytes) : 0, error};
}

// The one road of MOVE, COPY and ZEROPAGE. Injected errors leave the memory in a state in which the kernel could
// have left it, or they would test reactions to what cannot happen:
//   EAGAIN on several pages   the first half is truly done and reported, as a batch that met an obstacle
//   EEXIST                    the first page is truly done but not counted: the stale-error bug of Linux 6.18
//   everything else           nothing is done
UffdResult Userfaultfd::transfer(Op op, unsigned long request, void* destination, const void* source,
                                 std::size_t bytes, std::uint64_t mode) const {
  auto call = [&](std::size_t length) -> UffdResult {
    // The result field is preset: kernels before 6.16 leave it alone on some errors.
    std::int64_t done = 0;
    int error;
    if (op == Op::Zeropage) {
      ZeropageArgument argument{{number(destination), length}, mode, 0};
      error = control(fd_, request, &argument);
      done = argument.done;
    } else {
      TransferArgument argument{number(destination), number(source), length, mode, 0};
      error = control(fd_, request, &argument);
      done = argument.done;
    }
    if (error == 0) return {static_cast<std::int64_t>(length), 0};
    return {done > 0 ? done : 0, error};
  };
  UffdResult result;
  if (const int pretended = injected(op); __builtin_expect(pretended != 0, 0)) {
    result = {0, pretended};
    const std::size_t half = (bytes / 2) & ~static_cast<std::size_t>(kPageSize - 1);
    if (pretended == EAGAIN && half > 0) {
      const UffdResult real = call(half);
      result = {real.done, real.ok() ? EAGAIN : real.error};
    } else if (pretended == EEXIST) {
      const UffdResult real = call(kPageSize);
      if (!real.ok()) result = real;
    }
  } else {
    result = call(bytes);
  }
  record(op, result.error);
  return result;
}

UffdResult Userfaultfd::move(void* destination, const void* source, std::size_t bytes) const {
  return transfer(Op::Move, kIocMove, destination, source, bytes, dont_wake_);
}

UffdResult Userfaultfd::move_with_holes(void* destination, const void* source, std::size_t bytes) const {
  return transfer(Op::Move, kIocMove, destination, source, bytes, dont_wake_ | kAllowSourceHoles);
}

UffdResult Userfaultfd::copy(void* destination, const void* source, std::size_t bytes) const {
  return transfer(Op::Copy, kIocCopy, destination, source, bytes, dont_wake_);
}

UffdResult Userfaultfd::zeropage(void* destination, std::size_t bytes) const {
  return transfer(Op::Zeropage, kIocZeropage, destination, nullptr, bytes, dont_wake_);
}

int Userfaultfd::read_fault(UffdFault* fault) const {
  const int saved = errno;
  for (;;) {
    Message message;
    const long n = syscall(SYS_read, fd_, &message, sizeof message);
    if (n < 0) {
      const int error = errno;
      if (error == EINTR) continue;
      errno = saved;
      return error;
    }
    errno = saved;
    if (n != sizeof message) return EAGAIN;
    if (message.event != uffd::kEventPagefault) continue;
    *fault = {static_cast<std::uintptr_t>(message.address & ~static_cast<std::uint64_t>(kPageSize - 1))};
    return 0;
  }
}

}  // namespace glissade
