// For the fuzz targets of this folder: the real server over pipes in memory, on virtual time, one for the whole run; a
// connection lives as long as an input. Whatever comes in, nothing of it may be left when the connection is gone.
#pragma once

#include <optional>
#include <string>

#include "base/check.h"
#include "server/net/server.h"
#include "server/net/test_world.h"
#include "server/net/websocket.h"

namespace fairlead::net::test {

class FuzzServer {
 public:
  FuzzServer() {
    world_.loop = &loop_;
    router_.add_unary("/t.S/Echo", [](CallRef call, Bytes request) { call->reply(request); });
    router_.add_unary("/t.S/Refuse", [](CallRef call, Bytes) { call->finish(Status(Code::kNotFound, "no \x01 key")); });
    router_.add_unary("/t.S/Late", [this](CallRef call, Bytes request) {
      loop_.add_timer(loop_.now() + io::kSecond, [call, request] { call->reply(request); });
    });
    router_.add_stream("/t.S/Hold", MethodKind::kBidi, [](ServerCall&) { return std::make_unique<CallHandler>(); });
    router_.add_stream("/t.S/Busy", MethodKind::kBidi, [](ServerCall&) { return std::make_unique<Busy>(); });
    router_.set_http([this](HttpRequest request, HttpReplyPtr reply) { answer(std::move(request), std::move(reply)); });
    ServerOptions options;  // small, so that an input reaches them
    options.message_bytes_max = 2000;
    options.concurrent_streams_max = 20;
    options.header_bytes_max = 1000;
    options.connection_queue_bytes_max = 20'000;
    options.connection_partial_bytes_max = 8000;
    options.resets_burst_max = 20;
    options.control_frames_burst_max = 40;
    options.http_header_bytes_max = 1000;
    options.http_body_bytes_max = 2000;
    options.http_pipeline_bytes_max = 1000;
    options.ping_interval = 0;
    server_.emplace(world_, options);
    // One that stays, so that what connections share is not made anew for each input.
    auto [near, far] = make_pipe(loop_);
    server_->serve(std::move(far), router_);
    neighbour_.emplace(std::move(near));
    neighbour_->send(std::string_view("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33));
    settle();
  }

  // Sends the pieces in turns of their own.
  template <typename Pieces>
  void run(const Pieces& pieces, size_t capacity = 64 * 1024, bool reads = true) {
    auto [near, far] = make_pipe(loop_, capacity);
    server_->serve(std::move(far), router_);
    RawPeer peer(std::move(near));
    if (!reads) peer.stop_reading();
    for (std::string_view piece : pieces) {
      peer.send(piece);
      settle();
    }
    loop_.advance(1100 * io::kMillisecond);
    peer.half_close();
    settle();
    peer.hang_up();
    settle();
    if (server_->stats().connections_open > 1) loop_.advance(3 * io::kSecond);  // for its last words
    neighbour_->received.clear();
    CHECK(server_->stats().connections_open == 1, "a connection outlives its client");
    CHECK(server_->stats().calls_open == 0, "a call outlives its connection");
    CHECK(server_->stats().queued_bytes == 0, "bytes are queued for nobody");
    CHECK(server_->stats().websockets_open == 0, "a WebSocket outlives its connection");
    socket_.reset();
    CHECK(loop_.timers() <= kTimersOfServer, "timers are left behind");
  }

 private:
  static constexpr size_t kTimersOfServer = 8;

  struct Busy final : CallHandler {
    void on_message(ServerCall& call, Bytes message) override {
      call.send_message({message, message});
      if (message.size() % 5 == 4) call.finish(Status(Code::kAborted, "enough"));
      if (message.size() % 7 == 6) call.pause_input(true);
    }
    void on_half_close(ServerCall& call) override { call.finish(Status()); }
    void on_drained(ServerCall& call) override { call.pause_input(false); }
  };

  void answer(HttpRequest request, HttpReplyPtr reply) {
    if (request.path == "/drop") return;
    if (wants_websocket(request) && !refuse_websocket(request)) {
      socket_ = reply->upgrade(request, {});
      if (socket_) socket_->set_handler([this](std::string_view message) { hear(message); }, [] {}, [] {});
      return;
    }
    (void)request.query_values("x");
    (void)request.header("host");
    if (request.path != "/stream") return reply->send(HttpResponse::text(200, request.path + request.body));
    reply->send_head({});
    reply->send_chunk(Bytes::copy(request.body));
    reply->end();
  }

  // A WebSocket: messages of some lengths do something else than come back twice.
  void hear(std::string_view message) {
    CHECK(message.size() <= 2000, "a message is larger than its limit");
    if (message.size() % 11 == 10) return socket_->close();
    if (message.size() % 7 == 6) {
      socket_->pause_input(true);
      loop_.post([this] {
        if (socket_) socket_->pause_input(false);
      });
    }
    for (int i = 0; i < 2; ++i) socket_->send(Bytes::copy(message));
  }

  // An answer that makes the server turn for ever would be a finding too.
  void settle() {
    for (int turns = 0; loop_.turn(); ++turns) CHECK(turns < 10'000, "the loop does not come to rest");
  }

  TestLoop loop_;
  io::World world_;
  Router router_;
  std::optional<Server> server_;
  std::optional<RawPeer> neighbour_;
  std::unique_ptr<WebSocket> socket_;
};

}  // namespace fairlead::net::test
