// Runs the steps of TLS handshakes on workers, a few at a time: signing with an RSA key takes a millisecond, and a
// flood of handshakes must take neither the loop's time nor all workers. Handshakes that have begun go first, so that
// under a flood of new ones some end.
//
// Bounds: kTlsStepsAtOnceMax at the workers; what waits is bounded by the open handshakes, each of which has at most
// one step here.
// Threads: the loop.
#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "server/io/io.h"

namespace fairlead::net {

constexpr size_t kTlsStepsAtOnceMax = 1;

class TlsGate : public std::enable_shared_from_this<TlsGate> {
 public:
  // `workers` outlive the gate; better not those that read and write files for long.
  explicit TlsGate(io::Workers* workers) : workers_(workers) {}
  void run(bool begun, std::function<void()> work, std::function<void()> done);
  size_t waiting() const { return begun_.size() + fresh_.size(); }

 private:
  struct Step {
    std::function<void()> work;
    std::function<void()> done;
  };
  void pump();

  io::Workers* workers_;
  std::deque<Step> begun_, fresh_;
  size_t running_ = 0;
};

}  // namespace fairlead::net
