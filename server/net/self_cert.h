// A certificate that signs itself, for --auto-tls and --peer-auto-tls: encryption without identity.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace fairlead::net {

struct SelfCert {
  std::string cert_pem;
  std::string key_pem;
};

// An ECDSA P-256 key and a certificate of the organization "etcd" for these hosts (addresses or names), valid from now
// for years of 365 days. Draws on OpenSSL's randomness and reads the wall clock: for starts, not for the simulation.
Result<SelfCert> make_self_cert(const std::vector<std::string>& hosts, int64_t years);

}  // namespace fairlead::net
