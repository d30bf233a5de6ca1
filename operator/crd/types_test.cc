#include "operator/crd/types.h"

#include <gtest/gtest.h>

namespace fairlead::crd {
namespace {

using nlohmann::json;

json minimal() { return {{"metadata", {{"name", "demo"}, {"namespace", "ns"}, {"uid", "u1"}, {"generation", 2}}}}; }

TEST(Types, DefaultsOfAnEmptySpec) {
  auto cluster = parse_cluster(minimal());
  ASSERT_TRUE(cluster.is_ok()) << cluster.status().to_string();
  EXPECT_EQ(cluster->spec.replicas, 3);
  EXPECT_EQ(cluster->spec.image, kDefaultImage);
  EXPECT_EQ(cluster->spec.storage.size, "1Gi");
  EXPECT_EQ(cluster->spec.storage.reclaim, "Delete");
  EXPECT_FALSE(cluster->spec.storage.fix_permissions);
  EXPECT_FALSE(cluster->status.intent.recorded);
  EXPECT_EQ(cluster->meta.generation, 2);
  EXPECT_FALSE(cluster->meta.terminating);
}

TEST(Types, ErrorsNameTheField) {
  const std::pair<json, std::string> cases[] = {
      {{{"replicas", "three"}}, "spec.replicas: want an integer, got a string"},
      {{{"replicas", 4}}, "spec.replicas: want 1, 3 or 5, got 4"},
      {{{"storage", {{"size", "much"}}}}, "spec.storage.size: \"much\" is not a quantity"},
      {{{"storage", 7}}, "spec.storage: want an object, got a number"},
      {{{"storage", {{"reclaim", "Burn"}}}}, "spec.storage.reclaim: want Delete or Retain, got \"Burn\""},
      {{{"bootstrap", {{"mode", "DNSSRV"}}}}, "spec.bootstrap.mode: want Static, got \"DNSSRV\""},
      {{{"image", json::array()}}, "spec.image: want a string, got a array"},
  };
  for (const auto& [spec, message] : cases) {
    json object = minimal();
    object["spec"] = spec;
    auto cluster = parse_cluster(object);
    ASSERT_FALSE(cluster.is_ok()) << spec;
    EXPECT_EQ(cluster.status().message().substr(0, message.size()), message);
  }
  EXPECT_EQ(parse_cluster(json::array()).status().message(), ": want an object, got a array");
}

TEST(Types, StatusSurvivesARoundTrip) {
  ClusterStatus status;
  status.observed_generation = 3;
  status.cluster_id = "00000000000000ab";
  status.intent.recorded = true;
  status.intent.token = "demo-u1";
  status.intent.members = {{"demo-a", "m1", "v1", "000000000000000b"}, {"demo-b", "", "", ""}};
  status.intent.target = {3, "img:1", "1Gi", "fast", {{"limits", {{"cpu", "1"}}}}};
  status.ready_replicas = 2;
  status.leader = "demo-a";
  status.members = {{"demo-a", "000000000000000b", true, "Leader", "3.7.1", "v1", "Healthy"}};
  status.conditions = {{"Ready", "False", "MemberNotReady", "m", 3, "2026-11-21T16:00:00Z"}};
  json object = minimal();
  object["status"] = to_json(status);
  auto cluster = parse_cluster(object);
  ASSERT_TRUE(cluster.is_ok()) << cluster.status().to_string();
  EXPECT_TRUE(cluster->status.intent.recorded);
  EXPECT_EQ(to_json(cluster->status), object["status"]);
}

TEST(Types, ABrokenIntentIsRefusedNotGuessed) {
  json object = minimal();
  object["status"] = {{"intent", {{"token", "t"}, {"members", {{{"name", "a"}, {"memberID", "zz"}}}}}}};
  EXPECT_EQ(parse_cluster(object).status().message(), "status.intent.members[0].memberID: \"zz\" is not a hex ID");
  object["status"] = {{"intent", {{"token", "t"}, {"members", {{{"volumeUID", "v"}}}}}}};
  EXPECT_EQ(parse_cluster(object).status().message(), "status.intent.members[0].name: want a string, got nothing");
}

TEST(Types, OnlyTheControllerOwnerCounts) {
  json object = minimal();
  object["metadata"]["ownerReferences"] = {{{"uid", "other"}}, {{"uid", "boss"}, {"controller", true}}};
  object["metadata"]["finalizers"] = {"a/b", kMemberFinalizer};
  object["metadata"]["deletionTimestamp"] = "2026-11-21T16:00:00Z";
  auto meta = parse_meta(object);
  ASSERT_TRUE(meta.is_ok());
  EXPECT_EQ(meta->owner_uid, "boss");
  EXPECT_TRUE(meta->has_finalizer(kMemberFinalizer));
  EXPECT_FALSE(meta->has_finalizer(kClusterFinalizer));
  EXPECT_TRUE(meta->terminating);
}

TEST(Quantity, ParsesAndFormats) {
  EXPECT_EQ(*parse_quantity("1Gi"), 1 << 30);
  EXPECT_EQ(*parse_quantity("1.5Ki"), 1536);
  EXPECT_EQ(*parse_quantity("2M"), 2000000);
  EXPECT_EQ(*parse_quantity("17"), 17);
  EXPECT_EQ(*parse_quantity("500m"), 1);
  for (const char* bad : {"", "Gi", "1Xi", "-1", "1..2", "99Ei"}) EXPECT_FALSE(parse_quantity(bad).is_ok()) << bad;
  EXPECT_EQ(format_quantity(1 << 30), "1Gi");
  EXPECT_EQ(format_quantity(1536), "1536");
  EXPECT_EQ(format_quantity(0), "0");
  EXPECT_EQ(human_size(20480), "20 KiB");
  EXPECT_EQ(human_size(1610612736), "1.5 GiB");
}

TEST(Hex, RoundTrip) {
  EXPECT_EQ(to_hex(0xab), "00000000000000ab");
  EXPECT_EQ(*parse_hex("cdf818194e3a8c32"), 0xcdf818194e3a8c32u);
  for (const char* bad : {"", "0x1", "AB", "00000000000000000"}) EXPECT_FALSE(parse_hex(bad).is_ok()) << bad;
}

TEST(Time, RoundTrip) {
  for (const char* text :
       {"1970-01-01T00:00:00Z", "2024-02-29T23:59:59Z", "2026-11-21T16:00:00Z", "2026-12-31T00:00:01Z"}) {
    auto ms = parse_rfc3339(text);
    ASSERT_TRUE(ms.is_ok());
    EXPECT_EQ(rfc3339(*ms), text);
  }
  EXPECT_EQ(*parse_rfc3339("2026-11-21T16:00:00Z"), 1795276800000);
  EXPECT_FALSE(parse_rfc3339("2026-11-21 16:00").is_ok());
}

TEST(Conditions, TransitionTimeMovesOnlyWithTheStatus) {
  const std::vector<Condition> old = {{"Ready", "True", "A", "", 1, "t0"}, {"Degraded", "False", "B", "", 1, "t0"}};
  auto merged = merge_conditions(old, {{"Ready", "True", "C", "", 2, ""}, {"Degraded", "True", "D", "", 2, ""}}, "t1");
  EXPECT_EQ(merged[0].last_transition_time, "t0");
  EXPECT_EQ(merged[0].reason, "C");
  EXPECT_EQ(merged[1].last_transition_time, "t1");
}

}  // namespace
}  // namespace fairlead::crd
