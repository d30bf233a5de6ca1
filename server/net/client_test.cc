// The client against servers that misbehave, spoken byte by byte.
#include "server/net/client.h"

#include <gtest/gtest.h>

#include <random>

#include "server/net/server.h"
#include "server/net/test_world.h"

namespace fairlead::net {
namespace {

using test::frame;
using test::make_pipe;
using test::RawPeer;
using test::TestLoop;

const std::string kSettings = frame(4, 0, 0, "");

struct ClientTest : testing::Test {
  ClientTest() {
    auto [near, far] = make_pipe(loop);
    server.emplace(std::move(far));
    ClientOptions options;
    options.message_bytes_max = 1000;
    client.emplace(loop, std::move(near), options);
  }
  void call(CallOptions options = {}) {
    client->unary(
        "/t.S/M", Bytes::literal("x"),
        [this](const Status& s, Bytes) {
          ++ends;
          status = s;
        },
        options);
  }

  TestLoop loop;
  std::optional<RawPeer> server;
  std::optional<Client> client;
  Status status;
  int ends = 0;
};

TEST_F(ClientTest, SilentServerAndTimeout) {
  call({.timeout = io::kSecond});
  loop.advance(900 * io::kMillisecond);
  EXPECT_EQ(ends, 0);
  loop.advance(200 * io::kMillisecond);
  EXPECT_EQ(ends, 1);
  EXPECT_EQ(status.code(), Code::kDeadlineExceeded);
  EXPECT_EQ(client->open_calls(), 0u);
}

TEST_F(ClientTest, ServerGoes) {
  call();
  loop.settle();
  Status broken;
  client->on_broken([&](const Status& s) { broken = s; });
  server->hang_up();
  loop.settle();
  EXPECT_EQ(ends, 1);
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_EQ(broken.code(), Code::kUnavailable);
  call();  // on a broken connection
  EXPECT_EQ(ends, 1);
  loop.settle();
  EXPECT_EQ(ends, 2);
  EXPECT_EQ(status.code(), Code::kUnavailable);
}

TEST_F(ClientTest, GarbageFromTheServer) {
  call();
  loop.settle();
  server->send("HTTP/1.1 400 Bad Request\r\n\r\n");
  loop.settle();
  EXPECT_EQ(ends, 1);
  EXPECT_FALSE(status.is_ok());
}

TEST_F(ClientTest, ResetsAndGoaway) {
  call();
  loop.settle();
  server->send(kSettings + frame(3, 0, 1, std::string("\0\0\0\x07", 4)));  // RST_STREAM REFUSED_STREAM
  loop.settle();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  call();
  loop.settle();
  server->send(frame(7, 0, 0, std::string("\0\0\0\x01\0\0\0\0", 8)));  // GOAWAY: stream 1 was the last
  loop.settle();
  EXPECT_EQ(ends, 2);
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_TRUE(client->broken());
}

TEST_F(ClientTest, AnswerWithoutStatusOrTooLarge) {
  call();
  loop.settle();
  // ":status: 200" is entry 8 of HPACK's static table.
  server->send(kSettings + frame(1, 4, 1, "\x88") + frame(0, 1, 1, std::string("\0\0\0\0\1x", 6)));
  loop.settle();
  EXPECT_EQ(ends, 1);
  EXPECT_EQ(status.code(), Code::kInternal);
  call();
  loop.settle();
  server->send(frame(1, 4, 3, "\x88") + frame(0, 0, 3, std::string("\0\0\0\x10\0", 5) + std::string(100, 'x')));
  loop.settle();
  EXPECT_EQ(ends, 2);
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  call();
  loop.settle();
  server->send(frame(1, 4 | 1, 5, "\x8d"));  // ":status: 404"
  loop.settle();
  EXPECT_EQ(status.code(), Code::kUnimplemented);
}

TEST_F(ClientTest, CancelledUnaryCallIsSilent) {
  uint64_t id = client->unary("/t.S/M", Bytes(), [this](const Status&, Bytes) { ++ends; });
  loop.settle();
  client->cancel_unary(id);
  client->cancel_unary(id);
  client->cancel_unary(12345);
  loop.settle();
  EXPECT_EQ(ends, 0);
  EXPECT_EQ(client->open_calls(), 0u);
}

// What was queued while the socket was full leaves as soon as there is room for all of it: nothing else need happen.
TEST(ClientFlush, GoesOnWithoutAnotherEvent) {
  constexpr size_t kMessageBytes = 4 << 20;
  TestLoop loop;
  auto [near, far] = make_pipe(loop);
  RawPeer server(std::move(far));
  Client client(loop, std::move(near), {});
  ClientCallHandler handler;
  ClientCall& call = client.open("/t.S/M", &handler);
  std::string large_window("\0\4\x40\0\0\0", 6);  // INITIAL_WINDOW_SIZE, 1 GiB
  server.send(frame(4, 0, 0, large_window) + frame(8, 0, 0, std::string("\x3f\0\0\0", 4)));
  loop.settle();
  server.end().set_handler(nullptr);  // reads nothing
  server.end().pipe().capacity = 1;
  call.send_message(Bytes::copy(std::string(kMessageBytes, 'm')));
  loop.settle();
  ASSERT_GT(call.queued_bytes(), kMessageBytes / 2);
  server.end().pipe().capacity = 64 << 20;
  loop.settle();
  EXPECT_EQ(call.queued_bytes(), 0u);
  server.end().set_handler(&server);
  loop.settle();
  EXPECT_GT(server.received.size(), kMessageBytes);
  call.cancel();
}

// Any bytes from the server: the client ends what is open and stands.
TEST(ClientFuzz, RandomFramesFromTheServer) {
  std::mt19937 random(23);
  for (int round = 0; round < 500; ++round) {
    TestLoop loop;
    auto [near, far] = make_pipe(loop);
    RawPeer server(std::move(far));
    Client client(loop, std::move(near), {});
    int ends = 0;
    for (int i = 0; i < 5; ++i) client.unary("/t.S/M", Bytes::literal("x"), [&](const Status&, Bytes) { ++ends; });
    loop.settle();
    server.send(kSettings);
    for (int i = 0; i < 20; ++i) {
      std::string payload(random() % 40, '\0');
      for (char& c : payload) c = static_cast<char>(random() % 2 ? random() : 0x88);
      server.send(frame(static_cast<uint8_t>(random() % 10), static_cast<uint8_t>(random() % 2 ? random() : 4),
                        random() % 12, payload));
      loop.settle();
    }
    server.hang_up();
    loop.settle();
    EXPECT_EQ(ends, 5);
  }
}

}  // namespace
}  // namespace fairlead::net
