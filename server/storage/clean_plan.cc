#include "server/storage/clean_plan.h"

#include <algorithm>

namespace fairlead::storage {

namespace {

using Segments = std::vector<SegmentInfo>;

uint64_t live_bytes(const SegmentInfo& s) { return s.size_bytes - std::min(s.dead_bytes, s.size_bytes); }

bool deader(const SegmentInfo& a, const SegmentInfo& b) {
  // a.dead / a.size > b.dead / b.size without division; sizes are below 2^40.
  return static_cast<__uint128_t>(a.dead_bytes) * b.size_bytes > static_cast<__uint128_t>(b.dead_bytes) * a.size_bytes;
}

CleanPlan make(const Segments& all, size_t from, size_t to) {
  CleanPlan plan;
  for (size_t i = from; i < to; ++i) {
    plan.segments.push_back(all[i].number);
    plan.bytes += all[i].size_bytes;
  }
  return plan;
}

// Around the deadest one, as far as what is worth cleaning too fits into the same output.
std::optional<CleanPlan> deadest(const Segments& all, uint64_t output_bytes_max, uint64_t percent,
                                 const auto& eligible) {
  size_t best = all.size();
  for (size_t i = 0; i < all.size(); ++i)
    if (eligible(all[i]) && all[i].dead.count > 0 && (best == all.size() || deader(all[i], all[best]))) best = i;
  if (best == all.size()) return std::nullopt;
  size_t from = best, to = best + 1;
  uint64_t live = live_bytes(all[best]);
  auto joins = [&](size_t i) {
    const SegmentInfo& s = all[i];
    return s.kind == all[best].kind && eligible(s) && s.dead.count > 0 &&
           s.dead_bytes * 100 >= percent * s.size_bytes && live + live_bytes(s) <= output_bytes_max;
  };
  for (bool more = true; more;) {
    more = false;
    if (from > 0 && joins(from - 1)) live += live_bytes(all[--from]), more = true;
    if (to < all.size() && joins(to)) live += live_bytes(all[to++]), more = true;
  }
  return make(all, from, to);
}

std::optional<CleanPlan> small_neighbours(const Segments& all, uint64_t output_bytes_max, size_t segments_min,
                                          const auto& eligible) {
  for (size_t to = all.size(); to >= segments_min; --to) {
    uint64_t sum = 0, largest = 0;
    size_t best = to;
    for (size_t from = to; from > 0;) {
      const SegmentInfo& s = all[--from];
      sum += s.size_bytes;
      largest = std::max(largest, s.size_bytes);
      if (s.kind != all[to - 1].kind || !eligible(s) || sum > output_bytes_max) break;
      if (to - from >= segments_min && largest <= sum - largest) best = from;
    }
    if (best < to) return make(all, best, to);
  }
  return std::nullopt;
}

}  // namespace

DeadShare dead_share(const SharedManifest& manifest) {
  DeadShare out;
  for (const SegmentInfo& s : manifest.segments) {
    out.bytes += s.size_bytes;
    out.dead_bytes += std::min(s.dead_bytes, s.size_bytes);
  }
  return out;
}

std::optional<CleanPlan> plan_clean(const SharedManifest& manifest, const CleanerOptions& options,
                                    uint64_t output_bytes_max, const std::set<uint64_t>& damaged, uint64_t below) {
  auto eligible = [&](const SegmentInfo& s) { return !damaged.count(s.number); };
  if (below != 0) {
    return deadest(manifest.segments, output_bytes_max, 0,
                   [&](const SegmentInfo& s) { return eligible(s) && s.number < below; });
  }
  const DeadShare share = dead_share(manifest);
  if (share.dead_bytes >= options.dead_bytes_min && share.at_least(options.dead_percent_min))
    if (auto plan = deadest(manifest.segments, output_bytes_max, options.dead_percent_min, eligible)) return plan;
  return small_neighbours(manifest.segments, output_bytes_max, std::max<size_t>(options.join_segments_min, 2),
                          eligible);
}

}  // namespace fairlead::storage
