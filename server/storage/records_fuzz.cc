// Any bytes as what is read from our own files, their checksums put right first (else nearly every input would end
// there): refused, or the same after it was written and read again. The first byte chooses the kind of record.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "server/mvcc/record.h"
#include "server/mvcc/types.h"
#include "server/storage/log_format.h"
#include "server/storage/manifest.h"
#include "server/storage/segment_format.h"
#include "server/storage/segment_reader.h"

using namespace fairlead;
using namespace fairlead::storage;

namespace {

// A record with this body, its length and checksum in front.
std::string as_record(std::string_view body) {
  std::string rest;
  put_lengthed(rest, body);
  std::string out;
  put_fixed<uint32_t>(out, crc32c(rest));
  return out + rest;
}

void key_record(std::string_view body) {
  std::string bytes = as_record(body);
  (void)record_frame(bytes);
  std::string_view in = bytes;
  Result<mvcc::KeyRecord> record = mvcc::decode_key_record(in);
  if (!record.is_ok()) return;
  std::string again;
  mvcc::append_key_record(again, *record);
  CHECK(again.size() <= bytes.size(), "a record is written in its shortest form");
  std::string_view twice = again;
  Result<mvcc::KeyRecord> read = mvcc::decode_key_record(twice);
  CHECK(read.is_ok() && read->key == record->key && read->value == record->value && read->position == record->position);
  Result<RecordFrame> frame = record_frame(again);
  CHECK(frame.is_ok() && frame->size == again.size() && frame->place == place_of(record->position));
}

void side_record(std::string_view body) {
  std::string bytes = as_record(body);
  std::string_view in = bytes;
  Result<mvcc::SideRecord> record = mvcc::decode_side_record(in);
  if (!record.is_ok()) return;
  std::string again;
  mvcc::append_side_record(again, *record);
  std::string_view twice = again;
  Result<mvcc::SideRecord> read = mvcc::decode_side_record(twice);
  CHECK(read.is_ok() && read->id == record->id && read->payload == record->payload);
}

void manifest(std::string_view body) {
  (void)Manifest::decode(body);
  Result<SharedManifest> shared = SharedManifest::decode(body);
  if (!shared.is_ok()) return;
  Manifest whole;
  whole.shared = std::move(*shared);
  Result<Manifest> read = Manifest::decode(whole.encode());
  CHECK(read.is_ok() && read->shared.encode() == whole.shared.encode());
}

void log_batch(std::string_view in) {
  if (in.size() < kLogHeaderBytes) return;
  std::string bytes(in);
  store_fixed<uint64_t>(bytes.data(), kLogMagic);
  for (int i = 0; i < 3; ++i) store_fixed<uint64_t>(bytes.data() + 16 + 8 * i, uint64_t(i));  // where it lies
  store_fixed<uint32_t>(bytes.data() + 8, crc32c({bytes.data() + 12, kLogHeaderBytes - 12}));
  std::optional<BatchHeader> header = decode_batch_header(bytes, 0, 1, 2);
  if (!header) return;
  char again[kLogHeaderBytes];
  BatchHeader copy = *header;
  encode_batch_header(again, copy);
  CHECK(copy.crc == header->crc, "a header says all that its bytes say");
  Bytes body = Bytes::copy(std::string_view(bytes).substr(kLogHeaderBytes));
  auto entries = decode_log_body(*header, body);
  if (!entries) return;
  size_t size = 0;
  for (const raft::Entry& e : *entries) size += log_entry_size(e);
  CHECK(size <= body.size(), "entries are written in their shortest form");
}

void command(std::string_view in) {
  Result<mvcc::Command> command = mvcc::decode_command(in);
  if (!command.is_ok()) return;
  std::string once;
  mvcc::append_command(once, *command);
  Result<mvcc::Command> read = mvcc::decode_command(once);
  CHECK(read.is_ok(), "a command that is written can be read");
  std::string twice;
  mvcc::append_command(twice, *read);
  CHECK(once == twice);
}

void segment_ends(std::string_view in) {
  if (in.size() >= kSegmentHeaderBytes) {
    std::string h(in.substr(0, kSegmentHeaderBytes));
    store_fixed<uint64_t>(h.data(), kSegmentMagic);
    store_fixed<uint32_t>(h.data() + h.size() - kCrcBytes, crc32c({h.data(), h.size() - kCrcBytes}));
    CHECK(decode_segment_header(h).has_value());
  }
  if (in.size() >= kSegmentFooterBytes) {
    std::string f(in.substr(in.size() - kSegmentFooterBytes));
    store_fixed<uint32_t>(f.data() + f.size() - 4, kSegmentEndMagic);
    store_fixed<uint32_t>(f.data() + f.size() - 8, crc32c({f.data(), f.size() - 8}));
    std::optional<SegmentFooter> footer = decode_segment_footer(f);
    CHECK(footer && decode_segment_footer(encode_segment_footer(*footer)).has_value());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string in(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 6) {
    case 0:
      key_record(in);
      break;
    case 1:
      side_record(in);
      break;
    case 2:
      manifest(in);
      break;
    case 3:
      log_batch(in);
      break;
    case 4:
      command(in);
      break;
    default:
      segment_ends(in);
  }
  return 0;
}
