#include "server/node/public_snapshot.h"

#include <algorithm>
#include <limits>

#include "base/codec.h"
#include "server/mvcc/proto_encode.h"
#include "server/node/alarm.h"
#include "server/node/membership.h"
#include "server/node/version.h"

namespace fairlead::node {
namespace {

constexpr std::string_view kFormat = "1";  // of the bucket `fairlead`

// Side state, and what a compaction has not reached: both from the segments.
class Loader final : public mvcc::IndexLoader {
 public:
  explicit Loader(int64_t compact_revision) : compact_revision_(compact_revision) {}

  void add_key(std::string_view, std::span<const mvcc::RecordMeta> revisions) override {
    for (size_t i = 0; i < revisions.size(); ++i) {
      int64_t next = i + 1 < revisions.size() ? revisions[i + 1].position.main : std::numeric_limits<int64_t>::max();
      if (mvcc::compacted_away(revisions[i].position.main, revisions[i].tombstone(), next, compact_revision_))
        unreadable.push_back(revisions[i].position);
    }
  }
  // The record with the later position counts; they come in order of position.
  void add_side(const mvcc::SideRecord& r) override {
    side[{r.kind, std::string(r.id)}] = {r.position, std::string(r.payload)};
  }

  std::vector<mvcc::Position> unreadable;
  std::map<std::pair<mvcc::SideKind, std::string>, std::pair<mvcc::SidePosition, std::string>> side;

 private:
  int64_t compact_revision_;
};

void add_lease(const mvcc::SideRecord& record, bolt::EtcdState& out) {
  if (record.id.size() != sizeof(int64_t)) return;
  Reader in(record.payload);
  bolt::EtcdLease lease;
  lease.id = static_cast<int64_t>(__builtin_bswap64(load_fixed<uint64_t>(record.id.data())));
  lease.ttl = unzigzag(in.varint());
  lease.remaining_ttl = unzigzag(in.varint());
  if (in.ok()) out.leases.push_back(lease);
}

void add_cluster(const ClusterConfig& config, bolt::EtcdState& out) {
  for (MemberId id : config.raft.voters) out.voters.push_back(id.value);
  for (MemberId id : config.raft.learners) out.learners.push_back(id.value);
  for (const auto& [id, m] : config.members)
    out.members.push_back({id.value, m.name, m.peer_urls, m.client_urls, m.is_learner});
  for (MemberId id : config.removed) out.removed.push_back(id.value);
}

}  // namespace

void add_side_record(const mvcc::SideRecord& record, bolt::EtcdState& out) {
  switch (record.kind) {
    case mvcc::SideKind::kLease:
      return add_lease(record, out);
    case mvcc::SideKind::kAuth: {
      Reader in(record.payload);
      out.auth_enabled = in.fixed<uint8_t>() != 0;
      out.auth_revision = in.varint();
      return;
    }
    case mvcc::SideKind::kUser:
      out.users.emplace(record.id, record.payload);
      return;
    case mvcc::SideKind::kRole:
      out.roles.emplace(record.id, record.payload);
      return;
    case mvcc::SideKind::kAlarm:
      if (std::optional<Alarm> alarm = parse_alarm_side_id(record.id))
        out.alarms.push_back({alarm->member.value, static_cast<uint32_t>(alarm->type)});
      return;
    case mvcc::SideKind::kNode:
      if (record.id == kVersionRecordId) {
        if (Result<ClusterVersion> v = decode_cluster_version(record.payload); v.is_ok()) {
          out.cluster_version = v->version;
          out.storage_version = v->version;
          out.downgrade_known = v->downgrade_known;
          out.downgrade_enabled = v->downgrade_enabled();
          out.downgrade_target = v->downgrade_target;
        }
      }
      return;
    default:
      return;
  }
}

PublicSnapshot::PublicSnapshot(io::Disk& disk, std::string dir, PinnedState state)
    : reader_(disk, std::move(dir), std::move(state.pin)), compacted_(state.compacted) {}

Status PublicSnapshot::load_state() {
  const storage::SharedManifest& manifest = reader_.manifest();
  Loader loader(manifest.compact_revision);
  RETURN_IF_ERROR(reader_.load(loader, !compacted_ && manifest.compact_revision > 0));
  for (const auto& [key, value] : loader.side)
    add_side_record({value.first, 0, key.first, key.second, value.second}, state_);
  unreadable_ = std::move(loader.unreadable);
  std::sort(unreadable_.begin(), unreadable_.end());
  ASSIGN_OR_RETURN(ClusterConfig config, decode_cluster_config(manifest.config));
  add_cluster(config, state_);
  state_.consistent_index = manifest.applied.value;
  state_.term = manifest.applied_term.value;
  state_.compact_revision = manifest.compact_revision;
  state_.fairlead["format"] = kFormat;
  state_.fairlead["feature_level"] = std::to_string(manifest.feature_level);
  return {};
}

void PublicSnapshot::write_key(bolt::Writer& writer, const mvcc::KeyRecord& record) {
  char key[bolt::kRevisionKeyBytesMax];
  size_t key_bytes = bolt::store_revision_key(key, {record.position.main, record.position.sub, record.tombstone()});
  mvcc::KeyValue kv{record.key, {}, 0, 0, 0, 0};  // of a deletion, etcd stores the key and nothing else
  if (!record.tombstone()) kv = mvcc::to_key_value(record);
  writer.add({key, key_bytes}, mvcc::key_value_size(kv), [&](char* room) { mvcc::store_key_value(room, kv); });
}

Status PublicSnapshot::write_some(bolt::Writer& writer, size_t bytes) {
  if (step_ == Step::kBegin) {
    reader_.rewind();
    unreadable_at_ = 0;
    bolt::write_buckets_before_key(writer, state_);
    writer.begin_bucket(bolt::kKeyBucket);
    step_ = Step::kKeys;
  }
  for (size_t done = 0; done < bytes && step_ == Step::kKeys;) {
    ASSIGN_OR_RETURN(const mvcc::KeyRecord* record, reader_.next());
    if (record == nullptr) {
      writer.end_bucket();
      bolt::write_buckets_after_key(writer, state_);
      step_ = Step::kDone;
      break;
    }
    done += record->key.size() + record->value.size() + sizeof(*record);
    while (unreadable_at_ < unreadable_.size() && unreadable_[unreadable_at_] < record->position) ++unreadable_at_;
    if (unreadable_at_ < unreadable_.size() && unreadable_[unreadable_at_] == record->position) continue;
    write_key(writer, *record);
  }
  return {};
}

Result<bool> PublicSnapshot::prepare() {
  if (step_ == Step::kState) {
    RETURN_IF_ERROR(load_state());
    writer_ = std::make_unique<bolt::Writer>();
    step_ = Step::kBegin;
    return false;
  }
  RETURN_IF_ERROR(write_some(*writer_, kSnapshotCountBytes));
  if (step_ != Step::kDone) return false;
  layout_ = writer_->finish();
  writer_ = std::make_unique<bolt::Writer>(layout_, &out_);
  step_ = Step::kBegin;
  return true;
}

Result<Bytes> PublicSnapshot::next() {
  while (out_.size() < kSnapshotPieceBytes && writer_) {
    RETURN_IF_ERROR(write_some(*writer_, kSnapshotPieceBytes));
    if (step_ != Step::kDone) continue;
    writer_->finish();
    writer_.reset();
  }
  hash_.add(out_);
  Bytes piece = Bytes::take(std::move(out_));
  out_ = {};
  out_.reserve(kSnapshotPieceBytes * 2);
  return piece;
}

}  // namespace fairlead::node
