// Imports on a disk that can be cut at every call: what is made is whole or counts as not there, and what is read stays
// as it is. Databases and logs are made here; those of real etcd are e2e/interop/snapshot_test.sh's.
#include "server/import/import.h"

#include <gtest/gtest.h>

#include "base/codec.h"
#include "base/crc32c.h"
#include "server/bolt/etcd.h"
#include "server/bolt/proto_wire.h"
#include "server/import/etcd_wal.h"
#include "server/mvcc/keyspace.h"
#include "server/mvcc/proto_encode.h"
#include "server/node/alarm.h"
#include "server/node/membership.h"
#include "server/storage/segment_format.h"
#include "server/storage/store.h"
#include "server/storage/testing/fake_world.h"

namespace fairlead::import {
namespace {

using storage::testing::Cut;
using storage::testing::FakeDisk;
using storage::testing::FakeProcess;
using storage::testing::Keep;

struct Revision {
  int64_t main = 0;
  int64_t sub = 0;
  std::string key;
  std::string value;
  int64_t create = 0;  // 0: a deletion
  int64_t version = 0;
  int64_t lease = 0;
  int64_t mod = 0;  // 0: as main
};

struct Database {
  bolt::EtcdState state;
  std::vector<Revision> revisions;

  std::string bytes() const {
    bolt::Writer counting;
    bolt::Layout layout = give(counting);
    std::string out;
    bolt::Writer writing(layout, &out);
    give(writing);
    return out;
  }
  std::string snapshot() const {
    std::string out = bytes();
    storage::Sha256 hash = storage::sha256(out);
    out.append(reinterpret_cast<const char*>(hash.data()), hash.size());
    return out;
  }

 private:
  bolt::Layout give(bolt::Writer& writer) const {
    bolt::write_buckets_before_key(writer, state);
    writer.begin_bucket(bolt::kKeyBucket);
    for (const Revision& r : revisions) {
      char key[bolt::kRevisionKeyBytesMax];
      size_t size = bolt::store_revision_key(key, {r.main, r.sub, r.create == 0});
      std::string value;
      mvcc::KeyValue kv{r.key, r.value, r.create, r.mod ? r.mod : r.create ? r.main : 0, r.version, r.lease};
      mvcc::append_key_value(value, kv);
      writer.add({key, size}, value);
    }
    writer.end_bucket();
    bolt::write_buckets_after_key(writer, state);
    return writer.finish();
  }
};

Database sample() {
  Database db;
  db.revisions = {{2, 0, "a", "1", 2, 1},
                  {3, 0, "b", "2", 3, 1, 7},
                  {3, 1, "c", std::string(30'000, 'c'), 3, 1},
                  {4, 0, "a", "3", 2, 2},
                  {5, 0, "c", "", 0, 0}};
  db.state.leases = {{7, 60, 0}, {9, 100, 50}};
  db.state.consistent_index = 40;
  db.state.term = 3;
  db.state.compact_revision = 3;
  db.state.storage_version = "3.7.0";
  db.state.cluster_version = "3.7.0";
  db.state.voters = {0xA};
  db.state.members = {{0xA, "one", {"http://h:1"}, {"http://h:2"}, false}};
  db.state.auth_revision = 4;
  db.state.users = {{"u", "x"}};
  db.state.alarms = {{0xA, 1}};
  return db;
}

void write_file(FakeDisk& disk, const std::string& path, const std::string& content) {
  auto file = disk.open(path, io::OpenMode::kCreate);
  ASSERT_TRUE(file.is_ok());
  ASSERT_TRUE((*file)->write_at(0, content).is_ok());
  ASSERT_TRUE((*file)->sync().is_ok());
  ASSERT_TRUE(disk.sync_dir("/").is_ok());
}

RestoreArgs args() {
  RestoreArgs a;
  a.snapshot_path = "/snap.db";
  a.data_dir = "/data";
  a.name = "one";
  a.initial_cluster = {{"one", {"http://h:1"}}};
  a.initial_advertise_peer_urls = {"http://h:1"};
  return a;
}

// What a member finds when it starts on the directory.
struct Loaded {
  storage::Identity identity;
  storage::StoreState state;
  mvcc::Keyspace keyspace;
};
Result<std::unique_ptr<Loaded>> load(FakeDisk& disk, const std::string& dir) {
  FakeProcess process(&disk);
  storage::OpenArgs open;
  open.dir = dir;
  open.may_create = false;
  ASSIGN_OR_RETURN(storage::Store::Opened opened, storage::Store::open(process.world, open));
  auto out = std::make_unique<Loaded>();
  out->identity = opened.store->identity();
  out->state = opened.store->state();
  EXPECT_EQ(opened.log.start, out->state.applied + 1);
  EXPECT_EQ(opened.log.term_before_start, out->state.applied_term);
  auto loader = out->keyspace.load(out->state.revision, out->state.compact_revision);
  RETURN_IF_ERROR(opened.store->load(*loader));
  RETURN_IF_ERROR(loader->finish());
  // Every value is there and whole.
  std::vector<mvcc::Position> places;
  for (std::string_view key : {"a", "b"})
    for (mvcc::Position p : out->keyspace.revisions_of(key, {0, 0}, 10)) places.push_back(p);
  bool read = false;
  opened.store->read(opened.store->pin(), places, [&](auto records) { read = records.is_ok(); });
  process.pump();
  EXPECT_TRUE(read);
  return out;
}

class Restore : public ::testing::Test {
 protected:
  Result<Report> restore(const Database& db, const RestoreArgs& a = args()) {
    if (!disk.exists("/snap.db")) write_file(disk, "/snap.db", db.snapshot());
    return restore_snapshot(process.world, a);
  }
  FakeDisk disk;
  FakeProcess process{&disk};
};

TEST_F(Restore, EverythingIsThere) {
  Result<Report> report = restore(sample());
  ASSERT_TRUE(report.is_ok()) << report.status().to_string();
  EXPECT_EQ(report->revision, 5);
  EXPECT_EQ(report->records, 5u);
  EXPECT_EQ(report->keys_detached, 0u);
  auto loaded = load(disk, "/data");
  ASSERT_TRUE(loaded.is_ok()) << loaded.status().to_string();
  const mvcc::Keyspace& k = (*loaded)->keyspace;
  EXPECT_EQ(k.revision(), 5);
  EXPECT_EQ(k.compact_revision(), 3);
  EXPECT_EQ(k.count("", std::string_view("\0", 1)), 2u);
  EXPECT_EQ(k.lease_keys(7), std::vector<std::string>{"b"});
  EXPECT_EQ(k.lease(9)->remaining_ttl, 50);
  EXPECT_EQ(*k.side().find(mvcc::SideKind::kUser, "u"), "x");
  EXPECT_NE(k.side().find(mvcc::SideKind::kAlarm, node::alarm_side_id({MemberId{0xA}, node::AlarmType::kNoSpace})),
            nullptr);
  EXPECT_EQ((*loaded)->state.applied, Index{1});
  EXPECT_EQ((*loaded)->state.applied_term, Term{1});
  EXPECT_TRUE(load(disk, "/data").is_ok());  // and again: the log holds the start of before
}

TEST_F(Restore, RevisionsGoUpAndAreCompacted) {
  RestoreArgs a = args();
  a.bump_revision = 1000;
  EXPECT_FALSE(restore(sample(), a).is_ok());
  a.mark_compacted = true;
  Result<Report> report = restore(sample(), a);
  ASSERT_TRUE(report.is_ok()) << report.status().to_string();
  EXPECT_EQ(report->revision, 1005);
  auto loaded = load(disk, "/data");
  ASSERT_TRUE(loaded.is_ok());
  EXPECT_EQ((*loaded)->keyspace.revision(), 1005);
  EXPECT_EQ((*loaded)->keyspace.compact_revision(), 1005);
  EXPECT_EQ((*loaded)->keyspace.count("", std::string_view("\0", 1)), 2u);
}

// etcd's own bump leaves a record without a key.
TEST_F(Restore, AnEmptyKeyOnlyRaisesTheRevision) {
  Database db = sample();
  db.revisions.push_back({500, 0, "", "", 1, 0, 0, 500});
  Result<Report> report = restore(db);
  ASSERT_TRUE(report.is_ok()) << report.status().to_string();
  EXPECT_EQ(report->revision, 500);
  EXPECT_EQ(report->records, 5u);
}

// A key whose lease is gone is kept without it, as etcd keeps it; older revisions stay as they were.
TEST_F(Restore, KeysOfLeasesThatAreNotThere) {
  Database db = sample();
  db.state.leases = {{9, 100, 50}};
  db.revisions.push_back({6, 0, "d", "x", 6, 1, 77});
  db.revisions.push_back({7, 0, "d", "y", 6, 2, 0});  // taken off it again
  Result<Report> report = restore(db);
  ASSERT_TRUE(report.is_ok()) << report.status().to_string();
  EXPECT_EQ(report->keys_detached, 1u);
  auto loaded = load(disk, "/data");
  ASSERT_TRUE(loaded.is_ok()) << loaded.status().to_string();
  EXPECT_EQ((*loaded)->keyspace.count("", std::string_view("\0", 1)), 3u);
}

TEST_F(Restore, WhatContradictsItselfIsRefused) {
  auto refused = [](const std::function<void(Database&)>& spoil) {
    FakeDisk fresh;
    FakeProcess other(&fresh);
    Database db = sample();
    spoil(db);
    write_file(fresh, "/snap.db", db.snapshot());
    Result<Report> report = restore_snapshot(other.world, args());
    return report.is_ok() ? std::string() : std::string(report.status().message());
  };
  EXPECT_EQ(refused([](Database&) {}), "");
  EXPECT_NE(refused([](Database& db) { db.revisions[0].mod = 9; }), "");
  EXPECT_NE(refused([](Database& db) { db.revisions[0].create = 3; }), "");
  EXPECT_NE(refused([](Database& db) { db.revisions[0].version = 0; }), "");
  EXPECT_NE(refused([](Database& db) { db.revisions.insert(db.revisions.begin(), {0, 0, "k", "v", 1, 1}); }), "");
  EXPECT_NE(refused([](Database& db) { db.state.cluster_version = "3.8.0"; }), "");
  EXPECT_NE(refused([](Database& db) { db.state.storage_version = "4.0.0"; }), "");
  EXPECT_NE(refused([](Database& db) { db.state.fairlead["format"] = "2"; }), "");
  EXPECT_NE(refused([](Database& db) { db.state.leases[0].ttl = 0; }), "");
}

TEST_F(Restore, HashesAndDirectoriesAsEtcdutl) {
  write_file(disk, "/raw.db", sample().bytes());
  RestoreArgs a = args();
  a.snapshot_path = "/raw.db";
  EXPECT_EQ(restore(sample(), a).status().message(), "snapshot missing hash but --skip-hash-check=false");
  disk.damage("/snap.db", 9000, 1);
  EXPECT_TRUE(restore(sample()).status().message().starts_with("expected sha256 ["));
  a.skip_hash_check = true;
  ASSERT_TRUE(restore(sample(), a).is_ok());
  EXPECT_EQ(restore(sample(), a).status().message(), "data-dir \"/data\" not empty or could not be read");
  a.name = "two";
  EXPECT_EQ(restore(sample(), a).status().message(),
            "couldn't find local name \"two\" in the initial cluster configuration");
}

// ---- etcd's directory

std::string message(std::initializer_list<std::pair<uint32_t, uint64_t>> fields, std::string_view data = {},
                    uint32_t data_field = 0) {
  std::string out;
  for (auto [field, value] : fields) bolt::put_proto_number(out, field, value);
  if (data_field) bolt::put_proto_bytes(out, data_field, data);
  return out;
}

class WalFile {
 public:
  WalFile() { frame(message({{1, 4}})); }
  void add(uint64_t type, const std::string& data) {
    crc_ = crc32c_extend(crc_, data);
    std::string record = message({{1, type}});
    put_varint(record, 2 << 3);
    put_varint(record, crc_);
    bolt::put_proto_bytes(record, 3, data);
    frame(record);
  }
  void entry(uint64_t index, uint64_t term, const std::string& data, uint64_t type = 0) {
    add(2, message({{1, type}, {2, term}, {3, index}}, data, 4));
  }
  std::string bytes;

 private:
  void frame(const std::string& record) {
    uint64_t padding = (8 - record.size() % 8) % 8;
    put_fixed(bytes, record.size() | (padding ? (0x80 | padding) << 56 : 0));
    bytes += record + std::string(padding, '\0');
  }
  uint32_t crc_ = 0;
};

WalFile wal() {
  WalFile w;
  w.add(1, message({{1, 0xA}, {2, 0xC}}));
  w.entry(40, 3, message({}, message({}, "key", 1), 4));
  w.add(3, message({{1, 3}, {2, 0xA}, {3, 40}}));
  return w;
}

constexpr const char* kWalPath = "/etcd/member/wal/0000000000000000-0000000000000000.wal";

void make_etcd(FakeDisk& disk, const WalFile& w, const Database& db = sample()) {
  ASSERT_TRUE(disk.make_dirs("/etcd").is_ok());
  write_file(disk, "/etcd/member/snap/db", db.bytes());
  write_file(disk, kWalPath, w.bytes + std::string(4096, '\0'));
}

TEST(ImportDirectory, BecomesTheSameMember) {
  FakeDisk disk;
  make_etcd(disk, wal());
  FakeProcess process(&disk);
  ASSERT_TRUE(is_etcd_directory(disk, "/etcd"));
  Result<Report> report = import_directory(process.world, "/etcd");
  ASSERT_TRUE(report.is_ok()) << report.status().to_string();
  EXPECT_FALSE(is_etcd_directory(disk, "/etcd"));
  auto loaded = load(disk, "/etcd");
  ASSERT_TRUE(loaded.is_ok()) << loaded.status().to_string();
  EXPECT_EQ((*loaded)->identity.cluster, ClusterId{0xC});
  EXPECT_EQ((*loaded)->identity.member, MemberId{0xA});
  EXPECT_EQ((*loaded)->state.applied, Index{40});
  EXPECT_EQ((*loaded)->state.applied_term, Term{3});
  EXPECT_EQ((*loaded)->keyspace.revision(), 5);
}

// Whatever call it is cut at, and whatever of the unsynced survives: the next start imports anew, or finds it whole.
TEST(ImportDirectory, CutAtEveryCall) {
  size_t cuts = 0;
  for (Keep keep : {Keep::kNone, Keep::kSome, Keep::kAll}) {
    for (uint64_t at = 1;; ++at) {
      FakeDisk disk;
      make_etcd(disk, wal());
      const std::string database = disk.content("/etcd/member/snap/db"), log = disk.content(kWalPath);
      disk.mutations = 0;
      disk.cut_at = at;
      bool cut = false;
      {
        FakeProcess process(&disk);
        try {
          ASSERT_TRUE(import_directory(process.world, "/etcd").is_ok());
        } catch (const Cut&) {
          cut = true;
        }
      }
      disk.cut_at = 0;
      disk.seed = at * 7919 + 1;
      disk.power_cut(keep);
      FakeProcess process(&disk);
      if (is_etcd_directory(disk, "/etcd")) {
        Result<Report> again = import_directory(process.world, "/etcd");
        ASSERT_TRUE(again.is_ok()) << "cut at " << at << ": " << again.status().to_string();
      }
      auto loaded = load(disk, "/etcd");
      ASSERT_TRUE(loaded.is_ok()) << "cut at " << at << ": " << loaded.status().to_string();
      EXPECT_EQ((*loaded)->keyspace.revision(), 5);
      EXPECT_EQ((*loaded)->keyspace.count("", std::string_view("\0", 1)), 2u);
      EXPECT_EQ(disk.content("/etcd/member/snap/db"), database);
      EXPECT_EQ(disk.content(kWalPath), log);
      if (!cut) break;
      ++cuts;
    }
  }
  EXPECT_GT(cuts, 30u);
}

TEST(ImportDirectory, EntriesThatTheDatabaseLacksAreNamed) {
  auto outcome = [](const std::function<void(WalFile&)>& more, std::vector<uint64_t> voters = {0xA}) {
    FakeDisk disk;
    WalFile w = wal();
    more(w);
    Database db = sample();
    db.state.voters = voters;
    for (uint64_t id : voters)
      if (id != 0xA) db.state.members.push_back({id, "other", {"http://o:1"}, {}, false});
    make_etcd(disk, w, db);
    FakeProcess process(&disk);
    Result<Report> report = import_directory(process.world, "/etcd");
    return report.is_ok() ? std::string("ok") : std::string(report.status().message());
  };
  std::string put = message({}, message({}, "k", 1), 4);
  EXPECT_EQ(outcome([](WalFile&) {}), "ok");
  EXPECT_NE(outcome([&](WalFile& w) { w.entry(41, 3, put); }).find("entry 41 (Put)"), std::string::npos);
  EXPECT_NE(outcome([&](WalFile& w) { w.entry(41, 3, "x", 1); }).find("entry 41 (ConfChange)"), std::string::npos);
  EXPECT_EQ(outcome([&](WalFile& w) { w.entry(41, 4, ""); }), "ok");
  EXPECT_NE(outcome([&](WalFile& w) { w.entry(41, 4, ""); }, {0xA, 0xB}).find("entry 41 (empty)"), std::string::npos);
  // One that was replaced does not count.
  EXPECT_EQ(outcome([&](WalFile& w) {
              w.entry(41, 3, put);
              w.entry(41, 4, "");
            }),
            "ok");
}

TEST(ImportDirectory, TornTailsEndTheLogAndDamageIsRefused) {
  FakeDisk disk;
  WalFile w = wal();
  size_t whole = w.bytes.size();
  w.entry(41, 3, std::string(2000, 'x'));
  std::string torn = w.bytes;
  std::fill(torn.begin() + static_cast<ptrdiff_t>(whole) + 600, torn.end(), '\0');
  write_file(disk, "/wal/0.wal", torn);
  Result<EtcdWal> read = read_wal(disk, "/wal", 40);
  ASSERT_TRUE(read.is_ok()) << read.status().to_string();
  EXPECT_TRUE(read->entries.empty());
  EXPECT_EQ(read->commit, 40u);

  FakeDisk rotten;
  std::string bytes = w.bytes;
  bytes[whole + 900] ^= 1;
  write_file(rotten, "/wal/0.wal", bytes);
  EXPECT_FALSE(read_wal(rotten, "/wal", 40).is_ok());

  FakeDisk cut;  // a file that is not the last one must be whole
  write_file(cut, "/wal/0.wal", torn);
  write_file(cut, "/wal/1.wal", w.bytes);
  EXPECT_FALSE(read_wal(cut, "/wal", 40).is_ok());
}

// What etcdutl's restore leaves: new members, and the configuration of the cluster that the snapshot was taken of.
TEST(ImportDirectory, TheMembersAreTheConfiguration) {
  FakeDisk disk;
  Database db = sample();
  db.state.voters = {0xB, 0xD};
  db.state.learners = {0xE};
  make_etcd(disk, wal(), db);
  FakeProcess process(&disk);
  Result<Report> report = import_directory(process.world, "/etcd");
  ASSERT_TRUE(report.is_ok()) << report.status().to_string();
  auto loaded = load(disk, "/etcd");
  ASSERT_TRUE(loaded.is_ok()) << loaded.status().to_string();
  Result<node::ClusterConfig> config = node::decode_cluster_config((*loaded)->state.config);
  ASSERT_TRUE(config.is_ok());
  EXPECT_EQ(config->raft.voters, std::vector<MemberId>{MemberId{0xA}});
  EXPECT_TRUE(config->raft.learners.empty());
}

// Wherever it fails, early or with half of the segments written: only etcd's own files are there afterwards.
TEST(ImportDirectory, AFailedImportLeavesNothingBehind) {
  auto left = [](const std::function<void(Database&, WalFile&)>& spoil) {
    FakeDisk disk;
    Database db = sample();
    WalFile w = wal();
    spoil(db, w);
    make_etcd(disk, w, db);
    std::vector<std::string> before = disk.files();
    FakeProcess process(&disk);
    EXPECT_FALSE(import_directory(process.world, "/etcd").is_ok());
    EXPECT_EQ(disk.files(), before);
    EXPECT_TRUE(is_etcd_directory(disk, "/etcd"));
    FakeProcess other(&disk);  // and it fails again for its own reason
    EXPECT_FALSE(import_directory(other.world, "/etcd").is_ok());
    EXPECT_EQ(disk.files(), before);
  };
  left([](Database& db, WalFile&) { db.state.cluster_version = "3.8.0"; });
  left([](Database& db, WalFile&) { db.state.members[0].id = 0xB; });
  left([](Database&, WalFile& w) { w.entry(41, 3, message({}, message({}, "k", 1), 4)); });
  left([](Database& db, WalFile&) { db.revisions[3].version = 0; });
  left([](Database& db, WalFile&) { db.revisions.push_back({6, 0, "d", "x", 9, 1}); });
}

TEST(ImportDirectory, AMembersDataWithoutItsManifestIsNotRemoved) {
  FakeDisk disk;
  make_etcd(disk, wal());
  FakeProcess process(&disk);
  ASSERT_TRUE(import_directory(process.world, "/etcd").is_ok());
  disk.forget("/etcd/manifest");
  std::vector<std::string> files = disk.files();
  FakeProcess other(&disk);
  EXPECT_EQ(import_directory(other.world, "/etcd").code(), Code::kDataLoss);
  EXPECT_EQ(disk.files(), files);
}

}  // namespace
}  // namespace fairlead::import
