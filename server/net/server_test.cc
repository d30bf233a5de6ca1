// Calls through bytes: our client against our server over pipes in memory, on virtual time.
#include "server/net/server.h"

#include <gtest/gtest.h>

#include "server/net/client.h"
#include "server/net/test_world.h"

namespace fairlead::net {
namespace {

using test::make_pipe;
using test::PipeEnd;
using test::RawPeer;
using test::TestLoop;

struct Fixture : testing::Test {
  Fixture() { world.loop = &loop; }
  ~Fixture() override {
    client.reset();
    server.reset();
  }

  void start(ServerOptions options = {}) { server.emplace(world, options); }

  std::unique_ptr<PipeEnd> dial(size_t capacity = 256 * 1024) {
    auto [near, far] = make_pipe(loop, capacity);
    server->serve(std::move(far), router);
    return std::move(near);
  }
  void connect(ClientOptions options = {}) { client.emplace(loop, dial(), options); }

  struct Answer {
    bool done = false;
    Status status;
    std::string reply;
  };
  std::shared_ptr<Answer> call(std::string_view path, std::string_view request, CallOptions options = {}) {
    auto answer = std::make_shared<Answer>();
    client->unary(
        path, Bytes::copy(request),
        [answer](const Status& status, Bytes reply) {
          EXPECT_FALSE(answer->done);
          answer->done = true;
          answer->status = status;
          answer->reply = reply.to_string();
        },
        options);
    return answer;
  }

  TestLoop loop;
  io::World world;
  Router router;
  std::optional<Server> server;
  std::optional<Client> client;
};

struct EchoStream final : CallHandler {
  void on_message(ServerCall& call, Bytes message) override {
    messages.push_back(message.to_string());
    call.send_message({Bytes::literal("echo "), message});
  }
  void on_half_close(ServerCall& call) override { call.finish(Status()); }
  void on_cancel(ServerCall&, const Status& reason) override {
    if (cancelled) *cancelled = reason;
  }
  std::vector<std::string> messages;
  Status* cancelled = nullptr;
};

struct Collector final : ClientCallHandler {
  void on_message(ClientCall&, Bytes message) override { messages.push_back(message.to_string()); }
  void on_end(ClientCall&, const Status& s) override {
    ended = true;
    status = s;
  }
  std::vector<std::string> messages;
  bool ended = false;
  Status status;
};

TEST_F(Fixture, UnaryCallsAnswer) {
  router.add_unary("/t.S/Echo", [](CallRef call, Bytes request) {
    EXPECT_EQ(call->path(), "/t.S/Echo");
    call->reply(request);
  });
  start();
  connect();
  auto one = call("/t.S/Echo", "hello");
  auto empty = call("/t.S/Echo", "");
  std::string big(1'000'000, 'x');
  auto large = call("/t.S/Echo", big);
  loop.settle();
  EXPECT_TRUE(one->done && empty->done && large->done);
  EXPECT_EQ(one->status, Status());
  EXPECT_EQ(one->reply, "hello");
  EXPECT_EQ(empty->status, Status());
  EXPECT_EQ(empty->reply, "");
  EXPECT_EQ(large->status, Status());
  EXPECT_TRUE(large->reply == big);
  EXPECT_EQ(server->stats().calls_open, 0u);
  EXPECT_EQ(server->stats().queued_bytes, 0u);
  EXPECT_EQ(router.find("/t.S/Echo")->stats.handled[0], 3u);
}

// Go clients of etcd 3.4 (grpc-go 1.26) send their dial target as the authority.
TEST_F(Fixture, AnAuthorityThatIsNoHostIsAccepted) {
  router.add_unary("/t.S/Echo", [](CallRef call, Bytes request) { call->reply(request); });
  start();
  ClientOptions options;
  options.authority = "passthrough:///http://127.0.0.1:2379";
  connect(options);
  auto answer = call("/t.S/Echo", "hello");
  loop.settle();
  EXPECT_EQ(answer->status, Status());
  EXPECT_EQ(answer->reply, "hello");
}

TEST_F(Fixture, OneWritePerTurn) {
  router.add_unary("/t.S/Echo", [](CallRef call, Bytes request) { call->reply(request); });
  start();
  auto [near, far] = make_pipe(loop);
  PipeEnd* server_end = far.get();
  server->serve(std::move(far), router);
  client.emplace(loop, std::move(near), ClientOptions{});
  loop.settle();
  uint64_t before = server_end->writes;
  std::vector<std::shared_ptr<Answer>> answers;
  for (int i = 0; i < 100; ++i) answers.push_back(call("/t.S/Echo", std::to_string(i)));
  loop.settle();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(answers[i]->reply, std::to_string(i));
  EXPECT_LE(server_end->writes - before, 2u);
}

TEST_F(Fixture, ErrorsAndTheirTexts) {
  router.add_unary("/t.S/Fail", [](CallRef call, Bytes) {
    call->finish(Status(Code::kNotFound, "etcdserver: 100% gone, é\n"));
    call->reply(Bytes::literal("too late"));
  });
  start();
  connect();
  auto fail = call("/t.S/Fail", "x");
  auto method = call("/t.S/Nope", "x");
  auto service = call("/u.V/Nope", "x");
  auto malformed = call("Nope", "x");
  loop.settle();
  EXPECT_EQ(fail->status, Status(Code::kNotFound, "etcdserver: 100% gone, é\n"));
  EXPECT_EQ(method->status, Status(Code::kUnimplemented, "unknown method Nope for service t.S"));
  EXPECT_EQ(service->status, Status(Code::kUnimplemented, "unknown service u.V"));
  EXPECT_FALSE(malformed->status.is_ok());
}

TEST_F(Fixture, LateAnswerAndMetadata) {
  CallRef held;
  router.add_unary("/t.S/Later", [&](CallRef call, Bytes) {
    EXPECT_EQ(call->metadata("token"), "abc");
    EXPECT_EQ(call->metadata("hasleader"), "true");
    EXPECT_EQ(call->metadata("none"), "");
    held = std::move(call);
  });
  start();
  connect();
  Metadata metadata{{"token", "abc"}, {"hasleader", "true"}};
  auto answer = call("/t.S/Later", "x", {.metadata = &metadata});
  loop.advance(io::kSecond);
  EXPECT_FALSE(answer->done);
  held->reply({Bytes::literal("a"), Bytes::copy(std::string(5000, 'b')), Bytes::literal("c")});
  loop.settle();
  EXPECT_TRUE(answer->reply == "a" + std::string(5000, 'b') + "c");
}

TEST_F(Fixture, AnswerAfterTheClientIsGone) {
  std::vector<CallRef> held;
  router.add_unary("/t.S/Later", [&](CallRef call, Bytes) { held.push_back(std::move(call)); });
  start();
  connect();
  auto first = call("/t.S/Later", "x");
  auto second = call("/t.S/Later", "x");
  loop.settle();
  client.reset();
  EXPECT_EQ(first->status.code(), Code::kUnavailable);
  loop.settle();
  ASSERT_EQ(held.size(), 2u);
  EXPECT_TRUE(held[0]->done());
  held[0]->reply(Bytes::literal("nobody listens"));
  EXPECT_EQ(held[0]->peer_address(), "");
  server.reset();  // references may outlive the server
  held[1]->finish(Status(Code::kInternal, "x"));
  held.clear();
}

TEST_F(Fixture, DeadlineEndsTheCallOnBothSides) {
  Status cancelled;
  struct Watcher final : CallHandler {
    explicit Watcher(Status* c) : cancelled(c) {}
    void on_cancel(ServerCall&, const Status& reason) override { *cancelled = reason; }
    Status* cancelled;
  };
  CallRef held;
  router.add_unary("/t.S/Later", [&](CallRef call, Bytes) {
    EXPECT_EQ(call->deadline() / io::kSecond, (loop.now() + 3 * io::kSecond) / io::kSecond);
    call->set_handler(std::make_unique<Watcher>(&cancelled));
    held = std::move(call);
  });
  start();
  connect();
  auto answer = call("/t.S/Later", "x", {.timeout = 3 * io::kSecond});
  loop.advance(2900 * io::kMillisecond);
  EXPECT_FALSE(answer->done);
  loop.advance(200 * io::kMillisecond);
  EXPECT_EQ(answer->status, Status(Code::kDeadlineExceeded, "context deadline exceeded"));
  EXPECT_FALSE(cancelled.is_ok());  // by the server's own timer or by the client's reset, whichever was first
  EXPECT_TRUE(held->done());
  EXPECT_EQ(server->stats().calls_open, 0u);
}

TEST_F(Fixture, ServersOwnDeadlineAnswers) {
  router.add_unary("/t.S/Later", [](CallRef, Bytes) {});
  start();
  connect();
  Metadata metadata{{"grpc-timeout", "100m"}};  // the client itself does not watch it
  auto answer = call("/t.S/Later", "x", {.metadata = &metadata});
  Metadata malformed{{"grpc-timeout", "100x"}};
  auto bad = call("/t.S/Later", "x", {.metadata = &malformed});
  loop.advance(200 * io::kMillisecond);
  EXPECT_EQ(answer->status, Status(Code::kDeadlineExceeded, "context deadline exceeded"));
  EXPECT_EQ(bad->status.code(), Code::kInternal);
}

TEST_F(Fixture, Streams) {
  EchoStream* echo = nullptr;
  router.add_stream("/t.S/Bidi", MethodKind::kBidi, [&](ServerCall&) {
    auto handler = std::make_unique<EchoStream>();
    echo = handler.get();
    return handler;
  });
  start();
  connect();
  Collector got;
  ClientCall& stream = client->open("/t.S/Bidi", &got);
  stream.send_message(Bytes::literal("one"));
  loop.settle();
  EXPECT_EQ(got.messages, std::vector<std::string>{"echo one"});
  std::string big(300'000, 'y');
  stream.send_message(Bytes::copy(big));
  stream.send_message(Bytes());
  loop.settle();
  ASSERT_EQ(got.messages.size(), 3u);
  EXPECT_TRUE(got.messages[1] == "echo " + big);
  EXPECT_EQ(got.messages[2], "echo ");
  EXPECT_FALSE(got.ended);
  stream.half_close();
  loop.settle();
  EXPECT_TRUE(got.ended);
  EXPECT_EQ(got.status, Status());
  EXPECT_EQ(client->open_calls(), 0u);
}

TEST_F(Fixture, CancelledStreamTellsTheServer) {
  Status cancelled;
  router.add_stream("/t.S/Bidi", MethodKind::kBidi, [&](ServerCall&) {
    auto handler = std::make_unique<EchoStream>();
    handler->cancelled = &cancelled;
    return handler;
  });
  start();
  connect();
  Collector got;
  ClientCall& stream = client->open("/t.S/Bidi", &got);
  stream.send_message(Bytes::literal("one"));
  loop.settle();
  stream.cancel();
  loop.settle();
  EXPECT_EQ(cancelled.code(), Code::kCancelled);
  EXPECT_FALSE(got.ended);
  EXPECT_EQ(server->stats().calls_open, 0u);
}

TEST_F(Fixture, RefusedStreamAndEarlyEnd) {
  router.add_stream("/t.S/Refuse", MethodKind::kBidi, [](ServerCall& call) -> std::unique_ptr<CallHandler> {
    call.finish(Status(Code::kPermissionDenied, "no"));
    return nullptr;
  });
  start();
  connect();
  Collector got;
  client->open("/t.S/Refuse", &got).send_message(Bytes::literal("x"));  // never half-closes
  loop.settle();
  EXPECT_EQ(got.status, Status(Code::kPermissionDenied, "no"));
  EXPECT_EQ(server->stats().calls_open, 0u);
}

TEST_F(Fixture, OversizeAndCompressedMessages) {
  router.add_unary("/t.S/Echo", [](CallRef call, Bytes request) { call->reply(request); });
  start({.message_bytes_max = 1000});
  connect();
  auto good = call("/t.S/Echo", std::string(1000, 'x'));
  auto bad = call("/t.S/Echo", std::string(1001, 'x'));
  Metadata gzip{{"grpc-encoding", "gzip"}};
  auto packed = call("/t.S/Echo", "x", {.metadata = &gzip});
  loop.settle();
  EXPECT_EQ(good->status, Status());
  EXPECT_EQ(bad->status, Status(Code::kResourceExhausted, "grpc: received message larger than max (1001 vs. 1000)"));
  EXPECT_EQ(packed->status,
            Status(Code::kUnimplemented, "grpc: Decompressor is not installed for grpc-encoding \"gzip\""));
}

TEST_F(Fixture, SlowReaderIsBackpressureNotMemory) {
  struct Pusher final : CallHandler {
    void push(ServerCall& call) {
      while (call.queued_bytes() < 200'000 && left > 0) {
        call.send_message(Bytes::copy(std::string(1000, 'z')));
        --left;
      }
      most = std::max(most, call.queued_bytes());
      if (left == 0) call.finish(Status());
    }
    void on_half_close(ServerCall& call) override { push(call); }
    void on_drained(ServerCall& call) override { push(call); }
    int left = 20'000;
    size_t most = 0;
  };
  Pusher* pusher = nullptr;
  router.add_stream("/t.S/Many", MethodKind::kServerStream, [&](ServerCall&) {
    auto handler = std::make_unique<Pusher>();
    pusher = handler.get();
    return handler;
  });
  start();
  connect({.stream_window_bytes = 65536, .connection_window_bytes = 65536 * 2});
  Collector got;
  ClientCall& stream = client->open("/t.S/Many", &got);
  stream.send_message(Bytes());
  stream.half_close();
  loop.settle();
  EXPECT_EQ(got.messages.size(), 20'000u);
  EXPECT_TRUE(got.ended);
  EXPECT_EQ(got.status, Status());
}

// A client that pauses one call holds back its server alone: other calls of the connection go on.
TEST_F(Fixture, APausedCallOfTheClientHoldsBackItsOwnServer) {
  constexpr size_t kMessageBytes = 1000, kWindowBytes = 65536;
  struct Flood final : CallHandler {
    void on_half_close(ServerCall& call) override {
      for (int i = 0; i < 500; ++i) call.send_message(Bytes::copy(std::string(kMessageBytes, 'z')));
      call.finish(Status());
    }
  };
  router.add_stream("/t.S/Flood", MethodKind::kServerStream, [](ServerCall&) { return std::make_unique<Flood>(); });
  start();
  connect({.stream_window_bytes = kWindowBytes, .connection_window_bytes = 2 * kWindowBytes});
  EXPECT_FALSE(client->ready());
  bool told = false;
  client->on_ready([&told] { told = true; });
  Collector paused, other;
  ClientCall& stream = client->open("/t.S/Flood", &paused);
  stream.pause_input(true);
  stream.half_close();
  loop.settle();
  EXPECT_TRUE(told && client->ready());
  EXPECT_GT(paused.messages.size(), 10u) << "the window that it had";
  EXPECT_LE(paused.messages.size(), kWindowBytes / kMessageBytes);
  client->open("/t.S/Flood", &other).half_close();
  loop.settle();
  EXPECT_EQ(other.messages.size(), 500u);
  EXPECT_FALSE(paused.ended);
  stream.pause_input(false);
  loop.settle();
  EXPECT_EQ(paused.messages.size(), 500u);
  EXPECT_EQ(paused.status, Status());
}

// A long answer over HTTP/1.1 to a client that reads slowly: what waits is counted, and all of it arrives.
TEST_F(Fixture, SlowReaderOfAnHttpAnswerGetsAllOfIt) {
  constexpr size_t kChunks = 30, kChunkBytes = 400 << 10;
  std::shared_ptr<HttpReply> reply;
  router.set_http([&](HttpRequest, HttpReplyPtr r) {
    reply = std::move(r);
    reply->send_head(HttpResponse::text(200, ""));
    for (size_t i = 0; i < kChunks; ++i) reply->send_chunk(Bytes::copy(std::string(kChunkBytes, 'Q')));
  });
  start();
  std::unique_ptr<PipeEnd> end = dial();
  struct Quiet final : io::StreamHandler {
    void on_readable() override {}
    void on_writable() override {}
  } quiet;
  end->set_handler(&quiet);
  end->pause_reading(true);  // it is read below, piece by piece
  std::string_view request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  end->writev({&request, 1});
  loop.settle();
  EXPECT_GT(reply->queued_bytes(), kChunks * kChunkBytes / 2);
  size_t got = 0;
  std::vector<char> buffer(100 << 10);
  for (int rounds = 0; rounds < 100'000 && got < kChunks * kChunkBytes; ++rounds) {
    io::IoResult read = end->read(buffer);
    got += static_cast<size_t>(std::count(buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(read.bytes), 'Q'));
    loop.settle();
    if (read.bytes == 0) loop.advance(io::kMillisecond);
  }
  EXPECT_EQ(got, kChunks * kChunkBytes);
  EXPECT_EQ(reply->queued_bytes(), size_t{0});
  reply->end();
}

TEST_F(Fixture, PausedInputHoldsTheClientBack) {
  struct Slow final : CallHandler {
    void on_message(ServerCall& call, Bytes message) override {
      bytes += message.size();
      if (++count % 3 == 0) call.pause_input(true);
    }
    void on_half_close(ServerCall& call) override { call.finish(Status()); }
    size_t bytes = 0;
    int count = 0;
  };
  Slow* slow = nullptr;
  CallRef held;
  router.add_stream("/t.S/Sink", MethodKind::kClientStream, [&](ServerCall& call) {
    auto handler = std::make_unique<Slow>();
    slow = handler.get();
    held = call.ref();
    return handler;
  });
  start();
  connect();
  Collector got;
  ClientCall& stream = client->open("/t.S/Sink", &got);
  for (int i = 0; i < 100; ++i) stream.send_message(Bytes::copy(std::string(100'000, 'q')));
  stream.half_close();
  loop.settle();
  EXPECT_EQ(slow->count, 3);
  EXPECT_GT(stream.queued_bytes(), 8'000'000u);  // it stayed with the client
  while (!held->done()) {
    int before = slow->count;
    held->pause_input(false);
    loop.settle();
    ASSERT_TRUE(held->done() || slow->count > before);
  }
  EXPECT_TRUE(got.ended);
  EXPECT_EQ(got.status, Status());
}

TEST_F(Fixture, DrainLetsOpenCallsFinish) {
  std::vector<CallRef> held;
  router.add_unary("/t.S/Later", [&](CallRef call, Bytes) { held.push_back(std::move(call)); });
  start();
  connect();
  auto answer = call("/t.S/Later", "x");
  loop.settle();
  bool drained = false;
  server->drain([&] { drained = true; });
  loop.settle();
  EXPECT_FALSE(drained);
  EXPECT_TRUE(client->broken());
  held[0]->reply(Bytes::literal("last"));
  loop.settle();
  EXPECT_EQ(answer->reply, "last");
  client.reset();
  loop.settle();
  EXPECT_TRUE(drained);
}

TEST_F(Fixture, StopEndsEverything) {
  Status cancelled;
  router.add_stream("/t.S/Bidi", MethodKind::kBidi, [&](ServerCall&) {
    auto handler = std::make_unique<EchoStream>();
    handler->cancelled = &cancelled;
    return handler;
  });
  start();
  connect();
  Collector got;
  client->open("/t.S/Bidi", &got).send_message(Bytes::literal("x"));
  loop.settle();
  server->stop();
  loop.settle();
  EXPECT_EQ(cancelled.code(), Code::kUnavailable);
  EXPECT_EQ(got.status.code(), Code::kUnavailable);
  EXPECT_EQ(server->stats().connections_open, 0u);
}

TEST_F(Fixture, RawProtocolByItsFirstBytes) {
  std::string first;
  std::unique_ptr<io::Stream> taken;
  router.add_raw("FLPEER", [&](std::unique_ptr<io::Stream> stream, std::string bytes) {
    taken = std::move(stream);
    first = std::move(bytes);
  });
  router.set_http([](HttpRequest, HttpReplyPtr reply) { reply->send(HttpResponse::text(200, "page")); });
  start();
  RawPeer peer(dial());
  peer.send("FLP");
  loop.settle();
  EXPECT_FALSE(taken);
  peer.send("EER1rest");
  loop.settle();
  EXPECT_TRUE(taken);
  EXPECT_EQ(first, "FLPEER1rest");
  RawPeer http(dial());
  http.send("F");
  loop.settle();
  http.send("OO / HTTP/1.1\r\nHost: x\r\n\r\n");
  loop.settle();
  EXPECT_NE(http.received.find("200 OK"), std::string::npos) << http.received;
  EXPECT_EQ(server->stats().connections_open, 1u);
}

}  // namespace
}  // namespace fairlead::net
