// Distinct types for the numbers that must not be mixed up. Each is a plain integer in size and cost; conversion is
// always spelled out: Term{3}, term.value.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace fairlead {

template <typename Tag, typename Int>
struct StrongId {
  using Value = Int;
  Int value{0};

  constexpr StrongId() = default;
  constexpr explicit StrongId(Int v) : value(v) {}
  constexpr auto operator<=>(const StrongId&) const = default;
  constexpr explicit operator bool() const { return value != 0; }

  constexpr StrongId& operator++() {
    ++value;
    return *this;
  }
  constexpr StrongId operator+(Int n) const { return StrongId(value + n); }
  constexpr StrongId operator-(Int n) const { return StrongId(value - n); }
  constexpr Int operator-(StrongId o) const { return value - o.value; }
};

using Term = StrongId<struct TermTag, uint64_t>;          // Raft term; 0 = before the first election
using Index = StrongId<struct IndexTag, uint64_t>;        // Raft log index; the first entry is 1
using MemberId = StrongId<struct MemberIdTag, uint64_t>;  // 0 = none
using ClusterId = StrongId<struct ClusterIdTag, uint64_t>;
using StoreId = StrongId<struct StoreIdTag, uint64_t>;   // random, one per data directory
using ReadId = StrongId<struct ReadIdTag, uint64_t>;     // linearizable read request, rises within a process
using Revision = StrongId<struct RevisionTag, int64_t>;  // etcd's main revision; an empty store is at 1
using LeaseId = StrongId<struct LeaseIdTag, int64_t>;    // 0 = no lease

}  // namespace fairlead

template <typename Tag, typename Int>
struct std::hash<fairlead::StrongId<Tag, Int>> {
  size_t operator()(const fairlead::StrongId<Tag, Int>& id) const noexcept {
    return static_cast<size_t>(id.value) * 0x9E3779B97F4A7C15ull;
  }
};
