// Little-endian and varint encoding into strings, and a bounds-checked reader. Varints are LEB128 as in Protocol
// Buffers.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

static_assert(std::endian::native == std::endian::little, "the codecs and file formats assume a little-endian machine");

namespace fairlead {

template <typename Int>
inline void put_fixed(std::string& out, Int value) {
  char raw[sizeof(Int)];
  std::memcpy(raw, &value, sizeof(Int));
  out.append(raw, sizeof(Int));
}
template <typename Int>
inline void store_fixed(char* out, Int value) {
  std::memcpy(out, &value, sizeof(Int));
}
template <typename Int>
inline Int load_fixed(const char* in) {
  Int value;
  std::memcpy(&value, in, sizeof(Int));
  return value;
}

constexpr size_t kVarintMax = 10;
size_t varint_size(uint64_t value);
char* store_varint(char* out, uint64_t value);  // returns the end; needs kVarintMax bytes of room
void put_varint(std::string& out, uint64_t value);
inline void put_lengthed(std::string& out, std::string_view s) {
  put_varint(out, s.size());
  out.append(s);
}
constexpr uint64_t zigzag(int64_t v) { return (static_cast<uint64_t>(v) << 1) ^ static_cast<uint64_t>(v >> 63); }
constexpr int64_t unzigzag(uint64_t v) { return static_cast<int64_t>(v >> 1) ^ -static_cast<int64_t>(v & 1); }

// Reads from a view that must outlive it. After a read past the end (or a malformed varint) ok() is false, every
// further read returns zero or empty, and nothing outside the view was touched: check ok() once at the end.
class Reader {
 public:
  explicit Reader(std::string_view in) : p_(in.data()), end_(in.data() + in.size()) {}

  bool ok() const { return ok_; }
  bool at_end() const { return p_ == end_; }
  size_t remaining() const { return static_cast<size_t>(end_ - p_); }
  std::string_view rest() const { return {p_, remaining()}; }
  const char* position() const { return p_; }

  template <typename Int>
  Int fixed() {
    if (remaining() < sizeof(Int)) return fail(), Int{};
    Int value = load_fixed<Int>(p_);
    p_ += sizeof(Int);
    return value;
  }
  uint64_t varint();
  std::string_view bytes(size_t n) {
    if (remaining() < n) return fail(), std::string_view{};
    std::string_view out(p_, n);
    p_ += n;
    return out;
  }
  std::string_view lengthed() {
    uint64_t n = varint();
    if (n > remaining()) return fail(), std::string_view{};
    return bytes(static_cast<size_t>(n));
  }

 private:
  void fail() {
    ok_ = false;
    p_ = end_;
  }
  const char* p_;
  const char* end_;
  bool ok_ = true;
};

}  // namespace fairlead
