// The Lease service.
#include "server/api/api.h"
#include "server/api/proto_util.h"

namespace fairlead::api {
namespace {

using namespace etcdserverpb;

constexpr size_t kKeepAlivesInFlightMax = 1000;  // of one stream; then its input waits

// Answers come in the order of the requests, as etcd's do: it serves one at a time.
class KeepAliveCall final : public net::CallHandler {
 public:
  explicit KeepAliveCall(Api& api) : api_(api) {}
  ~KeepAliveCall() override { *alive_ = false; }

  void on_message(net::ServerCall& call, Bytes in) override {
    LeaseKeepAliveRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call.finish(s);
    waiting_.push_back(request.id());
    if (waiting_.size() >= kKeepAlivesInFlightMax) call.pause_input(true);
    if (waiting_.size() == 1) serve(call.ref());
  }
  void on_half_close(net::ServerCall& call) override {
    closed_ = true;
    if (waiting_.empty()) call.finish(Status());
  }

 private:
  void serve(net::CallRef call) {
    api_.with_caller(call, [this, call, alive = alive_](const Result<node::Caller>& who) {
      if (!*alive || call->done()) return;
      if (!who.is_ok()) return call->finish(who.status());
      serve_as(*who, call);
    });
  }
  void serve_as(const node::Caller& who, net::CallRef call) {
    int64_t id = waiting_.front();
    api_.node().lease_keep_alive(who, id, [this, call, id, alive = alive_](const Status& status, int64_t ttl) {
      if (!*alive || call->done()) return;
      if (!status.is_ok()) return call->finish(status);
      LeaseKeepAliveResponse reply;
      fill(reply.mutable_header(), api_.header());
      reply.set_id(id);
      reply.set_ttl(ttl);
      call->send_message(serialize(reply));
      waiting_.pop_front();
      call->pause_input(false);
      if (!waiting_.empty()) return serve(call);
      if (closed_) call->finish(Status());
    });
  }

  Api& api_;
  std::deque<int64_t> waiting_;
  bool closed_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace

void Api::add_lease(net::Router& router) {
  router.add_unary("/etcdserverpb.Lease/LeaseGrant", [this](net::CallRef call, Bytes in) {
    LeaseGrantRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    node_.lease_grant(request.id(), request.ttl(), [this, call](const Status& status, const mvcc::ApplyResult* result) {
      if (!status.is_ok()) return call->finish(status);
      const auto& granted = std::get<mvcc::LeaseGrantResult>(result->reply);
      LeaseGrantResponse reply;
      fill(reply.mutable_header(), header(result->revision));
      reply.set_id(granted.id);
      reply.set_ttl(granted.ttl);
      call->reply(serialize(reply));
    });
  });
  auto revoke = [this](net::CallRef call, Bytes in) {
    LeaseRevokeRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    Result<node::Caller> who = caller(call);
    if (!who.is_ok()) return call->finish(who.status());
    node_.propose(*who, mvcc::LeaseRevokeRequest{request.id()},
                  [this, call](const Status& status, const mvcc::ApplyResult* result) {
                    if (!status.is_ok()) return call->finish(status);
                    call->reply(encode_header_only(header(result->revision)));
                  });
  };
  router.add_unary("/etcdserverpb.Lease/LeaseRevoke", revoke);
  router.add_stream(
      "/etcdserverpb.Lease/LeaseKeepAlive", net::MethodKind::kBidi,
      [this](net::ServerCall&) -> std::unique_ptr<net::CallHandler> { return std::make_unique<KeepAliveCall>(*this); });
  router.add_unary("/etcdserverpb.Lease/LeaseTimeToLive", [this](net::CallRef call, Bytes in) {
    LeaseTimeToLiveRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    Result<node::Caller> who = caller(call);
    if (!who.is_ok()) return call->finish(who.status());
    node_.lease_time_to_live(*who, request.id(), request.keys(),
                             [this, call](const Status& status, const node::LeaseTimeToLive* ttl) {
                               if (!status.is_ok()) return call->finish(status);
                               LeaseTimeToLiveResponse reply;
                               fill(reply.mutable_header(), header());
                               reply.set_id(ttl->id);
                               reply.set_ttl(ttl->ttl);
                               reply.set_grantedttl(ttl->granted_ttl);
                               for (const std::string& key : ttl->keys) reply.add_keys(key);
                               call->reply(serialize(reply));
                             });
  });
  router.add_unary("/etcdserverpb.Lease/LeaseLeases", [this](net::CallRef call, Bytes) {
    Result<node::Caller> who = caller(call);
    if (!who.is_ok()) return call->finish(who.status());
    node_.lease_list(*who, [this, call](const Status& status, const std::vector<int64_t>* ids) {
      if (!status.is_ok()) return call->finish(status);
      LeaseLeasesResponse reply;
      fill(reply.mutable_header(), header());
      for (int64_t id : *ids) reply.add_leases()->set_id(id);
      call->reply(serialize(reply));
    });
  });
}

}  // namespace fairlead::api
