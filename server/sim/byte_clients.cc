#include "server/sim/byte_clients.h"

#include "proto/rpc.pb.h"

namespace fairlead::sim {
namespace {

namespace pb = etcdserverpb;

constexpr const char* kAddress = "10.0.9.1";

template <typename Message>
Bytes bytes_of(const Message& m) {
  return Bytes::copy(m.SerializeAsString());
}

Kv to_kv(const mvccpb::KeyValue& kv) {
  return {kv.key(), kv.value(), kv.create_revision(), kv.mod_revision(), kv.version(), kv.lease()};
}

SubResult to_result(const pb::RangeResponse& r) {
  SubResult out;
  for (const auto& kv : r.kvs()) out.kvs.push_back(to_kv(kv));
  out.count = r.count();
  out.more = r.more();
  return out;
}
SubResult to_result(const pb::PutResponse& r) {
  SubResult out;
  if (r.has_prev_kv()) out.kvs.push_back(to_kv(r.prev_kv()));
  return out;
}
SubResult to_result(const pb::DeleteRangeResponse& r) {
  SubResult out;
  out.count = r.deleted();
  for (const auto& kv : r.prev_kvs()) out.kvs.push_back(to_kv(kv));
  return out;
}

template <typename Reply>
void take_one(Op& op, const Reply& reply) {
  op.revision = reply.header().revision();
  op.results.push_back(to_result(reply));
}

void take_txn(Op& op, const pb::TxnResponse& reply) {
  op.revision = reply.header().revision();
  op.succeeded = reply.succeeded();
  for (const auto& r : reply.responses()) {
    if (r.has_response_range()) op.results.push_back(to_result(r.response_range()));
    if (r.has_response_put()) op.results.push_back(to_result(r.response_put()));
    if (r.has_response_delete_range()) op.results.push_back(to_result(r.response_delete_range()));
  }
}

pb::RangeRequest to_range(const SubOp& sub, bool serializable) {
  pb::RangeRequest r;
  r.set_key(sub.key);
  r.set_range_end(sub.range_end);
  r.set_limit(sub.limit);
  r.set_revision(sub.revision);
  r.set_serializable(serializable);
  return r;
}
pb::PutRequest to_put(const SubOp& sub) {
  pb::PutRequest r;
  r.set_key(sub.key);
  r.set_value(sub.value);
  r.set_lease(sub.lease);
  r.set_prev_kv(sub.prev_kv);
  return r;
}
pb::DeleteRangeRequest to_delete(const SubOp& sub) {
  pb::DeleteRangeRequest r;
  r.set_key(sub.key);
  r.set_range_end(sub.range_end);
  r.set_prev_kv(sub.prev_kv);
  return r;
}
void add_op(const SubOp& sub, pb::RequestOp* op) {
  if (sub.kind == SubOp::Kind::kPut)
    *op->mutable_request_put() = to_put(sub);
  else if (sub.kind == SubOp::Kind::kDelete)
    *op->mutable_request_delete_range() = to_delete(sub);
  else
    *op->mutable_request_range() = to_range(sub, false);
}
pb::TxnRequest to_txn(const Op& op) {
  pb::TxnRequest txn;
  for (const Compare& c : op.compares) {
    pb::Compare* compare = txn.add_compare();
    compare->set_result(pb::Compare::EQUAL);
    compare->set_key(c.key);
    if (c.target == Compare::Target::kModRevision) {
      compare->set_target(pb::Compare::MOD);
      compare->set_mod_revision(c.number);
    } else if (c.target == Compare::Target::kVersion) {
      compare->set_target(pb::Compare::VERSION);
      compare->set_version(c.number);
    } else {
      compare->set_target(pb::Compare::VALUE);
      compare->set_value(c.value);
    }
  }
  for (const SubOp& sub : op.success) add_op(sub, txn.add_success());
  for (const SubOp& sub : op.failure) add_op(sub, txn.add_failure());
  return txn;
}

bool only_reads(const Op& op) {
  return op.kind == OpKind::kRange || op.kind == OpKind::kReadTxn || op.kind == OpKind::kLeaseKeepAlive;
}

// What an error says of the effect. A refusal by the keyspace is one of these codes; anything else may have been said
// by a member that could not know.
void take_error(Op& op, const Status& status) {
  op.error = std::string(status.message());
  bool refused = status.code() == Code::kNotFound || status.code() == Code::kOutOfRange ||
                 status.code() == Code::kInvalidArgument || status.code() == Code::kFailedPrecondition;
  op.outcome = only_reads(op) || refused ? Op::Outcome::kFailed : Op::Outcome::kUnknown;
}

}  // namespace

// One keepalive: a stream with one message each way.
class ByteClients::LeaseStream final : public net::ClientCallHandler {
 public:
  LeaseStream(ByteClients* owner, std::shared_ptr<Op> op, Answered answered)
      : owner_(owner), op_(std::move(op)), answered_(std::move(answered)) {}

  void open(net::Client& client) {
    net::ClientCall& call = client.open("/etcdserverpb.Lease/LeaseKeepAlive", this);
    call_ = &call;
    pb::LeaseKeepAliveRequest request;
    request.set_id(op_->lease);
    call.send_message(bytes_of(request));
  }
  void on_message(net::ClientCall& call, Bytes in) override {
    auto answer = std::make_shared<Op>(*op_);
    pb::LeaseKeepAliveResponse reply;
    if (!reply.ParseFromString(in.to_string())) return;
    answer->outcome = Op::Outcome::kOk;
    answer->ttl = reply.ttl();
    told_ = true;
    call.half_close();
    answered_(answer);
  }
  void on_end(net::ClientCall&, const Status& status) override {
    call_ = nullptr;
    if (!told_ && !owner_->closing_) {
      auto answer = std::make_shared<Op>(*op_);
      take_error(*answer, status);
      answered_(answer);
    }
    forget();
  }
  void cancel() {
    if (call_ != nullptr) call_->cancel();
    forget();
  }

 private:
  // Not inside its own callback.
  void forget() {
    owner_->world_.loop->post([owner = owner_, id = op_->id] { owner->streams_.erase(id); });
  }

  ByteClients* owner_;
  std::shared_ptr<Op> op_;
  Answered answered_;
  net::ClientCall* call_ = nullptr;
  bool told_ = false;
};

ByteClients::ByteClients(Cluster* cluster)
    : cluster_(cluster), host_(cluster->world().add_host(kAddress)), world_(cluster->world().start_process(host_)) {}

ByteClients::~ByteClients() {
  closing_ = true;  // what ends now is nobody's answer
  connections_.clear();
  streams_.clear();
  cluster_->world().end_process(host_, io::sim::End::kKill);
}

net::Client& ByteClients::connection(uint32_t client, size_t member) {
  std::unique_ptr<net::Client>& slot = connections_[{client, member}];
  if (slot && slot->broken()) {
    std::shared_ptr<net::Client> dead(slot.release());
    std::erase_if(calls_, [&](const auto& call) { return call.second.first == dead.get(); });
    world_.loop->post([dead] {});
  }
  if (!slot) {
    slot = std::make_unique<net::Client>(*world_.loop, world_.net->connect(Cluster::client_address(member)),
                                         net::ClientOptions());
  }
  return *slot;
}

void ByteClients::ask(uint32_t client, size_t member, std::shared_ptr<Op> op, Answered answered) {
  cluster_->world().post(host_, [this, client, member, op = std::move(op), answered = std::move(answered)] {
    send(connection(client, member), op, answered);
  });
}

void ByteClients::give_up(uint64_t op) {
  cluster_->world().post(host_, [this, op] {
    if (auto it = calls_.find(op); it != calls_.end()) {
      it->second.first->cancel_unary(it->second.second);
      calls_.erase(it);
    }
    if (auto it = streams_.find(op); it != streams_.end()) it->second->cancel();
  });
}

template <typename Reply, typename Request>
void ByteClients::unary(net::Client& client, const char* path, const Request& request, std::shared_ptr<Op> op,
                        const Answered& answered, void (*take)(Op&, const Reply&)) {
  uint64_t id = op->id;
  uint64_t call = client.unary(path, bytes_of(request), [this, op, answered, take](const Status& status, Bytes in) {
    if (closing_) return;
    calls_.erase(op->id);
    auto answer = std::make_shared<Op>(*op);
    Reply reply;
    if (!status.is_ok()) {
      take_error(*answer, status);
    } else if (!reply.ParseFromString(in.to_string())) {
      answer->error = "a reply that does not parse";
    } else {
      answer->outcome = Op::Outcome::kOk;
      take(*answer, reply);
    }
    answered(answer);
  });
  calls_[id] = {&client, call};
}

void ByteClients::send(net::Client& client, const std::shared_ptr<Op>& op, const Answered& answered) {
  switch (op->kind) {
    case OpKind::kPut:
      return unary<pb::PutResponse>(client, "/etcdserverpb.KV/Put", to_put(op->success[0]), op, answered,
                                    &take_one<pb::PutResponse>);
    case OpKind::kDelete:
      return unary<pb::DeleteRangeResponse>(client, "/etcdserverpb.KV/DeleteRange", to_delete(op->success[0]), op,
                                            answered, &take_one<pb::DeleteRangeResponse>);
    case OpKind::kRange:
      return unary<pb::RangeResponse>(client, "/etcdserverpb.KV/Range", to_range(op->success[0], op->serializable), op,
                                      answered, &take_one<pb::RangeResponse>);
    case OpKind::kTxn:
    case OpKind::kReadTxn:
      return unary<pb::TxnResponse>(client, "/etcdserverpb.KV/Txn", to_txn(*op), op, answered, &take_txn);
    case OpKind::kCompact: {
      pb::CompactionRequest request;
      request.set_revision(op->number);
      return unary<pb::CompactionResponse>(
          client, "/etcdserverpb.KV/Compact", request, op, answered,
          +[](Op& o, const pb::CompactionResponse& r) { o.revision = r.header().revision(); });
    }
    case OpKind::kLeaseGrant: {
      pb::LeaseGrantRequest request;
      request.set_id(op->lease);
      request.set_ttl(op->number);
      return unary<pb::LeaseGrantResponse>(
          client, "/etcdserverpb.Lease/LeaseGrant", request, op, answered, +[](Op& o, const pb::LeaseGrantResponse& r) {
            o.revision = r.header().revision();
            o.ttl = r.ttl();
          });
    }
    case OpKind::kLeaseRevoke: {
      pb::LeaseRevokeRequest request;
      request.set_id(op->lease);
      // The protocol does not tell how many keys went: the judge must not take the answer for one without an effect.
      return unary<pb::LeaseRevokeResponse>(
          client, "/etcdserverpb.Lease/LeaseRevoke", request, op, answered,
          +[](Op& o, const pb::LeaseRevokeResponse&) { o.outcome = Op::Outcome::kUnknown; });
    }
    case OpKind::kLeaseKeepAlive: {
      auto stream = std::make_shared<LeaseStream>(this, op, answered);
      streams_[op->id] = stream;
      return stream->open(client);
    }
  }
}

}  // namespace fairlead::sim
