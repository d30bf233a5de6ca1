// The clients: they put, delete, compare-and-swap, read, take leases and let them end, compact. Each asks one thing at
// a time of the member it is connected to, waits for the answer or gives up on it, and writes down both.
//
// Every value is written once in a history ("v<op id>"), so a read names its write.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "server/sim/cluster.h"
#include "server/sim/history.h"

namespace fairlead::sim {

class ByteClients;
class Users;

struct WorkloadConfig {
  uint32_t clients = 8;
  uint32_t keys = 10;
  io::Nanos think = 120 * io::kMillisecond;  // typical pause between two operations of a client
  io::Nanos timeout = 3 * io::kSecond;
  double loss = 0;            // of a request, and of an answer
  uint32_t byte_clients = 0;  // so many of the clients enter through HTTP/2
  size_t value_bytes_max = 300;
  io::Nanos compact_every = 6 * io::kSecond;
  size_t leases = 4;    // at a time, about
  int64_t ttl_max = 6;  // of a lease, seconds
  bool users = false;   // with authentication (users.h)
};

class Workload {
 public:
  Workload(Cluster* cluster, History* history, Counters* counters, WorkloadConfig config);
  ~Workload();

  void start();
  void stop();        // no new operations
  bool idle() const;  // nothing is waited for any more
  void stop_losses() { config_.loss = 0; }
  void keep_leases(bool keep) { keep_leases_ = keep; }
  // A put by the client of the last phase; true to the callback if it was acknowledged.
  void probe(size_t member, std::function<void(bool)> done);
  uint64_t ops_asked() const { return next_op_ - 1; }
  // Leases that were granted and not renewed since this time.
  bool trace = false;
  std::function<void(std::string)> on_wrong;  // an answer that no later look at the history could judge

 private:
  struct Client {
    uint32_t id = 0;
    size_t member = 0;
    uint64_t waiting_for = 0;  // op id; 0 = none
    bool through_bytes = false;
  };
  struct Lease {
    int64_t id = 0;
    io::Nanos keep_until = 0;  // its client stops renewing then
  };

  void next(Client& client);
  std::shared_ptr<Op> make_op(Client& client);
  void fill_keys(Op& op);
  void fill_txn(Op& op);
  void fill_lease(Op& op);
  void ask(Client& client, std::shared_ptr<Op> op, std::function<void()> done);
  void issue(node::Node& node, std::shared_ptr<Op> op, uint64_t attempt);
  void answer(const std::shared_ptr<Op>& op);  // from within the member's turn, once op holds the answer
  void finish(const std::shared_ptr<Op>& op);
  std::string random_key();
  std::string new_value(const Op& op);
  void change_member(Client& client);
  void compact();

  Cluster* cluster_;
  History* history_;
  Counters* counters_;
  WorkloadConfig config_;
  io::sim::Prng prng_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::unique_ptr<Client> compactor_;
  std::unique_ptr<Client> prober_;
  std::unique_ptr<ByteClients> bytes_;
  std::unique_ptr<Users> users_;
  std::map<uint64_t, std::function<void()>> waiting_;  // by op id: what to do when it is over
  std::vector<Lease> leases_;
  int64_t newest_seen_ = 1;
  int64_t last_mod_[64] = {};  // of each key, as some client saw it last: what compare-and-swap compares with
  bool running_ = false;
  bool keep_leases_ = true;
  uint64_t next_op_ = 1;
};

}  // namespace fairlead::sim
