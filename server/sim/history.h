// What clients asked and what they were told, and what watchers saw: the evidence that the checkers judge. Values only.
//
// Times are virtual and global: the judge's clock, which no member sees.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/io/io.h"

namespace fairlead::sim {

using io::Nanos;

struct Kv {
  std::string key;
  std::string value;
  int64_t create_revision = 0;
  int64_t mod_revision = 0;
  int64_t version = 0;
  int64_t lease = 0;
  bool operator==(const Kv&) const = default;
};
std::string describe(const Kv& kv);

// One operation on keys. A put, a delete and a range are each a list of one; a transaction has several.
struct SubOp {
  enum class Kind { kPut, kDelete, kRange } kind = Kind::kRange;
  std::string key;
  std::string range_end;
  std::string value;
  int64_t lease = 0;
  int64_t limit = 0;
  int64_t revision = 0;  // of a range in the past
  bool prev_kv = false;
};

struct SubResult {
  std::vector<Kv> kvs;  // a range's, or previous ones
  int64_t count = 0;    // of a range; of a delete: keys deleted
  bool more = false;
  bool operator==(const SubResult&) const = default;
};

struct Compare {
  enum class Target { kModRevision, kVersion, kValue } target = Target::kModRevision;
  std::string key;
  int64_t number = 0;
  std::string value;
};

enum class OpKind { kPut, kDelete, kRange, kTxn, kReadTxn, kCompact, kLeaseGrant, kLeaseRevoke, kLeaseKeepAlive };

struct Op {
  enum class Outcome {
    kUnknown,  // no answer, or one that does not say: it may take effect once, now or later, or never
    kOk,
    kFailed,  // it had no effect and never will
  };
  uint64_t id = 0;
  uint32_t client = 0;
  OpKind kind = OpKind::kRange;
  bool serializable = false;
  std::vector<Compare> compares;
  std::vector<SubOp> success;
  std::vector<SubOp> failure;
  int64_t lease = 0;   // of lease calls
  int64_t number = 0;  // TTL asked for; compact revision

  Nanos invoked = 0;
  Nanos returned = -1;
  Outcome outcome = Outcome::kUnknown;
  std::string error;
  int64_t revision = 0;  // of the answer's header
  bool succeeded = true;
  std::vector<SubResult> results;
  int64_t ttl = 0;

  bool ok() const { return outcome == Outcome::kOk; }
  bool writes_keys() const {
    return kind == OpKind::kPut || kind == OpKind::kDelete || kind == OpKind::kTxn || kind == OpKind::kLeaseRevoke;
  }
};
std::string describe(const Op& op);

// What a watcher gets.
struct SeenEvent {
  bool put = true;
  Kv kv;  // of a deletion: key and mod revision
  bool has_prev = false;
  Kv prev;
};

// What the watchers inside the members saw, the first of them: the order of everything.
struct Revision {
  Nanos first_seen = 0;
  uint64_t first_by = 0;          // the watcher that saw it first
  std::vector<SeenEvent> events;  // in the order of the revision
};

// One watcher's life, over all its connections.
struct WatchLog {
  uint64_t id = 0;
  bool inside = false;  // sits in a member: sees without delay
  std::string key;
  std::string range_end;
  bool prev_kv = false;
  bool no_put = false;
  bool no_delete = false;
  int64_t start = 0;  // first revision it is to see
  struct Seen {
    SeenEvent event;
    Nanos at = 0;
    int64_t compact_asked = 0;  // highest compaction asked for by then
  };
  std::vector<Seen> seen;
  struct Gap {  // told that history is gone: [from, to) need not be seen
    int64_t from;
    int64_t to;
  };
  std::vector<Gap> gaps;
  int64_t next = 0;      // everything before was seen, as far as the watcher knows
  bool cut_off = false;  // sat in a member that is gone for good: what it did not see is not held against it
  std::string broken;    // what the stream did wrong by itself; empty = nothing
};

struct History {
  std::vector<std::shared_ptr<Op>> ops;
  std::map<int64_t, Revision> revisions;
  std::vector<std::shared_ptr<WatchLog>> watches;
  int64_t compact_asked = 0;
  double clock_error_max = 0;  // of a member's clock, as a part: a lease may end so much earlier than it should
  // The contents that each member's range shows at the end, and at which revision.
  struct Final {
    std::string member;
    int64_t revision = 0;
    std::vector<Kv> kvs;
  };
  std::vector<Final> finals;
};

bool in_range(const std::string& key, const std::string& begin, const std::string& range_end);

}  // namespace fairlead::sim
