// JSON Web Tokens (RFC 7519, 7515, 7518, 8037) as etcd uses them: three base64url parts; claims username, revision (of
// the user store) and exp. Algorithms: HS, RS, PS, ES with 256, 384 and 512, and EdDSA with Ed25519.
//
// One algorithm is configured; a token that names another is refused, so "none" and a public key taken for an HMAC
// secret lead nowhere. HS uses the bytes of the private key file; the others PEM files; with only a public key tokens
// can be checked and not made.
//
// Parsing is bounded (kTokenBytesMax), allocates in proportion, and never throws: what comes in is anybody's.
// Threads: a Jwt is immutable; sign() and verify() may run on workers. They read no clock.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "server/io/io.h"

namespace fairlead::api {

constexpr size_t kTokenBytesMax = 8192;
constexpr size_t kKeyFileBytesMax = 64 << 10;

// --auth-token jwt,pub-key=FILE,priv-key=FILE,sign-method=RS256,ttl=5m
struct JwtOptions {
  std::string method;
  std::string public_key_file;
  std::string private_key_file;
  int64_t ttl_seconds = 300;
};

struct JwtClaims {
  std::string username;
  uint64_t revision = 0;
  int64_t expires = 0;  // Unix seconds; 0: never
};

class Jwt {
 public:
  // Contents of the key files; either may be empty. Errors are etcd's.
  static Result<std::shared_ptr<const Jwt>> create(std::string_view method, std::string_view public_key,
                                                   std::string_view private_key);
  ~Jwt();

  Result<std::string> sign(const JwtClaims& claims) const;
  // Signature, algorithm, times and claims; nothing when any of them is wrong.
  std::optional<JwtClaims> verify(std::string_view token, int64_t now_seconds) const;

 private:
  struct Key;
  Jwt();
  bool check_signature(std::string_view signed_part, std::string_view signature) const;
  Result<std::string> make_signature(std::string_view signed_part) const;
  std::unique_ptr<Key> key_;
};

}  // namespace fairlead::api
