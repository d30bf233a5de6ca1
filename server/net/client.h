// The client side of gRPC over one stream: for the load generator, the tests, the simulator and
// calls between members. As cheap as the server: one read and one write per turn, shared message
// bytes, pooled calls.
//
// Threads: the loop. Callbacks run inside the session's work; everything may be called from them,
// but the Client must not be destroyed inside one. Errors: a call ends exactly once with a Status:
// the server's, or kUnavailable (connection), kDeadlineExceeded, kCancelled, kResourceExhausted
// (reply too large), kInternal (broken framing). Nothing is retried here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "server/io/io.h"

namespace fairlead::net {

struct ClientOptions {
  std::string authority = "localhost";
  std::string user_agent = "fairlead/0.1";
  size_t message_bytes_max = 64 * 1024 * 1024;
  uint32_t stream_window_bytes = 1024 * 1024;
  uint32_t connection_window_bytes = 8 * 1024 * 1024;
  io::Nanos ping_interval = 0;  // 0 = none
  io::Nanos ping_timeout = 20 * io::kSecond;
  bool ping_without_calls = true;
};

using Metadata = std::vector<std::pair<std::string, std::string>>;

struct CallOptions {
  io::Nanos timeout = 0;               // 0 = none; sent as grpc-timeout and kept here too
  const Metadata* metadata = nullptr;  // lower-case names; copied
};

class ClientCall;

class ClientCallHandler {
 public:
  virtual ~ClientCallHandler() = default;
  virtual void on_message(ClientCall&, Bytes) {}
  virtual void on_end(ClientCall&, const Status&) {}  // exactly once, the last call; not after cancel()
  virtual void on_drained(ClientCall&) {}             // queued_bytes() fell to kDrainMarkDefaultBytes or below
};

// A streaming call. Valid from open() until on_end() or cancel().
class ClientCall {
 public:
  virtual void send_message(std::span<const Bytes> parts) = 0;
  void send_message(const Bytes& message) { send_message(std::span<const Bytes>(&message, 1)); }
  virtual void half_close() = 0;
  virtual void cancel() = 0;  // RST_STREAM CANCEL; no callback comes any more
  virtual size_t queued_bytes() const = 0;
  // While paused the server is held back by flow control: what its window allowed it before still comes.
  virtual void pause_input(bool paused) = 0;

 protected:
  virtual ~ClientCall() = default;
};

class Client {
 public:
  using UnaryDone = std::function<void(const Status&, Bytes reply)>;

  Client(io::Loop& loop, std::unique_ptr<io::Stream> stream, ClientOptions options);
  ~Client();  // ends open calls with kUnavailable
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // path must outlive the call's start only. Returns an id for cancel_unary; `done` never runs
  // inside this function.
  uint64_t unary(std::string_view path, const Bytes& request, UnaryDone done, const CallOptions& options = {});
  void cancel_unary(uint64_t id);  // `done` is not called; unknown or finished: no effect
  ClientCall& open(std::string_view path, ClientCallHandler* handler, const CallOptions& options = {});

  bool broken() const;  // connection lost, or the server said to go away: new calls end with kUnavailable
  // Runs once when the connection is lost or told to go away (after the open calls were ended, if
  // lost).
  void on_broken(std::function<void(const Status&)> callback);
  size_t open_calls() const;
  bool ready() const;                             // the server has answered: its SETTINGS are here
  void on_ready(std::function<void()> callback);  // runs once, inside the session's work

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::net
