#include "server/storage/log_format.h"

#include <charconv>
#include <cstdio>
#include <cstring>

#include "base/codec.h"
#include "base/crc32c.h"

namespace fairlead::storage {

void encode_batch_header(char* out, BatchHeader& h) {
  std::memset(out, 0, kLogHeaderBytes);
  store_fixed<uint64_t>(out, kLogMagic);
  store_fixed<uint16_t>(out + 12, h.format);
  store_fixed<uint16_t>(out + 14, h.flags);
  store_fixed<uint64_t>(out + 16, h.log_id);
  store_fixed<uint64_t>(out + 24, h.segment);
  store_fixed<uint64_t>(out + 32, h.offset);
  store_fixed<uint64_t>(out + 40, h.sequence);
  store_fixed<uint64_t>(out + 48, h.durable);
  store_fixed<uint32_t>(out + 56, h.body_length);
  store_fixed<uint32_t>(out + 60, h.body_crc);
  store_fixed<uint32_t>(out + 64, h.previous_crc);
  store_fixed<uint32_t>(out + 68, h.entries);
  store_fixed<uint64_t>(out + 72, h.first_index.value);
  store_fixed<uint64_t>(out + 80, h.term.value);
  store_fixed<uint64_t>(out + 88, h.vote.value);
  store_fixed<uint64_t>(out + 96, h.start.value);
  store_fixed<uint64_t>(out + 104, h.term_before_start.value);
  store_fixed<uint64_t>(out + 112, h.successor);
  store_fixed<uint64_t>(out + 120, h.last_index.value);
  h.crc = crc32c({out + 12, kLogHeaderBytes - 12});
  store_fixed<uint32_t>(out + 8, h.crc);
}

std::optional<BatchHeader> decode_batch_header(std::string_view in, uint64_t log_id, uint64_t segment,
                                               uint64_t offset) {
  if (in.size() < kLogHeaderBytes) return std::nullopt;
  const char* p = in.data();
  if (load_fixed<uint64_t>(p) != kLogMagic) return std::nullopt;
  BatchHeader h;
  h.crc = load_fixed<uint32_t>(p + 8);
  if (crc32c({p + 12, kLogHeaderBytes - 12}) != h.crc) return std::nullopt;
  h.format = load_fixed<uint16_t>(p + 12);
  h.flags = load_fixed<uint16_t>(p + 14);
  h.log_id = load_fixed<uint64_t>(p + 16);
  h.segment = load_fixed<uint64_t>(p + 24);
  h.offset = load_fixed<uint64_t>(p + 32);
  if (h.log_id != log_id || h.segment != segment || h.offset != offset) return std::nullopt;
  h.sequence = load_fixed<uint64_t>(p + 40);
  h.durable = load_fixed<uint64_t>(p + 48);
  h.body_length = load_fixed<uint32_t>(p + 56);
  h.body_crc = load_fixed<uint32_t>(p + 60);
  h.previous_crc = load_fixed<uint32_t>(p + 64);
  h.entries = load_fixed<uint32_t>(p + 68);
  h.first_index = Index{load_fixed<uint64_t>(p + 72)};
  h.term = Term{load_fixed<uint64_t>(p + 80)};
  h.vote = MemberId{load_fixed<uint64_t>(p + 88)};
  h.start = Index{load_fixed<uint64_t>(p + 96)};
  h.term_before_start = Term{load_fixed<uint64_t>(p + 104)};
  h.successor = load_fixed<uint64_t>(p + 112);
  h.last_index = Index{load_fixed<uint64_t>(p + 120)};
  if (h.body_length > kLogBodyBytesMax) return std::nullopt;
  return h;
}

size_t log_entry_size(const raft::Entry& e) {
  return varint_size(e.term.value) + 1 + varint_size(e.data.size()) + e.data.size();
}

char* store_log_entry(char* out, const raft::Entry& e) {
  out = store_varint(out, e.term.value);
  *out++ = static_cast<char>(e.type);
  out = store_varint(out, e.data.size());
  if (!e.data.empty()) std::memcpy(out, e.data.data(), e.data.size());
  return out + e.data.size();
}

std::optional<std::vector<raft::Entry>> decode_log_body(const BatchHeader& header, const Bytes& body) {
  std::vector<raft::Entry> entries;
  if (header.entries > body.size()) return std::nullopt;  // an entry has three bytes at least
  entries.reserve(header.entries);
  Reader in(body.view());
  for (uint32_t i = 0; i < header.entries; ++i) {
    raft::Entry e;
    e.index = header.first_index + i;
    e.term = Term{in.varint()};
    auto type = in.fixed<uint8_t>();
    std::string_view data = in.lengthed();
    if (!in.ok() || type > static_cast<uint8_t>(raft::EntryType::kEmpty)) return std::nullopt;
    e.type = static_cast<raft::EntryType>(type);
    e.data = body.slice_of(data);
    entries.push_back(std::move(e));
  }
  if (!in.at_end()) return std::nullopt;
  return entries;
}

std::string log_segment_name(uint64_t log_id, uint64_t number) {
  char name[64];
  std::snprintf(name, sizeof(name), "log-%016llx-%016llx", static_cast<unsigned long long>(log_id),
                static_cast<unsigned long long>(number));
  return name;
}

std::string log_spare_name(uint64_t number) {
  char name[64];
  std::snprintf(name, sizeof(name), "spare-%016llx", static_cast<unsigned long long>(number));
  return name;
}

namespace {

bool parse_hex(std::string_view s, uint64_t& out) {
  if (s.size() != 16) return false;
  auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), out, 16);
  return error == std::errc() && end == s.data() + s.size();
}

}  // namespace

std::optional<LogFileName> parse_log_file_name(std::string_view name) {
  LogFileName out;
  if (name.starts_with("spare-") && parse_hex(name.substr(6), out.number)) {
    out.spare = true;
    return out;
  }
  if (name.size() == 37 && name.starts_with("log-") && name[20] == '-' && parse_hex(name.substr(4, 16), out.log_id) &&
      parse_hex(name.substr(21), out.number))
    return out;
  return std::nullopt;
}

}  // namespace fairlead::storage
