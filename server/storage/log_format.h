// The bytes of a log batch: docs/formats/log.md. Pure functions, shared by writing, recovery and reading back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"
#include "server/io/io.h"
#include "server/raft/types.h"

namespace fairlead::storage {

constexpr uint64_t kLogMagic = 0x31474F4C44524C46ull;  // "FLRDLOG1"
constexpr uint16_t kLogFormat = 1;
constexpr size_t kLogHeaderBytes = 128;
constexpr uint64_t kLogBodyBytesMax = 1ull << 30;

enum LogFlag : uint16_t {
  kLogFirst = 1,     // first batch of its segment
  kLogFresh = 2,     // first after a start: what lies behind batch sequence-1, elsewhere, is cut
  kLogLast = 4,      // last of its segment; `successor` goes on
  kLogMark = 8,      // no entries, nothing new: only says what is durable
  kLogRestart = 16,  // all entries before this batch are void; the log goes on at `start`
};
constexpr uint16_t kLogFlagsKnown = 31;

struct BatchHeader {
  uint32_t crc = 0;              // of the header; set by encode and decode
  uint16_t format = kLogFormat;  // another one is for recovery to refuse, not a torn batch
  uint16_t flags = 0;
  uint64_t log_id = 0;
  uint64_t segment = 0;
  uint64_t offset = 0;    // in the segment
  uint64_t sequence = 0;  // 1, 2, ...
  uint64_t durable = 0;   // every batch up to this one was durable when this one was written
  uint32_t body_length = 0;
  uint32_t body_crc = 0;
  uint32_t previous_crc = 0;  // header CRC of batch sequence-1
  uint32_t entries = 0;
  Index first_index;  // of the entries; 0 without any
  Term term;          // hard state
  MemberId vote;
  Index start;  // log start
  Term term_before_start;
  uint64_t successor = 0;  // segment number, with kLogLast
  Index last_index;        // of the log once this batch is durable

  uint64_t end() const { return offset + size(); }
  uint64_t size() const {
    return (kLogHeaderBytes + body_length + io::kDiskBlockBytes - 1) / io::kDiskBlockBytes * io::kDiskBlockBytes;
  }
};

void encode_batch_header(char* out, BatchHeader& header);  // kLogHeaderBytes; sets header.crc
// A header that is whole and stands where it says it stands; else nothing.
std::optional<BatchHeader> decode_batch_header(std::string_view in, uint64_t log_id, uint64_t segment, uint64_t offset);

size_t log_entry_size(const raft::Entry& entry);
char* store_log_entry(char* out, const raft::Entry& entry);
// The entries of a body whose CRC was checked; they share its memory. Nothing if it does not parse.
std::optional<std::vector<raft::Entry>> decode_log_body(const BatchHeader& header, const Bytes& body);

std::string log_segment_name(uint64_t log_id, uint64_t number);
std::string log_spare_name(uint64_t number);
struct LogFileName {
  bool spare = false;
  uint64_t log_id = 0;
  uint64_t number = 0;
};
std::optional<LogFileName> parse_log_file_name(std::string_view name);

}  // namespace fairlead::storage
