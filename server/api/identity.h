// From a call to the caller: tokens in metadata (`token`, else `authorization`, with or without "Bearer "), else the
// common name of a verified client certificate.
//
// A known token costs one hash look-up. A simple token may have been given by another member a moment ago: it is known
// here once its entry is applied, so an unknown one is looked up again behind a barrier (learn()). A JWT is verified by
// a worker when it is first seen and then remembered until it expires; calls that show it meanwhile wait for that one
// verification.
//
// Key files are read at the start and looked at again every kKeyFilesInterval while tokens are in use; new ones take
// the place of the old, whose tokens are then worth nothing. Files that cannot be used change nothing but the log.
//
// Bounds: kJwtsMax remembered; kVerifyingMax tokens being verified, then ResourceExhausted "etcdserver: too many
// requests".
// Threads: the loop. Tokens are never logged.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/api/jwt.h"
#include "server/net/call.h"
#include "server/node/node.h"

namespace fairlead::api {

constexpr size_t kJwtsMax = 10'000;
constexpr size_t kVerifyingMax = 256;
constexpr io::Nanos kKeyFilesInterval = 5 * io::kSecond;

// "simple", or "jwt,pub-key=FILE,priv-key=FILE,sign-method=NAME,ttl=DURATION"; nothing for simple ones. Unknown
// options are left out, as etcd does.
Result<std::optional<JwtOptions>> parse_auth_token(std::string_view text);
// Whether a member could start with it: also its key files are there and fit.
Status check_auth_token(io::Disk& disk, std::string_view text);

class Identities {
 public:
  Identities(const io::World& world, node::Node& node) : world_(world), node_(node) {}
  ~Identities() { *alive_ = false; }

  // Reads the key files: blocks, for the start.
  static Status check_keys(io::Disk& disk, const JwtOptions& options);
  Status use_jwt(const JwtOptions& options);
  bool jwt() const { return jwt_options_.has_value(); }

  // While authentication is on. Nobody when nothing was shown; Unauthenticated for a token that is not known.
  Result<node::Caller> resolve(const net::ServerCall& call);
  Result<node::Caller> resolve(std::string_view token, std::string_view common_name);
  // Whatever it takes to know better who makes the call; then resolve() again. An error: it was not tried.
  using Learned = std::function<void(const Status&)>;
  void learn(const net::CallRef& call, Learned done);
  void learn(std::string token, Learned done);
  // An Authorization header's token.
  static std::string_view without_bearer(std::string_view token);
  // A JWT for the user, as of this auth revision.
  void issue(const std::string& user, uint64_t auth_revision, std::function<void(Result<std::string>)> done);

 private:
  struct Known {
    JwtClaims claims;
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  struct KeyFiles {
    std::string public_key, private_key;
    bool operator==(const KeyFiles&) const = default;
  };
  static std::string_view token_of(const net::ServerCall& call);
  int64_t now_seconds() const { return world_.loop->wall_ms() / 1000; }
  void verified(const std::string& token, const Jwt* signer, std::optional<JwtClaims> claims);
  void remember(std::string token, JwtClaims claims);
  static Result<KeyFiles> read_keys(io::Disk& disk, const JwtOptions& options);
  void look_at_keys();

  io::World world_;
  node::Node& node_;
  std::optional<JwtOptions> jwt_options_;
  KeyFiles keys_;
  std::shared_ptr<const Jwt> signer_;
  std::unordered_map<std::string, Known, Hash, std::equal_to<>> known_;
  std::deque<std::string> order_;                                    // of known_, oldest first
  std::unordered_map<std::string, std::vector<Learned>> verifying_;  // token -> who waits for it
  io::Nanos keys_seen_ = 0;
  bool looking_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace fairlead::api
