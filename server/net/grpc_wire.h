// The gRPC wire besides HTTP/2 itself: length-prefixed messages, grpc-timeout, grpc-message.
// Follows "gRPC over HTTP2" (PROTOCOL-HTTP2.md): a message is one byte "compressed", four bytes
// length (big endian), body.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "server/io/io.h"
#include "server/net/out_queue.h"

namespace fairlead::net {

constexpr size_t kMessageHeaderBytes = 5;

// "100m", "5S", ...: at most 8 digits and a unit of H M S m u n. Nothing for what is malformed.
std::optional<io::Nanos> parse_grpc_timeout(std::string_view text);
std::string format_grpc_timeout(io::Nanos timeout);

std::string percent_encode_message(std::string_view text);  // bytes outside 0x20..0x7e and '%' as %XX
std::string percent_decode(std::string_view text);          // malformed escapes are kept as they are

// Cuts incoming DATA into messages.
class MessageReader {
 public:
  enum class Step { kNeedMore, kMessage, kTooLarge, kCompressed };
  // Takes bytes off the front of `in`, until a message is complete. After kTooLarge and kCompressed
  // the reader is of no further use.
  Step next(std::string_view& in, size_t size_max, Bytes& message);
  size_t held_bytes() const { return header_have_ + body_.size(); }
  bool between_messages() const { return header_have_ == 0; }
  uint32_t announced_bytes() const { return size_; }
  void reset();

 private:
  unsigned char header_[kMessageHeaderBytes] = {};
  uint8_t header_have_ = 0;
  uint32_t size_ = 0;
  std::string body_;
};

// Outgoing messages of one call, until flow control lets them go. Large parts are shared, not
// copied.
class MessageQueue {
 public:
  void push(std::span<const Bytes> parts);
  void push_raw(const Bytes& bytes);  // without a message's header: a page's
  size_t bytes() const { return bytes_; }
  bool empty() const { return bytes_ == 0; }
  void move_to(OutQueue& out, size_t bytes);  // at most bytes()
  void clear();

 private:
  struct Part {
    Bytes bytes;
    unsigned char header[kMessageHeaderBytes];
    uint8_t header_bytes;  // 5 for the first part of a message, else 0
  };
  std::vector<Part> parts_;
  size_t head_ = 0;
  size_t taken_ = 0;  // of the head part, its header first
  size_t bytes_ = 0;
};

}  // namespace fairlead::net
