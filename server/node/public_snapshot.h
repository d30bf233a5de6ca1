// What a pin stands for, as the database file that etcd and its tools take (docs/formats/bbolt.md): a function of the
// pinned segments and their manifest alone, so that it costs the loop nothing. Blocking, for workers; one thread at a
// time. The work comes in pieces, so that a reader that has gone away costs no more than one.
//
// Memory: one piece, one block of records, side state (leases, users, members), and, where a compaction was under way
// when the pin was taken, the positions of revisions that it has not reached yet.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "server/bolt/etcd.h"
#include "server/storage/pin_reader.h"
#include "server/storage/segment_format.h"

namespace fairlead::node {

constexpr size_t kSnapshotCountBytes = 32 << 20;   // of records, gone over in one call of prepare()
constexpr size_t kSnapshotPieceBytes = 256 << 10;  // about; one value may be larger

// A state on disk that stays as it is while somebody holds this.
struct PinnedState {
  storage::Pin pin;
  bool compacted = false;  // every revision that the compact revision has made unreadable is on a dead list
};

class PublicSnapshot {
 public:
  PublicSnapshot(io::Disk& disk, std::string dir, PinnedState state);

  // Finds out the size. Called until it returns true.
  Result<bool> prepare();
  uint64_t size_bytes() const { return layout_.bytes(); }
  const std::string& storage_version() const { return state_.storage_version; }

  // The file's next bytes, after prepare(); empty at its end. Then hash() is that of the whole file.
  Result<Bytes> next();
  storage::Sha256 hash() { return hash_.finish(); }

 private:
  enum class Step : uint8_t { kState, kBegin, kKeys, kDone };
  Status load_state();
  // Gives the writer records until about `bytes` of them have gone by; sets step_ when there are no more.
  Status write_some(bolt::Writer& writer, size_t bytes);
  void write_key(bolt::Writer& writer, const mvcc::KeyRecord& record);

  storage::PinReader reader_;
  const bool compacted_;
  bolt::EtcdState state_;
  std::vector<mvcc::Position> unreadable_;  // sorted; those that compaction has not reached
  size_t unreadable_at_ = 0;
  Step step_ = Step::kState;
  std::unique_ptr<bolt::Writer> writer_;
  bool counted_ = false;
  bolt::Layout layout_;
  std::string out_;
  storage::Sha256Hasher hash_;
};

// Side records and cluster configuration in etcd's terms, and back: for exports and imports. Unknown kinds are the
// keyspace's own and have no place there.
void add_side_record(const mvcc::SideRecord& record, bolt::EtcdState& out);

}  // namespace fairlead::node
