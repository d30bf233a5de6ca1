#include "server/node/version.h"

#include <gtest/gtest.h>

namespace fairlead::node {
namespace {

TEST(Version, LevelsAsEtcdReadsThem) {
  for (std::string_view text : {"3.6", "3.6.0", "3.6.9", "3.6.0-alpha.1", "3.6.0+build"}) {
    auto level = parse_level(text);
    ASSERT_TRUE(level) << text;
    EXPECT_EQ(to_version(*level), "3.6.0") << text;
  }
  for (std::string_view text : {"", "3", "v3.6", "3.6.", "3.x", "3.6.0.0", "-1.2.3", "3.6-alpha", "3..6", " 3.6"})
    EXPECT_FALSE(parse_level(text)) << text;
}

TEST(Version, RecordsAndChangesRoundTrip) {
  ClusterVersion v{"3.7.0", true, "3.6.0"};
  Result<ClusterVersion> back = decode_cluster_version(encode_cluster_version(v));
  ASSERT_TRUE(back.is_ok());
  EXPECT_EQ(back->version, "3.7.0");
  EXPECT_EQ(back->downgrade_target, "3.6.0");
  EXPECT_FALSE(decode_cluster_version("").is_ok());
  EXPECT_FALSE(decode_cluster_version(encode_cluster_version({"x", false, ""})).is_ok());
  EXPECT_FALSE(decode_cluster_version(encode_cluster_version(v) + "x").is_ok());
  EXPECT_FALSE(decode_version_change("\x09").is_ok());
  EXPECT_FALSE(decode_version_change(encode_version_change({VersionChange::Kind::kSet, "?"})).is_ok());
}

// The life of a downgrade: decided, enabled, lowered, cancelled, raised again.
TEST(Version, DownAndUpAgain) {
  ClusterVersion v;
  EXPECT_EQ(check_downgrade(v, {3, 6}).message(), "etcdserver: cluster version not found during downgrade");
  auto step = [&](ApiLevel members) {
    auto change = next_version_change(v, members);
    if (change) apply_version_change(*decode_version_change(encode_version_change(*change)), v);
    return change.has_value();
  };
  EXPECT_TRUE(step({3, 7}));
  EXPECT_EQ(v.version, "3.7.0");
  EXPECT_FALSE(step({3, 7}));
  EXPECT_EQ(check_downgrade(v, {3, 5}).message(), "etcdserver: invalid downgrade target version");
  EXPECT_EQ(check_downgrade(v, {3, 7}).message(), "etcdserver: invalid downgrade target version");
  ASSERT_TRUE(check_downgrade(v, {3, 6}).is_ok());
  apply_version_change({VersionChange::Kind::kEnableDowngrade, "3.6.0"}, v);
  EXPECT_EQ(check_downgrade(v, {3, 6}).message(), "etcdserver: cluster has a downgrade job in progress");
  EXPECT_TRUE(step({3, 7}));
  EXPECT_EQ(v.version, "3.6.0");
  EXPECT_FALSE(step({3, 7}));  // stays there while it is enabled
  apply_version_change({VersionChange::Kind::kCancelDowngrade, {}}, v);
  EXPECT_TRUE(step({3, 7}));
  EXPECT_EQ(v.version, "3.7.0");
}

TEST(Version, MembersThatHaveArrivedEndTheDowngrade) {
  ClusterVersion v{"3.6.0", true, "3.6.0"};
  auto change = end_of_downgrade(v, {3, 6});
  ASSERT_TRUE(change);
  EXPECT_EQ(change->kind, VersionChange::Kind::kCancelDowngrade);
  EXPECT_FALSE(end_of_downgrade(v, {3, 7}));
  EXPECT_FALSE(end_of_downgrade({"3.6.0", true, ""}, {3, 6}));
  EXPECT_FALSE(next_version_change(v, {3, 6}));
  EXPECT_FALSE(next_version_change({"4.0.0", false, ""}, {3, 7}));  // never another major one
}

}  // namespace
}  // namespace fairlead::node
