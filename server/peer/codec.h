// Raft messages as bytes. A message is a small head and, for entries, a body that is encoded (and its checksum
// computed) once and shared between followers.
//
// Layout: the head of every kind is a sequence of varints in the order of the struct's fields; codec.cc is the
// specification. The body of an Append or Propose is, for each entry: type u8 | varint term | varint length | data;
// entry indexes follow from prev_index.
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/status.h"
#include "server/raft/types.h"

namespace fairlead::peer {

struct EncodedMessage {
  std::string head;
  Bytes body;             // empty for most kinds
  uint32_t body_crc = 0;  // CRC32C of body
};

// Keeps the encoding of the runs of entries it saw last: the leader sends one run to every follower in turn.
class MessageEncoder {
 public:
  EncodedMessage encode(const raft::Message& message);

 private:
  static constexpr size_t kCachedRuns = 4;
  struct Cached {
    raft::Entries entries;
    Bytes body;
    uint32_t crc = 0;
  };
  Cached& encoded(const raft::Entries& entries);
  Cached cache_[kCachedRuns];
  size_t next_ = 0;
};

// Entries' data are slices of `body`. from/to/term are part of the head; the caller checks from and to.
Result<raft::Message> decode_message(std::string_view head, const Bytes& body);

}  // namespace fairlead::peer
