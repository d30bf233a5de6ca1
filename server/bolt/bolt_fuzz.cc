// Any bytes as etcd's database: the import's reader must refuse or read them, never crash, hang or take much memory.
// Checksums of meta pages are put right first, else nearly every input would end there.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "base/codec.h"
#include "server/bolt/etcd.h"

using namespace fairlead;
using namespace fairlead::bolt;

namespace {

void repair_meta(std::string& file, size_t offset) {
  if (file.size() < offset + kPageHeaderBytes + kMetaBytes) return;
  char* p = file.data() + offset + kPageHeaderBytes;
  Meta m;
  m.page_bytes = load_fixed<uint32_t>(p + 8);
  m.root = load_fixed<uint64_t>(p + 16);
  m.freelist = load_fixed<uint64_t>(p + 32);
  m.pages = load_fixed<uint64_t>(p + 40);
  m.txid = load_fixed<uint64_t>(p + 48);
  store_meta(p, m);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string file(reinterpret_cast<const char*>(data), size);
  repair_meta(file, 0);
  repair_meta(file, kPageBytesMin);
  repair_meta(file, kPageBytes);
  Result<std::unique_ptr<bolt::Reader>> reader = bolt::Reader::open(memory_source(file));
  if (!reader.is_ok()) return 0;
  Result<EtcdState> state = read_state(**reader);
  size_t items = 0, read = 0;
  Status s = (*reader)->for_each(kKeyBucket, [&](std::string_view key, std::string_view value) -> Status {
    ++items;
    std::optional<RevisionKey> revision = parse_revision_key(key);
    std::optional<mvcc::KeyValue> kv = parse_key_value(value);
    if (revision) {  // what was read is written the same
      char again[kRevisionKeyBytesMax];
      CHECK(key == std::string_view(again, store_revision_key(again, *revision)));
    }
    if (kv) read += kv->key.size() + kv->value.size();
    return {};
  });
  // A page is read once: however the tree is bent, no more items than bytes for them, and no byte read twice but those
  // of overlapping items within a page.
  CHECK(items <= size / kElementBytes, "more items than there is room for");
  (void)s;
  (void)read;
  return 0;
}
