// The cleaner: what it plans, what it leaves out and what it keeps. Every crash point of it: store_test.cc.
#include "server/storage/cleaner.h"

#include <gtest/gtest.h>

#include "server/storage/testing/store_model.h"

namespace fairlead::storage {
namespace {

using namespace testing;

CleanerOptions eager() {
  CleanerOptions o;
  o.dead_bytes_min = 1;
  o.dead_percent_min = 1;
  o.join_segments_min = 4;
  o.piece_bytes = 2000;
  return o;
}

struct CleanedMember : Member {
  explicit CleanedMember(FakeDisk* disk, CleanerOptions options = eager(), OpenArgs args = tiny())
      : Member(disk, args),
        cleaner(process.world, *store, *log, options, {[this] { return may_swap; }, [this](Status s) { status = s; }}) {
    cleaner.start();
  }
  // Lets time pass until the cleaner has nothing to do.
  void settle() {
    for (uint64_t runs = UINT64_MAX; runs != cleaner.stats().runs + cleaner.stats().runs_failed;) {
      runs = cleaner.stats().runs + cleaner.stats().runs_failed;
      process.advance(10 * io::kSecond);
    }
  }
  bool may_swap = true;
  Cleaner cleaner;
};

SegmentInfo segment(uint64_t number, uint64_t size, uint64_t dead, SegmentKind kind = SegmentKind::kKeys) {
  SegmentInfo s;
  s.kind = kind;
  s.number = number;
  s.size_bytes = size;
  s.records = 100;
  s.dead_bytes = dead;
  s.dead.count = dead == 0 ? 0 : 10;
  return s;
}

using Numbers = std::vector<uint64_t>;
Numbers planned(std::vector<SegmentInfo> segments, CleanerOptions options, uint64_t below = 0,
                std::set<uint64_t> damaged = {}) {
  SharedManifest m;
  m.segments = std::move(segments);
  auto plan = plan_clean(m, options, 1000, damaged, below);
  return plan ? plan->segments : Numbers{};
}

TEST(CleanPlan, RestsBelowBothThresholds) {
  CleanerOptions o;
  o.dead_bytes_min = 100;
  EXPECT_EQ(planned({segment(1, 300, 99)}, o), Numbers{}) << "too few bytes";
  EXPECT_EQ(planned({segment(1, 300, 100)}, o), Numbers{1});
  EXPECT_EQ(planned({segment(1, 300, 100), segment(2, 150, 0)}, o), Numbers{}) << "too small a share";
}

TEST(CleanPlan, TakesTheDeadestAndItsNeighbours) {
  CleanerOptions o;
  o.dead_bytes_min = 100;
  EXPECT_EQ(planned({segment(1, 900, 100), segment(2, 900, 300), segment(3, 900, 700), segment(4, 900, 250)}, o),
            (Numbers{2, 3}))
      << "all that is worth it and fits into one output";
  EXPECT_EQ(planned({segment(1, 900, 700), segment(2, 90, 60, SegmentKind::kSide)}, o), Numbers{1}) << "kinds apart";
  EXPECT_EQ(planned({segment(1, 900, 700), segment(2, 900, 600)}, o, 0, {1}), Numbers{2}) << "damage stays";
}

TEST(CleanPlan, ARoundTakesAllThatWasThere) {
  CleanerOptions o;
  EXPECT_EQ(planned({segment(1, 900, 1), segment(2, 900, 0), segment(7, 900, 800)}, o, 5), Numbers{1});
  EXPECT_EQ(planned({segment(2, 900, 0), segment(7, 900, 800)}, o, 5), Numbers{});
}

TEST(CleanPlan, JoinsSmallNeighboursOfLikeSize) {
  CleanerOptions o;
  o.join_segments_min = 3;
  EXPECT_EQ(planned({segment(1, 900, 0), segment(2, 10, 0), segment(3, 10, 0), segment(4, 15, 0)}, o),
            (Numbers{2, 3, 4}));
  EXPECT_EQ(planned({segment(1, 900, 0), segment(2, 10, 0), segment(3, 10, 0)}, o), Numbers{}) << "too few";
  EXPECT_EQ(planned({segment(1, 100, 0), segment(2, 10, 0), segment(3, 10, 0)}, o), Numbers{}) << "one large one";
  EXPECT_EQ(planned({segment(1, 10, 0), segment(2, 10, 0), segment(3, 10, 0, SegmentKind::kSide)}, o), Numbers{});
}

TEST(Cleaner, GivesSpaceBackAndKeepsAllThatLives) {
  FakeDisk disk;
  Model m;
  {
    CleanedMember member(&disk);
    for (int round = 0; round < 20; ++round) ASSERT_TRUE(member.checkpoint(m, step(m, 30, round)).is_ok());
    StoreStats before = member.store->stats();
    EXPECT_GT(before.dead_records, 0u);
    member.settle();
    expect_holds(member, m);
    StoreStats after = member.store->stats();
    EXPECT_EQ(after.dead_records, 0u);
    EXPECT_EQ(after.records, m.key_at.size() + m.side.size());
    EXPECT_LE(after.segments, before.segments);
    EXPECT_LT(after.bytes, before.bytes);
    EXPECT_EQ(disk.files("/seg-").size(), after.segments) << "the old files are gone";
    EXPECT_EQ(disk.files("/dead-").size(), 0u);
    EXPECT_EQ(member.cleaner.stats().bytes_freed > 0, true);
    EXPECT_EQ(member.cleaner.stats().runs_failed, 0u);
  }
  disk.power_cut(Keep::kNone);
  Member again(&disk);
  expect_holds(again, m);
}

TEST(Cleaner, JoinsWhatManyCheckpointsLeft) {
  FakeDisk disk;
  Model m;
  CleanerOptions options = eager();
  options.dead_bytes_min = 1 << 30;
  CleanedMember member(&disk, options);
  uint64_t most = 0;
  for (int round = 0; round < 60; ++round) {
    ASSERT_TRUE(member.checkpoint(m, step(m, 2, round)).is_ok());
    member.process.advance(2 * io::kSecond);
    most = std::max(most, member.store->stats().segments);
  }
  EXPECT_LT(most, 20u) << "checkpoints do not only add files";
  EXPECT_LT(member.cleaner.stats().bytes_written, 10 * member.store->stats().bytes) << "a few times over, not always";
  expect_holds(member, m);
}

TEST(Cleaner, WhatDiesDuringTheCopyIsCarriedOver) {
  FakeDisk disk;
  Model m;
  CleanedMember member(&disk);
  for (int round = 0; round < 6; ++round) ASSERT_TRUE(member.checkpoint(m, step(m, 30, round)).is_ok());
  member.may_swap = false;
  member.process.advance(20 * io::kSecond);
  EXPECT_TRUE(member.cleaner.stats().running);
  for (int round = 6; round < 9; ++round) ASSERT_TRUE(member.checkpoint(m, step(m, 30, round)).is_ok());
  EXPECT_EQ(member.cleaner.stats().runs, 0u);
  member.may_swap = true;
  member.process.advance(1 * io::kSecond);
  EXPECT_GE(member.cleaner.stats().runs + member.cleaner.stats().runs_failed, 1u);
  expect_holds(member, m);
  member.settle();
  expect_holds(member, m);
  EXPECT_EQ(member.store->stats().dead_records, 0u);
}

TEST(Cleaner, PinsKeepOldFilesReadable) {
  FakeDisk disk;
  Model m;
  CleanedMember member(&disk);
  for (int round = 0; round < 6; ++round) ASSERT_TRUE(member.checkpoint(m, step(m, 30, round)).is_ok());
  Pin old = member.store->pin();
  std::vector<Position> positions;
  for (auto& [p, key] : m.key_at) positions.push_back(p);
  member.settle();
  EXPECT_GT(disk.files("/seg-").size(), member.store->stats().segments);
  auto records = member.read(old, positions);
  ASSERT_TRUE(records.is_ok()) << records.status().to_string();
  EXPECT_EQ((*records)[5].view(), m.record_at.at(positions[5]));
  old = nullptr;
  records = Store::Records();
  member.process.pump();
  EXPECT_EQ(disk.files("/seg-").size(), member.store->stats().segments);
}

TEST(Cleaner, AForcedRoundIgnoresThresholds) {
  FakeDisk disk;
  Model m;
  CleanedMember member(&disk, CleanerOptions());  // rests: far below 64 MiB
  for (int round = 0; round < 6; ++round) ASSERT_TRUE(member.checkpoint(m, step(m, 30, round)).is_ok());
  member.process.advance(60 * io::kSecond);
  EXPECT_GT(member.store->stats().dead_records, 0u);
  EXPECT_EQ(member.cleaner.stats().runs, 0u);
  bool done = false;
  member.cleaner.round([&] { done = true; });
  EXPECT_TRUE(member.cleaner.stats().round_running);
  member.process.advance(60 * io::kSecond);
  EXPECT_TRUE(done);
  EXPECT_FALSE(member.cleaner.stats().round_running);
  EXPECT_EQ(member.store->stats().dead_records, 0u);
  EXPECT_GT(member.cleaner.stats().round_seconds_last, 0);
  expect_holds(member, m);
}

TEST(Cleaner, DamageIsNotCopiedOn) {
  FakeDisk disk;
  Model m;
  CleanedMember member(&disk);
  for (int round = 0; round < 6; ++round) ASSERT_TRUE(member.checkpoint(m, step(m, 30, round)).is_ok());
  std::string victim;
  for (const auto& s : member.store->pin_manifest().segments)
    if (victim.empty() && s.dead.count > 0) victim = kDir + "/" + segment_file_name(s.number);
  disk.damage(victim, 64 + 30, 0x10);
  member.settle();
  EXPECT_TRUE(disk.files(victim).size() == 1) << "it stays as it is, for whoever looks at it";
  EXPECT_GT(member.cleaner.stats().runs_failed, 0u);
  EXPECT_GT(member.store->stats().damage_found, 0u);
  EXPECT_GT(member.cleaner.stats().runs, 0u) << "the others are cleaned all the same";
  EXPECT_EQ(disk.files("/seg-").size(), member.store->stats().segments) << "abandoned output is removed";
}

TEST(Cleaner, AFailedWriteIsAbandonedAndTriedAgain) {
  FakeDisk disk;
  Model m;
  CleanedMember member(&disk);
  for (int round = 0; round < 6; ++round) ASSERT_TRUE(member.checkpoint(m, step(m, 30, round)).is_ok());
  disk.fail_writes = 1;
  member.process.advance(1500 * io::kMillisecond);
  EXPECT_EQ(member.cleaner.stats().runs_failed, 1u);
  member.settle();
  EXPECT_EQ(member.store->stats().dead_records, 0u);
  EXPECT_EQ(disk.files("/seg-").size(), member.store->stats().segments);
  expect_holds(member, m);
  for (int round = 6; round < 9; ++round) ASSERT_TRUE(member.checkpoint(m, step(m, 30, round)).is_ok());
  member.may_swap = false;
  member.process.advance(5 * io::kSecond);
  disk.fail_syncs = 1000;
  member.may_swap = true;
  member.process.advance(5 * io::kSecond);
  EXPECT_NE(member.status.message().find("fatal"), std::string::npos) << member.status.to_string();
}

TEST(Cleaner, KeepsItsPaceAndOneManifestASecond) {
  FakeDisk disk;
  Model m;
  CleanerOptions slow = eager();
  slow.bytes_per_second_min = 1000;
  slow.dead_percent_urgent = 101;
  slow.piece_bytes = 500;
  slow.dead_bytes_min = 1 << 30;
  slow.join_segments_min = 1000;
  CleanedMember member(&disk, slow);
  for (int round = 0; round < 6; ++round) ASSERT_TRUE(member.checkpoint(m, step(m, 30, round)).is_ok());
  member.process.advance(3 * io::kSecond);  // the log's rate is forgotten
  io::Nanos began = member.process.now();
  bool done = false;
  member.cleaner.round([&] { done = true; });
  while (!done) member.process.advance(100 * io::kMillisecond);
  double seconds = static_cast<double>(member.process.now() - began) / io::kSecond;
  const CleanerStats& s = member.cleaner.stats();
  EXPECT_GT(seconds, static_cast<double>(s.bytes_read) / 1000 * 0.8);
  EXPECT_LT(seconds, static_cast<double>(s.bytes_read) / 1000 * 1.5 + 2 * static_cast<double>(s.runs) + 2);
  EXPECT_GE(seconds, static_cast<double>(s.runs) - 1);
}

TEST(Cleaner, LargeFilesGoInSteps) {
  FakeDisk disk;
  Model m;
  OpenArgs args = tiny();
  args.options.reap_step_bytes = 1000;
  CleanedMember member(&disk, eager(), args);
  for (int round = 0; round < 3; ++round) ASSERT_TRUE(member.checkpoint(m, step(m, 30, round)).is_ok());
  member.settle();
  EXPECT_EQ(disk.files("/seg-").size(), member.store->stats().segments);
  EXPECT_GT(disk.truncations, 3u);
  expect_holds(member, m);
}

}  // namespace
}  // namespace fairlead::storage
