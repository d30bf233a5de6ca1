// Records: the unit of state on disk and in the unflushed tail. docs/formats/segments.md has the layout byte by byte.
//
// A key record is one revision of one key: (main, sub) is both its identity and its place. A side record is the whole
// current value of one piece of state that has no revision (a lease, a member, an alarm...), identified by (kind, id)
// and placed by the Raft entry that wrote it (applied index, n). A record is encoded once, when it is applied; cleaner
// and snapshot copy the bytes, checksum included.
//
// Layout (little-endian; var = LEB128):
//   key record   u32 crc | var length of what follows | u8 type=1 | u8 flags | var main | var sub | var create |
//                var version | zigzag var lease | var keep_versions (0) | var key length, key | var value length, value
//   side record  u32 crc | var length of what follows | u8 type=2 | u8 flags | var applied | var n | u8 kind |
//                var id length, id | var payload length, payload
// crc = CRC32C of everything after it, the length included.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/status.h"

namespace fairlead::mvcc {

// Where a key record lies on the revision line; its identity everywhere.
struct Position {
  int64_t main = 0;
  int64_t sub = 0;
  auto operator<=>(const Position&) const = default;
};

struct SidePosition {
  uint64_t applied = 0;
  uint64_t n = 0;
  auto operator<=>(const SidePosition&) const = default;
};

constexpr uint8_t kFlagTombstone = 1;  // key record: the key was deleted here; no value

struct KeyRecord {  // views into the encoded bytes (or into the caller's)
  Position position;
  uint8_t flags = 0;
  int64_t create = 0;   // 0 for a tombstone
  int64_t version = 0;  // 0 for a tombstone
  int64_t lease = 0;
  std::string_view key;
  std::string_view value;
  bool tombstone() const { return flags & kFlagTombstone; }
};

enum class SideKind : uint8_t {
  kLease = 1,
  kMember = 2,           // written by node: id = 8-byte member id
  kTombstoneMember = 3,  // a removed member's id
  kAlarm = 4,
  kNode = 5,      // node's own replicated settings (cluster version, feature level)
  kKeyspace = 6,  // the keyspace's own: the chained checksum of what was applied
  kAuth = 7,      // the auth setting and its revision
  kUser = 8,      // id: name
  kRole = 9,      // id: name
};

struct SideRecord {
  SidePosition position;
  uint8_t flags = 0;
  SideKind kind = SideKind::kLease;
  std::string_view id;
  std::string_view payload;
};

size_t key_record_size(const KeyRecord& record);
// Writes key_record_size() bytes; returns the end.
char* store_key_record(char* out, const KeyRecord& record);
void append_key_record(std::string& out, const KeyRecord& record);
void append_side_record(std::string& out, const SideRecord& record);

// Decode the record at the front of `in` and advance past it. kDataLoss when the bytes are damaged (CRC, lengths).
Result<KeyRecord> decode_key_record(std::string_view& in);
Result<SideRecord> decode_side_record(std::string_view& in);
// The same for bytes that this process encoded or has checked before: no checksum, no bounds.
KeyRecord trusted_key_record(std::string_view record);

}  // namespace fairlead::mvcc
