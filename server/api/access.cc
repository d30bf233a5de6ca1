#include "server/api/access.h"

#include <unordered_map>

#include "server/api/api.h"
#include "server/mvcc/errors.h"

namespace fairlead::api {
namespace {

const std::unordered_map<std::string_view, Access>& table() {
  using enum Access;
  static const std::unordered_map<std::string_view, Access> classes = {
      {"/etcdserverpb.KV/Range", kKeys},
      {"/etcdserverpb.KV/RangeStream", kKeys},
      {"/etcdserverpb.KV/Put", kKeys},
      {"/etcdserverpb.KV/DeleteRange", kKeys},
      {"/etcdserverpb.KV/Txn", kKeys},
      {"/etcdserverpb.KV/Compact", kAdmin},
      {"/etcdserverpb.Watch/Watch", kKeys},
      {"/etcdserverpb.Lease/LeaseGrant", kAnyUser},
      {"/etcdserverpb.Lease/LeaseRevoke", kAnyUser},
      {"/etcdserverpb.Lease/LeaseKeepAlive", kKeys},
      {"/etcdserverpb.Lease/LeaseTimeToLive", kAnyUser},
      {"/etcdserverpb.Lease/LeaseLeases", kAnyUser},
      {"/fairleadpb.Probe/Write", kAnyUser},
      {"/fairleadpb.Top/Look", kAdmin},
      {"/etcdserverpb.Cluster/MemberAdd", kAdmin},
      {"/etcdserverpb.Cluster/MemberRemove", kAdmin},
      {"/etcdserverpb.Cluster/MemberUpdate", kAdmin},
      {"/etcdserverpb.Cluster/MemberPromote", kAdmin},
      {"/etcdserverpb.Cluster/MemberList", kAnyUser},
      {"/etcdserverpb.Maintenance/Alarm", kAnyUser},
      {"/etcdserverpb.Maintenance/Status", kAnyUser},
      {"/etcdserverpb.Maintenance/Defragment", kAdmin},
      {"/etcdserverpb.Maintenance/Hash", kAdmin},
      {"/etcdserverpb.Maintenance/HashKV", kAdmin},
      {"/etcdserverpb.Maintenance/Snapshot", kAdmin},
      {"/etcdserverpb.Maintenance/MoveLeader", kAdmin},
      {"/etcdserverpb.Maintenance/Downgrade", kAdmin},
      {"/etcdserverpb.Auth/AuthEnable", kAdmin},
      {"/etcdserverpb.Auth/AuthDisable", kAdmin},
      {"/etcdserverpb.Auth/AuthStatus", kOpen},
      {"/etcdserverpb.Auth/Authenticate", kOpen},
      {"/etcdserverpb.Auth/UserAdd", kAdmin},
      {"/etcdserverpb.Auth/UserGet", kAnyUser},
      {"/etcdserverpb.Auth/UserList", kAdmin},
      {"/etcdserverpb.Auth/UserDelete", kAdmin},
      {"/etcdserverpb.Auth/UserChangePassword", kAdmin},
      {"/etcdserverpb.Auth/UserGrantRole", kAdmin},
      {"/etcdserverpb.Auth/UserRevokeRole", kAdmin},
      {"/etcdserverpb.Auth/RoleAdd", kAdmin},
      {"/etcdserverpb.Auth/RoleGet", kAnyUser},
      {"/etcdserverpb.Auth/RoleList", kAdmin},
      {"/etcdserverpb.Auth/RoleDelete", kAdmin},
      {"/etcdserverpb.Auth/RoleGrantPermission", kAdmin},
      {"/etcdserverpb.Auth/RoleRevokePermission", kAdmin},
      {"/v3lockpb.Lock/Lock", kKeys},
      {"/v3lockpb.Lock/Unlock", kKeys},
      {"/v3electionpb.Election/Campaign", kKeys},
      {"/v3electionpb.Election/Proclaim", kKeys},
      {"/v3electionpb.Election/Leader", kKeys},
      {"/v3electionpb.Election/Observe", kKeys},
      {"/v3electionpb.Election/Resign", kKeys},
      {"/grpc.health.v1.Health/Check", kOpen},
      {"/grpc.health.v1.Health/List", kOpen},
      {"/grpc.health.v1.Health/Watch", kOpen},
      {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", kOpen},
      {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", kOpen},
  };
  return classes;
}

}  // namespace

const Access* access_of(std::string_view path) {
  auto it = table().find(path);
  return it == table().end() ? nullptr : &it->second;
}

Asker Api::asker(const net::CallRef& call) {
  Result<node::Caller> who = caller(call);
  return {who.is_ok() ? who->user : std::string(), std::string(call->peer_address())};
}

Result<node::Caller> Api::caller(const net::CallRef& call) {
  if (!node_.auth().enabled()) return node::Caller();
  if (admitted_call_ == call.get()) return *admitted_;
  return identities_.resolve(*call);
}

Status Api::require_user(const net::CallRef& call) {
  ASSIGN_OR_RETURN(node::Caller who, caller(call));
  return node_.auth().enabled() && who.nobody() ? mvcc::err_user_empty() : Status();
}

Status Api::require_admin(const net::CallRef& call) {
  ASSIGN_OR_RETURN(node::Caller who, caller(call));
  return node_.check_admin(who);
}

void Api::with_caller(const net::CallRef& call, std::function<void(const Result<node::Caller>&)> use) {
  if (!node_.auth().enabled()) return use(node::Caller());
  Result<node::Caller> who = caller(call);
  if (who.is_ok() && !who->nobody()) return use(who);
  identities_.learn(call, [this, call, use = std::move(use)](const Status& learned) {
    if (!call->done()) use(learned.is_ok() ? caller(call) : learned);
  });
}

void Api::with_http_admin(const net::HttpRequest& request, std::string common_name,
                          std::function<void(const Status&)> use) {
  if (!node_.auth().enabled()) return use(Status());
  std::string token(Identities::without_bearer(request.header("authorization")));
  auto judge = [this, token, common_name = std::move(common_name)]() -> Status {
    ASSIGN_OR_RETURN(node::Caller who, identities_.resolve(token, common_name));
    return node_.check_admin(who);
  };
  if (judge().is_ok()) return use(Status());
  identities_.learn(token,
                    [judge, use = std::move(use)](const Status& learned) { use(learned.is_ok() ? judge() : learned); });
}

// ---- the gate before every handler

Status Api::admit(Access access, const Result<node::Caller>& who) const {
  RETURN_IF_ERROR(who.status());
  if (!node_.auth().enabled()) return {};
  if (access == Access::kAdmin) return node_.check_admin(*who);
  return who->nobody() ? mvcc::err_user_empty() : Status();
}

// A refusal is said only after this member has caught up: it may not know the token yet, or a right that was granted
// through another member.
void Api::run_admitted(Access access, const net::UnaryMethod& inner, net::CallRef call, Bytes request, bool again) {
  Result<node::Caller> who = caller(call);
  if (Status s = admit(access, who); !s.is_ok()) {
    if (again) return call->finish(s);
    return identities_.learn(call, [this, access, &inner, call, request](const Status& learned) {
      if (!learned.is_ok()) return call->finish(learned);
      if (!call->done()) run_admitted(access, inner, call, request, true);
    });
  }
  admitted_call_ = call.get();
  admitted_ = &*who;
  inner(std::move(call), std::move(request));
  admitted_call_ = nullptr;
  admitted_ = nullptr;
}

namespace {

// A stream whose caller is not known yet: what it sends waits, one message at a time, then the real handler takes over.
class Waiting final : public net::CallHandler {
 public:
  void on_message(net::ServerCall& call, Bytes in) override {
    if (inner_ && !replaying_) return inner_->on_message(call, std::move(in));
    messages_.push_back(std::move(in));
    if (!inner_) call.pause_input(true);
  }
  void on_half_close(net::ServerCall& call) override {
    if (inner_ && !replaying_) return inner_->on_half_close(call);
    half_closed_ = true;
  }
  void on_cancel(net::ServerCall& call, const Status& why) override {
    if (inner_) inner_->on_cancel(call, why);
  }
  void on_drained(net::ServerCall& call) override {
    if (inner_) inner_->on_drained(call);
  }
  void become(net::ServerCall& call, std::unique_ptr<net::CallHandler> inner) {
    inner_ = std::move(inner);
    if (!inner_) return;
    replaying_ = true;
    call.pause_input(false);  // more may come within this call
    for (size_t i = 0; i < messages_.size() && !call.done(); ++i) inner_->on_message(call, std::move(messages_[i]));
    messages_.clear();
    replaying_ = false;
    if (half_closed_ && !call.done()) inner_->on_half_close(call);
  }

 private:
  std::unique_ptr<net::CallHandler> inner_;
  std::vector<Bytes> messages_;
  bool replaying_ = false;
  bool half_closed_ = false;
};

}  // namespace

std::unique_ptr<net::CallHandler> Api::open_admitted(Access access, const net::StreamMethod& inner,
                                                     net::ServerCall& call) {
  Status s = admit(access, caller(call.ref()));
  if (s.is_ok()) return inner(call);
  auto waiting = std::make_unique<Waiting>();
  // The handler lives as long as the call is not done.
  identities_.learn(call.ref(),
                    [this, access, &inner, ref = call.ref(), handler = waiting.get()](const Status& learned) {
                      if (ref->done()) return;
                      if (!learned.is_ok()) return ref->finish(learned);
                      if (Status again = admit(access, caller(ref)); !again.is_ok()) return ref->finish(again);
                      handler->become(*ref, inner(*ref));
                    });
  return waiting;
}

void Api::guard(net::Router& router) {
  for (const auto& route : router.routes()) {
    const Access* known = access_of(route->path);
    Access access = known ? *known : Access::kAdmin;
    if (access == Access::kOpen) continue;
    if (route->unary) {
      auto inner = std::make_shared<net::UnaryMethod>(std::move(route->unary));
      route->unary = [this, access, inner](net::CallRef call, Bytes request) {
        if (!node_.auth().enabled()) return (*inner)(std::move(call), std::move(request));
        run_admitted(access, *inner, std::move(call), std::move(request), false);
      };
    } else if (access != Access::kKeys) {  // those ask for themselves, message by message
      auto inner = std::make_shared<net::StreamMethod>(std::move(route->stream));
      route->stream = [this, access, inner](net::ServerCall& call) {
        return node_.auth().enabled() ? open_admitted(access, *inner, call) : (*inner)(call);
      };
    }
  }
}

}  // namespace fairlead::api
