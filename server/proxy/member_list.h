// The Cluster service of the grpc-proxy. MemberList names proxies instead of members, so that clients that look for
// more endpoints stay behind proxies: this one (--advertise-client-url), or all that have registered under one prefix
// (--resolver-prefix, --resolver-ttl); without an address of its own it asks the cluster. Everything else is passed on.
//
// Registration: PREFIX/ADDRESS holds {"Op":0,"Addr":ADDRESS,"Metadata":"{\"name\":HOST}"} (etcd's naming, JSON), under
// a lease that is kept alive; what goes wrong is begun again after kRegisterPause. Keys go through the namespace.
// Bounds: kRegisteredMax proxies.
// Threads: the loop.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "server/net/router.h"
#include "server/proxy/name_space.h"
#include "server/proxy/upstream.h"
#include "server/proxy/watch_proxy.h"

namespace fairlead::proxy {

constexpr io::Nanos kRegisterPause = io::kSecond;
constexpr size_t kRegisteredMax = 10'000;

struct MemberListOptions {
  std::string advertise_client_url;
  std::string resolver_prefix;
  int64_t resolver_ttl_seconds = 0;
  std::string host_name;
};

// The value of a registration, and what one says; false: it is none.
std::string registration(const std::string& address, const std::string& name);
bool read_registration(const std::string& value, std::string* address, std::string* name);

class MemberList {
 public:
  MemberList(const io::World& world, Upstream& upstream, WatchProxy& watches, const Namespace& name_space,
             MemberListOptions options);
  ~MemberList();
  void add_routes(net::Router& router);

 private:
  struct Keeper;
  void answer(net::CallRef call, const Bytes& request);
  void begin_register();
  void put_registration(int64_t lease);
  void keep_alive(int64_t lease);
  void register_again(const std::string& why);
  void read_all();
  void put(const std::string& key, const std::string& value);
  void watch_again();
  void later(io::Nanos pause, void (MemberList::*f)());

  const io::World world_;
  Upstream& upstream_;
  WatchProxy& watches_;
  const Namespace& name_space_;
  const MemberListOptions options_;
  std::map<std::string, std::pair<std::string, std::string>> registered_;  // key -> address, name
  std::unique_ptr<Keeper> keeper_;
  WatchHub::StreamId watch_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace fairlead::proxy
