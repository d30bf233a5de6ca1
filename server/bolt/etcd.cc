#include "server/bolt/etcd.h"

#include <charconv>

#include <nlohmann/json.hpp>

#include "base/codec.h"
#include "server/bolt/proto_wire.h"

namespace fairlead::bolt {
namespace {

using nlohmann::json;

constexpr std::string_view kScheduledCompact = "scheduledCompactRev";
constexpr std::string_view kFinishedCompact = "finishedCompactRev";
constexpr std::string_view kConsistentIndex = "consistent_index";
constexpr std::string_view kTerm = "term";
constexpr std::string_view kStorageVersion = "storageVersion";
constexpr std::string_view kConfState = "confState";
constexpr std::string_view kAuthEnabled = "authEnabled";
constexpr std::string_view kAuthRevision = "authRevision";
constexpr std::string_view kClusterVersion = "clusterVersion";
constexpr std::string_view kDowngrade = "downgrade";
constexpr size_t kSideItemsMax = 50'000'000;  // leases, mostly

char* store_big(char* out, uint64_t v) {
  store_fixed(out, __builtin_bswap64(v));
  return out + 8;
}
std::string big(uint64_t v) {
  std::string out(8, '\0');
  store_big(out.data(), v);
  return out;
}
uint64_t load_big(const char* in) { return __builtin_bswap64(load_fixed<uint64_t>(in)); }

std::string hex(uint64_t v) {
  char out[20];
  auto end = std::to_chars(out, out + sizeof(out), v, 16).ptr;
  return {out, end};
}
std::optional<uint64_t> parse_hex(std::string_view in) {
  uint64_t v = 0;
  auto [end, error] = std::from_chars(in.data(), in.data() + in.size(), v, 16);
  if (in.empty() || error != std::errc() || end != in.data() + in.size()) return std::nullopt;
  return v;
}

using Items = std::map<std::string, std::string>;

void write_bucket(Writer& writer, std::string_view name, const Items& items) {
  writer.begin_bucket(name);
  for (const auto& [key, value] : items) writer.add(key, value);
  writer.end_bucket();
}

std::string revision_item(int64_t revision) {
  std::string out(kRevisionKeyBytesMax, '\0');
  out.resize(store_revision_key(out.data(), {revision, 0, false}));
  return out;
}

json id_list(const std::vector<uint64_t>& ids) {
  json out = json::array();
  for (uint64_t id : ids) out.push_back(id);
  return out;
}

Items meta_items(const EtcdState& s) {
  Items out;
  out[std::string(kConsistentIndex)] = big(s.consistent_index);
  out[std::string(kTerm)] = big(s.term);
  if (s.compact_revision >= 0)
    out[std::string(kScheduledCompact)] = out[std::string(kFinishedCompact)] = revision_item(s.compact_revision);
  if (!s.storage_version.empty()) out[std::string(kStorageVersion)] = s.storage_version;
  if (!s.voters.empty()) {
    json conf = {{"voters", id_list(s.voters)}, {"auto_leave", false}};
    if (!s.learners.empty()) conf["learners"] = id_list(s.learners);
    out[std::string(kConfState)] = conf.dump();
  }
  return out;
}

void write_leases(Writer& writer, const std::vector<EtcdLease>& leases) {
  std::map<std::string, const EtcdLease*> order;  // by the bytes of the id
  for (const EtcdLease& lease : leases) order[big(static_cast<uint64_t>(lease.id))] = &lease;
  writer.begin_bucket("lease");
  std::string value;
  for (const auto& [key, lease] : order) {
    value.clear();
    put_proto_number(value, 1, static_cast<uint64_t>(lease->id));
    put_proto_number(value, 2, static_cast<uint64_t>(lease->ttl));
    put_proto_number(value, 3, static_cast<uint64_t>(lease->remaining_ttl));
    writer.add(key, value);
  }
  writer.end_bucket();
}

Items alarm_items(const EtcdState& s) {
  Items out;
  for (const EtcdAlarm& alarm : s.alarms) {
    std::string key;
    put_proto_number(key, 1, alarm.member);
    put_proto_number(key, 2, alarm.type);
    if (!key.empty()) out[key] = "";
  }
  return out;
}

Items member_items(const EtcdState& s) {
  Items out;
  for (const EtcdMember& m : s.members) {
    json one = {{"id", m.id}, {"peerURLs", m.peer_urls}};
    if (m.learner) one["isLearner"] = true;
    if (!m.name.empty()) one["name"] = m.name;
    if (!m.client_urls.empty()) one["clientURLs"] = m.client_urls;
    out[hex(m.id)] = one.dump();
  }
  return out;
}

Items cluster_items(const EtcdState& s) {
  Items out;
  if (!s.cluster_version.empty()) out[std::string(kClusterVersion)] = s.cluster_version;
  if (s.downgrade_known)
    out[std::string(kDowngrade)] =
        json{{"target-version", s.downgrade_target}, {"enabled", s.downgrade_enabled}}.dump();
  return out;
}

Status bad(std::string_view bucket, std::string_view what) {
  return data_loss("the bucket " + std::string(bucket) + " holds " + std::string(what));
}

// JSON of a file: nothing unless it is an object.
std::optional<json> parse_object(std::string_view in) {
  json out = json::parse(in, nullptr, false);
  if (!out.is_object()) return std::nullopt;
  return out;
}
bool read_strings(const json& object, const char* name, std::vector<std::string>& out) {
  auto it = object.find(name);
  if (it == object.end() || it->is_null()) return true;
  if (!it->is_array()) return false;
  for (const json& one : *it) {
    if (!one.is_string()) return false;
    out.push_back(one.get<std::string>());
  }
  return true;
}
bool read_ids(const json& object, const char* name, std::vector<uint64_t>& out) {
  auto it = object.find(name);
  if (it == object.end() || it->is_null()) return true;
  if (!it->is_array()) return false;
  for (const json& one : *it) {
    if (!one.is_number_unsigned()) return false;
    out.push_back(one.get<uint64_t>());
  }
  return true;
}
std::string text(const json& object, const char* name) {
  auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}
bool flag(const json& object, const char* name) {
  auto it = object.find(name);
  return it != object.end() && it->is_boolean() && it->get<bool>();
}

Status read_meta(std::string_view key, std::string_view value, EtcdState& s) {
  if (key == kConsistentIndex || key == kTerm) {
    if (value.size() != 8) return bad("meta", "a number that is none");
    (key == kTerm ? s.term : s.consistent_index) = load_big(value.data());
  } else if (key == kScheduledCompact || key == kFinishedCompact) {
    // What was scheduled counts: a start finishes it. Before 3.3 there is only the finished one.
    std::optional<RevisionKey> revision = parse_revision_key(value);
    if (!revision) return bad("meta", "a compact revision that is none");
    s.compact_revision = std::max(s.compact_revision, revision->main);
  } else if (key == kStorageVersion) {
    s.storage_version = value;
  } else if (key == kConfState) {
    std::optional<json> conf = parse_object(value);
    if (!conf || !read_ids(*conf, "voters", s.voters) || !read_ids(*conf, "learners", s.learners))
      return bad("meta", "a configuration that cannot be read");
    std::vector<uint64_t> outgoing;
    if (!read_ids(*conf, "voters_outgoing", outgoing) || !outgoing.empty())
      return bad("meta", "a configuration in the middle of a change");
  }
  return {};
}

Status read_lease(std::string_view key, std::string_view value, EtcdState& s) {
  if (key.size() != 8) return bad("lease", "an id that is none");
  EtcdLease lease;
  ProtoReader in(value);
  for (ProtoField f; in.next(f);) {
    if (f.number == 1) lease.id = static_cast<int64_t>(f.varint);
    if (f.number == 2) lease.ttl = static_cast<int64_t>(f.varint);
    if (f.number == 3) lease.remaining_ttl = static_cast<int64_t>(f.varint);
  }
  if (!in.ok() || static_cast<uint64_t>(lease.id) != load_big(key.data())) return bad("lease", "a lease that is none");
  if (lease.ttl <= 0 || lease.remaining_ttl < 0) return bad("lease", "a lease without time");
  if (s.leases.size() == kSideItemsMax) return bad("lease", "too many leases");
  s.leases.push_back(lease);
  return {};
}

Status read_alarm(std::string_view key, EtcdState& s) {
  EtcdAlarm alarm;
  ProtoReader in(key);
  for (ProtoField f; in.next(f);) {
    if (f.number == 1) alarm.member = f.varint;
    if (f.number == 2) alarm.type = static_cast<uint32_t>(f.varint);
  }
  if (!in.ok()) return bad("alarm", "an alarm that cannot be read");
  s.alarms.push_back(alarm);
  return {};
}

Status read_member(std::string_view key, std::string_view value, EtcdState& s) {
  std::optional<uint64_t> id = parse_hex(key);
  std::optional<json> object = parse_object(value);
  if (!id || !object) return bad("members", "a member that cannot be read");
  EtcdMember m;
  m.id = *id;
  m.name = text(*object, "name");
  m.learner = flag(*object, "isLearner");
  if (!read_strings(*object, "peerURLs", m.peer_urls) || !read_strings(*object, "clientURLs", m.client_urls))
    return bad("members", "a member whose URLs cannot be read");
  s.members.push_back(std::move(m));
  return {};
}

Status read_cluster(std::string_view key, std::string_view value, EtcdState& s) {
  if (key == kClusterVersion) s.cluster_version = value;
  if (key == kDowngrade) {
    std::optional<json> object = parse_object(value);
    if (!object) return bad("cluster", "a downgrade that cannot be read");
    s.downgrade_known = true;
    s.downgrade_enabled = flag(*object, "enabled");
    s.downgrade_target = text(*object, "target-version");
  }
  return {};
}

}  // namespace

size_t store_revision_key(char* out, const RevisionKey& key) {
  char* p = store_big(out, static_cast<uint64_t>(key.main));
  *p++ = '_';
  p = store_big(p, static_cast<uint64_t>(key.sub));
  if (key.tombstone) *p++ = 't';
  return static_cast<size_t>(p - out);
}

std::optional<RevisionKey> parse_revision_key(std::string_view in) {
  constexpr size_t kPlain = kRevisionKeyBytesMax - 1;
  if (in.size() != kPlain && in.size() != kRevisionKeyBytesMax) return std::nullopt;
  if (in[8] != '_' || (in.size() > kPlain && in[kPlain] != 't')) return std::nullopt;
  RevisionKey key{static_cast<int64_t>(load_big(in.data())), static_cast<int64_t>(load_big(in.data() + 9)),
                  in.size() > kPlain};
  if (key.main < 0 || key.sub < 0) return std::nullopt;
  return key;
}

std::optional<mvcc::KeyValue> parse_key_value(std::string_view in) {
  mvcc::KeyValue kv;
  ProtoReader reader(in);
  for (ProtoField f; reader.next(f);) {
    if (f.number == 1) kv.key = f.bytes;
    if (f.number == 2) kv.create_revision = static_cast<int64_t>(f.varint);
    if (f.number == 3) kv.mod_revision = static_cast<int64_t>(f.varint);
    if (f.number == 4) kv.version = static_cast<int64_t>(f.varint);
    if (f.number == 5) kv.value = f.bytes;
    if (f.number == 6) kv.lease = static_cast<int64_t>(f.varint);
  }
  if (!reader.ok()) return std::nullopt;
  return kv;
}

void write_buckets_before_key(Writer& writer, const EtcdState& s) {
  write_bucket(writer, "alarm", alarm_items(s));
  Items auth;
  if (s.auth_revision > 0 || s.auth_enabled) {
    auth[std::string(kAuthEnabled)] = std::string(1, s.auth_enabled ? '\1' : '\0');
    auth[std::string(kAuthRevision)] = big(s.auth_revision);
  }
  write_bucket(writer, "auth", auth);
  write_bucket(writer, "authRoles", s.roles);
  write_bucket(writer, "authUsers", s.users);
  write_bucket(writer, "cluster", cluster_items(s));
  write_bucket(writer, kFairleadBucket, s.fairlead);
}

void write_buckets_after_key(Writer& writer, const EtcdState& s) {
  write_leases(writer, s.leases);
  write_bucket(writer, "members", member_items(s));
  Items removed;
  for (uint64_t id : s.removed) removed[hex(id)] = "removed";
  write_bucket(writer, "members_removed", removed);
  write_bucket(writer, "meta", meta_items(s));
}

Result<EtcdState> read_meta_bucket(const Reader& reader) {
  EtcdState s;
  RETURN_IF_ERROR(reader.for_each("meta", [&](auto key, auto value) { return read_meta(key, value, s); }));
  return s;
}

Result<EtcdState> read_state(const Reader& reader) {
  ASSIGN_OR_RETURN(EtcdState s, read_meta_bucket(reader));
  RETURN_IF_ERROR(reader.for_each("lease", [&](auto key, auto value) { return read_lease(key, value, s); }));
  RETURN_IF_ERROR(reader.for_each("alarm", [&](auto key, auto) { return read_alarm(key, s); }));
  RETURN_IF_ERROR(reader.for_each("auth", [&](std::string_view key, std::string_view value) -> Status {
    if (key == kAuthEnabled) s.auth_enabled = value == std::string_view("\1", 1);
    if (key == kAuthRevision) {
      if (value.size() != 8) return bad("auth", "a revision that is none");
      s.auth_revision = load_big(value.data());
    }
    return {};
  }));
  auto keep = [](Items& items) {
    return [&items](std::string_view key, std::string_view value) -> Status {
      items.emplace(key, value);
      return {};
    };
  };
  RETURN_IF_ERROR(reader.for_each("authUsers", keep(s.users)));
  RETURN_IF_ERROR(reader.for_each("authRoles", keep(s.roles)));
  RETURN_IF_ERROR(reader.for_each("members", [&](auto key, auto value) { return read_member(key, value, s); }));
  RETURN_IF_ERROR(reader.for_each("members_removed", [&](std::string_view key, std::string_view) -> Status {
    std::optional<uint64_t> id = parse_hex(key);
    if (!id) return bad("members_removed", "an id that is none");
    s.removed.push_back(*id);
    return {};
  }));
  RETURN_IF_ERROR(reader.for_each("cluster", [&](auto key, auto value) { return read_cluster(key, value, s); }));
  RETURN_IF_ERROR(reader.for_each(kFairleadBucket, keep(s.fairlead)));
  return s;
}

}  // namespace fairlead::bolt
