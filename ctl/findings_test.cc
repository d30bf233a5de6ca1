#include "ctl/findings.h"

#include <gtest/gtest.h>

#include "ctl/progress.h"

namespace fairlead::ctl {
namespace {

constexpr int64_t kNow = 1'800'000'000;
constexpr int64_t kDay = 86400;

MemberView member(uint64_t id, const std::string& page = "") {
  MemberView v;
  v.listed = v.answers = true;
  v.member.set_id(id);
  v.member.set_name("m" + std::to_string(id));
  v.member.add_peerurls("http://10.0.0." + std::to_string(id) + ":2380");
  v.endpoint = "10.0.0." + std::to_string(id) + ":2379";
  v.status.mutable_header()->set_member_id(id);
  v.status.mutable_header()->set_cluster_id(7);
  v.status.set_leader(1);
  v.status.set_version("3.7.1");
  v.status.set_raftterm(3);
  v.status.set_raftappliedindex(20'000);
  v.status.set_dbsize(1000);
  v.status.set_dbsizeinuse(500);
  v.status.set_dbsizequota(10'000);
  v.round_trip_seconds = 0.001;
  v.clock_ahead_seconds = 0;
  v.metrics = Metrics("fairlead_uptime_seconds 5\netcd_debugging_mvcc_current_revision 100\n" + page);
  return v;
}

Survey healthy() {
  Survey s;
  s.have_list = true;
  s.cluster_id = 7;
  s.members = {member(1), member(2), member(3)};
  return s;
}

Findings judged(const Survey& s, const Survey* earlier = nullptr) {
  Findings out = judge_service(s, Limits());
  for (Finding& f : judge_health(s, earlier, Limits())) out.push_back(std::move(f));
  return out;
}

// "level check member" of all that is not well.
std::vector<std::string> complaints(const Findings& findings) {
  std::vector<std::string> out;
  for (const Finding& f : findings) {
    EXPECT_FALSE(f.text.empty());
    EXPECT_EQ(f.advice.empty(), f.level == Level::kOk) << f.text;
    if (f.level != Level::kOk)
      out.push_back(std::string(level_name(f.level)) + " " + f.check + (f.member.empty() ? "" : " " + f.member));
  }
  return out;
}
using Lines = std::vector<std::string>;

TEST(Findings, AHealthyClusterHasNone) {
  Findings all = judged(healthy());
  EXPECT_EQ(complaints(all), Lines());
  EXPECT_GE(all.size(), 8u) << "what was looked at is said";
}

TEST(Findings, WhoDoesNotAnswer) {
  Survey s = healthy();
  s.members[1].answers = false;
  s.members[1].error = "connection refused";
  EXPECT_EQ(complaints(judged(s)), (Lines{"fail members m2", "warn quorum"}));
  s.members[2].answers = false;
  EXPECT_EQ(complaints(judged(s)), (Lines{"fail members m2", "fail members m3", "fail quorum"}));
  s.members[0].answers = false;
  EXPECT_EQ(complaints(judged(s)), (Lines{"fail members m1", "fail members m2", "fail members m3", "fail quorum"}));
}

TEST(Findings, MembersThatWereForgotten) {
  Survey s = healthy();
  s.members.push_back(member(4));
  s.members[3].answers = false;
  s.members[3].member.clear_name();
  EXPECT_EQ(complaints(judged(s)), (Lines{"warn members 4", "warn quorum", "warn size"}))
      << "unstarted, and four votes";
  s.members[3] = member(4);
  s.members[3].member.set_islearner(true);
  s.members[3].status.set_islearner(true);
  EXPECT_EQ(complaints(judged(s)), (Lines{"warn learners m4"}));
  s.members.resize(1);
  EXPECT_EQ(complaints(judged(s)), (Lines{"warn size"}));
}

TEST(Findings, LeaderReadsLagAndAnotherCluster) {
  Survey s = healthy();
  for (MemberView& v : s.members) v.status.set_leader(0);
  EXPECT_EQ(complaints(judged(s)), (Lines{"fail leader m1", "fail leader m2", "fail leader m3"}));
  s = healthy();
  s.members[2].status.set_leader(2);
  EXPECT_EQ(complaints(judged(s)), (Lines{"warn leader"}));
  s = healthy();
  s.members[2].read_error = "etcdserver: request timed out";
  s.members[1].status.set_raftappliedindex(14'999);
  EXPECT_EQ(complaints(judged(s)), (Lines{"fail reads m3", "fail lag m2"}));
  s = healthy();
  MemberView other = member(9);
  other.status.mutable_header()->set_cluster_id(8);
  s.strangers.push_back(other);
  EXPECT_EQ(complaints(judged(s)), (Lines{"fail cluster-id 10.0.0.9:2379"}));
}

TEST(Findings, AlarmsAndQuota) {
  Survey s = healthy();
  pb::AlarmMember alarm;
  alarm.set_memberid(2);
  alarm.set_alarm(pb::NOSPACE);
  s.alarms = {alarm};
  s.members[1].status.set_dbsizeinuse(9900);
  EXPECT_EQ(complaints(judged(s)), (Lines{"fail alarms m2", "fail quota m2"}));
  s.alarms.clear();
  s.members[1].status.set_dbsizeinuse(8500);
  EXPECT_EQ(complaints(judged(s)), (Lines{"warn quota m2"}));
  s.members[1].status.set_dbsizeinuse(500);
  s.members[1].status.set_dbsize(9900);
  EXPECT_EQ(complaints(judged(s)), Lines()) << "files with dead records in them are not the quota's";
  s.members[1].metrics = Metrics("");
  EXPECT_EQ(complaints(judged(s)), (Lines{"fail quota m2"})) << "but an etcd's file is";
  alarm.set_alarm(pb::CORRUPT);
  s = healthy();
  s.alarms = {alarm};
  EXPECT_EQ(complaints(judged(s)), (Lines{"fail alarms m2"}));
}

TEST(Findings, ClocksThatAreSurelyApart) {
  Survey s = healthy();
  s.members[1].clock_ahead_seconds = 0.9;
  EXPECT_EQ(complaints(judged(s)), (Lines{"warn clock m2"}));
  s.members[1].clock_ahead_seconds = -60;
  EXPECT_EQ(complaints(judged(s)), (Lines{"fail clock m1"})) << "the one ahead is named";
  s.members[1].clock_ahead_seconds = 0.9;
  s.members[1].clock_error_seconds = 0.5;
  EXPECT_EQ(complaints(judged(s)), Lines()) << "it may be the measurement";
}

std::string log_writes(int fast, int slow) {
  std::string name = "etcd_disk_wal_fsync_duration_seconds";
  return name + "_bucket{le=\"0.008\"} " + std::to_string(fast) + "\n" + name + "_bucket{le=\"0.256\"} " +
         std::to_string(fast + slow) + "\n" + name + "_bucket{le=\"+Inf\"} " + std::to_string(fast + slow) + "\n" +
         name + "_sum 1\n" + name + "_count " + std::to_string(fast + slow) + "\n";
}

TEST(Findings, ASlowDiskNowOrEver) {
  Survey s = healthy(), before = healthy();
  s.members[0] = member(1, log_writes(900, 100));
  EXPECT_EQ(complaints(judged(s)), (Lines{"warn disk m1"}));
  before.members[0] = member(1, log_writes(700, 100));
  EXPECT_EQ(complaints(judged(s, &before)), Lines()) << "it was slow, and is no more";
  before.members[0] = member(1, log_writes(900, 50));
  EXPECT_EQ(complaints(judged(s, &before)), (Lines{"warn disk m1"}));
  s.members[0] = member(1, log_writes(0, 5));
  EXPECT_EQ(complaints(judged(s)), Lines()) << "five writes say nothing";
}

TEST(Findings, WhatMetricsSayOfAMachine) {
  Survey s = healthy();
  s.members[0] = member(1,
                        "process_open_fds 900\nprocess_max_fds 1000\nprocess_resident_memory_bytes "
                        "97\nfairlead_memory_limit_bytes 100\n");
  s.members[1] = member(2,
                        "fairlead_disk_free_bytes 1000\netcd_network_active_peers{Local=\"2\",Remote=\"1\"} 0\n"
                        "etcd_network_active_peers{Local=\"2\",Remote=\"3\"} 1\n");
  s.members[2].round_trip_seconds = 0.2;
  EXPECT_EQ(complaints(judged(s)),
            (Lines{"warn free-disk m2", "warn files m1", "fail memory m1", "fail peers m2", "warn network m3"}));
}

TEST(Findings, RoundTripsBetweenMembers) {
  Survey s = healthy();
  std::string name = "etcd_network_peer_round_trip_time_seconds";
  s.members[0] = member(1, name + "_bucket{To=\"3\",le=\"0.1\"} 2\n" + name + "_bucket{To=\"3\",le=\"0.4\"} 30\n" +
                               name + "_bucket{To=\"3\",le=\"+Inf\"} 30\n" + name + "_sum{To=\"3\"} 6\n" + name +
                               "_count{To=\"3\"} 30\n");
  EXPECT_EQ(complaints(judged(s)), (Lines{"warn peers m1"}));
}

TEST(Findings, HistoryAndVersions) {
  Survey s = healthy();
  s.members[0] = member(1, "etcd_debugging_mvcc_keys_total 10\n");
  s.members[0].metrics = Metrics(
      "fairlead_uptime_seconds 5\netcd_debugging_mvcc_current_revision 50000\netcd_debugging_mvcc_keys_total 10\n");
  EXPECT_EQ(complaints(judged(s)), (Lines{"warn compaction"}));
  s.members[0].metrics = Metrics(
      "fairlead_uptime_seconds 5\netcd_debugging_mvcc_current_revision 50000\n"
      "etcd_debugging_mvcc_compact_revision 49000\netcd_debugging_mvcc_keys_total 10\n");
  EXPECT_EQ(complaints(judged(s)), Lines());
  s.members[1].status.set_version("3.6.0");
  EXPECT_EQ(complaints(judged(s)), (Lines{"warn version"}));
  s.members[2].status.set_version("3.5.9");
  EXPECT_EQ(complaints(judged(s)), (Lines{"fail version"}));
}

TEST(Findings, Certificates) {
  Certificate good{"CN=m1", "CN=ca", {"m1"}, kNow - kDay, kNow + 365 * kDay, false};
  Certificate soon = good, ended = good, later = good;
  soon.not_after = kNow + 5 * kDay;
  ended.not_after = kNow - 2 * kDay;
  later.not_before = kNow + kDay;
  auto of = [&](const Certificate& c, const std::string& verify = "", const std::string& error = "") {
    return complaints(judge_certificates({{"m1", "https://m1:2379", {c}, verify, error}}, Limits(), kNow));
  };
  EXPECT_EQ(of(good), Lines());
  EXPECT_EQ(of(soon), (Lines{"warn certificates m1"}));
  EXPECT_EQ(of(ended, "certificate has expired"), (Lines{"fail certificates m1"})) << "said once";
  EXPECT_EQ(of(later), (Lines{"fail certificates m1"}));
  EXPECT_EQ(of(good, "it is not for m2"), (Lines{"fail certificates m1"}));
  EXPECT_EQ(of(good, "", "no such file"), (Lines{"fail certificates m1"}));
  EXPECT_TRUE(judge_certificates({}, Limits(), kNow).empty());
}

TEST(Findings, TheDiskHere) {
  EXPECT_EQ(judge_disk({"/d", "", std::vector<double>(256, 0.001)}, Limits()).level, Level::kOk);
  EXPECT_EQ(judge_disk({"/d", "", std::vector<double>(256, 0.2)}, Limits()).level, Level::kWarn);
  EXPECT_EQ(judge_disk({"/d", "", std::vector<double>(256, 0.9)}, Limits()).level, Level::kFail);
  EXPECT_EQ(judge_disk({"/d", "Permission denied", {}}, Limits()).level, Level::kFail);
}

TEST(Metrics, ReadsPagesAndQuantiles) {
  Metrics m(
      "# HELP x y\n# TYPE x counter\nx 3\ny{a=\"1\",b=\"q\\\"\\\\\\n,}\"} 4\ny{a=\"2\"} 5 1234567\nbroken{ 1\nz "
      "+Inf\n");
  EXPECT_EQ(m.value("x"), 3);
  EXPECT_EQ(m.value("y"), 9);
  EXPECT_EQ(m.value("y", {{"b", "q\"\\\n,}"}}), 4);
  EXPECT_FALSE(m.has("broken"));
  Metrics::Histogram h = Metrics(log_writes(90, 10)).histogram("etcd_disk_wal_fsync_duration_seconds");
  EXPECT_EQ(h.count, 100);
  EXPECT_NEAR(h.quantile(0.45), 0.004, 1e-9);
  EXPECT_NEAR(h.quantile(0.95), 0.132, 1e-9);
  EXPECT_EQ(Metrics::Histogram().quantile(0.5), 0);
  Metrics::Histogram earlier = Metrics(log_writes(90, 0)).histogram("etcd_disk_wal_fsync_duration_seconds");
  EXPECT_EQ(h.since(earlier).count, 10);
  EXPECT_GT(h.since(earlier).quantile(0.01), 0.008);
  EXPECT_EQ(earlier.since(h).count, 90) << "a server that began anew";
}

TEST(Progress, CountsAndFits) {
  EXPECT_EQ(bar_text({0, 60, 0, 40}), "0 / 60 [___________________] 0.00% 0 p/s");
  std::string half = bar_text({30, 60, 10, 60});
  EXPECT_EQ(half.size(), 60u);
  EXPECT_NE(half.find("-->___"), std::string::npos) << half;
  EXPECT_NE(half.find("] 50.00% 3 p/s"), std::string::npos) << half;
  EXPECT_EQ(bar_text({60, 60, 1, 60}).find('_'), std::string::npos);
  EXPECT_LE(bar_text({1, 3'000'000, 1, 10}).size(), 60u);
  EXPECT_EQ(bytes_text({12'000'000, 60'000'000, 1, 80}), "12 MB of 60 MB (20%)  ");
}

}  // namespace
}  // namespace fairlead::ctl
