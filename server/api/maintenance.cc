// The Maintenance service: status, alarms, hashes, cleaning. Methods that are not here are answered UNIMPLEMENTED.
#include "base/crc32c.h"
#include "server/api/api.h"
#include "server/api/proto_util.h"

namespace fairlead::api {

using namespace etcdserverpb;

void Api::add_maintenance(net::Router& router) {
  add_snapshot(router);
  add_downgrade(router);
  router.add_unary("/etcdserverpb.Maintenance/Status",
                   [this](net::CallRef call, Bytes) { call->reply(status_reply()); });
  router.add_unary("/etcdserverpb.Maintenance/Alarm",
                   [this](net::CallRef call, Bytes in) { alarm(std::move(call), in); });
  router.add_unary("/etcdserverpb.Maintenance/Defragment", [this](net::CallRef call, Bytes) {
    Asker by = asker(call);
    world_.log->info("starting defragment", {{"by-user", by.user}, {"remote-address", by.address}});
    node_.defragment();  // what is dead is being cleaned from now on; nothing waits for it
    call->reply(serialize(DefragmentResponse()));
  });
  router.add_unary("/etcdserverpb.Maintenance/HashKV",
                   [this](net::CallRef call, Bytes in) { hash_kv(std::move(call), in); });
  router.add_unary("/etcdserverpb.Maintenance/Hash", [this](net::CallRef call, Bytes) { hash(std::move(call)); });
}

Bytes Api::status_reply() const {
  node::NodeStatus s = node_.status();
  StatusResponse reply;
  fill(reply.mutable_header(), header());
  reply.set_version(std::string(kEtcdVersion));
  reply.set_dbsize(static_cast<int64_t>(s.db_size_bytes));
  reply.set_dbsizeinuse(static_cast<int64_t>(s.db_size_in_use_bytes));
  reply.set_dbsizequota(s.db_quota_bytes);
  reply.set_leader(s.leader.value);
  reply.set_raftindex(s.raft_index.value);
  reply.set_raftterm(s.term.value);
  reply.set_raftappliedindex(s.applied.value);
  reply.set_islearner(s.is_learner);
  reply.set_storageversion(node_.cluster_version().version);
  // An empty message says that none is under way.
  reply.mutable_downgradeinfo()->set_enabled(node_.cluster_version().downgrade_enabled());
  reply.mutable_downgradeinfo()->set_targetversion(node_.cluster_version().downgrade_target);
  if (s.leader.value == 0) reply.add_errors("etcdserver: no leader");
  for (const node::Alarm& alarm : node_.alarms().all()) reply.add_errors(node::alarm_text(alarm));
  return serialize(reply);
}

void Api::alarm(net::CallRef call, const Bytes& in) {
  AlarmRequest request;
  if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
  auto type = static_cast<node::AlarmType>(request.alarm());
  auto answer = [this, call](const Status& status, const std::vector<node::Alarm>& alarms) {
    if (!status.is_ok()) return call->finish(status);
    AlarmResponse reply;
    fill(reply.mutable_header(), header());
    for (const node::Alarm& alarm : alarms) {
      AlarmMember* m = reply.add_alarms();
      m->set_memberid(alarm.member.value);
      m->set_alarm(static_cast<etcdserverpb::AlarmType>(alarm.type));
    }
    call->reply(serialize(reply));
  };
  if (request.action() == AlarmRequest::GET) return node_.list_alarms(type, answer);
  if (Status s = require_admin(call); !s.is_ok()) return call->finish(s);
  if (request.action() != AlarmRequest::ACTIVATE && request.action() != AlarmRequest::DEACTIVATE)
    return call->finish({Code::kInvalidArgument, "fairlead: unknown alarm action"});
  node::AlarmAction action =
      request.action() == AlarmRequest::ACTIVATE ? node::AlarmAction::kActivate : node::AlarmAction::kDeactivate;
  node_.alarm(action, {MemberId(request.memberid()), type}, answer);
}

void Api::hash_kv(net::CallRef call, const Bytes& in) {
  HashKVRequest request;
  if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
  auto answer = [this, call](const storage::HashKv& kv, int64_t revision) {
    HashKVResponse reply;
    fill(reply.mutable_header(), header(revision));
    reply.set_hash(kv.hash);
    reply.set_compact_revision(kv.compact_revision);
    reply.set_hash_revision(kv.hash_revision);
    call->reply(serialize(reply));
  };
  // As etcd: what a client was told of a revision stays what it was when that very revision is compacted, though less
  // is left of it then. The members' own comparison always looks anew.
  int64_t compacted = node_.keyspace().compact_revision();
  for (const storage::HashKv& told : hashes_told_)
    if (told.hash_revision == request.revision() && told.hash_revision == compacted)
      return answer(told, node_.keyspace().revision());
  auto time_it = [this, began = world_.loop->now()] {
    durations_.hash_rev.observe(static_cast<double>(world_.loop->now() - began) / 1e9);
  };
  node_.hash_kv(request.revision(), [call, answer, time_it, this](const Status& status, const node::HashReply& hash) {
    time_it();
    if (!status.is_ok()) return call->finish(status);
    remember_hash(hash.kv);
    answer(hash.kv, hash.revision);
  });
}

void Api::remember_hash(const storage::HashKv& kv) {
  if (kv.hash_revision <= kv.compact_revision) return;
  std::erase_if(hashes_told_, [&](const storage::HashKv& told) { return told.hash_revision == kv.hash_revision; });
  hashes_told_.push_back(kv);
  if (hashes_told_.size() > kHashesToldMax) hashes_told_.pop_front();
}

// Of everything that is replicated: all keys at the newest revision, and the state that has none. (etcd hashes its
// database file here, which differs between its members; this is equal on ours.)
void Api::hash(net::CallRef call) {
  node_.hash_kv(0, [this, call, began = world_.loop->now()](const Status& status, const node::HashReply& hash) {
    durations_.hash.observe(static_cast<double>(world_.loop->now() - began) / 1e9);
    if (!status.is_ok()) return call->finish(status);
    HashResponse reply;
    fill(reply.mutable_header(), header(hash.revision));
    uint32_t side = node_.side_hash();
    reply.set_hash(crc32c_extend(hash.kv.hash, {reinterpret_cast<const char*>(&side), sizeof side}));
    call->reply(serialize(reply));
  });
}

}  // namespace fairlead::api
