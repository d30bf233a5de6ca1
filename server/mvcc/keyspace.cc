#include "server/mvcc/keyspace.h"

#include <algorithm>

#include "server/mvcc/impl.h"

namespace fairlead::mvcc {

Keyspace::Keyspace(const KeyspaceOptions& options) : impl_(std::make_unique<KeyspaceImpl>(options)) {}
Keyspace::~Keyspace() = default;
Keyspace::Keyspace(Keyspace&&) noexcept = default;
Keyspace& Keyspace::operator=(Keyspace&&) noexcept = default;

int64_t Keyspace::revision() const { return impl_->revision_; }
int64_t Keyspace::compact_revision() const { return impl_->compact_revision_; }

std::vector<Position> Keyspace::needs(const Command& command, const ColdRecords& values) const {
  return impl_->needs(command, values);
}
void Keyspace::apply(const Command& command, Index applied, const ColdRecords& values, ApplyResult& out) {
  bool done = impl_->apply_some(command, applied, values, kNoLimit, out);
  CHECK(done, "without a limit it is one step");
}
bool Keyspace::apply_some(const Command& command, Index applied, const ColdRecords& values, size_t keys,
                          ApplyResult& out) {
  return impl_->apply_some(command, applied, values, std::max<size_t>(1, keys), out);
}
bool Keyspace::applying() const { return impl_->running_; }
std::optional<KeyRecord> Keyspace::event_prev(const Event& event) const {
  if (!event.prev_place) return std::nullopt;
  return impl_->chunks_.record(event.prev_place);
}

Status Keyspace::range(const RangeRequest& request, const ColdRecords& values, RangeResult& out,
                       std::vector<Position>& missing) const {
  return impl_->range(request, values, out, missing);
}
Status Keyspace::read_txn(const TxnRequest& request, const ColdRecords& values, TxnResult& out,
                          std::vector<Position>& missing) const {
  return impl_->read_txn(request, values, out, missing);
}
uint64_t Keyspace::count(std::string_view key, std::string_view range_end) const {
  return impl_->count_newest(Interval(key, range_end));
}
Status Keyspace::check_revision(int64_t revision) const { return impl_->check_revision(revision); }

Keyspace::Pin Keyspace::pin(int64_t revision) {
  CHECK(revision >= impl_->compact_revision_, "what is compacted cannot be pinned");
  impl_->pinned_.insert(revision);
  impl_->pins_[impl_->next_pin_] = revision;
  return impl_->next_pin_++;
}
void Keyspace::unpin(Pin pin) {
  auto it = impl_->pins_.find(pin);
  CHECK(it != impl_->pins_.end(), "a pin is released once");
  impl_->pinned_.erase(impl_->pinned_.find(it->second));
  impl_->pins_.erase(it);
}
std::optional<int64_t> Keyspace::lowest_pin() const {
  return impl_->pinned_.empty() ? std::nullopt : std::optional(*impl_->pinned_.begin());
}

void Keyspace::cache(Position position, const ColdRecords::Entry& entry) { impl_->cache(position, entry); }
bool Keyspace::cache_has_room() const { return impl_->cache_has_room(); }
bool Keyspace::compact_slice(size_t keys) { return impl_->compact_slice(keys); }
bool Keyspace::compaction_pending() const { return impl_->compaction_pending(); }
bool Keyspace::trim_cache(size_t chunks) { return impl_->trim_cache(chunks); }

FrozenTail Keyspace::freeze() { return impl_->freeze(); }
void Keyspace::flushed() { impl_->flushed(); }
bool Keyspace::checkpoint_open() const { return impl_->checkpoint_open_; }

std::unique_ptr<BulkLoader> Keyspace::load(int64_t revision, int64_t compact_revision) {
  CHECK(impl_->revision_ == 1 && impl_->tree_.size() == 0, "only a new keyspace can be loaded");
  impl_->revision_ = impl_->frozen_revision_ = revision;
  impl_->compact_revision_ = impl_->compacted_to_ = compact_revision;
  impl_->memory_from_ = {revision + 1, 0};
  return std::unique_ptr<BulkLoader>(new BulkLoader(impl_.get()));
}

uint64_t Keyspace::state_hash() const { return impl_->state_hash(); }
uint64_t Keyspace::bytes_logical() const { return impl_->bytes_logical(); }
KeyspaceStats Keyspace::stats() const { return impl_->stats(); }

std::optional<Keyspace::LeaseInfo> Keyspace::lease(int64_t id) const {
  auto it = impl_->leases_.find(id);
  if (it == impl_->leases_.end()) return std::nullopt;
  return LeaseInfo{id, it->second.ttl, it->second.remaining_ttl, it->second.keys};
}
std::vector<Keyspace::LeaseInfo> Keyspace::leases() const {
  std::vector<LeaseInfo> out;
  out.reserve(impl_->leases_.size());
  for (const auto& [id, lease] : impl_->leases_) out.push_back({id, lease.ttl, lease.remaining_ttl, lease.keys});
  return out;
}
std::vector<std::string> Keyspace::lease_keys(int64_t id) const {
  std::vector<std::string> keys;
  auto it = impl_->leases_.find(id);
  if (it == impl_->leases_.end()) return keys;
  for (SlotId slot = it->second.first; slot != kNoSlot; slot = impl_->slots_[slot].lease_next) {
    keys.emplace_back(impl_->slots_.key(slot));
  }
  std::sort(keys.begin(), keys.end());
  return keys;
}

void Keyspace::for_each_lease_key(int64_t id, const std::function<bool(std::string_view key)>& visit) const {
  auto it = impl_->leases_.find(id);
  if (it == impl_->leases_.end()) return;
  for (SlotId slot = it->second.first; slot != kNoSlot; slot = impl_->slots_[slot].lease_next) {
    if (!visit(impl_->slots_.key(slot))) return;
  }
}

SideTable& Keyspace::side() { return impl_->side_; }
const SideTable& Keyspace::side() const { return impl_->side_; }

// ---- History ----

Position Keyspace::history_in_memory_from() const { return impl_->memory_from_; }

std::optional<KeyRecord> Keyspace::memory_record_at_or_after(Position from) const {
  const auto& tail = impl_->tail_;
  auto it =
      std::lower_bound(tail.begin(), tail.end(), from, [](const auto& e, Position p) { return e.position() < p; });
  while (it != tail.end() && !it->place) ++it;
  if (it == tail.end() || it->main > impl_->revision_) return std::nullopt;
  return impl_->chunks_.record(it->place);
}

Position Keyspace::next_memory_position(Position from) const {
  const auto& tail = impl_->tail_;
  auto it =
      std::lower_bound(tail.begin(), tail.end(), from, [](const auto& e, Position p) { return e.position() < p; });
  while (it != tail.end() && !it->place) ++it;
  Position end{impl_->revision_ + 1, 0};
  return it == tail.end() ? end : std::min(end, it->position());
}

std::optional<KeyRecord> Keyspace::memory_record(std::string_view key, Position position) const {
  Place place = impl_->memory_place(position);
  if (!place) {
    SlotId id = impl_->find(key);
    if (id == kNoSlot || impl_->slots_[id].position() != position) return std::nullopt;
    place = impl_->slots_[id].place;
  }
  if (!place) return std::nullopt;
  return impl_->chunks_.record(place);
}

std::vector<Position> Keyspace::revisions_of(std::string_view key, Position from, size_t max) const {
  std::vector<Position> out;
  SlotId id = impl_->find(key);
  if (id == kNoSlot) return out;
  const Slot& slot = impl_->slots_[id];
  const OlderRevision* older = slot.history_count ? impl_->history_.at(slot.history) : nullptr;
  const OlderRevision* end = older + slot.history_count;
  const OlderRevision* it =
      std::partition_point(older, end, [&](const OlderRevision& r) { return r.position() < from; });
  for (; it != end && out.size() < max; ++it) out.push_back(it->position());
  if (out.size() < max && slot.position() >= from && slot.main() <= impl_->revision_) out.push_back(slot.position());
  return out;
}

std::optional<Position> Keyspace::previous(std::string_view key, Position position) const {
  if (position.main <= impl_->compact_revision_) return std::nullopt;
  SlotId id = impl_->find(key);
  if (id == kNoSlot) return std::nullopt;
  return impl_->position_at(impl_->slots_[id], position.main - 1);
}

}  // namespace fairlead::mvcc
