// Bytes: an immutable, reference-counted slice. The one way that values, log entries and events travel: encoded once,
// shared by log, followers, apply, watchers and sockets, on whatever thread each of them runs.
//
// Threads: the count is atomic and the contents never change after construction, so copies may cross threads freely;
// one Bytes object itself belongs to one thread at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace fairlead {

class Bytes {
 public:
  Bytes() = default;
  Bytes(const Bytes& o) : block_(o.block_), data_(o.data_), size_(o.size_) { ref(); }
  Bytes(Bytes&& o) noexcept
      : block_(std::exchange(o.block_, nullptr)),
        data_(std::exchange(o.data_, nullptr)),
        size_(std::exchange(o.size_, 0)) {}
  Bytes& operator=(Bytes o) noexcept {
    std::swap(block_, o.block_);
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
    return *this;
  }
  ~Bytes() { unref(); }

  static Bytes copy(std::string_view s);  // one allocation
  // Takes storage over from a string (one small allocation besides; the characters are not copied).
  static Bytes take(std::string s);
  // Bytes that live as long as the program (literals).
  static Bytes literal(std::string_view s);

  const char* data() const { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::string_view view() const { return {data_, size_}; }
  std::string to_string() const { return std::string(view()); }

  // Shares the storage. offset and size must lie within this slice.
  Bytes slice(size_t offset, size_t size) const;
  // A slice around a view that points into this object's storage.
  Bytes slice_of(std::string_view part) const;
  // Bytes of the whole shared block: what keeping this slice keeps in memory.
  size_t block_size() const;

  bool operator==(const Bytes& o) const { return view() == o.view(); }

 private:
  friend class BytesBuilder;
  struct Block {
    std::atomic<uint32_t> refs{1};
    size_t capacity = 0;  // of the characters that follow this header, 0 if owned holds them
    std::string owned;
  };
  Bytes(Block* block, const char* data, size_t size) : block_(block), data_(data), size_(size) {}
  void ref() const {
    if (block_) block_->refs.fetch_add(1, std::memory_order_relaxed);
  }
  void unref();
  static Block* allocate(size_t capacity);
  static char* chars(Block* block) { return reinterpret_cast<char*>(block + 1); }

  Block* block_ = nullptr;  // null for literals and empty slices
  const char* data_ = nullptr;
  size_t size_ = 0;
};

// Fills a buffer of known capacity once, then freezes it into Bytes without copying.
class BytesBuilder {
 public:
  explicit BytesBuilder(size_t capacity);
  ~BytesBuilder();
  BytesBuilder(const BytesBuilder&) = delete;
  BytesBuilder& operator=(const BytesBuilder&) = delete;

  char* data() { return Bytes::chars(block_); }
  size_t capacity() const { return capacity_; }
  Bytes finish(size_t size) &&;  // size <= capacity; the builder is empty afterwards

 private:
  Bytes::Block* block_;
  size_t capacity_;
};

}  // namespace fairlead
