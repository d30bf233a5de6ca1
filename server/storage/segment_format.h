// Fixed parts of a record segment's bytes: docs/formats/segments.md. Shared by writer and reader.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <openssl/evp.h>

#include "base/status.h"
#include "server/storage/manifest.h"

namespace fairlead::storage {

constexpr uint64_t kSegmentMagic = 0x31474553524C4146ull;  // "FALRSEG1"
constexpr uint32_t kSegmentEndMagic = 0x444E4553u;         // "SEND"
constexpr uint16_t kSegmentFormat = 1;
constexpr size_t kSegmentHeaderBytes = 64;
constexpr size_t kSegmentFooterBytes = 128;
constexpr size_t kBlockHeaderBytes = 12;
constexpr size_t kCrcBytes = 4;
constexpr size_t kDirectoryHeaderBytes = 8;

struct SegmentHeader {
  uint16_t format = kSegmentFormat;
  SegmentKind kind = SegmentKind::kKeys;
  uint64_t number = 0;  // when it was made; a copy at another member keeps it
  uint64_t random_id = 0;
  uint64_t base = 0;  // directory positions count from here
};
std::string encode_segment_header(const SegmentHeader& header);
std::optional<SegmentHeader> decode_segment_header(std::string_view in);

struct SegmentFooter {
  uint64_t table = 0;  // offsets: blocks end where the table begins, and so on
  uint64_t directory = 0;
  uint64_t index = 0;  // first keys of the directory's blocks
  uint64_t records = 0;
  Place first, last;
  uint32_t blocks = 0;
  uint32_t directory_blocks = 0;
  uint64_t random_id = 0;
  Sha256 hash{};
};
std::string encode_segment_footer(const SegmentFooter& footer);
std::optional<SegmentFooter> decode_segment_footer(std::string_view in);

// Checksum of a piece that belongs at `offset` of the segment `random_id` and nowhere else.
uint32_t placed_crc(uint64_t random_id, uint64_t offset, std::string_view data);

class Sha256Hasher {
 public:
  Sha256Hasher();
  ~Sha256Hasher();
  Sha256Hasher(const Sha256Hasher&) = delete;
  Sha256Hasher& operator=(const Sha256Hasher&) = delete;
  void add(std::string_view data);
  Sha256 finish();

 private:
  EVP_MD_CTX* context_;
};
Sha256 sha256(std::string_view data);

}  // namespace fairlead::storage
