#include "server/net/ws_frame.h"

#include <openssl/sha.h>

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace fairlead::net {

namespace {

constexpr uint8_t kFinalBit = 0x80, kMaskBit = 0x80;

WsEvent refuse(uint16_t code, std::string reason) { return {WsEvent::Kind::kRefuse, code, std::move(reason)}; }

bool may_be_received(uint16_t code) {
  if (code >= 3000 && code <= 4999) return true;
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1013);
}

}  // namespace

WsEvent WsReader::next(std::string_view& in) {
  for (;;) {
    while (!in_payload_) {
      if (head_have_ == head_wanted()) {
        if (auto refused = begin_payload()) return *refused;
        break;
      }
      if (in.empty()) return {};
      head_[head_have_++] = static_cast<uint8_t>(in.front());
      in.remove_prefix(1);
      if (head_have_ != 2) continue;
      if (auto refused = check_head()) return *refused;
    }
    take_payload(in);
    if (left_ > 0) return {};
    in_payload_ = false;
    head_have_ = 0;
    WsEvent event = end_frame();
    if (event.kind != WsEvent::Kind::kNone) return event;
  }
}

size_t WsReader::head_wanted() const {
  if (head_have_ < 2) return 2;
  uint8_t length = head_[1] & 0x7f;
  return 2 + (length == 126 ? 2u : length == 127 ? 8u : 0u) + 4;
}

// What the first two bytes tell: all that is wrong with them at once.
std::optional<WsEvent> WsReader::check_head() {
  std::string wrong;
  auto add = [&](const std::string& text) { wrong += (wrong.empty() ? "" : ", ") + text; };
  if (head_[0] & 0x40) add("RSV1 set");
  if (head_[0] & 0x20) add("RSV2 set");
  if (head_[0] & 0x10) add("RSV3 set");
  int opcode = head_[0] & 0xf;
  switch (static_cast<WsOpcode>(opcode)) {
    case WsOpcode::kClose:
    case WsOpcode::kPing:
    case WsOpcode::kPong:
      if ((head_[1] & 0x7f) > kWsControlBytesMax) add("len > 125 for control");
      if (!is_final()) add("FIN not set on control");
      break;
    case WsOpcode::kText:
    case WsOpcode::kBinary:
      if (in_message_) add("data before FIN");
      in_message_ = !is_final();
      break;
    case WsOpcode::kContinuation:
      if (!in_message_) add("continuation after FIN");
      in_message_ = !is_final();
      break;
    default:
      add("bad opcode " + std::to_string(opcode));
  }
  if (!(head_[1] & kMaskBit)) add("bad MASK");
  if (wrong.empty()) return std::nullopt;
  return refuse(kWsProtocolError, wrong);
}

std::optional<WsEvent> WsReader::begin_payload() {
  mask_at_ = head_wanted() - 4;
  mask_turn_ = 0;
  left_ = 0;
  if (mask_at_ == 2) left_ = head_[1] & 0x7f;
  for (size_t i = 2; i < mask_at_; ++i) left_ = left_ << 8 | head_[i];
  if (!is_control() && left_ > message_bytes_max_ - message_.size()) return refuse(kWsTooBig, "");
  in_payload_ = true;
  return std::nullopt;
}

void WsReader::take_payload(std::string_view& in) {
  std::string& into = is_control() ? control_ : message_;
  size_t size = std::min<size_t>(left_, in.size());
  size_t begin = into.size();
  into.append(in.substr(0, size));
  in.remove_prefix(size);
  left_ -= size;
  for (size_t i = begin; i < into.size(); ++i)
    into[i] = static_cast<char>(static_cast<uint8_t>(into[i]) ^ head_[mask_at_ + (mask_turn_++ & 3)]);
}

WsEvent WsReader::end_frame() {
  switch (static_cast<WsOpcode>(head_[0] & 0xf)) {
    case WsOpcode::kPing:
      return {WsEvent::Kind::kPing, 0, std::exchange(control_, {})};
    case WsOpcode::kPong:
      return {WsEvent::Kind::kPong, 0, std::exchange(control_, {})};
    case WsOpcode::kClose:
      return close_event();
    default:
      if (is_final()) return {WsEvent::Kind::kMessage, 0, std::exchange(message_, {})};
      if ((head_[1] & 0x7f) == 0) return {WsEvent::Kind::kEmpty, 0, {}};
      return {};
  }
}

WsEvent WsReader::close_event() {
  std::string payload = std::exchange(control_, {});
  if (payload.size() < 2) return {WsEvent::Kind::kClose, kWsNoStatus, {}};
  auto code = static_cast<uint16_t>(static_cast<uint8_t>(payload[0]) << 8 | static_cast<uint8_t>(payload[1]));
  if (!may_be_received(code)) return refuse(kWsProtocolError, "bad close code " + std::to_string(code));
  if (!is_utf8(std::string_view(payload).substr(2)))
    return refuse(kWsProtocolError, "invalid utf8 payload in close frame");
  return {WsEvent::Kind::kClose, code, payload.substr(2)};
}

std::string ws_head(WsOpcode opcode, size_t payload_bytes) {
  std::string out(1, static_cast<char>(kFinalBit | static_cast<uint8_t>(opcode)));
  int length_bytes = payload_bytes <= 125 ? 0 : payload_bytes <= UINT16_MAX ? 2 : 8;
  out += static_cast<char>(length_bytes == 0 ? payload_bytes : length_bytes == 2 ? 126 : 127);
  for (int shift = 8 * (length_bytes - 1); shift >= 0; shift -= 8)
    out += static_cast<char>(static_cast<uint64_t>(payload_bytes) >> shift);
  return out;
}

std::string ws_close_payload(uint16_t code, std::string_view reason) {
  if (code == kWsNoStatus) return {};
  std::string out = {static_cast<char>(code >> 8), static_cast<char>(code)};
  out += reason.substr(0, kWsControlBytesMax - 2);
  return out;
}

std::string ws_accept(std::string_view key) {
  std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  unsigned char digest[SHA_DIGEST_LENGTH];
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  return base64({reinterpret_cast<const char*>(digest), sizeof digest});
}

}  // namespace fairlead::net
