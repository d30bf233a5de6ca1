// The store on the real file system: direct writes, recycled segments, worker threads, and files that go when unpinned.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "server/io/real/world.h"
#include "server/storage/store.h"

namespace fairlead::storage {
namespace {

class RealDisk : public ::testing::TestWithParam<io::LogIo> {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "fairlead_store_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    io::RealWorld::Options options;
    options.log_io = GetParam();
    options.logger.level = io::LogLevel::kError;
    auto world = io::RealWorld::create(options);
    if (!world.is_ok()) GTEST_SKIP() << world.status().to_string();  // io_uring may be denied
    world_ = std::move(*world);
  }
  void TearDown() override {
    world_ = nullptr;
    std::filesystem::remove_all(dir_);
  }
  void run_until(const std::function<bool()>& condition) {
    for (int i = 0; i < 10000 && !condition(); ++i) world_->loop().run_turn(10 * io::kMillisecond);
    ASSERT_TRUE(condition()) << "did not happen";
  }
  Result<Store::Opened> open() {
    world_handle_ = world_->world();
    OpenArgs args;
    args.dir = dir_ + "/member";
    args.cluster = ClusterId{1};
    args.member = MemberId{2};
    args.options.log.segment_bytes = 1 << 20;
    args.options.log.first_segment_bytes = 256 << 10;
    args.options.log.cache_bytes_max = 100000;
    return Store::open(world_handle_, args);
  }
  std::string dir_;
  std::unique_ptr<io::RealWorld> world_;
  io::World world_handle_;
};

TEST_P(RealDisk, KeepsLogAndStateOverStarts) {
  uint64_t entries = 0;
  mvcc::Position last;
  for (int start = 0; start < 4; ++start) {
    auto opened = open();
    ASSERT_TRUE(opened.is_ok()) << opened.status().to_string();
    EXPECT_EQ(opened->first_start, start == 0);
    auto& log = *opened->log.log;
    auto& store = *opened->store;
    EXPECT_EQ(log.last_index().value, entries);
    WriteSeq durable;
    Status fatal;
    log.set_callbacks([&](WriteSeq upto) { durable = upto; }, [&](Status s) { fatal = s; });
    WriteSeq seq;
    for (int i = 0; i < 300; ++i) {
      raft::Entry e{Term{1}, Index{++entries}, raft::EntryType::kNormal, Bytes::take(std::string(20000, 'v'))};
      log.append(raft::HardState{Term{1}, MemberId{2}}, std::span(&e, 1), ++seq);
      if (i % 10 == 0) run_until([&] { return durable == seq; });
    }
    run_until([&] { return durable == seq; });
    EXPECT_TRUE(fatal.is_ok());
    bool read = false;  // the oldest are only on disk
    log.read(log.first_index(), log.last_index() + 1, 1 << 20, [&](Result<Log::Entries> r) {
      ASSERT_TRUE(r.is_ok()) << r.status().to_string();
      EXPECT_GT(r->size(), 30u);
      EXPECT_EQ(r->front().data.size(), 20000u);
      read = true;
    });
    run_until([&] { return read; });

    auto tail = std::make_shared<mvcc::FrozenTail>();
    for (int i = 0; i < 2000; ++i) {
      mvcc::KeyRecord r;
      last = r.position = {2 + start * 2000 + i, 0};
      std::string key = "key" + std::to_string(i * 7919 % 2000);
      std::string value(static_cast<size_t>(i % 500), 'x');
      r.key = key;
      r.value = value;
      std::string record;
      mvcc::append_key_record(record, r);
      tail->records.push_back({r.position, Bytes::take(record)});
      if (start > 0) tail->dead_keys.push_back({r.position.main - 2000, 0});
    }
    tail->revision = last.main;
    CheckpointArgs args;
    args.applied = Index{entries};
    args.applied_term = Term{1};
    args.log_position = log.durable_position();
    args.tail = tail;
    Status status = internal_error("not called");
    store.checkpoint(args, [&](Status s) { status = s; });
    run_until([&] { return status.message() != "not called"; });
    ASSERT_TRUE(status.is_ok()) << status.to_string();
    log.release(Index{entries + 1});
    run_until([&] { return log.idle() && log.stats().segments <= 3; });
    EXPECT_EQ(store.stats().segments, 1u) << "the round before is wholly dead";
    EXPECT_EQ(store.stats().records, 2000u);
    bool got = false;
    store.read(store.pin(), {last, {last.main - 1, 0}}, [&](Result<Store::Records> r) {
      ASSERT_TRUE(r.is_ok()) << r.status().to_string();
      std::string_view raw = (*r)[0].view();
      EXPECT_EQ(mvcc::decode_key_record(raw)->position, last);
      got = true;
    });
    run_until([&] { return got; });
    auto second = open();
    EXPECT_EQ(second.code(), Code::kFailedPrecondition) << "locked";
    bool stopped = false;
    log.stop([&] { stopped = true; });
    run_until([&] { return stopped; });
  }
  size_t files = 0;
  for (auto& entry : std::filesystem::directory_iterator(dir_ + "/member"))
    files += entry.path().filename().string().starts_with("seg-");
  EXPECT_LE(files, 2u) << "the last round's file, and perhaps one whose removal the stop overtook";
}

INSTANTIATE_TEST_SUITE_P(Writers, RealDisk, ::testing::Values(io::LogIo::kUring, io::LogIo::kPwrite),
                         [](const auto& info) { return info.param == io::LogIo::kUring ? "Uring" : "Pwrite"; });

}  // namespace
}  // namespace fairlead::storage
