// The cases of e2e/clients in C++: one function each, its error says what was wrong.
#pragma once

#include <string>

#include "base/status.h"
#include "e2e/clients/cpp/client.h"

namespace fairlead::clients {

struct Lab {
  std::string target, tls_endpoint, pki, control;  // what lab.py tells, see there
  Status act(const std::string& path) const;       // POST
};

using Case = Status (*)(const Lab&, Client&, const std::string& prefix);
Status watch_resume(const Lab&, Client&, const std::string&);
Status kv(const Lab&, Client&, const std::string&);
Status txn(const Lab&, Client&, const std::string&);
Status watch(const Lab&, Client&, const std::string&);
Status lease(const Lab&, Client&, const std::string&);
Status lock(const Lab&, Client&, const std::string&);
Status election(const Lab&, Client&, const std::string&);
Status auth(const Lab&, Client&, const std::string&);
Status tls(const Lab&, Client&, const std::string&);

// OK if they are equal.
template <typename A, typename B>
Status expect(const std::string& what, const A& got, const B& want) {
  if (got == want) return Status::ok();
  if constexpr (std::is_arithmetic_v<A>)
    return internal_error(what + ": got " + std::to_string(got) + ", want " + std::to_string(want));
  else
    return internal_error(what + ": got " + std::string(got) + ", want " + std::string(want));
}
// OK if it is this error with this text.
Status refused(const std::string& what, const Status& got, Code code, const std::string& text);

}  // namespace fairlead::clients
