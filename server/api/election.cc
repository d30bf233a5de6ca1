// The election service (v3electionpb.Election): elections for clients that have no library for them.
#include "base/text.h"
#include "proto/election.pb.h"
#include "server/api/claim.h"
#include "server/api/proto_util.h"

namespace fairlead::api {
namespace {

using namespace v3electionpb;

// Recipes' errors have no code of their own.
Status plain(const Status& status) {
  return status.is_ok() ? status : Status(Code::kUnknown, std::string(status.message()));
}
Status missing_leader() { return {Code::kUnknown, "\"leader\" field must be provided"}; }

void fill(mvccpb::KeyValue* out, const mvcc::KeyValue& kv) {
  out->set_key(std::string(kv.key));
  out->set_value(std::string(kv.value));
  out->set_create_revision(kv.create_revision);
  out->set_mod_revision(kv.mod_revision);
  out->set_version(kv.version);
  out->set_lease(kv.lease);
}

mvcc::TxnRequest if_still_there(const LeaderKey& leader, mvcc::RequestOp then) {
  mvcc::TxnRequest txn;
  mvcc::Compare c;
  c.target = mvcc::CompareTarget::kCreate;
  c.key = leader.key();
  c.number = leader.rev();
  txn.compares.push_back(c);
  txn.success.push_back(std::move(then));
  return txn;
}

// The first key of an election, which is its leader's. `prefix` and `end` must outlive the call.
mvcc::RangeRequest leader_of(const std::string& prefix, const std::string& end) {
  mvcc::RangeRequest r;
  r.key = prefix;
  r.range_end = end;
  r.sort_order = mvcc::SortOrder::kAscend;
  r.sort_target = mvcc::SortTarget::kCreate;
  r.limit = 1;
  return r;
}

// Tells every leader and every value it proclaims: looks for the first key, follows it until it is deleted, looks
// again.
class ObserveCall final : public net::CallHandler, public node::WatchSink {
 public:
  ObserveCall(Api& api, net::ServerCall& call) : api_(api), call_(call.ref()) {}
  ~ObserveCall() override { stop_watch(); }

  void on_message(net::ServerCall& call, Bytes in) override {
    LeaderRequest request;
    Status status = parse(in, request);
    if (status.is_ok() && !prefix_.empty()) status = {Code::kInternal, "a server stream has one request message"};
    if (!status.is_ok()) return call.finish(status);
    prefix_ = request.name() + "/";
    end_ = prefix_end(prefix_);
    api_.with_caller(call_, [this](const Result<node::Caller>& who) {
      if (!who.is_ok()) return call_->finish(who.status());
      caller_ = *who;
      look();
    });
  }
  void on_cancel(net::ServerCall&, const Status&) override { stop_watch(); }

  void on_batch(const mvcc::WatchBatch& batch) override {
    for (const mvcc::WatchMessage& m : batch.messages) {
      etcdserverpb::WatchResponse response;
      for (size_t i = m.events_begin; i < m.events_end; ++i)
        response.MergeFromString(std::string(batch.events[i].view()));
      for (const mvccpb::Event& event : response.events()) {
        if (event.type() == mvccpb::Event::DELETE) return look_again();
        send(event.kv(), following_ ? m.revision : event.kv().mod_revision());
        if (!following_) return follow_next(event.kv());
      }
      if (m.canceled) return look_again();
    }
  }

 private:
  void look() {
    api_.node().range(caller_, Bytes(), leader_of(prefix_, end_),
                      [this, keep = call_, alive = alive_](const Status& status, const mvcc::RangeResult* result) {
                        if (!*alive || keep->done()) return;
                        if (!status.is_ok()) return keep->finish(plain(status));
                        if (result->kvs.items.empty()) {
                          following_ = false;
                          return watch(prefix_, end_, result->revision);
                        }
                        mvccpb::KeyValue kv;
                        fill(&kv, result->kvs.items[0]);
                        send(kv, result->revision);
                        following_ = true;
                        watch(kv.key(), "", result->revision + 1);
                      });
  }
  void watch(const std::string& key, const std::string& end, int64_t revision) {
    stop_watch();
    stream_ = api_.node().open_watch(this);
    mvcc::WatchCreateRequest create;
    create.key = key;
    create.range_end = end;
    create.start_revision = revision;
    create.no_delete = !following_;
    api_.node().watches().create(stream_, create);
  }
  // From inside a delivery: once it is over.
  void later(std::function<void()> step) {
    ignoring_ = stream_;
    stream_ = 0;
    api_.world().loop->post([this, alive = alive_, step = std::move(step)] {
      if (!*alive) return;
      if (ignoring_ != 0) api_.node().close_watch(std::exchange(ignoring_, 0));
      if (!call_->done()) step();
    });
  }
  void look_again() {
    later([this] { look(); });
  }
  void follow_next(const mvccpb::KeyValue& kv) {
    later([this, key = kv.key(), revision = kv.mod_revision()] {
      following_ = true;
      watch(key, "", revision + 1);
    });
  }
  void send(const mvccpb::KeyValue& kv, int64_t revision) {
    LeaderResponse response;
    api::fill(response.mutable_header(), api_.header(revision));
    *response.mutable_kv() = kv;
    call_->send_message(serialize(response));
  }
  void stop_watch() {
    for (mvcc::StreamId* stream : {&stream_, &ignoring_})
      if (*stream != 0) api_.node().close_watch(std::exchange(*stream, 0));
  }

  struct Flag {
    std::shared_ptr<bool> value = std::make_shared<bool>(true);
    ~Flag() { *value = false; }
  };

  Api& api_;
  net::CallRef call_;
  node::Caller caller_;
  std::string prefix_, end_;
  bool following_ = false;  // a leader's key; else the prefix, until one appears
  mvcc::StreamId stream_ = 0;
  mvcc::StreamId ignoring_ = 0;
  Flag flag_;
  std::shared_ptr<bool> alive_ = flag_.value;
};

}  // namespace

void Api::campaign(net::CallRef call, const Bytes& in) {
  CampaignRequest request;
  if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
  Result<node::Caller> who = caller(call);
  if (!who.is_ok()) return call->finish(who.status());
  auto claim =
      std::make_shared<Claim>(*this, *who, Claim::Kind::kElection, request.name(), request.lease(), request.value());
  run_claim(call, std::move(claim), [this, name = request.name()](const Claim& c, int64_t revision) {
    CampaignResponse reply;
    api::fill(reply.mutable_header(), header(revision));
    LeaderKey* leader = reply.mutable_leader();
    leader->set_name(name);
    leader->set_key(c.key());
    leader->set_rev(c.create_revision());
    leader->set_lease(c.lease());
    return serialize(reply);
  });
}

void Api::proclaim(net::CallRef call, const Bytes& in) {
  ProclaimRequest request;
  if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
  Result<node::Caller> who = caller(call);
  if (!who.is_ok()) return call->finish(who.status());
  if (!request.has_leader()) return call->finish(missing_leader());
  mvcc::PutRequest put;
  put.key = request.leader().key();
  put.value = request.value();
  put.lease = request.leader().lease();
  if (Status s = mvcc::check(put); !s.is_ok()) return call->finish(plain(s));
  node_.propose(*who, if_still_there(request.leader(), {put}),
                [this, call](const Status& status, const mvcc::ApplyResult* result) {
                  if (!status.is_ok()) return call->finish(plain(status));
                  if (!std::get<mvcc::TxnResult>(result->reply).succeeded)
                    return call->finish({Code::kUnknown, "election: not leader"});
                  ProclaimResponse reply;
                  api::fill(reply.mutable_header(), header(result->revision));
                  call->reply(serialize(reply));
                });
}

void Api::resign(net::CallRef call, const Bytes& in) {
  ResignRequest request;
  if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
  Result<node::Caller> who = caller(call);
  if (!who.is_ok()) return call->finish(who.status());
  if (!request.has_leader()) return call->finish(missing_leader());
  mvcc::DeleteRangeRequest gone;
  gone.key = request.leader().key();
  if (Status s = mvcc::check(gone); !s.is_ok()) return call->finish(plain(s));
  node_.propose(*who, if_still_there(request.leader(), {gone}),
                [this, call](const Status& status, const mvcc::ApplyResult* result) {
                  if (!status.is_ok()) return call->finish(plain(status));
                  ResignResponse reply;
                  api::fill(reply.mutable_header(), header(result->revision));
                  call->reply(serialize(reply));
                });
}

void Api::leader(net::CallRef call, const Bytes& in) {
  LeaderRequest request;
  if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
  Result<node::Caller> who = caller(call);
  if (!who.is_ok()) return call->finish(who.status());
  auto prefix = std::make_shared<std::pair<std::string, std::string>>();
  prefix->first = request.name() + "/";
  prefix->second = prefix_end(prefix->first);
  node_.range(*who, Bytes(), leader_of(prefix->first, prefix->second),
              [this, call, prefix](const Status& status, const mvcc::RangeResult* result) {
                if (!status.is_ok()) return call->finish(plain(status));
                if (result->kvs.items.empty()) return call->finish({Code::kUnknown, "election: no leader"});
                LeaderResponse reply;
                api::fill(reply.mutable_header(), header(result->revision));
                fill(reply.mutable_kv(), result->kvs.items[0]);
                call->reply(serialize(reply));
              });
}

void Api::add_election(net::Router& router) {
  using net::CallRef;
  router.add_unary("/v3electionpb.Election/Campaign",
                   [this](CallRef call, Bytes in) { campaign(std::move(call), in); });
  router.add_unary("/v3electionpb.Election/Proclaim",
                   [this](CallRef call, Bytes in) { proclaim(std::move(call), in); });
  router.add_unary("/v3electionpb.Election/Leader", [this](CallRef call, Bytes in) { leader(std::move(call), in); });
  router.add_unary("/v3electionpb.Election/Resign", [this](CallRef call, Bytes in) { resign(std::move(call), in); });
  router.add_stream("/v3electionpb.Election/Observe", net::MethodKind::kServerStream,
                    [this](net::ServerCall& call) -> std::unique_ptr<net::CallHandler> {
                      return std::make_unique<ObserveCall>(*this, call);
                    });
}

}  // namespace fairlead::api
