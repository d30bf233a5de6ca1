// Protocol Buffers' wire format, as much as etcd's stored messages need, for files that nobody vouches for: fields one
// by one, bounds checked, unknown ones skipped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/codec.h"

namespace fairlead::bolt {

struct ProtoField {
  uint32_t number = 0;
  bool lengthed = false;  // `bytes` holds it, else `varint`
  uint64_t varint = 0;    // also of the fixed-size kinds
  std::string_view bytes;
};

class ProtoReader {
 public:
  explicit ProtoReader(std::string_view in) : reader_(in) {}
  bool next(ProtoField& field);  // false at the end, or at something malformed
  bool ok() const { return ok_ && reader_.ok(); }

 private:
  fairlead::Reader reader_;
  bool ok_ = true;
};

// Zero and empty are left out, as canonical serializers do.
void put_proto_number(std::string& out, uint32_t field, uint64_t value);
void put_proto_bytes(std::string& out, uint32_t field, std::string_view value);

}  // namespace fairlead::bolt
