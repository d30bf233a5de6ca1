#include "server/import/directory.h"

#include <algorithm>

#include "base/codec.h"
#include "base/crc32c.h"
#include "server/node/alarm.h"
#include "server/node/version.h"
#include "server/storage/log_format.h"

namespace fairlead::import {
namespace {

constexpr uint64_t kSegmentBytesMax = 64 << 20;
constexpr size_t kDanglingMax = 1'000'000;
constexpr uint64_t kLogSegment = 1;  // number of the log's first segment
constexpr uint64_t kLogBatch = 1;

std::string id_bytes(int64_t id) {
  std::string out(8, '\0');
  store_fixed(out.data(), __builtin_bswap64(static_cast<uint64_t>(id)));
  return out;
}

Status bad_key(std::string_view key, std::string_view what) {
  std::optional<bolt::RevisionKey> r = bolt::parse_revision_key(key);
  return data_loss("revision " + (r ? std::to_string(r->main) + "/" + std::to_string(r->sub) : "?") + " " +
                   std::string(what));
}

}  // namespace

DirectoryWriter::DirectoryWriter(const io::World& world, std::string dir, const bolt::Reader& from, std::string log_dir)
    : world_(world),
      dir_(std::move(dir)),
      log_dir_(log_dir.empty() ? dir_ + "/log" : std::move(log_dir)),
      from_(from) {}

Result<Report> DirectoryWriter::write(const Identity& identity, const bolt::EtcdState& state, uint64_t bump) {
  for (const bolt::EtcdLease& lease : state.leases) leases_.insert(lease.id);
  RETURN_IF_ERROR(write_keys());
  if (!dangling_.empty()) {  // once more, without the leases that are not there
    for (const auto& [key, position] : dangling_) detach_.insert(position);
    report_.keys_detached = detach_.size();
    RETURN_IF_ERROR(remove_segments());
    RETURN_IF_ERROR(write_keys());
  }
  RETURN_IF_ERROR(write_side(state, identity.applied));
  report_.compact_revision = state.compact_revision;
  report_.revision = std::max({report_.revision, last_.main, state.compact_revision});
  if (bump > 0) report_.compact_revision = report_.revision = report_.revision + static_cast<int64_t>(bump);

  storage::Manifest m;
  m.shared.applied = identity.applied;
  m.shared.applied_term = identity.applied_term;
  m.shared.config = node::encode_cluster_config(identity.config, identity.members, identity.removed);
  m.shared.revision = report_.revision;
  m.shared.compact_revision = report_.compact_revision;
  m.shared.segments = segments_;
  m.local.cluster = identity.cluster;
  m.local.member = identity.member;
  m.local.store = StoreId{world_.random->next() | 1};
  m.local.log_id = world_.random->next();
  m.local.log_position = kLogBatch;
  m.local.reason = storage::ManifestReason::kCheckpoint;
  m.local.next_file = next_file_;
  RETURN_IF_ERROR(write_log(identity, m.local.log_id));
  RETURN_IF_ERROR(world_.disk->sync_dir(dir_));
  RETURN_IF_ERROR(storage::write_manifest(*world_.disk, dir_, m));
  for (const storage::SegmentInfo& s : segments_) report_.bytes += s.size_bytes;
  return report_;
}

Status DirectoryWriter::write_keys() {
  report_.records = 0;
  last_ = {};
  dangling_.clear();
  RETURN_IF_ERROR(from_.for_each(bolt::kKeyBucket, [this](auto key, auto value) { return write_key(key, value); }));
  return close_segment();
}

Status DirectoryWriter::write_key(std::string_view key, std::string_view value) {
  std::optional<bolt::RevisionKey> revision = bolt::parse_revision_key(key);
  if (!revision || revision->main < 1) return data_loss("the bucket key holds a revision that is none");
  std::optional<mvcc::KeyValue> kv = bolt::parse_key_value(value);
  if (!kv) return bad_key(key, "cannot be read");
  if (kv->key.empty()) {  // left by etcdutl's --bump-revision: only says how far revisions have come
    report_.revision = std::max(report_.revision, revision->main);
    return {};
  }
  mvcc::KeyRecord record;
  record.position = {revision->main, revision->sub};
  if (record.position <= last_) return bad_key(key, "is there twice");
  last_ = record.position;
  record.key = kv->key;
  if (revision->tombstone) {
    record.flags = mvcc::kFlagTombstone;
  } else {
    if (kv->mod_revision != revision->main || kv->create_revision < 1 || kv->create_revision > revision->main ||
        kv->version < 1)
      return bad_key(key, "contradicts itself");
    record.create = kv->create_revision;
    record.version = kv->version;
    record.lease = detach_.contains(record.position) ? 0 : kv->lease;
    record.value = kv->value;
  }
  note_lease(record);
  if (dangling_.size() > kDanglingMax) return data_loss("too many keys are attached to leases that are not there");
  record_.clear();
  mvcc::append_key_record(record_, record);
  ++report_.records;
  return add_record(storage::SegmentKind::kKeys, record_);
}

// Only the newest revision of a key attaches it.
void DirectoryWriter::note_lease(const mvcc::KeyRecord& record) {
  if (record.lease != 0 && !leases_.contains(record.lease)) {
    dangling_[std::string(record.key)] = record.position;
  } else if (!dangling_.empty()) {
    if (auto it = dangling_.find(record.key); it != dangling_.end()) dangling_.erase(it);
  }
}

Status DirectoryWriter::write_side(const bolt::EtcdState& state, Index applied) {
  uint64_t n = 0;
  auto add = [&](mvcc::SideKind kind, std::string_view id, std::string_view payload) {
    record_.clear();
    mvcc::append_side_record(record_, {{applied.value, n++}, 0, kind, id, payload});
    return add_record(storage::SegmentKind::kSide, record_);
  };
  std::string payload;
  for (const bolt::EtcdLease& lease : state.leases) {
    payload.clear();
    put_varint(payload, zigzag(lease.ttl));
    put_varint(payload, zigzag(lease.remaining_ttl));
    RETURN_IF_ERROR(add(mvcc::SideKind::kLease, id_bytes(lease.id), payload));
  }
  report_.leases = state.leases.size();
  if (state.auth_revision > 0 || state.auth_enabled) {
    payload.clear();
    put_fixed<uint8_t>(payload, state.auth_enabled);
    put_varint(payload, state.auth_revision);
    RETURN_IF_ERROR(add(mvcc::SideKind::kAuth, "", payload));
  }
  for (const auto& [name, user] : state.users) RETURN_IF_ERROR(add(mvcc::SideKind::kUser, name, user));
  for (const auto& [name, role] : state.roles) RETURN_IF_ERROR(add(mvcc::SideKind::kRole, name, role));
  report_.users = state.users.size();
  report_.roles = state.roles.size();
  if (!state.cluster_version.empty()) {
    node::ClusterVersion version{state.cluster_version, state.downgrade_known,
                                 state.downgrade_enabled ? state.downgrade_target : ""};
    RETURN_IF_ERROR(add(mvcc::SideKind::kNode, node::kVersionRecordId, node::encode_cluster_version(version)));
  }
  for (const bolt::EtcdAlarm& alarm : state.alarms) {
    if (alarm.type == 0) continue;
    std::string id = node::alarm_side_id({MemberId{alarm.member}, static_cast<node::AlarmType>(alarm.type)});
    RETURN_IF_ERROR(add(mvcc::SideKind::kAlarm, id, ""));
  }
  return close_segment();
}

Status DirectoryWriter::add_record(storage::SegmentKind kind, std::string_view record) {
  if (segment_ && segment_->bytes() + record.size() > kSegmentBytesMax) RETURN_IF_ERROR(close_segment());
  if (!segment_) {
    storage::SegmentWriterArgs args;
    args.dir = dir_;
    args.kind = kind;
    args.number = next_file_++;
    args.random_id = world_.random->next();
    ASSIGN_OR_RETURN(segment_, storage::SegmentWriter::create(*world_.disk, args));
  }
  return segment_->add(record);
}

Status DirectoryWriter::close_segment() {
  if (!segment_) return {};
  ASSIGN_OR_RETURN(storage::SegmentInfo info, segment_->finish());
  segments_.push_back(info);
  segment_ = nullptr;
  return {};
}

Status DirectoryWriter::remove_segments() {
  for (const storage::SegmentInfo& s : segments_)
    RETURN_IF_ERROR(world_.disk->remove(dir_ + "/" + storage::segment_file_name(s.number)));
  segments_.clear();
  return {};
}

// One batch without entries: the log begins behind the applied index (docs/formats/log.md).
Status DirectoryWriter::write_log(const Identity& identity, uint64_t log_id) {
  RETURN_IF_ERROR(world_.disk->make_dirs(log_dir_));
  storage::BatchHeader h;
  h.flags = storage::kLogFirst | storage::kLogFresh | storage::kLogRestart;
  h.log_id = log_id;
  h.segment = kLogSegment;
  h.sequence = kLogBatch;
  h.body_crc = crc32c({});
  h.term = identity.term;
  h.vote = identity.vote;
  h.start = identity.applied + 1;
  h.term_before_start = identity.applied_term;
  h.last_index = identity.applied;
  std::string block(io::kDiskBlockBytes, '\0');
  storage::encode_batch_header(block.data(), h);
  ASSIGN_OR_RETURN(
      std::unique_ptr<io::File> file,
      world_.disk->open(log_dir_ + "/" + storage::log_segment_name(log_id, kLogSegment), io::OpenMode::kCreate));
  RETURN_IF_ERROR(file->write_at(0, block));
  RETURN_IF_ERROR(file->sync());
  return world_.disk->sync_dir(log_dir_);
}

}  // namespace fairlead::import
