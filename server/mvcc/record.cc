#include "server/mvcc/record.h"

#include "base/codec.h"
#include "base/crc32c.h"
#include "base/planted.h"

namespace fairlead::mvcc {
namespace {

constexpr uint8_t kTypeKey = 1;
constexpr uint8_t kTypeSide = 2;
constexpr size_t kCrcSize = 4;

uint64_t as_unsigned(int64_t v) { return static_cast<uint64_t>(v); }
int64_t as_signed(uint64_t v) { return static_cast<int64_t>(v); }

size_t lengthed_size(std::string_view s) { return varint_size(s.size()) + s.size(); }
char* store_lengthed(char* out, std::string_view s) {
  out = store_varint(out, s.size());
  if (!s.empty()) std::memcpy(out, s.data(), s.size());  // an empty view may point nowhere
  return out + s.size();
}

size_t key_body_size(const KeyRecord& r) {
  return 2 + varint_size(as_unsigned(r.position.main)) + varint_size(as_unsigned(r.position.sub)) +
         varint_size(as_unsigned(r.create)) + varint_size(as_unsigned(r.version)) + varint_size(zigzag(r.lease)) + 1 +
         lengthed_size(r.key) + lengthed_size(r.value);
}

Status damaged(const char* what) { return data_loss(std::string("record: ") + what); }

// Takes one whole record off the front of `in`, its checksum proved; returns what follows the length.
Result<std::string_view> take_body(std::string_view& in, uint8_t type) {
  Reader header(in);
  auto crc = header.fixed<uint32_t>();
  std::string_view body = header.lengthed();
  if (!header.ok()) return damaged("cut short");
  size_t size = static_cast<size_t>(header.position() - in.data());
  if (!PLANTED(kServeDamaged) && crc32c(in.substr(kCrcSize, size - kCrcSize)) != crc) return damaged("wrong checksum");
  if (body.size() < 2 || static_cast<uint8_t>(body[0]) != type) return damaged("of another type");
  in.remove_prefix(size);
  return body;
}

KeyRecord read_key_fields(Reader& reader) {
  KeyRecord r;
  r.flags = reader.fixed<uint8_t>();
  r.position.main = as_signed(reader.varint());
  r.position.sub = as_signed(reader.varint());
  r.create = as_signed(reader.varint());
  r.version = as_signed(reader.varint());
  r.lease = unzigzag(reader.varint());
  reader.varint();  // keep_versions, not used yet
  r.key = reader.lengthed();
  r.value = reader.lengthed();
  return r;
}

}  // namespace

size_t key_record_size(const KeyRecord& record) {
  size_t body = key_body_size(record);
  return kCrcSize + varint_size(body) + body;
}

char* store_key_record(char* out, const KeyRecord& r) {
  char* start = out;
  out = store_varint(out + kCrcSize, key_body_size(r));
  *out++ = static_cast<char>(kTypeKey);
  *out++ = static_cast<char>(r.flags);
  out = store_varint(out, as_unsigned(r.position.main));
  out = store_varint(out, as_unsigned(r.position.sub));
  out = store_varint(out, as_unsigned(r.create));
  out = store_varint(out, as_unsigned(r.version));
  out = store_varint(out, zigzag(r.lease));
  *out++ = 0;  // keep_versions
  out = store_lengthed(out, r.key);
  out = store_lengthed(out, r.value);
  store_fixed(start, crc32c({start + kCrcSize, static_cast<size_t>(out - start) - kCrcSize}));
  return out;
}

void append_key_record(std::string& out, const KeyRecord& record) {
  size_t at = out.size();
  out.resize(at + key_record_size(record));
  store_key_record(out.data() + at, record);
}

void append_side_record(std::string& out, const SideRecord& r) {
  size_t body = 2 + varint_size(r.position.applied) + varint_size(r.position.n) + 1 + lengthed_size(r.id) +
                lengthed_size(r.payload);
  size_t at = out.size();
  out.append(kCrcSize, '\0');
  put_varint(out, body);
  out.push_back(static_cast<char>(kTypeSide));
  out.push_back(static_cast<char>(r.flags));
  put_varint(out, r.position.applied);
  put_varint(out, r.position.n);
  out.push_back(static_cast<char>(r.kind));
  put_lengthed(out, r.id);
  put_lengthed(out, r.payload);
  store_fixed(out.data() + at, crc32c(std::string_view(out).substr(at + kCrcSize)));
}

Result<KeyRecord> decode_key_record(std::string_view& in) {
  std::string_view rest = in;
  ASSIGN_OR_RETURN(std::string_view body, take_body(rest, kTypeKey));
  Reader reader(body.substr(1));
  KeyRecord r = read_key_fields(reader);
  if (!reader.ok() || !reader.at_end()) return damaged("fields do not fill it");
  in = rest;
  return r;
}

KeyRecord trusted_key_record(std::string_view record) {
  Reader reader(record.substr(kCrcSize));
  reader.varint();
  reader.fixed<uint8_t>();
  return read_key_fields(reader);
}

Result<SideRecord> decode_side_record(std::string_view& in) {
  std::string_view rest = in;
  ASSIGN_OR_RETURN(std::string_view body, take_body(rest, kTypeSide));
  Reader reader(body.substr(1));
  SideRecord r;
  r.flags = reader.fixed<uint8_t>();
  r.position.applied = reader.varint();
  r.position.n = reader.varint();
  r.kind = static_cast<SideKind>(reader.fixed<uint8_t>());
  r.id = reader.lengthed();
  r.payload = reader.lengthed();
  if (!reader.ok() || !reader.at_end()) return damaged("fields do not fill it");
  in = rest;
  return r;
}

}  // namespace fairlead::mvcc
