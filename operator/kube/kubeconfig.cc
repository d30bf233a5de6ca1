// Loaders of ConnectionConfig: kubeconfig files and the service account of a pod.

#include <cstdlib>
#include <filesystem>

#include "base/text.h"
#include "operator/kube/http_api.h"
#include "operator/kube/yaml.h"

namespace fairlead::kube {

namespace {

// As people paste it: lines of any length, with or without padding.
constexpr Base64 kPasted = {.padding = Base64::Padding::kOptional, .ignored = " \r\n"};

// The entry called `name` of a kubeconfig list such as `clusters`.
const Json* find_named(const Json& config, std::string_view list, const std::string& name) {
  const Json& entries = at(config, {list});
  if (!entries.is_array()) return nullptr;
  for (const Json& entry : entries) {
    if (string_at(entry, {"name"}) == name) return &entry;
  }
  return nullptr;
}

// `FIELD-data` inline, or the file named by `FIELD`, relative to the kubeconfig's folder.
Result<std::string> inline_or_file(const Json& object, const std::string& field, const std::filesystem::path& folder) {
  if (std::string data = string_at(object, {field + "-data"}); !data.empty()) {
    std::optional<std::string> decoded = decode_base64(data, kPasted);
    if (!decoded) return invalid_argument("kubeconfig: " + field + "-data is not base64");
    return *decoded;
  }
  const std::string path = string_at(object, {field});
  if (path.empty()) return std::string();
  return read_file((folder / path).string());
}

// What would silently change who we are or whom we talk to if it were ignored.
Status refuse_unsupported(const Json& object, std::initializer_list<std::string_view> fields) {
  for (std::string_view field : fields) {
    if (!at(object, {field}).is_null()) {
      return Status(Code::kUnimplemented, "kubeconfig: '" + std::string(field) + "' is not supported");
    }
  }
  return {};
}

}  // namespace

Result<ConnectionConfig> load_kubeconfig(const std::string& path, const std::string& context_name) {
  ASSIGN_OR_RETURN(std::vector<Json> documents, parse_yaml_file(path));
  if (documents.size() != 1) return invalid_argument(path + ": not one YAML document");
  const Json& file = documents[0];
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();

  const std::string name = context_name.empty() ? string_at(file, {"current-context"}) : context_name;
  const Json* context = find_named(file, "contexts", name);
  if (context == nullptr) return invalid_argument(path + ": no context '" + name + "'");
  const std::string cluster_name = string_at(*context, {"context", "cluster"});
  const std::string user_name = string_at(*context, {"context", "user"});
  const Json* cluster_entry = find_named(file, "clusters", cluster_name);
  if (cluster_entry == nullptr) return invalid_argument(path + ": no cluster '" + cluster_name + "'");
  const Json& cluster = at(*cluster_entry, {"cluster"});
  const Json* user_entry = find_named(file, "users", user_name);
  const Json none = Json::object();
  const Json& user = user_entry == nullptr ? none : at(*user_entry, {"user"});
  RETURN_IF_ERROR(refuse_unsupported(cluster, {"proxy-url", "tls-server-name"}));
  RETURN_IF_ERROR(refuse_unsupported(
      user, {"exec", "auth-provider", "username", "password", "as", "as-uid", "as-groups", "as-user-extra"}));

  ConnectionConfig config;
  config.server = string_at(cluster, {"server"});
  if (config.server.empty()) return invalid_argument(path + ": cluster '" + cluster_name + "' has no server");
  config.insecure_skip_tls_verify = bool_at(cluster, {"insecure-skip-tls-verify"});
  config.default_namespace = string_at(*context, {"context", "namespace"});
  config.token = string_at(user, {"token"});
  if (std::string token_file = string_at(user, {"tokenFile"}); !token_file.empty()) {
    config.token_file = (folder / token_file).string();
  }
  ASSIGN_OR_RETURN(config.ca_pem, inline_or_file(cluster, "certificate-authority", folder));
  ASSIGN_OR_RETURN(config.client_certificate_pem, inline_or_file(user, "client-certificate", folder));
  ASSIGN_OR_RETURN(config.client_key_pem, inline_or_file(user, "client-key", folder));
  return config;
}

Result<ConnectionConfig> load_in_cluster(const std::string& mount) {
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (host == nullptr || port == nullptr || *host == 0 || *port == 0) {
    return failed_precondition(
        "not in a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; use a kubeconfig");
  }
  ConnectionConfig config;
  const bool ipv6 = std::string_view(host).find(':') != std::string_view::npos;
  config.server = std::string("https://") + (ipv6 ? "[" : "") + host + (ipv6 ? "]:" : ":") + port;
  config.token_file = mount + "/token";
  ASSIGN_OR_RETURN(config.ca_pem, read_file(mount + "/ca.crt"));
  // the namespace is a convenience; the token is read at the first call
  if (Result<std::string> ns = read_file(mount + "/namespace"); ns.is_ok()) config.default_namespace = *ns;
  return config;
}

}  // namespace fairlead::kube
