// Short words for tests of the keyspace.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "server/mvcc/errors.h"
#include "server/mvcc/keyspace.h"
#include "server/mvcc/range.h"

namespace fairlead::mvcc::test {

inline const std::string kFromKey("\0", 1);  // range_end: every key from here on

inline PutRequest put(std::string_view key, std::string_view value, int64_t lease = 0) {
  PutRequest r;
  r.key = key;
  r.value = value;
  r.lease = lease;
  return r;
}
inline DeleteRangeRequest del(std::string_view key, std::string_view end = {}) {
  DeleteRangeRequest r;
  r.key = key;
  r.range_end = end;
  return r;
}
inline RangeRequest get(std::string_view key, std::string_view end = {}, int64_t revision = 0) {
  RangeRequest r;
  r.key = key;
  r.range_end = end;
  r.revision = revision;
  return r;
}
inline Compare compare(CompareTarget target, CompareResult result, std::string_view key, int64_t number) {
  Compare c;
  c.target = target;
  c.result = result;
  c.key = key;
  c.number = number;
  return c;
}
inline Compare compare_value(CompareResult result, std::string_view key, std::string_view value) {
  Compare c;
  c.target = CompareTarget::kValue;
  c.result = result;
  c.key = key;
  c.value = value;
  return c;
}
inline TxnRequest txn(std::vector<Compare> compares, std::vector<RequestOp> success,
                      std::vector<RequestOp> failure = {}) {
  return {std::move(compares), std::move(success), std::move(failure)};
}

// A keyspace with a stand-in for storage: what was frozen is kept by position, cold values are fetched from there, and
// commands travel encoded.
class Store {
 public:
  explicit Store(KeyspaceOptions options = {}) : options_(options), keyspace(options) {}

  ApplyResult apply(const Command& command) {
    std::string entry = encode_command(command);
    auto decoded = decode_command(entry);
    EXPECT_TRUE(decoded.is_ok()) << decoded.status().to_string();
    ColdRecords values;
    for (auto missing = keyspace.needs(*decoded, values); !missing.empty();
         missing = keyspace.needs(*decoded, values)) {
      fetch(missing, values);
    }
    ApplyResult out;
    if (step_keys == 0) {
      keyspace.apply(*decoded, Index{++applied}, values, out);
      return out;
    }
    ++applied;
    while (!keyspace.apply_some(*decoded, Index{applied}, values, step_keys, out)) {
      EXPECT_TRUE(keyspace.applying());
      if (between_steps) between_steps();
    }
    EXPECT_FALSE(keyspace.applying());
    return out;
  }
  RangeResult range(RangeRequest request, Status* status = nullptr) {
    ColdRecords values;
    RangeResult out;
    for (;;) {
      std::vector<Position> missing;
      Status s = keyspace.range(request, values, out, missing);
      if (status) {
        *status = s;
      } else {
        EXPECT_TRUE(s.is_ok()) << s.to_string();
      }
      if (!s.is_ok() || missing.empty()) return out;
      fetch(missing, values);
    }
  }
  void fetch(const std::vector<Position>& missing, ColdRecords& values) {
    for (Position p : missing) {
      auto it = disk.find(p);
      ASSERT_TRUE(it != disk.end()) << "position " << p.main << "." << p.sub << " is on no disk";
      ASSERT_TRUE(values.add(p, Bytes::copy(it->second)).is_ok());
      fetched++;
    }
  }
  void checkpoint() {
    FrozenTail tail = keyspace.freeze();
    Position last{};
    for (const auto& ref : tail.records) {
      EXPECT_LT(last, ref.position);
      last = ref.position;
      EXPECT_TRUE(disk.emplace(ref.position, ref.record.to_string()).second) << "written twice";
    }
    for (Position p : tail.dead_keys) EXPECT_EQ(disk.erase(p), 1u) << "dead but never written: " << p.main;
    SidePosition last_side{};
    for (const auto& [place, record] : tail.side) {
      EXPECT_LT(last_side, place);
      last_side = place;
      if (record.empty()) continue;  // replaced since
      std::string_view in = record;
      auto side = decode_side_record(in);
      ASSERT_TRUE(side.is_ok());
      EXPECT_EQ(side->position, place);
      EXPECT_TRUE(side_disk.emplace(side->position, record).second);
    }
    for (SidePosition p : tail.dead_side) EXPECT_EQ(side_disk.erase(p), 1u);
    revision_on_disk = tail.revision;
    compact_on_disk = tail.compact_revision;
    keyspace.flushed();
  }
  // A new keyspace from what the last checkpoint left: everything applied since is lost.
  Keyspace reload() {
    std::map<std::string, std::vector<RecordMeta>> keys;
    for (const auto& [position, bytes] : disk) {
      std::string_view in = bytes;
      auto r = decode_key_record(in);
      EXPECT_TRUE(r.is_ok());
      keys[std::string(r->key)].push_back(
          {position, r->create, r->version, r->lease, static_cast<uint32_t>(r->value.size()), r->flags});
    }
    Keyspace fresh(options_);
    auto loader = fresh.load(revision_on_disk, compact_on_disk);
    for (const auto& [key, metas] : keys) loader->add_key(key, metas);
    for (const auto& [position, bytes] : side_disk) {
      std::string_view in = bytes;
      loader->add_side(*decode_side_record(in));
    }
    Status status = loader->finish();
    EXPECT_TRUE(status.is_ok()) << status.to_string();
    return fresh;
  }
  void drop_cache() {
    checkpoint();
    while (keyspace.trim_cache(1)) {
    }
  }

 private:
  KeyspaceOptions options_;

 public:
  Keyspace keyspace;
  uint64_t applied = 0;
  uint64_t fetched = 0;
  size_t step_keys = 0;  // not 0: apply in steps
  std::function<void()> between_steps;
  std::map<Position, std::string> disk;
  std::map<SidePosition, std::string> side_disk;
  int64_t revision_on_disk = 1;
  int64_t compact_on_disk = -1;
};

inline std::string text(const KeyValues& kvs) {
  std::string out;
  for (const auto& kv : kvs.items) {
    if (!out.empty()) out += " ";
    out += std::string(kv.key) + "=" + std::string(kv.value);
  }
  return out;
}
// key(create,mod,version,lease)
inline std::string meta(const KeyValue& kv) {
  return std::string(kv.key) + "(" + std::to_string(kv.create_revision) + "," + std::to_string(kv.mod_revision) + "," +
         std::to_string(kv.version) + "," + std::to_string(kv.lease) + ")";
}

}  // namespace fairlead::mvcc::test
