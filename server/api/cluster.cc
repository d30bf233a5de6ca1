// The Cluster service, as far as this version has them; other methods are answered UNIMPLEMENTED.
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

}  // namespace fairlead::api
