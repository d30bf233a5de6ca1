#include "server/proxy/name_space.h"

#include "base/text.h"

namespace fairlead::proxy {
namespace {

Status no_key() { return invalid_argument("etcdserver: key is not provided"); }

}  // namespace

void Namespace::move_in(std::string* key, std::string* range_end) const {
  key->insert(0, prefix_);
  if (*range_end == std::string(1, '\0'))
    *range_end = prefix_end(prefix_);
  else if (!range_end->empty())
    range_end->insert(0, prefix_);
}

void Namespace::move_out(mvccpb::KeyValue& kv) const {
  if (kv.key().starts_with(prefix_)) kv.mutable_key()->erase(0, prefix_.size());
}

Status Namespace::request(etcdserverpb::RangeRequest& m) const {
  if (m.key().empty()) return no_key();
  move_in(m.mutable_key(), m.mutable_range_end());
  return {};
}

Status Namespace::request(etcdserverpb::PutRequest& m) const {
  if (m.key().empty()) return no_key();
  m.mutable_key()->insert(0, prefix_);
  return {};
}

Status Namespace::request(etcdserverpb::DeleteRangeRequest& m) const {
  if (m.key().empty()) return no_key();
  move_in(m.mutable_key(), m.mutable_range_end());
  return {};
}

// As deep as the message could be parsed: protobuf has a limit of its own.
Status Namespace::request(etcdserverpb::TxnRequest& m) const {
  for (auto& compare : *m.mutable_compare()) {
    if (compare.key().empty()) return no_key();
    move_in(compare.mutable_key(), compare.mutable_range_end());
  }
  for (auto* branch : {m.mutable_success(), m.mutable_failure()}) {
    for (auto& op : *branch) {
      if (op.has_request_range()) RETURN_IF_ERROR(request(*op.mutable_request_range()));
      if (op.has_request_put()) RETURN_IF_ERROR(request(*op.mutable_request_put()));
      if (op.has_request_delete_range()) RETURN_IF_ERROR(request(*op.mutable_request_delete_range()));
      if (op.has_request_txn()) RETURN_IF_ERROR(request(*op.mutable_request_txn()));
    }
  }
  return {};
}

void Namespace::response(etcdserverpb::RangeResponse& m) const {
  for (auto& kv : *m.mutable_kvs()) move_out(kv);
}

void Namespace::response(etcdserverpb::PutResponse& m) const {
  if (m.has_prev_kv()) move_out(*m.mutable_prev_kv());
}

void Namespace::response(etcdserverpb::DeleteRangeResponse& m) const {
  for (auto& kv : *m.mutable_prev_kvs()) move_out(kv);
}

void Namespace::response(etcdserverpb::TxnResponse& m) const {
  for (auto& op : *m.mutable_responses()) {
    if (op.has_response_range()) response(*op.mutable_response_range());
    if (op.has_response_put()) response(*op.mutable_response_put());
    if (op.has_response_delete_range()) response(*op.mutable_response_delete_range());
    if (op.has_response_txn()) response(*op.mutable_response_txn());
  }
}

void Namespace::response(etcdserverpb::WatchResponse& m) const {
  for (auto& event : *m.mutable_events()) {
    move_out(*event.mutable_kv());
    if (event.has_prev_kv()) move_out(*event.mutable_prev_kv());
  }
}

void Namespace::response(etcdserverpb::LeaseTimeToLiveResponse& m) const {
  int kept = 0;
  for (int i = 0; i < m.keys_size(); ++i) {
    if (!m.keys(i).starts_with(prefix_)) continue;
    std::string key = m.keys(i).substr(prefix_.size());
    *m.mutable_keys(kept++) = std::move(key);
  }
  m.mutable_keys()->DeleteSubrange(kept, m.keys_size() - kept);
}

}  // namespace fairlead::proxy
