// fairlead-client-cases: runs inside e2e/clients/lab.py, which gives it servers and says where they are.
#include <httplib.h>

#include <cstdio>
#include <cstdlib>

#include "e2e/clients/cpp/cases.h"

namespace fairlead::clients {

Status Lab::act(const std::string& path) const {
  httplib::Client door(control);
  door.set_read_timeout(120);
  auto answer = door.Post(path);
  if (!answer) return unavailable("lab.py does not answer " + path);
  return answer->status == 200 ? Status::ok() : internal_error(path + ": " + answer->body);
}

namespace {

std::string variable(const char* name) {
  const char* text = std::getenv(name);
  return text ? text : "";
}

int run() {
  std::string endpoints = variable("CLIENT_ENDPOINTS");
  if (endpoints.empty()) {
    std::fprintf(stderr, "run it with e2e/clients/lab.py\n");
    return 2;
  }
  // One channel, three addresses: gRPC goes to the next when one is gone.
  Lab lab{"ipv4:" + endpoints, variable("CLIENT_TLS_ENDPOINT"), variable("CLIENT_PKI"), variable("CLIENT_CONTROL")};
  const std::pair<const char*, Case> cases[] = {
      {"watch resume", watch_resume},  // first: no other case has left a watch
      {"kv", kv},
      {"txn", txn},
      {"watch", watch},
      {"lease", lease},
      {"lock", lock},
      {"election", election},
      {"tls", tls},
      {"auth", auth},
  };
  int failed = 0;
  for (auto [name, function] : cases) {
    Client client(lab.target);
    Status status = function(lab, client, "cpp/" + std::string(name) + "/");
    failed += !status.is_ok();
    std::printf(status.is_ok() ? "ok    %s\n" : "FAIL  %s: %s\n", name, status.to_string().c_str());
    std::fflush(stdout);
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace

}  // namespace fairlead::clients

int main() { return fairlead::clients::run(); }
