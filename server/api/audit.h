// Who changed users, roles, members or history: one line at level info on the member that served the call, with etcd's
// words where it has them. Never a password, a hash or a token.
#pragma once

#include <string>

#include "server/io/io.h"
#include "server/mvcc/auth.h"
#include "server/node/member_change.h"

namespace fairlead::api {

struct Asker {
  std::string user;  // empty: nobody said who they are
  std::string address;
};

void log_auth_change(io::Logger& log, const Asker& asker, const mvcc::AuthChange& change);
void log_member_change(io::Logger& log, const Asker& asker, const node::MemberChange& change);

}  // namespace fairlead::api
