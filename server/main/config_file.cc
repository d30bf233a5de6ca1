#include "server/main/config_file.h"

#include <yaml-cpp/yaml.h>

#include <array>
#include <cstdio>
#include <map>
#include <memory>
#include <utility>

#include "server/main/flags.h"
#include "server/main/values.h"

namespace fairlead::server {
namespace {

// Keys below a section -> flags. The sections are etcd's.
const std::map<std::string, std::map<std::string, std::string>> kSections = {
    {"client-transport-security",
     {{"cert-file", "cert-file"},
      {"key-file", "key-file"},
      {"client-cert-file", "client-cert-file"},
      {"client-key-file", "client-key-file"},
      {"client-cert-auth", "client-cert-auth"},
      {"trusted-ca-file", "trusted-ca-file"},
      {"auto-tls", "auto-tls"},
      {"allowed-hostname", "client-cert-allowed-hostname"}}},
    {"peer-transport-security",
     {{"cert-file", "peer-cert-file"},
      {"key-file", "peer-key-file"},
      {"client-cert-file", "peer-client-cert-file"},
      {"client-key-file", "peer-client-key-file"},
      {"client-cert-auth", "peer-client-cert-auth"},
      {"trusted-ca-file", "peer-trusted-ca-file"},
      {"auto-tls", "peer-auto-tls"},
      {"allowed-cn", "peer-cert-allowed-cn"},
      {"allowed-hostname", "peer-cert-allowed-hostname"},
      {"skip-client-san-verification", "peer-skip-client-san-verification"}}},
    {"socket-options", {{"reuse-port", "socket-reuse-port"}, {"reuse-address", "socket-reuse-address"}}},
    {"discovery-config",
     {{"token", "discovery-token"},
      {"endpoints", "discovery-endpoints"},
      {"dial-timeout", "discovery-dial-timeout"},
      {"request-timeout", "discovery-request-timeout"},
      {"keepalive-time", "discovery-keepalive-time"},
      {"keepalive-timeout", "discovery-keepalive-timeout"}}},
    {"discovery-config/secure",
     {{"cert", "discovery-cert"},
      {"key", "discovery-key"},
      {"cacert", "discovery-cacert"},
      {"insecure-transport", "discovery-insecure-transport"},
      {"insecure-skip-tls-verify", "discovery-insecure-skip-tls-verify"}}},
    {"discovery-config/auth", {{"username", "discovery-user"}, {"password", "discovery-password"}}},
};

// Only on the command line, as with etcd: its config file has no key for them.
bool has_no_key(std::string_view flag) {
  for (std::string_view name : {"config-file", "version", "help", "fairlead-help-markdown", "discovery-fallback"})
    if (flag == name) return true;
  for (const auto& [section, keys] : kSections)
    for (const auto& [key, name] : keys)
      if (flag == name) return true;
  return false;
}

const char* kind_name(const YAML::Node& node) {
  if (node.IsMap()) return "object";
  if (node.IsSequence()) return "array";
  if (node.Tag() == "!") return "string";  // was in quotes
  bool truth = false;
  if (node.Scalar() == "true" || node.Scalar() == "false") return "bool";
  int64_t number = 0;
  double real = 0;
  (void)truth;
  if (parse_integer(node.Scalar(), number) || YAML::convert<double>::decode(node, real)) return "number";
  return "string";
}

Status wrong_kind(const std::string& key, const YAML::Node& node, const char* wanted) {
  return failed_precondition("cannot unmarshal " + std::string(kind_name(node)) + " into field " + key + " of type " +
                             wanted);
}

// The node's value as the flag's own text.
Result<std::string> text_of(const std::string& key, const Flag& flag, const YAML::Node& node) {
  std::string kind = kind_name(node);
  switch (flag.kind) {
    case Kind::kString:
    case Kind::kBytes:
      if (kind == "array") {
        std::string joined;
        for (const YAML::Node& item : node) {
          if (!item.IsScalar()) return wrong_kind(key, item, "string");
          joined += (joined.empty() ? "" : ",") + item.Scalar();
        }
        return joined;
      }
      if (kind != "string" && !(flag.kind == Kind::kBytes && kind == "number")) return wrong_kind(key, node, "string");
      return node.Scalar();
    case Kind::kBool:
      if (kind != "bool") return wrong_kind(key, node, "bool");
      return node.Scalar();
    case Kind::kInt:
    case Kind::kUint:
    case Kind::kSigned:
      if (kind != "number") return wrong_kind(key, node, "uint");
      return node.Scalar();
    case Kind::kDurationMs:
      if (kind != "number") return wrong_kind(key, node, "time.Duration (whole nanoseconds)");
      return node.Scalar() + "ns";
  }
  return std::string();
}

Status set_flag(const std::string& key, const std::string& name, const YAML::Node& node, Options& options) {
  const Flag* flag = find_flag(name);
  if (!flag) return internal_error("the config file's key " + key + " names no flag");
  if (node.IsNull()) return {};
  ASSIGN_OR_RETURN(std::string text, text_of(key, *flag, node));
  RETURN_IF_ERROR(assign(*flag, options, text));
  options.given[flag->name] = "file";
  return {};
}

Status set_section(const std::string& path, const YAML::Node& node, Options& options) {
  if (node.IsNull()) return {};
  if (!node.IsMap()) return failed_precondition("invalid " + path);
  const auto& keys = kSections.at(path);
  for (const auto& entry : node) {
    std::string key = entry.first.Scalar();
    if (auto known = keys.find(key); known != keys.end())
      RETURN_IF_ERROR(set_flag(path + "." + key, known->second, entry.second, options));
    else if (kSections.contains(path + "/" + key))
      RETURN_IF_ERROR(set_section(path + "/" + key, entry.second, options));
    else if (path == "discovery-config" && key == "client")
      RETURN_IF_ERROR(set_section(path, entry.second, options));  // where etcd's own type nests them
    else
      options.warnings.push_back("the config file's key " + path + "." + key + " is unknown and has no effect");
  }
  return {};
}

Status set_key(const std::string& key, const YAML::Node& node, Options& options) {
  if (kSections.contains(key)) return set_section(key, node, options);
  if (find_flag(key) && !has_no_key(key)) return set_flag(key, key, node, options);
  if (std::optional<std::string_view> now = renamed_flag(key)) {
    size_t equals = now->find('=');
    if (equals == std::string_view::npos) return set_flag(key, std::string(*now), node, options);
    if (std::string_view(kind_name(node)) != "bool") return wrong_kind(key, node, "bool");
    std::string gates = options.given.contains("feature-gates") ? options.feature_gates + "," : "";
    gates += std::string(now->substr(equals + 1)) + "=" + node.Scalar();
    RETURN_IF_ERROR(assign(*find_flag("feature-gates"), options, gates));
    options.given["feature-gates"] = "file";
    return {};
  }
  options.warnings.push_back("the config file's key " + key + " is unknown and has no effect");
  return {};
}

}  // namespace

Result<Options> options_from_text(std::string_view text) {
  YAML::Node root;
  try {
    root = YAML::Load(std::string(text));
  } catch (const YAML::Exception& e) {
    return failed_precondition("the config file is neither YAML nor JSON: " + std::string(e.what()));
  }
  Options options;
  if (root.IsNull()) return options;
  if (!root.IsMap()) return failed_precondition("the config file must hold keys and values");
  try {
    for (const auto& entry : root) {
      if (!entry.first.IsScalar()) return failed_precondition("the config file has a key that is no word");
      RETURN_IF_ERROR(set_key(entry.first.Scalar(), entry.second, options));
    }
  } catch (const YAML::Exception& e) {
    return failed_precondition("the config file cannot be understood: " + std::string(e.what()));
  }
  return options;
}

Result<Options> options_from_file(const std::string& path) {
  std::unique_ptr<FILE, int (*)(FILE*)> file(fopen(path.c_str(), "re"), fclose);
  if (!file) return io_error("open " + path, errno);
  std::string text;
  std::array<char, 65536> block;
  for (size_t n = 0; (n = fread(block.data(), 1, block.size(), file.get())) > 0;) {
    text.append(block.data(), n);
    if (text.size() > kConfigFileBytesMax) return failed_precondition(path + " is larger than a config file may be");
  }
  if (ferror(file.get())) return io_error("read " + path, errno);
  ASSIGN_OR_RETURN(Options options, options_from_text(text));
  options.config_file = path;
  return options;
}

}  // namespace fairlead::server
