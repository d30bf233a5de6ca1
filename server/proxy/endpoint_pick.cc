#include "server/proxy/endpoint_pick.h"

#include <utility>

namespace fairlead::proxy {

EndpointSet::EndpointSet(std::vector<Endpoint> endpoints)
    : endpoints_(std::move(endpoints)), active_(endpoints_.size(), true) {}

std::optional<size_t> EndpointSet::pick(uint64_t random) {
  std::optional<uint16_t> best;
  uint64_t weights = 0;
  std::vector<size_t> weighted, unweighted;
  for (size_t i = 0; i < endpoints_.size(); ++i) {
    const Endpoint& e = endpoints_[i];
    if (!active_[i] || (best && e.priority > *best)) continue;
    if (!best || e.priority < *best) {
      best = e.priority;
      weights = 0;
      weighted.clear();
      unweighted.clear();
    }
    weights += e.weight;
    (e.weight > 0 ? weighted : unweighted).push_back(i);
  }
  if (!best) return std::nullopt;
  bool without_weight = weighted.empty() || (!unweighted.empty() && random % kZeroWeightOneIn == 0);
  if (without_weight) return unweighted[turn_++ % unweighted.size()];
  uint64_t at = random / kZeroWeightOneIn % weights;
  for (size_t i : weighted) {
    if (at < endpoints_[i].weight) return i;
    at -= endpoints_[i].weight;
  }
  return weighted.back();
}

bool EndpointSet::set_active(size_t i, bool active) {
  bool changed = active_[i] != active;
  active_[i] = active;
  return changed;
}

}  // namespace fairlead::proxy
