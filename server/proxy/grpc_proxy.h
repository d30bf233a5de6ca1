// `grpc-proxy start`: etcd's services between clients and a cluster, and its pages.
//
// What a flag or the service asks for is done here (namespace, cache, one watch for many, the list of proxies); every
// other message passes through as it came. Pages: /metrics (an endpoint's), /health (a read in the cluster),
// /proxy/metrics (ours), /proxy/health (a read, and a watch through this proxy).
// Threads: the loop. The routers' servers must be gone before this is.
#pragma once

#include <memory>
#include <string>

#include "server/net/router.h"
#include "server/proxy/kv_proxy.h"
#include "server/proxy/member_list.h"
#include "server/proxy/name_space.h"
#include "server/proxy/upstream.h"
#include "server/proxy/watch_proxy.h"

namespace fairlead::proxy {

constexpr io::Nanos kHealthReadTimeout = io::kSecond;
constexpr io::Nanos kHealthWatchTimeout = 3 * io::kSecond;
constexpr io::Nanos kOrderingRetry = io::kSecond;

struct GrpcProxyOptions {
  UpstreamOptions upstream;
  MemberListOptions members;
  std::string name_space;
  bool ordering = false;
  bool log_calls = false;                 // --experimental-enable-grpc-logging
  io::Nanos endpoints_sync_interval = 0;  // 0: never
};

class GrpcProxy {
 public:
  GrpcProxy(const io::World& world, GrpcProxyOptions options);
  ~GrpcProxy();
  // `done` runs on the loop when calls may be served: with ordering, when the cluster has told its revision.
  void start(std::function<void()> done);
  void add_routes(net::Router& router);  // services and pages
  void add_pages(net::Router& router);   // pages alone; metrics of calls are of the router of add_routes()

 private:
  class CallLog;

  void pass_on(net::Router& router, const std::string& service, std::initializer_list<const char*> methods,
               bool repeatable);
  void pass_stream(net::Router& router, const std::string& path, net::MethodKind kind);
  void add_lease(net::Router& router);
  void recover_order(std::function<void()> done);
  void sync_endpoints();
  void page(net::HttpRequest request, net::HttpReplyPtr reply);
  void health(bool of_proxy, net::HttpReplyPtr reply);
  void watch_health(net::HttpReplyPtr reply);
  void member_metrics(net::HttpReplyPtr reply);
  std::string own_metrics() const;

  const io::World world_;
  const GrpcProxyOptions options_;
  const Namespace name_space_;
  Upstream upstream_;
  WatchProxy watches_;
  KvProxy kv_;
  MemberList members_;
  std::unique_ptr<CallLog> call_log_;
  const net::Router* router_ = nullptr;
  uint64_t health_good_ = 0, health_bad_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace fairlead::proxy
