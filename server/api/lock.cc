// The lock service (v3lockpb.Lock): locks for clients that have no library for them.
#include "proto/lock.pb.h"
#include "server/api/claim.h"
#include "server/api/proto_util.h"

namespace fairlead::api {
namespace {

// Gives a claim up when its call is cancelled. The call owns it.
class ClaimCall final : public net::CallHandler {
 public:
  explicit ClaimCall(std::shared_ptr<Claim> claim) : claim_(std::move(claim)) {}
  void on_cancel(net::ServerCall&, const Status&) override { claim_->abandon(); }

 private:
  std::shared_ptr<Claim> claim_;
};

}  // namespace

void Api::run_claim(net::CallRef call, std::shared_ptr<Claim> claim,
                    std::function<Bytes(const Claim& claim, int64_t revision)> reply) {
  call->set_handler(std::make_unique<ClaimCall>(claim));
  Claim* c = claim.get();  // alive while it answers
  claim->acquire([call, c, reply = std::move(reply)](const Status& status, int64_t revision) {
    // Errors of the recipe reach clients as its library words them, without etcd's codes.
    if (!status.is_ok()) return call->finish({Code::kUnknown, std::string(status.message())});
    call->reply(reply(*c, revision));
  });
}

void Api::add_lock(net::Router& router) {
  router.add_unary("/v3lockpb.Lock/Lock", [this](net::CallRef call, Bytes in) {
    v3lockpb::LockRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    Result<node::Caller> who = caller(call);
    if (!who.is_ok()) return call->finish(who.status());
    auto claim = std::make_shared<Claim>(*this, *who, Claim::Kind::kLock, request.name(), request.lease(), "");
    run_claim(call, std::move(claim), [this](const Claim& c, int64_t revision) {
      v3lockpb::LockResponse reply;
      fill(reply.mutable_header(), header(revision));
      reply.set_key(c.key());
      return serialize(reply);
    });
  });
  router.add_unary("/v3lockpb.Lock/Unlock", [this](net::CallRef call, Bytes in) {
    v3lockpb::UnlockRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    Result<node::Caller> who = caller(call);
    if (!who.is_ok()) return call->finish(who.status());
    mvcc::DeleteRangeRequest gone;
    gone.key = request.key();
    if (Status s = mvcc::check(gone); !s.is_ok()) return call->finish({Code::kUnknown, std::string(s.message())});
    node_.propose(*who, gone, [this, call](const Status& status, const mvcc::ApplyResult* result) {
      if (!status.is_ok()) return call->finish({Code::kUnknown, std::string(status.message())});
      v3lockpb::UnlockResponse reply;
      fill(reply.mutable_header(), header(result->revision));
      call->reply(serialize(reply));
    });
  });
}

}  // namespace fairlead::api
