#include "server/storage/hash_kv.h"

#include <algorithm>

#include "base/crc32c.h"
#include "server/mvcc/proto_encode.h"

namespace fairlead::storage {

namespace {
constexpr size_t kDirectoryEntryBytes = 64;  // about, for the length of a step

void put_big_endian(std::string& out, uint64_t v) {
  for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<char>(v >> shift));
}
}  // namespace

HashKvJob::HashKvJob(io::Disk& disk, std::string dir, Pin list, int64_t compact_revision, int64_t revision)
    : disk_(disk),
      dir_(std::move(dir)),
      list_(std::move(list)),
      compact_(compact_revision),
      revision_(revision),
      rule_(compact_revision, revision),
      hash_(crc32c("key")) {
  CHECK(list_->shared.revision >= revision, "what is hashed is on disk");
}
HashKvJob::~HashKvJob() = default;

Status HashKvJob::step(size_t bytes) {
  if (!grouped_) return group_keys(bytes);
  return read_segments(bytes);
}

// --- which revisions up to the compact revision do not count

Status HashKvJob::open_directories() {
  merge_ = std::make_unique<DirectoryMerge>();
  for (size_t i = 0; i < list_->key_segments; ++i) RETURN_IF_ERROR(merge_->add(disk_, dir_, list_->segments[i]));
  return {};
}

Status HashKvJob::group_keys(size_t bytes) {
  if (!rule_.judges()) {  // everything counts
    grouped_ = true;
    return {};
  }
  if (!merge_) RETURN_IF_ERROR(open_directories());
  std::string key;
  std::vector<mvcc::RecordMeta> revisions;
  for (size_t seen = 0; seen * kDirectoryEntryBytes < bytes && !merge_->at_end();) {
    key.assign(merge_->key());
    revisions.clear();
    for (; !merge_->at_end() && merge_->key() == key; ++seen) {
      revisions.push_back(merge_->meta());
      RETURN_IF_ERROR(merge_->next());
    }
    rule_.judge(revisions);
  }
  if (!merge_->at_end()) return {};
  merge_ = nullptr;
  grouped_ = true;
  rule_.settle();
  return {};
}

// --- the hash itself

Status HashKvJob::read_segments(size_t bytes) {
  for (size_t read = 0; read < bytes;) {
    if (segment_ == list_->key_segments ||
        list_->segments[segment_].info.first.major > static_cast<uint64_t>(revision_)) {
      done_ = true;
      return {};
    }
    const auto& s = list_->segments[segment_];
    if (!dead_read_) {
      ASSIGN_OR_RETURN(dead_, read_dead_list(disk_, dir_, s.info.dead));
      dead_read_ = true;
    }
    if (block_ == s.reader->block_count()) {
      ++segment_;
      block_ = 0;
      dead_read_ = false;
      continue;
    }
    ASSIGN_OR_RETURN(Bytes block, s.reader->read_block(block_));
    ++block_;
    read += block.size();
    RETURN_IF_ERROR(add_block(dead_, block));
  }
  return {};
}

Status HashKvJob::add_block(const DeadList& dead, const Bytes& block) {
  for (std::string_view rest = block.view(); !rest.empty();) {
    ASSIGN_OR_RETURN(RecordFrame frame, record_frame(rest));
    if (frame.place.major > static_cast<uint64_t>(revision_)) return {};
    if (!contains(dead, frame.place)) add_record(rest.substr(0, frame.size));
    rest.remove_prefix(frame.size);
  }
  return {};
}

void HashKvJob::add_record(std::string_view record) {
  mvcc::KeyRecord r = mvcc::trusted_key_record(record);  // its block's checksum has just been checked
  if (!rule_.counts(r.position, r.tombstone())) return;
  scratch_.clear();
  put_big_endian(scratch_, static_cast<uint64_t>(r.position.main));
  scratch_.push_back('_');
  put_big_endian(scratch_, static_cast<uint64_t>(r.position.sub));
  mvcc::KeyValue kv = mvcc::to_key_value(r);
  if (r.tombstone()) {
    scratch_.push_back('t');
    kv = {r.key, {}, 0, 0, 0, 0};  // as etcd stores one
  }
  mvcc::append_key_value(scratch_, kv);
  hash_ = crc32c_extend(hash_, scratch_);
}

}  // namespace fairlead::storage
