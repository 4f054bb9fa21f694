// A zeroed array in a mapping of its own: lazily committed, never moved, never shared with a child.
//
// Side metadata lives in these. Fault handlers read them, so their memory can never raise a userfault; a first
// touch costs an ordinary zero-fill. `zero` writes a part; `drop` gives all of it back to the kernel.
#pragma once

#include <sys/mman.h>

#include <cstring>

#include "core/kernel/discard.h"
#include "core/units.h"

namespace glissade {

template <typename T>
class MappedArray {
 public:
  MappedArray() = default;
  MappedArray(const MappedArray&) = delete;
  MappedArray& operator=(const MappedArray&) = delete;
  ~MappedArray() {
    if (data_) munmap(data_, bytes_);
  }

  bool map(std::size_t count) {
    bytes_ = round_up(count * sizeof(T), kPageSize);
    void* address = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) return false;
    data_ = static_cast<T*>(address);
    count_ = count;
    return madvise(data_, bytes_, MADV_DONTFORK) == 0;
  }

  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
  std::size_t count() const { return count_; }

  void zero(std::size_t first, std::size_t count) { std::memset(static_cast<void*>(data_ + first), 0, count * sizeof(T)); }
  void drop() { discard(data_, bytes_); }

 private:
  T* data_ = nullptr;
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace glissade
