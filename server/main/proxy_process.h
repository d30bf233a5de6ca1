// What the processes of `gateway start` and `grpc-proxy start` have in common: a world with its log and signals, the
// endpoints of the cluster, systemd.
//
// Threads: the loop's. Errors: said on stderr, exit code 1, as etcd's sub-commands do.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/discovery/client_srv.h"
#include "server/io/real/world.h"
#include "server/main/sub_command.h"

namespace fairlead::server {

class ProxyProcess {
 public:
  static Result<std::unique_ptr<ProxyProcess>> create(const ProxyOptions& options, io::LogLevel level);

  io::World world() { return world_->world(); }
  discovery::Resolver& resolver() { return *resolver_; }
  // Of the SRV records, where there are some that can be used, else of --endpoints (without records). `done` runs once,
  // now or on the loop.
  struct Endpoints {
    std::vector<std::string> urls;
    std::vector<discovery::SrvRecord> records;  // one for each URL, or none at all
  };
  // trusted_ca_file: of those who sign the certificates of discovered endpoints.
  void find_endpoints(const std::string& trusted_ca_file, std::function<void(Result<Endpoints>)> done);

  void ready();                                // READY=1
  void fail(const Status& why);                // the process ends with 1
  int run(std::function<void()> before_stop);  // until a signal or fail(); the exit code

 private:
  ProxyProcess(const ProxyOptions& options, std::unique_ptr<io::RealWorld> world);
  void notify(std::string_view state);

  ProxyOptions options_;
  std::unique_ptr<io::RealWorld> world_;
  std::unique_ptr<discovery::Resolver> resolver_;
  std::string notify_socket_;
  bool failed_ = false;
};

}  // namespace fairlead::server
