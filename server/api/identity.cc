#include "server/api/identity.h"

#include <map>

#include "base/text.h"
#include "server/mvcc/errors.h"

namespace fairlead::api {
namespace {

constexpr std::string_view kBearer = "Bearer ";

Status bad_options() { return invalid_argument("auth: invalid auth options"); }

Result<std::string> read_file(io::Disk& disk, const std::string& path) {
  if (path.empty()) return std::string();
  ASSIGN_OR_RETURN(std::unique_ptr<io::File> file, disk.open(path, io::OpenMode::kRead));
  ASSIGN_OR_RETURN(uint64_t size, file->size());
  if (size > kKeyFileBytesMax) return invalid_argument(path + " is too large for a key");
  std::string out(size, '\0');
  ASSIGN_OR_RETURN(size_t got, file->read_at(0, out));
  out.resize(got);
  return out;
}

}  // namespace

Result<std::optional<JwtOptions>> parse_auth_token(std::string_view text) {
  std::map<std::string_view, std::string_view> options;
  std::string_view type = text.substr(0, text.find(','));
  while (text.find(',') != std::string_view::npos) {
    text.remove_prefix(text.find(',') + 1);
    std::string_view pair = text.substr(0, text.find(','));
    size_t equals = pair.find('=');
    if (equals == std::string_view::npos || pair.find('=', equals + 1) != std::string_view::npos) return bad_options();
    if (!options.emplace(pair.substr(0, equals), pair.substr(equals + 1)).second) return bad_options();
  }
  if (type == "simple") return std::optional<JwtOptions>();
  if (type != "jwt")
    return Status(bad_options().code(), std::string(bad_options().message()) + ": unknown token type \"" +
                                            std::string(type) +
                                            "\", expected simple or jwt,sign-method=METHOD,pub-key=FILE,priv-key=FILE");
  JwtOptions out;
  out.method = options["sign-method"];
  out.public_key_file = options["pub-key"];
  out.private_key_file = options["priv-key"];
  if (std::string_view ttl = options["ttl"]; !ttl.empty()) {
    std::optional<int64_t> nanos = parse_duration(ttl);
    if (!nanos || *nanos < 0) return bad_options();
    out.ttl_seconds = *nanos / io::kSecond;
  }
  return std::optional<JwtOptions>(std::move(out));
}

Result<Identities::KeyFiles> Identities::read_keys(io::Disk& disk, const JwtOptions& options) {
  KeyFiles keys;
  ASSIGN_OR_RETURN(keys.public_key, read_file(disk, options.public_key_file));
  ASSIGN_OR_RETURN(keys.private_key, read_file(disk, options.private_key_file));
  return keys;
}

Status check_auth_token(io::Disk& disk, std::string_view text) {
  ASSIGN_OR_RETURN(std::optional<JwtOptions> jwt, parse_auth_token(text));
  return jwt ? Identities::check_keys(disk, *jwt) : Status();
}

Status Identities::check_keys(io::Disk& disk, const JwtOptions& options) {
  ASSIGN_OR_RETURN(KeyFiles keys, read_keys(disk, options));
  return Jwt::create(options.method, keys.public_key, keys.private_key).status();
}

Status Identities::use_jwt(const JwtOptions& options) {
  ASSIGN_OR_RETURN(keys_, read_keys(*world_.disk, options));
  ASSIGN_OR_RETURN(signer_, Jwt::create(options.method, keys_.public_key, keys_.private_key));
  jwt_options_ = options;
  keys_seen_ = world_.loop->now();
  return {};
}

std::string_view Identities::token_of(const net::ServerCall& call) {
  std::string_view token = call.metadata("token");
  if (token.empty()) token = call.metadata("authorization");
  return without_bearer(token);
}

std::string_view Identities::without_bearer(std::string_view token) {
  if (token.starts_with(kBearer)) token.remove_prefix(kBearer.size());
  return token;
}

Result<node::Caller> Identities::resolve(const net::ServerCall& call) {
  return resolve(token_of(call), call.peer_common_name());
}

Result<node::Caller> Identities::resolve(std::string_view token, std::string_view common_name) {
  node::Caller caller;
  if (token.empty()) {
    caller.user = common_name;
    if (caller.user.empty()) return caller;
    caller.kind = node::Caller::Kind::kCertificate;
    caller.auth_revision = node_.auth().revision();
    return caller;
  }
  if (!jwt()) {
    const std::string* user = node_.tokens().use(token, world_.loop->now());
    if (!user) return mvcc::err_invalid_auth_token();
    caller.user = *user;
    caller.kind = node::Caller::Kind::kSimpleToken;
    caller.auth_revision = node_.auth().revision();
    return caller;
  }
  look_at_keys();
  auto it = known_.find(token);
  if (it == known_.end()) return mvcc::err_invalid_auth_token();
  const JwtClaims& claims = it->second.claims;
  if (claims.expires != 0 && claims.expires <= now_seconds()) return mvcc::err_invalid_auth_token();
  caller.user = claims.username;
  caller.kind = node::Caller::Kind::kJwt;
  caller.auth_revision = claims.revision;
  return caller;
}

void Identities::learn(const net::CallRef& call, Learned done) {
  learn(std::string(call->done() ? std::string_view() : token_of(*call)), std::move(done));
}

void Identities::learn(std::string token, Learned done) {
  if (!jwt() || token.empty() || token.size() > kTokenBytesMax || known_.contains(token))
    return node_.barrier([done = std::move(done)](const Status&) { done(Status()); });
  if (auto same = verifying_.find(token); same != verifying_.end()) return same->second.push_back(std::move(done));
  if (verifying_.size() >= kVerifyingMax) return done(node::err_too_many_requests());
  verifying_[token].push_back(std::move(done));
  auto claims = std::make_shared<std::optional<JwtClaims>>();
  world_.workers->run([claims, token, signer = signer_, now = now_seconds()] { *claims = signer->verify(token, now); },
                      [this, claims, token, signer = signer_, alive = alive_] {
                        if (*alive) verified(token, signer.get(), std::move(*claims));
                      });
}

void Identities::verified(const std::string& token, const Jwt* signer, std::optional<JwtClaims> claims) {
  if (claims && signer == signer_.get()) remember(token, std::move(*claims));
  auto waited = verifying_.extract(token);
  for (Learned& done : waited.mapped()) done(Status());
}

void Identities::remember(std::string token, JwtClaims claims) {
  if (!known_.emplace(token, Known{std::move(claims)}).second) return;
  order_.push_back(std::move(token));
  if (order_.size() <= kJwtsMax) return;
  known_.erase(order_.front());
  order_.pop_front();
}

void Identities::issue(const std::string& user, uint64_t auth_revision, std::function<void(Result<std::string>)> done) {
  look_at_keys();
  JwtClaims claims{user, auth_revision, now_seconds() + jwt_options_->ttl_seconds};
  auto token = std::make_shared<Result<std::string>>(std::string());
  world_.workers->run([token, claims, signer = signer_] { *token = signer->sign(claims); },
                      [this, token, claims, signer = signer_, done = std::move(done), alive = alive_] {
                        if (!*alive) return;
                        if (token->is_ok() && signer == signer_) remember(**token, claims);
                        done(std::move(*token));
                      });
}

void Identities::look_at_keys() {
  if (looking_ || world_.loop->now() - keys_seen_ < kKeyFilesInterval) return;
  looking_ = true;
  auto read = std::make_shared<Result<KeyFiles>>(KeyFiles());
  auto fresh = std::make_shared<Result<std::shared_ptr<const Jwt>>>(std::shared_ptr<const Jwt>());
  world_.workers->run(
      [read, fresh, disk = world_.disk, options = *jwt_options_, old = keys_] {
        *read = read_keys(*disk, options);
        if (read->is_ok() && **read != old)
          *fresh = Jwt::create(options.method, (*read)->public_key, (*read)->private_key);
      },
      [this, read, fresh, alive = alive_] {
        if (!*alive) return;
        looking_ = false;
        keys_seen_ = world_.loop->now();
        Status status = read->is_ok() ? fresh->status() : read->status();
        if (!status.is_ok())
          return world_.log->warn("the token keys cannot be read again", {{"error", status.message()}});
        if (!**fresh) return;
        keys_ = std::move(**read);
        signer_ = std::move(**fresh);
        known_.clear();
        order_.clear();
        world_.log->info("new token keys are in use");
      });
}

}  // namespace fairlead::api
