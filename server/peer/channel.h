// Frames over one stream between two members, behind the handshake of hello.h.
//
// Frame: u32 head length | u32 body length | u32 body crc | u8 type, 3 zero bytes | u32 crc of the 16 bytes before and
// of the head | head | body. All little-endian, CRC32C. A frame that does not check out closes the connection: TCP's
// own checksum is weak, and what Raft must not forget passes here.
//
// Bounds: head kHeadBytesMax, body kBodyBytesMax, unsent bytes kQueueBytesMax (send() then refuses), bytes read a turn
// kReadBytesPerTurnMax, handshake kHandshakeTimeout.
// Threads: the loop. Callbacks come from the stream's readiness, never from send() or flush(). A channel may be
// destroyed inside its own callback only through its owner's post().
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "server/io/io.h"
#include "server/peer/hello.h"

namespace fairlead::peer {

constexpr size_t kHeadBytesMax = 256 << 10;
constexpr size_t kBodyBytesMax = 128 << 20;
constexpr size_t kQueueBytesMax = 64 << 20;
constexpr size_t kReadBytesPerTurnMax = 8 << 20;
constexpr io::Nanos kHandshakeTimeout = 4 * io::kSecond;

enum FrameType : uint8_t {
  kFrameHello = 1,
  kFrameVerdict = 2,
  kFrameMessage = 3,  // head and body of codec.h
  kFramePing = 4,     // head: anything; answered by a pong with the same head
  kFramePong = 5,
  kFrameApp = 6,         // node's own calls between members; head: theirs
  kFrameFirstFree = 16,  // snapshot.h's
};

class Channel;

class ChannelHandler {
 public:
  virtual ~ChannelHandler() = default;
  virtual Hello own_hello(Channel&) = 0;
  virtual Verdict judge(Channel&, const Hello& theirs) = 0;
  virtual void on_established(Channel&) = 0;
  virtual void on_frame(Channel&, uint8_t type, std::string_view head, const Bytes& body) = 0;
  // The other side refused us: on_closed follows.
  virtual void on_refused(Channel&, const Verdict& verdict) = 0;
  // Last callback. `why` says who ended it.
  virtual void on_closed(Channel&, const Status& why) = 0;
};

class Channel final : public io::StreamHandler {
 public:
  // `first`: bytes already read from an accepted stream (they begin with kMagic).
  Channel(io::Loop& loop, std::unique_ptr<io::Stream> stream, bool dialed, std::string first, ChannelHandler* handler);
  ~Channel() override;
  void start();  // arms callbacks; may run on_closed later, never inside
  void set_handler(ChannelHandler* handler) { handler_ = handler; }  // a new owner takes the channel over

  // False (and nothing queued) when the channel is closed, too much is unsent, or head or body are above their limits.
  bool send(uint8_t type, std::string_view head, Bytes body = {}, uint32_t body_crc = 0);
  void flush();  // one writev as far as the socket takes it
  void close(const Status& why);
  void abandon();  // closed without a callback: the owner is done with it

  bool established() const { return established_; }
  bool closed() const { return closed_; }
  bool dialed() const { return dialed_; }
  const Hello& theirs() const { return theirs_; }
  size_t queued_bytes() const { return queued_bytes_; }
  uint64_t sent_bytes() const { return sent_bytes_; }
  uint64_t received_bytes() const { return received_bytes_; }
  io::Nanos heard_at() const { return heard_at_; }  // when bytes came last
  std::string peer_address() const { return stream_ ? stream_->peer_address() : ""; }

 private:
  void on_connected() override;
  void on_readable() override;
  void on_writable() override { flush(); }
  void send_hello();
  size_t make_room();
  void parse();
  bool parse_frame();
  void dispatch(uint8_t type, std::string_view head, const Bytes& body);
  void on_hello(std::string_view head);
  void on_verdict(std::string_view head);
  void establish();

  io::Loop& loop_;
  std::unique_ptr<io::Stream> stream_;
  ChannelHandler* handler_;
  const bool dialed_;
  bool magic_seen_;
  bool hello_seen_ = false;
  bool approved_ = false;  // the other side's verdict
  bool established_ = false;
  bool closed_ = false;
  bool close_when_flushed_ = false;
  Hello theirs_;
  io::TimerId handshake_timer_ = 0;
  io::TimerId first_timer_ = 0;  // parses what came with the stream

  std::string in_;  // a buffer: [in_offset_, in_end_) is unparsed input
  size_t in_offset_ = 0;
  size_t in_end_ = 0;
  io::Nanos heard_at_;
  std::deque<Bytes> out_;
  size_t out_offset_ = 0;  // sent of out_.front()
  size_t queued_bytes_ = 0;
  uint64_t sent_bytes_ = 0;
  uint64_t received_bytes_ = 0;
};

}  // namespace fairlead::peer
