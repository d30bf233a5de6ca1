// A store in the fake world and a keyspace as plain as can be to compare it with: for the tests of this folder.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/storage/store.h"
#include "server/storage/testing/fake_world.h"

namespace fairlead::storage::testing {

using mvcc::Position;
using mvcc::SidePosition;

inline const std::string kDir = "data/member";

inline OpenArgs tiny() {
  OpenArgs a;
  a.dir = kDir;
  a.cluster = ClusterId{0xc1};
  a.member = MemberId{0xa1};
  a.first_config = "first";
  a.options.log.first_segment_bytes = 16 << 10;
  a.options.log.segment_bytes = 24 << 10;
  a.options.segment_bytes_max = 6000;
  a.options.block_bytes = 700;
  return a;
}

inline std::string value_of(Position p) {
  std::string v = "value of " + std::to_string(p.main) + "/" + std::to_string(p.sub) + " ";
  v.resize(40 + static_cast<size_t>(p.main * 37 % 300), static_cast<char>('a' + p.main % 26));
  return v;
}

inline std::string key_record(Position p, const std::string& key, int64_t create, int64_t version,
                              bool tombstone = false) {
  std::string value = tombstone ? "" : value_of(p);
  mvcc::KeyRecord r;
  r.position = p;
  r.flags = tombstone ? mvcc::kFlagTombstone : 0;
  r.create = tombstone ? 0 : create;
  r.version = tombstone ? 0 : version;
  r.lease = p.main % 5 == 0 ? -7 : 0;
  r.key = key;
  r.value = value;
  std::string out;
  mvcc::append_key_record(out, r);
  return out;
}

inline std::string side_record(SidePosition p, const std::string& id, const std::string& payload) {
  mvcc::SideRecord r;
  r.position = p;
  r.id = id;
  r.payload = payload;
  std::string out;
  mvcc::append_side_record(out, r);
  return out;
}

// Collects what a load gives, as text.
struct Loaded : mvcc::IndexLoader {
  std::map<std::string, std::vector<Position>> keys;
  std::map<std::string, std::string> side;
  std::string last_key;
  bool ordered = true;
  void add_key(std::string_view key, std::span<const mvcc::RecordMeta> revisions) override {
    if (!keys.empty() && std::string_view(last_key) >= key) ordered = false;
    last_key = key;
    for (auto& r : revisions) {
      auto& all = keys[std::string(key)];
      if (!all.empty() && all.back() >= r.position) ordered = false;
      if (!r.tombstone() && r.value_size != value_of(r.position).size()) ordered = false;
      all.push_back(r.position);
    }
  }
  void add_side(const mvcc::SideRecord& r) override { side[std::string(r.id)] = r.payload; }
};

// A keyspace as plain as can be: what the store must give back.
struct Model {
  uint64_t applied = 0;
  int64_t revision = 1;
  std::map<Position, std::string> key_at;     // live flushed records
  std::map<Position, std::string> record_at;  // encoded
  std::map<std::string, Position> newest;
  std::map<std::string, std::pair<SidePosition, std::string>> side;
  auto operator<=>(const Model&) const = default;
};

// The next checkpoint of a small workload: puts, deletes, compaction, side state that changes.
inline std::shared_ptr<mvcc::FrozenTail> step(Model& m, int puts, int round) {
  auto tail = std::make_shared<mvcc::FrozenTail>();
  std::map<Position, std::string> unflushed;
  auto kill = [&](Position p) {
    if (unflushed.erase(p) == 0) tail->dead_keys.push_back(p);
    m.key_at.erase(p);
    m.record_at.erase(p);
  };
  for (int i = 0; i < puts; ++i) {
    Position p{++m.revision, i % 3 == 0 ? 1 : 0};
    std::string key = "key/" + std::to_string((m.revision * 7) % 23);
    std::string record = key_record(p, key, 2, 1 + i, i % 11 == 10);
    if (auto it = m.newest.find(key); it != m.newest.end() && i % 2 == 0) kill(it->second);  // compacted away
    m.newest[key] = p;
    m.key_at[p] = key;
    m.record_at[p] = record;
    unflushed[p] = record;
    ++m.applied;
  }
  for (int i = 0; i < 2; ++i) {
    std::string id = "lease" + std::to_string((round + i) % 3);
    SidePosition p{m.applied, static_cast<uint64_t>(i)};
    if (auto it = m.side.find(id); it != m.side.end()) tail->dead_side.push_back(it->second.first);
    std::string payload = "round " + std::to_string(round);
    tail->side.push_back({p, side_record(p, id, payload)});
    m.side[id] = {p, payload};
  }
  std::sort(tail->dead_keys.begin(), tail->dead_keys.end());
  std::sort(tail->dead_side.begin(), tail->dead_side.end());
  for (auto& [p, record] : unflushed) tail->records.push_back({p, Bytes::copy(record)});
  tail->revision = m.revision;
  return tail;
}

struct Member {
  explicit Member(FakeDisk* disk, OpenArgs args = tiny()) : process(disk) {
    auto r = Store::open(process.world, args);
    status = r.status();
    if (!r.is_ok()) return;
    first_start = r->first_start;
    recovered = std::move(r->log);
    log = std::move(recovered.log);
    store = std::move(r->store);
    log->set_callbacks([](WriteSeq) {}, [this](Status s) { status = s; });
  }
  // Entries up to `applied` durable in the log, as a checkpoint needs it.
  void fill_log(uint64_t applied) {
    std::vector<raft::Entry> entries;
    for (uint64_t i = log->last_index().value + 1; i <= applied; ++i)
      entries.push_back({Term{1}, Index{i}, raft::EntryType::kNormal, Bytes::literal("entry")});
    std::optional<raft::HardState> hs;
    if (recovered.hard_state.term.value == 0 && seq == 0) hs = raft::HardState{Term{1}, MemberId{0}};
    if (!entries.empty()) log->append(hs, entries, WriteSeq{++seq});
    process.pump();
  }
  Status checkpoint(const Model& m, std::shared_ptr<mvcc::FrozenTail> tail, bool release = true) {
    fill_log(m.applied);
    Status out = internal_error("not called");
    CheckpointArgs args;
    args.applied = Index{m.applied};
    args.applied_term = Term{1};
    args.config = "config at " + std::to_string(m.applied);
    args.log_position = log->durable_position();
    args.tail = std::move(tail);
    store->checkpoint(std::move(args), [&](Status s) { out = s; });
    process.pump();
    if (out.is_ok() && release) {
      log->release(Index{m.applied + 1});
      process.pump();
    }
    return out;
  }
  Result<Store::Records> read(Pin pin, std::vector<Position> positions) {
    Result<Store::Records> out = internal_error("not called");
    store->read(std::move(pin), std::move(positions), [&](Result<Store::Records> r) { out = std::move(r); });
    process.pump();
    return out;
  }
  Result<ScanResult> scan(Position from, Position to, size_t bytes_max) {
    Result<ScanResult> out = internal_error("not called");
    store->scan(store->pin(), from, to, bytes_max, [&](Result<ScanResult> r) { out = std::move(r); });
    process.pump();
    return out;
  }
  FakeProcess process;
  Status status;
  bool first_start = false;
  RecoveredLog recovered;
  std::unique_ptr<Log> log;
  std::unique_ptr<Store> store;
  uint64_t seq = 0;
};

inline void expect_holds(Member& member, const Model& m) {
  ASSERT_TRUE(member.status.is_ok()) << member.status.to_string();
  EXPECT_EQ(member.store->state().applied.value, m.applied);
  Loaded loaded;
  Status status = member.store->load(loaded);
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_TRUE(loaded.ordered);
  std::map<std::string, std::vector<Position>> keys;
  std::vector<Position> positions;
  for (auto& [p, key] : m.key_at) {
    keys[key].push_back(p);
    positions.push_back(p);
  }
  EXPECT_EQ(loaded.keys, keys);
  std::map<std::string, std::string> side;
  for (auto& [id, s] : m.side) side[id] = s.second;
  EXPECT_EQ(loaded.side, side);
  if (positions.empty()) return;
  std::reverse(positions.begin(), positions.end());  // any order will do
  auto records = member.read(member.store->pin(), positions);
  ASSERT_TRUE(records.is_ok()) << records.status().to_string();
  for (size_t i = 0; i < positions.size(); ++i) EXPECT_EQ((*records)[i].view(), m.record_at.at(positions[i]));
  Position from{0, 0};
  std::vector<Position> scanned;
  for (bool done = false; !done;) {
    auto part = member.scan(from, {m.revision, 1 << 20}, 1000);
    ASSERT_TRUE(part.is_ok()) << part.status().to_string();
    for (const Bytes& b : part->records) {
      std::string_view raw = b.view();
      scanned.push_back(mvcc::decode_key_record(raw)->position);
    }
    done = part->done;
    from = part->next;
  }
  std::reverse(positions.begin(), positions.end());
  EXPECT_EQ(scanned, positions);
}

}  // namespace fairlead::storage::testing
