// The cluster's version, in etcd's terms: the level of API and storage on which all members have agreed. It is not
// there at first; the leader sets it to the level of the members, and raises it when they can do more. A downgrade,
// once enabled by an administrator, lets it go back by one minor version; cancelling lets it rise again.
//
// Replicated: changed only by apply. One side record (kNode, "version"). Rules: etcd 3.7, "Downgrade" of its
// operations guide; errors are etcd's. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fairlead::node {

struct ApiLevel {
  int major = 0;
  int minor = 0;
  auto operator<=>(const ApiLevel&) const = default;
};
// What this program speaks. Every member of a cluster speaks the same one as long as there is only one; a program of
// another level has to make its members publish theirs.
constexpr ApiLevel kOwnLevel{3, 7};

std::string to_version(ApiLevel level);  // "3.7.0"
std::string to_short(ApiLevel level);    // "3.7"
// "3.6.0", also with a patch, pre-release or build part, which are left out, or "3.6"; else nothing.
std::optional<ApiLevel> parse_level(std::string_view text);

constexpr std::string_view kVersionRecordId = "version";

struct ClusterVersion {
  std::string version;           // "3.7.0"; empty: not decided yet
  bool downgrade_known = false;  // one was enabled once, or cancelled
  std::string downgrade_target;  // "3.6.0"; empty: none is under way
  bool downgrade_enabled() const { return !downgrade_target.empty(); }
  std::optional<ApiLevel> level() const { return parse_level(version); }
};
std::string encode_cluster_version(const ClusterVersion& v);
Result<ClusterVersion> decode_cluster_version(std::string_view in);

struct VersionChange {
  enum class Kind : uint8_t { kSet = 1, kEnableDowngrade = 2, kCancelDowngrade = 3 };
  Kind kind = Kind::kSet;
  std::string version;  // not of kCancelDowngrade
};
std::string encode_version_change(const VersionChange& change);
Result<VersionChange> decode_version_change(std::string_view in);
void apply_version_change(const VersionChange& change, ClusterVersion& v);

// What the leader proposes next, if anything, when all members speak `members`. That a downgrade is over, because all
// have arrived, it looks for at an interval of its own.
std::optional<VersionChange> next_version_change(const ClusterVersion& v, ApiLevel members);
std::optional<VersionChange> end_of_downgrade(const ClusterVersion& v, ApiLevel members);
// Whether a downgrade to `target` may begin.
Status check_downgrade(const ClusterVersion& v, ApiLevel target);

}  // namespace fairlead::node
