#include "server/io/io.h"

#include <cstdlib>
#include <cstring>

#include "base/check.h"

namespace fairlead::io {

AlignedBuffer::AlignedBuffer(size_t size) : size_((size + kDiskBlockBytes - 1) / kDiskBlockBytes * kDiskBlockBytes) {
  if (size_ == 0) return;
  memory_.reset(static_cast<char*>(std::aligned_alloc(kDiskBlockBytes, size_)));
  CHECK(memory_ != nullptr, "out of memory");
  std::memset(memory_.get(), 0, size_);
}

void AlignedBuffer::Free::operator()(char* p) const { std::free(p); }

}  // namespace fairlead::io
