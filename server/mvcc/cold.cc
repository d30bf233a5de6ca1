#include "server/mvcc/cold.h"

#include <algorithm>

namespace fairlead::mvcc {

Status ColdRecords::add(Position position, Bytes record) {
  std::string_view in = record.view();
  ASSIGN_OR_RETURN(KeyRecord decoded, decode_key_record(in));
  if (decoded.position != position || !in.empty()) return data_loss("record: not the one asked for");
  sorted_ = sorted_ && (entries_.empty() || entries_.back().first <= position);
  entries_.emplace_back(position, Entry{std::move(record), decoded});
  return {};
}

// Of one that was added twice the last counts.
const ColdRecords::Entry* ColdRecords::find(Position position) const {
  auto by_position = [](const auto& a, const auto& b) { return a.first < b.first; };
  if (!std::exchange(sorted_, true)) std::stable_sort(entries_.begin(), entries_.end(), by_position);
  auto it = std::partition_point(entries_.begin(), entries_.end(), [&](const auto& e) { return e.first <= position; });
  return it == entries_.begin() || it[-1].first != position ? nullptr : &it[-1].second;
}

}  // namespace fairlead::mvcc
