#include "server/mvcc/side.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace fairlead::mvcc {
namespace {

// What files would hold after each checkpoint.
class Disk {
 public:
  void take(FrozenTail tail) {
    SidePosition last{};
    size_t bytes = 0;
    for (const auto& [position, bytes_of_record] : tail.side) {
      EXPECT_LT(last, position);
      last = position;
      if (bytes_of_record.empty()) continue;
      bytes += bytes_of_record.size();
      EXPECT_TRUE(records_.emplace(position, bytes_of_record).second);
    }
    EXPECT_EQ(bytes, tail.bytes);
    for (SidePosition p : tail.dead_side) EXPECT_EQ(records_.erase(p), 1u) << "dead but not there: " << p.applied;
  }
  SideTable loaded() const {
    SideTable table;
    for (const auto& [position, bytes] : records_) {
      std::string_view in = bytes;
      auto record = decode_side_record(in);
      EXPECT_TRUE(record.is_ok() && record->position == position);
      table.load(*record);
    }
    return table;
  }
  size_t size() const { return records_.size(); }

 private:
  std::map<SidePosition, std::string> records_;
};

FrozenTail freeze(SideTable& table) {
  const size_t expected = table.changed_bytes();
  FrozenTail tail;
  table.freeze(tail);
  EXPECT_EQ(tail.bytes, expected);
  EXPECT_EQ(table.changed_bytes(), 0u);
  return tail;
}

TEST(SideTable, FilesHoldTheNewestRecordOfEachIdAndNothingElse) {
  std::mt19937_64 rng(7);
  SideTable table;
  Disk disk;
  std::map<std::string, std::string> model;
  for (uint64_t i = 1; i <= 20'000; ++i) {
    std::string id = std::to_string(rng() % 300);
    if (rng() % 3 == 0) {
      EXPECT_EQ(table.erase(SideKind::kLease, id), model.erase(id) == 1);
    } else {
      model[id] = "payload " + std::to_string(i);
      table.set(SideKind::kLease, id, model[id], {i, 0});
    }
    if (rng() % 500 != 0) continue;
    disk.take(freeze(table));
    SideTable again = disk.loaded();
    EXPECT_EQ(disk.size(), model.size());
    EXPECT_EQ(again.hash(), table.hash());
    if (rng() % 4 == 0) table = std::move(again);  // a restart
  }
  for (const auto& [id, payload] : model) {
    ASSERT_NE(table.find(SideKind::kLease, id), nullptr);
    EXPECT_EQ(*table.find(SideKind::kLease, id), payload);
  }
}

// The keyspace notes its checksum at its own last entry when it is frozen; later entries may have been others'.
TEST(SideTable, ARecordOfAnEarlierEntryTakesItsPlaceAmongTheChanges) {
  SideTable table;
  Disk disk;
  table.set(SideKind::kAlarm, "a", "", {12, 0});
  table.set(SideKind::kAlarm, "b", "", {13, 0});
  table.set(SideKind::kKeyspace, "chain", "1", {11, 9});
  disk.take(freeze(table));
  table.set(SideKind::kKeyspace, "chain", "2", {14, 9});
  disk.take(freeze(table));
  EXPECT_EQ(disk.size(), 3u);
  EXPECT_EQ(*disk.loaded().find(SideKind::kKeyspace, "chain"), "2");
}

TEST(SideTable, WhatIsOverwrittenAgainAndAgainDoesNotGrow) {
  SideTable table;
  size_t once = 0;
  for (uint64_t i = 1; i <= 100'000; ++i) {
    table.set(SideKind::kNode, "version", "3.7.0", {i, 0});
    if (i == 1) once = table.changed_bytes();
    ASSERT_LE(table.changed_bytes(), once + 4);
  }
  EXPECT_LE(freeze(table).side.size(), 200u);
}

}  // namespace
}  // namespace fairlead::mvcc
