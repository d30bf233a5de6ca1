// Who asks: the identity in whose name a call is judged. Made at the API edge from a token or a client certificate,
// once per call; judged where the call takes effect (apply, or the serving point of a read), never before.
//
// While authentication is off every caller is nobody, and nobody may do everything. While it is on, nobody may do
// nothing but what is open to all: a path that forgets its caller fails closed.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace fairlead::node {

struct Caller {
  enum class Kind : uint8_t {
    kNobody,       // no identity was shown
    kSimpleToken,  // as of now: its user's rights of the moment
    kJwt,          // as of the auth revision that the token was signed at
    kCertificate,  // the common name of a verified client certificate
    kCluster,      // the cluster itself (the leader ending a lease): every right; never from the wire
  };

  std::string user;
  uint64_t auth_revision = 0;  // of the user store when the caller was resolved, or that of the token
  Kind kind = Kind::kNobody;

  bool nobody() const { return kind == Kind::kNobody; }
  static Caller cluster() {
    Caller c;
    c.kind = Kind::kCluster;
    return c;
  }
};

}  // namespace fairlead::node
