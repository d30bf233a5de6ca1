// fairleadpb.Probe: whether the cluster takes writes, asked without writing anything that a client could see.
#include "proto/fairlead.pb.h"
#include "server/api/api.h"
#include "server/api/proto_util.h"

namespace fairlead::api {

void Api::add_probe(net::Router& router) {
  router.add_unary("/fairleadpb.Probe/Write", [this](net::CallRef call, Bytes in) {
    fairleadpb::WriteProbeRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    node_.probe_write([this, call](const Status& status) {
      if (!status.is_ok()) return call->finish(status);
      fairleadpb::WriteProbeResponse reply;
      reply.set_cluster_id(node_.cluster_id().value);
      reply.set_member_id(node_.member_id().value);
      reply.set_raft_term(node_.raft().term().value);
      reply.set_raft_index(node_.applied().value);
      call->reply(serialize(reply));
    });
  });
}

}  // namespace fairlead::api
