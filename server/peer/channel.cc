#include "server/peer/channel.h"

#include <algorithm>
#include <vector>

#include "base/codec.h"
#include "base/crc32c.h"

namespace fairlead::peer {
namespace {
constexpr size_t kPrefixBytes = 20;
constexpr size_t kReadChunkBytes = 32 << 10;
constexpr size_t kWritePartsMax = 256;
constexpr size_t kInputKeptBytes = 4 << 20;
}  // namespace

Channel::Channel(io::Loop& loop, std::unique_ptr<io::Stream> stream, bool dialed, std::string first,
                 ChannelHandler* handler)
    : loop_(loop),
      stream_(std::move(stream)),
      handler_(handler),
      dialed_(dialed),
      magic_seen_(dialed),
      in_(std::move(first)),
      in_end_(in_.size()),
      heard_at_(loop.now()) {}

Channel::~Channel() {
  loop_.cancel_timer(handshake_timer_);
  loop_.cancel_timer(first_timer_);
}

void Channel::start() {
  handshake_timer_ = loop_.add_timer(loop_.now() + kHandshakeTimeout, [this] {
    handshake_timer_ = 0;
    if (!established_) close(unavailable("the handshake took too long"));
  });
  stream_->set_handler(this);
  // What came with the stream may be all there is to read for now.
  if (in_end_ > 0) {
    first_timer_ = loop_.add_timer(loop_.now(), [this] {
      first_timer_ = 0;
      if (!closed_) parse();
    });
  }
}

void Channel::on_connected() {
  if (dialed_ && !closed_) {
    out_.push_back(Bytes::literal(kMagic));
    queued_bytes_ += kMagic.size();
    send_hello();
    flush();
  }
}

void Channel::send_hello() { send(kFrameHello, encode(handler_->own_hello(*this))); }

bool Channel::send(uint8_t type, std::string_view head, Bytes body, uint32_t body_crc) {
  if (closed_ || queued_bytes_ > kQueueBytesMax) return false;
  if (head.size() > kHeadBytesMax || body.size() > kBodyBytesMax) return false;
  BytesBuilder builder(kPrefixBytes + head.size());
  char* p = builder.data();
  store_fixed(p, static_cast<uint32_t>(head.size()));
  store_fixed(p + 4, static_cast<uint32_t>(body.size()));
  store_fixed(p + 8, body_crc != 0 || body.empty() ? body_crc : crc32c(body.view()));
  store_fixed(p + 12, static_cast<uint32_t>(type));
  if (!head.empty()) std::memcpy(p + kPrefixBytes, head.data(), head.size());
  store_fixed(p + 16, crc32c_extend(crc32c({p, 16}), head));
  queued_bytes_ += kPrefixBytes + head.size() + body.size();
  out_.push_back(std::move(builder).finish(kPrefixBytes + head.size()));
  if (!body.empty()) out_.push_back(std::move(body));
  return true;
}

void Channel::flush() {
  while (!closed_ && !out_.empty()) {
    std::vector<std::string_view> parts;
    parts.reserve(std::min(out_.size(), kWritePartsMax));
    for (const Bytes& b : out_) {
      parts.push_back(parts.empty() ? b.view().substr(out_offset_) : b.view());
      if (parts.size() == kWritePartsMax) break;
    }
    io::IoResult r = stream_->writev(parts);
    if (!r.error.is_ok()) {
      // Reported from on_readable, which comes for a dead stream: no callback from inside send or flush.
      return;
    }
    sent_bytes_ += r.bytes;
    queued_bytes_ -= r.bytes;
    size_t left = r.bytes;
    while (left > 0) {
      size_t rest = out_.front().size() - out_offset_;
      if (left < rest) {
        out_offset_ += left;
        break;
      }
      left -= rest;
      out_offset_ = 0;
      out_.pop_front();
    }
    if (r.would_block) return;
  }
  if (close_when_flushed_ && !closed_) stream_->shutdown_write();
}

void Channel::close(const Status& why) {
  if (closed_) return;
  closed_ = true;
  stream_->set_handler(nullptr);
  loop_.cancel_timer(handshake_timer_);
  handshake_timer_ = 0;
  out_.clear();
  queued_bytes_ = 0;
  handler_->on_closed(*this, why);
}

void Channel::abandon() {
  closed_ = true;
  stream_->set_handler(nullptr);
  loop_.cancel_timer(handshake_timer_);
  handshake_timer_ = 0;
  out_.clear();
  queued_bytes_ = 0;
}

void Channel::on_readable() {
  size_t total = 0;
  Status end;
  bool ended = false;
  while (total < kReadBytesPerTurnMax) {
    size_t room = make_room();
    io::IoResult r = stream_->read({in_.data() + in_end_, room});
    in_end_ += r.bytes;
    total += r.bytes;
    received_bytes_ += r.bytes;
    if (!r.error.is_ok()) {
      end = r.error;
      ended = true;
    } else if (r.eof) {
      end = unavailable("the connection was closed by the other side");
      ended = true;
    }
    if (ended || r.would_block || r.bytes < room) break;
  }
  if (total > 0) heard_at_ = loop_.now();
  parse();
  if (ended && !closed_) close(end);
}

// Room behind in_end_ for one read. The buffer is kept between turns: filling a new one with zeros costs more than
// reading.
size_t Channel::make_room() {
  if (in_offset_ > 0 && in_.size() - in_end_ < kReadChunkBytes) {
    std::memmove(in_.data(), in_.data() + in_offset_, in_end_ - in_offset_);
    in_end_ -= in_offset_;
    in_offset_ = 0;
  }
  if (in_.size() - in_end_ < kReadChunkBytes)
    in_.resize(std::max(in_end_ + kReadChunkBytes, in_.size() + in_.size() / 2));
  return in_.size() - in_end_;
}

void Channel::parse() {
  if (!magic_seen_) {
    if (in_end_ < kMagic.size()) return;
    if (std::string_view(in_).substr(0, kMagic.size()) != kMagic)
      return close(invalid_argument("not a member's connection"));
    magic_seen_ = true;
    in_offset_ = kMagic.size();
  }
  while (!closed_ && parse_frame()) {
  }
  if (closed_ || in_offset_ < in_end_) return;
  in_offset_ = in_end_ = 0;
  if (in_.size() > kInputKeptBytes) std::string().swap(in_);
}

bool Channel::parse_frame() {
  std::string_view rest = std::string_view(in_).substr(in_offset_, in_end_ - in_offset_);
  if (rest.size() < kPrefixBytes) return false;
  auto head_size = load_fixed<uint32_t>(rest.data());
  auto body_size = load_fixed<uint32_t>(rest.data() + 4);
  auto type = load_fixed<uint32_t>(rest.data() + 12);
  if (head_size > kHeadBytesMax || body_size > kBodyBytesMax || type > 255 || (!established_ && body_size != 0))
    return close(invalid_argument("a frame from a peer breaks the limits")), false;
  if (rest.size() < kPrefixBytes + head_size) return false;
  std::string_view head = rest.substr(kPrefixBytes, head_size);
  if (crc32c_extend(crc32c(rest.substr(0, 16)), head) != load_fixed<uint32_t>(rest.data() + 16))
    return close(data_loss("a frame from a peer has a wrong checksum")), false;
  if (rest.size() < kPrefixBytes + head_size + body_size) return false;
  Bytes body = Bytes::copy(rest.substr(kPrefixBytes + head_size, body_size));
  if (!body.empty() && crc32c(body.view()) != load_fixed<uint32_t>(rest.data() + 8))
    return close(data_loss("a frame's body from a peer has a wrong checksum")), false;
  in_offset_ += kPrefixBytes + head_size + body_size;
  dispatch(static_cast<uint8_t>(type), head, body);
  return true;
}

void Channel::dispatch(uint8_t type, std::string_view head, const Bytes& body) {
  if (type == kFrameHello && !hello_seen_) return on_hello(head);
  if (type == kFrameVerdict) return on_verdict(head);
  if (!established_) return close(invalid_argument("a peer sent a frame before the handshake"));
  if (type == kFramePing) {
    send(kFramePong, head);
    flush();
    return;
  }
  handler_->on_frame(*this, type, head, body);
}

void Channel::on_hello(std::string_view head) {
  hello_seen_ = true;
  Result<Hello> hello = decode_hello(head);
  if (!hello.is_ok()) return close(hello.status());
  theirs_ = *hello;
  Verdict verdict;
  if (theirs_.format_min > kFormatMax || theirs_.format_max < kFormatMin)
    verdict = {Refusal::kFormat, "the two members' versions are too far apart: upgrade one version at a time"};
  else
    verdict = handler_->judge(*this, theirs_);
  send(kFrameVerdict, encode(verdict));
  if (verdict.refusal != Refusal::kNone) {
    // Let the verdict reach them: they close, or the handshake timer does.
    close_when_flushed_ = true;
    flush();
    return;
  }
  if (!dialed_) {
    send_hello();
    flush();
    return;
  }
  flush();
  if (approved_) establish();
}

void Channel::on_verdict(std::string_view head) {
  Result<Verdict> verdict = decode_verdict(head);
  if (!verdict.is_ok()) return close(verdict.status());
  if (verdict->refusal != Refusal::kNone) {
    handler_->on_refused(*this, *verdict);
    if (!closed_) close(failed_precondition("refused by the peer: " + verdict->text));
    return;
  }
  approved_ = true;
  if (hello_seen_ && !close_when_flushed_) establish();
}

void Channel::establish() {
  if (established_) return;
  established_ = true;
  loop_.cancel_timer(handshake_timer_);
  handshake_timer_ = 0;
  handler_->on_established(*this);
}

}  // namespace fairlead::peer
