// A connection that became a WebSocket (RFC 6455): what HttpReply::upgrade() gives, and the rules of the handshake.
//
// Messages in, text or binary; text messages out, each in one frame. Pings are answered; our own go out on a connection
// that has been silent for ServerOptions::ping_interval. Bounds: a message is at most
// ServerOptions::http_body_bytes_max (Close 1009), frames that carry nothing are limited as HTTP/2's control
// frames are (Close 1008), of the pings that were not answered yet the latest is. What is sent is not limited here:
// whoever sends much watches queued_bytes().
//
// Threads: the loop of the server.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "server/net/http.h"

namespace fairlead::net {

class WebSocket {
 public:
  using OnMessage = std::function<void(std::string_view message)>;
  virtual ~WebSocket() = default;  // close(); not from inside one of the callbacks
  // Each message, until close() or until the client is gone, which is told once. When the server stops, on_stop may
  // send last words before the end.
  virtual void set_handler(OnMessage on_message, std::function<void()> on_gone, std::function<void()> on_stop) = 0;
  virtual void send(Bytes message) = 0;
  // Ends the connection when all is sent. There is no Close frame before the end, as with etcd's proxy.
  virtual void close() = 0;
  // The same, with a Close frame that says why.
  virtual void fail(uint16_t code, std::string_view reason) = 0;
  // While paused no message comes, and nothing is read from the connection.
  virtual void pause_input(bool paused) = 0;
  virtual size_t queued_bytes() const = 0;  // messages not yet handed to the socket
  virtual bool alive() const = 0;
};

// Whether the client asks for a WebSocket: "Upgrade: websocket" among the tokens, and "Connection: upgrade".
bool wants_websocket(const HttpRequest& request);

// What is wrong with the handshake of one who does, as gorilla/websocket answers it; nothing when it is in order.
std::optional<HttpResponse> refuse_websocket(const HttpRequest& request);

}  // namespace fairlead::net
