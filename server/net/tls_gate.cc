#include "server/net/tls_gate.h"

#include <utility>
#include <vector>

namespace fairlead::net {
namespace {
constexpr size_t kStepsPerJobMax = 8;
}

void TlsGate::run(bool begun, std::function<void()> work, std::function<void()> done) {
  (begun ? begun_ : fresh_).push_back({std::move(work), std::move(done)});
  pump();
}

// One job carries several steps, which run one after the other: on a busy machine the way to a worker and back costs
// more than a step.
void TlsGate::pump() {
  if (running_ > 0 || waiting() == 0) return;
  auto steps = std::make_shared<std::vector<Step>>();
  while (waiting() > 0 && steps->size() < kStepsPerJobMax) {
    std::deque<Step>& from = begun_.empty() ? fresh_ : begun_;
    steps->push_back(std::move(from.front()));
    from.pop_front();
  }
  running_ = 1;
  workers_->run(
      [steps] {
        for (Step& step : *steps) step.work();
      },
      [self = shared_from_this(), steps] {
        self->running_ = 0;
        for (Step& step : *steps) step.done();
        self->pump();
      });
}

}  // namespace fairlead::net
