// What hostile and broken clients send, byte by byte: each is answered or cut off within its bound,
// and a well-behaved client beside it is served as if nothing were.
#include <gtest/gtest.h>

#include <malloc.h>

#include <random>

#include "server/net/client.h"
#include "server/net/h2_memory.h"
#include "server/net/server.h"
#include "server/net/test_world.h"

namespace fairlead::net {
namespace {

using test::frame;
using test::make_pipe;
using test::PipeEnd;
using test::RawPeer;
using test::TestLoop;

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
enum : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kReset = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9
};
enum : uint8_t { kEndStream = 1, kAck = 1, kEndHeaders = 4 };
constexpr uint32_t kEnhanceYourCalm = 11;

std::string number(uint32_t value) {
  std::string out;
  for (int shift : {24, 16, 8, 0}) out.push_back(static_cast<char>(value >> shift));
  return out;
}

void hpack_string(std::string& out, std::string_view text) {  // no Huffman; 7-bit prefix integer
  if (text.size() < 127) {
    out.push_back(static_cast<char>(text.size()));
  } else {
    out.push_back(127);
    size_t rest = text.size() - 127;
    for (; rest >= 128; rest >>= 7) out.push_back(static_cast<char>(0x80 | (rest & 0x7f)));
    out.push_back(static_cast<char>(rest));
  }
  out.append(text);
}

std::string hpack(std::initializer_list<std::pair<std::string_view, std::string_view>> fields) {
  std::string out;
  for (auto [name, value] : fields) {
    out.push_back(0);  // literal without indexing, new name
    hpack_string(out, name);
    hpack_string(out, value);
  }
  return out;
}

std::string grpc_headers(std::string_view path) {
  return hpack({{":method", "POST"},
                {":scheme", "http"},
                {":path", path},
                {":authority", "x"},
                {"content-type", "application/grpc"},
                {"te", "trailers"}});
}

std::string message(std::string_view body) {
  return std::string(1, '\0') + number(static_cast<uint32_t>(body.size())) + std::string(body);
}

std::string whole_call(uint32_t stream, std::string_view path, std::string_view body = "x") {
  return frame(kHeaders, kEndHeaders, stream, grpc_headers(path)) + frame(kData, kEndStream, stream, message(body));
}

const std::string kHello = std::string(kPreface) + frame(kSettings, 0, 0, "");

// The error code of the GOAWAY in what the server sent, or -1.
int64_t goaway_code(std::string_view received, std::string* text = nullptr) {
  while (received.size() >= 9) {
    auto byte = [&](size_t i) { return static_cast<uint8_t>(received[i]); };
    size_t size = (size_t{byte(0)} << 16) | (size_t{byte(1)} << 8) | byte(2);
    if (byte(3) == kGoAway && size >= 8) {
      if (text) *text = std::string(received.substr(17, size - 8));
      return (int64_t{byte(13)} << 24) | (byte(14) << 16) | (byte(15) << 8) | byte(16);
    }
    received.remove_prefix(std::min(received.size(), 9 + size));
  }
  return -1;
}

// The error code of the RST_STREAM for a stream, or -1.
int64_t reset_code(std::string_view received, uint32_t stream) {
  auto number_at = [&](size_t at, size_t bytes) {
    uint32_t out = 0;
    for (size_t i = 0; i < bytes; ++i) out = out << 8 | static_cast<uint8_t>(received[at + i]);
    return out;
  };
  while (received.size() >= 9) {
    size_t size = number_at(0, 3);
    if (received[3] == kReset && number_at(5, 4) == stream && received.size() >= 13) return number_at(9, 4);
    received.remove_prefix(std::min(received.size(), 9 + size));
  }
  return -1;
}

struct BadInput : testing::Test {
  BadInput() {
    world.loop = &loop;
    router.add_unary("/t.S/Echo", [this](CallRef call, Bytes request) {
      ++echoes;
      call->reply(request);
    });
    router.add_unary("/t.S/Big", [](CallRef call, Bytes) { call->reply(Bytes::copy(std::string(100'000, 'b'))); });
    router.add_stream("/t.S/Hold", MethodKind::kBidi, [](ServerCall&) { return std::make_unique<CallHandler>(); });
    router.set_http([](HttpRequest request, HttpReplyPtr reply) {
      reply->send(HttpResponse::text(200, request.method + " " + request.path + " " + request.body));
    });
  }
  ~BadInput() override {
    neighbour.reset();
    server.reset();
  }

  void start(ServerOptions options = {}) {
    server.emplace(world, options);
    neighbour.emplace(loop, dial(), ClientOptions{});
    loop.settle();
  }
  std::unique_ptr<PipeEnd> dial(size_t capacity = 256 * 1024) {
    auto [near, far] = make_pipe(loop, capacity);
    server->serve(std::move(far), router);
    return std::move(near);
  }
  void others_are_served() {
    Status status = internal_error("no answer");
    neighbour->unary("/t.S/Echo", Bytes::literal("still here"), [&](const Status& s, Bytes reply) {
      status = s;
      EXPECT_EQ(reply.view(), "still here");
    });
    loop.settle();
    EXPECT_EQ(status, Status());
  }

  TestLoop loop;
  io::World world;
  Router router;
  int echoes = 0;
  std::optional<Server> server;
  std::optional<Client> neighbour;
};

TEST_F(BadInput, GarbageIsAnsweredAndClosed) {
  start();
  std::mt19937 random(7);
  for (int i = 0; i < 200; ++i) {
    RawPeer peer(dial());
    std::string garbage(1 + random() % 3000, '\0');
    for (char& c : garbage) c = static_cast<char>(random());
    peer.send(garbage);
    peer.half_close();
    loop.settle();
    EXPECT_TRUE(peer.closed) << i;
  }
  // The same behind a proper preface.
  for (int i = 0; i < 200; ++i) {
    RawPeer peer(dial());
    std::string garbage(1 + random() % 3000, '\0');
    for (char& c : garbage) c = static_cast<char>(random());
    peer.send(kHello + garbage);
    loop.settle();
    peer.half_close();
    loop.advance(5 * io::kSecond);
    EXPECT_TRUE(peer.closed) << i;
  }
  others_are_served();
  EXPECT_EQ(server->stats().connections_open, 1u);
  EXPECT_EQ(server->stats().calls_open, 0u);
}

// Every prefix of a good connection, cut at every byte; and every single byte of it flipped.
TEST_F(BadInput, CutAndFlippedAtEveryByte) {
  start();
  std::string good = kHello + whole_call(1, "/t.S/Echo") + frame(kHeaders, kEndHeaders, 3, grpc_headers("/t.S/Hold")) +
                     frame(kData, 0, 3, message("abc")) + frame(kPing, 0, 0, "12345678") +
                     frame(kWindowUpdate, 0, 0, number(1000)) + frame(kReset, 0, 3, number(8));
  for (size_t cut = 0; cut <= good.size(); ++cut) {
    RawPeer peer(dial());
    peer.send(std::string_view(good).substr(0, cut));
    loop.settle();
    peer.hang_up();
    loop.settle();
  }
  for (size_t at = 0; at < good.size(); ++at) {
    for (int bit : {0, 3, 7}) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
      RawPeer peer(dial());
      peer.send(bad);
      loop.settle();
      peer.half_close();
      loop.settle();
      peer.hang_up();
      loop.settle();
    }
  }
  others_are_served();
  EXPECT_EQ(server->stats().connections_open, 1u);
  EXPECT_EQ(server->stats().calls_open, 0u);
  EXPECT_EQ(server->stats().queued_bytes, 0u);
}

// Well-formed frames in senseless order, among them good calls; the streams' methods answer, push
// and finish.
TEST_F(BadInput, FrameSoup) {
  struct Busy final : CallHandler {
    void on_message(ServerCall& call, Bytes message) override {
      call.send_message({message, message});
      if (message.size() % 5 == 4) call.finish(Status(Code::kAborted, "enough"));
      if (message.size() % 7 == 6) call.pause_input(true);
    }
    void on_half_close(ServerCall& call) override { call.finish(Status()); }
  };
  router.add_stream("/t.S/Busy", MethodKind::kBidi, [](ServerCall&) { return std::make_unique<Busy>(); });
  start();
  std::mt19937 random(29);
  const std::string_view paths[] = {"/t.S/Echo", "/t.S/Busy", "/t.S/Hold", "/t.S/Big", "/none"};
  for (int round = 0; round < 150; ++round) {
    RawPeer peer(dial(random() % 2 ? 256 * 1024 : 2000));
    if (random() % 3 == 0) peer.stop_reading();
    peer.send(kHello);
    uint32_t last = 1;
    for (int i = 0; i < 60; ++i) {
      uint32_t stream = random() % 3 == 0 ? (last += 2) : 1 + 2 * (random() % (last / 2 + 1));
      std::string body(random() % (random() % 8 == 0 ? 9000 : 20), 'm');
      switch (random() % 9) {
        case 0:
        case 1:
          peer.send(frame(kHeaders, kEndHeaders | (random() % 8 == 0 ? kEndStream : 0), stream,
                          grpc_headers(paths[random() % std::size(paths)])));
          break;
        case 2:
        case 3:
          peer.send(frame(kData, random() % 4 == 0 ? kEndStream : 0, stream, message(body)));
          break;
        case 4:
          peer.send(frame(kReset, 0, stream, number(random() % 14)));
          break;
        case 5:
          peer.send(frame(kWindowUpdate, 0, random() % 2 ? 0 : stream, number(1 + random() % 100'000)));
          break;
        case 6:
          peer.send(frame(kSettings, 0, 0, std::string("\0\4", 2) + number(random() % 100'000)));
          break;
        case 7:
          peer.send(frame(kPing, random() % 2 ? kAck : 0, 0, "12345678"));
          break;
        case 8:
          peer.send(frame(kData, 0, stream, body));
          break;
      }
      if (random() % 2) loop.settle();
    }
    loop.settle();
    if (random() % 20 == 0) loop.advance(io::kSecond);
    if (random() % 2) peer.hang_up();
    loop.settle();
  }
  others_are_served();
  loop.advance(300 * io::kSecond);
  EXPECT_EQ(server->stats().queued_bytes, 0u);
  EXPECT_EQ(server->stats().calls_open, 0u);
  EXPECT_EQ(server->stats().connections_open, 1u);
}

TEST_F(BadInput, SilentConnectionsAreClosed) {
  start();
  RawPeer silent(dial()), half(dial()), slow(dial());
  half.send("PR");
  slow.send("GET / HT");
  loop.advance(35 * io::kSecond);
  EXPECT_NE(slow.received.find("HTTP/1.1 408 "), std::string::npos);
  loop.advance(30 * io::kSecond);
  EXPECT_TRUE(silent.closed);
  EXPECT_TRUE(half.closed);
  EXPECT_TRUE(slow.closed);
  others_are_served();
}

TEST_F(BadInput, NotGrpc) {
  start();
  RawPeer peer(dial());
  peer.send(kHello +
            frame(kHeaders, kEndHeaders | kEndStream, 1,
                  hpack({{":method", "GET"}, {":scheme", "http"}, {":path", "/health"}, {":authority", "x"}})));
  loop.settle();
  // The answer's fields travel Huffman-coded.
  EXPECT_GT(peer.received.size(), 60u);
  EXPECT_EQ(goaway_code(peer.received), -1);
  EXPECT_EQ(echoes, 0);
}

TEST_F(BadInput, WrongMessageFraming) {
  start();
  auto status_after = [&](const std::string& data, uint8_t flags) {
    RawPeer peer(dial());
    peer.send(kHello + frame(kHeaders, kEndHeaders, 1, grpc_headers("/t.S/Echo")) + frame(kData, flags, 1, data));
    loop.settle();
    std::string received = peer.received;
    peer.hang_up();
    loop.settle();
    return received;
  };
  // grpc-status and its message travel Huffman-coded; what matters is that there is an answer and
  // no call of the method.
  std::string compressed = message("x");
  compressed[0] = 1;
  EXPECT_GT(status_after(compressed, kEndStream).size(), 60u);
  EXPECT_GT(status_after(message("x") + message("y"), kEndStream).size(), 60u);
  EXPECT_GT(status_after("", kEndStream).size(), 60u);
  EXPECT_GT(status_after(std::string("\0\0\0", 3), kEndStream).size(), 60u);
  EXPECT_GT(status_after(std::string("\0\xff\xff\xff\xff", 5), 0).size(), 60u);  // 4 GiB announced
  EXPECT_EQ(echoes, 0);
  others_are_served();
}

TEST_F(BadInput, HeadersTooLarge) {
  start();
  RawPeer peer(dial());
  std::string block = grpc_headers("/t.S/Echo");
  for (int i = 0; i < 5; ++i) block += hpack({{"x-fill", std::string(4000, 'f')}});
  std::string wire = frame(kHeaders, 0, 1, std::string_view(block).substr(0, 16000)) +
                     frame(kContinuation, kEndHeaders, 1, std::string_view(block).substr(16000)) +
                     frame(kData, kEndStream, 1, message("x"));
  peer.send(kHello + wire + whole_call(3, "/t.S/Echo"));
  loop.settle();
  EXPECT_EQ(echoes, 1);  // the second call on the same connection is served
  EXPECT_EQ(goaway_code(peer.received), -1);
}

TEST_F(BadInput, HeaderBlockWithoutEnd) {
  start();
  RawPeer peer(dial());
  peer.send(kHello + frame(kHeaders, 0, 1, grpc_headers("/t.S/Echo")));
  std::string fill = hpack({{"x-fill", std::string(8000, 'f')}});
  for (int i = 0; i < 1000 && !peer.closed; ++i) {
    peer.send(frame(kContinuation, 0, 1, fill));
    loop.settle();
  }
  loop.advance(5 * io::kSecond);
  EXPECT_TRUE(peer.closed);
  EXPECT_LT(server->stats().received_bytes, 200'000u);
  others_are_served();
}

TEST_F(BadInput, PingsTooOften) {
  start();
  RawPeer peer(dial());
  peer.send(kHello + frame(kHeaders, kEndHeaders, 1, grpc_headers("/t.S/Hold")));
  loop.settle();
  for (int i = 0; i < 10 && !peer.closed; ++i) {
    peer.send(frame(kPing, 0, 0, "12345678"));
    loop.advance(io::kSecond);
  }
  std::string text;
  EXPECT_EQ(goaway_code(peer.received, &text), kEnhanceYourCalm);
  EXPECT_EQ(text, "too_many_pings");
  EXPECT_EQ(server->stats().goaways_too_many_pings, 1u);

  RawPeer patient(dial());
  patient.send(kHello + frame(kHeaders, kEndHeaders, 1, grpc_headers("/t.S/Hold")));
  for (int i = 0; i < 10; ++i) {
    patient.send(frame(kPing, 0, 0, "12345678"));
    loop.advance(6 * io::kSecond);
  }
  EXPECT_EQ(goaway_code(patient.received), -1);
}

TEST_F(BadInput, OurPingUnanswered) {
  start({.ping_interval = 10 * io::kSecond, .ping_timeout = 3 * io::kSecond});
  RawPeer peer(dial());
  peer.send(kHello);
  loop.advance(9 * io::kSecond);
  EXPECT_FALSE(peer.closed);
  loop.advance(6 * io::kSecond);
  EXPECT_TRUE(peer.closed);
  others_are_served();  // it answered its pings
}

TEST_F(BadInput, ResetsTooFast) {
  start({.resets_per_second_max = 10, .resets_burst_max = 100});
  RawPeer peer(dial());
  peer.send(kHello);
  uint32_t stream = 1;
  for (; stream < 2000 && !peer.closed; stream += 2) {
    peer.send(frame(kHeaders, kEndHeaders, stream, grpc_headers("/t.S/Hold")) + frame(kReset, 0, stream, number(8)));
    loop.settle();
  }
  EXPECT_EQ(goaway_code(peer.received), kEnhanceYourCalm);
  EXPECT_LT(stream, 210u);
  EXPECT_EQ(server->stats().calls_open, 0u);
  others_are_served();
}

TEST_F(BadInput, ControlFramesTooFast) {
  for (uint8_t type : {kSettings, kPing, kPriority, kData}) {
    start({.control_frames_per_second_max = 10, .control_frames_burst_max = 100, .ping_min_interval = 0});
    RawPeer peer(dial());
    peer.send(kHello + frame(kHeaders, kEndHeaders, 1, grpc_headers("/t.S/Hold")));
    std::string payload = type == kPing ? std::string(8, 'p') : type == kPriority ? std::string(4, '\0') + "\x10" : "";
    uint32_t stream = type == kData || type == kPriority ? 1 : 0;
    for (int i = 0; i < 500 && !peer.closed; ++i) {
      peer.send(frame(type, 0, stream, payload));
      if (i % 50 == 0) loop.settle();
    }
    loop.advance(5 * io::kSecond);
    EXPECT_TRUE(peer.closed) << int(type);
    EXPECT_EQ(goaway_code(peer.received), kEnhanceYourCalm) << int(type);
    others_are_served();
    neighbour.reset();
    server.reset();
  }
}

TEST_F(BadInput, StreamsBeyondTheLimit) {
  start({.concurrent_streams_max = 10});
  RawPeer peer(dial());
  peer.send(kHello);
  loop.settle();
  peer.send(frame(kSettings, kAck, 0, ""));
  for (uint32_t i = 0; i < 50; ++i) {
    peer.send(frame(kHeaders, kEndHeaders, 2 * i + 1, grpc_headers("/t.S/Hold")));
  }
  loop.settle();
  EXPECT_LE(server->stats().calls_open, 10u);
  others_are_served();
}

// As RFC 9113, 5.1.2 has it: the one stream is refused, and may be tried again.
TEST_F(BadInput, OneStreamTooManyIsRefusedAlone) {
  constexpr int64_t kRefusedStream = 7;
  start({.concurrent_streams_max = 10});
  RawPeer peer(dial());
  peer.send(kHello);
  loop.settle();
  EXPECT_EQ(peer.received.substr(0, 15), std::string("\0\0\x18\4\0\0\0\0\0\0\3\0\0\0\x0a", 15)) << "the limit is told";
  peer.send(frame(kSettings, kAck, 0, ""));
  for (uint32_t i = 0; i < 10; ++i) peer.send(frame(kHeaders, kEndHeaders, 2 * i + 1, grpc_headers("/t.S/Hold")));
  loop.settle();
  EXPECT_EQ(server->stats().calls_open, 11u - 1);
  peer.send(frame(kHeaders, kEndHeaders, 21, grpc_headers("/t.S/Echo")) + frame(kData, kEndStream, 21, message("x")));
  loop.settle();
  EXPECT_EQ(reset_code(peer.received, 21), kRefusedStream);
  EXPECT_EQ(echoes, 0);
  EXPECT_EQ(goaway_code(peer.received), -1);
  EXPECT_EQ(server->stats().calls_open, 10u);
  peer.send(frame(kReset, 0, 1, number(8)) + whole_call(23, "/t.S/Echo"));
  loop.settle();
  EXPECT_EQ(echoes, 1) << "there is room again";
  EXPECT_EQ(server->stats().calls_open, 9u);
  others_are_served();
}

TEST_F(BadInput, RefusedStreamsAreNotAnsweredForEver) {
  start({.concurrent_streams_max = 1, .control_frames_per_second_max = 10, .control_frames_burst_max = 100});
  RawPeer peer(dial());
  peer.send(kHello);
  uint32_t stream = 1;
  for (; stream < 2000 && !peer.closed; stream += 2) {
    peer.send(frame(kHeaders, kEndHeaders, stream, grpc_headers("/t.S/Hold")));
    loop.settle();
  }
  EXPECT_EQ(goaway_code(peer.received), kEnhanceYourCalm);
  EXPECT_LT(stream, 220u);
  others_are_served();
}

// Each limit of a call to the byte: at it the call is served, one above it is not.
TEST_F(BadInput, LimitsOfACallToTheByte) {
  auto served = [&](std::string_view wire) {
    int before = echoes;
    RawPeer peer(dial());
    peer.send(kHello + std::string(wire));
    loop.settle();
    EXPECT_EQ(goaway_code(peer.received), -1);
    return echoes == before + 1;
  };
  start({.message_bytes_max = 1000, .header_bytes_max = 2000});
  EXPECT_TRUE(served(whole_call(1, "/t.S/Echo", std::string(1000, 'm'))));
  EXPECT_FALSE(served(whole_call(1, "/t.S/Echo", std::string(1001, 'm'))));
  size_t size = 0;  // as RFC 9113, 6.5.2 counts it
  for (auto [name, value] : {std::pair<std::string_view, std::string_view>{":method", "POST"},
                             {":scheme", "http"},
                             {":path", "/t.S/Echo"},
                             {":authority", "x"},
                             {"content-type", "application/grpc"},
                             {"te", "trailers"},
                             {"x-fill", ""}})
    size += name.size() + value.size() + 32;
  auto with_fill = [&](size_t bytes) {
    std::string block = grpc_headers("/t.S/Echo") + hpack({{"x-fill", std::string(bytes, 'f')}});
    return frame(kHeaders, kEndHeaders, 1, block) + frame(kData, kEndStream, 1, message("x"));
  };
  EXPECT_TRUE(served(with_fill(2000 - size)));
  EXPECT_FALSE(served(with_fill(2001 - size)));
  others_are_served();
}

// Each limit of time: a second before it the connection stands, a second behind it is gone.
TEST_F(BadInput, LimitsOfTimeToTheSecond) {
  start({.http_request_timeout = 20 * io::kSecond,
         .http_idle_timeout = 40 * io::kSecond,
         .first_bytes_timeout = 30 * io::kSecond});
  struct Case {
    std::string_view sent;
    int seconds;
  };
  for (auto [sent, seconds] : {Case{"", 30}, Case{"PR", 30}, Case{"GET / HTTP/1.1\r\nX: ", 20},
                               Case{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 40}}) {
    RawPeer peer(dial());
    peer.send(sent);
    loop.advance((seconds - 1) * io::kSecond);
    EXPECT_FALSE(peer.closed) << sent;
    loop.advance(5 * io::kSecond);  // looked at once a second, and two for its last words
    EXPECT_TRUE(peer.closed) << sent;
  }
  others_are_served();
}

// Unfinished requests: many streams, each with half a message.
TEST_F(BadInput, UnfinishedRequestsAreBounded) {
  start({.connection_partial_bytes_max = 1'000'000});
  RawPeer peer(dial(SIZE_MAX));
  peer.send(kHello);
  std::string half = std::string("\0\0\x10\0\0", 5) + std::string(10'000, 'h');  // 1 MiB announced
  for (uint32_t i = 0; i < 1000; ++i) {
    peer.send(frame(kHeaders, kEndHeaders, 2 * i + 1, grpc_headers("/t.S/Echo")) + frame(kData, 0, 2 * i + 1, half));
    loop.settle();
  }
  EXPECT_LE(server->stats().calls_open, 110u);
  others_are_served();
}

// A client that asks and never reads: answers wait up to the limit, further calls are not even
// begun, and in the end it is cut off.
TEST_F(BadInput, NeverReads) {
  start({.connection_queue_bytes_max = 1'000'000});
  RawPeer peer(dial(64 * 1024));
  peer.send(kHello + frame(kWindowUpdate, 0, 0, number(0x7f000000)));
  loop.settle();
  peer.stop_reading();
  auto big = router.find("/t.S/Big");
  for (uint32_t i = 0; i < 2000; ++i) {
    peer.send(whole_call(2 * i + 1, "/t.S/Big"));
    loop.settle();
  }
  EXPECT_LT(server->stats().queued_bytes, 1'200'000u);
  EXPECT_LT(big->stats.messages_sent, 30u);
  others_are_served();
  loop.advance(70 * io::kSecond);
  EXPECT_EQ(server->stats().connections_open, 1u);
  EXPECT_EQ(server->stats().queued_bytes, 0u);
  EXPECT_EQ(server->stats().calls_open, 0u);
}

// The same with a socket that is read, but HTTP/2 windows that are never opened.
TEST_F(BadInput, NeverOpensItsWindow) {
  start();
  RawPeer peer(dial());
  peer.send(kHello);
  for (uint32_t i = 0; i < 20; ++i) peer.send(whole_call(2 * i + 1, "/t.S/Big"));
  loop.settle();
  EXPECT_GT(server->stats().queued_bytes, 1'000'000u);
  loop.advance(70 * io::kSecond);
  EXPECT_TRUE(peer.closed);
  EXPECT_EQ(server->stats().queued_bytes, 0u);
  others_are_served();
}

// Waiting calls go on when the client reads at last.
TEST_F(BadInput, ReadsLate) {
  start({.connection_queue_bytes_max = 1'000'000});
  RawPeer peer(dial(64 * 1024));
  std::string windows = frame(kWindowUpdate, 0, 0, number(0x7f000000));
  peer.send(kHello + windows);
  loop.settle();
  peer.end().set_handler(nullptr);
  for (uint32_t i = 0; i < 100; ++i) {
    peer.send(whole_call(2 * i + 1, "/t.S/Big") + frame(kWindowUpdate, 0, 2 * i + 1, number(1'000'000)));
    loop.settle();
  }
  EXPECT_LT(router.find("/t.S/Big")->stats.messages_sent, 30u);
  peer.end().set_handler(&peer);
  loop.settle();
  EXPECT_EQ(router.find("/t.S/Big")->stats.messages_sent, 100u);
  EXPECT_GT(peer.received.size(), 10'000'000u);
  EXPECT_EQ(server->stats().calls_open, 0u);
}

TEST_F(BadInput, ConnectionsBeyondTheLimit) {
  start({.connections_max = 5});
  std::vector<std::unique_ptr<RawPeer>> peers;
  for (int i = 0; i < 10; ++i) peers.push_back(std::make_unique<RawPeer>(dial()));
  loop.settle();
  EXPECT_EQ(server->stats().connections_open, 5u);
  EXPECT_EQ(server->stats().connections_refused, 6u);
  others_are_served();
}

// Ten thousand connections that have made a call each and are silent now.
TEST_F(BadInput, IdleConnectionsAreCheap) {
  constexpr size_t kConnections = 10'000, kBytesMax = 16 * 1024;
  start();
  std::vector<std::unique_ptr<RawPeer>> peers;
  auto used = [] {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd - std::min(info.uordblks + info.hblkhd, h2_slab_bytes());
  };
  auto talk = [&] {
    peers.push_back(std::make_unique<RawPeer>(dial()));
    peers.back()->send(kHello + whole_call(1, "/t.S/Echo"));
    loop.settle();
    peers.back()->received = std::string();
    peers.back()->end().pipe().data[0] = std::string();
    peers.back()->end().pipe().data[1] = std::string();
  };
  talk();
  size_t before = used();
  if (before == 0) GTEST_SKIP() << "this build's allocator does not tell";
  // A tenth of them here, to be quick: the loop of this test looks at every connection in every
  // turn.
  for (size_t i = 0; i < kConnections / 10; ++i) talk();
  size_t each = (used() - before) / (kConnections / 10);
  RecordProperty("bytes_each", static_cast<int>(each));
  std::printf("an idle connection holds %zu bytes, the test's own pipe included\n", each);
  constexpr size_t kFrameBufferPage = 4096;  // of h2_memory's slot; not malloc's to count
  EXPECT_LE(each + kFrameBufferPage, kBytesMax);
  others_are_served();
}

// --- HTTP/1.1
// ------------------------------------------------------------------------------------------------------

struct BadHttp : BadInput {
  std::string ask(std::string_view bytes, bool close = false) {
    RawPeer peer(dial());
    peer.send(bytes);
    if (close) peer.half_close();
    loop.settle();
    closed = peer.closed;
    std::string received = peer.received;
    peer.hang_up();
    loop.settle();
    return received;
  }
  bool closed = false;
};

TEST_F(BadHttp, Requests) {
  start();
  std::string got = ask("GET /health?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(got.starts_with("HTTP/1.1 200 OK\r\n")) << got;
  EXPECT_NE(got.find("\r\nDate: Wed, 18 Nov 2026 11:06:41 GMT"), std::string::npos) << got;
  EXPECT_TRUE(got.ends_with("\r\n\r\nGET /health ")) << got;
  EXPECT_FALSE(closed);
  got = ask("HEAD /a%20b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(got.ends_with("\r\n\r\n")) << got;
  EXPECT_NE(got.find("Content-Length: 10\r\n"), std::string::npos) << got;
  EXPECT_TRUE(closed);
  EXPECT_TRUE(ask("GET / HTTP/1.0\r\n\r\n").ends_with("GET / "));
  EXPECT_TRUE(closed);
  EXPECT_TRUE(ask("PUT /k HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nvalue").ends_with("PUT /k value"));
  EXPECT_TRUE(ask("POST /k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                  "chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
                  .ends_with("POST /k abcde"));
  got = ask("POST /k HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(got, "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_TRUE(ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true).ends_with("GET / "));
}

TEST_F(BadHttp, Pipelined) {
  start();
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\n\r\n";
  std::string got = ask(many);
  EXPECT_TRUE(got.ends_with("GET /999 "));
}

// Short requests for long pages, all sent at once: no page is made before the client has taken those before it.
TEST_F(BadHttp, PipelinedRequestsWaitForTheirAnswersToBeTaken) {
  constexpr size_t kRequests = 400, kPageBytes = 100'000;
  size_t served = 0;
  router.set_http([&](HttpRequest, HttpReplyPtr reply) {
    ++served;
    reply->send(HttpResponse::text(200, std::string(kPageBytes, 'p')));
  });
  start();
  for (bool half_close : {false, true}) {
    RawPeer peer(dial());
    peer.end().set_handler(nullptr);  // reads nothing for now
    served = 0;
    std::string requests;
    for (size_t i = 0; i < kRequests; ++i) requests += "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    peer.send(requests);
    if (half_close) peer.half_close();
    loop.settle();
    EXPECT_LT(served, 20u);
    loop.advance(40 * io::kSecond);  // longer than a request may take to arrive: these have arrived
    EXPECT_LT(served, 20u);
    peer.end().set_handler(&peer);
    loop.settle();
    EXPECT_EQ(served, kRequests);
    EXPECT_GT(peer.received.size(), kRequests * kPageBytes);
    EXPECT_EQ(peer.received.find("408"), std::string::npos);
    EXPECT_EQ(peer.closed, half_close);
  }
  // What is sent ahead is not read beyond the limit.
  RawPeer peer(dial());
  peer.end().set_handler(nullptr);
  std::string request = "GET / HTTP/1.1\r\nHost: a\r\nX-Fill: " + std::string(2000, 'f') + "\r\n\r\n";
  uint64_t before = server->stats().received_bytes;
  for (int i = 0; i < 1000; ++i) {
    peer.send(request);
    loop.settle();
  }
  EXPECT_LT(server->stats().received_bytes - before, 600'000u);
  others_are_served();
}

TEST_F(BadHttp, PipelineBehindASlowAnswerIsBounded) {
  HttpReplyPtr held;
  router.set_http([&](HttpRequest, HttpReplyPtr reply) { held = std::move(reply); });
  start();
  RawPeer peer(dial());
  std::string request = "GET / HTTP/1.1\r\nHost: a\r\nX-Fill: " + std::string(2000, 'f') + "\r\n\r\n";
  for (int i = 0; i < 1000; ++i) {
    peer.send(request);
    loop.settle();
  }
  EXPECT_LT(server->stats().received_bytes, 600'000u);
  auto first = std::move(held);
  first->send(HttpResponse::text(200, "first"));
  first.reset();
  loop.settle();
  EXPECT_TRUE(held);
  others_are_served();
}

TEST_F(BadHttp, Refusals) {
  start({.http_header_bytes_max = 4096, .http_body_bytes_max = 1000});
  EXPECT_TRUE(ask("NONSENSE\r\n\r\n").starts_with("HTTP/1.1 400 ")) << ask("NONSENSE\r\n\r\n");
  EXPECT_TRUE(closed);
  EXPECT_TRUE(ask("GET / HTTP/1.1\r\nbad header\r\n\r\n").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(ask("GET / HTTP/1.1\r\nX: " + std::string(5000, 'x') + "\r\n\r\n").starts_with("HTTP/1.1 431 "));
  EXPECT_TRUE(ask("GET /" + std::string(5000, 'x')).starts_with("HTTP/1.1 431 "));
  EXPECT_TRUE(
      ask("POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n" + std::string(1000, 'b')).starts_with("HTTP/1.1 200 "));
  EXPECT_TRUE(ask("POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n").starts_with("HTTP/1.1 413 "));
  const std::string head = "GET / HTTP/1.1\r\nX: ";
  EXPECT_TRUE(ask(head + std::string(4096 - head.size() - 4, 'x') + "\r\n\r\n").starts_with("HTTP/1.1 200 "));
  EXPECT_TRUE(ask(head + std::string(4097 - 4, 'x') + "\r\n\r\n").starts_with("HTTP/1.1 431 "));
  EXPECT_TRUE(ask("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n").starts_with("HTTP/1.1 4"));
  EXPECT_TRUE(ask("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n").starts_with("HTTP/1.1 413 "));
  EXPECT_TRUE(ask("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").starts_with("HTTP/1.1 400 "));
  others_are_served();
}

// Beast's parser asserts that it never sees a last chunk of four bytes twice; the network may cut wherever it likes.
TEST_F(BadHttp, AChunkedBodyInAnyPieces) {
  start();
  const std::string head = "POST /k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (auto [body, echoed] : {std::pair{"0\r\n\r\n", "POST /k "},
                              {"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", "POST /k abcde"},
                              {"1\r\na\r\n00;z\r\nTrailer: b\r\n\r\n", "POST /k a"}}) {
    const std::string whole = head + body;
    for (size_t first = 1; first <= whole.size(); ++first) {
      for (size_t step : {size_t{1}, size_t{2}, size_t{3}, whole.size()}) {
        RawPeer peer(dial());
        peer.send(std::string_view(whole).substr(0, first));
        loop.settle();
        for (size_t at = first; at < whole.size(); at += step) {
          peer.send(std::string_view(whole).substr(at, step));
          loop.settle();
        }
        EXPECT_TRUE(peer.received.ends_with(echoed)) << body << " cut at " << first << ": " << peer.received;
      }
    }
  }
}

TEST_F(BadHttp, TrailersAndExtensionsOfChunksAreBounded) {
  start({.http_header_bytes_max = 4096, .http_body_bytes_max = 1000});
  const std::string head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string begin : {"3;x=", "0;x=", "0\r\nX: "}) {
    EXPECT_TRUE(ask(head + begin + std::string(4097, 'x')).starts_with("HTTP/1.1 431 ")) << begin;
    EXPECT_TRUE(closed);
  }
  EXPECT_TRUE(ask(head + "0\r\nX: " + std::string(4000, 'x') + "\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

TEST_F(BadHttp, ClientLeavesALongPoll) {
  HttpReplyPtr held;
  bool gone = false;
  router.set_http([&](HttpRequest, HttpReplyPtr reply) {
    reply->on_gone([&] { gone = true; });
    held = std::move(reply);
  });
  start();
  RawPeer peer(dial());
  peer.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  loop.advance(600 * io::kSecond);
  EXPECT_TRUE(held->alive());
  peer.hang_up();
  loop.settle();
  EXPECT_TRUE(gone);
  EXPECT_FALSE(held->alive());
  held->send(HttpResponse::text(200, "late"));
}

TEST_F(BadHttp, ChunkedAnswerAndDroppedAnswer) {
  HttpReplyPtr held;
  router.set_http([&](HttpRequest request, HttpReplyPtr reply) {
    if (request.path == "/stream") held = std::move(reply);  // else dropped
  });
  start();
  EXPECT_TRUE(ask("GET /drop HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 500 "));
  RawPeer peer(dial());
  peer.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
  loop.settle();
  held->send_head({});
  held->send_chunk(Bytes::literal("hello"));
  loop.settle();
  EXPECT_TRUE(peer.received.ends_with("5\r\nhello\r\n")) << peer.received;
  held->end();
  loop.settle();
  EXPECT_TRUE(peer.received.ends_with("0\r\n\r\n"));
  EXPECT_FALSE(held->alive());
  EXPECT_FALSE(peer.closed);
}

}  // namespace
}  // namespace fairlead::net
