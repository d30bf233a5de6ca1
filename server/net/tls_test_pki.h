// For tests: authorities, certificates and revocation lists, made at run time.
#pragma once

#include <string>
#include <vector>

namespace fairlead::net::test {

struct Cert {
  std::string cert_pem;
  std::string key_pem;
};

struct CertOptions {
  std::string common_name;
  std::vector<std::string> names = {"DNS:localhost", "IP:127.0.0.1"};  // of the alternative names; may be empty
  long serial = 2;
  long from_seconds = -3600;  // valid from and to, from now
  long to_seconds = 3600;
  bool authority = false;
  int rsa_bits = 0;  // 0: ECDSA P-256
};

// Signed by `issuer`, or by itself without one.
Cert make_cert(const CertOptions& options, const Cert* issuer);
// A revocation list of `issuer` in PEM or DER.
std::string make_crl(const Cert& issuer, const std::vector<long>& serials, bool der);

}  // namespace fairlead::net::test
