// The rules that `doctor` adds: machines, networks, certificates, versions, and what was forgotten.
#include <algorithm>
#include <map>
#include <set>

#include "ctl/findings.h"
#include "ctl/go_format.h"

namespace fairlead::ctl {
namespace {

constexpr double kSamplesMin = 10;  // below that many a quantile says little
constexpr double kFilesWarnShare = 0.8;
constexpr double kMemoryWarnShare = 0.8;
constexpr double kMemoryFailShare = 0.95;
constexpr double kHistoryWarnRevisions = 1'000'000;  // without a compaction
constexpr double kHistoryWarnPerKey = 100;
constexpr double kHistoryLookedAtMin = 10'000;  // fewer revisions are never too many

Level level_of(double value, double limit, double factor) {
  return value > factor * limit ? Level::kFail : value > limit ? Level::kWarn : Level::kOk;
}

// Of the time between both looks where enough happened in it, else since the server began.
Metrics::Histogram recent(const MemberView& v, const MemberView* before, const std::string& name,
                          const Metrics::Labels& labels = {}) {
  Metrics::Histogram now = v.metrics->histogram(name, labels);
  if (!before || !before->metrics) return now;
  Metrics::Histogram since = now.since(before->metrics->histogram(name, labels));
  return since.count >= kSamplesMin ? since : now;
}

void judge_log_writes(const MemberView& v, const MemberView* before, const Limits& limits, Findings& out) {
  Metrics::Histogram h = recent(v, before, "etcd_disk_wal_fsync_duration_seconds");
  if (h.count == 0) return;
  double p99 = h.quantile(0.99);
  Level level = h.count < kSamplesMin ? Level::kOk : level_of(p99, limits.disk_seconds, 5);
  out.push_back(
      {"disk", level, v.name(),
       "99 of 100 log writes took up to " + milliseconds(p99) + " (" + std::to_string(static_cast<int64_t>(h.count)) +
           " of them, " + milliseconds(h.mean()) + " in the mean)",
       level == Level::kOk ? ""
                           : "give the data directory a faster disk of its own (an SSD, no network file system), "
                             "and see what else uses this one"});
}

void judge_round_trip(const MemberView& v, const Limits& limits, Findings& out) {
  Level level = level_of(v.round_trip_seconds, limits.network_seconds, 5);
  out.push_back({"network", level, v.name(), "a short call from here takes " + milliseconds(v.round_trip_seconds),
                 level == Level::kOk
                     ? ""
                     : "see the network from here to it, and its load; clients far away should use a member nearby"});
}

void judge_peers(const Survey& s, const MemberView& v, const MemberView* before, const Limits& limits, Findings& out) {
  for (const MemberView& to : s.members) {
    std::string id = go_hex(to.member.id());
    if (&to == &v || !to.listed) continue;
    Metrics::Histogram h = recent(v, before, "etcd_network_peer_round_trip_time_seconds", {{"To", id}});
    double p99 = h.quantile(0.99);
    // The median: one slow answer on a busy machine is no slow network.
    double typical = h.quantile(0.5);
    if (h.count >= kSamplesMin && typical > limits.network_seconds)
      out.push_back(
          {"peers", level_of(typical, limits.network_seconds, 5), v.name(),
           "a round trip to " + to.name() + " takes " + milliseconds(typical) + " (99 of 100: " + milliseconds(p99) +
               ")",
           "see the network between both, and their load; --heartbeat-interval should be about one round trip, "
           "--election-timeout ten of them"});
    if (to.answers && v.metrics->has("etcd_network_active_peers") &&
        !v.metrics->all("etcd_network_active_peers").empty()) {
      bool known = false;
      for (const Metrics::Sample& sample : v.metrics->all("etcd_network_active_peers"))
        known |= sample.has({{"Remote", id}});
      if (known && v.metrics->value("etcd_network_active_peers", {{"Remote", id}}) == 0)
        out.push_back({"peers", Level::kFail, v.name(), "has no connection to " + to.name() + ", which answers here",
                       "see " + (to.member.peerurls_size() > 0 ? to.member.peerurls(0) : "its peer URL") +
                           " from that machine: firewall, name, certificate"});
    }
  }
}

void judge_files_and_memory(const MemberView& v, Findings& out) {
  double used = v.metrics->value("process_open_fds"), limit = v.metrics->value("process_max_fds");
  if (limit > 0 && used > kFilesWarnShare * limit)
    out.push_back({"files", Level::kWarn, v.name(),
                   std::to_string(static_cast<int64_t>(used)) + " of " + std::to_string(static_cast<int64_t>(limit)) +
                       " file descriptors are open",
                   "raise the limit (LimitNOFILE= of its unit, ulimit -n), or see who keeps so many connections"});
  double resident = v.metrics->value("process_resident_memory_bytes"),
         memory = v.metrics->value("fairlead_memory_limit_bytes");
  if (memory > 0 && resident > kMemoryWarnShare * memory)
    out.push_back({"memory", resident > kMemoryFailShare * memory ? Level::kFail : Level::kWarn, v.name(),
                   go_bytes(static_cast<uint64_t>(resident)) + " of " + go_bytes(static_cast<uint64_t>(memory)) +
                       " of memory are used",
                   "compact old revisions, close unused watches and connections, or give it more memory before the "
                   "system ends it"});
}

void judge_history(const Survey& s, Findings& out) {
  const MemberView* v = s.leader();
  if (!v || !v->metrics)
    for (const MemberView& m : s.members)
      if (m.metrics && (!v || !v->metrics)) v = &m;
  if (!v || !v->metrics) return;
  double revision = v->metrics->value("etcd_debugging_mvcc_current_revision");
  double compacted = std::max(v->metrics->value("etcd_debugging_mvcc_compact_revision"), 0.0);
  double keys = v->metrics->value("etcd_debugging_mvcc_keys_total");
  double history = revision - compacted;
  bool many = history > kHistoryLookedAtMin && history > kHistoryWarnPerKey * std::max(keys, 1.0);
  std::string text = std::to_string(static_cast<int64_t>(history)) + " revisions of " +
                     std::to_string(static_cast<int64_t>(keys)) + " keys are kept" +
                     (compacted == 0 ? ", and nothing was ever compacted" : "");
  if (many || history > kHistoryWarnRevisions)
    out.push_back(
        {"compaction", Level::kWarn, "", text,
         "start the members with --auto-compaction-retention (1h, say), or compact now and then; Kubernetes does it "
         "by itself"});
  else
    out.push_back({"compaction", Level::kOk, "", text, ""});
}

std::string minor_of(const std::string& version) { return version.substr(0, version.find('.', version.find('.') + 1)); }

void judge_versions(const Survey& s, Findings& out) {
  std::map<std::string, std::string> who, fairlead;
  std::set<std::string> minors;
  for (const MemberView& v : s.members) {
    if (!v.answers) continue;
    auto add = [&](std::map<std::string, std::string>& to, const std::string& version) {
      std::string& names = to[version];
      names += (names.empty() ? "" : ", ") + v.name();
    };
    add(who, v.status.version());
    minors.insert(minor_of(v.status.version()));
    if (!v.metrics) continue;
    for (const Metrics::Sample& sample : v.metrics->all("fairlead_build_info"))
      if (auto found = sample.labels.find("version"); found != sample.labels.end()) add(fairlead, found->second);
  }
  auto listed = [](const std::map<std::string, std::string>& versions) {
    std::string text;
    for (const auto& [version, names] : versions) text += (text.empty() ? "" : "; ") + version + " (" + names + ")";
    return text;
  };
  if (who.empty()) return;
  if (who.size() > 1)
    out.push_back({"version", minors.size() > 2 ? Level::kFail : Level::kWarn, "",
                   "members run different versions: " + listed(who),
                   "finish the upgrade, one member at a time; members may be one minor version apart, not more"});
  else if (fairlead.size() > 1)
    out.push_back({"version", Level::kWarn, "", "members run different versions of Fairlead: " + listed(fairlead),
                   "finish the upgrade, one member at a time"});
  else
    out.push_back(
        {"version", Level::kOk, "",
         "all run " + who.begin()->first + (fairlead.empty() ? "" : " by Fairlead " + fairlead.begin()->first), ""});
}

void judge_size(const Survey& s, Findings& out) {
  if (!s.have_list) return;
  size_t voters = s.voters();
  if (voters == 1)
    out.push_back({"size", Level::kWarn, "", "there is one voting member: if its machine is lost, so is the data",
                   "add two members on other machines (member add --learner, then member promote)"});
  else if (voters % 2 == 0)
    out.push_back({"size", Level::kWarn, "",
                   std::to_string(voters) + " members vote: as many may be lost as with " + std::to_string(voters - 1) +
                       ", and one more must agree",
                   "make it an odd number"});
  else
    out.push_back({"size", Level::kOk, "",
                   std::to_string(voters) + " members vote: " + std::to_string((voters - 1) / 2) + " may be lost", ""});
}

}  // namespace

Findings judge_health(const Survey& s, const Survey* earlier, const Limits& limits) {
  Findings out;
  judge_size(s, out);
  judge_versions(s, out);
  judge_history(s, out);
  for (const MemberView& v : s.members) {
    if (!v.answers) continue;
    judge_round_trip(v, limits, out);
    if (!v.metrics) {
      if (!v.metrics_error.empty())
        out.push_back({"metrics", Level::kWarn, v.name(), "its page of metrics could not be read: " + v.metrics_error,
                       "without it disk, memory and its peers are not known: name the page by --metrics-urls"});
      continue;
    }
    const MemberView* before = earlier ? earlier->by_id(v.status.header().member_id()) : nullptr;
    judge_log_writes(v, before, limits, out);
    judge_peers(s, v, before, limits, out);
    judge_files_and_memory(v, out);
  }
  return out;
}

Findings judge_certificates(const std::vector<SeenCertificate>& seen, const Limits& limits, int64_t now) {
  Findings out;
  int64_t first = INT64_MAX;
  for (const SeenCertificate& c : seen) {
    if (!c.error.empty()) {
      out.push_back({"certificates", Level::kFail, c.where, "cannot be read: " + c.error,
                     "see the file, the address and the TLS flags"});
      continue;
    }
    bool expired = false;
    for (const Certificate& one : c.chain) {
      int64_t left = one.not_after - now;
      std::string what = one.authority ? "the authority " + one.subject : "the certificate";
      if (left <= 0 || one.not_before > now) {
        expired = true;
        out.push_back(
            {"certificates", Level::kFail, c.where,
             what + (left <= 0 ? " ended " + std::to_string(-left / 86400) + " days ago" : " is not valid yet"),
             left <= 0 ? "put a new one into its file: the server takes it without a restart"
                       : "see the clock of this machine and of the one that made it"});
      } else if (left < limits.expiry_seconds) {
        out.push_back({"certificates", Level::kWarn, c.where,
                       what + " ends in " + std::to_string(left / 86400) + " days",
                       "put a new one into its file in time: the server takes it without a restart"});
      }
      first = std::min(first, one.not_after);
    }
    if (!c.verify.empty() && !expired)
      out.push_back(
          {"certificates", Level::kFail, c.where, "the certificate does not pass: " + c.verify,
           "give the authority that signed it (--cacert), and see that it has the names under which the member is "
           "reached (" +
               c.url + ")"});
  }
  if (!seen.empty() && out.empty())
    out.push_back({"certificates", Level::kOk, "",
                   std::to_string(seen.size()) + " looked at; the first to end has " +
                       std::to_string((first - now) / 86400) + " days left",
                   ""});
  return out;
}

Finding judge_disk(const DiskProbe& probe, const Limits& limits) {
  Finding f{"local-disk", Level::kOk, probe.folder, "", ""};
  if (!probe.error.empty()) {
    f.level = Level::kFail;
    f.text = "cannot be written: " + probe.error;
    f.advice = "see that the folder is there and that this user may write into it";
    return f;
  }
  size_t n = probe.seconds.size();
  double p99 = n > 0 ? probe.seconds[std::min(n - 1, n * 99 / 100)] : 0;
  f.level = level_of(p99, limits.disk_seconds, 5);
  f.text = std::to_string(n) + " durable writes of 8 KiB here: " + milliseconds(n > 0 ? probe.seconds[n / 2] : 0) +
           " in the middle, 99 of 100 up to " + milliseconds(p99);
  if (f.level != Level::kOk)
    f.advice =
        "a disk that syncs this slowly makes every write of the cluster slow: use an SSD, no network file system";
  return f;
}

}  // namespace fairlead::ctl
