#include "server/node/version.h"

#include <charconv>

#include "base/codec.h"

namespace fairlead::node {
namespace {

constexpr uint8_t kFormat = 1;

bool parse_number(std::string_view in, int& out) {
  auto [end, error] = std::from_chars(in.data(), in.data() + in.size(), out);
  return !in.empty() && error == std::errc() && end == in.data() + in.size() && out >= 0;
}

std::optional<ApiLevel> parse_three(std::string_view in) {
  in = in.substr(0, in.find('+'));
  in = in.substr(0, in.find('-'));
  size_t first = in.find('.');
  size_t second = first == std::string_view::npos ? first : in.find('.', first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  ApiLevel level;
  int patch = 0;
  if (!parse_number(in.substr(0, first), level.major) ||
      !parse_number(in.substr(first + 1, second - first - 1), level.minor) ||
      !parse_number(in.substr(second + 1), patch))
    return std::nullopt;
  return level;
}

ApiLevel one_below(ApiLevel level) { return {level.major, level.minor - 1}; }

}  // namespace

std::string to_short(ApiLevel level) { return std::to_string(level.major) + "." + std::to_string(level.minor); }
std::string to_version(ApiLevel level) { return to_short(level) + ".0"; }

std::optional<ApiLevel> parse_level(std::string_view text) {
  if (std::optional<ApiLevel> level = parse_three(text)) return level;
  return parse_three(std::string(text) + ".0");
}

std::string encode_cluster_version(const ClusterVersion& v) {
  std::string out;
  put_fixed<uint8_t>(out, kFormat);
  put_lengthed(out, v.version);
  put_fixed<uint8_t>(out, v.downgrade_known);
  put_lengthed(out, v.downgrade_target);
  return out;
}

Result<ClusterVersion> decode_cluster_version(std::string_view in) {
  Reader r(in);
  ClusterVersion v;
  if (r.fixed<uint8_t>() != kFormat) return data_loss("the record of the cluster's version has an unknown format");
  v.version = r.lengthed();
  v.downgrade_known = r.fixed<uint8_t>() != 0;
  v.downgrade_target = r.lengthed();
  if (!r.ok() || !r.at_end() || (!v.version.empty() && !v.level()) ||
      (v.downgrade_enabled() && !parse_level(v.downgrade_target)))
    return data_loss("the record of the cluster's version is damaged");
  return v;
}

std::string encode_version_change(const VersionChange& change) {
  std::string out;
  put_fixed(out, static_cast<uint8_t>(change.kind));
  put_lengthed(out, change.version);
  return out;
}

Result<VersionChange> decode_version_change(std::string_view in) {
  Reader r(in);
  VersionChange change;
  change.kind = static_cast<VersionChange::Kind>(r.fixed<uint8_t>());
  change.version = r.lengthed();
  bool known = change.kind == VersionChange::Kind::kSet || change.kind == VersionChange::Kind::kEnableDowngrade ||
               change.kind == VersionChange::Kind::kCancelDowngrade;
  if (!r.ok() || !r.at_end() || !known ||
      (change.kind != VersionChange::Kind::kCancelDowngrade && !parse_level(change.version)))
    return data_loss("a change of the cluster's version is malformed");
  return change;
}

void apply_version_change(const VersionChange& change, ClusterVersion& v) {
  if (change.kind == VersionChange::Kind::kSet) {
    v.version = change.version;
    return;
  }
  v.downgrade_known = true;
  v.downgrade_target = change.kind == VersionChange::Kind::kEnableDowngrade ? change.version : "";
}

std::optional<VersionChange> next_version_change(const ClusterVersion& v, ApiLevel members) {
  std::optional<ApiLevel> now = v.level();
  if (!now) return VersionChange{VersionChange::Kind::kSet, to_version(members)};
  if (v.downgrade_enabled()) {
    ApiLevel target = *parse_level(v.downgrade_target);
    if (target == *now || target != one_below(*now) || target != one_below(members)) return std::nullopt;
    return VersionChange{VersionChange::Kind::kSet, to_version(target)};
  }
  if (now->major == members.major && *now < members)
    return VersionChange{VersionChange::Kind::kSet, to_version(members)};
  return std::nullopt;
}

std::optional<VersionChange> end_of_downgrade(const ClusterVersion& v, ApiLevel members) {
  if (!v.downgrade_enabled() || members != *parse_level(v.downgrade_target)) return std::nullopt;
  return VersionChange{VersionChange::Kind::kCancelDowngrade, {}};
}

Status check_downgrade(const ClusterVersion& v, ApiLevel target) {
  std::optional<ApiLevel> now = v.level();
  if (!now) return failed_precondition("etcdserver: cluster version not found during downgrade");
  if (target != one_below(*now)) return invalid_argument("etcdserver: invalid downgrade target version");
  if (v.downgrade_enabled()) return failed_precondition("etcdserver: cluster has a downgrade job in progress");
  return {};
}

}  // namespace fairlead::node
