// What can be learnt of a cluster from outside, gathered at one moment from all of its members at once: who answers,
// what each says of itself, its alarms, its page of metrics, its clock. Facts only; findings.h judges them.
//
// A member is asked at the endpoint that was given for it, else at the URLs that it advertises. Works on etcd too; what
// only Fairlead's metrics say is absent there. Nothing is written. Threads: one call at a time; it starts some of its
// own.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ctl/client.h"
#include "ctl/metrics.h"

namespace fairlead::ctl {

// One member, or a given endpoint that belongs to none.
struct MemberView {
  bool listed = false;   // the cluster knows it
  pb::Member member;     // if so
  std::string endpoint;  // where it was asked; "" where it has no address yet
  bool given = false;    // the endpoint was on the command line

  bool answers = false;
  std::string error;          // why not
  pb::StatusResponse status;  // where it answers
  std::string read_error;     // of a linearizable read through it; "" where that went well
  double read_seconds = 0;
  double round_trip_seconds = 0;  // of the fastest of some short calls

  std::optional<Metrics> metrics;
  std::string metrics_error;
  std::optional<double> clock_ahead_seconds;  // of this machine's clock, half a round trip taken off
  double clock_error_seconds = 0;             // at most so much wrong

  std::string name() const;  // for people: its name, or its id, or its endpoint
  bool is_leader() const { return answers && status.leader() != 0 && status.leader() == status.header().member_id(); }
  bool fairlead() const { return metrics && metrics->has("fairlead_uptime_seconds"); }
  // Bytes that the quota counts: etcd compares the size of its file, Fairlead what the records need.
  int64_t quota_bytes_used() const { return fairlead() ? status.dbsizeinuse() : status.dbsize(); }
};

struct Survey {
  std::vector<MemberView> members;    // of the cluster, in the list's order; without a list, whoever answers
  std::vector<MemberView> strangers;  // given endpoints of another cluster, or that no member answers at
  bool have_list = false;
  std::string list_error;
  bool list_may_be_old = false;  // read from one member without asking the others
  uint64_t cluster_id = 0;
  std::vector<pb::AlarmMember> alarms;
  std::string alarms_error;

  size_t voters() const;
  size_t voters_answering() const;
  size_t quorum() const { return voters() / 2 + 1; }
  const MemberView* leader() const;
  const MemberView* by_id(uint64_t id) const;
  std::string name_of(uint64_t id) const;
};

struct SurveyOptions {
  bool metrics = true;
  // Where the pages of metrics are, in the place of the members' client URLs (--metrics-urls); the member is told by
  // the page itself.
  std::vector<std::string> metrics_urls;
};
// `token`: filled by the first survey that logs in, so that later ones need not.
Survey take_survey(const ClientOptions& options, const SurveyOptions& what, std::string& token);

}  // namespace fairlead::ctl
