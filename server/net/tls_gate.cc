#include "server/net/tls_gate.h"

#include <utility>

namespace fairlead::net {

void TlsGate::run(bool begun, std::function<void()> work, std::function<void()> done) {
  (begun ? begun_ : fresh_).push_back({std::move(work), std::move(done)});
  pump();
}

void TlsGate::pump() {
  while (running_ < kTlsStepsAtOnceMax && waiting() > 0) {
    std::deque<Step>& from = begun_.empty() ? fresh_ : begun_;
    Step step = std::move(from.front());
    from.pop_front();
    ++running_;
    workers_->run(std::move(step.work), [self = shared_from_this(), done = std::move(step.done)] {
      --self->running_;
      done();
      self->pump();
    });
  }
}

}  // namespace fairlead::net
