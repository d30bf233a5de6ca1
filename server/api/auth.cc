// The Auth service: users, roles, permissions, log-in. Who may call what is in access.cc; the rules are mvcc::Auth's.
#include <openssl/crypto.h>

#include "base/text.h"
#include "server/api/api.h"
#include "server/api/proto_util.h"
#include "server/mvcc/errors.h"

namespace fairlead::api {

using namespace etcdserverpb;
using Kind = mvcc::AuthChange::Kind;

namespace {

constexpr int kLogInTriesMax = 10;  // when users keep changing between the check of a password and its token
constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

mvcc::AuthChange change_of(Kind kind, std::string name = {}, std::string role = {}) {
  mvcc::AuthChange change;
  change.kind = kind;
  change.name = std::move(name);
  change.role = std::move(role);
  return change;
}

void add_permission(AuthRoleGetResponse& reply, const mvcc::Permission& from) {
  authpb::Permission* to = reply.add_perm();
  to->set_permtype(static_cast<authpb::Permission::Type>(from.type));
  to->set_key(from.key);
  to->set_range_end(from.range_end);
}

std::string random_letters(io::Random& random) {
  constexpr uint64_t kFair = UINT64_MAX - UINT64_MAX % kLetters.size();
  std::string out;
  while (out.size() < node::kTokenLetters) {
    uint64_t bits = random.next();
    if (bits < kFair) out.push_back(kLetters[bits % kLetters.size()]);
  }
  return out;
}

void wipe(std::string* secret) {
  OPENSSL_cleanse(secret->data(), secret->size());
  secret->clear();
}

}  // namespace

struct Api::LogIn {
  net::CallRef call;
  std::string name;
  std::string password;
  uint64_t auth_revision = 0;  // at which the password was checked
  int tries = 0;
  ~LogIn() { wipe(&password); }
};

Status Api::open_auth() {
  ASSIGN_OR_RETURN(std::optional<JwtOptions> jwt, parse_auth_token(options_.auth.token));
  if (!jwt) return {};
  return identities_.use_jwt(*jwt);
}

void Api::change_users(net::CallRef call, const mvcc::AuthChange& change) {
  Result<node::Caller> who = caller(call);
  if (!who.is_ok()) return call->finish(who.status());
  mvcc::AuthChange told = change;
  told.password.clear();
  node_.propose_auth(*who, change, [this, call, asker = asker(call), told](const Status& status, Index) {
    if (!status.is_ok()) return call->finish(status);
    log_auth_change(*world_.log, asker, told);
    call->reply(encode_header_only(header()));
  });
}

void Api::change_users_hashed(net::CallRef call, std::string password, mvcc::AuthChange change) {
  passwords_.hash(std::move(password), [this, call, change = std::move(change)](Result<std::string> hash) mutable {
    if (call->done()) return;
    if (!hash.is_ok()) return call->finish(hash.status());
    change.password = std::move(*hash);
    change_users(call, change);
  });
}

void Api::add_auth(net::Router& router) {
  router.add_unary("/etcdserverpb.Auth/AuthEnable",
                   [this](net::CallRef call, Bytes) { change_users(call, change_of(Kind::kEnable)); });
  router.add_unary("/etcdserverpb.Auth/AuthDisable",
                   [this](net::CallRef call, Bytes) { change_users(call, change_of(Kind::kDisable)); });
  router.add_unary("/etcdserverpb.Auth/AuthStatus", [this](net::CallRef call, Bytes) {
    with_caller(call, [this, call](const Result<node::Caller>& who) {
      if (!who.is_ok()) return call->finish(who.status());
      node_.barrier([this, call](const Status& status) {
        if (!status.is_ok()) return call->finish(status);
        AuthStatusResponse reply;
        fill(reply.mutable_header(), header());
        reply.set_enabled(node_.auth().enabled());
        reply.set_authrevision(node_.auth().revision());
        call->reply(serialize(reply));
      });
    });
  });
  router.add_unary("/etcdserverpb.Auth/Authenticate", [this](net::CallRef call, Bytes in) {
    AuthenticateRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    auto attempt = std::make_shared<LogIn>();
    attempt->call = std::move(call);
    attempt->name = request.name();
    attempt->password = request.password();
    wipe(request.mutable_password());
    node_.barrier([this, attempt](const Status& status) {
      if (!status.is_ok()) return attempt->call->finish(status);
      log_in(attempt);
    });
  });
  add_users(router);
  add_roles(router);
}

// ---- log-in

// Whether the user exists or the password is wrong: the same time, the same words.
void Api::log_in(std::shared_ptr<LogIn> attempt) {
  if (attempt->call->done()) return;
  if (!node_.auth().enabled()) return attempt->call->finish(mvcc::err_auth_not_enabled());
  if (++attempt->tries > kLogInTriesMax) return attempt->call->finish(mvcc::err_auth_old_revision());
  const mvcc::User* user = node_.auth().user(attempt->name);
  if (user && user->no_password) return attempt->call->finish(mvcc::err_no_password_user());
  attempt->auth_revision = node_.auth().revision();
  passwords_.check(user ? user->password : "", attempt->password, [this, attempt](Result<bool> fits) {
    if (!fits.is_ok()) return attempt->call->finish(fits.status());
    if (!*fits) {
      world_.log->warn("invalid authentication was requested", {{"user", attempt->name}});
      return attempt->call->finish(mvcc::err_auth_failed());
    }
    give_token(attempt);
  });
}

void Api::give_token(std::shared_ptr<LogIn> attempt) {
  auto reply_with = [this, attempt](const std::string& token) {
    // The password that was checked may be the user's no more.
    if (node_.auth().revision() != attempt->auth_revision) return log_in(attempt);
    AuthenticateResponse reply;
    fill(reply.mutable_header(), header());
    reply.set_token(token);
    attempt->call->reply(serialize(reply));
  };
  if (identities_.jwt()) {
    identities_.issue(attempt->name, attempt->auth_revision, [attempt, reply_with](Result<std::string> token) {
      if (!token.is_ok()) return attempt->call->finish(token.status());
      reply_with(*token);
    });
    return;
  }
  mvcc::AuthChange change = change_of(Kind::kToken, attempt->name);
  change.token = random_letters(*world_.random);
  node_.propose_auth(node::Caller(), change,
                     [attempt, reply_with, letters = change.token](const Status& status, Index entry) {
                       if (!status.is_ok()) return attempt->call->finish(status);
                       reply_with(letters + "." + std::to_string(entry.value));
                     });
}

// ---- users

void Api::add_users(net::Router& router) {
  router.add_unary("/etcdserverpb.Auth/UserAdd", [this](net::CallRef call, Bytes in) {
    AuthUserAddRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    if (request.name().empty()) return call->finish(mvcc::err_user_empty());
    mvcc::AuthChange change = change_of(Kind::kUserAdd, request.name());
    change.no_password = request.options().no_password();
    if (change.no_password) return change_users(call, change);
    std::string password = request.password();
    wipe(request.mutable_password());
    change_users_hashed(call, std::move(password), std::move(change));
  });
  router.add_unary("/etcdserverpb.Auth/UserChangePassword",
                   [this](net::CallRef call, Bytes in) { change_password(std::move(call), in); });
  router.add_unary("/etcdserverpb.Auth/UserDelete", [this](net::CallRef call, Bytes in) {
    AuthUserDeleteRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    change_users(call, change_of(Kind::kUserDelete, request.name()));
  });
  router.add_unary("/etcdserverpb.Auth/UserGrantRole", [this](net::CallRef call, Bytes in) {
    AuthUserGrantRoleRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    change_users(call, change_of(Kind::kUserGrant, request.user(), request.role()));
  });
  router.add_unary("/etcdserverpb.Auth/UserRevokeRole", [this](net::CallRef call, Bytes in) {
    AuthUserRevokeRoleRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    change_users(call, change_of(Kind::kUserRevoke, request.name(), request.role()));
  });
  router.add_unary("/etcdserverpb.Auth/UserGet", [this](net::CallRef call, Bytes in) {
    AuthUserGetRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    Result<node::Caller> who = caller(call);
    if (!who.is_ok()) return call->finish(who.status());
    node_.barrier([this, call, who = *who, name = request.name()](const Status& barrier) {
      Status status = barrier;
      // Everybody may know what they are.
      if (status.is_ok() && name != who.user) status = node_.check_admin(who);
      const mvcc::User* user = node_.auth().user(name);
      if (status.is_ok() && !user) status = mvcc::err_user_not_found();
      if (!status.is_ok()) return call->finish(status);
      AuthUserGetResponse reply;
      fill(reply.mutable_header(), header());
      for (const std::string& role : user->roles) reply.add_roles(role);
      call->reply(serialize(reply));
    });
  });
  router.add_unary("/etcdserverpb.Auth/UserList", [this](net::CallRef call, Bytes) {
    node_.barrier([this, call](const Status& status) {
      if (!status.is_ok()) return call->finish(status);
      AuthUserListResponse reply;
      fill(reply.mutable_header(), header());
      for (const auto& [name, user] : node_.auth().users()) reply.add_users(name);
      call->reply(serialize(reply));
    });
  });
}

// A client may bring the hash itself, as base64.
void Api::change_password(net::CallRef call, const Bytes& in) {
  AuthUserChangePasswordRequest request;
  if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
  mvcc::AuthChange change = change_of(Kind::kUserPassword, request.name());
  if (!request.password().empty()) {
    std::string password = request.password();
    wipe(request.mutable_password());
    return change_users_hashed(call, std::move(password), std::move(change));
  }
  if (std::optional<std::string> hash = decode_base64(request.hashedpassword())) {
    change.password = std::move(*hash);
  } else {
    const mvcc::User* user = node_.auth().user(request.name());
    if (!user || !user->no_password)
      return call->finish(user ? mvcc::err_no_password_user() : mvcc::err_user_not_found());
  }
  change_users(call, change);
}

// ---- roles

void Api::add_roles(net::Router& router) {
  router.add_unary("/etcdserverpb.Auth/RoleAdd", [this](net::CallRef call, Bytes in) {
    AuthRoleAddRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    change_users(call, change_of(Kind::kRoleAdd, request.name()));
  });
  router.add_unary("/etcdserverpb.Auth/RoleDelete", [this](net::CallRef call, Bytes in) {
    AuthRoleDeleteRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    change_users(call, change_of(Kind::kRoleDelete, request.role()));
  });
  router.add_unary("/etcdserverpb.Auth/RoleGrantPermission", [this](net::CallRef call, Bytes in) {
    AuthRoleGrantPermissionRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    if (!request.has_perm()) return call->finish(mvcc::err_permission_not_given());
    mvcc::AuthChange change = change_of(Kind::kRoleGrant, request.name());
    change.permission = {request.perm().permtype(), request.perm().key(), request.perm().range_end()};
    change_users(call, change);
  });
  router.add_unary("/etcdserverpb.Auth/RoleRevokePermission", [this](net::CallRef call, Bytes in) {
    AuthRoleRevokePermissionRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    mvcc::AuthChange change = change_of(Kind::kRoleRevoke, request.role());
    change.permission = {0, request.key(), request.range_end()};
    change_users(call, change);
  });
  router.add_unary("/etcdserverpb.Auth/RoleGet", [this](net::CallRef call, Bytes in) {
    AuthRoleGetRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    Result<node::Caller> who = caller(call);
    if (!who.is_ok()) return call->finish(who.status());
    node_.barrier([this, call, who = *who, name = request.role()](const Status& barrier) {
      const mvcc::Auth& auth = node_.auth();
      Status status = barrier;
      if (status.is_ok() && !auth.has_role(who.user, name)) status = node_.check_admin(who);
      auto role = auth.roles().find(name);
      if (status.is_ok() && role == auth.roles().end()) status = mvcc::err_role_not_found();
      if (!status.is_ok()) return call->finish(status);
      AuthRoleGetResponse reply;
      fill(reply.mutable_header(), header());
      if (name == "root") {
        add_permission(reply, {mvcc::Permission::kReadWrite, "", std::string(1, '\0')});
      } else {
        for (const mvcc::Permission& permission : role->second.permissions) add_permission(reply, permission);
      }
      call->reply(serialize(reply));
    });
  });
  router.add_unary("/etcdserverpb.Auth/RoleList", [this](net::CallRef call, Bytes) {
    node_.barrier([this, call](const Status& status) {
      if (!status.is_ok()) return call->finish(status);
      AuthRoleListResponse reply;
      fill(reply.mutable_header(), header());
      for (const auto& [name, role] : node_.auth().roles()) reply.add_roles(name);
      call->reply(serialize(reply));
    });
  });
}

}  // namespace fairlead::api
