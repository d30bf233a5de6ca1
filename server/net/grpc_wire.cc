#include "server/net/grpc_wire.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace fairlead::net {

namespace {

constexpr size_t kTimeoutDigitsMax = 8;
constexpr size_t kPartsKept = 64;  // capacity an empty queue keeps
constexpr size_t kPartsFirst = 4;
constexpr size_t kBodyReserveBytes = 64 * 1024;  // reserved for an announced body before its bytes are here

io::Nanos unit_of(char c) {
  switch (c) {
    case 'H':
      return 3600 * io::kSecond;
    case 'M':
      return 60 * io::kSecond;
    case 'S':
      return io::kSecond;
    case 'm':
      return io::kMillisecond;
    case 'u':
      return io::kMicrosecond;
    case 'n':
      return 1;
    default:
      return 0;
  }
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

void write_header(unsigned char* out, size_t size) {
  out[0] = 0;
  out[1] = static_cast<unsigned char>(size >> 24);
  out[2] = static_cast<unsigned char>(size >> 16);
  out[3] = static_cast<unsigned char>(size >> 8);
  out[4] = static_cast<unsigned char>(size);
}

}  // namespace

std::optional<io::Nanos> parse_grpc_timeout(std::string_view text) {
  if (text.size() < 2 || text.size() > kTimeoutDigitsMax + 1) return std::nullopt;
  io::Nanos unit = unit_of(text.back());
  if (unit == 0) return std::nullopt;
  io::Nanos count = 0;
  for (char c : text.substr(0, text.size() - 1)) {
    if (c < '0' || c > '9') return std::nullopt;
    count = count * 10 + (c - '0');
  }
  constexpr io::Nanos kMax = INT64_MAX / 4;  // so that now + timeout cannot overflow
  return count > kMax / unit ? kMax : count * unit;
}

std::string format_grpc_timeout(io::Nanos timeout) {
  static constexpr std::pair<io::Nanos, char> kUnits[] = {
      {1, 'n'}, {io::kMicrosecond, 'u'}, {io::kMillisecond, 'm'}, {io::kSecond, 'S'}, {60 * io::kSecond, 'M'}};
  for (auto [unit, letter] : kUnits) {
    io::Nanos count = (timeout + unit - 1) / unit;
    if (count <= 99'999'999) return std::to_string(std::max<io::Nanos>(count, 0)) + letter;
  }
  return "99999999H";
}

std::string percent_encode_message(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte > 0x7e || byte == '%') {
      out.push_back('%');
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    } else {
      out.push_back(c);
    }
  }
  return out;
}

std::string percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

void MessageReader::reset() {
  header_have_ = 0;
  body_ = std::string();
}

MessageReader::Step MessageReader::next(std::string_view& in, size_t size_max, Bytes& message) {
  if (header_have_ < kMessageHeaderBytes) {
    size_t n = std::min(in.size(), kMessageHeaderBytes - header_have_);
    std::memcpy(header_ + header_have_, in.data(), n);
    header_have_ += static_cast<uint8_t>(n);
    in.remove_prefix(n);
    if (header_have_ < kMessageHeaderBytes) return Step::kNeedMore;
    size_ = (uint32_t{header_[1]} << 24) | (uint32_t{header_[2]} << 16) | (uint32_t{header_[3]} << 8) | header_[4];
    if (header_[0] != 0) return Step::kCompressed;
    if (size_ > size_max) return Step::kTooLarge;
  }
  if (body_.empty() && in.size() >= size_) {  // all of it is here: one copy
    message = Bytes::copy(in.substr(0, size_));
    in.remove_prefix(size_);
    header_have_ = 0;
    return Step::kMessage;
  }
  if (body_.empty() && !in.empty()) body_.reserve(std::min<size_t>(size_, kBodyReserveBytes));
  size_t n = std::min(in.size(), size_ - body_.size());
  body_.append(in.substr(0, n));
  in.remove_prefix(n);
  if (body_.size() < size_) return Step::kNeedMore;
  message = Bytes::take(std::exchange(body_, {}));
  header_have_ = 0;
  return Step::kMessage;
}

void MessageQueue::push(std::span<const Bytes> parts) {
  size_t size = 0;
  for (const Bytes& part : parts) size += part.size();
  CHECK(size <= UINT32_MAX, "a gRPC message has a 32-bit length");
  if (parts_.capacity() == 0) parts_.reserve(kPartsFirst);
  Part& first = parts_.emplace_back();
  write_header(first.header, size);
  first.header_bytes = kMessageHeaderBytes;
  if (!parts.empty()) first.bytes = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) {
    if (parts[i].empty()) continue;
    Part& more = parts_.emplace_back();
    more.bytes = parts[i];
    more.header_bytes = 0;
  }
  bytes_ += size + kMessageHeaderBytes;
}

void MessageQueue::push_raw(const Bytes& bytes) {
  Part& part = parts_.emplace_back();
  part.bytes = bytes;
  part.header_bytes = 0;
  bytes_ += bytes.size();
}

void MessageQueue::move_to(OutQueue& out, size_t bytes) {
  CHECK(bytes <= bytes_);
  bytes_ -= bytes;
  while (bytes > 0) {
    Part& part = parts_[head_];
    if (taken_ < part.header_bytes) {
      size_t n = std::min<size_t>(bytes, part.header_bytes - taken_);
      out.append(std::string_view(reinterpret_cast<const char*>(part.header) + taken_, n));
      taken_ += n;
      bytes -= n;
    }
    size_t offset = taken_ - part.header_bytes;
    if (taken_ >= part.header_bytes && offset < part.bytes.size() && bytes > 0) {
      size_t n = std::min(bytes, part.bytes.size() - offset);
      if (n >= kShareBytesMin) {
        out.append(part.bytes.slice(offset, n));
      } else {
        out.append(part.bytes.view().substr(offset, n));
      }
      taken_ += n;
      bytes -= n;
    }
    if (taken_ == part.header_bytes + part.bytes.size()) {
      part.bytes = Bytes();
      ++head_;
      taken_ = 0;
    }
  }
  if (head_ == parts_.size()) {
    parts_.clear();
    head_ = 0;
    if (parts_.capacity() > kPartsKept) parts_.shrink_to_fit();
  } else if (head_ >= 64 && head_ * 2 > parts_.size()) {
    parts_.erase(parts_.begin(), parts_.begin() + static_cast<ptrdiff_t>(head_));
    head_ = 0;
  }
}

void MessageQueue::clear() {
  parts_.clear();
  if (parts_.capacity() > kPartsKept) parts_.shrink_to_fit();
  head_ = taken_ = bytes_ = 0;
}

}  // namespace fairlead::net
