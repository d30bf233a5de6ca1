#include "server/main/sub_command.h"

#include <algorithm>
#include <utility>

#include "server/main/flags.h"
#include "server/main/values.h"

namespace fairlead::server {
namespace {

enum class ValueKind { kString, kList, kBool, kInt, kUint, kDurationMs };

struct SubFlag {
  const char* name;
  ValueKind kind;
  void* (*field)(ProxyOptions&);
  const char* usage;
  const char* test;
  const char* missing = "";  // what is not here: any value but the default is refused with it
};

template <auto Member>
void* proxy_field(ProxyOptions& o) {
  return &(o.*Member);
}

// clang-format off
const SubFlag kGatewayFlags[] = {
    {"discovery-srv", ValueKind::kString, proxy_field<&ProxyOptions::discovery_srv>,
     "domain whose SRV records name the endpoints", "e2e/interop/tcp_gateway_test.sh: SRV: priorities"},
    {"discovery-srv-name", ValueKind::kString, proxy_field<&ProxyOptions::discovery_srv_name>,
     "suffix of the service's name in SRV records", "e2e/interop/tcp_gateway_test.sh: SRV: a suffix"},
    {"endpoints", ValueKind::kList, proxy_field<&ProxyOptions::endpoints>,
     "endpoints of the cluster", "e2e/interop/tcp_gateway_test.sh: etcdctl through it"},
    {"insecure-discovery", ValueKind::kBool, proxy_field<&ProxyOptions::insecure_discovery>,
     "use discovered endpoints without asking them for a certificate", "e2e/interop/tcp_gateway_test.sh: SRV: priorities"},
    {"listen-addr", ValueKind::kString, proxy_field<&ProxyOptions::listen_addr>,
     "address to listen on", "e2e/interop/tcp_gateway_test.sh: etcdctl through it"},
    {"retry-delay", ValueKind::kDurationMs, proxy_field<&ProxyOptions::retry_delay_ms>,
     "how long an endpoint that failed is left out (0 is 5m)", "e2e/interop/tcp_gateway_test.sh: an endpoint goes and comes back"},
    {"trusted-ca-file", ValueKind::kString, proxy_field<&ProxyOptions::trusted_ca_file>,
     "authority that signs the certificates of discovered endpoints", "e2e/interop/tcp_gateway_test.sh: SRV: certificates are verified"},
};

const SubFlag kGrpcProxyFlags[] = {
    {"advertise-client-url", ValueKind::kString, proxy_field<&ProxyOptions::advertise_client_url>,
     "address of this proxy as clients reach it; it is what MemberList answers (empty: the cluster's members)", "e2e/interop/proxy_test.py: test_member_list"},
    {"auto-tls", ValueKind::kBool, proxy_field<&ProxyOptions::auto_tls>,
     "serve clients over TLS with a certificate made here", "e2e/interop/proxy_test.py: test_auto_tls"},
    {"cacert", ValueKind::kString, proxy_field<&ProxyOptions::cacert>,
     "authority that signs the members' certificates", "e2e/interop/proxy_test.py: test_tls_to_the_cluster"},
    {"cert", ValueKind::kString, proxy_field<&ProxyOptions::cert>,
     "certificate shown to members; without a common name", "e2e/interop/proxy_test.py: test_tls_to_the_cluster"},
    {"cert-file", ValueKind::kString, proxy_field<&ProxyOptions::cert_file>,
     "certificate shown to clients", "e2e/interop/proxy_test.py: test_tls_for_clients"},
    {"client-crl-file", ValueKind::kString, proxy_field<&ProxyOptions::client_crl_file>,
     "list of clients' certificates that are revoked", "e2e/interop/proxy_test.py: test_revoked_client"},
    {"data-dir", ValueKind::kString, proxy_field<&ProxyOptions::data_dir>,
     "where the certificate of --auto-tls is kept", "e2e/interop/proxy_test.py: test_auto_tls"},
    {"debug", ValueKind::kBool, proxy_field<&ProxyOptions::debug>,
     "log at level debug", "e2e/interop/proxy_test.py: test_logging"},
    {"dial-keepalive-time", ValueKind::kDurationMs, proxy_field<&ProxyOptions::dial_keepalive_time_ms>,
     "pings to members when nothing was heard for so long (0: none)", "e2e/interop/proxy_test.py: test_dial_keepalive"},
    {"dial-keepalive-timeout", ValueKind::kDurationMs, proxy_field<&ProxyOptions::dial_keepalive_timeout_ms>,
     "a connection to a member without an answer to a ping for so long is given up", "e2e/interop/proxy_test.py: test_dial_keepalive"},
    {"discovery-srv", ValueKind::kString, proxy_field<&ProxyOptions::discovery_srv>,
     "domain whose SRV records name the endpoints", "e2e/interop/tcp_gateway_test.sh: grpc-proxy: SRV"},
    {"discovery-srv-name", ValueKind::kString, proxy_field<&ProxyOptions::discovery_srv_name>,
     "suffix of the service's name in SRV records", "e2e/interop/tcp_gateway_test.sh: grpc-proxy: SRV"},
    {"enable-pprof", ValueKind::kBool, proxy_field<&ProxyOptions::enable_pprof>,
     "pages with profiles under /debug/pprof/", "e2e/interop/proxy_test.py: test_what_is_not_there", "the proxy has no profiling pages yet"},
    {"endpoints", ValueKind::kList, proxy_field<&ProxyOptions::endpoints>,
     "endpoints of the cluster", "e2e/interop/proxy_test.py: test_commands"},
    {"endpoints-auto-sync-interval", ValueKind::kDurationMs, proxy_field<&ProxyOptions::endpoints_auto_sync_interval_ms>,
     "how often the members' own client URLs take the place of the endpoints (0: never)", "e2e/interop/proxy_test.py: test_endpoints_auto_sync"},
    {"experimental-enable-grpc-logging", ValueKind::kBool, proxy_field<&ProxyOptions::enable_grpc_logging>,
     "log every call; not what is in it", "e2e/interop/proxy_test.py: test_logging"},
    {"experimental-leasing-prefix", ValueKind::kString, proxy_field<&ProxyOptions::leasing_prefix>,
     "prefix of the keys that tell who may keep which key", "e2e/interop/proxy_test.py: test_what_is_not_there", "leasing is not here yet"},
    {"experimental-serializable-ordering", ValueKind::kBool, proxy_field<&ProxyOptions::serializable_ordering>,
     "no read is older than one before it, whichever endpoint answers", "e2e/interop/proxy_test.py: test_ordering"},
    {"grpc-keepalive-interval", ValueKind::kDurationMs, proxy_field<&ProxyOptions::grpc_keepalive_interval_ms>,
     "pings to clients on a silent connection (0: none)", "e2e/interop/proxy_test.py: test_keepalive_to_clients"},
    {"grpc-keepalive-min-time", ValueKind::kDurationMs, proxy_field<&ProxyOptions::grpc_keepalive_min_time_ms>,
     "a client that pings more often is sent away", "e2e/interop/proxy_test.py: test_too_many_pings"},
    {"grpc-keepalive-timeout", ValueKind::kDurationMs, proxy_field<&ProxyOptions::grpc_keepalive_timeout_ms>,
     "a client without an answer to a ping for so long is given up", "e2e/interop/proxy_test.py: test_keepalive_to_clients"},
    {"insecure-discovery", ValueKind::kBool, proxy_field<&ProxyOptions::insecure_discovery>,
     "use discovered endpoints without asking them for a certificate", "e2e/interop/tcp_gateway_test.sh: grpc-proxy: SRV"},
    {"insecure-skip-tls-verify", ValueKind::kBool, proxy_field<&ProxyOptions::insecure_skip_tls_verify>,
     "believe any certificate of a member: for tests", "e2e/interop/proxy_test.py: test_tls_to_the_cluster"},
    {"key", ValueKind::kString, proxy_field<&ProxyOptions::key>,
     "key of --cert", "e2e/interop/proxy_test.py: test_tls_to_the_cluster"},
    {"key-file", ValueKind::kString, proxy_field<&ProxyOptions::key_file>,
     "key of --cert-file", "e2e/interop/proxy_test.py: test_tls_for_clients"},
    {"listen-addr", ValueKind::kString, proxy_field<&ProxyOptions::listen_addr>,
     "address to listen on", "e2e/interop/proxy_test.py: test_commands"},
    {"listen-cipher-suites", ValueKind::kList, proxy_field<&ProxyOptions::listen_cipher_suites>,
     "cipher suites for clients, by Go's names", "e2e/interop/proxy_test.py: test_tls_versions_and_ciphers"},
    {"max-concurrent-streams", ValueKind::kUint, proxy_field<&ProxyOptions::max_concurrent_streams>,
     "calls that a connection of a client may have open", "e2e/interop/proxy_test.py: test_max_concurrent_streams"},
    {"max-recv-bytes", ValueKind::kInt, proxy_field<&ProxyOptions::max_recv_bytes>,
     "largest message that a member may send", "e2e/interop/proxy_test.py: test_message_limits"},
    {"max-send-bytes", ValueKind::kInt, proxy_field<&ProxyOptions::max_send_bytes>,
     "largest message that is sent to a member", "e2e/interop/proxy_test.py: test_message_limits"},
    {"metrics-addr", ValueKind::kString, proxy_field<&ProxyOptions::metrics_addr>,
     "URL to serve the pages at besides", "e2e/interop/proxy_test.py: test_pages"},
    {"namespace", ValueKind::kString, proxy_field<&ProxyOptions::name_space>,
     "prefix that every key of a client is behind", "e2e/interop/proxy_test.py: test_namespace"},
    {"permit-without-stream", ValueKind::kBool, proxy_field<&ProxyOptions::permit_without_stream>,
     "ping members also while no call is open", "e2e/interop/proxy_test.py: test_dial_keepalive"},
    {"resolver-prefix", ValueKind::kString, proxy_field<&ProxyOptions::resolver_prefix>,
     "prefix under which proxies register", "e2e/interop/proxy_test.py: test_resolver"},
    {"resolver-ttl", ValueKind::kUint, proxy_field<&ProxyOptions::resolver_ttl_seconds>,
     "seconds that a registration outlives its proxy", "e2e/interop/proxy_test.py: test_resolver"},
    {"self-signed-cert-validity", ValueKind::kUint, proxy_field<&ProxyOptions::self_signed_cert_validity>,
     "years that the certificate of --auto-tls is good for", "e2e/interop/proxy_test.py: test_auto_tls"},
    {"tls-max-version", ValueKind::kString, proxy_field<&ProxyOptions::tls_max_version>,
     "highest version of TLS for clients: TLS1.2 or TLS1.3 (empty: the highest there is)", "e2e/interop/proxy_test.py: test_tls_versions_and_ciphers"},
    {"tls-min-version", ValueKind::kString, proxy_field<&ProxyOptions::tls_min_version>,
     "lowest version of TLS for clients: TLS1.2 or TLS1.3", "e2e/interop/proxy_test.py: test_tls_versions_and_ciphers"},
    {"trusted-ca-file", ValueKind::kString, proxy_field<&ProxyOptions::trusted_ca_file>,
     "authority that signs the certificates that clients must show", "e2e/interop/proxy_test.py: test_tls_for_clients"},
};
// clang-format on

struct SubCommand {
  const char* name;
  const char* what;  // of --help
  std::vector<SubFlag> flags;
};

const std::vector<SubCommand>& sub_commands() {
  static const std::vector<SubCommand> all = {
      {"gateway",
       "Passes connections on to endpoints of a cluster, byte by byte",
       {std::begin(kGatewayFlags), std::end(kGatewayFlags)}},
      {"grpc-proxy",
       "Serves etcd's API for a cluster: one watch for many, keys behind a prefix, a cache",
       {std::begin(kGrpcProxyFlags), std::end(kGrpcProxyFlags)}},
  };
  return all;
}

const SubCommand* find_command(std::string_view name) {
  for (const SubCommand& command : sub_commands())
    if (name == command.name) return &command;
  return nullptr;
}

const SubFlag* find_flag_of(const SubCommand& command, std::string_view name) {
  for (const SubFlag& flag : command.flags)
    if (name == flag.name) return &flag;
  return nullptr;
}

std::string joined(const std::vector<std::string>& list) {
  std::string out;
  for (const std::string& one : list) out += (out.empty() ? "" : ",") + one;
  return out;
}

std::string default_of(const SubFlag& flag) {
  ProxyOptions defaults;
  void* value = flag.field(defaults);
  switch (flag.kind) {
    case ValueKind::kString:
      return *static_cast<std::string*>(value);
    case ValueKind::kList:
      return joined(*static_cast<std::vector<std::string>*>(value));
    case ValueKind::kBool:
      return *static_cast<bool*>(value) ? "true" : "false";
    case ValueKind::kInt:
    case ValueKind::kUint:
      return std::to_string(*static_cast<int64_t*>(value));
    case ValueKind::kDurationMs:
      return duration_text(*static_cast<int64_t*>(value));
  }
  return {};
}

Status wrong(const SubFlag& flag, std::string_view value, const char* expected) {
  return invalid_argument("invalid argument \"" + std::string(value) + "\" for \"--" + flag.name +
                          "\" flag: expected " + expected);
}

Status assign(const SubFlag& flag, ProxyOptions& options, std::string_view value, bool again) {
  void* field = flag.field(options);
  switch (flag.kind) {
    case ValueKind::kString:
      *static_cast<std::string*>(field) = value;
      return {};
    case ValueKind::kList: {
      auto& list = *static_cast<std::vector<std::string>*>(field);
      if (!again) list.clear();
      for (std::string& item : split_list(std::string(value))) list.push_back(std::move(item));
      return {};
    }
    case ValueKind::kBool:
      if (!parse_bool(value, *static_cast<bool*>(field))) return wrong(flag, value, "true or false");
      return {};
    case ValueKind::kInt:
      if (!parse_integer(value, *static_cast<int64_t*>(field))) return wrong(flag, value, "a whole number");
      return {};
    case ValueKind::kUint:
      if (!parse_integer(value, *static_cast<int64_t*>(field)) || *static_cast<int64_t*>(field) < 0)
        return wrong(flag, value, "a whole number, zero or above");
      return {};
    case ValueKind::kDurationMs:
      if (!parse_duration_ms(value, *static_cast<int64_t*>(field)) || *static_cast<int64_t*>(field) < 0)
        return wrong(flag, value, "a duration such as 500ms or 1h30m, and not below zero");
      return {};
  }
  return {};
}

const char* type_name(ValueKind kind) {
  switch (kind) {
    case ValueKind::kString:
      return " string";
    case ValueKind::kList:
      return " strings";
    case ValueKind::kBool:
      return "";
    case ValueKind::kInt:
      return " int";
    case ValueKind::kUint:
      return " uint";
    case ValueKind::kDurationMs:
      return " duration";
  }
  return "";
}

std::string default_note(const SubFlag& flag) {
  std::string text = default_of(flag);
  if (text.empty() || text == "false" || text == "0" || text == "0s") return "";
  if (flag.kind == ValueKind::kString) text = "\"" + text + "\"";
  if (flag.kind == ValueKind::kList) text = "[" + text + "]";
  return " (default " + text + ")";
}

std::string group_help(const SubCommand& command) {
  std::string name = command.name;
  return "Usage:\n  etcd " + name + " [command]\n\nAvailable Commands:\n  start       " + command.what +
         "\n\nFlags:\n  -h, --help   help for " + name + "\n\nUse \"etcd " + name +
         " [command] --help\" for more information about a command.\n";
}

std::string start_help(const SubCommand& command) {
  std::vector<std::pair<std::string, std::string>> lines = {{"-h, --help", "help for start"}};
  for (const SubFlag& flag : command.flags)
    lines.emplace_back("    --" + std::string(flag.name) + type_name(flag.kind), flag.usage + default_note(flag));
  std::sort(lines.begin(), lines.end(),
            [](const auto& a, const auto& b) { return a.first.substr(4) < b.first.substr(4); });
  size_t width = 0;
  for (const auto& [left, right] : lines) width = std::max(width, left.size());
  std::string out = std::string(command.what) + "\n\nUsage:\n  etcd " + command.name + " start [flags]\n\nFlags:\n";
  for (const auto& [left, right] : lines) out += "  " + left + std::string(width - left.size() + 3, ' ') + right + "\n";
  return out;
}

}  // namespace

namespace {

Status assign_and_check(const SubFlag& flag, ProxyOptions& options, std::string_view value, bool again) {
  RETURN_IF_ERROR(assign(flag, options, value, again));
  if (!*flag.missing) return {};
  ProxyOptions given, defaults;
  (void)assign(flag, given, value, false);
  bool is_default = flag.kind == ValueKind::kBool
                        ? *static_cast<bool*>(flag.field(given)) == *static_cast<bool*>(flag.field(defaults))
                        : value == default_of(flag);
  if (is_default) return {};
  return failed_precondition("--" + std::string(flag.name) + ": " + flag.missing);
}

}  // namespace

bool is_sub_command(std::string_view word) { return find_command(word) != nullptr; }

Result<SubCommandLine> parse_sub_command(const std::vector<std::string>& args) {
  SubCommandLine out;
  out.command = args.at(0);
  const SubCommand* command = find_command(out.command);
  if (!command) return invalid_argument("unknown command \"" + out.command + "\"");
  if (args.size() < 2 || args[1] == "-h" || args[1] == "--help") return out.help = group_help(*command), out;
  if (args[1] != "start")
    return invalid_argument("unknown command \"" + args[1] + "\" for \"" + out.command + "\": there is 'start'");
  std::vector<std::string> given;
  for (size_t i = 2; i < args.size(); ++i) {
    const std::string& word = args[i];
    if (word == "-h" || word == "--help") return out.help = start_help(*command), out;
    if (!word.starts_with("--") || word == "--") return invalid_argument("unexpected argument \"" + word + "\"");
    size_t equals = word.find('=');
    std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
    const SubFlag* flag = find_flag_of(*command, name);
    if (!flag) return invalid_argument("unknown flag: --" + name);
    std::string value = "true";
    if (equals != std::string::npos)
      value = word.substr(equals + 1);
    else if (flag->kind != ValueKind::kBool && ++i == args.size())
      return invalid_argument("flag needs an argument: --" + name);
    else if (flag->kind != ValueKind::kBool)
      value = args[i];
    bool again = std::find(given.begin(), given.end(), name) != given.end();
    RETURN_IF_ERROR(assign_and_check(*flag, out.options, value, again));
    given.push_back(name);
  }
  return out;
}

std::string sub_command_markdown() {
  std::string out;
  for (const SubCommand& command : sub_commands()) {
    out += "\n## `" + std::string(command.name) +
           " start`\n\nNot from the environment. With `--` and no single dash.\n\n"
           "| flag | default | state | what it says | test |\n|---|---|---|---|---|\n";
    for (const SubFlag& flag : command.flags) {
      std::string text = default_of(flag);
      out += "| `--" + std::string(flag.name) + "` | " + (text.empty() ? "" : "`" + text + "`") + " | " +
             (*flag.missing ? "missing" : "works") + " | " + (*flag.missing ? flag.missing : flag.usage) + " | " +
             flag.test + " |\n";
    }
  }
  return out;
}

}  // namespace fairlead::server
