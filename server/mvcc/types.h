// Requests and results of the keyspace, without Protocol Buffers, and the compact encoding in which commands travel
// through the log.
//
// All keys and values in requests are views: into the bytes of a log entry (decode_command), into an arena message (the
// API edge), or into a test's literals. Whoever fills a request keeps those bytes alive until the call returns.
// Ranges are etcd's: range_end "" = the one key, "\0" = every key >= key, else [key, range_end).
// Errors are etcd's, to the letter (see errors.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "server/mvcc/record.h"

namespace fairlead::mvcc {

// ---- Requests -------------------------------------------------------------------------------------------------------

// Numbers are the protocol's. Out-of-range numbers from the wire are kept as they are and refused by check().
enum class SortOrder : int32_t { kNone = 0, kAscend = 1, kDescend = 2 };
enum class SortTarget : int32_t { kKey = 0, kVersion = 1, kCreate = 2, kMod = 3, kValue = 4 };

struct RangeRequest {
  std::string_view key;
  std::string_view range_end;
  int64_t limit = 0;     // <= 0: none
  int64_t revision = 0;  // <= 0: newest
  SortOrder sort_order = SortOrder::kNone;
  SortTarget sort_target = SortTarget::kKey;
  bool serializable = false;  // no meaning inside mvcc; carried for the API edge
  bool keys_only = false;
  bool count_only = false;
  int64_t min_mod_revision = 0;  // 0: no filter, for all four
  int64_t max_mod_revision = 0;
  int64_t min_create_revision = 0;
  int64_t max_create_revision = 0;
};

struct PutRequest {
  std::string_view key;
  std::string_view value;
  int64_t lease = 0;
  bool prev_kv = false;
  bool ignore_value = false;
  bool ignore_lease = false;
};

struct DeleteRangeRequest {
  std::string_view key;
  std::string_view range_end;
  bool prev_kv = false;
};

enum class CompareResult : int32_t { kEqual = 0, kGreater = 1, kLess = 2, kNotEqual = 3 };
enum class CompareTarget : int32_t { kVersion = 0, kCreate = 1, kMod = 2, kValue = 3, kLease = 4 };

struct Compare {
  CompareResult result = CompareResult::kEqual;
  CompareTarget target = CompareTarget::kVersion;
  std::string_view key;
  std::string_view range_end;
  int64_t number = 0;      // for every target but kValue
  std::string_view value;  // for kValue
};

struct RequestOp;
struct TxnRequest {
  std::vector<Compare> compares;
  std::vector<RequestOp> success;
  std::vector<RequestOp> failure;
};
// monostate: an operation without content, which etcd refuses with "key not found".
struct RequestOp {
  std::variant<std::monostate, RangeRequest, PutRequest, DeleteRangeRequest, TxnRequest> op;
};

struct CompactRequest {
  int64_t revision = 0;
  bool physical = false;  // wait until memory is free: the caller's business
};

struct LeaseGrantRequest {
  int64_t id = 0;   // chosen by the proposer when the client gave 0
  int64_t ttl = 0;  // seconds, already raised to the minimum by the proposer (lease.h, granted_ttl)
};
struct LeaseRevokeRequest {
  int64_t id = 0;
};
// Remaining times of leases, recorded by the leader so that its successor does not start from the full TTL.
struct LeaseCheckpointRequest {
  struct Item {
    int64_t id = 0;
    int64_t remaining_ttl = 0;  // seconds
  };
  std::vector<Item> items;
};

// What the log carries for the keyspace.
using Command = std::variant<PutRequest, DeleteRangeRequest, TxnRequest, CompactRequest, LeaseGrantRequest,
                             LeaseRevokeRequest, LeaseCheckpointRequest>;

// ---- Encoding of commands -------------------------------------------------------------------------------------------

// One byte of kind, then fields as varints and length-prefixed bytes. Deterministic. The envelope around it (request
// id, format number) is node's.
std::string encode_command(const Command& command);
void append_command(std::string& out, const Command& command);
// The command holds views into `in`. kDataLoss on anything malformed, trailing bytes included.
Result<Command> decode_command(std::string_view in);

// ---- Validation before proposing ------------------------------------------------------------------------------------

struct Limits {
  int64_t txn_ops_max = 128;  // --max-txn-ops; shrinks level by level as in etcd
};

Status check(const RangeRequest& request);
Status check(const PutRequest& request);
Status check(const DeleteRangeRequest& request);
Status check(const TxnRequest& request, const Limits& limits);  // sizes, empty keys, duplicate keys of all levels
Status check(const LeaseGrantRequest& request);

// Only ranges, no nested txn: served as a read. (An empty txn is one too.)
bool is_read_only(const TxnRequest& request);
bool is_serializable(const TxnRequest& request);  // read only, and every range is serializable
bool has_put(const TxnRequest& request);          // on any level: what NOSPACE refuses

// ---- Results --------------------------------------------------------------------------------------------------------

struct KeyValue {
  std::string_view key;
  std::string_view value;
  int64_t create_revision = 0;
  int64_t mod_revision = 0;
  int64_t version = 0;
  int64_t lease = 0;
};

// A list of key values together with what keeps their bytes alive: safe to hold across turns and threads.
struct KeyValues {
  std::vector<KeyValue> items;
  std::vector<Bytes> holds;
};

struct RangeResult {
  int64_t revision = 0;  // header: the store's revision when it was read
  int64_t count = 0;     // all keys in the range, whatever limit and filters say
  bool more = false;
  KeyValues kvs;

  void clear() {  // keeps what is allocated
    revision = count = 0;
    more = false;
    kvs.items.clear();
    kvs.holds.clear();
  }
};

struct PutResult {
  int64_t revision = 0;
  KeyValues prev;  // at most one; only when asked for
};

struct DeleteRangeResult {
  int64_t revision = 0;
  int64_t deleted = 0;
  KeyValues prev_kvs;
};

struct OpResult;
struct TxnResult {
  int64_t revision = 0;
  bool succeeded = false;
  std::vector<OpResult> results;
};
struct OpResult {
  std::variant<RangeResult, PutResult, DeleteRangeResult, TxnResult> result;
};

struct CompactResult {};
struct LeaseGrantResult {
  int64_t id = 0;
  int64_t ttl = 0;
};
struct LeaseRevokeResult {
  int64_t deleted = 0;
};
struct LeaseCheckpointResult {};

using Reply = std::variant<std::monostate, PutResult, DeleteRangeResult, TxnResult, CompactResult, LeaseGrantResult,
                           LeaseRevokeResult, LeaseCheckpointResult>;

// One change of one key, for watchers. The views live until the next call of apply(), flushed(), trim_cache() or
// compact_slice() of the keyspace that made it.
struct Event {
  KeyRecord record;
  bool has_prev = false;    // the key existed at the revision before, and this is not its creation
  Position prev_position;   // where, if has_prev
  uint32_t prev_place = 0;  // the keyspace's own: 0 = its record is not in memory (see Keyspace::event_prev)
};

// What one applied command did. Reused from call to call, so that a put allocates nothing.
struct ApplyResult {
  Status status;         // etcd's error for the client; the state did not change then
  int64_t revision = 0;  // of the store afterwards
  Reply reply;
  std::vector<Event> events;  // all of one revision: `revision`
  // There were more than kEventsMax: `events` is empty, watchers read them from history.
  bool events_omitted = false;
};
constexpr size_t kEventsMax = 10'000;

}  // namespace fairlead::mvcc
