// The KV service's messages, decoded and encoded by hand: they are the hot path, and decoded requests are views into
// the received message, so that a put copies its key and value once, into the log entry.
//
// Fields and numbers: proto/rpc.proto. Rules as Protocol Buffers has them: unknown fields are skipped, the last value
// of a repeated scalar wins, a known field with another wire type counts as unknown, nesting is limited.
// kv_codec_test.cc compares with the generated code on random messages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "server/mvcc/types.h"

namespace fairlead::api {

// Txns in each other: above what --max-txn-ops allows unless that is raised, below what is damage in the log.
constexpr int kNestingMax = 500;

// What every reply begins with.
struct Header {
  uint64_t cluster_id = 0;
  uint64_t member_id = 0;
  int64_t revision = 0;
  uint64_t raft_term = 0;
};

// kInternal "grpc: error unmarshalling request: ..." on malformed bytes, as grpc-go says it.
Status decode(std::string_view in, mvcc::RangeRequest& out);
Status decode(std::string_view in, mvcc::PutRequest& out);
Status decode(std::string_view in, mvcc::DeleteRangeRequest& out);
Status decode(std::string_view in, mvcc::TxnRequest& out);
Status decode(std::string_view in, mvcc::CompactRequest& out);

// In pieces of about kPieceBytes: pieces come and go in the heap, where a whole page of a list would be mapped anew and
// cleared each time.
using Pieces = std::vector<Bytes>;
constexpr size_t kPieceBytes = 64 << 10;
Bytes encode_range_response(const Header& header, const mvcc::RangeResult& result);
Pieces encode_range_pieces(const Header& header, const mvcc::RangeResult& result);  // the same, of a large result
Pieces encode_range_chunk(const mvcc::RangeResult& result);  // keys only: no header, more or count
Bytes encode_put_response(const Header& header, const mvcc::PutResult& result);
Bytes encode_delete_range_response(const Header& header, const mvcc::DeleteRangeResult& result);
Bytes encode_txn_response(const Header& header, const mvcc::TxnResult& result);
Bytes encode_header_only(const Header& header);  // field 1 = header: Compact, LeaseRevoke, ...

size_t header_field_size(const Header& header);
char* store_header_field(char* out, const Header& header);

}  // namespace fairlead::api
