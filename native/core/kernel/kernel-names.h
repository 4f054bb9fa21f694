// What the calls to the kernel are called, and their answers: in rules of injection, in statistics and in messages.
#pragma once

#include <cerrno>

namespace glissade {

struct Named {
  const char* name;
  int value;
};

/// By injection::Op.
inline constexpr Named kOpNames[] = {{"move", 0},       {"copy", 1},   {"zeropage", 2}, {"register", 3},
                                     {"unregister", 4}, {"mremap", 5}, {"open", 6}};

/// Every errno that has a name here; statistics count all others as one.
inline constexpr Named kErrnoNames[] = {{"EAGAIN", EAGAIN}, {"EEXIST", EEXIST}, {"ENOENT", ENOENT}, {"EINVAL", EINVAL},
                                        {"EBUSY", EBUSY},   {"ENOMEM", ENOMEM}, {"EFAULT", EFAULT}, {"EPERM", EPERM},
                                        {"ENOSPC", ENOSPC}, {"ESRCH", ESRCH},   {"EINTR", EINTR},   {"ENOSYS", ENOSYS},
                                        {"EMFILE", EMFILE}};
inline constexpr int kErrnoCount = sizeof kErrnoNames / sizeof *kErrnoNames;

}  // namespace glissade
