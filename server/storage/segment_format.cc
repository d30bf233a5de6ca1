#include "server/storage/segment_format.h"

#include <cstring>

#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"

namespace fairlead::storage {

std::string encode_segment_header(const SegmentHeader& h) {
  std::string out;
  put_fixed<uint64_t>(out, kSegmentMagic);
  put_fixed<uint16_t>(out, h.format);
  put_fixed<uint8_t>(out, static_cast<uint8_t>(h.kind));
  out.append(5, '\0');
  put_fixed<uint64_t>(out, h.number);
  put_fixed<uint64_t>(out, h.random_id);
  put_fixed<uint64_t>(out, h.base);
  out.resize(kSegmentHeaderBytes - kCrcBytes, '\0');
  put_fixed<uint32_t>(out, crc32c(out));
  return out;
}

std::optional<SegmentHeader> decode_segment_header(std::string_view in) {
  if (in.size() != kSegmentHeaderBytes) return std::nullopt;
  Reader r(in);
  SegmentHeader h;
  if (r.fixed<uint64_t>() != kSegmentMagic) return std::nullopt;
  h.format = r.fixed<uint16_t>();
  h.kind = static_cast<SegmentKind>(r.fixed<uint8_t>());
  r.bytes(5);
  h.number = r.fixed<uint64_t>();
  h.random_id = r.fixed<uint64_t>();
  h.base = r.fixed<uint64_t>();
  if (load_fixed<uint32_t>(in.data() + kSegmentHeaderBytes - kCrcBytes) !=
      crc32c(in.substr(0, kSegmentHeaderBytes - kCrcBytes)))
    return std::nullopt;
  return h;
}

std::string encode_segment_footer(const SegmentFooter& f) {
  std::string out;
  put_fixed(out, f.table);
  put_fixed(out, f.directory);
  put_fixed(out, f.index);
  put_fixed(out, f.records);
  put_fixed(out, f.first.major);
  put_fixed(out, f.first.minor);
  put_fixed(out, f.last.major);
  put_fixed(out, f.last.minor);
  put_fixed(out, f.blocks);
  put_fixed(out, f.directory_blocks);
  put_fixed(out, f.random_id);
  out.append(reinterpret_cast<const char*>(f.hash.data()), f.hash.size());
  out.resize(kSegmentFooterBytes - 8, '\0');
  put_fixed<uint32_t>(out, crc32c(out));
  put_fixed<uint32_t>(out, kSegmentEndMagic);
  return out;
}

std::optional<SegmentFooter> decode_segment_footer(std::string_view in) {
  if (in.size() != kSegmentFooterBytes) return std::nullopt;
  if (load_fixed<uint32_t>(in.data() + kSegmentFooterBytes - 4) != kSegmentEndMagic ||
      load_fixed<uint32_t>(in.data() + kSegmentFooterBytes - 8) != crc32c(in.substr(0, kSegmentFooterBytes - 8)))
    return std::nullopt;
  Reader r(in);
  SegmentFooter f;
  f.table = r.fixed<uint64_t>();
  f.directory = r.fixed<uint64_t>();
  f.index = r.fixed<uint64_t>();
  f.records = r.fixed<uint64_t>();
  f.first = {r.fixed<uint64_t>(), 0};
  f.first.minor = r.fixed<uint64_t>();
  f.last = {r.fixed<uint64_t>(), 0};
  f.last.minor = r.fixed<uint64_t>();
  f.blocks = r.fixed<uint32_t>();
  f.directory_blocks = r.fixed<uint32_t>();
  f.random_id = r.fixed<uint64_t>();
  std::memcpy(f.hash.data(), r.bytes(f.hash.size()).data(), f.hash.size());
  return f;
}

uint32_t placed_crc(uint64_t random_id, uint64_t offset, std::string_view data) {
  char seed[16];
  store_fixed(seed, random_id);
  store_fixed(seed + 8, offset);
  return crc32c_extend(crc32c({seed, sizeof(seed)}), data);
}

Sha256Hasher::Sha256Hasher() : context_(EVP_MD_CTX_new()) {
  CHECK(context_ != nullptr && EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1, "OpenSSL has SHA-256");
}
Sha256Hasher::~Sha256Hasher() { EVP_MD_CTX_free(context_); }
void Sha256Hasher::add(std::string_view data) { CHECK(EVP_DigestUpdate(context_, data.data(), data.size()) == 1); }
Sha256 Sha256Hasher::finish() {
  Sha256 out;
  CHECK(EVP_DigestFinal_ex(context_, out.data(), nullptr) == 1);
  return out;
}

Sha256 sha256(std::string_view data) {
  Sha256Hasher h;
  h.add(data);
  return h.finish();
}

}  // namespace fairlead::storage
