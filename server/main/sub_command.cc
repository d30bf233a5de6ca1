#include "server/main/sub_command.h"

#include <algorithm>
#include <utility>

#include "server/main/flags.h"
#include "server/main/values.h"

namespace fairlead::server {
namespace {

enum class ValueKind { kString, kList, kBool, kDurationMs };

struct SubFlag {
  const char* name;
  ValueKind kind;
  void* (*field)(ProxyOptions&);
  const char* usage;
  const char* test;
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

bool is_sub_command(std::string_view word) { return word == "gateway" || word == "grpc-proxy"; }

Result<SubCommandLine> parse_sub_command(const std::vector<std::string>& args) {
  SubCommandLine out;
  out.command = args.at(0);
  const SubCommand* command = find_command(out.command);
  if (!command)
    return failed_precondition("'" + out.command + "' is a sub-command of etcd that this version does not have yet");
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
    RETURN_IF_ERROR(assign(*flag, out.options, value, again));
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
      out += "| `--" + std::string(flag.name) + "` | " + (text.empty() ? "" : "`" + text + "`") + " | works | " +
             flag.usage + " | " + flag.test + " |\n";
    }
  }
  return out;
}

}  // namespace fairlead::server
