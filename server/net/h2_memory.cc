#include "server/net/h2_memory.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

namespace fairlead::net {

namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kSlotBytes = 5 * kPageBytes;
constexpr size_t kSlabBytes = 205 * kSlotBytes + kPageBytes;  // about 4 MiB: far above what malloc keeps in its heap
constexpr size_t kLargeBytesMin = 16 * 1024;

struct Slabs {
  std::vector<char*> memory;  // as allocated
  std::vector<char*> free;    // slots
  ~Slabs() {
    for (char* slab : memory) ::operator delete(slab);
  }

  char* take() {
    if (free.empty()) grow();
    char* slot = free.back();
    free.pop_back();
    return slot;
  }
  void grow() {
    char* slab = static_cast<char*>(::operator new(kSlabBytes));
    memory.push_back(slab);
    auto aligned = (reinterpret_cast<uintptr_t>(slab) + kPageBytes - 1) / kPageBytes * kPageBytes;
    char* end = slab + kSlabBytes;
    for (char* slot = reinterpret_cast<char*>(aligned); slot + kSlotBytes <= end; slot += kSlotBytes) {
      free.push_back(slot);
    }
  }
  bool owns(const char* pointer) const {
    for (const char* slab : memory) {
      if (pointer >= slab && pointer < slab + kSlabBytes) return true;
    }
    return false;
  }
};

thread_local Slabs slabs;

bool is_large(size_t size) { return size >= kLargeBytesMin && size <= kSlotBytes; }

// Slots are page aligned; malloc's own pointers practically never are, so the search through the
// slabs is rare.
bool is_slot(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % kPageBytes == 0 && slabs.owns(static_cast<const char*>(pointer));
}

void* take(size_t size, void*) { return is_large(size) ? slabs.take() : std::malloc(size); }

void give(void* pointer, void*) {
  if (pointer && is_slot(pointer)) {
    slabs.free.push_back(static_cast<char*>(pointer));
  } else {
    std::free(pointer);
  }
}

void* take_zeroed(size_t count, size_t size, void*) { return std::calloc(count, size); }

void* resize(void* pointer, size_t size, void* user) {
  if (!pointer) return take(size, user);
  if (!is_slot(pointer)) return std::realloc(pointer, size);
  if (size <= kSlotBytes) return pointer;
  void* larger = std::malloc(size);
  if (larger) {
    std::memcpy(larger, pointer, kSlotBytes);
    give(pointer, user);
  }
  return larger;
}

}  // namespace

nghttp2_mem* h2_memory() {
  static nghttp2_mem memory = {nullptr, take, give, take_zeroed, resize};
  return &memory;
}

size_t h2_slab_bytes() { return slabs.memory.size() * kSlabBytes; }

}  // namespace fairlead::net
