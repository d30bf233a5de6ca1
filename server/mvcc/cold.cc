#include "server/mvcc/cold.h"

namespace fairlead::mvcc {

Status ColdRecords::add(Position position, Bytes record) {
  std::string_view in = record.view();
  ASSIGN_OR_RETURN(KeyRecord decoded, decode_key_record(in));
  if (decoded.position != position || !in.empty()) return data_loss("record: not the one asked for");
  entries_.insert_or_assign(position, Entry{std::move(record), decoded});
  return {};
}

const ColdRecords::Entry* ColdRecords::find(Position position) const {
  auto it = entries_.find(position);
  return it == entries_.end() ? nullptr : &it->second;
}

}  // namespace fairlead::mvcc
