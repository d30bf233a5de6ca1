// Non-blocking TCP (IPv4, IPv6) and Unix sockets on a RealLoop. One RealNet per loop, used on that loop's thread.
//
// Accepting is bounded per turn. When the process is out of descriptors, listeners pause for kAcceptPause and say so in
// the log, instead of spinning on a backlog that they cannot take.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "server/io/io.h"
#include "server/io/real/loop.h"

namespace fairlead::io {

constexpr int kAcceptsPerTurnMax = 128;
constexpr int kListenBacklog = 1024;
constexpr Nanos kAcceptPause = 100 * kMillisecond;
constexpr size_t kGatherPartsMax = 1024;  // parts of one writev that reach the kernel in one call (IOV_MAX)

class RealNet final : public Net {
 public:
  // `workers` resolve names; `log` may be null.
  // `reuse_port`: listeners share their port with those of other processes that want it so, too.
  RealNet(RealLoop* loop, Workers* workers, Logger* log, bool reuse_port = false)
      : loop_(loop), workers_(workers), log_(log), reuse_port_(reuse_port) {}
  Result<std::unique_ptr<Listener>> listen(const std::string& address,
                                           std::function<void(std::unique_ptr<Stream>)> on_accept) override;
  std::unique_ptr<Stream> connect(const std::string& address) override;
  // Another descriptor of a listening socket, for the watchdog; by what Listener::address() says.
  Result<int> share_listener(const std::string& address) const;

 private:
  RealLoop* loop_;
  Workers* workers_;
  Logger* log_;
  bool reuse_port_;
  std::shared_ptr<std::map<std::string, int>> listeners_ = std::make_shared<std::map<std::string, int>>();
};

}  // namespace fairlead::io
