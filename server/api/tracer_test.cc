#include "server/api/tracer.h"

#include <gtest/gtest.h>

namespace fairlead::api {
namespace {

TEST(TraceParent, IsW3cs) {
  const std::string good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  auto parsed = parse_traceparent(good);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->trace[0], 0x0a);
  EXPECT_EQ(parsed->trace[15], 0x9c);
  EXPECT_EQ(parsed->span[7], 0x31);
  EXPECT_TRUE(parsed->sampled());
  EXPECT_FALSE(parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")->sampled());
  EXPECT_TRUE(parse_traceparent("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes-later"));
  for (std::string bad : {std::string(), good + "-x", good + "-", std::string("ff") + good.substr(2),
                          good.substr(0, 54), std::string("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                          std::string("00-00000000000000000000000000000000-b7ad6b7169203331-01"),
                          std::string("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"),
                          std::string("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-09"),
                          std::string("00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01"), std::string("junk")})
    EXPECT_FALSE(parse_traceparent(bad)) << bad;
}

TEST(Sampling, IsByTheTraceId) {
  TraceId low{}, high{};
  low[0] = high[0] = 0xff;  // only the last eight bytes count
  high.fill(0xff);
  EXPECT_FALSE(is_sampled(low, 0));
  EXPECT_TRUE(is_sampled(low, 1));
  EXPECT_FALSE(is_sampled(high, 999'999));
  EXPECT_TRUE(is_sampled(high, 1'000'000));
  TraceId middle{};
  middle[8] = 0x80;
  EXPECT_FALSE(is_sampled(middle, 500'000));
  EXPECT_TRUE(is_sampled(middle, 500'001));
}

}  // namespace
}  // namespace fairlead::api
