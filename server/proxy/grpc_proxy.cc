#include "server/proxy/grpc_proxy.h"

#include <utility>

#include "server/net/router.h"
#include "server/proxy/forward.h"
#include "server/proxy/wire.h"

namespace fairlead::proxy {

namespace {

constexpr const char* kTimeToLive = "/etcdserverpb.Lease/LeaseTimeToLive";

}  // namespace

// A line for each call that has ended. What was in it stays out: values and passwords are nobody else's business.
class GrpcProxy::CallLog final : public net::CallObserver {
 public:
  explicit CallLog(const io::World& world) : world_(world) {}
  void on_start(net::ServerCall& call, const net::Router::Route&) override { call.note().began = world_.loop->now(); }
  void on_request(net::ServerCall& call, const net::Router::Route&, const Bytes& request) override {
    request_bytes(call) += request.size();
  }
  void on_end(net::ServerCall& call, const net::Router::Route& route, const Status& status,
              std::span<const Bytes> reply) override {
    size_t reply_bytes = 0;
    for (const Bytes& part : reply) reply_bytes += part.size();
    world_.log->info("finished call", {{"grpc.service", route.service},
                                       {"grpc.method", route.method},
                                       {"peer.address", std::string(call.peer_address())},
                                       {"grpc.code", code_name(status.code())},
                                       {"grpc.error", std::string(status.message())},
                                       {"grpc.request.bytes", request_bytes(call)},
                                       {"grpc.response.bytes", reply_bytes},
                                       {"grpc.time_ms", (world_.loop->now() - call.note().began) / io::kMillisecond}});
  }

 private:
  static uint64_t& request_bytes(net::ServerCall& call) { return call.note().trace; }
  const io::World world_;
};

GrpcProxy::GrpcProxy(const io::World& world, GrpcProxyOptions options)
    : world_(world),
      options_(std::move(options)),
      name_space_(options_.name_space),
      upstream_(world_, options_.upstream),
      watches_(world_, upstream_, name_space_),
      kv_(upstream_, name_space_, options_.ordering),
      members_(world_, upstream_, watches_, name_space_, options_.members) {
  if (options_.log_calls) call_log_ = std::make_unique<CallLog>(world_);
}

GrpcProxy::~GrpcProxy() { *alive_ = false; }

void GrpcProxy::start(std::function<void()> done) {
  if (options_.endpoints_sync_interval > 0) sync_endpoints();
  if (options_.ordering) return recover_order(std::move(done));
  world_.loop->post(std::move(done));
}

// What a client has read through another proxy must not be newer than what it reads here.
void GrpcProxy::recover_order(std::function<void()> done) {
  etcdserverpb::RangeRequest request;
  request.set_key("_");
  request.set_keys_only(true);
  UpstreamCall call{"/etcdserverpb.KV/Range", serialize(request)};
  call.repeatable = true;
  upstream_.unary(std::move(call), [this, alive = alive_, done = std::move(done)](const Status& status, Bytes bytes) {
    if (!*alive) return;
    etcdserverpb::RangeResponse reply;
    if (status.is_ok() && parse(bytes, reply).is_ok()) {
      kv_.seen_revision(reply.header().revision());
      return done();
    }
    world_.log->warn("ordering recovery failed, retrying in 1s", {{"error", status.message()}});
    world_.loop->add_timer(world_.loop->now() + kOrderingRetry, [this, alive, done] {
      if (*alive) recover_order(done);
    });
  });
}

// --endpoints-auto-sync-interval: the members' own client URLs take the place of the endpoints.
void GrpcProxy::sync_endpoints() {
  world_.loop->add_timer(world_.loop->now() + options_.endpoints_sync_interval, [this, alive = alive_] {
    if (!*alive) return;
    etcdserverpb::MemberListRequest request;
    UpstreamCall call{"/etcdserverpb.Cluster/MemberList", serialize(request)};
    call.repeatable = true;
    upstream_.unary(std::move(call), [this, alive](const Status& status, Bytes bytes) {
      if (!*alive) return;
      etcdserverpb::MemberListResponse reply;
      std::vector<std::string> urls;
      if (status.is_ok() && parse(bytes, reply).is_ok())
        for (const auto& member : reply.members())
          if (!member.islearner() && !member.name().empty())
            for (const std::string& url : member.clienturls()) urls.push_back(url);
      if (urls.empty())
        world_.log->warn("cannot learn the endpoints of the members", {{"error", status.message()}});
      else
        upstream_.set_endpoints(urls);
      sync_endpoints();
    });
  });
}

void GrpcProxy::pass_on(net::Router& router, const std::string& service, std::initializer_list<const char*> methods,
                        bool repeatable) {
  for (const char* method : methods) {
    std::string path = "/" + service + "/" + method;
    // What users and leases may do changes answers that were kept.
    bool changes = !repeatable && (service == "etcdserverpb.Auth" || service == "etcdserverpb.Lease");
    router.add_unary(path, [this, path, repeatable, changes](net::CallRef call, Bytes in) {
      forward(upstream_, call, upstream_call(*call, path, std::move(in), repeatable),
              [this, changes](net::ServerCall& c, const Status& status, Bytes reply) {
                if (changes) kv_.cache().clear();
                answer_as_is(c, status, std::move(reply));
              });
    });
  }
}

void GrpcProxy::pass_stream(net::Router& router, const std::string& path, net::MethodKind kind) {
  router.add_stream(path, kind, [this](net::ServerCall& call) { return make_pipe(upstream_, call); });
}

void GrpcProxy::add_lease(net::Router& router) {
  pass_on(router, "etcdserverpb.Lease", {"LeaseGrant", "LeaseRevoke"}, false);
  pass_on(router, "etcdserverpb.Lease", {"LeaseLeases"}, true);
  pass_stream(router, "/etcdserverpb.Lease/LeaseKeepAlive", net::MethodKind::kBidi);
  router.add_unary(kTimeToLive, [this](net::CallRef call, Bytes in) {
    forward(upstream_, call, upstream_call(*call, kTimeToLive, std::move(in), true),
            [this](net::ServerCall& c, Status status, Bytes reply) {
              etcdserverpb::LeaseTimeToLiveResponse message;
              if (status.is_ok() && !name_space_.empty()) {
                status = parse(reply, message);
                name_space_.response(message);
                reply = serialize(message);
              }
              answer_as_is(c, status, std::move(reply));
            });
  });
}

void GrpcProxy::add_routes(net::Router& router) {
  router_ = &router;
  kv_.add_routes(router);
  watches_.add_routes(router);
  add_lease(router);
  members_.add_routes(router);
  pass_on(router, "etcdserverpb.Maintenance", {"Alarm", "Defragment", "MoveLeader", "Downgrade"}, false);
  pass_on(router, "etcdserverpb.Maintenance", {"Status", "Hash", "HashKV"}, true);
  pass_stream(router, "/etcdserverpb.Maintenance/Snapshot", net::MethodKind::kServerStream);
  pass_on(router, "etcdserverpb.Auth",
          {"AuthEnable", "AuthDisable", "UserAdd", "UserDelete", "UserChangePassword", "UserGrantRole",
           "UserRevokeRole", "RoleAdd", "RoleDelete", "RoleGrantPermission", "RoleRevokePermission"},
          false);
  pass_on(router, "etcdserverpb.Auth", {"AuthStatus", "Authenticate", "UserGet", "UserList", "RoleGet", "RoleList"},
          true);
  pass_on(router, "v3lockpb.Lock", {"Lock", "Unlock"}, false);
  pass_on(router, "v3electionpb.Election", {"Campaign", "Proclaim", "Resign"}, false);
  pass_on(router, "v3electionpb.Election", {"Leader"}, true);
  pass_stream(router, "/v3electionpb.Election/Observe", net::MethodKind::kServerStream);
  if (call_log_) router.set_observer(call_log_.get());
  add_pages(router);
}

}  // namespace fairlead::proxy
