// The index from directories: keys in order, each with its revisions.
#include "base/codec.h"
#include "server/mvcc/impl.h"

namespace fairlead::mvcc {

struct BulkLoader::State {
  KeyspaceImpl* impl;
  KeyTree::Builder builder;
  std::string last_key;
  bool any = false;
  std::string error;
};

BulkLoader::BulkLoader(KeyspaceImpl* impl) : state_(new State{impl, KeyTree::Builder(&impl->tree_), {}, false, {}}) {}
BulkLoader::~BulkLoader() = default;

void BulkLoader::add_key(std::string_view key, std::span<const RecordMeta> revisions) {
  State& s = *state_;
  KeyspaceImpl& impl = *s.impl;
  if (!s.error.empty() || revisions.empty()) return;
  if (s.any && key <= s.last_key) s.error = "keys are not in order";
  s.last_key = key;
  s.any = true;
  for (size_t i = 0; i < revisions.size(); ++i) {
    if (revisions[i].position.main > impl.revision_) s.error = "a record lies past the revision";
    if (revisions[i].position.main < 1) s.error = "a record has no revision";
    if (i > 0 && revisions[i].position <= revisions[i - 1].position) s.error = "revisions are not in order";
  }
  if (!s.error.empty()) return;

  // What the compact revision made unreadable stays out, and is dead from now on.
  const RecordMeta& newest = revisions.back();
  int64_t target = impl.compact_revision_;
  auto dead = [&](size_t i) {
    int64_t next = i + 1 < revisions.size() ? revisions[i + 1].position.main : kNewest;
    return KeyspaceImpl::dies(revisions[i].position.main, revisions[i].tombstone(), next, target);
  };
  SlotId id = dead(revisions.size() - 1) ? kNoSlot : impl.slots_.allocate(key);
  int64_t generation = 0;  // create revision of the generation that the newest tombstone ends
  for (size_t i = 0; i < revisions.size(); ++i) {
    const RecordMeta& r = revisions[i];
    if (!r.tombstone()) generation = r.create;
    if (dead(i)) {
      impl.died(r.position);
    } else if (i + 1 < revisions.size()) {
      Slot& slot = impl.slots_[id];
      uint8_t size_class = class_of_size(key.size() + r.value_size + kRevisionOverhead);
      impl.history_.push(
          slot.history, slot.history_count,
          OlderRevision::make(r.position.main, r.tombstone(), static_cast<uint32_t>(r.position.sub), size_class));
      impl.bytes_logical_ += size_of_class(size_class);
      ++impl.history_revisions_;
    }
  }
  if (id == kNoSlot) return;
  Slot& slot = impl.slots_[id];
  slot.mod = static_cast<uint64_t>(newest.position.main) << 1 | static_cast<uint64_t>(newest.tombstone());
  slot.sub = static_cast<uint32_t>(newest.position.sub);
  slot.create = newest.tombstone() ? generation : newest.create;
  slot.version = newest.version < kVersionInRecord ? static_cast<uint32_t>(newest.version) : kVersionInRecord;
  impl.versions_in_records_ = impl.versions_in_records_ || slot.version == kVersionInRecord;
  slot.value_size = newest.value_size;
  impl.bytes_logical_ += impl.logical_size(slot);
  s.builder.add(key, id, !newest.tombstone(), newest.position.main);
  if (!newest.tombstone()) impl.attach(id, newest.lease);
}

void BulkLoader::add_side(const SideRecord& record) {
  State& s = *state_;
  KeyspaceImpl& impl = *s.impl;
  impl.side_.load(record);
  impl.applied_ = std::max(impl.applied_, Index{record.position.applied});
}

Status BulkLoader::finish() {
  State& s = *state_;
  KeyspaceImpl& impl = *s.impl;
  s.builder.finish();
  if (!s.error.empty())
    return data_loss("index: " + s.error + " (at a key of " + std::to_string(s.last_key.size()) + " bytes)");
  impl.side_.for_each(SideKind::kLease, [&](std::string_view key, std::string_view payload) {
    if (key.size() != sizeof(int64_t)) {
      s.error = "a lease with a bad id";
      return;
    }
    auto id = static_cast<int64_t>(__builtin_bswap64(load_fixed<uint64_t>(key.data())));
    Reader reader(payload);
    KeyspaceImpl::Lease& lease = impl.leases_[id];
    lease.ttl = unzigzag(reader.varint());
    lease.remaining_ttl = unzigzag(reader.varint());
    if (!reader.ok()) s.error = "a lease cannot be read";
  });
  for (const auto& [id, lease] : impl.leases_) {
    if (lease.ttl == 0) s.error = "keys are attached to a lease that does not exist";
  }
  if (const std::string* chain = impl.side_.find(SideKind::kKeyspace, "chain"); chain && chain->size() == 8) {
    impl.chain_ = impl.chain_stored_ = load_fixed<uint64_t>(chain->data());
  }
  if (!s.error.empty()) return data_loss("index: " + s.error);
  return {};
}

}  // namespace fairlead::mvcc
