#include "server/node/requests.h"

#include <algorithm>

namespace fairlead::node {
namespace {

uint64_t window_start(uint64_t highest) { return highest > kRequestWindow ? highest - kRequestWindow + 1 : 1; }

// The gap that may hold the id: the last one that does not begin above it.
template <typename Gaps>
auto gap_at(Gaps& gaps, uint64_t request) {
  auto it =
      std::upper_bound(gaps.begin(), gaps.end(), request, [](uint64_t id, const auto& g) { return id < g.first; });
  return it == gaps.begin() || (it - 1)->last < request ? gaps.end() : it - 1;
}

}  // namespace

bool AppliedRequests::fresh(MemberId proposer, uint64_t request) const {
  auto it = proposers_.find(proposer);
  if (it == proposers_.end() || request > it->second.highest) return true;
  return request >= window_start(it->second.highest) && gap_at(it->second.gaps, request) != it->second.gaps.end();
}

void AppliedRequests::note(MemberId proposer, uint64_t request) {
  Proposer& p = proposers_[proposer];
  if (request == p.highest + 1 && p.gaps.empty())
    p.highest = request;  // nearly always
  else if (request > p.highest)
    advance(p, request);
  else
    fill(p, request);
}

// What it jumps over is still to come, and what falls out of the window is over.
void AppliedRequests::advance(Proposer& p, uint64_t request) {
  uint64_t start = window_start(request);
  if (request > p.highest + 1) p.gaps.push_back({std::max(p.highest + 1, start), request - 1});
  p.highest = request;
  auto keep = std::find_if(p.gaps.begin(), p.gaps.end(), [&](const Gap& g) { return g.last >= start; });
  p.gaps.erase(p.gaps.begin(), keep);
  if (!p.gaps.empty()) p.gaps.front().first = std::max(p.gaps.front().first, start);
  if (p.gaps.size() > kRequestGapsMax) p.gaps.erase(p.gaps.begin());
}

void AppliedRequests::fill(Proposer& p, uint64_t request) {
  auto it = gap_at(p.gaps, request);
  if (it == p.gaps.end()) return;
  Gap behind{request + 1, it->last};
  it->last = request - 1;
  bool front_left = it->first <= it->last, behind_left = behind.first <= behind.last;
  if (front_left && behind_left)
    p.gaps.insert(it + 1, behind);
  else if (behind_left)
    *it = behind;
  else if (!front_left)
    p.gaps.erase(it);
  if (p.gaps.size() > kRequestGapsMax) p.gaps.erase(p.gaps.begin());
}

void AppliedRequests::encode(std::string& out) const {
  put_varint(out, proposers_.size());
  for (const auto& [id, p] : proposers_) {
    put_fixed(out, id.value);
    put_fixed(out, p.highest);
    put_varint(out, p.gaps.size());
    uint64_t at = window_start(p.highest);
    for (const Gap& g : p.gaps) {
      put_varint(out, g.first - at);
      put_varint(out, g.last - g.first);
      at = g.last;
    }
  }
}

Result<AppliedRequests> AppliedRequests::decode(Reader& in) {
  AppliedRequests out;
  for (uint64_t n = in.varint(); in.ok() && n > 0; --n) {
    MemberId id(in.fixed<uint64_t>());
    Proposer& p = out.proposers_[id];
    p.highest = in.fixed<uint64_t>();
    uint64_t gaps = in.varint();
    uint64_t at = window_start(p.highest);
    for (; in.ok() && gaps > 0; --gaps) {
      Gap g;
      g.first = at + in.varint();
      g.last = g.first + in.varint();
      if (g.first < at || g.last < g.first || g.last >= p.highest || p.gaps.size() == kRequestGapsMax)
        return data_loss("the record of applied requests is damaged");
      at = g.last;
      p.gaps.push_back(g);
    }
  }
  if (!in.ok()) return data_loss("the record of applied requests is damaged");
  return out;
}

}  // namespace fairlead::node
