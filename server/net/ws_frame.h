// The frames of WebSockets (RFC 6455, section 5), bytes in and events out, server's side: no extensions, what the
// client sends is masked, what we send is not. The words of its refusals are gorilla/websocket's, which etcd uses.
//
// A codec of our own: Beast's frame parser is private to its stream, which wants to read and write a socket itself and
// takes "nothing more now" for the end of it.
//
// Bounds: a message, over all its frames; a control frame has at most 125 bytes. Memory grows with what has arrived,
// not with what a frame announces. Threads: any, one at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fairlead::net {

enum class WsOpcode : uint8_t { kContinuation = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10 };

// Status codes of Close frames (RFC 6455, section 7.4.1).
constexpr uint16_t kWsGoingAway = 1001;
constexpr uint16_t kWsProtocolError = 1002;
constexpr uint16_t kWsNoStatus = 1005;  // stands for none, is never sent
constexpr uint16_t kWsPolicyViolation = 1008;
constexpr uint16_t kWsTooBig = 1009;

constexpr size_t kWsControlBytesMax = 125;

struct WsEvent {
  enum class Kind : uint8_t {
    kNone,     // more is needed
    kMessage,  // text or binary, whole
    kEmpty,    // a frame of a message that brought no byte and did not end it
    kPing,
    kPong,
    kClose,   // with code
    kRefuse,  // the client broke the rules or a limit: code and payload are for a Close frame
  };
  Kind kind = Kind::kNone;
  uint16_t code = 0;
  std::string payload;
};

class WsReader {
 public:
  explicit WsReader(size_t message_bytes_max) : message_bytes_max_(message_bytes_max) {}
  // Takes bytes off the front of `in` until something has happened. After kClose and kRefuse it is of no further use.
  WsEvent next(std::string_view& in);

 private:
  size_t head_wanted() const;
  std::optional<WsEvent> check_head();
  std::optional<WsEvent> begin_payload();
  void take_payload(std::string_view& in);
  WsEvent end_frame();
  WsEvent close_event();
  bool is_control() const { return (head_[0] & 8) != 0; }
  bool is_final() const { return (head_[0] & 0x80) != 0; }

  size_t message_bytes_max_;
  std::array<uint8_t, 14> head_{};  // of the frame: two bytes, up to eight of length, four of mask
  size_t head_have_ = 0;
  bool in_payload_ = false;
  uint64_t left_ = 0;   // of the frame's payload
  size_t mask_at_ = 0;  // its first byte in head_
  size_t mask_turn_ = 0;
  bool in_message_ = false;  // the next data frame continues it
  std::string message_;
  std::string control_;
};

// The head of a frame of ours, final and unmasked.
std::string ws_head(WsOpcode opcode, size_t payload_bytes);
// The payload of a Close frame; kWsNoStatus: none. What does not fit of the reason is cut off.
std::string ws_close_payload(uint16_t code, std::string_view reason);
// Sec-WebSocket-Accept for a Sec-WebSocket-Key (section 4.2.2).
std::string ws_accept(std::string_view key);

}  // namespace fairlead::net
