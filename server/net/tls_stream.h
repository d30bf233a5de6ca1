// An io::Stream that speaks TLS over another io::Stream. It does no I/O of its own, so it runs wherever the inner one
// does.
//
// Client: dials, shakes hands when the inner stream stands, then reports on_connected; a failed handshake shows as a
// failed connection does: readable, and read() gives the error.
// Server: start() shakes hands and tells the result once; the owner then sets a handler as on any stream.
// One inner write per writev(): records are made in a buffer of the thread, and only what the inner stream does not
// take is kept.
//
// Bounds: input between two steps of a handshake kTlsHandshakeInputMax; unsent ciphertext about kTlsWriteBytesMax;
// a client's handshake kTlsHandshakeTimeout (a server's is bounded by TlsHandshakes).
// Threads: the loop; the steps of the handshake run behind the gate.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "server/io/io.h"
#include "server/net/tls_context.h"
#include "server/net/tls_engine.h"
#include "server/net/tls_gate.h"

namespace fairlead::net {

constexpr io::Nanos kTlsHandshakeTimeout = 10 * io::kSecond;  // as etcd
constexpr size_t kTlsHandshakeInputMax = 128 * 1024;
constexpr size_t kTlsWriteBytesMax = 256 * 1024;

enum class TlsResult { kOk, kPlain, kFailed, kWaiting };  // kWaiting: for the client, in the middle of it

class TlsStream final : public io::Stream, private io::StreamHandler {
 public:
  using Done = std::function<void(TlsResult)>;  // the last call may destroy the stream

  static std::unique_ptr<TlsStream> client(io::Loop& loop, std::unique_ptr<io::Stream> inner,
                                           std::shared_ptr<TlsContext> context, std::shared_ptr<TlsGate> gate,
                                           std::string host);
  // No work begins before the whole first record is there: half of it costs its bytes alone.
  // kPlain: the first byte is not TLS's; the stream then passes bytes through as they are.
  static std::unique_ptr<TlsStream> server(io::Loop& loop, std::unique_ptr<io::Stream> inner,
                                           std::shared_ptr<TlsContext> context, std::shared_ptr<TlsGate> gate,
                                           Done done);
  ~TlsStream() override;

  void set_handler(io::StreamHandler* handler) override;
  io::IoResult read(std::span<char> into) override;
  io::IoResult writev(std::span<const std::string_view> parts) override;
  void shutdown_write() override;
  void pause_reading(bool paused) override;
  std::string peer_address() const override { return inner_->peer_address(); }
  std::string local_address() const override { return inner_->local_address(); }

  const TlsPeer& peer() const { return peer_; }  // after the handshake
  bool encrypted() const { return state_ != State::kPlain; }
  bool names_own_address() const { return names_own_address_; }
  const Status& error() const { return error_; }
  bool working() const { return step_running_; }  // a step runs or waits for a worker
  std::string_view first_bytes() const { return input_; }
  // Sends what is left, then only waits for the other side to hang up: its answer to the alert must not be a reset.
  void linger(std::function<void()> gone);

 private:
  enum class State { kConnecting, kHandshake, kOpen, kPlain, kLinger, kDead };
  struct Job;  // what a step needs on the worker; shared with it
  TlsStream(io::Loop& loop, std::unique_ptr<io::Stream> inner, std::shared_ptr<TlsContext> context,
            std::shared_ptr<TlsGate> gate, bool server, std::string host, Done done);

  void on_connected() override;
  void on_readable() override;
  void on_writable() override;
  void read_handshake();
  void discard();
  void submit_step();
  void step_done();
  void opened();
  void fail(Status why);
  void send(std::string_view ciphertext);
  bool flush_out();
  void update_reading();
  void wake();
  bool holds_input() const;
  io::IoResult read_plain(std::span<char> into);

  io::Loop& loop_;
  std::unique_ptr<io::Stream> inner_;
  std::shared_ptr<TlsGate> gate_;
  const bool server_;
  std::shared_ptr<Job> job_;  // the engine is in there
  Done done_;
  std::function<void()> gone_;
  State state_;
  io::StreamHandler* handler_ = nullptr;
  std::string input_;  // handshake bytes for the next step, or what was read of a plain stream
  std::string out_;    // ciphertext that the inner stream has not taken
  size_t out_offset_ = 0;
  TlsPeer peer_;
  Status error_;
  io::TimerId timer_ = 0;
  int steps_ = 0;
  bool step_running_ = false;
  bool inner_ended_ = false;  // during the handshake
  bool inner_paused_ = false;
  bool paused_ = false;
  bool want_write_ = false;
  bool shutdown_wanted_ = false;
  bool shutdown_sent_ = false;
  bool wake_posted_ = false;
  bool names_own_address_ = true;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// "1.2.3.4:5" -> "1.2.3.4", "[::1]:5" -> "::1", "unix:..." -> "".
std::string host_of_address(const std::string& address);

}  // namespace fairlead::net
