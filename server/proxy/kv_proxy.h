// The KV service of the grpc-proxy: the namespace, the cache of ranges, and revisions that do not go back.
//
// Without a namespace, messages are passed on as they came; a request is read for the cache alone.
// Ordering (--experimental-serializable-ordering): an answer older than one that was given before is not given; another
// endpoint is asked, at most kOrderAttemptsPerEndpoint times the number of endpoints. The cache is not used then.
// Cache: an answer that is older than a write through this proxy is passed on (a serializable read may be old), and not
// kept.
// Threads: the loop.
#pragma once

#include <algorithm>
#include <cstdint>

#include "proto/rpc.pb.h"
#include "server/net/router.h"
#include "server/proxy/forward.h"
#include "server/proxy/name_space.h"
#include "server/proxy/range_cache.h"

namespace fairlead::proxy {

constexpr size_t kOrderAttemptsPerEndpoint = 5;  // as etcd

class KvProxy {
 public:
  struct Stats {
    uint64_t cache_hits = 0;
    uint64_t cache_misses = 0;
  };
  KvProxy(Upstream& upstream, const Namespace& name_space, bool ordering)
      : upstream_(upstream), name_space_(name_space), ordering_(ordering) {}
  void add_routes(net::Router& router);
  RangeCache& cache() { return cache_; }
  const RangeCache& cache() const { return cache_; }
  const Stats& stats() const { return stats_; }
  void seen_revision(int64_t revision) { seen_ = std::max(seen_, revision); }

 private:
  void range(net::CallRef call, const Bytes& bytes);
  void put(net::CallRef call, const Bytes& bytes);
  void delete_range(net::CallRef call, const Bytes& bytes);
  void txn(net::CallRef call, const Bytes& bytes);
  void compact(net::CallRef call, const Bytes& bytes);
  template <typename Request>
  bool move_in(net::ServerCall& call, Request& request, const Bytes& original, Bytes* out);
  template <typename Response>
  Status move_out(Bytes* reply, int64_t* revision);
  template <typename Response>
  void read_in_order(net::CallRef call, UpstreamCall out, size_t attempt, int64_t at_least, Answer then);
  void invalidate(const etcdserverpb::TxnRequest& request);
  void written(const Status& status, const Bytes& reply);

  Upstream& upstream_;
  const Namespace& name_space_;
  const bool ordering_;
  RangeCache cache_;
  Stats stats_;
  int64_t seen_ = 0;     // what reads in order must reach
  int64_t written_ = 0;  // by the latest write through this proxy
};

// Of any answer of the service: its header comes first. 0 where there is none.
int64_t header_revision(const Bytes& reply);

}  // namespace fairlead::proxy
