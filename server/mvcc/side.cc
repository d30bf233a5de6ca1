#include "server/mvcc/side.h"

#include <algorithm>

#include "base/check.h"
#include "server/mvcc/mix.h"

namespace fairlead::mvcc {
namespace {
constexpr size_t kRetiredMin = 64;  // fewer are not worth a pass over the list
}

void SideTable::set(SideKind kind, std::string_view id, std::string_view payload, SidePosition position) {
  CHECK(!frozen_to_ || *frozen_to_ < position, "a side record lies behind the last checkpoint");
  auto [it, fresh] = entries_.try_emplace({kind, std::string(id)});
  if (!fresh) retire(it->second.position);
  it->second.payload.assign(payload);
  it->second.position = position;
  FrozenTail::Side change{position, {}};
  append_side_record(change.record, {position, 0, kind, id, payload});
  changed_bytes_ += change.record.size();
  auto place = changed_.end();  // nearly always
  while (place != changed_.begin() && position < std::prev(place)->position) --place;
  changed_.insert(place, std::move(change));
}

bool SideTable::erase(SideKind kind, std::string_view id) {
  auto it = entries_.find(std::pair{kind, id});
  if (it == entries_.end()) return false;
  retire(it->second.position);
  entries_.erase(it);
  return true;
}

void SideTable::retire(SidePosition position) {
  if (frozen_to_ && position <= *frozen_to_) {
    dead_.push_back(position);
    return;
  }
  auto it = std::lower_bound(changed_.begin(), changed_.end(), position,
                             [](const FrozenTail::Side& s, SidePosition p) { return s.position < p; });
  CHECK(it != changed_.end() && it->position == position, "a side record is frozen or among the changes");
  changed_bytes_ -= it->record.size();
  std::string().swap(it->record);
  ++retired_;
  if (retired_ < kRetiredMin || retired_ * 2 < changed_.size()) return;
  std::erase_if(changed_, [](const FrozenTail::Side& s) { return s.record.empty(); });
  retired_ = 0;
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
  auto [it, fresh] = entries_.try_emplace({record.kind, std::string(record.id)});
  Entry& entry = it->second;
  frozen_to_ = std::max(frozen_to_.value_or(record.position), record.position);
  if (!fresh) dead_.push_back(std::min(entry.position, record.position));  // two records: the later one counts
  if (!fresh && entry.position > record.position) return;
  entry.payload.assign(record.payload);
  entry.position = record.position;
}

void SideTable::freeze(FrozenTail& out) {
  if (!changed_.empty()) frozen_to_ = changed_.back().position;
  out.side = std::exchange(changed_, {});
  out.bytes += std::exchange(changed_bytes_, 0);
  retired_ = 0;
  out.dead_side = std::exchange(dead_, {});
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
