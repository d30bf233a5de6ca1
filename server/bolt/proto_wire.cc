#include "server/bolt/proto_wire.h"

namespace fairlead::bolt {
namespace {
enum Wire : uint32_t { kVarint = 0, kFixed64 = 1, kLengthed = 2, kFixed32 = 5 };
}

bool ProtoReader::next(ProtoField& field) {
  if (!ok() || reader_.at_end()) return false;
  uint64_t tag = reader_.varint();
  field = {};
  field.number = static_cast<uint32_t>(tag >> 3);
  switch (tag & 7) {
    case kVarint:
      field.varint = reader_.varint();
      break;
    case kFixed64:
      field.varint = reader_.fixed<uint64_t>();
      break;
    case kFixed32:
      field.varint = reader_.fixed<uint32_t>();
      break;
    case kLengthed:
      field.lengthed = true;
      field.bytes = reader_.lengthed();
      break;
    default:
      ok_ = false;
  }
  if (tag >> 3 == 0 || tag >> 32 != 0) ok_ = false;
  return ok();
}

void put_proto_number(std::string& out, uint32_t field, uint64_t value) {
  if (value == 0) return;
  put_varint(out, field << 3 | kVarint);
  put_varint(out, value);
}

void put_proto_bytes(std::string& out, uint32_t field, std::string_view value) {
  if (value.empty()) return;
  put_varint(out, field << 3 | kLengthed);
  put_lengthed(out, value);
}

}  // namespace fairlead::bolt
