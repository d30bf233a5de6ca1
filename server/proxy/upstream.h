// Connections from the proxy to the endpoints of the cluster: one to each, kept open, used in turn.
//
// A call goes to an endpoint that has answered. Where there is none, it waits, at most kUpstreamWaitMax and its own
// time. A call that may be repeated is given to another endpoint when its connection breaks; any other one ends with
// kUnavailable, because nobody knows whether it was done. A broken connection is made anew, after a pause that doubles.
//
// Bounds: kUpstreamWaitingMax waiting calls, kUpstreamAttemptsMax attempts, kUpstreamEndpointsMax endpoints.
// Threads: the loop. Callbacks never run inside the call that registered them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "server/io/io.h"
#include "server/net/client.h"

namespace fairlead::proxy {

constexpr io::Nanos kUpstreamWaitMax = 5 * io::kSecond;
constexpr io::Nanos kUpstreamPauseMin = 100 * io::kMillisecond;
constexpr io::Nanos kUpstreamPauseMax = 3 * io::kSecond;
constexpr size_t kUpstreamWaitingMax = 16 * 1024;
constexpr size_t kUpstreamEndpointsMax = 64;
constexpr int kUpstreamAttemptsMax = 3;

// "https://HOST:PORT" -> "tls:HOST:PORT" as net::TlsNet dials it; without a scheme, TLS where `secure_by_default`.
std::string dial_address(const std::string& endpoint, bool secure_by_default);

struct UpstreamOptions {
  std::vector<std::string> endpoints;  // URLs, or HOST:PORT
  bool secure_by_default = false;
  size_t send_bytes_max = 0;  // of one request; 0: any
  net::ClientOptions client;
};

struct UpstreamCall {
  std::string path = {};
  Bytes request = {};
  net::Metadata metadata = {};
  io::Nanos deadline = 0;  // loop time; 0: none
  bool repeatable = false;
};

class Upstream {
 public:
  using Done = std::function<void(const Status&, Bytes reply)>;
  using ClientPtr = std::shared_ptr<net::Client>;

  Upstream(const io::World& world, UpstreamOptions options);
  ~Upstream();  // nothing is called back any more
  Upstream(const Upstream&) = delete;
  Upstream& operator=(const Upstream&) = delete;

  uint64_t unary(UpstreamCall call, Done done);
  void cancel(uint64_t id);  // `done` is not called; unknown or finished: no effect
  // A connection to open streams on; null: no endpoint is there now. Keep it as long as the stream; see when_ready().
  ClientPtr client();
  // Runs once, when there is a connection, or with an error after kUpstreamWaitMax. Returns an id for cancel().
  uint64_t when_ready(std::function<void(const Status&, ClientPtr)> then);

  void set_endpoints(const std::vector<std::string>& endpoints);  // those that are known stay connected
  std::vector<std::string> endpoints() const;
  bool secure() const;  // TLS is the rule

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace fairlead::proxy
