// HashKV of this member's state, and the comparison of it among members. See hash.cc.
#pragma once

#include <functional>
#include <vector>

#include "server/io/io.h"
#include "server/storage/hash_kv.h"

namespace fairlead::node {

constexpr size_t kHashesMax = 16;  // running or waiting for a checkpoint

struct HashReply {
  storage::HashKv kv;
  int64_t revision = 0;  // the member's newest when it was asked
};
struct PeerHash {
  MemberId id;
  Status status;
  HashReply reply;
};
using PeerHashesDone = std::function<void(const std::vector<PeerHash>&)>;
using HashDone = std::function<void(const Status& status, const HashReply& reply)>;

}  // namespace fairlead::node
