#include "server/main/options.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace fairlead::server {
namespace {

enum class Kind { kString, kBool, kInt, kDurationMs, kBytes };

struct Flag {
  const char* group;
  const char* name;
  Kind kind;
  void* (*field)(Options&);
  const char* usage;
};

template <auto Member>
void* field(Options& o) {
  return &(o.*Member);
}

// The one table: parsing, environment and --help are made from it.
const Flag kFlags[] = {
    {"Member", "name", Kind::kString, field<&Options::name>, "Human-readable name for this member."},
    {"Member", "data-dir", Kind::kString, field<&Options::data_dir>,
     "Path to the data directory (default '<name>.etcd')."},
    {"Member", "listen-peer-urls", Kind::kString, field<&Options::listen_peer_urls>,
     "List of URLs to listen on for peer traffic."},
    {"Member", "listen-client-urls", Kind::kString, field<&Options::listen_client_urls>,
     "List of URLs to listen on for client gRPC and HTTP traffic."},
    {"Member", "listen-metrics-urls", Kind::kString, field<&Options::listen_metrics_urls>,
     "List of URLs to listen on for /metrics, /health, /livez and /readyz, besides the client URLs."},
    {"Member", "heartbeat-interval", Kind::kInt, field<&Options::heartbeat_interval_ms>,
     "Time (in milliseconds) of a heartbeat interval."},
    {"Member", "election-timeout", Kind::kInt, field<&Options::election_timeout_ms>,
     "Time (in milliseconds) for an election to timeout."},
    {"Member", "max-txn-ops", Kind::kInt, field<&Options::max_txn_ops>,
     "Maximum number of operations permitted in a transaction."},
    {"Member", "max-request-bytes", Kind::kInt, field<&Options::max_request_bytes>,
     "Maximum client request size in bytes the server will accept."},
    {"Member", "max-concurrent-streams", Kind::kInt, field<&Options::max_concurrent_streams>,
     "Maximum concurrent streams that each client can open at a time."},
    {"Member", "grpc-keepalive-min-time", Kind::kDurationMs, field<&Options::grpc_keepalive_min_time_ms>,
     "Minimum duration interval that a client should wait before pinging the server."},
    {"Member", "grpc-keepalive-interval", Kind::kDurationMs, field<&Options::grpc_keepalive_interval_ms>,
     "Frequency of server-to-client pings to check that a connection is alive (0 to disable)."},
    {"Member", "grpc-keepalive-timeout", Kind::kDurationMs, field<&Options::grpc_keepalive_timeout_ms>,
     "Additional wait before closing a non-responsive connection (0 to disable)."},
    {"Clustering", "initial-advertise-peer-urls", Kind::kString, field<&Options::initial_advertise_peer_urls>,
     "List of this member's peer URLs to advertise to the rest of the cluster."},
    {"Clustering", "initial-cluster", Kind::kString, field<&Options::initial_cluster>,
     "Initial cluster configuration for bootstrapping: name=URL,name=URL,..."},
    {"Clustering", "initial-cluster-state", Kind::kString, field<&Options::initial_cluster_state>,
     "Initial cluster state ('new' when bootstrapping a new cluster, 'existing' for a member that has its data)."},
    {"Clustering", "initial-cluster-token", Kind::kString, field<&Options::initial_cluster_token>,
     "Initial cluster token during bootstrap; tells clusters with the same URLs apart."},
    {"Clustering", "advertise-client-urls", Kind::kString, field<&Options::advertise_client_urls>,
     "List of this member's client URLs to advertise to the public."},
    {"Logging", "log-level", Kind::kString, field<&Options::log_level>, "Log level: debug, info, warn or error."},
    {"Logging", "log-outputs", Kind::kString, field<&Options::log_outputs>,
     "'default' or 'stderr', 'stdout', or a file path to append to."},
    {"Logging", "warning-apply-duration", Kind::kDurationMs, field<&Options::warning_apply_duration_ms>,
     "Applying a request for longer than this logs a warning."},
    {"Features", "watch-progress-notify-interval", Kind::kDurationMs,
     field<&Options::watch_progress_notify_interval_ms>, "Duration of periodic watch progress notifications."},
    {"Fairlead", "fairlead-log-io", Kind::kString, field<&Options::fairlead_log_io>,
     "How the log is written: auto, uring or pwrite."},
    {"Fairlead", "fairlead-memory-limit", Kind::kBytes, field<&Options::fairlead_memory_limit_bytes>,
     "Memory that the value cache is sized from, e.g. 2GiB (default: half of the memory of the control group or "
     "machine)."},
    {"Fairlead", "fairlead-value-cache", Kind::kBytes, field<&Options::fairlead_value_cache_bytes>,
     "Memory for newest values (default: a quarter of the memory limit, at most 64MiB); older ones are read from "
     "disk."},
    {"Fairlead", "fairlead-checkpoint-tail", Kind::kBytes, field<&Options::fairlead_checkpoint_tail_bytes>,
     "Bytes of unflushed records at which a checkpoint starts."},
    {"Fairlead", "fairlead-log-segment", Kind::kBytes, field<&Options::fairlead_log_segment_bytes>,
     "Size of a log segment."},
    {"Other", "version", Kind::kBool, field<&Options::show_version>, "Print the version and exit."},
    {"Other", "help", Kind::kBool, field<&Options::show_help>, "Print this text and exit."},
};

const Flag* find_flag(std::string_view name) {
  if (name == "h") name = "help";
  for (const Flag& flag : kFlags)
    if (name == flag.name) return &flag;
  return nullptr;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

Status unknown_flag(std::string_view name) {
  const Flag* nearest = &kFlags[0];
  for (const Flag& flag : kFlags)
    if (edit_distance(name, flag.name) < edit_distance(name, nearest->name)) nearest = &flag;
  return invalid_argument("flag provided but not defined: -" + std::string(name) + "; the nearest known flag is --" +
                          nearest->name + " (--help lists all)");
}

Status bad_value(const Flag& flag, std::string_view value, std::string_view expected) {
  return invalid_argument("invalid value \"" + std::string(value) + "\" for flag -" + flag.name + ": " +
                          std::string(expected));
}

bool parse_integer(std::string_view text, int64_t& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// Go's durations: a sequence of numbers with units, e.g. "1h30m", "500ms".
bool parse_duration_ms(std::string_view text, int64_t& out) {
  if (text == "0") return out = 0, true;
  double total = 0;
  size_t i = 0;
  while (i < text.size()) {
    double number = 0;
    auto [end, error] = std::from_chars(text.data() + i, text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc() || number < 0) return false;
    i = static_cast<size_t>(end - text.data());
    std::string_view rest = text.substr(i);
    auto unit = [&](std::string_view name, double ms) {
      if (!rest.starts_with(name)) return false;
      total += number * ms;
      i += name.size();
      return true;
    };
    if (!unit("ms", 1) && !unit("us", 1e-3) && !unit("ns", 1e-6) && !unit("h", 3600e3) && !unit("m", 60e3) &&
        !unit("s", 1e3))
      return false;
  }
  if (text.empty() || total > 9e15) return false;
  out = static_cast<int64_t>(total);
  return true;
}

bool parse_bytes(std::string_view text, int64_t& out) {
  size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits]))) ++digits;
  int64_t number = 0;
  if (!parse_integer(text.substr(0, digits), number)) return false;
  std::string_view unit = text.substr(digits);
  int shift = unit.empty() || unit == "B"    ? 0
              : unit == "KiB" || unit == "K" ? 10
              : unit == "MiB" || unit == "M" ? 20
              : unit == "GiB" || unit == "G" ? 30
                                             : -1;
  if (shift < 0 || number > (INT64_MAX >> shift)) return false;
  out = number << shift;
  return true;
}

Status assign(const Flag& flag, Options& options, std::string_view value) {
  void* target = flag.field(options);
  switch (flag.kind) {
    case Kind::kString:
      *static_cast<std::string*>(target) = value;
      return {};
    case Kind::kBool:
      if (value == "true" || value == "1" || value == "t") return *static_cast<bool*>(target) = true, Status();
      if (value == "false" || value == "0" || value == "f") return *static_cast<bool*>(target) = false, Status();
      return bad_value(flag, value, "expected true or false");
    case Kind::kInt:
      if (!parse_integer(value, *static_cast<int64_t*>(target)) || *static_cast<int64_t*>(target) <= 0)
        return bad_value(flag, value, "expected a whole number above zero");
      return {};
    case Kind::kDurationMs:
      if (!parse_duration_ms(value, *static_cast<int64_t*>(target)))
        return bad_value(flag, value, "expected a duration such as 300ms, 5s or 1h30m");
      return {};
    case Kind::kBytes:
      if (!parse_bytes(value, *static_cast<int64_t*>(target)))
        return bad_value(flag, value, "expected bytes such as 1048576, 64MiB or 2GiB");
      return {};
  }
  return {};
}

std::string environment_name(std::string_view flag) {
  std::string out = "ETCD_";
  for (char c : flag) out.push_back(c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
  return out;
}

Status apply_environment(const Environment& environment, Options& options) {
  for (const Flag& flag : kFlags) {
    if (std::string_view(flag.group) == "Other" || options.given.contains(flag.name)) continue;
    std::optional<std::string> value = environment(environment_name(flag.name));
    if (!value || value->empty()) continue;
    if (Status s = assign(flag, options, *value); !s.is_ok())
      return invalid_argument(environment_name(flag.name) + ": " + std::string(s.message()));
    options.given[flag.name] = "env";
  }
  return {};
}

}  // namespace

Result<Options> parse_options(const std::vector<std::string>& args, const Environment& environment) {
  Options options;
  for (size_t i = 0; i < args.size(); ++i) {
    std::string_view arg = args[i];
    if (arg.size() < 2 || arg[0] != '-' || arg == "--")
      return invalid_argument("'" + std::string(arg) +
                              "' is not a valid flag; the server takes flags only (--help lists all)");
    std::string_view name = arg.substr(arg[1] == '-' ? 2 : 1);
    size_t equals = name.find('=');
    std::string_view value = equals == std::string_view::npos ? std::string_view() : name.substr(equals + 1);
    name = name.substr(0, equals);
    const Flag* flag = find_flag(name);
    if (!flag) return unknown_flag(name);
    if (equals == std::string_view::npos) {
      if (flag->kind == Kind::kBool) {
        value = "true";
      } else if (++i < args.size()) {
        value = args[i];
      } else {
        return invalid_argument("flag needs an argument: -" + std::string(name));
      }
    }
    RETURN_IF_ERROR(assign(*flag, options, value));
    options.given[flag->name] = "flag";
  }
  RETURN_IF_ERROR(apply_environment(environment, options));
  return options;
}

Result<std::vector<std::string>> split_urls(std::string_view flag, const std::string& urls) {
  std::vector<std::string> out;
  for (size_t start = 0; start <= urls.size();) {
    size_t comma = std::min(urls.find(',', start), urls.size());
    std::string url = urls.substr(start, comma - start);
    start = comma + 1;
    size_t scheme = url.find("://");
    auto bad = [&](const std::string& why) {
      return invalid_argument("--" + std::string(flag) + ": URL \"" + url + "\" " + why);
    };
    if (scheme == std::string::npos) return bad("must have the form http://HOST:PORT");
    std::string name = url.substr(0, scheme);
    std::string rest = url.substr(scheme + 3);
    if (name == "https" || name == "unixs") return bad("asks for TLS, which this version does not have yet; use http");
    if (name != "http" && name != "unix") return bad("must have scheme http or unix");
    if (name == "http") {
      if (!rest.empty() && rest.back() == '/') rest.pop_back(), url.pop_back();
      size_t colon = rest.rfind(':');
      int64_t port = 0;
      if (colon == std::string::npos || colon == 0 || !parse_integer(std::string_view(rest).substr(colon + 1), port) ||
          port < 0 || port > 65535)
        return bad("must have the form http://HOST:PORT");
    }
    if (rest.empty()) return bad("has no host");
    out.push_back(url);
  }
  return out;
}

Result<std::vector<std::string>> listen_addresses(std::string_view flag, const std::string& urls) {
  ASSIGN_OR_RETURN(std::vector<std::string> list, split_urls(flag, urls));
  for (std::string& url : list) {
    bool is_unix = url.starts_with("unix://");
    url = is_unix ? "unix:" + url.substr(7) : url.substr(7);
  }
  return list;
}

Result<std::map<std::string, std::vector<std::string>>> parse_initial_cluster(const std::string& text) {
  std::map<std::string, std::vector<std::string>> out;
  for (size_t start = 0; start <= text.size();) {
    size_t comma = std::min(text.find(',', start), text.size());
    std::string item = text.substr(start, comma - start);
    start = comma + 1;
    size_t equals = item.find('=');
    if (equals == std::string::npos || equals == 0)
      return invalid_argument("--initial-cluster: \"" + item + "\" must have the form NAME=http://HOST:PORT");
    ASSIGN_OR_RETURN(std::vector<std::string> urls, split_urls("initial-cluster", item.substr(equals + 1)));
    out[item.substr(0, equals)].push_back(urls[0]);
  }
  for (auto& [name, urls] : out) std::sort(urls.begin(), urls.end());
  return out;
}

Status complete_options(Options& o) {
  if (o.name.empty()) return invalid_argument("--name must not be empty");
  if (o.data_dir.empty()) o.data_dir = o.name + ".etcd";
  if (o.election_timeout_ms < 5 * o.heartbeat_interval_ms)
    return invalid_argument("--election-timeout[" + std::to_string(o.election_timeout_ms) +
                            "ms] should be at least as 5 times as --heartbeat-interval[" +
                            std::to_string(o.heartbeat_interval_ms) + "ms]");
  if (o.election_timeout_ms > 50'000) return invalid_argument("--election-timeout must be at most 50000ms");
  for (auto [flag, urls] :
       {std::pair{"listen-peer-urls", &o.listen_peer_urls}, std::pair{"listen-client-urls", &o.listen_client_urls},
        std::pair{"initial-advertise-peer-urls", &o.initial_advertise_peer_urls},
        std::pair{"advertise-client-urls", &o.advertise_client_urls}})
    RETURN_IF_ERROR(split_urls(flag, *urls).status());
  if (!o.listen_metrics_urls.empty())
    RETURN_IF_ERROR(split_urls("listen-metrics-urls", o.listen_metrics_urls).status());
  if (o.given.contains("listen-client-urls") && !o.given.contains("advertise-client-urls"))
    return invalid_argument("--advertise-client-urls is required when --listen-client-urls is set explicitly");
  if (o.initial_cluster.empty()) {
    ASSIGN_OR_RETURN(std::vector<std::string> urls,
                     split_urls("initial-advertise-peer-urls", o.initial_advertise_peer_urls));
    for (const std::string& url : urls)
      o.initial_cluster += (o.initial_cluster.empty() ? "" : ",") + o.name + "=" + url;
  }
  if (o.initial_cluster_state != "new" && o.initial_cluster_state != "existing")
    return invalid_argument("invalid value \"" + o.initial_cluster_state +
                            "\" for flag -initial-cluster-state: expected new or existing");
  if (o.log_level != "debug" && o.log_level != "info" && o.log_level != "warn" && o.log_level != "error")
    return invalid_argument("invalid value \"" + o.log_level +
                            "\" for flag -log-level: expected debug, info, warn or error");
  if (o.fairlead_log_io != "auto" && o.fairlead_log_io != "uring" && o.fairlead_log_io != "pwrite")
    return invalid_argument("invalid value \"" + o.fairlead_log_io +
                            "\" for flag -fairlead-log-io: expected auto, uring or pwrite");
  return {};
}

std::string help_text() {
  std::string out =
      "Usage:\n\n  fairlead [flags]    Start a member of a replicated key-value store that speaks etcd's protocols.\n\n"
      "Every flag is also an environment variable: --data-dir is ETCD_DATA_DIR. A flag wins over it.\n";
  std::string_view group;
  Options defaults;
  for (const Flag& flag : kFlags) {
    if (group != flag.group) out += "\n" + std::string(group = flag.group) + ":\n";
    std::string line = "  --" + std::string(flag.name);
    void* value = flag.field(defaults);
    if (flag.kind == Kind::kString) line += " '" + *static_cast<std::string*>(value) + "'";
    if (flag.kind == Kind::kInt || flag.kind == Kind::kBytes)
      line += " '" + std::to_string(*static_cast<int64_t*>(value)) + "'";
    if (flag.kind == Kind::kDurationMs) line += " '" + std::to_string(*static_cast<int64_t*>(value)) + "ms'";
    out += line + "\n    " + flag.usage + "\n";
  }
  return out;
}

}  // namespace fairlead::server
