// Clients that enter through bytes: etcd's messages over HTTP/2 over simulated streams, from a machine of their own.
// They ask what the workload's clients ask, so the same judge reads the answers.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "server/net/client.h"
#include "server/sim/cluster.h"
#include "server/sim/history.h"

namespace fairlead::sim {

class ByteClients {
 public:
  explicit ByteClients(Cluster* cluster);
  ~ByteClients();

  // Asks the member over the client's own connection to it. `answered` gets a copy of the operation with its outcome,
  // in a turn of the clients' machine; once, or never when the connection stays silent.
  using Answered = std::function<void(std::shared_ptr<Op>)>;
  void ask(uint32_t client, size_t member, std::shared_ptr<Op> op, Answered answered);
  // The client has given up waiting: it resets the stream.
  void give_up(uint64_t op);

 private:
  class LeaseStream;
  net::Client& connection(uint32_t client, size_t member);
  void send(net::Client& client, const std::shared_ptr<Op>& op, const Answered& answered);
  template <typename Reply, typename Request>
  void unary(net::Client& client, const char* path, const Request& request, std::shared_ptr<Op> op,
             const Answered& answered, void (*take)(Op&, const Reply&));

  Cluster* cluster_;
  io::sim::HostId host_;
  io::World world_;
  bool closing_ = false;
  std::map<std::pair<uint32_t, size_t>, std::unique_ptr<net::Client>> connections_;
  std::map<uint64_t, std::pair<net::Client*, uint64_t>> calls_;  // by operation: what to reset
  std::map<uint64_t, std::shared_ptr<LeaseStream>> streams_;
};

}  // namespace fairlead::sim
