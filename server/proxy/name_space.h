// --namespace: every key of a client stands behind a prefix in the cluster, and comes back without it.
//
// Pure. Ranges are moved too: the end "\0" (no end) becomes the end of the prefix, so nothing outside is seen or
// changed. Covered are KV, Watch and the keys of LeaseTimeToLive, as with etcd; locks and elections keep their names.
// Errors: etcd's text for a request without a key, which would otherwise be one for the prefix itself.
#pragma once

#include <string>

#include "base/status.h"
#include "proto/rpc.pb.h"

namespace fairlead::proxy {

class Namespace {
 public:
  explicit Namespace(std::string prefix) : prefix_(std::move(prefix)) {}
  bool empty() const { return prefix_.empty(); }

  void move_in(std::string* key, std::string* range_end) const;

  Status request(etcdserverpb::RangeRequest& m) const;
  Status request(etcdserverpb::PutRequest& m) const;
  Status request(etcdserverpb::DeleteRangeRequest& m) const;
  Status request(etcdserverpb::TxnRequest& m) const;

  void response(etcdserverpb::RangeResponse& m) const;
  void response(etcdserverpb::PutResponse& m) const;
  void response(etcdserverpb::DeleteRangeResponse& m) const;
  void response(etcdserverpb::TxnResponse& m) const;
  void response(etcdserverpb::WatchResponse& m) const;
  void response(etcdserverpb::LeaseTimeToLiveResponse& m) const;  // keys of others are left out

 private:
  void move_out(mvccpb::KeyValue& kv) const;

  std::string prefix_;
};

}  // namespace fairlead::proxy
