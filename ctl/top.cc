// top: what the cluster is busy with, refreshed: calls by method, hot prefixes of keys, slow watches, members.
#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <thread>

#include "ctl/go_format.h"
#include "ctl/screen.h"
#include "ctl/verbs.h"
#include "proto/fairlead.grpc.pb.h"

namespace fairlead::ctl {
namespace {

using Json = nlohmann::ordered_json;
using Steady = std::chrono::steady_clock;

constexpr size_t kListedDefault = 10;
constexpr int64_t kIntervalMinNanos = 200'000'000;

std::atomic<bool> stopped{false};
void on_signal(int) { stopped = true; }

struct MemberTop {
  const MemberView* view = nullptr;
  double requests = 0, cpu_percent = 0, sent = 0, received = 0, fsync_p99 = 0;  // per second but for the last
  double resident = 0, connections = 0, watchers = 0, slow_watchers = 0;
  bool rates = false;  // there was an earlier look
};
struct MethodTop {
  std::string name;
  double per_second = 0, failed = 0;
};
struct PrefixTop {
  std::string prefix;
  bool whole_key = false;
  double reads = 0, writes = 0;  // per second
};
struct WatchTop {
  std::string member;
  fairleadpb::SlowWatch watch;
};
struct TopView {
  double seconds = 0;
  std::vector<MemberTop> members;
  std::vector<MethodTop> methods;
  std::vector<PrefixTop> prefixes;
  std::vector<WatchTop> watches;
  std::string no_keys;  // why there are no prefixes and watches
};

double rate(const Metrics& now, const Metrics& before, const std::string& name, double seconds,
            const Metrics::Labels& labels = {}) {
  double a = before.value(name, labels), b = now.value(name, labels);
  return seconds > 0 ? (b >= a ? b - a : b) / seconds : 0;  // below: the server began anew
}

MemberTop member_top(const MemberView& v, const MemberView* before, double seconds) {
  MemberTop m;
  m.view = &v;
  if (!v.metrics) return m;
  m.resident = v.metrics->value("process_resident_memory_bytes");
  m.connections = v.metrics->value("fairlead_connections");
  m.watchers = v.metrics->value("etcd_debugging_mvcc_watcher_total");
  m.slow_watchers = v.metrics->value("etcd_debugging_mvcc_slow_watcher_total");
  m.fsync_p99 = v.metrics->histogram("etcd_disk_wal_fsync_duration_seconds").quantile(0.99);
  if (!before || !before->metrics) return m;
  const Metrics &a = *before->metrics, &b = *v.metrics;
  m.rates = true;
  m.requests = rate(b, a, "grpc_server_started_total", seconds);
  m.cpu_percent = 100 * rate(b, a, "process_cpu_seconds_total", seconds);
  m.sent = rate(b, a, "etcd_network_client_grpc_sent_bytes_total", seconds);
  m.received = rate(b, a, "etcd_network_client_grpc_received_bytes_total", seconds);
  Metrics::Histogram recent =
      b.histogram("etcd_disk_wal_fsync_duration_seconds").since(a.histogram("etcd_disk_wal_fsync_duration_seconds"));
  if (recent.count > 0) m.fsync_p99 = recent.quantile(0.99);
  return m;
}

std::vector<MethodTop> method_tops(const Survey& now, const Survey& before, double seconds) {
  std::map<std::string, MethodTop> found;
  for (const MemberView& v : now.members) {
    const MemberView* earlier = v.answers ? before.by_id(v.status.header().member_id()) : nullptr;
    if (!v.metrics || !earlier || !earlier->metrics) continue;
    for (const Metrics::Sample& s : v.metrics->all("grpc_server_started_total")) {
      auto service = s.labels.find("grpc_service"), method = s.labels.find("grpc_method");
      if (service == s.labels.end() || method == s.labels.end()) continue;
      Metrics::Labels labels = {{"grpc_service", service->second}, {"grpc_method", method->second}};
      std::string name = service->second.substr(service->second.rfind('.') + 1) + "/" + method->second;
      MethodTop& m = found[name];
      m.name = name;
      m.per_second += rate(*v.metrics, *earlier->metrics, "grpc_server_started_total", seconds, labels);
      double handled = rate(*v.metrics, *earlier->metrics, "grpc_server_handled_total", seconds, labels);
      labels["grpc_code"] = "OK";
      m.failed += handled - rate(*v.metrics, *earlier->metrics, "grpc_server_handled_total", seconds, labels);
    }
  }
  std::vector<MethodTop> out;
  for (auto& [name, m] : found)
    if (m.per_second > 0) out.push_back(m);
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.per_second > b.per_second; });
  return out;
}

// What each member knows of its own clients, put together.
void ask_members(const Survey& survey, const ClientOptions& options, const std::string& token, size_t listed,
                 TopView& view) {
  std::map<std::pair<std::string, bool>, PrefixTop> prefixes;
  for (const MemberView& v : survey.members) {
    if (!v.answers) continue;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::nanoseconds(options.dial_timeout_nanos));
    if (!token.empty()) context.AddMetadata("token", token);
    fairleadpb::TopRequest request;
    request.set_prefixes_max(static_cast<uint32_t>(2 * listed));  // the sum's order may be another
    request.set_watches_max(static_cast<uint32_t>(listed));
    fairleadpb::TopResponse reply;
    grpc::Status status = fairleadpb::Top::NewStub(open_channel(options, v.endpoint))->Look(&context, request, &reply);
    if (!status.ok()) {
      view.no_keys = v.name() + ": " +
                     (status.error_code() == grpc::StatusCode::UNIMPLEMENTED
                          ? "it does not tell (it is no Fairlead, or an older one)"
                          : short_error(status));
      continue;
    }
    for (const fairleadpb::HotPrefix& p : reply.prefixes()) {
      PrefixTop& to = prefixes[{p.prefix(), p.whole_key()}];
      to.prefix = p.prefix();
      to.whole_key = p.whole_key();
      if (reply.seconds() <= 0) continue;
      to.reads += static_cast<double>(p.reads()) / reply.seconds();
      to.writes += static_cast<double>(p.writes()) / reply.seconds();
    }
    for (const fairleadpb::SlowWatch& w : reply.watches()) view.watches.push_back({v.name(), w});
  }
  for (auto& [key, p] : prefixes) view.prefixes.push_back(p);
  std::stable_sort(view.prefixes.begin(), view.prefixes.end(),
                   [](const auto& a, const auto& b) { return a.reads + a.writes > b.reads + b.writes; });
  std::stable_sort(view.watches.begin(), view.watches.end(), [](const auto& a, const auto& b) {
    return a.watch.revisions_behind() != b.watch.revisions_behind()
               ? a.watch.revisions_behind() > b.watch.revisions_behind()
               : a.watch.queued_bytes() > b.watch.queued_bytes();
  });
  view.prefixes.resize(std::min(view.prefixes.size(), listed));
  view.watches.resize(std::min(view.watches.size(), listed));
}

// ---- the screen

std::string per_second(double value) {
  char text[32];
  snprintf(text, sizeof text, value >= 100 || value == 0 ? "%.0f" : "%.1f", value);
  return text;
}
std::string bytes_text(double bytes) { return go_bytes(static_cast<uint64_t>(std::max(bytes, 0.0))); }

// A key may hold anything; a terminal should not.
std::string key_text(const std::string& key) {
  std::string quoted = go_quote(key);
  return quoted.size() == key.size() + 2 && !key.empty() && key.find(' ') == std::string::npos ? key : quoted;
}
std::string range_text(const fairleadpb::SlowWatch& w) {
  if (w.range_end().empty()) return key_text(w.key());
  if (w.range_end() == prefix_end(w.key())) return key_text(w.key()) + "*";
  return "[" + key_text(w.key()) + ", " + (w.range_end() == std::string(1, '\0') ? "end" : key_text(w.range_end())) +
         ")";
}

std::string screen(const Survey& s, const TopView& view, double interval) {
  const MemberView* leader = s.leader();
  char head[160], when[16];
  time_t now = time(nullptr);
  tm parts{};
  localtime_r(&now, &parts);
  strftime(when, sizeof when, "%H:%M:%S", &parts);
  snprintf(
      head, sizeof head, "%s  cluster %s, %zu of %zu members answer, leader %s, over %.1f s\n", when,
      go_hex16(s.cluster_id).c_str(),
      static_cast<size_t>(std::count_if(s.members.begin(), s.members.end(), [](const auto& v) { return v.answers; })),
      s.members.size(), leader ? leader->name().c_str() : "unknown", interval);
  std::vector<std::vector<std::string>> rows;
  for (const MemberTop& m : view.members) {
    const MemberView& v = *m.view;
    if (!v.answers) {
      rows.push_back({v.name(), "down", "", "", "", "", "", "", "", "", ""});
      continue;
    }
    auto rated = [&](const std::string& text) { return m.rates ? text : "-"; };
    rows.push_back({v.name(),
                    v.is_leader()          ? "leader"
                    : v.status.islearner() ? "learner"
                                           : "follower",
                    rated(per_second(m.requests)), rated(per_second(m.cpu_percent) + "%"), bytes_text(m.resident),
                    per_second(m.connections), rated(bytes_text(m.received) + "/s"), rated(bytes_text(m.sent) + "/s"),
                    per_second(m.watchers), per_second(m.slow_watchers), milliseconds(m.fsync_p99)});
  }
  std::string out = head;
  out += "\n" + columns({"MEMBER", "ROLE", "CALLS/S", "CPU", "MEMORY", "CONNECTIONS", "IN", "OUT", "WATCHERS", "SLOW",
                         "SYNC P99"},
                        rows);
  rows.clear();
  for (const MethodTop& m : view.methods)
    rows.push_back({m.name, per_second(m.per_second), per_second(std::max(m.failed, 0.0))});
  out += "\n" + columns({"METHOD", "CALLS/S", "FAILED/S"}, rows);
  rows.clear();
  for (const PrefixTop& p : view.prefixes)
    rows.push_back({key_text(p.prefix) + (p.whole_key ? "" : "*"), per_second(p.reads), per_second(p.writes)});
  out += "\n" + columns({"HOT KEYS", "READS/S", "WRITES/S"}, rows);
  rows.clear();
  for (const WatchTop& w : view.watches)
    rows.push_back({range_text(w.watch), w.member, w.watch.client(), std::to_string(w.watch.revisions_behind()),
                    bytes_text(static_cast<double>(w.watch.queued_bytes())),
                    std::to_string(w.watch.watchers_behind()) + " of " + std::to_string(w.watch.watchers()),
                    w.watch.reads() ? "yes" : "no"});
  out += "\n" + columns({"SLOW WATCH", "MEMBER", "CLIENT", "BEHIND", "QUEUED", "WATCHERS", "READS"}, rows);
  if (!view.no_keys.empty()) out += "\n(keys and watches: " + view.no_keys + ")\n";
  return out;
}

Json json_of(const Survey& s, const TopView& view, double interval) {
  const MemberView* leader = s.leader();
  Json members = Json::array(), methods = Json::array(), prefixes = Json::array(), watches = Json::array();
  for (const MemberTop& m : view.members) {
    Json one = {{"name", m.view->name()}, {"answers", m.view->answers}};
    if (m.view->answers) {
      one["leader"] = m.view->is_leader();
      one["callsPerSecond"] = m.requests;
      one["cpuPercent"] = m.cpu_percent;
      one["residentBytes"] = m.resident;
      one["connections"] = m.connections;
      one["receivedBytesPerSecond"] = m.received;
      one["sentBytesPerSecond"] = m.sent;
      one["watchers"] = m.watchers;
      one["slowWatchers"] = m.slow_watchers;
      one["syncSecondsP99"] = m.fsync_p99;
    }
    members.push_back(std::move(one));
  }
  for (const MethodTop& m : view.methods)
    methods.push_back(
        {{"method", m.name}, {"callsPerSecond", m.per_second}, {"failedPerSecond", std::max(m.failed, 0.0)}});
  // Keys are bytes: base64, as etcdctl's JSON has them, with a text for people.
  for (const PrefixTop& p : view.prefixes)
    prefixes.push_back({{"prefix", base64(p.prefix)},
                        {"text", key_text(p.prefix)},
                        {"wholeKey", p.whole_key},
                        {"readsPerSecond", p.reads},
                        {"writesPerSecond", p.writes}});
  for (const WatchTop& w : view.watches)
    watches.push_back({{"member", w.member},
                       {"client", w.watch.client()},
                       {"key", base64(w.watch.key())},
                       {"rangeEnd", base64(w.watch.range_end())},
                       {"text", range_text(w.watch)},
                       {"watchId", w.watch.watch_id()},
                       {"watchers", w.watch.watchers()},
                       {"watchersBehind", w.watch.watchers_behind()},
                       {"revisionsBehind", w.watch.revisions_behind()},
                       {"queuedBytes", w.watch.queued_bytes()},
                       {"reads", w.watch.reads()}});
  Json out = {{"seconds", interval}, {"leader", leader ? leader->name() : ""},
              {"members", members},  {"methods", methods},
              {"hotKeys", prefixes}, {"slowWatches", watches}};
  if (!view.no_keys.empty()) out["noKeys"] = view.no_keys;
  return out;
}

// Until the time, or a signal.
void pause(std::chrono::nanoseconds time) {
  auto end = Steady::now() + time;
  while (!stopped && Steady::now() < end) usleep(20'000);
}

void top(Context& c) {
  Format format = screen_format(c);
  ClientOptions options = client_options(c);
  auto interval = std::chrono::nanoseconds(std::max(c.nanos("interval"), kIntervalMinNanos));
  auto listed = static_cast<size_t>(c.given("lines") ? std::clamp<int64_t>(c.number("lines"), 1, 100) : kListedDefault);
  bool once = c.on("once"), clear = !once && format != Format::kJson && isatty(1);
  signal(SIGINT, on_signal);
  signal(SIGTERM, on_signal);
  std::string token;
  Survey before = take_survey(options, survey_options(c), token);
  auto looked = Steady::now();
  while (true) {
    pause(interval);
    if (stopped) break;
    Survey now = take_survey(options, survey_options(c), token);
    double seconds = std::chrono::duration<double>(Steady::now() - looked).count();
    looked = Steady::now();
    TopView view;
    for (const MemberView& v : now.members)
      view.members.push_back(member_top(v, v.answers ? before.by_id(v.status.header().member_id()) : nullptr, seconds));
    view.methods = method_tops(now, before, seconds);
    ask_members(now, options, token, listed, view);
    if (once && now.members.empty()) {
      std::string why =
          now.strangers.empty() ? now.list_error : now.strangers[0].endpoint + ": " + now.strangers[0].error;
      fail(kExitBadConnection, "no member could be asked: " + why);
    }
    if (format == Format::kJson)
      printf("%s\n", json_of(now, view, seconds).dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
    else
      printf("%s%s%s", clear ? "\033[H\033[2J" : "", screen(now, view, seconds).c_str(), clear || once ? "" : "\n");
    flush_output();
    if (once) break;
    before = std::move(now);
  }
}

}  // namespace

void add_top_verb(Command& root) {
  Command& verb = root.add("top", "Shows what the cluster is busy with: calls, hot keys, slow watches", top);
  verb.describe(
      "Shows what the cluster is busy with, anew every few seconds: each member's load, calls by method, the keys and "
      "prefixes "
      "that are asked for most (estimated from a sample of the last ten to twenty seconds), and watches whose reader "
      "is "
      "behind. With authentication, keys and watches are root's to see.\n\nCtrl-C ends it; --once shows one screen.");
  verb.flag(Kind::kDuration, "interval", "2s", "between two screens")
      .flag(Kind::kBool, "once", "false", "one screen, over one interval")
      .flag(Kind::kInt, "lines", "10", "of hot keys and of slow watches")
      .flag(Kind::kList, "metrics-urls", "",
            "where the members' pages of metrics are, if not at their client URLs (--listen-metrics-urls)");
}

}  // namespace fairlead::ctl
