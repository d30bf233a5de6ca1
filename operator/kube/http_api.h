// The real API server over HTTP/1.1 (cpp-httplib) with TLS (OpenSSL).
//
// Limits: every call ends within its Request::timeout (connecting, retries and the answer together). A call is retried
// at most kAttemptsMax times, with backoff and jitter, and only where repeating is harmless: reads on any transient
// failure, writes only when certainly not executed (no connection, 429, 503). An answer above kResponseBytesMax is
// refused. At most kIdleConnectionsMax idle connections are kept. A watch has a connection of its own; silence on it
// for longer than kWatchSilenceMax (a real server sends bookmarks about every minute) counts as a broken connection.
//
// Threads: call() and watch() from any thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/status.h"
#include "operator/kube/api.h"

namespace fairlead::kube {

inline constexpr int kAttemptsMax = 4;
inline constexpr size_t kIdleConnectionsMax = 4;
inline constexpr size_t kResponseBytesMax = 64u << 20;
inline constexpr size_t kWatchLineBytesMax = 8u << 20;
inline constexpr std::chrono::seconds kWatchSilenceMax{90};
inline constexpr std::chrono::seconds kConnectTimeout{5};

// Where the server is and who we are. PEM texts, not file names: the loaders below have read the files.
struct ConnectionConfig {
  std::string server;  // "https://10.0.0.1:6443", "http://127.0.0.1:8001"
  std::string ca_pem;  // empty: the system's roots
  std::string client_certificate_pem;
  std::string client_key_pem;
  std::string token;
  std::string token_file;  // read again whenever it changes; wins over `token`
  bool insecure_skip_tls_verify = false;
  std::string default_namespace;  // of the context, or of the pod; may be empty
  std::string user_agent = "fairlead-operator";
};

// `context` empty: current-context. What we cannot do (exec plugins, proxies, tls-server-name, passwords) is an error
// that names the field, not something ignored.
Result<ConnectionConfig> load_kubeconfig(const std::string& path, const std::string& context = "");
// The service account of the pod we run in: KUBERNETES_SERVICE_HOST and _PORT, and the mounted token, CA and namespace.
// `mount` is replaced by tests.
Result<ConnectionConfig> load_in_cluster(const std::string& mount = "/var/run/secrets/kubernetes.io/serviceaccount");

// Fails on a malformed address or certificate; does not connect. Sets SIGPIPE to be ignored, unless it has a handler.
Result<std::unique_ptr<Api>> connect(const ConnectionConfig& config);

}  // namespace fairlead::kube
