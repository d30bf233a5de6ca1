// What TLS is asked to do, in the words of etcd's flags, and the names that Go gives to versions and cipher suites.
// Pure: no file is read here (tls_context.h does).
//
// Errors: the texts are etcd's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fairlead::net {

// One of etcd's two sets of files: for clients (--cert-file, ...) or for members (--peer-cert-file, ...).
struct TlsConfig {
  std::string cert_file, key_file;                // the server's certificate, with its chain, and its key
  std::string client_cert_file, client_key_file;  // for dialing; empty: the server's
  std::string trusted_ca_file;                    // who may sign the other side's certificate; empty: the system's list
  std::string crl_file;                           // PEM or DER
  bool client_cert_auth = false;                  // its common name is an identity
  bool self_signed = false;                       // made by ourselves (--auto-tls): a dialed server is not verified
  std::vector<std::string> allowed_names;         // common names; or
  std::vector<std::string> allowed_hostnames;     // names and addresses of the certificate
  std::vector<std::string> cipher_suites;         // Go's names; empty: the defaults
  std::string version_min = "TLS1.2";
  std::string version_max;  // empty: the highest

  bool empty() const { return cert_file.empty() && key_file.empty(); }
  // A certificate is asked for, and must be verified.
  bool wants_client_certificate() const { return client_cert_auth || !trusted_ca_file.empty(); }
};

// Contradictions that need no file to be seen.
Status check_tls_config(const TlsConfig& config);

// 0x0303, 0x0304, or 0 for the empty name.
Result<int> tls_version(std::string_view name);

struct TlsCiphers {
  std::string tls12;  // OpenSSL's list for up to TLS 1.2; empty: none of the names is one for it
  std::string tls13;
  std::vector<std::string> unavailable;  // known names that this build of OpenSSL does not have (RC4, 3DES)
};
Result<TlsCiphers> tls_ciphers(const std::vector<std::string>& go_names);

}  // namespace fairlead::net
