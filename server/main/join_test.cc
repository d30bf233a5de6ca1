#include "server/main/join.h"

#include <gtest/gtest.h>

namespace fairlead::server {
namespace {

constexpr const char* kPage =
    R"([{"id":4785989427610656417,"peerURLs":["http://127.0.0.1:1"],"name":"m1","clientURLs":["http://127.0.0.1:9"]},)"
    R"({"id":10335757225087683268,"peerURLs":["http://127.0.0.1:3","http://127.0.0.1:2"],"isLearner":true}])";

TEST(Join, ReadsThePageOfAMember) {
  auto join = read_members_page(kPage, "10fd0d884e1302c7");
  ASSERT_TRUE(join.is_ok());
  EXPECT_EQ(join->cluster.value, 0x10fd0d884e1302c7u);
  ASSERT_EQ(join->members.size(), 2u);
  EXPECT_EQ(join->members.at(MemberId(4785989427610656417u)).name, "m1");
  EXPECT_TRUE(join->members.at(MemberId(10335757225087683268u)).is_learner);
}

TEST(Join, RefusesWhatIsNoPage) {
  for (const char* body : {"", "{}", "[]", "[1]", "[{}]", R"([{"id":-1,"peerURLs":[]}])", R"([{"id":1,"peerURLs":1}])"})
    EXPECT_FALSE(read_members_page(body, "1").is_ok()) << body;
  EXPECT_FALSE(read_members_page(kPage, "").is_ok());
  EXPECT_FALSE(read_members_page(kPage, "xyz").is_ok());
}

TEST(Join, FindsItselfByItsUrlsInAnyOrder) {
  auto join = read_members_page(kPage, "1");
  ASSERT_TRUE(join.is_ok());
  InitialCluster cluster = {{"m1", {"http://127.0.0.1:1"}}, {"new", {"http://127.0.0.1:2", "http://127.0.0.1:3"}}};
  ASSERT_TRUE(find_self(cluster, "new", 1, *join).is_ok());
  EXPECT_EQ(join->member.value, 10335757225087683268u);
}

TEST(Join, SaysWhatDoesNotFit) {
  auto join = *read_members_page(kPage, "1");
  InitialCluster cluster = {{"m1", {"http://127.0.0.1:1"}}, {"new", {"http://127.0.0.1:2", "http://127.0.0.1:3"}}};
  auto text = [&](const InitialCluster& c, const std::string& name, size_t learners_max) {
    return std::string(find_self(c, name, learners_max, join).message());
  };
  EXPECT_NE(text(cluster, "other", 1).find("couldn't find local name"), std::string::npos);
  EXPECT_EQ(text(cluster, "new", 0), "membership: too many learner members in cluster");
  InitialCluster fewer = {{"new", {"http://127.0.0.1:2", "http://127.0.0.1:3"}}};
  EXPECT_NE(text(fewer, "new", 1).find("member count is unequal"), std::string::npos);
  cluster["m1"] = {"http://127.0.0.1:7"};
  EXPECT_NE(text(cluster, "new", 1).find("no match found for existing member (426b4006f3821ea1"), std::string::npos);
}

TEST(Join, NobodyToAsk) {
  auto join = ask_cluster({{"only", {"http://127.0.0.1:1"}}}, "only", 1);
  ASSERT_FALSE(join.is_ok());
  EXPECT_NE(join.status().message().find("could not retrieve cluster information"), std::string_view::npos);
}

}  // namespace
}  // namespace fairlead::server
