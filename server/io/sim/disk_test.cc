#include "server/io/sim/disk.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string>

namespace fairlead::io::sim {
namespace {

class SimDiskTest : public testing::Test {
 protected:
  SimDiskTest() { start(); }
  void start() {
    life = std::make_shared<Incarnation>();
    disk = make_sim_disk(&image, life, [](std::function<void()> done) { done(); });
  }
  // Files that the test still holds are of the dead life: they have no effect any more.
  void end(bool power_cut) {
    life->alive = false;
    if (power_cut)
      image.power_cut();
    else
      image.process_killed();
    start();
  }
  std::string read(const std::string& path) {
    auto file = disk->open(path, OpenMode::kRead);
    if (!file.is_ok()) return "(" + std::string(code_name(file.code())) + ")";
    std::string out(*(*file)->size(), 0);
    EXPECT_EQ(*(*file)->read_at(0, out), out.size());
    return out;
  }
  void make(const std::string& path, std::string_view data, bool sync, bool sync_dir) {
    auto file = disk->open(path, OpenMode::kCreate);
    ASSERT_TRUE(file.is_ok()) << file.status().to_string();
    ASSERT_TRUE((*file)->write_at(0, data).is_ok());
    if (sync) {
      ASSERT_TRUE((*file)->sync().is_ok());
    }
    if (sync_dir) {
      ASSERT_TRUE(disk->sync_dir("").is_ok());
    }
  }

  Scheduler scheduler;
  DiskImage image{&scheduler, 7};
  Life life;
  std::unique_ptr<Disk> disk;
};

TEST_F(SimDiskTest, WhatIsSyncedSurvivesAnythingAndAKillLosesNothing) {
  make("a", "synced", true, true);
  make("b", "unsynced", false, false);
  end(false);
  EXPECT_EQ(read("a"), "synced");
  EXPECT_EQ(read("b"), "unsynced") << "a killed process's writes are still seen";
  for (int i = 0; i < 20; ++i) {
    end(true);
    EXPECT_EQ(read("a"), "synced");
  }
}

TEST_F(SimDiskTest, AKillDoesNotMakeDurable) {
  int lost = 0;
  for (int i = 0; i < 40; ++i) {
    std::string name = "f" + std::to_string(i);
    make(name, "new", false, true);
    end(false);
    EXPECT_EQ(read(name), "new");
    end(true);
    lost += read(name) != "new";
  }
  EXPECT_GT(lost, 5);
}

TEST_F(SimDiskTest, APowerCutLosesAnySubsetOfUnsyncedSectorsAndTearsWrites) {
  std::set<std::string> outcomes;
  for (int i = 0; i < 300; ++i) {
    std::string name = "f" + std::to_string(i);
    make(name, std::string(4 * kSectorBytes, 'o'), true, true);
    auto file = disk->open(name, OpenMode::kReadWrite);
    ASSERT_TRUE((*file)->write_at(0, std::string(4 * kSectorBytes, 'n')).is_ok());
    end(true);
    std::string back = read(name);
    ASSERT_EQ(back.size(), 4 * kSectorBytes);
    std::string shape;
    for (size_t s = 0; s < 4; ++s) {
      shape += back[s * kSectorBytes];
      EXPECT_EQ(back.substr(s * kSectorBytes, kSectorBytes), std::string(kSectorBytes, shape.back()));
    }
    outcomes.insert(shape);
    ASSERT_TRUE(disk->remove(name).is_ok());
    ASSERT_TRUE(disk->sync_dir("").is_ok());
  }
  EXPECT_GE(outcomes.size(), 12u) << "of 16";
  EXPECT_TRUE(outcomes.count("oooo") && outcomes.count("nnnn") && outcomes.count("onon"));
}

TEST_F(SimDiskTest, NamesNeedTheirDirectorySynced) {
  int lost = 0, kept = 0;
  for (int i = 0; i < 60; ++i) {
    std::string old_name = "old" + std::to_string(i), new_name = "new" + std::to_string(i);
    make(old_name, "data", true, true);
    ASSERT_TRUE(disk->rename(old_name, new_name).is_ok());
    EXPECT_EQ(read(new_name), "data");
    end(true);
    bool moved = disk->exists(new_name);
    EXPECT_NE(moved, disk->exists(old_name)) << "a rename is atomic";
    EXPECT_EQ(read(moved ? new_name : old_name), "data");
    (moved ? kept : lost)++;
  }
  EXPECT_GT(lost, 5);
  EXPECT_GT(kept, 5);
  make("x", "data", true, true);
  ASSERT_TRUE(disk->rename("x", "y").is_ok());
  ASSERT_TRUE(disk->sync_dir("").is_ok());
  end(true);
  EXPECT_EQ(read("y"), "data");
}

TEST_F(SimDiskTest, AFileInADirectoryWhoseNameIsLostIsLost) {
  int lost = 0;
  for (int i = 0; i < 40; ++i) {
    std::string dir = "d" + std::to_string(i);
    ASSERT_TRUE(disk->make_dirs(dir).is_ok());
    make(dir + "/f", "data", true, false);
    ASSERT_TRUE(disk->sync_dir(dir).is_ok());
    end(true);
    EXPECT_EQ(read(dir + "/f"), disk->exists(dir) ? "data" : "(NOT_FOUND)");
    lost += !disk->exists(dir);
  }
  EXPECT_GT(lost, 5);
}

TEST_F(SimDiskTest, DurableWritesAreDurableWhenToldAndNotBefore) {
  int lost = 0, torn = 0;
  for (int i = 0; i < 200; ++i) {
    std::string name = "log" + std::to_string(i);
    {
      auto file = disk->open(name, OpenMode::kLog);
      ASSERT_TRUE(disk->sync_dir("").is_ok());
      auto block = std::make_shared<AlignedBuffer>(kDiskBlockBytes);
      std::memset(block->data(), 'a', block->size());
      bool told = false;
      (*file)->write_durable(0, block, block->size(), [&](Status status) { told = status.is_ok(); });
      EXPECT_FALSE(told);
      scheduler.run_until(scheduler.now() + kSecond);
      ASSERT_TRUE(told);
      auto second = std::make_shared<AlignedBuffer>(kDiskBlockBytes);
      std::memset(second->data(), 'b', second->size());
      (*file)->write_durable(kDiskBlockBytes, second, second->size(),
                             [](Status) { ADD_FAILURE() << "told to the dead"; });
      end(true);
    }
    scheduler.run_until(scheduler.now() + kSecond);
    std::string back = read(name);
    ASSERT_EQ(back.substr(0, kDiskBlockBytes), std::string(kDiskBlockBytes, 'a'));
    std::string rest = back.substr(kDiskBlockBytes);
    rest.resize(kDiskBlockBytes);
    bool whole = rest == std::string(kDiskBlockBytes, 'b');
    bool none = rest == std::string(kDiskBlockBytes, '\0');
    lost += none;
    torn += !none && !whole;
  }
  EXPECT_GT(lost, 20);
  EXPECT_GT(torn, 20);
}

TEST_F(SimDiskTest, AFailedSyncIsNotMadeGoodByALaterOne) {
  make("f", "old", true, true);
  auto file = disk->open("f", OpenMode::kReadWrite);
  ASSERT_TRUE((*file)->write_at(0, "new").is_ok());
  image.fail_next_sync(1);
  EXPECT_FALSE((*file)->sync().is_ok());
  EXPECT_TRUE((*file)->sync().is_ok());
  EXPECT_EQ(read("f"), "new");
  end(true);
  EXPECT_EQ(read("f"), "old");
}

TEST_F(SimDiskTest, CrashPointsMeetEveryOperation) {
  for (uint64_t n = 1; n <= 4; ++n) {
    for (bool before : {true, false}) {
      std::string name = "c" + std::to_string(n) + (before ? "b" : "a");
      image.crash_at_operation(n, before);
      std::string reached = "";
      EXPECT_THROW(
          {
            auto file = disk->open(name, OpenMode::kCreate);  // 1
            reached += "o";
            ASSERT_TRUE((*file)->write_at(0, "x").is_ok());  // 2
            reached += "w";
            ASSERT_TRUE((*file)->sync().is_ok());  // 3
            reached += "s";
            ASSERT_TRUE(disk->sync_dir("").is_ok());  // 4
            reached += "d";
          },
          ProcessGone);
      EXPECT_EQ(reached.size(), n - 1);
      EXPECT_FALSE(disk->remove(name).is_ok()) << "the dead change nothing";
      end(false);
      EXPECT_EQ(disk->exists(name), !(n == 1 && before));
      if (n > 2 || (n == 2 && !before)) {
        EXPECT_EQ(read(name), "x");
      }
    }
  }
}

TEST_F(SimDiskTest, FaultsOnDemand) {
  make("f", std::string(8192, 'x'), true, true);
  ASSERT_TRUE(image.flip_bit("f", 5000, 0).is_ok());
  EXPECT_EQ(read("f")[5000], 'x' ^ 1);
  ASSERT_TRUE(image.set_unreadable("f", 4096, 512).is_ok());
  auto file = disk->open("f", OpenMode::kReadWrite);
  char buffer[100];
  EXPECT_TRUE((*file)->read_at(0, buffer).is_ok());
  EXPECT_NE((*file)->read_at(4090, buffer).status().message().find("f at 4096"), std::string::npos);
  image.faults.capacity_bytes = 10000;
  EXPECT_FALSE((*file)->write_at(8192, std::string(4096, 'y')).is_ok());
  EXPECT_TRUE((*file)->write_at(0, std::string(4096, 'y')).is_ok());
  EXPECT_FALSE(image.flip_bit("nothing", 0, 0).is_ok());
}

TEST_F(SimDiskTest, LocksEndWithTheProcess) {
  auto first = disk->lock("lock");
  ASSERT_TRUE(first.is_ok());
  EXPECT_EQ(disk->lock("lock").code(), Code::kFailedPrecondition);
  end(false);
  EXPECT_TRUE(disk->lock("lock").is_ok());
}

TEST_F(SimDiskTest, TruncatedBytesDoNotComeBackAfterASync) {
  make("f", std::string(3000, 'x'), true, true);
  auto file = disk->open("f", OpenMode::kReadWrite);
  ASSERT_TRUE((*file)->truncate(1000).is_ok());
  ASSERT_TRUE((*file)->truncate(3000).is_ok());
  EXPECT_EQ(read("f"), std::string(1000, 'x') + std::string(2000, '\0'));
  ASSERT_TRUE((*file)->sync().is_ok());
  end(true);
  EXPECT_EQ(read("f"), std::string(1000, 'x') + std::string(2000, '\0'));
}

TEST_F(SimDiskTest, AFailedWriteSaysSoAndMayHaveHappened) {
  int there = 0;
  for (int i = 0; i < 40; ++i) {
    std::string name = "w" + std::to_string(i);
    make(name, "old", true, true);
    auto file = disk->open(name, OpenMode::kReadWrite);
    image.fail_next_write(1);
    Status status = (*file)->write_at(0, "new");
    EXPECT_NE(status.message().find("Input/output error"), std::string_view::npos);
    EXPECT_TRUE((*file)->write_at(1, "e").is_ok()) << "only one fails";
    there += image.peek(name, 0, 3) == "new";
  }
  EXPECT_GT(there, 5);
  EXPECT_LT(there, 35);
  EXPECT_EQ(image.peek("nothing", 0, 3), "");
}

}  // namespace
}  // namespace fairlead::io::sim
