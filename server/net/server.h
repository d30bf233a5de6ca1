// The server's front door. One port speaks gRPC (HTTP/2 with prior knowledge, RFC 9113, framed by
// nghttp2), HTTP/1.1 and the raw protocols of its router: the first bytes of a connection decide.
//
// Turns: a session reads once per turn all that is ready, calls the methods at once, and writes
// once at the end of the turn, from a turn hook. Register the node's own hook before making the
// Server, so that answers of a turn leave in it.
//
// Bounds: see ServerOptions; each has a test in server_test.cc. A connection that breaks a limit is
// answered with the protocol's own error where there is one, and closed.
//
// Threads: one Server belongs to one loop; several may serve the same router's methods from several
// loops later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "server/io/io.h"
#include "server/net/router.h"
#include "server/net/tls_handshakes.h"

namespace fairlead::net {

struct ServerOptions {
  // --- gRPC
  size_t message_bytes_max = 2 * 1024 * 1024;   // one request message; etcd: max-request-bytes + 512 KiB
  uint32_t concurrent_streams_max = 16 * 1024;  // per connection
  size_t header_bytes_max = 16 * 1024;          // of one request, names and values and 32 a field (RFC 9113, 6.5.2)
  uint32_t stream_window_bytes = 256 * 1024;    // what a client may send on a stream ahead of us
  uint32_t connection_window_bytes = 2 * 1024 * 1024;
  // Unread answers of one connection: above it, further calls wait undecided until the client has
  // read.
  size_t connection_queue_bytes_max = 16 * 1024 * 1024;
  // Unfinished request messages of one connection: above it the stream that asks for more is
  // refused.
  size_t connection_partial_bytes_max = 16 * 1024 * 1024;
  bool measure_handling = false;          // fills MethodStats::handling_buckets
  uint32_t resets_per_second_max = 1000;  // RST_STREAM by the client (CVE-2023-44487); 0 = no limit
  uint32_t resets_burst_max = 10000;
  // SETTINGS, PRIORITY, empty DATA frames; of a WebSocket: pings, pongs, empty frames; 0 = no limit
  uint32_t control_frames_per_second_max = 1000;
  uint32_t control_frames_burst_max = 10000;

  // For finding faults: sees every decoded header field of a gRPC request (GODEBUG=http2debug=2). Usually empty.
  std::function<void(std::string_view name, std::string_view value)> trace_header;

  // --- keepalive, as etcd's --grpc-keepalive-*; WebSockets are pinged at the same pace
  io::Nanos ping_min_interval = 5 * io::kSecond;  // more often: GOAWAY too_many_pings; 0 = not policed
  io::Nanos ping_interval = 7200 * io::kSecond;   // our own pings on a silent connection; 0 = none
  io::Nanos ping_timeout = 20 * io::kSecond;

  // --- HTTP/1.1
  size_t http_header_bytes_max = 16 * 1024;
  size_t http_body_bytes_max = 4 * 1024 * 1024;       // also of a message of a WebSocket
  size_t http_pipeline_bytes_max = 64 * 1024;         // waiting behind the request that is being answered
  io::Nanos http_request_timeout = 30 * io::kSecond;  // from the first byte to the last of a request
  io::Nanos http_idle_timeout = 300 * io::kSecond;    // between requests

  // --- both
  io::Nanos first_bytes_timeout = 60 * io::kSecond;  // for the bytes that tell the protocol
  io::Nanos write_stall_timeout = 60 * io::kSecond;  // a client that takes nothing of what waits for it is dropped
  size_t connections_max = 65536;
  size_t tls_fresh_max = kTlsFreshMax;  // see tls_handshakes.h
  size_t tls_begun_max = kTlsBegunMax;
};

struct ServerStats {
  uint64_t connections_open = 0;
  uint64_t connections_total = 0;
  uint64_t connections_refused = 0;  // over connections_max
  uint64_t connections_dropped = 0;  // closed by us for a broken limit or a bad frame
  uint64_t calls_open = 0;
  uint64_t calls_total = 0;
  uint64_t http_requests_total = 0;
  uint64_t websockets_open = 0;
  uint64_t websockets_total = 0;
  uint64_t received_bytes = 0;
  uint64_t sent_bytes = 0;
  uint64_t queued_bytes = 0;  // answers not yet handed to a socket
  uint64_t goaways_too_many_pings = 0;
  uint64_t goaways_calm = 0;  // resets or control frames too fast
};

class Server {
 public:
  Server(io::World& world, ServerOptions options);
  ~Server();  // stop()
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // May be called for several addresses, each with its own router. Returns the address with the
  // port that was taken.
  Result<std::string> listen(const std::string& address, Router& router);
  // The same behind TLS.
  Result<std::string> listen(const std::string& address, Router& router, TlsListen tls);
  // Serves a stream that somebody else accepted (TLS, tests); the name is of a verified client certificate.
  void serve(std::unique_ptr<io::Stream> stream, Router& router, std::string peer_common_name = {});

  // Shakes hands first; `tls` must outlive the server.
  void serve(std::unique_ptr<io::Stream> accepted, Router& router, const TlsListen& tls);

  // Stops listening, tells clients to go away (GOAWAY, "Connection: close"), lets open calls
  // finish; `done` runs when the last connection is closed. A caller that cannot wait for ever
  // calls stop().
  void drain(std::function<void()> done);
  // Ends every call with kUnavailable and closes everything now.
  void stop();

  const ServerStats& stats() const;
  const ServerOptions& options() const;
  const TlsStats& tls_stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::net
