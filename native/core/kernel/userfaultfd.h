// A thin wrapper over one userfaultfd: the system calls and nothing else. It decides no policy.
//
// Each operation says how many bytes are done and with which errno it ended, as the kernel told it:
//   error 0                everything asked for is done
//   EAGAIN, done > 0       done stands; the reason it stopped is hidden, and the next call from there shows it
//   EAGAIN, done = 0       nothing happened (the VMA's lock was lost, the address space was changing): again
//   EEXIST                 the first page at the destination is mapped, by somebody else or by this very call
//                          (Linux 6.18: a stale error after an internal retry); its source is now *unknown*
//   EBUSY                  the source page is shared or pinned: copy it
//   ENOENT / EINVAL        MOVE says EINVAL, COPY and ZEROPAGE say ENOENT for a destination that is not (or no
//                          longer) registered; MOVE says ENOENT for a hole at the source
// `done` is a lower bound after EEXIST and exact otherwise. Callers advance and resume; page-barrier.h says what each means.
//
// Who may call what: open and close from one thread; all else from any thread, and from signal handlers: no
// allocation, no lock, errno untouched (invariant 10). Debian 12's <linux/userfaultfd.h> ends at feature 12, so
// the ABI is spelled out here, from include/uapi/linux/userfaultfd.h of Linux 6.8 and later.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/kernel/injection.h"

namespace glissade {

namespace uffd {

// Flags of the system call.
inline constexpr unsigned long kUserModeOnly = 1;

// Feature bits of the handshake.
inline constexpr std::uint64_t kFeatureEventRemove = 1u << 3;
inline constexpr std::uint64_t kFeatureSigbus = 1u << 7;
inline constexpr std::uint64_t kFeatureWpAsync = 1u << 15;
inline constexpr std::uint64_t kFeatureMove = 1u << 16;

// Register modes and the bits of the ioctls that a registration allows.
inline constexpr std::uint64_t kModeMissing = 1;
inline constexpr std::uint64_t kModeWriteProtect = 2;
inline constexpr std::uint64_t kModeMinor = 4;
inline constexpr unsigned kIoctlWake = 2;
inline constexpr unsigned kIoctlCopy = 3;
inline constexpr unsigned kIoctlZeropage = 4;
inline constexpr unsigned kIoctlMove = 5;
inline constexpr unsigned kIoctlWriteProtect = 6;

// Events on the descriptor.
inline constexpr std::uint8_t kEventPagefault = 0x12;

}  // namespace uffd

struct UffdResult {
  std::int64_t done;  // bytes
  int error;          // 0 or an errno
  bool ok() const { return error == 0; }
};

// A fault read from the descriptor (`faults: 'thread'`).
struct UffdFault {
  std::uintptr_t address;  // of the page
};

class Userfaultfd {
 public:
  using Op = injection::Op;

  // What the counters tell apart; the last kind is any errno without a name of its own.
  static constexpr int kErrorKinds = 14;
  static const char* error_name(int kind);
  static const char* op_name(Op op);

  Userfaultfd() = default;
  // Not injectable: the probe, which is to tell what the kernel does and not what a test pretends.
  enum class Injection : bool { Off, On };
  explicit Userfaultfd(Injection injection) : injectable_(injection == Injection::On) {}
  Userfaultfd(const Userfaultfd&) = delete;
  Userfaultfd& operator=(const Userfaultfd&) = delete;
  ~Userfaultfd() { close(); }

  // Opens the descriptor, user-mode-only first (any user may), then the full kind, and does the handshake with
  // `features`. 0, or the errno of the step that failed; the object is closed then.
  int open(std::uint64_t features);
  void close();

  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  // Faults taken inside system calls are not delivered; they fail with EFAULT. (SIGBUS mode has the same effect.)
  bool user_mode_only() const { return user_mode_only_; }
  // What this kernel offers, whatever was asked for.
  std::uint64_t features() const { return features_; }

  // On success `allowed_ioctls`, if given, holds a bit per uffd::kIoctl….
  UffdResult register_missing(void* start, std::size_t bytes, std::uint64_t* allowed_ioctls = nullptr) const;
  UffdResult register_range(void* start, std::size_t bytes, std::uint64_t mode,
                            std::uint64_t* allowed_ioctls = nullptr) const;
  UffdResult unregister(void* start, std::size_t bytes) const;

  UffdResult move(void* destination, const void* source, std::size_t bytes) const;
  // A hole at the source counts as moved and stays missing at the destination. The collector never uses it.
  UffdResult move_with_holes(void* destination, const void* source, std::size_t bytes) const;
  UffdResult copy(void* destination, const void* source, std::size_t bytes) const;
  UffdResult zeropage(void* destination, std::size_t bytes) const;
  UffdResult wake(void* start, std::size_t bytes) const;

  // Reads one page fault: 0, EAGAIN when none is waiting, or the errno of read(2). Other events are skipped.
  int read_fault(UffdFault* fault) const;

  std::uint64_t calls(Op op) const { return calls_[static_cast<int>(op)].load(std::memory_order_relaxed); }
  std::uint64_t errors(Op op, int kind) const {
    return errors_[static_cast<int>(op)][kind].load(std::memory_order_relaxed);
  }
  // For an operation done elsewhere (mremap) that belongs in the same table.
  void record(Op op, int error) const;

 private:
  int open_with(std::uint64_t features);
  UffdResult transfer(Op op, unsigned long request, void* destination, const void* source, std::size_t bytes,
                      std::uint64_t mode) const;

  int injected(Op op) const { return injectable_ ? injection::check(op) : 0; }

  int fd_ = -1;
  bool injectable_ = true;
  bool user_mode_only_ = false;
  std::uint64_t features_ = 0;
  std::uint64_t dont_wake_ = 0;  // in SIGBUS mode nobody sleeps on the descriptor
  mutable std::atomic<std::uint64_t> calls_[injection::kOpCount] = {};
  mutable std::atomic<std::uint64_t> errors_[injection::kOpCount][kErrorKinds] = {};
};

}  // namespace glissade
