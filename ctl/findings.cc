// The rules of `status`: does it serve, and will it go on?
#include "ctl/findings.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "ctl/go_format.h"

namespace fairlead::ctl {
namespace {

constexpr double kQuotaWarnShare = 0.8;
constexpr double kQuotaFailShare = 0.95;
constexpr uint64_t kDiskFreeWarnBytes = 512ull << 20;

std::string count(size_t n, const char* one, const char* many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

bool asks_who(const std::string& error) {
  return error.find("user name is empty") != std::string::npos ||
         error.find("permission denied") != std::string::npos || error.find("invalid auth token") != std::string::npos;
}

void judge_answers(const Survey& s, Findings& out) {
  size_t fine = 0;
  for (const MemberView& v : s.members) {
    if (v.answers) {
      ++fine;
    } else if (v.listed && v.member.name().empty()) {
      out.push_back(
          {"members", Level::kWarn, v.name(),
           "was added with the peer URL " + (v.member.peerurls_size() > 0 ? v.member.peerurls(0) : "(none)") +
               " and has never started" + (v.member.islearner() ? "" : "; the quorum counts it already"),
           "start it with --initial-cluster-state=existing, or take it out: member remove " + go_hex(v.member.id())});
    } else if (asks_who(v.error)) {
      out.push_back({"members", Level::kFail, v.name(), "does not say how it is: " + v.error,
                     "authentication is on: give --user of somebody with the role root"});
    } else {
      out.push_back(
          {"members", Level::kFail, v.name(), "does not answer at " + v.endpoint + ": " + v.error,
           "see whether its process runs, and its log; whether the address is right and reachable from here"});
    }
  }
  for (const MemberView& v : s.strangers) {
    if (v.answers)
      out.push_back(
          {"cluster-id", Level::kFail, v.endpoint,
           "belongs to the cluster " + go_hex16(v.status.header().cluster_id()) + ", not to " + go_hex16(s.cluster_id),
           "take it out of --endpoints; where both should be one cluster, a member was started with "
           "--initial-cluster-state=new instead of joining: remove it, clear its data, add it again"});
    else if (asks_who(v.error))
      out.push_back({"members", Level::kFail, v.endpoint, "does not say how it is: " + v.error,
                     "authentication is on: give --user of somebody with the role root"});
    else
      out.push_back({"members", Level::kFail, v.endpoint, "does not answer: " + v.error,
                     s.members.empty()
                         ? "see whether a member runs there, and whether the address and the TLS flags are right"
                         : "no member says that it serves there: correct --endpoints, or see to that machine"});
  }
  if (s.members.empty())
    out.push_back({"members", Level::kFail, "", "no member could be asked", "see above; then try again"});
  else if (fine == s.members.size())
    out.push_back({"members", Level::kOk, "",
                   fine == 1 ? "the one member answers" : "all " + std::to_string(fine) + " members answer", ""});
}

void judge_quorum(const Survey& s, Findings& out) {
  if (s.members.empty() || !s.have_list) return;
  size_t up = s.voters_answering();
  std::string of = std::to_string(up) + " of " + count(s.voters(), "voting member answers", "voting members answer");
  if (up < s.quorum())
    out.push_back(
        {"quorum", Level::kFail, "", of + ", and " + std::to_string(s.quorum()) + " are needed: nothing is written",
         "bring members back; if their data is lost for good, save a snapshot of one that is left and restore "
         "the cluster from it"});
  else if (up == s.quorum() && up < s.voters())
    out.push_back({"quorum", Level::kWarn, "", of + ": one more lost and nothing is written",
                   "bring the others back before any maintenance"});
  else
    out.push_back({"quorum", Level::kOk, "", of, ""});
}

void judge_leader(const Survey& s, Findings& out) {
  if (s.voters_answering() == 0) return;
  const MemberView* leader = s.leader();
  std::set<uint64_t> said;
  bool none = false;
  for (const MemberView& v : s.members) {
    if (!v.answers) continue;
    if (v.status.leader() == 0) {
      none = true;
      out.push_back({"leader", Level::kFail, v.name(), "knows no leader",
                     "see the network between the members (peer URLs, firewall, certificates) and the members' logs"});
    } else {
      said.insert(v.status.leader());
    }
  }
  if (said.size() > 1) {
    out.push_back({"leader", Level::kWarn, "", "members name different leaders",
                   "an election may be under way: look again; "
                   "if it stays, see the network between the members"});
  } else if (!none && !leader && !said.empty()) {
    out.push_back({"leader", Level::kWarn, "",
                   "the leader is " + s.name_of(*said.begin()) + ", which does not answer here", "see above"});
  } else if (leader && !none) {
    out.push_back(
        {"leader", Level::kOk, "", leader->name() + " leads in term " + std::to_string(leader->status.raftterm()), ""});
  }
}

void judge_reads(const Survey& s, Findings& out) {
  for (const MemberView& v : s.members)
    if (v.answers && !v.read_error.empty())
      out.push_back({"reads", Level::kFail, v.name(), "a linearizable read through it fails: " + v.read_error,
                     "it does not reach the leader or a quorum: see the network between the members and its log"});
}

void judge_alarms(const Survey& s, Findings& out) {
  if (!s.alarms_error.empty() && s.alarms.empty())
    out.push_back({"alarms", Level::kWarn, "", "the alarms could not be read: " + s.alarms_error, "look again"});
  for (const pb::AlarmMember& a : s.alarms) {
    bool full = a.alarm() == pb::NOSPACE;
    const MemberView* v = s.by_id(a.memberid());
    bool fairlead = v && v->fairlead();
    out.push_back(
        {"alarms", Level::kFail, s.name_of(a.memberid()),
         full ? "the alarm NOSPACE is on: nothing but reads, deletions and compactions is accepted"
         : a.alarm() == pb::CORRUPT ? "the alarm CORRUPT is on: its data differs from the other members'"
                                    : "an unknown alarm is on",
         full ? (fairlead
                     ? "delete keys and compact, or raise --quota-backend-bytes; the alarm ends by itself when there "
                       "has been room for a while, or by `alarm disarm`"
                     : "delete keys, compact, `defrag`, then `alarm disarm`; or raise --quota-backend-bytes")
              : "take the member out (member remove), clear its data and add it again; find out what damaged it before "
                "it "
                "comes back; then `alarm disarm`"});
  }
}

void judge_quota(const Survey& s, Findings& out) {
  const MemberView* fullest = nullptr;
  double most = 0;
  for (const MemberView& v : s.members) {
    if (!v.answers || v.status.dbsizequota() <= 0) continue;
    double share = static_cast<double>(v.quota_bytes_used()) / static_cast<double>(v.status.dbsizequota());
    if (!fullest || share > most) fullest = &v, most = share;
  }
  if (!fullest) return;
  auto bytes = [](int64_t n) { return go_bytes(static_cast<uint64_t>(n)); };
  std::string text = bytes(fullest->quota_bytes_used()) + " of the quota of " + bytes(fullest->status.dbsizequota()) +
                     " are used (" + std::to_string(static_cast<int>(most * 100)) + " %)";
  Level level = most >= kQuotaFailShare ? Level::kFail : most >= kQuotaWarnShare ? Level::kWarn : Level::kOk;
  out.push_back({"quota", level, fullest->name(), text,
                 level == Level::kOk ? ""
                 : fullest->fairlead()
                     ? "at the quota writes end: delete what is not needed and compact, or raise --quota-backend-bytes"
                     : "at the quota writes end: compact and `defrag`, or raise --quota-backend-bytes"});
}

void judge_lag(const Survey& s, const Limits& limits, Findings& out) {
  const MemberView* leader = s.leader();
  if (!leader) return;
  for (const MemberView& v : s.members) {
    if (!v.answers || v.status.islearner() || v.status.raftappliedindex() >= leader->status.raftappliedindex())
      continue;
    uint64_t behind = leader->status.raftappliedindex() - v.status.raftappliedindex();
    if (behind > limits.lag_entries)
      out.push_back(
          {"lag", Level::kFail, v.name(), "is " + std::to_string(behind) + " entries behind the leader",
           "it is catching up, or its disk, its processor or its network is too slow: look again, then run doctor"});
  }
}

void judge_learners(const Survey& s, const Limits& limits, Findings& out) {
  const MemberView* leader = s.leader();
  for (const MemberView& v : s.members) {
    if (!v.listed || !v.member.islearner() || v.member.name().empty() || !v.answers || !leader) continue;
    uint64_t ahead = leader->status.raftappliedindex(), own = v.status.raftappliedindex();
    if (ahead > own + limits.lag_entries)
      out.push_back({"learners", Level::kWarn, v.name(),
                     "a learner, " + std::to_string(ahead - own) + " entries behind",
                     "it is catching up: look again, then promote it"});
    else
      out.push_back({"learners", Level::kWarn, v.name(), "a learner that has caught up and does not vote",
                     "member promote " + go_hex(v.member.id()) + ", or member remove"});
  }
}

void judge_clock(const Survey& s, const Limits& limits, Findings& out) {
  const MemberView *low = nullptr, *high = nullptr;
  for (const MemberView& v : s.members) {
    if (!v.clock_ahead_seconds) continue;
    if (!low || *v.clock_ahead_seconds < *low->clock_ahead_seconds) low = &v;
    if (!high || *v.clock_ahead_seconds > *high->clock_ahead_seconds) high = &v;
  }
  if (!low || low == high) return;
  double apart = *high->clock_ahead_seconds - *low->clock_ahead_seconds;
  double surely = apart - high->clock_error_seconds - low->clock_error_seconds;
  Level level = surely > 10 * limits.clock_seconds ? Level::kFail
                : surely > limits.clock_seconds    ? Level::kWarn
                                                   : Level::kOk;
  if (level == Level::kOk)
    return out.push_back(
        {"clock", level, "", "the members' clocks are within " + milliseconds(std::max(apart, 0.0)), ""});
  out.push_back(
      {"clock", level, high->name(), "its clock is " + milliseconds(apart) + " ahead of that of " + low->name(),
       "see to the machines' time service (chrony, systemd-timesyncd): certificates, tokens and logs depend on it"});
}

void judge_free_disk(const Survey& s, Findings& out) {
  for (const MemberView& v : s.members) {
    if (!v.metrics || !v.metrics->has("fairlead_disk_free_bytes")) continue;
    auto bytes = static_cast<uint64_t>(v.metrics->value("fairlead_disk_free_bytes"));
    if (bytes > 0 && bytes < kDiskFreeWarnBytes)
      out.push_back({"free-disk", Level::kWarn, v.name(), "its disk has " + go_bytes(bytes) + " left",
                     "make room on the disk of its data directory, or move it to a larger one"});
  }
}

}  // namespace

const char* level_name(Level level) { return level == Level::kOk ? "ok" : level == Level::kWarn ? "warn" : "fail"; }

std::string milliseconds(double seconds) {
  char text[32];
  double ms = seconds * 1e3;
  if (std::abs(ms) >= 10'000)
    snprintf(text, sizeof text, "%.1f s", seconds);
  else
    snprintf(text, sizeof text, std::abs(ms) >= 10 ? "%.0f ms" : "%.1f ms", ms);
  return text;
}

Level worst(const Findings& findings) {
  Level level = Level::kOk;
  for (const Finding& f : findings) level = std::max(level, f.level);
  return level;
}

Findings judge_service(const Survey& s, const Limits& limits) {
  Findings out;
  judge_answers(s, out);
  judge_quorum(s, out);
  judge_leader(s, out);
  judge_reads(s, out);
  judge_alarms(s, out);
  judge_quota(s, out);
  judge_lag(s, limits, out);
  judge_learners(s, limits, out);
  judge_clock(s, limits, out);
  judge_free_disk(s, out);
  return out;
}

}  // namespace fairlead::ctl
