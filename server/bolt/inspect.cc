#include "server/bolt/inspect.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/crc32c.h"
#include "server/bolt/etcd.h"
#include "server/mvcc/errors.h"
#include "server/mvcc/hash_rule.h"

namespace fairlead::bolt {
namespace {

// What etcd's tools take for a version: three numbers.
bool is_version(std::string_view text) {
  size_t dots = 0;
  bool digit = false;
  for (char c : text) {
    if (c == '.' && !digit) return false;
    dots += c == '.';
    digit = c != '.';
    if (digit && (c < '0' || c > '9')) return false;
  }
  return dots == 2 && digit;
}

Result<RevisionKey> revision_of(std::string_view key) {
  std::optional<RevisionKey> revision = parse_revision_key(key);
  if (!revision) return data_loss("cannot parse revision key: a key of " + std::to_string(key.size()) + " bytes");
  return *revision;
}
Result<std::string_view> name_of(const RevisionKey& revision, std::string_view value) {
  std::optional<mvcc::KeyValue> kv = parse_key_value(value);
  if (!kv) return data_loss("cannot unmarshal value of revision " + std::to_string(revision.main));
  return kv->key;
}

// Revisions of each key, as far as the rule asks for them, in the order of the file.
Status judge(const Reader& reader, mvcc::HashRule& rule) {
  std::unordered_map<std::string, std::vector<mvcc::RecordMeta>> keys;
  RETURN_IF_ERROR(reader.for_each(kKeyBucket, [&](std::string_view key, std::string_view value) -> Status {
    ASSIGN_OR_RETURN(RevisionKey revision, revision_of(key));
    ASSIGN_OR_RETURN(std::string_view name, name_of(revision, value));
    mvcc::RecordMeta meta;
    meta.position = {revision.main, revision.sub};
    meta.flags = revision.tombstone ? mvcc::kFlagTombstone : 0;
    keys[std::string(name)].push_back(meta);
    return {};
  }));
  for (const auto& [name, revisions] : keys) rule.judge(revisions);
  rule.settle();
  return {};
}

}  // namespace

Result<Summary> summarize(const Reader& reader) {
  Summary out;
  out.bytes = reader.meta().pages * reader.meta().page_bytes;
  std::unordered_set<std::string> alive;
  for (const std::string& bucket : reader.buckets()) {
    out.hash = crc32c_extend(out.hash, bucket);
    const bool is_keys = bucket == kKeyBucket, is_meta = bucket == "meta";
    RETURN_IF_ERROR(reader.for_each(bucket, [&](std::string_view key, std::string_view value) -> Status {
      out.hash = crc32c_extend(crc32c_extend(out.hash, key), value);
      if (is_meta && key == "storageVersion" && is_version(value)) out.version = value;
      if (!is_keys) return {};
      ASSIGN_OR_RETURN(RevisionKey revision, revision_of(key));
      ASSIGN_OR_RETURN(std::string_view name, name_of(revision, value));
      out.revision = revision.main;
      if (revision.tombstone)
        alive.erase(std::string(name));
      else
        alive.emplace(name);
      return {};
    }));
  }
  out.keys = alive.size();
  return out;
}

Result<KeyHash> hash_keys(const Reader& reader, int64_t revision) {
  ASSIGN_OR_RETURN(EtcdState state, read_meta_bucket(reader));
  // The last record tells how far revisions have come, unless a compaction took it.
  int64_t latest = 1;
  RETURN_IF_ERROR(reader.for_last(kKeyBucket, [&](std::string_view key, std::string_view) -> Status {
    ASSIGN_OR_RETURN(RevisionKey last, revision_of(key));
    latest = last.main;
    return {};
  }));
  latest = std::max(latest, state.compact_revision);
  if (revision > 0 && revision < state.compact_revision) return mvcc::err_compacted();
  if (revision > latest) return mvcc::err_future_revision();
  KeyHash out{crc32c(kKeyBucket), revision == 0 ? latest : revision, state.compact_revision};
  mvcc::HashRule rule(out.compact_revision, out.revision);
  if (rule.judges()) RETURN_IF_ERROR(judge(reader, rule));
  RETURN_IF_ERROR(reader.for_each(kKeyBucket, [&](std::string_view key, std::string_view value) -> Status {
    ASSIGN_OR_RETURN(RevisionKey r, revision_of(key));
    if (rule.counts({r.main, r.sub}, r.tombstone)) out.hash = crc32c_extend(crc32c_extend(out.hash, key), value);
    return {};
  }));
  return out;
}

}  // namespace fairlead::bolt
