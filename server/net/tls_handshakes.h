// Accepted connections that are shaking hands, so that a flood of them starves nobody (etcd's GHSA-6vch):
//
// - clients that have not said hello, or whose hello waits for its turn: at most kTlsFreshMax, so that all clients of a
//   large cluster may come back at once; they cost little. One more pushes out the oldest that has not said hello;
// - handshakes that have begun: at most kTlsBegunMax. One more pushes out the oldest that waits for its client, so that
//   a flood of silent clients cannot keep honest ones out;
// - time: kTlsHandshakeTimeout each;
// - work: all of it behind the gate, none of it on the loop;
// - words: at most kTlsLogPerSecond lines a second, with a count of those left out.
//
// A client that does not speak TLS at all is told so in HTTP/1.0 where it looks like an HTTP client, as Go's servers
// do, and closed; or served, where the address was given with both schemes.
//
// Threads: the loop.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "server/net/rate_limit.h"
#include "server/net/tls_stream.h"

namespace fairlead::net {

constexpr size_t kTlsFreshMax = 16 * 1024;
constexpr size_t kTlsBegunMax = 1024;
constexpr io::Nanos kTlsLingerTimeout = io::kSecond;
constexpr io::Nanos kTlsSweepInterval = 250 * io::kMillisecond;
constexpr uint32_t kTlsLogPerSecond = 2;
constexpr uint32_t kTlsLogBurst = 20;
constexpr size_t kTlsHostChecksMax = 16;

// How one address is served.
struct TlsListen {
  std::shared_ptr<TlsContext> context;
  std::shared_ptr<TlsGate> gate;
  bool also_plain = false;     // the same address was given with http and https
  bool check_address = false;  // a client certificate with names must name the client's address, as etcd's peers do
  // Does one of the names belong to the address? Asks the resolver; runs on a worker. Without it: no.
  std::function<bool(const std::string& address, const std::vector<std::string>& names, std::string& error)> find_host;
  std::string rejected = "rejected connection on client endpoint";  // log message
};

struct TlsStats {
  uint64_t ok = 0;
  uint64_t resumed = 0;  // of ok
  uint64_t failed = 0;
  uint64_t timed_out = 0;
  uint64_t pushed_out = 0;  // over one of the limits
  uint64_t not_tls = 0;
  uint64_t open = 0;
  double seconds = 0;  // of those that ended well, from accept to the end
};

class TlsHandshakes {
 public:
  using Done = std::function<void(std::unique_ptr<io::Stream> stream, const TlsPeer& peer)>;

  explicit TlsHandshakes(const io::World& world, size_t fresh_max = kTlsFreshMax, size_t begun_max = kTlsBegunMax);
  ~TlsHandshakes();
  // `listen` must outlive the handshakes. `done` runs only for those that end well.
  void accept(std::unique_ptr<io::Stream> stream, const TlsListen& listen, Done done);
  void stop();  // drops all
  const TlsStats& stats() const { return stats_; }

 private:
  struct Pending {
    std::unique_ptr<TlsStream> stream;
    const TlsListen* listen = nullptr;
    Done done;
    io::Nanos since = 0;
    io::Nanos linger_until = 0;  // 0: not lingering
    bool checking_host = false;
    bool begun = false;
    uint64_t number = 0;
  };
  using Place = std::list<Pending>::iterator;

  void ended(Place place, TlsResult result);
  void check_address(Place place);
  void serve(Place place);
  void reject(Place place, const Status& why);
  void refuse_plain(Place place);
  void begun(Place place);
  bool push_out(std::list<Pending>& from);
  void erase(Place place);
  void sweep(std::list<Pending>& list);
  void count() { stats_.open = fresh_.size() + begun_.size(); }
  void arm();
  void log_rejected(const Pending& pending, const Status& why);

  const io::World world_;
  const size_t fresh_max_, begun_max_;
  std::list<Pending> fresh_, begun_;              // oldest first
  std::vector<std::unique_ptr<TlsStream>> dead_;  // until the next turn
  TlsStats stats_;
  RateLimit log_rate_;
  uint64_t lines_left_out_ = 0;
  uint64_t last_number_ = 0;
  size_t host_checks_ = 0;
  io::TimerId timer_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace fairlead::net
