// The Lease service.
#include <deque>
#include <optional>

#include "server/api/api.h"
#include "server/api/proto_util.h"

namespace fairlead::api {
namespace {

using namespace etcdserverpb;

// Answers come in the order of the requests, as etcd's do. What a client has sent at once is asked at once: one barrier
// serves it all.
class KeepAliveCall final : public net::CallHandler {
 public:
  explicit KeepAliveCall(Api& api) : api_(api) {}
  ~KeepAliveCall() override { *alive_ = false; }

  void on_message(net::ServerCall& call, Bytes in) override {
    LeaseKeepAliveRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call.finish(s);
    waiting_.push_back({request.id(), {}, std::nullopt});
    if (waiting_.size() >= kKeepAlivesInFlightMax) call.pause_input(paused_ = true);
    ask(call.ref(), first_ + waiting_.size() - 1, request.id());
  }
  void on_half_close(net::ServerCall& call) override {
    closed_ = true;
    if (waiting_.empty()) call.finish(Status());
  }

 private:
  struct Request {
    int64_t id = 0;
    Status status;
    std::optional<int64_t> ttl;  // the answer; of no meaning with an error
  };

  void ask(net::CallRef call, uint64_t number, int64_t id) {
    api_.with_caller(call, [this, call, number, id, alive = alive_](const Result<node::Caller>& who) {
      if (!*alive || call->done()) return;
      if (!who.is_ok()) return answer(call, number, who.status(), 0);
      api_.node().lease_keep_alive(*who, id, [this, call, number, alive](const Status& status, int64_t ttl) {
        if (*alive && !call->done()) answer(call, number, status, ttl);
      });
    });
  }
  // Those in front of it may still wait.
  void answer(const net::CallRef& call, uint64_t number, const Status& status, int64_t ttl) {
    Request& request = waiting_[number - first_];
    request.status = status;
    request.ttl = ttl;
    for (; !waiting_.empty() && waiting_.front().ttl; waiting_.pop_front(), ++first_) {
      const Request& front = waiting_.front();
      if (!front.status.is_ok()) return call->finish(front.status);
      LeaseKeepAliveResponse reply;
      fill(reply.mutable_header(), api_.header());
      reply.set_id(front.id);
      reply.set_ttl(*front.ttl);
      call->send_message(serialize(reply));
    }
    if (paused_ && waiting_.size() < kKeepAlivesInFlightMax) call->pause_input(paused_ = false);
    if (waiting_.empty() && closed_ && !call->done()) call->finish(Status());
  }

  Api& api_;
  std::deque<Request> waiting_;
  uint64_t first_ = 0;  // the number of the one in front
  bool paused_ = false, closed_ = false;
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
