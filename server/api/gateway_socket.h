// The gateway over WebSockets (RFC 6455), as etcd's grpc-websocket-proxy has it: what the client's messages hold, each
// with a line's end behind it, is the body of a POST to the same path, and each line of the answer is a text message.
//
// Of the client's headers the request has Origin and Referer; its token comes from "Sec-WebSocket-Protocol: Bearer,
// TOKEN" or, before that, from the cookie "token": a browser can set no other. Status and headers of the answer are not
// seen, so an error is its JSON body. The connection ends with the answer, without a Close frame.
//
// Threads: the loop. Bounds: net/websocket.h, and GatewayOptions::input_bytes_max.
#pragma once

#include "server/api/gateway.h"
#include "server/net/websocket.h"

namespace fairlead::api {

// Shakes hands and serves: wants_websocket(request) is true.
void serve_gateway_socket(const io::World& world, net::Router& router, const GatewayOptions& options,
                          const net::HttpRequest& request, net::HttpReplyPtr reply);

// An answer whose lines are messages. What it is given in one piece is one line, with or without its end.
class LineReply final : public net::HttpReply {
 public:
  explicit LineReply(std::unique_ptr<net::WebSocket> socket);
  void on_message(net::WebSocket::OnMessage callback) { on_message_ = std::move(callback); }
  void on_stop(std::function<void()> callback) { stop_ = std::move(callback); }
  void pause_input(bool paused) { socket_->pause_input(paused); }

  void send(net::HttpResponse response) override;
  void send_head(net::HttpResponse head) override { line(head.body); }
  void send_chunk(Bytes chunk) override { line(chunk); }
  void end() override { socket_->close(); }
  size_t queued_bytes() const override { return socket_->queued_bytes(); }
  bool alive() const override { return socket_->alive(); }
  void on_gone(std::function<void()> callback) override { gone_ = std::move(callback); }
  std::unique_ptr<net::WebSocket> upgrade(const net::HttpRequest&, const net::HttpHeaders&) override { return nullptr; }

 private:
  void line(const Bytes& text);

  std::unique_ptr<net::WebSocket> socket_;
  net::WebSocket::OnMessage on_message_;
  std::function<void()> gone_, stop_;
};

}  // namespace fairlead::api
