// Which endpoint the next connection goes to: RFC 2782's priorities and weights among those that answer.
//
// Pure: chance comes in as an argument. The lowest priority that has an active endpoint is served alone. In it, one is
// drawn by weight; those without a weight take turns where there are no others, and else are drawn one time in
// kZeroWeightOneIn (RFC 2782: "a very small chance").
// Threads: the owner's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fairlead::proxy {

constexpr uint64_t kZeroWeightOneIn = 100;

struct Endpoint {
  std::string address;  // as io::Net takes it
  uint16_t priority = 0;
  uint16_t weight = 0;
};

class EndpointSet {
 public:
  explicit EndpointSet(std::vector<Endpoint> endpoints);

  std::optional<size_t> pick(uint64_t random);  // none: no endpoint is active
  bool active(size_t i) const { return active_[i]; }
  // Whether something has changed.
  bool set_active(size_t i, bool active);
  const Endpoint& at(size_t i) const { return endpoints_[i]; }
  size_t size() const { return endpoints_.size(); }

 private:
  std::vector<Endpoint> endpoints_;
  std::vector<bool> active_;
  size_t turn_ = 0;  // among those without a weight
};

}  // namespace fairlead::proxy
