// Lock, Election, Auth, TLS: the services of the server itself, not recipes of a client.
#include <chrono>
#include <fstream>
#include <future>
#include <sstream>

#include "e2e/clients/cpp/cases.h"

namespace fairlead::clients {

namespace {

// So long the one that must wait is given to do the wrong thing; a slow machine makes the test weaker, never red.
constexpr auto kWrongTime = std::chrono::milliseconds(300);

Result<std::string> acquire(Client& c, const std::string& name, int64_t lease) {
  v3lockpb::LockRequest request;
  request.set_name(name);
  request.set_lease(lease);
  ASSIGN_OR_RETURN(auto response, c.call(c.lock, &v3lockpb::Lock::Stub::Lock, request));
  return response.key();
}

Status release(Client& c, const std::string& key) {
  v3lockpb::UnlockRequest request;
  request.set_key(key);
  return c.call(c.lock, &v3lockpb::Lock::Stub::Unlock, request).status();
}

template <typename T>
Status still_waits(const std::string& what, std::future<T>& future) {
  return future.wait_for(kWrongTime) == std::future_status::timeout ? Status::ok() : internal_error(what);
}

}  // namespace

Status lock(const Lab&, Client& c, const std::string& p) {
  ASSIGN_OR_RETURN(int64_t one, c.grant(60));
  ASSIGN_OR_RETURN(int64_t two, c.grant(60));
  ASSIGN_OR_RETURN(std::string key, acquire(c, p + "lock", one));
  auto other = std::async(std::launch::async, [&] { return acquire(c, p + "lock", two); });
  RETURN_IF_ERROR(still_waits("both have the lock", other));
  RETURN_IF_ERROR(c.value_of(key).status());
  RETURN_IF_ERROR(release(c, key));
  ASSIGN_OR_RETURN(std::string second, other.get());
  // The holder's lease ends: the next one has the lock.
  ASSIGN_OR_RETURN(int64_t three, c.grant(60));
  auto last = std::async(std::launch::async, [&] { return acquire(c, p + "lock", three); });
  RETURN_IF_ERROR(still_waits("the lock is not held", last));
  RETURN_IF_ERROR(c.revoke(two));
  ASSIGN_OR_RETURN(std::string third, last.get());
  return release(c, third);
}

static Result<v3electionpb::LeaderKey> campaign(Client& c, const std::string& name, int64_t lease,
                                                const std::string& value) {
  v3electionpb::CampaignRequest request;
  request.set_name(name);
  request.set_lease(lease);
  request.set_value(value);
  ASSIGN_OR_RETURN(auto response, c.call(c.election, &v3electionpb::Election::Stub::Campaign, request));
  return response.leader();
}

static Status resign(Client& c, const v3electionpb::LeaderKey& leader) {
  v3electionpb::ResignRequest request;
  *request.mutable_leader() = leader;
  return c.call(c.election, &v3electionpb::Election::Stub::Resign, request).status();
}

Status election(const Lab&, Client& c, const std::string& p) {
  ASSIGN_OR_RETURN(int64_t one, c.grant(60));
  ASSIGN_OR_RETURN(int64_t two, c.grant(60));
  v3electionpb::LeaderRequest who;
  who.set_name(p);
  auto nobody = c.call(c.election, &v3electionpb::Election::Stub::Leader, who).status();
  RETURN_IF_ERROR(refused("before any campaign", nobody, Code::kUnknown, "election: no leader"));

  ASSIGN_OR_RETURN(auto first, campaign(c, p, one, "one"));
  grpc::ClientContext context;
  c.prepare(context, kStreamSeconds);
  auto observer = c.election->Observe(&context, who);
  auto next = [&](const std::string& want) {
    v3electionpb::LeaderResponse response;
    if (!observer->Read(&response)) return from_grpc(observer->Finish());
    return expect("observed", response.kv().value(), want);
  };
  RETURN_IF_ERROR(next("one"));
  v3electionpb::ProclaimRequest proclaim;
  *proclaim.mutable_leader() = first;
  proclaim.set_value("one again");
  RETURN_IF_ERROR(c.call(c.election, &v3electionpb::Election::Stub::Proclaim, proclaim).status());
  RETURN_IF_ERROR(next("one again"));

  auto other = std::async(std::launch::async, [&] { return campaign(c, p, two, "two"); });
  RETURN_IF_ERROR(still_waits("two leaders", other));
  RETURN_IF_ERROR(resign(c, first));
  ASSIGN_OR_RETURN(auto second, other.get());
  RETURN_IF_ERROR(next("two"));
  auto late = c.call(c.election, &v3electionpb::Election::Stub::Proclaim, proclaim).status();
  if (late.is_ok()) return internal_error("who resigned can still proclaim");
  context.TryCancel();
  return resign(c, second);
}

// ---- users

static Status add_user(Client& c, const std::string& name, const std::string& password, const std::string& role) {
  etcdserverpb::AuthUserAddRequest user;
  user.set_name(name);
  user.set_password(password);
  RETURN_IF_ERROR(c.call(c.auth, &etcdserverpb::Auth::Stub::UserAdd, user).status());
  etcdserverpb::AuthUserGrantRoleRequest grant;
  grant.set_user(name);
  grant.set_role(role);
  return c.call(c.auth, &etcdserverpb::Auth::Stub::UserGrantRole, grant).status();
}

static Status add_reader_role(Client& c, const std::string& p) {
  etcdserverpb::AuthRoleAddRequest role;
  role.set_name("reader");
  RETURN_IF_ERROR(c.call(c.auth, &etcdserverpb::Auth::Stub::RoleAdd, role).status());
  etcdserverpb::AuthRoleGrantPermissionRequest permission;
  permission.set_name("reader");
  permission.mutable_perm()->set_permtype(authpb::Permission::READ);
  permission.mutable_perm()->set_key(p);
  permission.mutable_perm()->set_range_end(prefix_end_of(p));
  return c.call(c.auth, &etcdserverpb::Auth::Stub::RoleGrantPermission, permission).status();
}

static Status with_users(const Lab& lab, Client& root, const std::string& p) {
  Client nobody(lab.target), alice(lab.target);
  RETURN_IF_ERROR(
      refused("wrong password", alice.log_in("alice", "guess"), Code::kInvalidArgument, "authentication failed"));
  RETURN_IF_ERROR(alice.log_in("alice", "alice-secret"));
  ASSIGN_OR_RETURN(std::string value, alice.value_of(p + "a"));
  RETURN_IF_ERROR(expect("value", value, "1"));
  RETURN_IF_ERROR(refused("write", alice.put(p + "a", "2").status(), Code::kPermissionDenied, "permission denied"));
  RETURN_IF_ERROR(refused("outside", alice.get("elsewhere").status(), Code::kPermissionDenied, "permission denied"));
  RETURN_IF_ERROR(refused("no user", nobody.get(p + "a").status(), Code::kInvalidArgument, "user name is empty"));
  etcdserverpb::AuthUserAddRequest mallory;
  mallory.set_name("mallory");
  auto manage = alice.call(alice.auth, &etcdserverpb::Auth::Stub::UserAdd, mallory).status();
  RETURN_IF_ERROR(refused("manage users", manage, Code::kPermissionDenied, "permission denied"));
  // A right that is taken away ends at once, also for a token given out before.
  etcdserverpb::AuthUserRevokeRoleRequest revoke;
  revoke.set_name("alice");
  revoke.set_role("reader");
  RETURN_IF_ERROR(root.call(root.auth, &etcdserverpb::Auth::Stub::UserRevokeRole, revoke).status());
  RETURN_IF_ERROR(refused("after revoke", alice.get(p + "a").status(), Code::kPermissionDenied, "permission denied"));
  return root.put(p + "a", "2").status();
}

Status auth(const Lab& lab, Client& c, const std::string& p) {
  RETURN_IF_ERROR(c.put(p + "a", "1").status());
  RETURN_IF_ERROR(add_reader_role(c, p));
  RETURN_IF_ERROR(add_user(c, "root", "root-secret", "root"));
  RETURN_IF_ERROR(add_user(c, "alice", "alice-secret", "reader"));
  RETURN_IF_ERROR(c.call(c.auth, &etcdserverpb::Auth::Stub::AuthEnable, etcdserverpb::AuthEnableRequest()).status());
  Client root(lab.target);
  RETURN_IF_ERROR(root.log_in("root", "root-secret"));
  Status users = with_users(lab, root, p);
  RETURN_IF_ERROR(
      root.call(root.auth, &etcdserverpb::Auth::Stub::AuthDisable, etcdserverpb::AuthDisableRequest()).status());
  RETURN_IF_ERROR(users);
  return c.put(p + "a", "3").status();
}

// ---- TLS

static std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

static Client tls_client(const Lab& lab, const std::string& authority, const std::string& name) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = text_of(lab.pki + "/" + authority + ".crt");
  if (!name.empty()) {
    options.pem_cert_chain = text_of(lab.pki + "/" + name + ".crt");
    options.pem_private_key = text_of(lab.pki + "/" + name + ".pk8");
  }
  return Client(lab.tls_endpoint, grpc::SslCredentials(options));
}

Status tls(const Lab& lab, Client&, const std::string& p) {
  Client good = tls_client(lab, "ca", "alice");
  ASSIGN_OR_RETURN(int64_t revision, good.put(p + "a", "1"));
  WatchStream stream(good, p, {.from = revision});
  RETURN_IF_ERROR(stream.take(1).status());
  const std::pair<const char*, const char*> refusals[] = {{"ca", ""}, {"ca", "stranger"}, {"other", "alice"}};
  for (auto [authority, name] : refusals) {
    Client bad = tls_client(lab, authority, name);
    if (bad.put(p + "a", "2", 0, 3).is_ok())
      return internal_error(std::string("let in: authority ") + authority + ", client " + name);
  }
  return Status::ok();
}

}  // namespace fairlead::clients
