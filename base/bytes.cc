#include "base/bytes.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "base/check.h"

namespace fairlead {

Bytes::Block* Bytes::allocate(size_t capacity) {
  void* memory = ::operator new(sizeof(Block) + capacity);
  auto* block = new (memory) Block;
  block->capacity = capacity;
  return block;
}

void Bytes::unref() {
  if (block_ && block_->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    block_->~Block();
    ::operator delete(block_);
  }
  block_ = nullptr;
}

Bytes Bytes::copy(std::string_view s) {
  if (s.empty()) return {};
  Block* block = allocate(s.size());
  std::memcpy(chars(block), s.data(), s.size());
  return {block, chars(block), s.size()};
}

Bytes Bytes::take(std::string s) {
  if (s.empty()) return {};
  Block* block = allocate(0);
  block->owned = std::move(s);
  return {block, block->owned.data(), block->owned.size()};
}

Bytes Bytes::literal(std::string_view s) { return {nullptr, s.data(), s.size()}; }

Bytes Bytes::slice(size_t offset, size_t size) const {
  CHECK(offset <= size_ && size <= size_ - offset);
  if (size == 0) return {};
  ref();
  return {block_, data_ + offset, size};
}

Bytes Bytes::slice_of(std::string_view part) const {
  if (part.empty()) return {};
  CHECK(part.data() >= data_ && part.data() + part.size() <= data_ + size_);
  return slice(static_cast<size_t>(part.data() - data_), part.size());
}

size_t Bytes::block_size() const {
  if (!block_) return size_;
  return sizeof(Block) + (block_->capacity ? block_->capacity : block_->owned.capacity());
}

BytesBuilder::BytesBuilder(size_t capacity) : block_(Bytes::allocate(capacity)), capacity_(capacity) {}

BytesBuilder::~BytesBuilder() {
  if (block_) Bytes(block_, nullptr, 0);  // takes the reference and drops it
}

Bytes BytesBuilder::finish(size_t size) && {
  CHECK(block_ && size <= capacity_);
  Bytes::Block* block = std::exchange(block_, nullptr);
  return {block, Bytes::chars(block), size};
}

}  // namespace fairlead
