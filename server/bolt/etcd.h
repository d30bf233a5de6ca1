// What etcd keeps in its database: buckets, keys and encodings of storage version 3.6 and 3.7 (3.5 lacks a few of
// them). docs/formats/bbolt.md lists them.
//
// The bucket `key` is large and comes item by item (revision keys and KeyValue messages); all others together are small
// and are one EtcdState.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "server/bolt/reader.h"
#include "server/bolt/writer.h"
#include "server/mvcc/types.h"

namespace fairlead::bolt {

constexpr std::string_view kKeyBucket = "key";
constexpr std::string_view kFairleadBucket = "fairlead";

// ---- the bucket `key`

// Eight bytes big-endian, '_', eight bytes big-endian, and 't' for a deletion.
struct RevisionKey {
  int64_t main = 0;
  int64_t sub = 0;
  bool tombstone = false;
};
constexpr size_t kRevisionKeyBytesMax = 18;
size_t store_revision_key(char* out, const RevisionKey& key);
std::optional<RevisionKey> parse_revision_key(std::string_view in);
// The views of the result live as long as `in`.
std::optional<mvcc::KeyValue> parse_key_value(std::string_view in);

// ---- everything else

struct EtcdLease {
  int64_t id = 0;
  int64_t ttl = 0;
  int64_t remaining_ttl = 0;
  bool operator==(const EtcdLease&) const = default;
};
struct EtcdAlarm {
  uint64_t member = 0;
  uint32_t type = 0;
  bool operator==(const EtcdAlarm&) const = default;
};
struct EtcdMember {
  uint64_t id = 0;
  std::string name;
  std::vector<std::string> peer_urls;
  std::vector<std::string> client_urls;
  bool learner = false;
  bool operator==(const EtcdMember&) const = default;
};

struct EtcdState {
  // meta
  uint64_t consistent_index = 0;
  uint64_t term = 0;
  int64_t compact_revision = -1;  // of what was scheduled; -1: never
  std::string storage_version;    // "3.7.0"; empty before 3.6
  std::vector<uint64_t> voters;   // confState; empty before 3.5
  std::vector<uint64_t> learners;
  // lease, alarm
  std::vector<EtcdLease> leases;
  std::vector<EtcdAlarm> alarms;
  // auth, authUsers, authRoles
  bool auth_enabled = false;
  uint64_t auth_revision = 0;                // 0: nothing was ever set up
  std::map<std::string, std::string> users;  // name -> authpb.User
  std::map<std::string, std::string> roles;  // name -> authpb.Role
  // members, members_removed, cluster
  std::vector<EtcdMember> members;
  std::vector<uint64_t> removed;
  std::string cluster_version;
  bool downgrade_known = false;
  bool downgrade_enabled = false;
  std::string downgrade_target;
  // fairlead: what etcd has no place for
  std::map<std::string, std::string> fairlead;

  bool operator==(const EtcdState&) const = default;
};

// The buckets in front of `key`, and those behind it. Between the two calls the caller writes the bucket `key`.
void write_buckets_before_key(Writer& writer, const EtcdState& state);
void write_buckets_after_key(Writer& writer, const EtcdState& state);

// All but the bucket `key`. Unknown buckets and unknown keys of `meta` and `cluster` are left aside, as etcd does.
Result<EtcdState> read_state(const Reader& reader);
// The bucket `meta` alone.
Result<EtcdState> read_meta_bucket(const Reader& reader);

}  // namespace fairlead::bolt
