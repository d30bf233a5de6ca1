#include "server/bolt/format.h"

#include "base/codec.h"

namespace fairlead::bolt {
namespace {

constexpr size_t kChecksumOffset = kMetaBytes - sizeof(uint64_t);

uint64_t fnv1a(std::string_view in) {
  uint64_t h = 0xCBF29CE484222325ull;
  for (char c : in) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
  return h;
}

template <typename Int>
char* store(char* out, Int value) {
  store_fixed(out, value);
  return out + sizeof(Int);
}

}  // namespace

char* store_page_header(char* out, const PageHeader& header) {
  out = store(out, header.id);
  out = store(out, header.flags);
  out = store(out, header.count);
  return store(out, header.overflow);
}

PageHeader load_page_header(const char* in) {
  return {load_fixed<uint64_t>(in), load_fixed<uint16_t>(in + 8), load_fixed<uint16_t>(in + 10),
          load_fixed<uint32_t>(in + 12)};
}

char* store_meta(char* out, const Meta& meta) {
  char* begin = out;
  out = store(out, kMagic);
  out = store(out, kVersion);
  out = store(out, meta.page_bytes);
  out = store(out, uint32_t{0});
  out = store(out, meta.root);
  out = store(out, uint64_t{0});  // the bucket's sequence
  out = store(out, meta.freelist);
  out = store(out, meta.pages);
  out = store(out, meta.txid);
  return store(out, fnv1a({begin, kChecksumOffset}));
}

std::optional<Meta> load_meta(std::string_view in) {
  if (in.size() < kMetaBytes) return std::nullopt;
  Reader r(in.substr(0, kMetaBytes));
  if (r.fixed<uint32_t>() != kMagic || r.fixed<uint32_t>() != kVersion) return std::nullopt;
  Meta m;
  m.page_bytes = r.fixed<uint32_t>();
  r.fixed<uint32_t>();
  m.root = r.fixed<uint64_t>();
  r.fixed<uint64_t>();
  m.freelist = r.fixed<uint64_t>();
  m.pages = r.fixed<uint64_t>();
  m.txid = r.fixed<uint64_t>();
  if (r.fixed<uint64_t>() != fnv1a(in.substr(0, kChecksumOffset))) return std::nullopt;
  return m;
}

}  // namespace fairlead::bolt
