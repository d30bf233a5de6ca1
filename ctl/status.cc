// status: one screen that answers "is my cluster fine, and if not, why".
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>

#include "ctl/findings.h"
#include "ctl/go_format.h"
#include "ctl/screen.h"
#include "ctl/verbs.h"

namespace fairlead::ctl {
namespace {

using Json = nlohmann::ordered_json;

const char* role_of(const MemberView& v) {
  return v.is_leader() ? "leader" : v.member.islearner() ? "learner" : "follower";
}

// 0: not known. A member looks at its disk every ten seconds.
int64_t free_disk(const MemberView& v) {
  return v.metrics ? static_cast<int64_t>(v.metrics->value("fairlead_disk_free_bytes")) : 0;
}

std::string size_text(int64_t bytes) { return go_bytes(static_cast<uint64_t>(std::max<int64_t>(bytes, 0))); }

std::vector<std::string> row_of(const Survey& s, const MemberView& v) {
  if (!v.answers)
    return {v.name(), v.endpoint.empty() ? "-" : v.endpoint, "-", "-", "-", "-", "-", "-", "-", "-", "down"};
  const pb::StatusResponse& r = v.status;
  const MemberView* leader = s.leader();
  uint64_t ahead = leader ? leader->status.raftappliedindex() : 0;
  std::string quota = r.dbsizequota() > 0 ? std::to_string(v.quota_bytes_used() * 100 / r.dbsizequota()) + "% of " +
                                                size_text(r.dbsizequota())
                                          : "none";
  int64_t free_bytes = free_disk(v);
  std::string free = free_bytes > 0 ? size_text(free_bytes) : "-";
  return {v.name(),
          v.endpoint,
          role_of(v),
          r.version(),
          size_text(r.dbsize()),
          quota,
          free,
          std::to_string(r.raftappliedindex()),
          std::to_string(ahead > r.raftappliedindex() ? ahead - r.raftappliedindex() : 0),
          milliseconds(v.round_trip_seconds),
          v.read_error.empty() ? "ok" : "failing"};
}

std::string first_line(const Findings& findings) {
  auto many = [&](Level level) {
    return std::count_if(findings.begin(), findings.end(), [&](const Finding& f) { return f.level == level; });
  };
  auto fails = many(Level::kFail), warns = many(Level::kWarn);
  if (fails > 0) return "The cluster is NOT fine.";
  if (warns > 0)
    return "The cluster is fine, with " + std::to_string(warns) + (warns == 1 ? " warning." : " warnings.");
  return "The cluster is fine.";
}

void print_screen(const Survey& s, const Findings& findings) {
  printf("%s\n", first_line(findings).c_str());
  print_findings(findings, Level::kWarn);
  const MemberView* leader = s.leader();
  if (s.cluster_id != 0) {
    printf("\nCluster %s, %zu %s, leader %s", go_hex16(s.cluster_id).c_str(), s.members.size(),
           s.members.size() == 1 ? "member" : "members", leader ? leader->name().c_str() : "unknown");
    if (leader)
      printf(", term %llu, revision %lld", static_cast<unsigned long long>(leader->status.raftterm()),
             static_cast<long long>(leader->status.header().revision()));
    printf("\n");
  }
  if (s.list_may_be_old)
    printf("(The members are as one of them knows them: no quorum could be asked. %s)\n", s.list_error.c_str());
  std::vector<std::vector<std::string>> rows;
  for (const MemberView& v : s.members) rows.push_back(row_of(s, v));
  if (!rows.empty())
    printf("\n%s", columns({"MEMBER", "ENDPOINT", "ROLE", "VERSION", "DB SIZE", "QUOTA USED", "DISK FREE", "APPLIED",
                            "BEHIND", "ROUND TRIP", "HEALTH"},
                           rows)
                       .c_str());
}

Json member_json(const Survey& s, const MemberView& v) {
  Json m = {{"name", v.member.name()}, {"id", go_hex(v.member.id())}, {"endpoint", v.endpoint}, {"answers", v.answers}};
  if (!v.answers) {
    m["error"] = v.error;
    return m;
  }
  const pb::StatusResponse& r = v.status;
  const MemberView* leader = s.leader();
  uint64_t ahead = leader ? leader->status.raftappliedindex() : 0;
  m["role"] = role_of(v);
  m["version"] = r.version();
  m["dbSize"] = r.dbsize();
  m["dbSizeInUse"] = r.dbsizeinuse();
  m["dbSizeQuota"] = r.dbsizequota();
  m["raftTerm"] = r.raftterm();
  m["raftAppliedIndex"] = r.raftappliedindex();
  m["behind"] = ahead > r.raftappliedindex() ? ahead - r.raftappliedindex() : 0;
  m["revision"] = r.header().revision();
  m["roundTripSeconds"] = v.round_trip_seconds;
  m["healthy"] = v.read_error.empty();
  if (!v.read_error.empty()) m["error"] = v.read_error;
  if (v.clock_ahead_seconds) m["clockAheadSeconds"] = *v.clock_ahead_seconds;
  if (int64_t free = free_disk(v); free > 0) m["diskFreeBytes"] = free;
  return m;
}

void print_json(const Survey& s, const Findings& findings) {
  const MemberView* leader = s.leader();
  Json members = Json::array();
  for (const MemberView& v : s.members) members.push_back(member_json(s, v));
  Json out = {{"fine", worst(findings) != Level::kFail},
              {"clusterId", s.cluster_id == 0 ? "" : go_hex(s.cluster_id)},
              {"leader", leader ? leader->name() : ""},
              {"findings", findings_json(findings, Level::kWarn)},
              {"members", members}};
  printf("%s\n", out.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
}

void status(Context& c) {
  Format format = screen_format(c);
  ClientOptions options = client_options(c);
  std::string token;
  Survey survey = take_survey(options, survey_options(c), token);
  Findings findings = judge_service(survey, limits_of(c));
  format == Format::kJson ? print_json(survey, findings) : print_screen(survey, findings);
  if (worst(findings) == Level::kFail) leave(kExitError);
}

}  // namespace

void add_status_verb(Command& root) {
  add_survey_flags(
      root.add("status", "Says on one screen whether the cluster is fine, and if not, why and what to do", status)
          .describe("Says on one screen whether the cluster is fine, and if not, why and what to do.\n\n"
                    "All members are asked, also those that --endpoints does not name. Exit code 0: fine, "
                    "perhaps with warnings; 1: not fine."));
}

}  // namespace fairlead::ctl
