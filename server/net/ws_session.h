// A WebSocket as the session of its connection. Inside of net; the public side is websocket.h.
#pragma once

#include <deque>
#include <optional>
#include <string>

#include "server/net/connection.h"
#include "server/net/websocket.h"
#include "server/net/ws_frame.h"

namespace fairlead::net {

class WsSocket;

class WsSession final : public Session {
 public:
  // `first` goes out before any frame: the rest of HTTP/1.1 and the answer to the handshake.
  WsSession(Core& core, Connection& connection, std::vector<Bytes> first);
  ~WsSession() override;
  std::unique_ptr<WebSocket> socket();  // once

  Status on_bytes(std::string_view bytes) override;
  bool on_eof() override;
  bool fill(OutQueue& out) override;
  void after_flush() override;
  bool finished() const override { return closing_ && out_.empty(); }
  bool stalled(io::Nanos) const override { return false; }  // a full socket is the connection's to see
  Status sweep(io::Nanos now) override;
  io::Nanos quiet_until() const override;
  void drain() override;
  void lost(const Status& reason) override;

  void send(Bytes message);
  void close();
  void fail(uint16_t code, std::string_view reason);
  void pause_input(bool paused);
  size_t queued_bytes() const { return out_bytes_; }

 private:
  struct Frame {
    std::string head;
    Bytes payload;
  };
  void parse();
  void take(WsEvent event);
  bool allow_idle_frame();
  void queue(WsOpcode opcode, Bytes payload);
  void queue_raw(std::string head, Bytes payload);

  Core& core_;
  Connection& connection_;
  WsReader reader_;
  WsSocket* socket_ = nullptr;  // null when its owner closed it, or when the client is gone
  std::string held_;            // bytes that wait for the handler
  size_t held_taken_ = 0;
  std::deque<Frame> out_;  // whole frames, so that a pong may go in front
  size_t out_bytes_ = 0;
  std::optional<std::string> pong_;  // to be sent: of pings that come faster than we write, the latest
  RateLimit idle_frames_;
  io::Nanos ping_sent_ = 0;  // ours, unanswered
  bool closing_ = false;     // after what is queued
  bool paused_ = false, parsing_ = false, eof_ = false;
};

}  // namespace fairlead::net
