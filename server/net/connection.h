// One accepted connection: reads, finds out which protocol it speaks, writes once per turn, closes
// politely. The protocol itself is a Session. Inside of net.
//
// States: sniffing -> session -> lingering -> dead. A dead connection is deleted at the end of the
// turn.
#pragma once

#include <memory>
#include <string>

#include "server/io/io.h"
#include "server/net/out_queue.h"
#include "server/net/server_core.h"

namespace fairlead::net {

class Connection final : public io::StreamHandler {
 public:
  Connection(Core& core, std::unique_ptr<io::Stream> stream, Router& router, std::string peer_common_name);
  ~Connection() override;

  void on_readable() override;
  void on_writable() override;

  void mark_dirty() { core_.mark_dirty(*this); }
  void flush();
  void after_flush();
  void sweep(io::Nanos now);
  io::Nanos quiet_until() const;  // as Session's
  void drain();
  void abort(const Status& reason);  // close now, without last words
  // Another protocol from here on. The session that was is destroyed at the end of the turn: it may be the caller.
  void replace_session(std::unique_ptr<Session> next);
  bool dead() const { return state_ == State::kDead; }

  Router& router() const { return router_; }
  const std::string& peer_address() const { return peer_address_; }
  std::string local_address() const { return stream_ ? stream_->local_address() : std::string(); }
  bool secure() const { return secure_; }  // TLS
  const std::string& peer_common_name() const { return peer_common_name_; }
  void pause_reading(bool paused) { stream_->pause_reading(paused); }
  io::Nanos last_read() const { return last_read_; }

  bool dirty = false;       // in core's list
  size_t index = SIZE_MAX;  // in the server's list

 private:
  enum class State : uint8_t { kSniffing, kSession, kLingering, kDead };
  void sniff();
  void feed(std::string_view bytes);
  void end_of_input();
  void close_after_flush(bool dropped);
  void linger();

  Core& core_;
  Router& router_;
  std::unique_ptr<io::Stream> stream_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Session> replaced_;
  std::string first_;  // while sniffing
  std::string peer_address_;
  bool secure_;
  std::string peer_common_name_;
  OutQueue out_;
  State state_ = State::kSniffing;
  bool blocked_ = false;  // the socket is full
  bool closing_ = false;  // linger once out_ is empty
  bool dropped_ = false;
  io::Nanos opened_;
  io::Nanos last_read_;
  io::Nanos last_write_;  // progress, or nothing to write
  io::Nanos linger_until_ = 0;
};

}  // namespace fairlead::net
