#include "server/main/options.h"

#include <algorithm>
#include <set>

#include "server/main/config_file.h"
#include "server/main/flags.h"
#include "server/main/gates.h"
#include "server/main/values.h"

namespace fairlead::server {
namespace {

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
  constexpr std::string_view kOldPrefix = "experimental-";
  std::string_view core = name.starts_with(kOldPrefix) ? name.substr(kOldPrefix.size()) : name;
  const Flag* nearest = nullptr;
  size_t distance = std::max<size_t>(1, core.size() / 4) + 1;  // further away it is no guess
  for (const Flag& flag : all_flags()) {
    size_t d = edit_distance(core, flag.name);
    if (d < distance) nearest = &flag, distance = d;
  }
  return invalid_argument("flag provided but not defined: -" + std::string(name) +
                          (nearest ? "; the nearest known flag is --" + std::string(nearest->name) : "") +
                          " (--help lists all)");
}

// What a name of the command line or the environment stands for today.
struct Target {
  const Flag* flag = nullptr;
  std::string gate;  // of --feature-gates, where the old name was a flag of its own
};

Target target_of(std::string_view name, Options& options) {
  Target target;
  if (std::optional<std::string_view> now = renamed_flag(name)) {
    options.warnings.push_back("--" + std::string(name) + " is the name of etcd 3.5; it is --" + std::string(*now) +
                               " now");
    size_t equals = std::min(now->find('='), now->size());
    target.flag = find_flag(now->substr(0, equals));
    if (equals < now->size()) target.gate = now->substr(equals + 1);
  } else {
    target.flag = find_flag(name);
  }
  return target;
}

Status assign_target(const Target& target, Options& options, std::string_view value, const char* from) {
  std::string text(value);
  if (!target.gate.empty()) {  // gates add up
    std::string before = options.given.contains(target.flag->name) ? options.feature_gates + "," : "";
    text = before + target.gate + "=" + text;
  }
  RETURN_IF_ERROR(assign(*target.flag, options, text));
  options.given[target.flag->name] = from;
  return {};
}

bool takes_no_value(const Target& target) { return target.flag->kind == Kind::kBool || !target.gate.empty(); }

// A flag wins over its variable, with a warning where they differ. (etcd 3.7 ends the start there, which would make
// variables useless as the defaults of an image.)
Status apply_variable(const Environment& environment, const std::string& name, Options& options) {
  std::string variable = environment_name(name);
  std::optional<std::string> value = environment(variable);
  if (!value || value->empty()) return {};
  Target target = target_of(name, options);
  if (auto given = options.given.find(target.flag->name); given != options.given.end() && given->second == "flag") {
    options.warnings.push_back("environment variable " + variable + " is shadowed by its command-line flag");
    return {};
  }
  if (Status s = assign_target(target, options, *value, "env"); !s.is_ok())
    return Status(s.code(), "invalid value \"" + *value + "\" for " + variable + ": " + std::string(s.message()));
  return {};
}

Status apply_environment(const Environment& environment, Options& options) {
  for (const Flag& flag : all_flags())
    if (std::string_view(flag.group) != "Other") RETURN_IF_ERROR(apply_variable(environment, flag.name, options));
  for (const RenamedFlag& renamed : renamed_flags())
    RETURN_IF_ERROR(apply_variable(environment, renamed.old_name, options));
  return {};
}

// One argument, and the next one where it is the value. Go's grammar.
Status parse_argument(const std::vector<std::string>& args, size_t& i, Options& options) {
  std::string_view arg = args[i];
  if (arg.size() < 2 || arg[0] != '-' || arg == "--")
    return failed_precondition("\"" + std::string(arg) +
                               "\" is not a valid flag; the server takes flags only (--help "
                               "lists all)");
  std::string_view name = arg.substr(arg[1] == '-' ? 2 : 1);
  size_t equals = name.find('=');
  std::string_view value = equals == std::string_view::npos ? std::string_view() : name.substr(equals + 1);
  name = name.substr(0, equals);
  if (name.empty() || name[0] == '-') return invalid_argument("bad flag syntax: " + std::string(arg));
  if (is_ancient_flag(name)) {
    if (equals == std::string_view::npos) ++i;
    options.warnings.push_back("flag \"-" + std::string(name) + "\" is no longer supported - ignoring.");
    return {};
  }
  Target target = target_of(name, options);
  if (!target.flag) return unknown_flag(name);
  if (equals == std::string_view::npos) {
    if (takes_no_value(target))
      value = "true";
    else if (++i < args.size())
      value = args[i];
    else
      return invalid_argument("flag needs an argument: -" + std::string(name));
  }
  return assign_target(target, options, value, "flag");
}

bool is_one_of(std::string_view value, std::initializer_list<std::string_view> values) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

std::string given_beside_file(const Options& options, const Environment& environment) {
  std::string out;
  auto add = [&out](const std::string& name) { out += (out.empty() ? "" : ", ") + name; };
  for (const auto& [name, from] : options.given)
    if (name != "config-file") add("--" + name);
  for (const Flag& flag : all_flags()) {
    std::string variable = environment_name(flag.name);
    if (std::string_view(flag.group) != "Other" && !environment(variable).value_or("").empty()) add(variable);
  }
  return out;
}

}  // namespace

Result<Options> parse_options(const std::vector<std::string>& args, const Environment& environment) {
  Options options;
  for (size_t i = 0; i < args.size(); ++i) RETURN_IF_ERROR(parse_argument(args, i, options));
  if (options.show_help || options.show_version || options.show_help_markdown) return options;
  if (options.config_file.empty()) options.config_file = environment("ETCD_CONFIG_FILE").value_or("");
  if (!options.config_file.empty()) {
    ASSIGN_OR_RETURN(Options from_file, options_from_file(options.config_file));
    if (std::string ignored = given_beside_file(options, environment); !ignored.empty())
      from_file.warnings.insert(from_file.warnings.begin(),
                                "the config file " + options.config_file + " counts alone; ignored: " + ignored);
    return from_file;
  }
  RETURN_IF_ERROR(apply_environment(environment, options));
  return options;
}

void warn_unknown_environment(const std::vector<std::string>& variables, Options& options) {
  if (!options.config_file.empty()) return;
  std::set<std::string> known = {"ETCD_UNSUPPORTED_ARCH", "ETCD_CONFIG_FILE"};
  for (const Flag& flag : all_flags()) known.insert(environment_name(flag.name));
  for (const RenamedFlag& renamed : renamed_flags()) known.insert(environment_name(renamed.old_name));
  for (const std::string& line : variables) {
    if (!line.starts_with("ETCD_") || known.contains(line.substr(0, line.find('=')))) continue;
    options.warnings.push_back("unrecognized environment variable " + line);
  }
}

std::vector<std::string> split_list(const std::string& list) {
  std::vector<std::string> out;
  for (size_t start = 0; start <= list.size();) {
    size_t comma = std::min(list.find(',', start), list.size());
    if (comma > start) out.push_back(list.substr(start, comma - start));
    start = comma + 1;
  }
  return out;
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
    if (name != "http" && name != "https" && name != "unix" && name != "unixs")
      return bad("must have scheme http, https, unix or unixs");
    if (name.starts_with("http")) {
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

Status check_log_flags(const Options& o) {
  if (!is_one_of(o.log_format, {"json", "console"}))
    return failed_precondition("unknown log format: " + o.log_format + ", supported values json, console");
  std::vector<std::string> outputs = split_list(o.log_outputs);
  for (const std::string& output : outputs) {
    if (output == "default" && outputs.size() > 1)
      return failed_precondition("multi logoutput for \"default\" is not supported yet");
    if (output == "systemd/journal")
      return failed_precondition("--log-outputs: systemd/journal is not here; systemd takes stderr into its journal");
  }
  if (!o.enable_log_rotation) return {};
  if (outputs.size() != 1 || is_one_of(outputs[0], {"default", "stderr", "stdout"}))
    return failed_precondition("--log-outputs requires a single file path when --log-rotate-config-json is defined");
  return parse_log_rotation(o.log_rotation_config_json).status();
}

// As etcd: one way to find the peers, and nothing half said.
Status check_discovery(const Options& o) {
  bool by_token = !o.discovery_endpoints.empty(), by_names = !o.discovery_srv.empty();
  if (o.discovery_fallback == "proxy")
    return failed_precondition("v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"");
  if (o.discovery_fallback != "exit")
    return invalid_argument("invalid value \"" + o.discovery_fallback +
                            "\" for flag -discovery-fallback: expected exit");
  if (!o.initial_cluster.empty() + by_token + by_names > 1)
    return failed_precondition(
        "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery-endpoints\" or "
        "\"discovery-srv\"");
  if (by_token == o.discovery_token.empty())
    return failed_precondition("both --discovery-token and --discovery-endpoints must be set");
  if (("," + o.discovery_endpoints + ",").find(",,") != std::string::npos && by_token)
    return failed_precondition("--discovery-endpoints must not contain empty endpoints");
  return {};
}

// As etcd: looked at only where tracing is on.
Status check_tracing(const Options& o) {
  if (!o.enable_distributed_tracing) return {};
  const char* wrong = nullptr;
  if (o.distributed_tracing_sampling_rate < 0) wrong = "tracing sampling rate must be positive";
  if (o.distributed_tracing_sampling_rate > 1'000'000) wrong = "tracing sampling rate must be less than 1000000";
  if (!wrong) return {};
  return failed_precondition("distributed tracing configuration is not valid: (" + std::string(wrong) + ")");
}

Status complete_options(Options& o) {
  RETURN_IF_ERROR(check_discovery(o));
  RETURN_IF_ERROR(check_tracing(o));
  RETURN_IF_ERROR(check_gates(o.feature_gates, o.warnings));
  if (o.metrics != "basic" && o.metrics != "extensive")
    o.warnings.push_back("--metrics is neither basic nor extensive, so it is basic: " + o.metrics);
  if (o.name.empty()) return failed_precondition("--name must not be empty");
  if (o.data_dir.empty()) o.data_dir = o.name + ".etcd";
  if (o.wal_dir == o.data_dir) return failed_precondition("--wal-dir must not be the data directory itself");
  if (o.heartbeat_interval_ms == 0) return failed_precondition("--heartbeat-interval must be >0 (set to 0ms)");
  if (o.election_timeout_ms == 0) return failed_precondition("--election-timeout must be >0 (set to 0ms)");
  if (o.election_timeout_ms < 5 * o.heartbeat_interval_ms)
    return failed_precondition("--election-timeout[" + std::to_string(o.election_timeout_ms) +
                               "ms] should be at least as 5 times as --heartbeat-interval[" +
                               std::to_string(o.heartbeat_interval_ms) + "ms]");
  if (o.election_timeout_ms > 50'000)
    return failed_precondition("--election-timeout[" + std::to_string(o.election_timeout_ms) +
                               "ms] is too long, and should be set less than 50000ms");
  for (auto [flag, urls] :
       {std::pair{"listen-peer-urls", &o.listen_peer_urls}, std::pair{"listen-client-urls", &o.listen_client_urls},
        std::pair{"initial-advertise-peer-urls", &o.initial_advertise_peer_urls},
        std::pair{"advertise-client-urls", &o.advertise_client_urls}})
    RETURN_IF_ERROR(split_urls(flag, *urls).status());
  for (auto [flag, urls] : {std::pair{"listen-metrics-urls", &o.listen_metrics_urls},
                            std::pair{"listen-client-http-urls", &o.listen_client_http_urls}})
    if (!urls->empty()) RETURN_IF_ERROR(split_urls(flag, *urls).status());
  if (o.given.contains("listen-client-urls") && !o.given.contains("advertise-client-urls"))
    return failed_precondition("--advertise-client-urls is required when --listen-client-urls is set explicitly");
  if (o.initial_cluster.empty() && o.discovery_endpoints.empty() && o.discovery_srv.empty()) {
    ASSIGN_OR_RETURN(std::vector<std::string> urls,
                     split_urls("initial-advertise-peer-urls", o.initial_advertise_peer_urls));
    for (const std::string& url : urls)
      o.initial_cluster += (o.initial_cluster.empty() ? "" : ",") + o.name + "=" + url;
  }
  if (o.initial_cluster_state != "new" && o.initial_cluster_state != "existing")
    return invalid_argument("invalid value \"" + o.initial_cluster_state +
                            "\" for flag -initial-cluster-state: expected new or existing");
  if (!is_one_of(o.log_level, {"debug", "info", "warn", "error", "dpanic", "panic", "fatal"}))
    return failed_precondition("unrecognized log level: \"" + o.log_level + "\" (--log-level)");
  RETURN_IF_ERROR(check_log_flags(o));
  if (o.logger != "zap") return failed_precondition("unknown logger option \"" + o.logger + "\" (--logger: zap)");
  if (o.fairlead_log_io != "auto" && o.fairlead_log_io != "uring" && o.fairlead_log_io != "pwrite")
    return invalid_argument("invalid value \"" + o.fairlead_log_io +
                            "\" for flag -fairlead-log-io: expected auto, uring or pwrite");
  return {};
}

}  // namespace fairlead::server
