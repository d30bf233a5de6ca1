// The Watch service of the grpc-proxy: the streams around the hub (watch_hub.h).
//
// A stream to the cluster that is lost is opened again, on any endpoint, for as long as a client's stream needs it.
// Threads: the loop.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "server/net/router.h"
#include "server/proxy/upstream.h"
#include "server/proxy/watch_hub.h"

namespace fairlead::proxy {

constexpr io::Nanos kWatchReopenPause = 100 * io::kMillisecond;

class WatchProxy final : private WatchHub::Output {
 public:
  WatchProxy(const io::World& world, Upstream& upstream, const Namespace& name_space);
  ~WatchProxy() override;
  void add_routes(net::Router& router);
  WatchHub::Stats stats() const { return hub_->stats(); }
  // A watch of the proxy itself: sees every answer, until it is closed.
  using Listener = std::function<void(const etcdserverpb::WatchResponse&)>;
  WatchHub::StreamId listen(const etcdserverpb::WatchRequest& request, Listener listener);
  void close(WatchHub::StreamId stream);

 private:
  class Client;
  class Up;

  void send(WatchHub::StreamId stream, std::span<const Bytes> parts) override;
  size_t queued_bytes(WatchHub::StreamId stream) override;
  void end(WatchHub::StreamId stream, const Status& status) override;
  void open_up(WatchHub::UpId up, const WatchHub::Who& who) override;
  void send_up(WatchHub::UpId up, const etcdserverpb::WatchRequest& request) override;
  void close_up(WatchHub::UpId up) override;
  void later(std::function<void()> f);

  const io::World world_;
  Upstream& upstream_;
  std::map<WatchHub::StreamId, Client*> clients_;
  std::map<WatchHub::StreamId, Listener> listeners_;
  std::map<WatchHub::UpId, std::shared_ptr<Up>> ups_;
  std::unique_ptr<WatchHub> hub_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace fairlead::proxy
