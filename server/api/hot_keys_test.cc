#include "server/api/hot_keys.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <set>

#include "server/net/test_world.h"

namespace fairlead::api {
namespace {

const HotKeys::Hot* find(const HotKeys::Report& report, std::string_view prefix, bool whole_key) {
  for (const HotKeys::Hot& h : report.hot)
    if (h.prefix == prefix && h.whole_key == whole_key) return &h;
  return nullptr;
}

TEST(HotKeys, FindsTheBusyPrefixAmongManyKeys) {
  net::test::TestLoop loop;
  HotKeys hot(loop);
  std::mt19937 random(7);
  for (int i = 0; i < 400'000; ++i) {
    auto number = std::to_string(random() % 100'000);
    if (i % 4 != 0)
      hot.saw_read("/registry/pods/default/pod-" + number);
    else if (i % 8 == 0)
      hot.saw_write("/registry/leases/node-1");
    else
      hot.saw_read(number + "/" + std::to_string(random()));
  }
  HotKeys::Report report = hot.report(10);
  EXPECT_LE(report.hot.size(), 10u);
  EXPECT_NEAR(static_cast<double>(report.requests), 400'000, 20'000);
  const HotKeys::Hot* pods = find(report, "/registry/pods/default/", false);
  ASSERT_NE(pods, nullptr);
  EXPECT_NEAR(static_cast<double>(pods->reads), 300'000, 20'000);
  EXPECT_EQ(pods->writes, 0u);
  EXPECT_EQ(find(report, "/registry/pods/", false), nullptr) << "says no more than the longer one";
  const HotKeys::Hot* lease = find(report, "/registry/leases/node-1", true);
  ASSERT_NE(lease, nullptr);
  EXPECT_NEAR(static_cast<double>(lease->writes), 50'000, 10'000);
  EXPECT_NE(find(report, "/registry/", false), nullptr) << "the sum of both";
}

// Whatever is reported was seen: the algorithm's error goes into nobody's figure.
TEST(HotKeys, NeverReportsMoreThanWasSeen) {
  PrefixCounts counts(8);
  std::map<std::string, uint64_t> truth;
  std::mt19937 random(3);
  for (int i = 0; i < 20'000; ++i) {
    std::string key = "k" + std::to_string(static_cast<int>(std::pow(random() % 1000, 2) / 20'000));
    ++truth[key];
    counts.add(key, true, random() % 2 == 0);
    ASSERT_LE(counts.all().size(), 8u);
  }
  uint64_t ranks = 0;
  for (const PrefixCounts::Counter& c : counts.all()) {
    EXPECT_LE(c.reads + c.writes, truth[c.prefix]);
    EXPECT_GE(c.rank(), truth[c.prefix]);
    ranks += c.rank();
  }
  EXPECT_EQ(ranks, 20'000u) << "each request is in one counter";
}

TEST(HotKeys, ARhythmHidesNothing) {
  net::test::TestLoop loop;
  HotKeys hot(loop);
  for (int i = 0; i < 160'000; ++i) hot.saw_read(i % static_cast<int>(HotKeys::kSampleOneIn) == 3 ? "third" : "other");
  HotKeys::Report report = hot.report(10);
  const HotKeys::Hot* third = find(report, "third", true);
  ASSERT_NE(third, nullptr);
  EXPECT_NEAR(static_cast<double>(third->reads), 10'000, 3'000);
}

TEST(HotKeys, SpeaksOfTheLastSecondsOnly) {
  net::test::TestLoop loop;
  HotKeys hot(loop);
  auto ask = [&](const std::string& key) {
    for (int i = 0; i < 3200; ++i) hot.saw_read(key);
  };
  ask("old");
  EXPECT_NE(find(hot.report(9), "old", true), nullptr);
  loop.advance(HotKeys::kWindow + io::kSecond);
  ask("new");
  HotKeys::Report both = hot.report(9);
  EXPECT_NE(find(both, "old", true), nullptr);
  EXPECT_NE(find(both, "new", true), nullptr);
  EXPECT_NEAR(both.seconds, 10, 1.1);
  loop.advance(HotKeys::kWindow + io::kSecond);
  HotKeys::Report later = hot.report(9);
  EXPECT_EQ(find(later, "old", true), nullptr);
  EXPECT_NE(find(later, "new", true), nullptr);
  loop.advance(5 * HotKeys::kWindow);
  EXPECT_TRUE(hot.report(9).hot.empty());
  EXPECT_EQ(hot.report(9).requests, 0u);
}

TEST(HotKeys, LongKeysAndManySeparatorsAreBounded) {
  net::test::TestLoop loop;
  HotKeys hot(loop);
  std::string deep;
  for (int i = 0; i < 200; ++i) deep += "/x";
  for (int i = 0; i < 1600; ++i) hot.saw_write(deep), hot.saw_write(std::string(5000, 'k')), hot.saw_write("");
  HotKeys::Report report = hot.report(100);
  std::set<std::string> seen;
  for (const HotKeys::Hot& h : report.hot) {
    EXPECT_LE(h.prefix.size(), HotKeys::kShownBytesMax);
    EXPECT_TRUE(h.prefix.size() < HotKeys::kShownBytesMax || !h.whole_key) << "cut, so it is no key";
    seen.insert(h.prefix);
  }
  EXPECT_TRUE(seen.contains(std::string(HotKeys::kShownBytesMax, 'k')));
  EXPECT_TRUE(seen.contains(""));
}

}  // namespace
}  // namespace fairlead::api
