// The Cluster and Maintenance services, as far as this version has them; other methods are answered UNIMPLEMENTED.
#include "server/api/api.h"
#include "server/api/proto_util.h"

namespace fairlead::api {

using namespace etcdserverpb;

Header Api::header(int64_t revision) const {
  return {node_.cluster_id().value, node_.member_id().value, revision, node_.raft().term().value};
}

void Api::add_cluster(net::Router& router) {
  router.add_unary("/etcdserverpb.Cluster/MemberList", [this](net::CallRef call, Bytes in) {
    MemberListRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    auto answer = [this, call](const Status& status) {
      if (!status.is_ok()) return call->finish(status);
      MemberListResponse reply;
      fill(reply.mutable_header(), header(0));  // etcd leaves the revision out here
      for (const auto& [id, member] : node_.members()) {
        Member* m = reply.add_members();
        m->set_id(id.value);
        m->set_name(member.name);
        m->set_islearner(member.is_learner);
        for (const std::string& url : member.peer_urls) m->add_peerurls(url);
        for (const std::string& url : member.client_urls) m->add_clienturls(url);
      }
      call->reply(serialize(reply));
    };
    if (request.linearizable()) return node_.barrier(answer);
    answer(Status());
  });
}

void Api::add_maintenance(net::Router& router) {
  add_snapshot(router);
  add_downgrade(router);
  router.add_unary("/etcdserverpb.Maintenance/Status", [this](net::CallRef call, Bytes) {
    node::NodeStatus s = node_.status();
    StatusResponse reply;
    fill(reply.mutable_header(), header());
    reply.set_version(std::string(kEtcdVersion));
    reply.set_dbsize(static_cast<int64_t>(s.db_size_bytes));
    reply.set_dbsizeinuse(static_cast<int64_t>(s.db_size_in_use_bytes));
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
    call->reply(serialize(reply));
  });
  router.add_unary("/etcdserverpb.Maintenance/Alarm", [this](net::CallRef call, Bytes in) {
    AlarmRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    if (request.action() != AlarmRequest::GET) {
      if (Status s = require_admin(call); !s.is_ok()) return call->finish(s);
      return call->finish(
          {Code::kUnimplemented, "fairlead: alarms cannot be set or disarmed in this version; none is ever raised"});
    }
    AlarmResponse reply;
    fill(reply.mutable_header(), header());
    call->reply(serialize(reply));
  });
}

}  // namespace fairlead::api
