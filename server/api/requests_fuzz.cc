// Any bytes as a request of the KV service: our own decoders take what the generated code takes, with the same meaning,
// and never more. The first byte chooses the message.
#include <google/protobuf/io/coded_stream.h>

#include <cstdint>
#include <string>

#include "base/check.h"
#include "proto/rpc.pb.h"
#include "server/api/kv_codec.h"

using namespace fairlead;
using namespace fairlead::api;
namespace pb = etcdserverpb;

namespace {

// Half of what is compared is the decision; the other half that each field says the same.
void same(const pb::RangeRequest& a, const mvcc::RangeRequest& b) {
  CHECK(a.key() == b.key && a.range_end() == b.range_end && a.limit() == b.limit && a.revision() == b.revision);
  CHECK(static_cast<int>(a.sort_order()) == static_cast<int>(b.sort_order));
  CHECK(static_cast<int>(a.sort_target()) == static_cast<int>(b.sort_target));
  CHECK(a.serializable() == b.serializable && a.keys_only() == b.keys_only && a.count_only() == b.count_only);
  CHECK(a.min_mod_revision() == b.min_mod_revision && a.max_mod_revision() == b.max_mod_revision);
  CHECK(a.min_create_revision() == b.min_create_revision && a.max_create_revision() == b.max_create_revision);
}

void same(const pb::PutRequest& a, const mvcc::PutRequest& b) {
  CHECK(a.key() == b.key && a.value() == b.value && a.lease() == b.lease && a.prev_kv() == b.prev_kv);
  CHECK(a.ignore_value() == b.ignore_value && a.ignore_lease() == b.ignore_lease);
}

void same(const pb::DeleteRangeRequest& a, const mvcc::DeleteRangeRequest& b) {
  CHECK(a.key() == b.key && a.range_end() == b.range_end && a.prev_kv() == b.prev_kv);
}

void same(const pb::CompactionRequest& a, const mvcc::CompactRequest& b) { CHECK(a.revision() == b.revision); }

int64_t number_of(const pb::Compare& c) {
  switch (c.target()) {
    case pb::Compare::VERSION:
      return c.version();
    case pb::Compare::CREATE:
      return c.create_revision();
    case pb::Compare::MOD:
      return c.mod_revision();
    case pb::Compare::LEASE:
      return c.lease();
    default:
      return 0;
  }
}

void same(const pb::Compare& a, const mvcc::Compare& b) {
  CHECK(a.key() == b.key && a.range_end() == b.range_end && a.value() == b.value && number_of(a) == b.number);
  CHECK(static_cast<int>(a.result()) == static_cast<int>(b.result));
  CHECK(static_cast<int>(a.target()) == static_cast<int>(b.target));
}

void same(const pb::TxnRequest& a, const mvcc::TxnRequest& b);

void same(const pb::RequestOp& a, const mvcc::RequestOp& b) {
  CHECK(static_cast<size_t>(a.request_case()) == b.op.index(), "another operation");
  if (a.has_request_range()) same(a.request_range(), std::get<mvcc::RangeRequest>(b.op));
  if (a.has_request_put()) same(a.request_put(), std::get<mvcc::PutRequest>(b.op));
  if (a.has_request_delete_range()) same(a.request_delete_range(), std::get<mvcc::DeleteRangeRequest>(b.op));
  if (a.has_request_txn()) same(a.request_txn(), std::get<mvcc::TxnRequest>(b.op));
}

template <typename Theirs, typename Ours>
void same_list(const Theirs& a, const Ours& b) {
  CHECK(static_cast<size_t>(a.size()) == b.size());
  for (int i = 0; i < a.size(); ++i) same(a.Get(i), b[static_cast<size_t>(i)]);
}

void same(const pb::TxnRequest& a, const mvcc::TxnRequest& b) {
  same_list(a.compare(), b.compares);
  same_list(a.success(), b.success);
  same_list(a.failure(), b.failure);
}

// Go's decoders, etcd's, take a tag of up to ten bytes, as ours do; C++'s take five.
bool has_long_varint(std::string_view bytes) {
  size_t run = 0;
  for (char c : bytes) {
    run = static_cast<uint8_t>(c) >= 0x80 ? run + 1 : 0;
    if (run >= 5) return true;
  }
  return false;
}

template <typename Theirs, typename Ours>
void compare(const std::string& bytes) {
  Ours ours;
  if (!decode(bytes, ours).is_ok()) return;
  Theirs theirs;
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),
                                            static_cast<int>(bytes.size()));
  in.SetRecursionLimit(10 * kNestingMax);
  if (theirs.ParseFromCodedStream(&in) && in.ConsumedEntireMessage()) return same(theirs, ours);
  CHECK(has_long_varint(bytes), "taken here, refused by the generated code");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 5) {
    case 0:
      compare<pb::RangeRequest, mvcc::RangeRequest>(bytes);
      break;
    case 1:
      compare<pb::PutRequest, mvcc::PutRequest>(bytes);
      break;
    case 2:
      compare<pb::DeleteRangeRequest, mvcc::DeleteRangeRequest>(bytes);
      break;
    case 3:
      compare<pb::TxnRequest, mvcc::TxnRequest>(bytes);
      break;
    default:
      compare<pb::CompactionRequest, mvcc::CompactRequest>(bytes);
  }
  return 0;
}
