#include "server/storage/store.h"

#include <gtest/gtest.h>

#include "server/storage/cleaner.h"
#include "server/storage/dead_list.h"
#include "server/storage/offline.h"
#include "server/storage/segment_format.h"
#include "server/storage/segment_reader.h"
#include "server/storage/segment_writer.h"
#include "server/storage/testing/fake_world.h"
#include "server/storage/testing/store_model.h"

namespace fairlead::storage {
namespace {

using namespace testing;

// --- segments
// ---------------------------------------------------------------------------------------------------------

TEST(Segment, RoundTripWithDirectoryInKeyOrder) {
  FakeDisk disk;
  ASSERT_TRUE(disk.make_dirs("d").is_ok());
  SegmentWriterArgs args{"d", SegmentKind::kKeys, 5, 77, 512};
  auto writer = SegmentWriter::create(disk, args);
  ASSERT_TRUE(writer.is_ok());
  std::map<std::pair<std::string, int64_t>, int64_t> expect;  // (key, main) -> create
  for (int64_t i = 10; i < 200; ++i) {
    std::string key = "k" + std::to_string(i * 31 % 17) + std::string(static_cast<size_t>(i % 5), 'z');
    ASSERT_TRUE((*writer)->add(key_record({i, 0}, key, i - 3, 2)).is_ok());
    expect[{key, i}] = i - 3;
  }
  EXPECT_EQ((*writer)->add(key_record({50, 0}, "k", 1, 1)).code(), Code::kInternal) << "out of order";
  auto info = (*writer)->finish();
  ASSERT_TRUE(info.is_ok());
  EXPECT_EQ(info->records, 190u);
  auto reader = SegmentReader::open(disk, "d", *info);
  ASSERT_TRUE(reader.is_ok()) << reader.status().to_string();
  EXPECT_TRUE((*reader)->verify().is_ok());
  EXPECT_GT((*reader)->block_count(), 10u);
  auto cursor = (*reader)->directory();
  for (auto& [k, create] : expect) {
    auto more = cursor->next();
    ASSERT_TRUE(more.is_ok() && *more);
    EXPECT_EQ(cursor->key(), k.first);
    EXPECT_EQ(cursor->meta().position.main, k.second);
    EXPECT_EQ(cursor->meta().create, create);
    EXPECT_EQ(cursor->meta().version, 2);
    EXPECT_EQ(cursor->meta().lease, k.second % 5 == 0 ? -7 : 0);
  }
  auto more = cursor->next();
  EXPECT_TRUE(more.is_ok() && !*more);
}

TEST(DeadList, RoundTripMergeAndDamage) {
  FakeDisk disk;
  ASSERT_TRUE(disk.make_dirs("d").is_ok());
  DeadFileWriter writer(9);
  DeadList a = {{1, 0}, {1, 5}, {7, 3}}, b = {{1, 5}, {2, 0}};
  EXPECT_EQ(merge(a, b), (DeadList{{1, 0}, {1, 5}, {2, 0}, {7, 3}}));
  DeadRef ra = writer.add(a), rb = writer.add(b);
  ASSERT_TRUE(writer.finish(disk, "d").is_ok());
  EXPECT_EQ(*read_dead_list(disk, "d", ra), a);
  EXPECT_EQ(*read_dead_list(disk, "d", rb), b);
  EXPECT_TRUE(contains(a, {1, 5}));
  EXPECT_FALSE(contains(a, {1, 4}));
  disk.damage("d/" + dead_file_name(9), rb.offset + 1, 4);
  EXPECT_TRUE(read_dead_list(disk, "d", ra).is_ok());
  EXPECT_EQ(read_dead_list(disk, "d", rb).code(), Code::kDataLoss);
}

// --- start
// ------------------------------------------------------------------------------------------------------------

TEST(Store, TheLogMayBeElsewhere) {
  FakeDisk disk;
  OpenArgs apart = tiny();
  apart.log_dir = "fast/log";
  {
    Member m(&disk, apart);
    ASSERT_TRUE(m.status.is_ok()) << m.status.to_string();
    EXPECT_TRUE(disk.files("d/log").empty());
    EXPECT_FALSE(disk.files("fast/log/log-").empty());
    OpenArgs thief = apart;  // another data directory
    thief.dir = "e";
    EXPECT_EQ(Member(&disk, thief).status.code(), Code::kFailedPrecondition) << "locked";
  }
  disk.power_cut(Keep::kNone);
  {
    Member m(&disk, apart);
    ASSERT_TRUE(m.status.is_ok()) << m.status.to_string();
    EXPECT_FALSE(m.first_start);
  }
  // Started without it, or with another one, the data is not taken for whole.
  EXPECT_FALSE(Member(&disk).status.is_ok());
  OpenArgs moved = apart;
  moved.log_dir = "slow/log";
  Status s = Member(&disk, moved).status;
  EXPECT_EQ(s.code(), Code::kFailedPrecondition);
  EXPECT_NE(s.message().find("--wal-dir"), std::string::npos) << s.message();
  EXPECT_TRUE(Member(&disk, apart).status.is_ok());
}

// Tools are told which directory it is that they were given, and leave nothing in it.
TEST(Offline, ALogIsNotADataDirectory) {
  FakeDisk disk;
  FakeProcess outside(&disk);
  OpenArgs apart = tiny();
  apart.log_dir = "fast";
  { ASSERT_TRUE(Member(&disk, apart).status.is_ok()); }
  EXPECT_TRUE(is_data_directory(disk, kDir));
  EXPECT_TRUE(is_data_directory(disk, "fast"));
  EXPECT_FALSE(is_data_directory(disk, "slow"));
  const size_t files = disk.files("fast/").size();
  for (const Status& refused :
       {open_resting(outside.world, "fast").status(), OfflineClean::open(outside.world, "fast").status()}) {
    EXPECT_EQ(refused.code(), Code::kFailedPrecondition);
    EXPECT_EQ(refused.message(),
              "fast is a member's log (--wal-dir), not its data directory: name that one (--data-dir)");
  }
  EXPECT_EQ(disk.files("fast/").size(), files);
  EXPECT_TRUE(open_resting(outside.world, kDir).is_ok());
}

TEST(Store, FirstStartThenTheSameIdentity) {
  FakeDisk disk;
  FakeProcess outside(&disk);
  EXPECT_FALSE(Store::peek(outside.world, kDir)->has_value());
  OpenArgs none = tiny();
  none.may_create = false;
  EXPECT_EQ(Member(&disk, none).status.code(), Code::kNotFound);
  Identity first;
  {
    Member m(&disk);
    ASSERT_TRUE(m.status.is_ok()) << m.status.to_string();
    EXPECT_TRUE(m.first_start);
    EXPECT_EQ(m.store->state().config, "first");
    first = m.store->identity();
    EXPECT_EQ(first.start_counter, 1u);
    EXPECT_NE(first.store.value, 0u);
    EXPECT_EQ(Member(&disk).status.code(), Code::kFailedPrecondition) << "locked";
  }
  disk.power_cut(Keep::kNone);
  OpenArgs unknown = none;
  unknown.cluster = ClusterId{};
  unknown.member = MemberId{};
  {
    Member m(&disk, unknown);
    ASSERT_TRUE(m.status.is_ok()) << m.status.to_string();
    EXPECT_FALSE(m.first_start);
    EXPECT_EQ(m.store->identity().store, first.store);
    EXPECT_EQ(m.store->identity().member, first.member);
    EXPECT_EQ(m.store->identity().start_counter, 2u);
  }
  EXPECT_EQ((*Store::peek(outside.world, kDir))->store, first.store);
  OpenArgs other = tiny();
  other.member = MemberId{0xb2};
  Status s = Member(&disk, other).status;
  EXPECT_EQ(s.code(), Code::kFailedPrecondition);
  EXPECT_NE(s.message().find("a1"), std::string::npos) << s.message();
  other = tiny();
  other.cluster = ClusterId{0xc2};
  EXPECT_EQ(Member(&disk, other).status.code(), Code::kFailedPrecondition);
}

TEST(Store, CheckpointsAddUpAcrossStarts) {
  FakeDisk disk;
  Model m;
  for (int round = 0; round < 12; ++round) {
    Member member(&disk);
    expect_holds(member, m);
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE(member.checkpoint(m, step(m, 30, round * 2 + i)).is_ok());
      expect_holds(member, m);
    }
    disk.power_cut(round % 2 ? Keep::kNone : Keep::kAll);
  }
  Member member(&disk);
  expect_holds(member, m);
  StoreStats stats = member.store->stats();
  EXPECT_GT(stats.dead_records, 0u);
  EXPECT_GT(stats.dead_bytes, 0u);
  EXPECT_EQ(stats.records - stats.dead_records, m.key_at.size() + m.side.size());
  EXPECT_EQ(member.store->state().config, "config at " + std::to_string(m.applied));
}

TEST(Store, WhollyDeadSegmentsGoAndPinsKeepFiles) {
  FakeDisk disk;
  Model m;
  Member member(&disk);
  ASSERT_TRUE(member.checkpoint(m, step(m, 40, 0)).is_ok());
  Pin old = member.store->pin();
  auto before = disk.files("seg-");
  std::vector<Position> positions;
  for (auto& [p, key] : m.key_at) positions.push_back(p);
  Model was = m;
  auto tail = std::make_shared<mvcc::FrozenTail>();  // everything flushed dies
  for (auto& [p, key] : m.key_at) tail->dead_keys.push_back(p);
  m.key_at.clear();
  m.record_at.clear();
  m.newest.clear();
  tail->revision = m.revision;
  ++m.applied;
  ASSERT_TRUE(member.checkpoint(m, tail).is_ok());
  EXPECT_EQ(member.store->stats().records, 2u) << "side state only";
  EXPECT_EQ(disk.files("seg-"), before) << "the pin holds them";
  auto records = member.read(old, positions);
  ASSERT_TRUE(records.is_ok());
  EXPECT_EQ((*records)[3].view(), was.record_at.at(positions[3]));
  EXPECT_EQ(member.read(member.store->pin(), positions).code(), Code::kNotFound);
  old = nullptr;
  records = Store::Records();
  member.process.pump();
  EXPECT_EQ(disk.files("seg-").size(), 1u);
  expect_holds(member, m);
}

TEST(Store, FailedSegmentWriteIsAbandonedAndRetried) {
  FakeDisk disk;
  Model m;
  Member member(&disk);
  member.fill_log(30);
  auto tail = step(m, 30, 0);
  disk.fail_writes = 1;
  Status s = member.checkpoint(m, tail);
  EXPECT_FALSE(s.is_ok());
  EXPECT_EQ(s.message().find("fatal"), std::string::npos);
  EXPECT_TRUE(disk.files("seg-").empty());
  ASSERT_TRUE(member.checkpoint(m, tail).is_ok());
  expect_holds(member, m);
  disk.fail_syncs = 1000;  // now the manifest's turn comes too: an empty checkpoint writes nothing else
  auto empty = std::make_shared<mvcc::FrozenTail>();
  empty->revision = m.revision;
  s = member.checkpoint(m, empty);
  EXPECT_NE(s.message().find("fatal"), std::string::npos) << s.to_string();
}

TEST(Store, LostOrOlderLogIsRefused) {
  FakeDisk disk;
  Model m;
  {
    Member member(&disk);
    ASSERT_TRUE(member.checkpoint(m, step(m, 30, 0)).is_ok());
  }
  {
    auto lost = disk.copy();
    for (const auto& path : lost->files("/log/")) lost->forget(path);
    EXPECT_EQ(Member(lost.get()).status.code(), Code::kDataLoss);
  }
  auto older = disk.copy();
  {
    Member member(&disk);
    ASSERT_TRUE(member.checkpoint(m, step(m, 30, 1)).is_ok());
  }
  {  // the log of an older copy beside the newer state
    auto mixed = disk.copy();
    for (const auto& path : mixed->files("/log/")) mixed->forget(path);
    for (const auto& path : older->files("/log/")) {
      auto f = mixed->open(path, io::OpenMode::kCreate);
      ASSERT_TRUE((*f)->write_at(0, older->content(path)).is_ok());
    }
    Status s = Member(mixed.get()).status;
    EXPECT_EQ(s.code(), Code::kDataLoss) << s.to_string();
  }
  {  // no manifest, but data
    auto bare = disk.copy();
    bare->forget(kDir + "/manifest");
    EXPECT_EQ(Member(bare.get()).status.code(), Code::kDataLoss);
    for (const auto& path : bare->files("seg-")) bare->forget(path);
    for (const auto& path : bare->files("dead-")) bare->forget(path);
    EXPECT_EQ(Member(bare.get()).status.code(), Code::kDataLoss) << "the log is data too";
  }
}

TEST(Store, NobodyIsCalledAfterItsEnd) {
  FakeDisk disk;
  Model m;
  Member member(&disk);
  ASSERT_TRUE(member.checkpoint(m, step(m, 30, 0)).is_ok());
  Pin pin = member.store->pin();
  int called = 0;
  member.store->read(pin, {{2, 1}}, [&](Result<Store::Records>) { ++called; });
  member.store->scan(pin, {0, 0}, {9, 0}, 100, [&](Result<ScanResult>) { ++called; });
  member.log->append(std::nullopt, std::vector<raft::Entry>{{Term{1}, member.log->last_index() + 1, {}, {}}},
                     WriteSeq{9});
  member.log->read(member.log->last_index(), member.log->last_index() + 1, 10, [&](Result<Log::Entries>) { ++called; });
  CheckpointArgs args;
  args.applied = Index{m.applied};
  args.applied_term = Term{1};
  auto tail = step(m, 3, 1);
  args.tail = tail;
  member.store->checkpoint(args, [&](Status) { ++called; });
  member.store = nullptr;
  member.log = nullptr;
  member.process.pump();
  EXPECT_EQ(called, 0);
  pin = nullptr;  // files go at the next start
  member.process.pump();
}

// --- damage
// -------------------------------------------------------------------------------------------------------------

// Everything a member can be asked for. Returns the first error, or checks the answers against the model.
Status use_everything(FakeDisk& disk, const Model& m, bool& right) {
  Member member(&disk);
  right = true;
  RETURN_IF_ERROR(member.status);
  Loaded loaded;
  RETURN_IF_ERROR(member.store->load(loaded));
  std::map<std::string, std::vector<Position>> keys;
  for (auto& [p, key] : m.key_at) keys[key].push_back(p);
  std::map<std::string, std::string> side;
  for (auto& [id, s] : m.side) side[id] = s.second;
  right =
      loaded.ordered && loaded.keys == keys && loaded.side == side && member.store->state().applied.value == m.applied;
  std::vector<Position> positions;
  for (auto& [p, record] : m.record_at) positions.push_back(p);
  ASSIGN_OR_RETURN(Store::Records records, member.read(member.store->pin(), positions));
  for (size_t i = 0; i < positions.size(); ++i) right = right && records[i].view() == m.record_at.at(positions[i]);
  ASSIGN_OR_RETURN(ScanResult scan, member.scan({0, 0}, {m.revision, 1 << 20}, 1 << 30));
  right = right && scan.records.size() == m.record_at.size();
  return {};
}

TEST(StoreDamage, IsNeverServedAndIsNamedByFileAndOffset) {
  FakeDisk disk;
  Model m;
  {
    Member member(&disk);
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(member.checkpoint(m, step(m, 30, i)).is_ok());
  }
  size_t cases = 0, refused = 0;
  auto judge = [&](FakeDisk& damaged, const std::string& path, bool must_refuse, const std::string& what) {
    bool right = false;
    Status s = use_everything(damaged, m, right);
    ++cases;
    EXPECT_TRUE(right) << what << ": wrong data";
    if (must_refuse) {
      EXPECT_EQ(s.code(), Code::kDataLoss) << what << ": " << s.to_string();
    }
    if (!s.is_ok()) {
      ++refused;
      EXPECT_NE(s.message().find(path), std::string::npos) << what << ": " << s.to_string();
      EXPECT_NE(s.message().find("offset"), std::string::npos) << what << ": " << s.to_string();
    }
  };
  std::vector<std::string> paths = disk.files("/seg-");
  for (auto& p : disk.files("/dead-")) paths.push_back(p);
  ASSERT_GE(paths.size(), 6u);
  for (const std::string& path : paths) {
    const size_t size = disk.content(path).size();
    const bool segment = path.find("/seg-") != std::string::npos;
    for (size_t at = 0; at < size; at += 23) {
      auto damaged = disk.copy();
      damaged->damage(path, at, 0x20);
      // Key indexes inside the directory are read by nobody yet; dead file headers neither; verify() sees them below.
      judge(*damaged, path, false, path + " flipped at " + std::to_string(at));
    }
    for (size_t at = 0; at < size; at += 512) {
      auto zeroed = disk.copy();
      zeroed->zero(path, at, 512);
      judge(*zeroed, path, true, path + " zeroed at " + std::to_string(at));
      auto unreadable = disk.copy();
      unreadable->make_unreadable(path, at, 512);
      judge(*unreadable, path, true, path + " unreadable at " + std::to_string(at));
      auto cut = disk.copy();
      cut->shorten(path, at);
      judge(*cut, path, segment || at < size / 2, path + " cut at " + std::to_string(at));
    }
    auto gone = disk.copy();
    gone->forget(path);
    bool right;
    Status s = use_everything(*gone, m, right);
    EXPECT_EQ(s.code(), Code::kDataLoss);
    EXPECT_NE(s.message().find(path), std::string::npos);
  }
  EXPECT_GT(cases, 500u);
  EXPECT_GT(refused, cases * 8 / 10);
}

TEST(StoreDamage, VerifySeesEveryByte) {
  FakeDisk disk;
  Model m;
  Manifest manifest;
  {
    Member member(&disk);
    ASSERT_TRUE(member.checkpoint(m, step(m, 30, 0)).is_ok());
    manifest = *read_manifest(member.process.world, kDir);
  }
  for (const SegmentInfo& info : manifest.shared.segments) {
    ASSERT_TRUE((*SegmentReader::open(disk, kDir, info))->verify().is_ok());
    for (size_t at = 0; at < info.size_bytes; ++at) {
      auto damaged = disk.copy();
      damaged->damage(kDir + "/" + segment_file_name(info.number), at, 1);
      auto reader = SegmentReader::open(*damaged, kDir, info);
      Status s = reader.is_ok() ? (*reader)->verify() : reader.status();
      EXPECT_FALSE(s.is_ok()) << segment_file_name(info.number) << " at " << at;
    }
  }
}

TEST(StoreDamage, OneCopyOfTheManifestIsEnough) {
  FakeDisk disk;
  Model m;
  {
    Member member(&disk);
    ASSERT_TRUE(member.checkpoint(m, step(m, 30, 0)).is_ok());
  }
  const std::string path = kDir + "/manifest";
  const size_t size = disk.content(path).size();
  for (size_t at = 0; at < size; at += 5) {
    auto damaged = disk.copy();
    damaged->damage(path, at, 0x11);
    Member member(damaged.get());
    ASSERT_TRUE(member.status.is_ok()) << at << member.status.to_string();
    ASSERT_FALSE(member.process.lines.empty()) << at;
    EXPECT_EQ(member.store->state().applied.value, m.applied);
    if (at % 50 == 0) {
      damaged->damage(path, 30, 1);
      damaged->damage(path, size / 2 + 30, 1);
      Member both(damaged.get());
      EXPECT_FALSE(both.status.is_ok());
    }
  }
  auto both = disk.copy();
  both->zero(path, 0, 64);
  both->zero(path, size / 2, 64);
  Member member(both.get());
  EXPECT_EQ(member.status.code(), Code::kDataLoss);
  EXPECT_NE(member.status.message().find(path), std::string::npos);
  EXPECT_NE(member.status.message().find("offset"), std::string::npos);
  auto half = disk.copy();
  half->make_unreadable(path, 0, 512);
  EXPECT_TRUE(Member(half.get()).status.is_ok());
}

// --- snapshots
// -----------------------------------------------------------------------------------------------------------

Status ship(Member& from, Member& to, const SnapshotInfo& snapshot, size_t piece_bytes, size_t spoil_piece,
            std::unique_ptr<Receiver>& receiver) {
  ASSIGN_OR_RETURN(receiver, to.store->receive(snapshot.manifest));
  size_t pieces = 0;
  for (size_t i = 0; i < receiver->file_count(); ++i)
    while (receiver->received(i) < receiver->file_size(i)) {
      Result<Bytes> piece = internal_error("not called");
      from.store->read_file(snapshot, i, receiver->received(i), piece_bytes,
                            [&](Result<Bytes> r) { piece = std::move(r); });
      from.process.pump();
      RETURN_IF_ERROR(piece.status());
      Bytes bytes = *piece;
      if (++pieces == spoil_piece) {
        std::string spoilt = bytes.to_string();
        spoilt[spoilt.size() / 2] = static_cast<char>(spoilt[spoilt.size() / 2] ^ 1);
        bytes = Bytes::take(spoilt);
      }
      Status s = internal_error("not called");
      receiver->write(i, bytes, [&](Status got) { s = got; });
      to.process.pump();
      if (!s.is_ok() && s.code() != Code::kDataLoss) return s;
      if (!s.is_ok()) {
        EXPECT_EQ(receiver->received(i), 0u) << "again from the start, under a new file";
      }
    }
  return {};
}

TEST(StoreSnapshot, TravelsAndIsInstalled) {
  FakeDisk here, there;
  Model m, old;
  Member from(&here);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(from.checkpoint(m, step(m, 40, i)).is_ok());
  SnapshotInfo snapshot = from.store->snapshot();
  Model at_snapshot = m;
  ASSERT_TRUE(from.checkpoint(m, step(m, 40, 9)).is_ok());  // goes on meanwhile
  {
    OpenArgs args = tiny();
    args.member = MemberId{0xb2};
    Member to(&there, args);
    ASSERT_TRUE(to.checkpoint(old, step(old, 10, 0)).is_ok());
    std::unique_ptr<Receiver> abandoned, receiver;
    ASSERT_TRUE(ship(from, to, snapshot, 300, 0, abandoned).is_ok());
    abandoned = nullptr;
    to.process.pump();
    Status s = ship(from, to, snapshot, 300, 5, receiver);
    ASSERT_TRUE(s.is_ok()) << s.to_string();
    EXPECT_TRUE(receiver->complete());
    Status installed = internal_error("not called");
    to.store->install(std::move(receiver), {Term{1}, MemberId{0}}, to.log->durable_position(),
                      [&](Status got) { installed = got; });
    to.process.pump();
    ASSERT_TRUE(installed.is_ok()) << installed.to_string();
    to.log->restart_at(snapshot.applied, snapshot.applied_term, std::nullopt, WriteSeq{++to.seq});
    to.process.pump();
    Status confirmed = internal_error("not called");
    to.store->confirm_log(to.log->durable_position(), [&](Status got) { confirmed = got; });
    to.process.pump();
    ASSERT_TRUE(confirmed.is_ok());
    expect_holds(to, at_snapshot);
    EXPECT_EQ(to.store->identity().member, MemberId{0xb2}) << "only the shared part travels";
    size_t named = to.store->pin() ? snapshot.files.size() : 0;
    EXPECT_EQ(there.files("/seg-").size() + there.files("/dead-").size(), named) << "old and abandoned files are gone";
    // It goes on from there.
    ASSERT_TRUE(to.checkpoint(at_snapshot, step(at_snapshot, 20, 3)).is_ok());
    expect_holds(to, at_snapshot);
  }
  there.power_cut(Keep::kNone);
  OpenArgs args = tiny();
  args.member = MemberId{0xb2};
  Member again(&there, args);
  expect_holds(again, at_snapshot);
}

// --- every crash point
// ------------------------------------------------------------------------------------------------

enum class End { kPowerAll, kPowerNone, kPowerSome, kKill, kKillThenPower, kKillThenPowerInStart };

void end_process(FakeDisk& disk, End end) {
  if (end >= End::kKill) disk.process_ends();
  if (end == End::kPowerAll) disk.power_cut(Keep::kAll);
  if (end == End::kPowerNone) disk.power_cut(Keep::kNone);
  if (end == End::kPowerSome) disk.power_cut(Keep::kSome);
}

// The state found must be that of one of two models; the log must reach as far as it was acknowledged.
void expect_one_of(FakeDisk& disk, const OpenArgs& args, std::vector<Model*> models, uint64_t log_acked) {
  Member member(&disk, args);
  ASSERT_TRUE(member.status.is_ok()) << member.status.to_string();
  EXPECT_GE(member.log->last_index().value, log_acked);
  for (Model* m : models)
    if (member.store->state().applied.value == m->applied) {
      expect_holds(member, *m);
      if (::testing::Test::HasFailure()) return;
      member.process.pump();
      auto tail = step(*m, 12, 50);  // and it goes on
      Status s = member.checkpoint(*m, tail);
      ASSERT_TRUE(s.is_ok()) << s.to_string();
      expect_holds(member, *m);
      return;
    }
  FAIL() << "applied " << member.store->state().applied.value << " is no state that ever was";
}

bool cut_checkpoint(uint64_t n, End end, uint64_t seed) {
  FakeDisk disk;
  disk.seed = seed;
  Model before;
  {
    Member member(&disk);
    EXPECT_TRUE(member.checkpoint(before, step(before, 30, 0)).is_ok());
    EXPECT_TRUE(member.checkpoint(before, step(before, 30, 1)).is_ok());
  }
  disk.power_cut(Keep::kNone);
  Model after = before;
  auto tail = step(after, 30, 2);
  bool cut = false, acked = false;
  uint64_t log_acked = before.applied;
  disk.cut_at = disk.mutations + n;
  std::unique_ptr<Member> member;
  try {
    member = std::make_unique<Member>(&disk);
    EXPECT_TRUE(member->status.is_ok()) << member->status.to_string();
    acked = member->checkpoint(after, tail).is_ok();
  } catch (const Cut&) {
    cut = true;
  }
  disk.cut_at = 0;
  if (member && member->log) log_acked = member->log->durable_index().value;
  if (member && member->store) acked = member->store->state().applied.value == after.applied;
  if (end == End::kKillThenPower) {
    end_process(disk, end);
    member = nullptr;
    {
      Member second(&disk);
      EXPECT_TRUE(second.status.is_ok()) << second.status.to_string();
    }
    disk.power_cut(Keep::kNone);
  } else if (end == End::kKillThenPowerInStart) {  // what the second start saw and removed was not durable yet
    end_process(disk, end);
    member = nullptr;
    disk.cut_at = disk.mutations + 1 + (seed + n) % 14;
    try {
      Member second(&disk);
    } catch (const Cut&) {
    }
    disk.cut_at = 0;
    disk.power_cut(Keep::kSome);
  } else {
    end_process(disk, end);
    member = nullptr;
  }
  std::vector<Model*> models = {&after};
  if (!acked) models.push_back(&before);
  expect_one_of(disk, tiny(), models, log_acked);
  return cut;
}

bool cut_first_start(uint64_t n, End end, uint64_t seed) {
  FakeDisk disk;
  disk.seed = seed;
  disk.cut_at = n;
  bool cut = false;
  Identity identity;
  {
    std::unique_ptr<Member> member;
    try {
      member = std::make_unique<Member>(&disk);
      identity = member->store->identity();
    } catch (const Cut&) {
      cut = true;
    }
    disk.cut_at = 0;
    end_process(disk, end);
  }
  Member again(&disk);
  EXPECT_TRUE(again.status.is_ok()) << again.status.to_string();
  if (!cut && again.store) {
    EXPECT_EQ(again.store->identity().store, identity.store);
  }
  return cut;
}

bool cut_install(uint64_t n, End end, uint64_t seed, Member& from, const SnapshotInfo& snapshot, const Model& sent) {
  FakeDisk disk;
  disk.seed = seed;
  OpenArgs args = tiny();
  args.member = MemberId{0xb2};
  Model before, after = sent;
  {
    Member member(&disk, args);
    EXPECT_TRUE(member.checkpoint(before, step(before, 10, 0)).is_ok());
  }
  disk.power_cut(Keep::kNone);
  bool cut = false, acked = false;
  disk.cut_at = disk.mutations + n;
  {
    std::unique_ptr<Member> to;
    std::unique_ptr<Receiver> receiver;
    try {
      to = std::make_unique<Member>(&disk, args);
      Status s = ship(from, *to, snapshot, 4000, 0, receiver);
      EXPECT_TRUE(s.is_ok()) << s.to_string();
      s = internal_error("not called");
      to->store->install(std::move(receiver), {Term{3}, MemberId{9}}, to->log->durable_position(),
                         [&](Status got) { s = got; });
      to->process.pump();
      EXPECT_TRUE(s.is_ok()) << s.to_string();
      to->log->restart_at(snapshot.applied, snapshot.applied_term, raft::HardState{Term{3}, MemberId{9}},
                          WriteSeq{++to->seq});
      to->process.pump();
      to->store->confirm_log(to->log->durable_position(), [&](Status got) { acked = got.is_ok(); });
      to->process.pump();
    } catch (const Cut&) {
      cut = true;
    }
    disk.cut_at = 0;
    end_process(disk, end);
  }
  std::vector<Model*> models = {&after};
  if (!acked) models.push_back(&before);
  {
    Member look(&disk, args);
    EXPECT_TRUE(look.status.is_ok()) << look.status.to_string();
    if (look.store && look.store->state().applied == snapshot.applied) {
      EXPECT_EQ(look.recovered.hard_state.term, Term{3}) << "the vote survives the restart of the log";
      EXPECT_EQ(look.recovered.hard_state.vote, MemberId{9});
      EXPECT_EQ(look.log->term_at(snapshot.applied), snapshot.applied_term);
    }
  }
  disk.power_cut(Keep::kNone);
  expect_one_of(disk, args, models, 0);
  return cut;
}

// A forced round of the cleaner, with a checkpoint in the middle of it: the state is never another than one of the two.
bool cut_cleaning(uint64_t n, End end, uint64_t seed) {
  FakeDisk disk;
  disk.seed = seed;
  Model before;
  OpenArgs args = tiny();
  args.options.reap_step_bytes = 3000;
  {
    Member member(&disk, args);
    for (int round = 0; round < 3; ++round) EXPECT_TRUE(member.checkpoint(before, step(before, 20, round)).is_ok());
  }
  disk.power_cut(Keep::kNone);
  Model after = before;
  auto tail = step(after, 20, 3);
  bool cut = false, acked = false;
  disk.cut_at = disk.mutations + n;
  std::unique_ptr<Member> member;
  std::unique_ptr<Cleaner> cleaner;
  try {
    member = std::make_unique<Member>(&disk, args);
    CleanerOptions options;
    options.piece_bytes = 2000;
    bool may_swap = false, done = false;
    cleaner =
        std::make_unique<Cleaner>(member->process.world, *member->store, *member->log, options,
                                  Cleaner::Hooks{[&] { return may_swap; }, [&](Status s) { member->status = s; }});
    cleaner->start();
    cleaner->round([&] { done = true; });
    member->process.advance(3 * io::kSecond);
    acked = member->checkpoint(after, tail).is_ok();
    may_swap = true;
    for (int i = 0; i < 100 && !done; ++i) member->process.advance(1 * io::kSecond);
    EXPECT_TRUE(done && cleaner->stats().runs > 0 && member->status.is_ok());
  } catch (const Cut&) {
    cut = true;
  }
  disk.cut_at = 0;
  if (member && member->store) acked = member->store->state().applied.value == after.applied;
  end_process(disk, end);
  cleaner = nullptr;
  member = nullptr;
  if (end >= End::kKillThenPower) {
    disk.cut_at = end == End::kKillThenPowerInStart ? disk.mutations + 1 + (seed + n) % 14 : 0;
    try {
      Member second(&disk, args);
    } catch (const Cut&) {
    }
    disk.cut_at = 0;
    disk.power_cut(end == End::kKillThenPower ? Keep::kNone : Keep::kSome);
  }
  std::vector<Model*> models = {&after};
  if (!acked) models.push_back(&before);
  expect_one_of(disk, args, models, 0);
  return cut;
}

template <typename Scenario>
size_t enumerate(Scenario scenario) {
  size_t runs = 0;
  for (End end : {End::kPowerAll, End::kPowerNone, End::kPowerSome, End::kKill, End::kKillThenPower,
                  End::kKillThenPowerInStart}) {
    const bool random = end >= End::kPowerSome;
    for (uint64_t seed = 1; seed <= (random && !testing::kSanitized ? 8u : 1u); ++seed)
      for (uint64_t n = 1;; ++n) {
        SCOPED_TRACE("end " + std::to_string(static_cast<int>(end)) + " seed " + std::to_string(seed) + " cut " +
                     std::to_string(n));
        ++runs;
        bool cut = scenario(n, end, seed * 0x9E3779B97F4A7C15ull);
        if (::testing::Test::HasFailure()) return runs;
        if (!cut) break;
      }
  }
  return runs;
}

TEST(StoreCrash, EveryPointOfACheckpoint) { EXPECT_GT(enumerate(cut_checkpoint), 150u); }
TEST(StoreCrash, EveryPointOfACleaning) { EXPECT_GT(enumerate(cut_cleaning), 200u); }
TEST(StoreCrash, EveryPointOfAFirstStart) { EXPECT_GT(enumerate(cut_first_start), 40u); }
TEST(StoreCrash, EveryPointOfAnInstall) {
  FakeDisk here;
  Model m;
  Member from(&here);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(from.checkpoint(m, step(m, 40, i)).is_ok());
  SnapshotInfo snapshot = from.store->snapshot();
  EXPECT_GT(enumerate([&](uint64_t n, End end, uint64_t seed) { return cut_install(n, end, seed, from, snapshot, m); }),
            150u);
}

}  // namespace
}  // namespace fairlead::storage
