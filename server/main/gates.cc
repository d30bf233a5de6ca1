#include "server/main/gates.h"

#include <algorithm>
#include <map>
#include <optional>

#include "server/main/values.h"

namespace fairlead::server {
namespace {

const std::vector<Gate> kGates = {
    {"CompactHashCheck", false, "ALPHA", "the leader compares all members' hashes after compactions", true},
    {"FastLeaseKeepAlive", true, "BETA", "keep-alives never wait for the applied index", false},
    {"InitialCorruptCheck", false, "ALPHA",
     "a start compares its hash with those of the others, and refuses to serve when one differs", true},
    {"LeaseCheckpoint", false, "ALPHA", "a new leader starts from what was left of a lease, not from its full TTL",
     true},
    {"LeaseCheckpointPersist", false, "ALPHA", "checkpoints of leases are always kept on disk", false},
    {"PriorityRequest", false, "ALPHA", "overload refuses new requests, whatever they are", false},
    {"SetMemberLocalAddr", false, "ALPHA", "the system chooses the local address of connections to peers", false},
    {"StopGRPCServiceOnDefrag", false, "ALPHA", "Defragment stops nothing, so there is nothing to announce", false},
    {"TxnModeWriteWithSharedBuffer", true, "BETA", "there are no backend transactions", false},
};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

const Gate* find_gate(std::string_view name) {
  auto found = std::find_if(kGates.begin(), kGates.end(), [&](const Gate& g) { return name == g.name; });
  return found == kGates.end() ? nullptr : &*found;
}

Result<std::map<std::string, bool, std::less<>>> parse(std::string_view settings) {
  std::map<std::string, bool, std::less<>> out;
  while (!settings.empty()) {
    size_t comma = std::min(settings.find(','), settings.size());
    std::string_view item = settings.substr(0, comma);
    settings.remove_prefix(std::min(comma + 1, settings.size()));
    if (item.empty()) continue;
    size_t equals = item.find('=');
    std::string name(trimmed(item.substr(0, equals)));
    if (equals == std::string_view::npos) return invalid_argument("missing bool value for " + name);
    std::string_view value = trimmed(item.substr(equals + 1));
    bool on = false;
    if (!parse_bool(value, on)) return invalid_argument("invalid value of " + name + "=" + std::string(value));
    if (!find_gate(name) && name != "AllAlpha" && name != "AllBeta")
      return invalid_argument("unrecognized feature gate: " + name);
    out[name] = on;
  }
  return out;
}

bool enabled(const std::map<std::string, bool, std::less<>>& set, const Gate& gate) {
  if (auto own = set.find(gate.name); own != set.end()) return own->second;
  auto all = set.find(std::string_view(gate.stage) == "ALPHA" ? "AllAlpha" : "AllBeta");
  return all != set.end() ? all->second : gate.on_by_default;
}

}  // namespace

const std::vector<Gate>& all_gates() { return kGates; }

bool gate_enabled(std::string_view settings, std::string_view name) {
  const Gate* gate = find_gate(name);
  auto set = parse(settings);
  return gate && set.is_ok() && enabled(*set, *gate);
}

Status check_gates(std::string_view settings, std::vector<std::string>& warnings) {
  auto set = parse(settings);
  if (!set.is_ok())
    return invalid_argument("invalid value \"" + std::string(settings) +
                            "\" for flag -feature-gates: " + std::string(set.status().message()));
  if (enabled(*set, *find_gate("LeaseCheckpointPersist")) && !enabled(*set, *find_gate("LeaseCheckpoint")))
    return failed_precondition(
        "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint");
  for (const auto& [name, on] : *set) {
    const Gate* gate = find_gate(name);
    if (gate && !gate->has_effect && on != gate->on_by_default)
      warnings.push_back("feature gate " + name + " has no effect here: " + gate->effect);
  }
  return {};
}

}  // namespace fairlead::server
