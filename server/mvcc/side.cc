#include "server/mvcc/side.h"

#include <algorithm>

#include "server/mvcc/mix.h"

namespace fairlead::mvcc {
namespace {
constexpr size_t kOverhead = 32;  // per record, about
}

void SideTable::set(SideKind kind, std::string_view id, std::string_view payload, SidePosition position) {
  auto [it, fresh] = entries_.try_emplace({kind, std::string(id)});
  if (changed_.insert(it->first).second) {
    changed_bytes_ += kOverhead + id.size() + payload.size();
  } else {
    changed_bytes_ += payload.size() - it->second.payload.size();
  }
  it->second.payload.assign(payload);
  it->second.position = position;
}

bool SideTable::erase(SideKind kind, std::string_view id) {
  auto it = entries_.find(std::pair{kind, id});
  if (it == entries_.end()) return false;
  if (it->second.frozen) dead_.push_back(*it->second.frozen);
  if (changed_.erase(it->first)) changed_bytes_ -= kOverhead + id.size() + it->second.payload.size();
  entries_.erase(it);
  return true;
}

const std::string* SideTable::find(SideKind kind, std::string_view id) const {
  auto it = entries_.find(std::pair{kind, id});
  return it == entries_.end() ? nullptr : &it->second.payload;
}

void SideTable::for_each(SideKind kind,
                         const std::function<void(std::string_view id, std::string_view payload)>& f) const {
  for (auto it = entries_.lower_bound(std::pair{kind, std::string_view()});
       it != entries_.end() && it->first.first == kind; ++it) {
    f(it->first.second, it->second.payload);
  }
}

void SideTable::load(const SideRecord& record) {
  Entry& entry = entries_[{record.kind, std::string(record.id)}];
  if (entry.frozen) dead_.push_back(std::min(*entry.frozen, record.position));  // two records: the later one counts
  if (entry.frozen && *entry.frozen > record.position) return;
  entry.payload.assign(record.payload);
  entry.position = record.position;
  entry.frozen = record.position;
}

void SideTable::freeze(FrozenTail& out) {
  std::vector<std::pair<SidePosition, const Key*>> order;
  for (const Key& key : changed_) order.emplace_back(entries_.find(key)->second.position, &key);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [position, key] : order) {
    Entry& entry = entries_.find(*key)->second;
    if (entry.frozen) dead_.push_back(*entry.frozen);
    entry.frozen = position;
    std::string& record = out.side.emplace_back();
    append_side_record(record, {position, 0, key->first, key->second, entry.payload});
    out.bytes += record.size();
  }
  changed_.clear();
  changed_bytes_ = 0;
  out.dead_side.insert(out.dead_side.end(), dead_.begin(), dead_.end());
  dead_.clear();
}

uint64_t SideTable::hash() const {
  uint64_t h = 0;
  for (const auto& [key, entry] : entries_) {
    if (key.first == SideKind::kKeyspace) continue;
    h = mix(h, static_cast<uint64_t>(key.first));
    h = mix_bytes(mix_bytes(h, key.second), entry.payload);
  }
  return h;
}

}  // namespace fairlead::mvcc
