#include "server/sim/workload.h"

#include <algorithm>
#include <cstdio>

#include "base/check.h"
#include "server/sim/byte_clients.h"
#include "server/sim/users.h"

namespace fairlead::sim {
namespace {

Kv to_kv(const mvcc::KeyValue& kv) {
  return {std::string(kv.key), std::string(kv.value), kv.create_revision, kv.mod_revision, kv.version, kv.lease};
}

SubResult to_result(const mvcc::RangeResult& r) {
  SubResult out;
  for (const auto& kv : r.kvs.items) out.kvs.push_back(to_kv(kv));
  out.count = r.count;
  out.more = r.more;
  return out;
}

SubResult to_result(const mvcc::PutResult& r) {
  SubResult out;
  for (const auto& kv : r.prev.items) out.kvs.push_back(to_kv(kv));
  return out;
}

SubResult to_result(const mvcc::DeleteRangeResult& r) {
  SubResult out;
  out.count = r.deleted;
  for (const auto& kv : r.prev_kvs.items) out.kvs.push_back(to_kv(kv));
  return out;
}

void take_txn(Op& op, const mvcc::TxnResult& txn) {
  op.revision = txn.revision;
  op.succeeded = txn.succeeded;
  for (const mvcc::OpResult& r : txn.results) {
    std::visit(
        [&](const auto& part) {
          if constexpr (!std::is_same_v<std::decay_t<decltype(part)>, mvcc::TxnResult>)
            op.results.push_back(to_result(part));
        },
        r.result);
  }
}

mvcc::RangeRequest to_range(const SubOp& sub, bool serializable) {
  mvcc::RangeRequest r;
  r.key = sub.key;
  r.range_end = sub.range_end;
  r.limit = sub.limit;
  r.revision = sub.revision;
  r.serializable = serializable;
  return r;
}

mvcc::PutRequest to_put(const SubOp& sub) {
  mvcc::PutRequest r;
  r.key = sub.key;
  r.value = sub.value;
  r.lease = sub.lease;
  r.prev_kv = sub.prev_kv;
  return r;
}

mvcc::DeleteRangeRequest to_delete(const SubOp& sub) {
  mvcc::DeleteRangeRequest r;
  r.key = sub.key;
  r.range_end = sub.range_end;
  r.prev_kv = sub.prev_kv;
  return r;
}

std::vector<mvcc::RequestOp> to_ops(const std::vector<SubOp>& subs) {
  std::vector<mvcc::RequestOp> out;
  for (const SubOp& sub : subs) {
    mvcc::RequestOp op;
    if (sub.kind == SubOp::Kind::kPut)
      op.op = to_put(sub);
    else if (sub.kind == SubOp::Kind::kDelete)
      op.op = to_delete(sub);
    else
      op.op = to_range(sub, false);
    out.push_back(std::move(op));
  }
  return out;
}

mvcc::TxnRequest to_txn(const Op& op) {
  mvcc::TxnRequest txn;
  for (const Compare& c : op.compares) {
    mvcc::Compare compare;
    compare.key = c.key;
    compare.number = c.number;
    compare.value = c.value;
    compare.target = c.target == Compare::Target::kModRevision ? mvcc::CompareTarget::kMod
                     : c.target == Compare::Target::kVersion   ? mvcc::CompareTarget::kVersion
                                                               : mvcc::CompareTarget::kValue;
    txn.compares.push_back(compare);
  }
  txn.success = to_ops(op.success);
  txn.failure = to_ops(op.failure);
  return txn;
}

// Takes over what apply said.
void take_result(Op& op, const mvcc::ApplyResult& result) {
  op.revision = result.revision;
  if (auto* put = std::get_if<mvcc::PutResult>(&result.reply))
    op.results.push_back(to_result(*put));
  else if (auto* del = std::get_if<mvcc::DeleteRangeResult>(&result.reply))
    op.results.push_back(to_result(*del));
  else if (auto* txn = std::get_if<mvcc::TxnResult>(&result.reply))
    take_txn(op, *txn);
  else if (auto* grant = std::get_if<mvcc::LeaseGrantResult>(&result.reply))
    op.ttl = grant->ttl;
  else if (auto* revoke = std::get_if<mvcc::LeaseRevokeResult>(&result.reply))
    op.number = revoke->deleted;
}

}  // namespace

Workload::Workload(Cluster* cluster, History* history, Counters* counters, WorkloadConfig config)
    : cluster_(cluster), history_(history), counters_(counters), config_(config), prng_(cluster->prng().fork(17)) {
  CHECK(config_.keys <= 64, "each key has a place in last_mod_");
  for (uint32_t i = 0; i < config_.clients; ++i) {
    clients_.push_back(std::make_unique<Client>(Client{i + 1, i % kMembers, 0, i < config_.byte_clients}));
  }
  if (config_.byte_clients > 0) bytes_ = std::make_unique<ByteClients>(cluster);
  if (config_.users) users_ = std::make_unique<Users>(cluster, counters, config_.keys);
  compactor_ = std::make_unique<Client>(Client{90, 0, 0, config_.byte_clients > 0});
  prober_ = std::make_unique<Client>(Client{91, 0, 0, config_.byte_clients > 0});
}

Workload::~Workload() = default;

void Workload::start() {
  running_ = true;
  for (auto& client : clients_) next(*client);
  compact();
  if (users_) users_->start();
}

void Workload::stop() {
  running_ = false;
  if (users_) users_->stop();
}
bool Workload::idle() const { return waiting_.empty(); }

void Workload::next(Client& client) {
  if (!running_) return;
  cluster_->world().scheduler().after(prng_.delay(config_.think), nullptr, "client.next", [this, c = &client] {
    if (!running_) return;
    ask(*c, make_op(*c), [this, c] { next(*c); });
  });
}

std::string Workload::random_key() { return "k" + std::to_string(100 + prng_.below(config_.keys)); }

std::string Workload::new_value(const Op& op) {
  return "v" + std::to_string(op.id) + "." +
         std::string(prng_.below(config_.value_bytes_max), static_cast<char>('a' + op.id % 26));
}

std::shared_ptr<Op> Workload::make_op(Client& client) {
  auto op = std::make_shared<Op>();
  op->id = next_op_++;
  op->client = client.id;
  if (client.id == 1 || prng_.chance(0.02))
    fill_lease(*op);
  else if (prng_.chance(0.2))
    fill_txn(*op);
  else
    fill_keys(*op);
  return op;
}

void Workload::fill_keys(Op& op) {
  SubOp sub;
  sub.key = random_key();
  sub.prev_kv = prng_.chance(0.3);
  uint64_t dice = prng_.below(100);
  if (dice < 50) {
    op.kind = OpKind::kPut;
    sub.kind = SubOp::Kind::kPut;
    sub.value = new_value(op);
    if (!leases_.empty() && prng_.chance(0.1)) sub.lease = leases_[prng_.below(leases_.size())].id;
  } else if (dice < 60) {
    op.kind = OpKind::kDelete;
    sub.kind = SubOp::Kind::kDelete;
    if (prng_.chance(0.2)) sub.range_end = random_key();
    if (!sub.range_end.empty() && sub.range_end <= sub.key) sub.range_end.clear();
  } else {
    op.kind = OpKind::kRange;
    op.serializable = prng_.chance(0.2);
    if (prng_.chance(0.3)) sub.key = "k", sub.range_end = "l";
    if (prng_.chance(0.2)) sub.limit = prng_.between(1, 5);
    if (prng_.chance(0.15)) sub.revision = std::max<int64_t>(1, newest_seen_ - prng_.between(0, 60));
  }
  op.success.push_back(std::move(sub));
}

void Workload::fill_txn(Op& op) {
  op.kind = prng_.chance(0.1) ? OpKind::kReadTxn : OpKind::kTxn;
  std::string key = random_key();
  if (prng_.chance(0.9)) {
    Compare compare;
    compare.key = key;
    uint64_t dice = prng_.below(10);
    if (dice < 8) {
      compare.number = last_mod_[std::stoul(key.substr(1)) - 100];
    } else {
      compare.target = Compare::Target::kVersion;
      compare.number = prng_.between(0, 3);
    }
    op.compares.push_back(std::move(compare));
  }
  SubOp read;
  read.key = key;
  if (op.kind == OpKind::kReadTxn) {
    op.success.push_back(read);
    read.key = "k", read.range_end = "l";
    op.failure.push_back(read);
    return;
  }
  op.failure.push_back(read);
  SubOp put;
  put.kind = SubOp::Kind::kPut;
  put.key = key;
  put.value = new_value(op);
  put.prev_kv = prng_.chance(0.3);
  if (prng_.chance(0.3)) op.success.push_back(read);
  op.success.push_back(put);
  if (prng_.chance(0.3)) {
    SubOp more;
    more.key = random_key();
    if (more.key == key) return;  // etcd refuses two puts of one key
    more.kind = prng_.chance(0.6) ? SubOp::Kind::kPut : SubOp::Kind::kDelete;
    if (more.kind == SubOp::Kind::kPut) more.value = put.value;
    op.success.push_back(std::move(more));
    read.range_end = "l";
    read.key = "k";
    op.success.push_back(std::move(read));
  }
}

void Workload::fill_lease(Op& op) {
  Nanos now = cluster_->now();
  if (leases_.size() < config_.leases || prng_.chance(0.1)) {
    op.kind = OpKind::kLeaseGrant;
    op.lease = static_cast<int64_t>(1000 + op.id);
    op.number = prng_.between(1, config_.ttl_max);
    leases_.push_back({op.lease, now + prng_.between(0, 15) * io::kSecond});
    return;
  }
  Lease& lease = leases_[prng_.below(leases_.size())];
  op.lease = lease.id;
  uint64_t dice = prng_.below(10);
  if (dice < 3) {  // give it a key
    op.lease = 0;
    op.kind = OpKind::kPut;
    SubOp put;
    put.kind = SubOp::Kind::kPut;
    put.key = random_key();
    put.value = new_value(op);
    put.lease = lease.id;
    op.success.push_back(std::move(put));
  } else if (dice < 4) {
    op.kind = OpKind::kLeaseRevoke;
    std::erase_if(leases_, [&](const Lease& l) { return l.id == op.lease; });
  } else if (now < lease.keep_until) {
    op.kind = OpKind::kLeaseKeepAlive;
  } else {  // forgotten: it ends by itself
    op.kind = OpKind::kLeaseKeepAlive;
    std::erase_if(leases_, [&](const Lease& l) { return l.id == op.lease; });
  }
}

void Workload::change_member(Client& client) { client.member = prng_.below(kMembers); }

void Workload::ask(Client& client, std::shared_ptr<Op> op, std::function<void()> done) {
  op->invoked = cluster_->now();
  history_->ops.push_back(op);
  waiting_[op->id] = std::move(done);
  io::sim::Scheduler& scheduler = cluster_->world().scheduler();
  size_t member = client.member;
  if (client.through_bytes) {
    ++counters_->ops_bytes;
    bytes_->ask(client.id, member, op, [this](const std::shared_ptr<Op>& answered) { answer(answered); });
  } else if (!prng_.chance(config_.loss)) {
    scheduler.after(prng_.delay(200 * io::kMicrosecond), nullptr, "client.ask", [this, member, op, c = &client] {
      if (cluster_->node(member) == nullptr) {  // connection refused: nobody has heard the request
        op->outcome = Op::Outcome::kFailed;
        op->error = "no process there";
        change_member(*c);
        finish(op);
        return;
      }
      cluster_->in_turn(member, [this, op](node::Node& node) { issue(node, op, 0); });
    });
  }
  scheduler.after(config_.timeout, nullptr, "client.timeout", [this, op, c = &client] {
    if (!waiting_.count(op->id)) return;
    op->error = "no answer";
    if (c->through_bytes) bytes_->give_up(op->id);
    change_member(*c);
    finish(op);
  });
  if (prng_.chance(0.02)) change_member(client);
}

void Workload::issue(node::Node& node, std::shared_ptr<Op> op, uint64_t) {
  auto applied = [this, op](const Status& status, const mvcc::ApplyResult* result) {
    auto answered = std::make_shared<Op>(*op);  // the client may have given up: then this is thrown away
    answered->error = status.is_ok() ? "" : std::string(status.message());
    if (result != nullptr) {
      Status inner = status.is_ok() ? result->status : status;
      answered->outcome = inner.is_ok() ? Op::Outcome::kOk : Op::Outcome::kFailed;
      answered->error = std::string(inner.message());
      if (inner.is_ok()) take_result(*answered, *result);
    }
    answer(answered);
  };
  auto read_failed = [](Op& op_in, const Status& status) {
    op_in.outcome = Op::Outcome::kFailed;  // a read has no effect to wonder about
    op_in.error = std::string(status.message());
  };
  node::Caller who = users_ ? users_->caller(node, *op) : node::Caller();
  switch (op->kind) {
    case OpKind::kPut:
      return node.propose(who, to_put(op->success[0]), applied);
    case OpKind::kDelete:
      return node.propose(who, to_delete(op->success[0]), applied);
    case OpKind::kTxn:
      return node.propose(who, to_txn(*op), applied);
    case OpKind::kCompact:
      return node.propose(mvcc::CompactRequest{op->number, false}, applied);
    case OpKind::kLeaseRevoke:
      return node.propose(who, mvcc::LeaseRevokeRequest{op->lease}, applied);
    case OpKind::kLeaseGrant:
      return node.lease_grant(op->lease, op->number, applied);
    case OpKind::kLeaseKeepAlive:
      return node.lease_keep_alive(op->lease, [this, op, read_failed](const Status& status, int64_t ttl) {
        auto answered = std::make_shared<Op>(*op);
        answered->outcome = Op::Outcome::kOk;
        answered->ttl = ttl;
        if (!status.is_ok()) read_failed(*answered, status);
        answer(answered);
      });
    case OpKind::kReadTxn: {
      Bytes owner = Bytes::literal("");
      return node.read_txn(who, owner, to_txn(*op),
                           [this, op, read_failed](const Status& status, const mvcc::TxnResult* txn) {
                             auto answered = std::make_shared<Op>(*op);
                             answered->outcome = Op::Outcome::kOk;
                             if (status.is_ok())
                               take_txn(*answered, *txn);
                             else
                               read_failed(*answered, status);
                             answer(answered);
                           });
    }
    case OpKind::kRange: {
      const SubOp& sub = op->success[0];
      Bytes owner = Bytes::copy(sub.key + sub.range_end);
      mvcc::RangeRequest request = to_range(sub, op->serializable);
      request.key = owner.view().substr(0, sub.key.size());
      request.range_end = owner.view().substr(sub.key.size());
      return node.range(who, owner, request,
                        [this, op, read_failed](const Status& status, const mvcc::RangeResult* range) {
                          auto answered = std::make_shared<Op>(*op);
                          answered->outcome = Op::Outcome::kOk;
                          if (status.is_ok()) {
                            answered->revision = range->revision;
                            answered->results.push_back(to_result(*range));
                          } else {
                            read_failed(*answered, status);
                          }
                          answer(answered);
                        });
    }
  }
}

// The way back to the client. `answered` is a copy of the operation; only an answer that arrives is written into it.
void Workload::answer(const std::shared_ptr<Op>& answered) {
  if (prng_.chance(config_.loss)) return;
  cluster_->world().scheduler().after(prng_.delay(200 * io::kMicrosecond), nullptr, "client.answer", [this, answered] {
    if (!waiting_.count(answered->id)) return;
    auto it =
        std::find_if(history_->ops.rbegin(), history_->ops.rend(), [&](auto& o) { return o->id == answered->id; });
    CHECK(it != history_->ops.rend());
    **it = *answered;
    Op& op = **it;
    newest_seen_ = std::max(newest_seen_, op.revision);
    for (const SubResult& r : op.results) {
      for (const Kv& kv : r.kvs) {
        int64_t& last = last_mod_[std::stoul(kv.key.substr(1)) - 100];
        last = std::max(last, kv.mod_revision);
      }
    }
    for (const SubOp& sub : op.success) {
      if (op.ok() && op.succeeded && sub.kind == SubOp::Kind::kPut) {
        int64_t& last = last_mod_[std::stoul(sub.key.substr(1)) - 100];
        last = std::max(last, op.revision);
      }
    }
    finish(*it);
  });
}

void Workload::finish(const std::shared_ptr<Op>& op) {
  op->returned = cluster_->now();
  cluster_->world().scheduler().mix(op->id);
  cluster_->world().scheduler().mix(static_cast<uint64_t>(op->revision));
  if (std::string what = users_ ? users_->judge(*op) : ""; !what.empty() && on_wrong) on_wrong(what);
  if (op->outcome == Op::Outcome::kOk)
    ++counters_->ops_ok;
  else if (op->outcome == Op::Outcome::kFailed)
    ++counters_->ops_failed;
  else
    ++counters_->ops_unknown;
  if (trace) std::fprintf(stderr, "%.6f %s\n", static_cast<double>(op->returned) / 1e9, describe(*op).c_str());
  auto it = waiting_.find(op->id);
  std::function<void()> done = std::move(it->second);
  waiting_.erase(it);
  if (done) done();
}

// Only what the inner watchers have seen is compacted away: they are what the judge knows of the past.
void Workload::compact() {
  if (!running_) return;
  cluster_->world().scheduler().after(prng_.delay(config_.compact_every), nullptr, "client.compact", [this] {
    if (!running_) return;
    int64_t seen = history_->revisions.empty() ? 1 : history_->revisions.rbegin()->first;
    int64_t target = seen - prng_.between(0, 100);
    if (target <= history_->compact_asked) {
      compact();
      return;
    }
    auto op = std::make_shared<Op>();
    op->id = next_op_++;
    op->client = compactor_->id;
    op->kind = OpKind::kCompact;
    op->number = target;
    history_->compact_asked = target;
    ++counters_->compactions;
    change_member(*compactor_);
    ask(*compactor_, op, [this] { compact(); });
  });
}

void Workload::probe(size_t member, std::function<void(bool)> done) {
  auto op = std::make_shared<Op>();
  op->id = next_op_++;
  op->client = prober_->id;
  op->kind = OpKind::kPut;
  SubOp put;
  put.kind = SubOp::Kind::kPut;
  put.key = random_key();
  put.value = new_value(*op);
  op->success.push_back(std::move(put));
  prober_->member = member;
  ask(*prober_, op, [this, id = op->id, done = std::move(done)] {
    auto it = std::find_if(history_->ops.rbegin(), history_->ops.rend(), [&](auto& o) { return o->id == id; });
    done((*it)->ok());
  });
}

}  // namespace fairlead::sim
