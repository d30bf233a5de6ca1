#include "server/node/autocompact.h"

#include <gtest/gtest.h>

#include "server/io/sim/world.h"

namespace fairlead::node {
namespace {

using io::kSecond;
constexpr io::Nanos kMinute = 60 * kSecond, kHour = 60 * kMinute;

TEST(AutoCompaction, RetentionsAsEtcdReadsThem) {
  auto period = [](const char* text) { return parse_auto_compaction("periodic", text)->period; };
  EXPECT_EQ(period("0"), 0);
  EXPECT_EQ(period("5"), 5 * kHour);
  EXPECT_EQ(period("5m"), 5 * kMinute);
  EXPECT_EQ(period("1h30m"), 90 * kMinute);
  EXPECT_EQ(parse_auto_compaction("revision", "1000")->revisions, 1000);
  EXPECT_TRUE(parse_auto_compaction("periodic", "0")->off());
  for (auto [mode, text] : {std::pair{"periodic", "soon"},
                            {"periodic", ""},
                            {"periodic", "-1"},
                            {"revision", "5m"},
                            {"", "1"},
                            {"daily", "1"},
                            {"periodic", "9999999999999999"}})
    EXPECT_FALSE(parse_auto_compaction(mode, text).is_ok()) << mode << " " << text;
}

struct Compactions : testing::Test {
  Compactions() : sim(1) {
    sim.add_host("10.0.0.1");
    world = sim.start_process(0);
  }
  ~Compactions() override { compactor.reset(); }
  void start(AutoCompaction rule) {
    sim.post(0, [=, this] {
      compactor = std::make_unique<AutoCompactor>(
          world, rule,
          AutoCompactor::Store{[this] { return revision; }, [this] { return leader; },
                               [this](int64_t at, std::function<void(const Status&)> done) {
                                 asked.push_back(at);
                                 done(answer);
                               }});
    });
    sim.run_for(kSecond);
  }
  // One revision a minute.
  void minutes(int n) {
    for (int i = 0; i < n; ++i) {
      sim.run_for(kMinute);
      ++revision;
    }
  }
  io::sim::SimWorld sim;
  io::World world;
  int64_t revision = 1;
  bool leader = true;
  Status answer;
  std::vector<int64_t> asked;
  std::unique_ptr<AutoCompactor> compactor;
};

TEST_F(Compactions, PeriodicKeepsAPeriod) {
  start({AutoCompaction::Mode::kPeriodic, 2 * kHour, 0});
  minutes(119);
  EXPECT_TRUE(asked.empty());
  minutes(6);
  ASSERT_EQ(asked.size(), 1u);  // after two hours, what was current at the start
  EXPECT_EQ(asked[0], 1);
  minutes(60);
  ASSERT_EQ(asked.size(), 2u);  // then each hour
  EXPECT_NEAR(static_cast<double>(asked[1]), 61, 7);
}

TEST_F(Compactions, ShortPeriods) {
  start({AutoCompaction::Mode::kPeriodic, 5 * kMinute, 0});
  minutes(31);
  EXPECT_GE(asked.size(), 5u);
  for (size_t i = 1; i < asked.size(); ++i) EXPECT_GT(asked[i], asked[i - 1]);
  EXPECT_LE(asked.back(), revision - 4);
}

TEST_F(Compactions, OnlyTheLeaderAndOnlyOnce) {
  leader = false;
  start({AutoCompaction::Mode::kPeriodic, 5 * kMinute, 0});
  minutes(30);
  EXPECT_TRUE(asked.empty());
  leader = true;
  minutes(1);
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_NEAR(static_cast<double>(asked[0]), static_cast<double>(revision) - 6, 2);
  sim.run_for(20 * kMinute);  // nothing new is written
  size_t quiet = asked.size();
  sim.run_for(60 * kMinute);
  EXPECT_EQ(asked.size(), quiet);
}

TEST_F(Compactions, AFailureIsTriedAgain) {
  answer = unavailable("no leader");
  start({AutoCompaction::Mode::kPeriodic, 5 * kMinute, 0});
  minutes(7);
  size_t failed = asked.size();
  EXPECT_GE(failed, 2u);
  answer = Status(Code::kOutOfRange, "mvcc: required revision has been compacted");
  minutes(1);
  size_t done = asked.size();
  minutes(3);
  EXPECT_EQ(asked.size(), done);  // "compacted already" counts as done
}

TEST_F(Compactions, ByRevision) {
  start({AutoCompaction::Mode::kRevision, 0, 10});
  minutes(6);
  EXPECT_TRUE(asked.empty());
  minutes(10);
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0], 15 + 1 - 10 - 1);
}

}  // namespace
}  // namespace fairlead::node
