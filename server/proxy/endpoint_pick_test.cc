#include "server/proxy/endpoint_pick.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace fairlead::proxy {
namespace {

std::map<size_t, int> draw(EndpointSet& set, int times) {
  std::mt19937_64 random(7);
  std::map<size_t, int> out;
  for (int i = 0; i < times; ++i) ++out[set.pick(random()).value()];
  return out;
}

TEST(EndpointPick, WithoutWeightsTheyTakeTurns) {
  EndpointSet set({{"a:1"}, {"b:1"}, {"c:1"}});
  std::vector<size_t> order;
  for (int i = 0; i < 6; ++i) order.push_back(set.pick(static_cast<uint64_t>(i) * 31).value());
  EXPECT_EQ(order, (std::vector<size_t>{0, 1, 2, 0, 1, 2}));
}

TEST(EndpointPick, WeightsAreShares) {
  EndpointSet set({{"a:1", 1, 10}, {"b:1", 1, 30}, {"c:1", 1, 60}});
  auto drawn = draw(set, 100'000);
  EXPECT_NEAR(drawn[0], 10'000, 600);
  EXPECT_NEAR(drawn[1], 30'000, 900);
  EXPECT_NEAR(drawn[2], 60'000, 900);
}

TEST(EndpointPick, OneWithoutWeightBesideWeightedOnesIsRare) {
  EndpointSet set({{"a:1", 1, 1}, {"b:1", 1, 0}});
  auto drawn = draw(set, 100'000);
  EXPECT_NEAR(drawn[1], 1000, 200);
}

TEST(EndpointPick, ALowerPriorityWaitsUntilAllAboveAreGone) {
  EndpointSet set({{"a:1", 20, 5}, {"b:1", 10, 0}, {"c:1", 10, 0}, {"d:1", 65535, 0}});
  EXPECT_FALSE(draw(set, 100).contains(0));
  EXPECT_TRUE(set.set_active(1, false));
  EXPECT_FALSE(set.set_active(1, false)) << "nothing has changed";
  EXPECT_EQ(draw(set, 10).at(2), 10);
  set.set_active(2, false);
  EXPECT_EQ(draw(set, 10).at(0), 10);
  set.set_active(0, false);
  EXPECT_EQ(draw(set, 10).at(3), 10);
  set.set_active(3, false);
  EXPECT_FALSE(set.pick(1).has_value());
  set.set_active(2, true);
  EXPECT_EQ(draw(set, 10).at(2), 10);
}

TEST(EndpointPick, NoneAtAll) {
  EndpointSet set({});
  EXPECT_FALSE(set.pick(0).has_value());
}

}  // namespace
}  // namespace fairlead::proxy
