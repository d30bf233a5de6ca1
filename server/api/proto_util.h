// Generated messages at the edge, for everything that is not the hot path.
#pragma once

#include "base/bytes.h"
#include "base/status.h"
#include "proto/rpc.pb.h"
#include "server/api/api.h"

namespace fairlead::api {

template <typename Message>
Status parse(const Bytes& in, Message& out) {
  if (out.ParseFromArray(in.data(), static_cast<int>(in.size()))) return {};
  return {Code::kInternal, "grpc: error unmarshalling request: proto: cannot parse " + out.GetTypeName()};
}

template <typename Message>
Bytes serialize(const Message& message) {
  BytesBuilder builder(message.ByteSizeLong());
  message.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(builder.data()));
  return std::move(builder).finish(message.GetCachedSize());
}

inline void fill(etcdserverpb::ResponseHeader* out, const Header& in) {
  out->set_cluster_id(in.cluster_id);
  out->set_member_id(in.member_id);
  out->set_revision(in.revision);
  out->set_raft_term(in.raft_term);
}

}  // namespace fairlead::api
