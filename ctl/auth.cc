// auth, user, role.
#include <cstdio>
#include <iostream>
#include <sstream>

#include "ctl/verbs.h"

namespace fairlead::ctl {
namespace {

using Auth = pb::Auth::Stub;

void expect(Context& c, size_t count, const char* text) {
  if (c.args().size() != count) fail(kExitBadArgs, text);
}

// ---- auth -----------------------------------------------------------------------------------------------------------

void enable(Context& c) {
  expect(c, 0, "auth enable command does not accept any arguments");
  Client client = make_client(c);
  Printer printer(c);
  pb::AuthEnableResponse response;
  grpc::Status status = client.call<pb::Auth>(&Auth::AuthEnable, pb::AuthEnableRequest(), &response, false);
  if (is_etcd_error(status, "root user does not have root role")) {
    pb::AuthRoleAddRequest role;
    role.set_name("root");
    pb::AuthRoleAddResponse added;
    must(client.call<pb::Auth>(&Auth::RoleAdd, role, &added, false));
    pb::AuthUserGrantRoleRequest grant;
    grant.set_user("root");
    grant.set_role("root");
    pb::AuthUserGrantRoleResponse granted;
    must(client.call<pb::Auth>(&Auth::UserGrantRole, grant, &granted, false));
    status = client.call<pb::Auth>(&Auth::AuthEnable, pb::AuthEnableRequest(), &response, false);
  }
  must(status);
  puts("Authentication Enabled");
}

void disable(Context& c) {
  expect(c, 0, "auth disable command does not accept any arguments");
  Client client = make_client(c);
  Printer printer(c);
  pb::AuthDisableResponse response;
  must(client.call<pb::Auth>(&Auth::AuthDisable, pb::AuthDisableRequest(), &response, false));
  puts("Authentication Disabled");
}

void auth_status(Context& c) {
  expect(c, 0, "auth status command does not accept any arguments");
  Client client = make_client(c);
  Printer printer(c);
  pb::AuthStatusResponse response;
  must(client.call<pb::Auth>(&Auth::AuthStatus, pb::AuthStatusRequest(), &response, true));
  printer.auth_status(response);
}

// ---- user -----------------------------------------------------------------------------------------------------------

// Twice from a terminal, or once from standard input where --interactive=false: a line's first word, which may be none.
std::string new_password(Context& c, const std::string& user) {
  if (!c.on("interactive")) {
    std::string line, password;
    std::getline(std::cin, line);
    std::istringstream(line) >> password;
    return password;
  }
  std::string first = ask_password("Password of " + user + ": ");
  if (first.empty()) fail(kExitBadArgs, "empty password");
  if (ask_password("Type password of " + user + " again for confirmation: ") != first)
    fail(kExitBadArgs, "given passwords are different");
  return first;
}

void user_add(Context& c) {
  expect(c, 1, "user add command requires user name as its argument");
  pb::AuthUserAddRequest request;
  request.set_name(c.args()[0]);
  request.mutable_options()->set_no_password(c.on("no-password"));
  if (!c.on("no-password")) {
    size_t colon = c.args()[0].find(':');
    if (!c.text("new-user-password").empty()) {
      request.set_password(c.text("new-user-password"));
    } else if (colon == std::string::npos) {
      request.set_password(new_password(c, c.args()[0]));
    } else {
      request.set_name(c.args()[0].substr(0, colon));
      request.set_password(c.args()[0].substr(colon + 1));
      if (colon == 0) fail(kExitBadArgs, "empty user name is not allowed");
    }
  }
  Client client = make_client(c);
  Printer printer(c);
  pb::AuthUserAddResponse response;
  must(client.call<pb::Auth>(&Auth::UserAdd, request, &response, false, false));
  printer.done("User " + request.name() + " created", response);
}

void user_delete(Context& c) {
  expect(c, 1, "user delete command requires user name as its argument");
  pb::AuthUserDeleteRequest request;
  request.set_name(c.args()[0]);
  Client client = make_client(c);
  Printer printer(c);
  pb::AuthUserDeleteResponse response;
  must(client.call<pb::Auth>(&Auth::UserDelete, request, &response, false, false));
  printer.done("User " + c.args()[0] + " deleted", response);
}

pb::AuthRoleGetResponse get_role(Client& client, const std::string& role) {
  pb::AuthRoleGetRequest request;
  request.set_role(role);
  pb::AuthRoleGetResponse response;
  must(client.call<pb::Auth>(&Auth::RoleGet, request, &response, true, false));
  return response;
}

void user_get(Context& c) {
  expect(c, 1, "user get command requires user name as its argument");
  const std::string& name = c.args()[0];
  pb::AuthUserGetRequest request;
  request.set_name(name);
  Client client = make_client(c);
  Printer printer(c);
  pb::AuthUserGetResponse response;
  must(client.call<pb::Auth>(&Auth::UserGet, request, &response, true, false));
  if (!c.on("detail")) return printer.user_get(name, response);
  printf("User: %s\n", name.c_str());
  for (const std::string& role : response.roles()) {
    puts("");
    printer.role_get(role, get_role(client, role));
  }
}

void user_list(Context& c) {
  expect(c, 0, "user list command requires no arguments");
  Client client = make_client(c);
  Printer printer(c);
  pb::AuthUserListResponse response;
  must(client.call<pb::Auth>(&Auth::UserList, pb::AuthUserListRequest(), &response, true, false));
  printer.user_list(response);
}

void user_passwd(Context& c) {
  expect(c, 1, "user passwd command requires user name as its argument");
  pb::AuthUserChangePasswordRequest request;
  request.set_name(c.args()[0]);
  request.set_password(new_password(c, c.args()[0]));
  Client client = make_client(c);
  Printer printer(c);
  pb::AuthUserChangePasswordResponse response;
  must(client.call<pb::Auth>(&Auth::UserChangePassword, request, &response, false, false));
  printer.done("Password updated", response);
}

void user_grant(Context& c) {
  expect(c, 2, "user grant command requires user name and role name as its argument");
  pb::AuthUserGrantRoleRequest request;
  request.set_user(c.args()[0]);
  request.set_role(c.args()[1]);
  Client client = make_client(c);
  Printer printer(c);
  pb::AuthUserGrantRoleResponse response;
  must(client.call<pb::Auth>(&Auth::UserGrantRole, request, &response, false, false));
  printer.done("Role " + c.args()[1] + " is granted to user " + c.args()[0], response);
}

void user_revoke(Context& c) {
  expect(c, 2, "user revoke-role requires user name and role name as its argument");
  pb::AuthUserRevokeRoleRequest request;
  request.set_name(c.args()[0]);
  request.set_role(c.args()[1]);
  Client client = make_client(c);
  Printer printer(c);
  pb::AuthUserRevokeRoleResponse response;
  must(client.call<pb::Auth>(&Auth::UserRevokeRole, request, &response, false, false));
  printer.done("Role " + c.args()[1] + " is revoked from user " + c.args()[0], response);
}

// ---- role -----------------------------------------------------------------------------------------------------------

void role_add(Context& c) {
  expect(c, 1, "role add command requires role name as its argument");
  pb::AuthRoleAddRequest request;
  request.set_name(c.args()[0]);
  Client client = make_client(c);
  Printer printer(c);
  pb::AuthRoleAddResponse response;
  must(client.call<pb::Auth>(&Auth::RoleAdd, request, &response, false, false));
  printer.done("Role " + c.args()[0] + " created", response);
}

void role_delete(Context& c) {
  expect(c, 1, "role delete command requires role name as its argument");
  pb::AuthRoleDeleteRequest request;
  request.set_role(c.args()[0]);
  Client client = make_client(c);
  Printer printer(c);
  pb::AuthRoleDeleteResponse response;
  must(client.call<pb::Auth>(&Auth::RoleDelete, request, &response, false, false));
  printer.done("Role " + c.args()[0] + " deleted", response);
}

void role_get(Context& c) {
  expect(c, 1, "role get command requires role name as its argument");
  Client client = make_client(c);
  Printer printer(c);
  printer.role_get(c.args()[0], get_role(client, c.args()[0]));
}

void role_list(Context& c) {
  expect(c, 0, "role list command requires no arguments");
  Client client = make_client(c);
  Printer printer(c);
  pb::AuthRoleListResponse response;
  must(client.call<pb::Auth>(&Auth::RoleList, pb::AuthRoleListRequest(), &response, true, false));
  printer.role_list(response);
}

// [key, end) from arguments and flags. An empty key stands for the first one; "\0" as end for no end.
std::pair<std::string, std::string> permission_range(Context& c, size_t first) {
  const std::string& key = c.args()[first];
  bool prefix = c.on("prefix"), from_key = c.on("from-key"), has_end = c.args().size() > first + 1;
  const std::string open(1, '\0');
  if (prefix && from_key && (key.empty() || !has_end))
    fail(kExitBadArgs, "--from-key and --prefix flags are mutually exclusive");
  if (key.empty()) return {open, prefix || from_key ? open : ""};
  if (has_end) {
    if (prefix || from_key)
      fail(kExitBadArgs,
           std::string("unexpected endkey argument with --") + (prefix ? "prefix" : "from-key") + " flag");
    return {key, c.args()[first + 1]};
  }
  return {key, prefix ? prefix_end(key) : from_key ? open : ""};
}

void role_grant(Context& c) {
  if (c.args().size() < 3)
    fail(kExitBadArgs, "role grant command requires role name, permission type, and key [endkey] as its argument");
  std::string type = c.args()[1];
  for (char& ch : type) ch = static_cast<char>(toupper(ch));
  pb::AuthRoleGrantPermissionRequest request;
  authpb::Permission::Type value = authpb::Permission::READ;
  if (!authpb::Permission::Type_Parse(type, &value)) fail(kExitBadArgs, "invalid permission type: " + c.args()[1]);
  auto [key, end] = permission_range(c, 2);
  request.set_name(c.args()[0]);
  request.mutable_perm()->set_permtype(value);
  request.mutable_perm()->set_key(key);
  request.mutable_perm()->set_range_end(end);
  Client client = make_client(c);
  Printer printer(c);
  pb::AuthRoleGrantPermissionResponse response;
  must(client.call<pb::Auth>(&Auth::RoleGrantPermission, request, &response, false, false));
  printer.done("Role " + c.args()[0] + " updated", response);
}

void role_revoke(Context& c) {
  if (c.args().size() < 2)
    fail(kExitBadArgs, "role revoke-permission command requires role name and key [endkey] as its argument");
  auto [key, end] = permission_range(c, 1);
  pb::AuthRoleRevokePermissionRequest request;
  request.set_role(c.args()[0]);
  request.set_key(key);
  request.set_range_end(end);
  Client client = make_client(c);
  Printer printer(c);
  pb::AuthRoleRevokePermissionResponse response;
  must(client.call<pb::Auth>(&Auth::RoleRevokePermission, request, &response, false, false));
  printer.role_revoke(c.args()[0], c.args()[1], end, response);
}

}  // namespace

void add_auth_verbs(Command& root) {
  Command& auth = root.add("auth <enable or disable>",
                           "Enable or disable authentication. Use `etcdctl auth --help` to see subcommands");
  auth.describe("Enable or disable authentication");
  auth.add("enable", "Enables authentication", enable);
  auth.add("disable", "Disables authentication", disable);
  auth.add("status", "Returns authentication status", auth_status);

  Command& user = root.add("user <subcommand>", "User related commands. Use `etcdctl user --help` to see subcommands");
  user.describe("User related commands");
  user.add("add <user name or user:password> [options]", "Adds a new user", user_add)
      .flag(Kind::kBool, "interactive", "true", "Read password from stdin instead of interactive terminal")
      .flag(Kind::kString, "new-user-password", "", "Supply password from the command line flag")
      .flag(Kind::kBool, "no-password", "false", "Create a user without password (CN based auth only)");
  user.add("delete <user name>", "Deletes a user", user_delete);
  user.add("get <user name> [options]", "Gets detailed information of a user", user_get)
      .flag(Kind::kBool, "detail", "false", "Show permissions of roles granted to the user");
  user.add("list", "Lists all users", user_list);
  user.add("passwd <user name> [options]", "Changes password of user", user_passwd)
      .flag(Kind::kBool, "interactive", "true", "If true, read password from stdin instead of interactive terminal");
  user.add("grant-role <user name> <role name>", "Grants a role to a user", user_grant);
  user.add("revoke-role <user name> <role name>", "Revokes a role from a user", user_revoke);

  Command& role = root.add("role <subcommand>", "Role related commands. Use `etcdctl role --help` to see subcommands");
  role.describe("Role related commands");
  role.add("add <role name>", "Adds a new role", role_add);
  role.add("delete <role name>", "Deletes a role", role_delete);
  role.add("get <role name>", "Gets detailed information of a role", role_get);
  role.add("list", "Lists all roles", role_list);
  role.add("grant-permission [options] <role name> <permission type> <key> [endkey]", "Grants a key to a role",
           role_grant)
      .flag(Kind::kBool, "prefix", "false", "grant a prefix permission")
      .flag(Kind::kBool, "from-key", "false",
            "grant a permission of keys that are greater than or equal to the given key using byte compare");
  role.add("revoke-permission <role name> <key> [endkey]", "Revokes a key from a role", role_revoke)
      .flag(Kind::kBool, "prefix", "false", "revoke a prefix permission")
      .flag(Kind::kBool, "from-key", "false",
            "revoke a permission of keys that are greater than or equal to the given key using byte compare");
}

}  // namespace fairlead::ctl
