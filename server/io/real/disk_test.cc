#include "server/io/real/disk.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

namespace fairlead::io {
namespace {

class RealDiskTest : public testing::TestWithParam<LogIo> {
 protected:
  void SetUp() override {
    // Not the temporary directory, which may be a tmpfs: the build directory is on a disk.
    std::string pattern = (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "disk-test-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    auto disk = RealDisk::create(&loop_, GetParam());
    if (!disk.is_ok()) GTEST_SKIP() << disk.status().to_string();
    disk_ = *std::move(disk);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string path(const std::string& name) const { return dir_ + "/" + name; }

  RealLoop loop_;
  std::string dir_;
  std::unique_ptr<RealDisk> disk_;
};

TEST_P(RealDiskTest, DurableWritesCompleteInOrderAndReadBack) {
  auto file = disk_->open(path("log"), OpenMode::kLog);
  ASSERT_TRUE(file.is_ok()) << file.status().to_string();
  ASSERT_TRUE((*file)->reserve(4 << 20).is_ok());
  EXPECT_EQ(*(*file)->size(), 4u << 20);
  std::vector<int> order;
  constexpr int kWrites = 200;  // more than the kernel is given at once
  uint64_t offset = 0;
  for (int i = 0; i < kWrites; ++i) {
    size_t size = kDiskBlockBytes * static_cast<size_t>(1 + i % 3);
    auto buffer = std::make_shared<AlignedBuffer>(size);
    std::memset(buffer->data(), i + 1, size);
    (*file)->write_durable(offset, buffer, size, [&, i](Status status) {
      EXPECT_TRUE(status.is_ok()) << status.to_string();
      order.push_back(i);
      if (order.size() == kWrites) loop_.stop();
    });
    offset += size;
  }
  EXPECT_TRUE(order.empty()) << "not inside the call";
  loop_.run();
  for (int i = 0; i < kWrites; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
  offset = 0;
  for (int i = 0; i < kWrites; ++i) {
    size_t size = kDiskBlockBytes * static_cast<size_t>(1 + i % 3);
    std::string back(size - 10, 0);  // odd places and sizes
    ASSERT_EQ(*(*file)->read_at(offset + 7, back), back.size());
    EXPECT_EQ(back, std::string(back.size(), static_cast<char>(i + 1))) << i;
    offset += size;
  }
}

TEST_P(RealDiskTest, AFailedDurableWriteIsReported) {
  auto file = disk_->open(path("log"), OpenMode::kLog);
  ASSERT_TRUE(file.is_ok());
  signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit low = before;
  low.rlim_cur = 2 * kDiskBlockBytes;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
  Status seen;
  auto buffer = std::make_shared<AlignedBuffer>(kDiskBlockBytes);
  (*file)->write_durable(8 * kDiskBlockBytes, buffer, kDiskBlockBytes, [&](Status status) {
    seen = status;
    loop_.stop();
  });
  loop_.run();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_FALSE(seen.is_ok());
  EXPECT_NE(seen.message().find("log at 32768"), std::string::npos) << seen.to_string();
}

TEST_P(RealDiskTest, TheDiskMayGoWhileWritesAreUnderWay) {
  auto file = disk_->open(path("log"), OpenMode::kLog);
  ASSERT_TRUE(file.is_ok());
  for (int i = 0; i < 100; ++i) {
    auto buffer = std::make_shared<AlignedBuffer>(kDiskBlockBytes);
    (*file)->write_durable(static_cast<uint64_t>(i) * kDiskBlockBytes, buffer, kDiskBlockBytes,
                           [](Status) { ADD_FAILURE() << "told after the end"; });
  }
  disk_.reset();
  for (int i = 0; i < 5; ++i) loop_.run_turn(kMillisecond);
}

TEST_P(RealDiskTest, FilesAndNames) {
  ASSERT_TRUE(disk_->make_dirs(path("a/b/c")).is_ok());
  ASSERT_TRUE(disk_->make_dirs(path("a/b/c")).is_ok());
  auto file = disk_->open(path("a/b/f"), OpenMode::kCreate);
  ASSERT_TRUE(file.is_ok());
  EXPECT_EQ(disk_->open(path("a/b/f"), OpenMode::kCreate).code(), Code::kAlreadyExists);
  EXPECT_EQ(disk_->open(path("a/b/g"), OpenMode::kRead).code(), Code::kNotFound);
  ASSERT_TRUE((*file)->write_at(5, "world").is_ok());
  ASSERT_TRUE((*file)->write_at(0, "hello").is_ok());
  ASSERT_TRUE((*file)->sync().is_ok());
  char buffer[64];
  EXPECT_EQ(*(*file)->read_at(2, buffer), 8u);
  EXPECT_EQ(std::string(buffer, 8), "lloworld");
  EXPECT_EQ(*(*file)->read_at(100, buffer), 0u);
  ASSERT_TRUE((*file)->truncate(4).is_ok());
  ASSERT_TRUE((*file)->reserve(10000).is_ok());
  EXPECT_EQ(*(*file)->size(), 10000u);
  ASSERT_TRUE((*file)->reserve(100).is_ok());
  EXPECT_EQ(*(*file)->size(), 100u);
  ASSERT_TRUE(disk_->rename(path("a/b/f"), path("a/b/e")).is_ok());
  ASSERT_TRUE(disk_->sync_dir(path("a/b")).is_ok());
  EXPECT_EQ(*disk_->list(path("a/b")), (std::vector<std::string>{"c", "e"}));
  EXPECT_TRUE(disk_->exists(path("a/b/e")));
  EXPECT_FALSE(disk_->exists(path("a/b/f")));
  EXPECT_FALSE(disk_->remove(path("a/b")).is_ok());
  EXPECT_TRUE(disk_->remove(path("a/b/e")).is_ok());
  EXPECT_EQ(disk_->remove(path("a/b/e")).code(), Code::kNotFound);
  EXPECT_GT(*disk_->free_bytes(dir_), 0u);
  EXPECT_FALSE(disk_->list(path("nowhere")).is_ok());
}

TEST_P(RealDiskTest, ALockIsExclusiveUntilItGoes) {
  auto first = disk_->lock(path("lock"));
  ASSERT_TRUE(first.is_ok());
  auto second = disk_->lock(path("lock"));
  EXPECT_EQ(second.code(), Code::kFailedPrecondition);
  first->reset();
  EXPECT_TRUE(disk_->lock(path("lock")).is_ok());
}

TEST_P(RealDiskTest, TheModeIsNamed) {
  if (GetParam() == LogIo::kUring) {
    EXPECT_EQ(disk_->log_mode(), "uring");
  } else if (GetParam() == LogIo::kPwrite) {
    EXPECT_EQ(disk_->log_mode().substr(0, 6), "pwrite");
  } else {
    EXPECT_TRUE(disk_->log_mode() == "uring" || disk_->log_mode().starts_with("pwrite"));
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, RealDiskTest, testing::Values(LogIo::kUring, LogIo::kPwrite, LogIo::kAuto),
                         [](const auto& test) {
                           return test.param == LogIo::kUring    ? "Uring"
                                  : test.param == LogIo::kPwrite ? "Pwrite"
                                                                 : "Auto";
                         });

TEST(LogIoNames, AreParsed) {
  EXPECT_TRUE(*parse_log_io("uring") == LogIo::kUring);
  EXPECT_FALSE(parse_log_io("fast").is_ok());
}

}  // namespace
}  // namespace fairlead::io
