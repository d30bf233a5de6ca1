#include "server/net/tls_config.h"

#include <array>

namespace fairlead::net {
namespace {

struct Suite {
  std::string_view go;
  std::string_view openssl;  // empty: OpenSSL 3 does not have it
  bool tls13 = false;
};

constexpr Suite kSuites[] = {
    {"TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", true},
    {"TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", true},
    {"TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256", true},
    {"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "ECDHE-ECDSA-AES128-SHA"},
    {"TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "ECDHE-ECDSA-AES256-SHA"},
    {"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA"},
    {"TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "ECDHE-RSA-AES256-SHA"},
    {"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"},
    {"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"},
    {"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"},
    {"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"},
    {"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"},
    {"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {"TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"},
    {"TLS_RSA_WITH_AES_256_CBC_SHA", "AES256-SHA"},
    {"TLS_RSA_WITH_AES_128_CBC_SHA256", "AES128-SHA256"},
    {"TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"},
    {"TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384"},
    {"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "ECDHE-ECDSA-AES128-SHA256"},
    {"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", "ECDHE-RSA-AES128-SHA256"},
    {"TLS_RSA_WITH_3DES_EDE_CBC_SHA", ""},
    {"TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", ""},
    {"TLS_RSA_WITH_RC4_128_SHA", ""},
    {"TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", ""},
    {"TLS_ECDHE_RSA_WITH_RC4_128_SHA", ""},
};

// Go's defaults.
constexpr std::string_view kDefault12 =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-SHA:"
    "ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA";
constexpr std::string_view kDefault13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

// As Go prints a list of strings with %q.
std::string quoted(const std::vector<std::string>& list) {
  std::string out = "[";
  for (const std::string& s : list) out += (out.size() > 1 ? " \"" : "\"") + s + "\"";
  return out + "]";
}

}  // namespace

Result<int> tls_version(std::string_view name) {
  if (name.empty()) return 0;
  if (name == "TLS1.2") return 0x0303;
  if (name == "TLS1.3") return 0x0304;
  return invalid_argument("unexpected TLS version \"" + std::string(name) + "\" (must be one of: TLS1.2, TLS1.3)");
}

Result<TlsCiphers> tls_ciphers(const std::vector<std::string>& go_names) {
  TlsCiphers out;
  out.tls13 = kDefault13;  // as in Go, these are not chosen
  if (go_names.empty()) {
    out.tls12 = kDefault12;
    return out;
  }
  for (const std::string& name : go_names) {
    const Suite* found = nullptr;
    for (const Suite& suite : kSuites)
      if (suite.go == name) found = &suite;
    if (!found) return invalid_argument("unexpected TLS cipher suite \"" + name + "\"");
    if (found->openssl.empty())
      out.unavailable.push_back(name);
    else if (!found->tls13)
      out.tls12 += (out.tls12.empty() ? "" : ":") + std::string(found->openssl);
  }
  return out;
}

Status check_tls_config(const TlsConfig& c) {
  ASSIGN_OR_RETURN(int version_min, tls_version(c.version_min));
  ASSIGN_OR_RETURN(int version_max, tls_version(c.version_max));
  if (version_max != 0 && version_min > version_max)
    return invalid_argument("min version (" + c.version_min + ") is greater than max version (" + c.version_max + ")");
  if (version_min == 0x0304 && !c.cipher_suites.empty())
    return invalid_argument("cipher suites cannot be configured when only TLS1.3 is enabled");
  ASSIGN_OR_RETURN(TlsCiphers ciphers, tls_ciphers(c.cipher_suites));
  if (version_max == 0x0303 && ciphers.tls12.empty())
    return invalid_argument("--cipher-suites leaves no suite that can be used with TLS1.2");
  if (c.empty()) return {};
  if (c.key_file.empty() || c.cert_file.empty())
    return invalid_argument("KeyFile and CertFile must both be present[key: " + c.key_file + ", cert: " + c.cert_file +
                            "]");
  if (c.client_key_file.empty() != c.client_cert_file.empty())
    return invalid_argument("ClientKeyFile and ClientCertFile must both be present or both absent: key: " +
                            c.client_key_file + ", cert: " + c.client_cert_file + "]");
  if (!c.allowed_names.empty() && !c.allowed_hostnames.empty())
    return invalid_argument("AllowedCNs and AllowedHostnames are mutually exclusive (cns=" + quoted(c.allowed_names) +
                            ", hostnames=" + quoted(c.allowed_hostnames) + ")");
  return {};
}

}  // namespace fairlead::net
