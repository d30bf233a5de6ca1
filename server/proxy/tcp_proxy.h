// `gateway start`: connections of clients are passed on, byte by byte, to an endpoint of the cluster that answers.
//
// An endpoint that cannot be connected to is left out, and tried again every retry_delay; the connection that found it
// so goes to the next one. When none is left, the client's connection is closed.
// Either side may say that it has no more to say: the other is told so when it has got all, and goes on. A pair of
// which one side has ended closes when the other is silent for kHalfOpenIdleMax: nobody may be there any more.
//
// Bounds: connections_max pairs; per direction what one read brought and the other side has not taken
// (kTcpReadBytes), and then nothing more is read; kTcpDialTimeout for a connection to an endpoint.
// Threads: the loop. Protocol: none, so TLS is between client and cluster.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "server/io/io.h"
#include "server/proxy/endpoint_pick.h"

namespace fairlead::proxy {

constexpr size_t kTcpReadBytes = 64 * 1024;
constexpr size_t kTcpConnectionsMax = 32 * 1024;
constexpr io::Nanos kTcpDialTimeout = 10 * io::kSecond;
constexpr io::Nanos kHalfOpenIdleMax = 60 * io::kSecond;
constexpr io::Nanos kRetryDelayDefault = 300 * io::kSecond;  // where none is wanted: as etcd

struct TcpProxyOptions {
  std::vector<Endpoint> endpoints;
  io::Nanos retry_delay = 60 * io::kSecond;  // 0: kRetryDelayDefault
  size_t connections_max = kTcpConnectionsMax;
};

struct TcpProxyStats {
  uint64_t open = 0;
  uint64_t total = 0;
  uint64_t refused = 0;      // over connections_max
  uint64_t unreachable = 0;  // closed because no endpoint was left
};

class TcpProxy {
 public:
  TcpProxy(const io::World& world, TcpProxyOptions options);
  ~TcpProxy();  // closes all
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  Result<std::string> listen(const std::string& address);  // the address with the port that was taken
  const TcpProxyStats& stats() const;

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::proxy
