// WebSockets: the frame codec byte by byte, then whole connections over pipes. Each limit just below and just above it.
#include "server/net/websocket.h"

#include <gtest/gtest.h>

#include <set>

#include "server/net/server.h"
#include "server/net/test_world.h"
#include "server/net/ws_frame.h"

namespace fairlead::net {
namespace {

using test::make_pipe;
using test::PipeEnd;
using test::RawPeer;
using test::TestLoop;
using Kind = WsEvent::Kind;

// A client's frame: masked.
std::string frame(WsOpcode opcode, std::string_view payload, bool final = true) {
  std::string out = ws_head(opcode, payload.size());
  if (!final) out[0] = static_cast<char>(out[0] & 0x7f);
  out[1] = static_cast<char>(out[1] | 0x80);
  const std::string mask = "\x11\x22\x33\x44";
  out += mask;
  for (size_t i = 0; i < payload.size(); ++i) out += static_cast<char>(payload[i] ^ mask[i % 4]);
  return out;
}
std::string text(std::string_view payload) { return frame(WsOpcode::kText, payload); }
std::string close_frame(uint16_t code, std::string_view reason = "") {
  return frame(WsOpcode::kClose, ws_close_payload(code, reason));
}

std::vector<WsEvent> read_all(WsReader& reader, std::string_view in) {
  std::vector<WsEvent> out;
  for (;;) {
    WsEvent event = reader.next(in);
    if (event.kind == Kind::kNone) return out;
    out.push_back(event);
    if (event.kind == Kind::kRefuse || event.kind == Kind::kClose) return out;
  }
}

TEST(WsFrames, AcceptIsThatOfTheRfc) {
  EXPECT_EQ(ws_accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST(WsFrames, OfAllLengthsInAllPieces) {
  for (size_t size : {0, 1, 125, 126, 127, 65535, 65536, 70000}) {
    std::string payload(size, 'p');
    std::string bytes = text(payload);
    for (size_t step : {size_t{1}, size_t{3}, bytes.size()}) {
      if (step < 3 && size > 200) continue;
      WsReader reader(100'000);
      std::vector<WsEvent> events;
      for (size_t at = 0; at < bytes.size(); at += step)
        for (WsEvent& event : read_all(reader, std::string_view(bytes).substr(at, step))) events.push_back(event);
      ASSERT_EQ(events.size(), 1u) << size << " by " << step;
      EXPECT_EQ(events[0].kind, Kind::kMessage);
      EXPECT_EQ(events[0].payload, payload);
    }
  }
}

TEST(WsFrames, FragmentsAreOneMessageAndControlFramesMayStandBetween) {
  WsReader reader(100);
  auto events = read_all(reader, frame(WsOpcode::kText, "one ", false) + frame(WsOpcode::kPing, "p") +
                                     frame(WsOpcode::kContinuation, "", false) + frame(WsOpcode::kContinuation, "two") +
                                     frame(WsOpcode::kBinary, "three"));
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].kind, Kind::kPing);
  EXPECT_EQ(events[0].payload, "p");
  EXPECT_EQ(events[1].kind, Kind::kEmpty);
  EXPECT_EQ(events[2].payload, "one two");
  EXPECT_EQ(events[3].payload, "three");
}

TEST(WsFrames, AMessageHasItsLimitOverAllItsFrames) {
  for (size_t over : {0, 1}) {
    WsReader reader(100);
    auto events = read_all(reader, frame(WsOpcode::kText, std::string(60, 'a'), false) +
                                       frame(WsOpcode::kContinuation, std::string(40 + over, 'b')));
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].kind, over ? Kind::kRefuse : Kind::kMessage);
    if (over) EXPECT_EQ(events[0].code, kWsTooBig);
    // Announced, and not sent: it is refused at once, and nothing is set aside for it.
    WsReader other(100);
    std::string head = text(std::string(100 + over, 'x')).substr(0, 6);
    events = read_all(other, head);
    EXPECT_EQ(events.size(), over);
  }
  WsReader reader(SIZE_MAX);
  std::string huge = "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff....";
  EXPECT_TRUE(read_all(reader, huge).empty());  // waits
  WsReader bounded(1 << 20);
  EXPECT_EQ(read_all(bounded, huge)[0].code, kWsTooBig);
  // The limit is of one message, not of the connection.
  WsReader many(100);
  EXPECT_EQ(read_all(many, text(std::string(100, 'x')) + text(std::string(100, 'y'))).size(), 2u);
}

TEST(WsFrames, WhatIsAgainstTheRulesIsRefusedInGorillasWords) {
  auto with = [](std::string bytes, size_t at, int mask, int bits) {
    bytes[at] = static_cast<char>((static_cast<uint8_t>(bytes[at]) & mask) | bits);
    return bytes;
  };
  const std::pair<std::string, const char*> kCases[] = {
      {with(text("x"), 1, 0x7f, 0), "bad MASK"},
      {with(text("x"), 0, 0xff, 0x40), "RSV1 set"},
      {with(text("x"), 0, 0xff, 0x70), "RSV1 set, RSV2 set, RSV3 set"},
      {with(text("x"), 0, 0xf0, 3), "bad opcode 3"},
      {with(text("x"), 0, 0xf0, 15), "bad opcode 15"},
      {frame(WsOpcode::kPing, std::string(126, 'x')), "len > 125 for control"},
      {frame(WsOpcode::kPing, "x", false), "FIN not set on control"},
      {frame(WsOpcode::kText, "x", false) + text("y"), "data before FIN"},
      {frame(WsOpcode::kContinuation, "x"), "continuation after FIN"},
      {close_frame(1004), "bad close code 1004"},
      {close_frame(1006), "bad close code 1006"},
      {close_frame(999), "bad close code 999"},
      {close_frame(2999), "bad close code 2999"},
      {close_frame(5000), "bad close code 5000"},
      {close_frame(1000, "\xff"), "invalid utf8 payload in close frame"},
  };
  for (const auto& [bytes, reason] : kCases) {
    WsReader reader(1000);
    auto events = read_all(reader, bytes);
    ASSERT_EQ(events.size(), 1u) << reason;
    EXPECT_EQ(events[0].kind, Kind::kRefuse);
    EXPECT_EQ(events[0].code, kWsProtocolError);
    EXPECT_EQ(events[0].payload, reason);
  }
  for (uint16_t code : {1000, 1003, 1007, 1013, 3000, 4999}) {
    WsReader reader(1000);
    auto events = read_all(reader, close_frame(code, "bye"));
    EXPECT_EQ(events[0].kind, Kind::kClose);
    EXPECT_EQ(events[0].code, code);
  }
  WsReader reader(1000);
  EXPECT_EQ(read_all(reader, frame(WsOpcode::kPing, std::string(125, 'x')))[0].kind, Kind::kPing);
  EXPECT_EQ(read_all(reader, frame(WsOpcode::kClose, ""))[0].code, kWsNoStatus);
}

HttpRequest handshake(HttpHeaders more = {}) {
  HttpRequest request;
  request.method = "GET";
  request.headers = {{"connection", "keep-alive, Upgrade"},
                     {"upgrade", "WebSocket"},
                     {"sec-websocket-version", "13"},
                     {"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="}};
  for (auto& [name, value] : more)
    for (auto& have : request.headers)
      if (have.first == name) have.second = value;
  return request;
}

TEST(WsHandshake, WhoAsksAndWhoIsRefused) {
  EXPECT_TRUE(wants_websocket(handshake()));
  EXPECT_TRUE(wants_websocket(handshake({{"upgrade", "h2c , websocket"}})));
  EXPECT_FALSE(wants_websocket(handshake({{"upgrade", "h2c"}})));
  EXPECT_FALSE(wants_websocket(handshake({{"upgrade", "websocket2"}})));
  EXPECT_FALSE(wants_websocket(handshake({{"upgrade", "a/b, websocket"}})));  // no list of tokens
  EXPECT_FALSE(wants_websocket(handshake({{"connection", "close"}})));
  EXPECT_FALSE(refuse_websocket(handshake()));
  auto status = [](HttpHeaders more) { return refuse_websocket(handshake(std::move(more)))->status; };
  EXPECT_EQ(status({{"sec-websocket-version", "12"}}), 400);
  EXPECT_EQ(status({{"sec-websocket-key", ""}}), 400);
  EXPECT_EQ(status({{"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZ"}}), 400);
  EXPECT_EQ(status({{"sec-websocket-key", "c2hvcnQ="}}), 400);
  HttpRequest post = handshake();
  post.method = "POST";
  EXPECT_EQ(refuse_websocket(post)->status, 405);
}

// A server whose WebSockets send each message back.
class WsConnection : public ::testing::Test {
 protected:
  static constexpr std::string_view kHello =
      "GET /w HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

  void start(ServerOptions options = {}) {
    world_.loop = &loop_;
    router_.set_http([this](HttpRequest request, HttpReplyPtr reply) {
      if (!wants_websocket(request)) return reply->send(HttpResponse::text(200, "page"));
      socket_ = reply->upgrade(request, {{"X-More", "1"}});
      if (!socket_) return;
      socket_->set_handler(
          [this](std::string_view message) {
            messages_.emplace_back(message);
            if (message == "bye") return socket_->close();
            if (message == "pause") return socket_->pause_input(true);
            socket_->send(Bytes::copy(message));
          },
          [this] { ++gone_; }, [this] { ++stops_; });
    });
    server_.emplace(world_, options);
  }
  RawPeer& connect(bool shake = true, size_t capacity = 256 * 1024) {
    auto [near, far] = make_pipe(loop_, capacity);
    server_->serve(std::move(far), router_);
    peer_.emplace(std::move(near));
    if (shake) {
      peer_->send(kHello);
      loop_.settle();
      EXPECT_TRUE(peer_->received.starts_with("HTTP/1.1 101 Switching Protocols\r\n")) << peer_->received;
      EXPECT_NE(peer_->received.find("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), std::string::npos);
      EXPECT_NE(peer_->received.find("X-More: 1\r\n\r\n"), std::string::npos);
      peer_->received.clear();
    }
    return *peer_;
  }
  void say(std::string_view bytes) {
    peer_->send(bytes);
    loop_.settle();
  }
  static std::string from_server(WsOpcode opcode, std::string_view payload) {
    return ws_head(opcode, payload.size()) + std::string(payload);
  }
  static std::string closed_with(uint16_t code, std::string_view reason) {
    return from_server(WsOpcode::kClose, ws_close_payload(code, reason));
  }

  TestLoop loop_;
  io::World world_;
  Router router_;
  std::unique_ptr<WebSocket> socket_;
  std::vector<std::string> messages_;
  int gone_ = 0, stops_ = 0;
  std::optional<Server> server_;
  std::optional<RawPeer> peer_;
};

TEST_F(WsConnection, EchoesAndEndsWhenItIsClosed) {
  start();
  RawPeer& peer = connect();
  EXPECT_EQ(server_->stats().websockets_open, 1u);
  say(text("one") + frame(WsOpcode::kBinary, "two"));
  EXPECT_EQ(peer.received, from_server(WsOpcode::kText, "one") + from_server(WsOpcode::kText, "two"));
  peer.received.clear();
  say(text("bye") + text("not heard"));
  EXPECT_EQ(messages_.back(), "bye");
  EXPECT_EQ(peer.received, "");  // no Close frame
  EXPECT_TRUE(peer.closed);
  EXPECT_EQ(gone_, 0);
  loop_.advance(3 * io::kSecond);
  EXPECT_EQ(server_->stats().websockets_open, 0u);
  EXPECT_EQ(server_->stats().connections_open, 0u);
}

TEST_F(WsConnection, AClientsCloseIsAnsweredAndTold) {
  start();
  RawPeer& peer = connect();
  say(text("a") + close_frame(1000, "done") + text("b"));
  EXPECT_EQ(peer.received, from_server(WsOpcode::kText, "a") + closed_with(1000, ""));
  EXPECT_TRUE(peer.closed);
  EXPECT_EQ(messages_, std::vector<std::string>{"a"});
  EXPECT_EQ(gone_, 1);
  EXPECT_FALSE(socket_->alive());
  socket_->send(Bytes::copy("to nobody"));
  connect();
  peer_->hang_up();
  loop_.settle();
  EXPECT_EQ(gone_, 2);
}

TEST_F(WsConnection, TheNextRequestOfAPipelineIsNoHandshake) {
  start();
  RawPeer& peer = connect(false);
  say("GET /page HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(peer.received.ends_with("page"));
  peer.received.clear();
  say(std::string(kHello) + text("early"));  // data before the handshake is complete
  EXPECT_EQ(peer.received, "");
  EXPECT_TRUE(peer.closed);
  EXPECT_TRUE(messages_.empty());
  EXPECT_FALSE(socket_);
}

TEST_F(WsConnection, MessagesUpToTheLimit) {
  ServerOptions options;
  options.http_body_bytes_max = 70'000;
  start(options);
  connect();
  say(text(std::string(70'000, 'x')));
  EXPECT_EQ(messages_.back().size(), 70'000u);
  peer_->received.clear();
  say(text(std::string(70'001, 'x')));
  EXPECT_EQ(messages_.size(), 1u);
  EXPECT_EQ(peer_->received, closed_with(kWsTooBig, ""));
  EXPECT_TRUE(peer_->closed);
  EXPECT_EQ(gone_, 1);
}

TEST_F(WsConnection, FramesThatCarryNothingAreLimited) {
  ServerOptions options;
  options.control_frames_per_second_max = 10;
  options.control_frames_burst_max = 50;
  for (const std::string& bytes :
       {frame(WsOpcode::kPing, ""), frame(WsOpcode::kPong, "x"), text(""), frame(WsOpcode::kContinuation, "", false)}) {
    server_.reset();
    start(options);
    connect();
    if (bytes[0] == 0) say(frame(WsOpcode::kText, "begun", false));
    std::string fifty;
    for (int i = 0; i < 50; ++i) fifty += bytes;
    say(fifty);
    EXPECT_FALSE(peer_->closed);
    loop_.advance(5 * io::kSecond);
    say(fifty);  // as many as have been earned again
    EXPECT_FALSE(peer_->closed);
    peer_->received.clear();
    say(bytes);
    EXPECT_EQ(peer_->received, closed_with(kWsPolicyViolation, "too many frames that carry nothing"));
    EXPECT_TRUE(peer_->closed);
    socket_.reset();
  }
}

TEST_F(WsConnection, OfPingsThatWaitTheLatestIsAnswered) {
  start();
  connect();
  say(frame(WsOpcode::kPing, "1") + text("m") + frame(WsOpcode::kPing, "2") + frame(WsOpcode::kPing, "3"));
  EXPECT_EQ(peer_->received, from_server(WsOpcode::kPong, "3") + from_server(WsOpcode::kText, "m"));
}

TEST_F(WsConnection, APongOvertakesMessagesButNotTheirMiddle) {
  start();
  RawPeer& peer = connect(true, 4096);
  peer.stop_reading();
  std::string big(100'000, 'b');
  socket_->send(Bytes::copy(big));
  loop_.settle();
  for (int i = 0; i < 30; ++i) socket_->send(Bytes::copy(big));
  say(frame(WsOpcode::kPing, "p"));
  EXPECT_GT(socket_->queued_bytes(), 1'000'000u);
  peer.reading = true;
  peer.end().set_handler(&peer);
  loop_.settle();
  std::string expected = from_server(WsOpcode::kText, big);
  ASSERT_EQ(peer.received.size(), 31 * expected.size() + 3);
  size_t pong = peer.received.find(from_server(WsOpcode::kPong, "p"));
  EXPECT_LT(pong, 10 * expected.size());
  EXPECT_EQ(pong % expected.size(), 0u);
  EXPECT_EQ(socket_->queued_bytes(), 0u);
}

TEST_F(WsConnection, WhilePausedNothingIsTakenAndNothingIsLost) {
  start();
  connect();
  say(text("pause") + text("a") + text("b"));
  EXPECT_EQ(messages_, std::vector<std::string>{"pause"});
  say(text("c") + close_frame(1000));
  EXPECT_EQ(messages_.size(), 1u);
  EXPECT_GT(peer_->end().pipe().waiting(1), 0u) << "the connection is not read";
  loop_.advance(10 * 3600 * io::kSecond);  // and not pinged: it is we who do not listen
  EXPECT_EQ(peer_->received, "");
  EXPECT_FALSE(peer_->closed);
  socket_->pause_input(false);
  loop_.settle();
  EXPECT_EQ(messages_, (std::vector<std::string>{"pause", "a", "b", "c"}));
  EXPECT_EQ(gone_, 1);
}

TEST_F(WsConnection, ASilentClientIsPingedAndDroppedWhenItIsGone) {
  ServerOptions options;
  options.ping_interval = 100 * io::kSecond;
  options.ping_timeout = 20 * io::kSecond;
  start(options);
  connect();
  loop_.advance(95 * io::kSecond);
  EXPECT_EQ(peer_->received, "");
  loop_.advance(10 * io::kSecond);
  EXPECT_EQ(peer_->received, from_server(WsOpcode::kPing, ""));
  say(frame(WsOpcode::kPong, ""));
  loop_.advance(95 * io::kSecond);
  EXPECT_EQ(peer_->received, from_server(WsOpcode::kPing, ""));
  loop_.advance(20 * io::kSecond);  // the second ping is on its way for 15 s at most
  EXPECT_EQ(gone_, 0);
  loop_.advance(15 * io::kSecond);
  EXPECT_EQ(gone_, 1);
  EXPECT_TRUE(peer_->closed);
}

TEST_F(WsConnection, AClientThatDoesNotReadIsDroppedInTheEnd) {
  start();
  RawPeer& peer = connect(true, 4096);
  peer.stop_reading();
  socket_->send(Bytes::copy(std::string(100'000, 'x')));
  loop_.advance(55 * io::kSecond);
  EXPECT_EQ(gone_, 0);
  loop_.advance(10 * io::kSecond);
  EXPECT_EQ(gone_, 1);
}

TEST_F(WsConnection, AServerThatStopsSaysSo) {
  start();
  connect();
  bool drained = false;
  server_->drain([&] { drained = true; });
  loop_.settle();
  EXPECT_EQ(stops_, 1);
  EXPECT_EQ(peer_->received, closed_with(kWsGoingAway, "server stopped"));
  peer_->hang_up();
  loop_.advance(3 * io::kSecond);
  EXPECT_TRUE(drained);
}

}  // namespace
}  // namespace fairlead::net
