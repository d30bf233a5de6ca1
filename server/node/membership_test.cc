#include "server/node/membership.h"

#include <gtest/gtest.h>

namespace fairlead::node {
namespace {

// What etcd prints for a member that is started without any flags.
TEST(Membership, IdentitiesAreEtcds) {
  MemberId id = bootstrap_member_id({"http://localhost:2380"}, "etcd-cluster");
  EXPECT_EQ(id.value, 0x8e9e05c52164694dull);
  EXPECT_EQ(bootstrap_cluster_id({id}).value, 0xcdf818194e3a8c32ull);
}

TEST(Membership, UrlsAreSortedBeforeHashing) {
  EXPECT_EQ(bootstrap_member_id({"http://b:1", "http://a:1"}, "t"),
            bootstrap_member_id({"http://a:1", "http://b:1"}, "t"));
  EXPECT_NE(bootstrap_member_id({"http://a:1"}, "t"), bootstrap_member_id({"http://a:1"}, "u"));
}

TEST(Membership, RecordsSurviveEncodingAndDamageIsRefused) {
  Member m;
  m.id = MemberId(7);
  m.name = "a";
  m.peer_urls = {"http://a:1", "http://b:1"};
  m.client_urls = {"http://a:2"};
  m.store = StoreId(99);
  m.start_counter = 300;
  std::string bytes = encode_member(m);
  auto back = decode_member(bytes);
  ASSERT_TRUE(back.is_ok());
  EXPECT_EQ(*back, m);
  for (size_t n = 0; n < bytes.size(); ++n)
    EXPECT_FALSE(decode_member(std::string_view(bytes).substr(0, n)).is_ok()) << n;
  bytes[0] = 9;
  EXPECT_FALSE(decode_member(bytes).is_ok());
}

TEST(Membership, EqualUrlsOfTwoMembersAreRefused) {
  EXPECT_FALSE(bootstrap_members({{"a", {"http://x:1"}}, {"b", {"http://x:1"}}}, "t").is_ok());
  auto members = bootstrap_members({{"a", {"http://x:1"}}, {"b", {"http://y:1"}}}, "t");
  ASSERT_TRUE(members.is_ok());
  EXPECT_EQ(members->size(), 2u);
}

}  // namespace
}  // namespace fairlead::node
