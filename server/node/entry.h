// The envelope around everything that node puts into a log entry: kind u8 | proposer u64 | request id u64 | payload.
// The kind's number is format; an unknown one ends the process (a member of a later version proposed it without having
// raised the feature level).
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/codec.h"
#include "base/ids.h"
#include "base/status.h"
#include "server/node/stats.h"

namespace fairlead::node {

enum EntryKind : uint8_t {
  kEntryCommand = 1,     // payload: mvcc::encode_command
  kEntryAttributes = 2,  // payload: encode_member of the proposer
  kEntryAs = 3,          // a command in the name of a user: user, auth revision, then as kEntryCommand
  kEntryAuth = 4,        // a change of users, roles or the auth setting
  kEntryAlarm = 5,       // raises or clears an alarm
  kEntryVersion = 6,     // cluster version, downgrade
  kEntryProbe = 7,       // changes nothing: proves that the cluster takes writes
  // 8 is not used: what is left of leases is a command
  // A change of the members (encode_change). Where it changes who votes or learns, the envelope is the context of a
  // Raft configuration entry; else it is an entry like any other.
  kEntryMembers = 9,
};

struct Envelope {
  uint8_t kind = 0;
  MemberId proposer;
  uint64_t request = 0;
  std::string_view payload;
};

constexpr size_t kEnvelopeBytes = 17;

inline void append_envelope(std::string& out, uint8_t kind, MemberId proposer, uint64_t request) {
  put_fixed<uint8_t>(out, kind);
  put_fixed(out, proposer.value);
  put_fixed(out, request);
}

inline Result<Envelope> decode_envelope(std::string_view in) {
  if (in.size() < kEnvelopeBytes) return data_loss("a log entry is too short");
  Envelope e;
  e.kind = static_cast<uint8_t>(in[0]);
  e.proposer = MemberId(load_fixed<uint64_t>(in.data() + 1));
  e.request = load_fixed<uint64_t>(in.data() + 9);
  e.payload = in.substr(kEnvelopeBytes);
  return e;
}

// Its name in metrics. Command kinds are mvcc's first byte, in the order of Operation from 1 on.
inline Operation operation_of(uint8_t kind, std::string_view payload) {
  if (kind == kEntryAttributes) return kOpMemberAttributes;
  if (kind != kEntryCommand || payload.empty()) return kOpUnknown;
  auto command = static_cast<uint8_t>(payload[0]);
  return command >= 1 && command <= kOpLeaseCheckpoint + 1 ? static_cast<Operation>(command - 1) : kOpUnknown;
}

}  // namespace fairlead::node
