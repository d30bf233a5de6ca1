#include <algorithm>

#include "server/mvcc/errors.h"
#include "server/mvcc/impl.h"
#include "server/mvcc/range.h"

namespace fairlead::mvcc {
namespace {
constexpr size_t kKeyBlock = 8 << 10;
bool never(uint32_t, int64_t) { return false; }
}  // namespace

SlotId KeyspaceImpl::find(std::string_view key) const {
  KeyTree::Path path;
  return tree_.find(key, path) ? path.leaf->id(path.position) : kNoSlot;
}

Place KeyspaceImpl::memory_place(Position position) const {
  auto it = std::lower_bound(tail_.begin(), tail_.end(), position,
                             [](const TailEntry& e, Position p) { return e.position() < p; });
  return it != tail_.end() && it->position() == position ? it->place : 0;
}

bool KeyspaceImpl::newest_record(const Slot& slot, const ColdRecords& values, KeyRecord& record,
                                 const Bytes** hold) const {
  if (slot.place) {
    record = chunks_.record(slot.place);
    *hold = &chunks_.chunk(slot.place);
    return true;
  }
  const auto* entry = values.find(slot.position());
  if (!entry) return false;
  record = entry->record;
  *hold = &entry->bytes;
  return true;
}

bool KeyspaceImpl::record_at(Position position, const ColdRecords& values, KeyRecord& record,
                             const Bytes** hold) const {
  if (Place place = memory_place(position)) {
    record = chunks_.record(place);
    *hold = &chunks_.chunk(place);
    return true;
  }
  const auto* entry = values.find(position);
  if (!entry) return false;
  record = entry->record;
  *hold = &entry->bytes;
  return true;
}

std::string_view KeyspaceImpl::copy_key(std::string_view key, Reading& reading) const {
  if (key.size() > reading.key_block_left) {
    size_t size = std::max(kKeyBlock, key.size());
    BytesBuilder builder(size);
    reading.key_block = builder.data();
    reading.key_block_left = size;
    reading.out->holds.push_back(std::move(builder).finish(size));
  }
  std::memcpy(reading.key_block, key.data(), key.size());
  std::string_view copy(reading.key_block, key.size());
  reading.key_block += key.size();
  reading.key_block_left -= key.size();
  return copy;
}

namespace {
void hold(KeyValues& out, const Bytes& bytes) {
  // Neighbours often lie in one chunk.
  if (out.holds.empty() || out.holds.back().data() != bytes.data()) out.holds.push_back(bytes);
}
void take(Reading& reading, const KeyRecord& record, const Bytes& bytes) {
  reading.bytes += record.key.size() + record.value.size();
  if (!reading.out) return;
  hold(*reading.out, bytes);
  if (reading.values_wanted) {
    reading.out->items.push_back(
        {record.key, record.value, record.create, record.position.main, record.version, record.lease});
  } else {
    reading.out->items.push_back({record.key, {}, record.create, record.position.main, record.version, 0});
  }
}
}  // namespace

void KeyspaceImpl::read_newest(SlotId id, Reading& reading) const {
  const Slot& slot = slots_[id];
  bool needs_record = (reading.values_wanted && slot.value_size > 0) || slot.version == kVersionInRecord;
  if (needs_record) {
    KeyRecord record;
    const Bytes* bytes = nullptr;
    if (!newest_record(slot, reading.values, record, &bytes)) {
      reading.missing.push_back(slot.position());
      reading.bytes += slot.key_view().size() + slot.value_size;
    } else {
      if (slot.place) chunks_.use(slot.place);
      take(reading, record, *bytes);
    }
    return;
  }
  reading.bytes += slot.key_view().size();
  if (!reading.out) return;
  reading.out->items.push_back({copy_key(slot.key_view(), reading),
                                {},
                                slot.create,
                                slot.main(),
                                slot.version,
                                reading.values_wanted ? slot.lease : 0});
}

// The revision of the key that is newest at `revision`; nothing if it was deleted or not there.
std::optional<Position> KeyspaceImpl::position_at(const Slot& slot, int64_t revision) const {
  if (slot.main() <= revision) return slot.tombstone() ? std::nullopt : std::optional(slot.position());
  const OlderRevision* begin = slot.history_count ? history_.at(slot.history) : nullptr;
  const OlderRevision* end = begin + slot.history_count;
  const OlderRevision* it =
      std::partition_point(begin, end, [&](const OlderRevision& r) { return r.main() <= revision; });
  if (it == begin || it[-1].tombstone()) return std::nullopt;
  return it[-1].position();
}

// The fields of a key at a revision, for compares. Nothing when it does not exist there; when its record is needed and
// not at hand, `missing` says so and the result is empty, too.
std::optional<KeyValue> KeyspaceImpl::value_at(const Slot& slot, int64_t revision, bool value_wanted,
                                               const ColdRecords& values, std::vector<Position>& missing) const {
  std::optional<Position> position = position_at(slot, revision);
  if (!position) return std::nullopt;
  KeyRecord record;
  const Bytes* bytes = nullptr;
  bool newest = slot.position() == *position;
  if (newest && slot.version != kVersionInRecord && (!value_wanted || slot.value_size == 0)) {
    return KeyValue{slot.key_view(), {}, slot.create, slot.main(), slot.version, slot.lease};
  }
  if (newest ? newest_record(slot, values, record, &bytes) : record_at(*position, values, record, &bytes)) {
    return KeyValue{record.key, record.value, record.create, record.position.main, record.version, record.lease};
  }
  missing.push_back(*position);
  return std::nullopt;
}

bool KeyspaceImpl::read_key(SlotId id, int64_t revision, Reading& reading) const {
  const Slot& slot = slots_[id];
  if (slot.main() <= revision) {
    if (slot.tombstone()) return false;
    read_newest(id, reading);
    return true;
  }
  std::optional<Position> position = position_at(slot, revision);
  if (!position) return false;
  KeyRecord record;
  const Bytes* bytes = nullptr;
  if (record_at(*position, reading.values, record, &bytes)) {
    take(reading, record, *bytes);
  } else {
    reading.missing.push_back(*position);
  }
  return true;
}

Collected KeyspaceImpl::collect(const Interval& interval, int64_t revision, size_t keys_max, size_t visit_max,
                                size_t bytes_max, Reading& reading) const {
  Collected result;
  if (interval.kind == Interval::Kind::kOne) {
    SlotId id = find(interval.from);
    result.keys = id != kNoSlot && keys_max > 0 && read_key(id, revision, reading);
    return result;
  }
  if (keys_max == 0) {
    result.end = false;
    result.next = interval.from;
    return result;
  }
  bool newest = revision >= tree_.newest();
  size_t visited = 0;
  tree_.walk(interval.from, interval.bound(), never,
             [&](const KeyTree::Leaf& leaf, uint32_t begin, uint32_t end, int64_t) {
               for (uint32_t i = begin; i < end; ++i) {
                 if (i + 4 < end) __builtin_prefetch(&slots_[leaf.id(i + 4)]);
                 ++visited;
                 if (newest && !leaf.live(i)) continue;
                 result.keys += read_key(leaf.id(i), revision, reading);
                 if (result.keys >= keys_max || visited >= visit_max || reading.bytes >= bytes_max) {
                   result.end = false;
                   result.next = slots_.key(leaf.id(i));
                   result.next.push_back('\0');
                   return false;
                 }
               }
               return true;
             });
  return result;
}

uint64_t KeyspaceImpl::count_newest(const Interval& interval) const {
  if (running_) return count_at(interval, revision_);
  if (interval.kind == Interval::Kind::kOne) {
    SlotId id = find(interval.from);
    return id != kNoSlot && !slots_[id].tombstone();
  }
  return tree_.count(interval.from, interval.bound());
}

Collected KeyspaceImpl::count_some(const Interval& interval, int64_t revision, size_t leaves) const {
  Collected result;
  if (revision >= tree_.newest()) {
    result.keys = count_newest(interval);
    return result;
  }
  if (interval.kind == Interval::Kind::kOne) {
    SlotId id = find(interval.from);
    result.keys = id != kNoSlot && position_at(slots_[id], revision).has_value();
    return result;
  }
  tree_.walk(
      interval.from, interval.bound(),
      [&](uint32_t live, int64_t newest) {
        if (newest > revision) return false;
        result.keys += live;
        return true;
      },
      [&](const KeyTree::Leaf& leaf, uint32_t begin, uint32_t end, int64_t newest) {
        for (uint32_t i = begin; i < end; ++i) {
          result.keys += newest <= revision ? leaf.live(i) : position_at(slots_[leaf.id(i)], revision).has_value();
        }
        if (--leaves > 0) return true;
        result.end = false;
        result.next = slots_.key(leaf.id(end - 1));
        result.next.push_back('\0');
        return false;
      });
  return result;
}

uint64_t KeyspaceImpl::count_at(const Interval& interval, int64_t revision) const {
  return count_some(interval, revision, kNoLimit).keys;
}

Status KeyspaceImpl::check_revision(int64_t revision) const {
  if (revision > revision_) return err_future_revision();
  if (revision > 0 && revision < compact_revision_) return err_compacted();
  return {};
}

Status KeyspaceImpl::range(const RangeRequest& request, const ColdRecords& values, RangeResult& out,
                           std::vector<Position>& missing) const {
  out.clear();
  Status status = check_revision(request.revision);
  if (status.is_ok()) {
    out.revision = revision_;
    status = range_at(request, values, out, missing);
  }
  if (missing.empty()) ++counters_.ranges_total;  // else it is asked for again, with what is missing
  return status;
}

// Revisions are checked. Reads what the index holds now, the changes of a running txn included.
Status KeyspaceImpl::range_at(const RangeRequest& request, const ColdRecords& values, RangeResult& out,
                              std::vector<Position>& missing) const {
  Interval interval(request.key, request.range_end);
  int64_t revision = request.revision > 0 ? request.revision : newest_revision();
  size_t keys_max = request.limit > 0 ? static_cast<size_t>(request.limit) : kNoLimit;
  bool whole = needs_whole(request);
  bool one = interval.kind == Interval::Kind::kOne;
  if ((keys_max != kNoLimit && !one) || request.count_only) {
    out.count = static_cast<int64_t>(count_at(interval, revision));
    if (request.count_only) return {};
  }
  Reading reading{values, missing, &out.kvs};
  reading.values_wanted = !request.keys_only || request.sort_target == SortTarget::kValue;
  Collected collected = collect(interval, revision, whole ? kNoLimit : keys_max, kNoLimit, kNoLimit, reading);
  if (keys_max == kNoLimit || one) out.count = static_cast<int64_t>(collected.keys);
  if (!missing.empty()) return {};
  if (whole) {
    finish_range(request, out);
  } else {
    out.more = out.count > static_cast<int64_t>(collected.keys);
  }
  return {};
}

// ---- Filters, sort, limit ----

bool needs_whole(const RangeRequest& r) {
  bool filters = r.min_mod_revision || r.max_mod_revision || r.min_create_revision || r.max_create_revision;
  bool by_key_up = r.sort_target == SortTarget::kKey && r.sort_order != SortOrder::kDescend;
  return filters || !by_key_up;
}

namespace {
template <typename Field>
void sort_by(std::vector<KeyValue>& items, bool descending, Field field) {
  std::stable_sort(items.begin(), items.end(), [&](const KeyValue& a, const KeyValue& b) {
    return descending ? field(b) < field(a) : field(a) < field(b);
  });
}
void sort_items(const RangeRequest& r, std::vector<KeyValue>& items) {
  // A target other than the key without an order means ascending.
  bool down = r.sort_order == SortOrder::kDescend;
  switch (r.sort_target) {
    case SortTarget::kKey:
      if (down) std::reverse(items.begin(), items.end());
      break;
    case SortTarget::kVersion:
      sort_by(items, down, [](const KeyValue& kv) { return kv.version; });
      break;
    case SortTarget::kCreate:
      sort_by(items, down, [](const KeyValue& kv) { return kv.create_revision; });
      break;
    case SortTarget::kMod:
      sort_by(items, down, [](const KeyValue& kv) { return kv.mod_revision; });
      break;
    case SortTarget::kValue:
      sort_by(items, down, [](const KeyValue& kv) { return kv.value; });
      break;
  }
}
}  // namespace

void finish_range(const RangeRequest& r, RangeResult& out) {
  auto& items = out.kvs.items;
  auto drop = [&](auto bad) { items.erase(std::remove_if(items.begin(), items.end(), bad), items.end()); };
  if (r.max_mod_revision) drop([&](const KeyValue& kv) { return kv.mod_revision > r.max_mod_revision; });
  if (r.min_mod_revision) drop([&](const KeyValue& kv) { return kv.mod_revision < r.min_mod_revision; });
  if (r.max_create_revision) drop([&](const KeyValue& kv) { return kv.create_revision > r.max_create_revision; });
  if (r.min_create_revision) drop([&](const KeyValue& kv) { return kv.create_revision < r.min_create_revision; });
  sort_items(r, items);
  if (r.limit > 0 && items.size() > static_cast<size_t>(r.limit)) {
    items.resize(static_cast<size_t>(r.limit));
    out.more = true;
  }
  if (r.keys_only) {
    for (KeyValue& kv : items) {
      kv.value = {};
      kv.lease = 0;
    }
  }
}

// ---- The cursor ----

Result<RangeCursor> RangeCursor::open(Keyspace& keyspace, const RangeRequest& request) {
  RETURN_IF_ERROR(keyspace.check_revision(request.revision));
  RangeCursor cursor;
  cursor.keyspace_ = &keyspace;
  cursor.request_ = request;
  cursor.key_ = request.key;
  cursor.end_ = request.range_end;
  cursor.request_.key = cursor.request_.range_end = {};  // the strings count
  cursor.header_revision_ = keyspace.revision();
  cursor.read_revision_ = request.revision > 0 ? request.revision : keyspace.revision();
  if (request.limit > 0 && !needs_whole(request)) cursor.left_ = request.limit;
  cursor.counting_ = request.count_only;
  cursor.pin_ = keyspace.pin(cursor.read_revision_);
  ++keyspace.impl_->counters_.ranges_total;
  return cursor;
}

RangeCursor::RangeCursor(RangeCursor&& o) noexcept { *this = std::move(o); }

RangeCursor& RangeCursor::operator=(RangeCursor&& o) noexcept {
  std::swap(keyspace_, o.keyspace_);
  std::swap(pin_, o.pin_);
  std::swap(request_, o.request_);
  std::swap(key_, o.key_);
  std::swap(end_, o.end_);
  std::swap(header_revision_, o.header_revision_);
  std::swap(read_revision_, o.read_revision_);
  std::swap(left_, o.left_);
  std::swap(count_, o.count_);
  std::swap(more_, o.more_);
  std::swap(counting_, o.counting_);
  std::swap(done_, o.done_);
  return *this;
}

RangeCursor::~RangeCursor() {
  if (keyspace_) keyspace_->unpin(pin_);
}

RangePage RangeCursor::step(const RangeBudget& budget, const ColdRecords& values) {
  constexpr size_t kLeafKeys = KeyTree::kLeafMax / 2;  // what a leaf holds at least, roughly
  RangePage page;
  CHECK(!done_, "a cursor that is done was stepped");
  const KeyspaceImpl& impl = *keyspace_->impl_;
  Interval interval(key_, end_);
  if (counting_) {
    Collected counted = impl.count_some(interval, read_revision_, std::max<size_t>(1, budget.keys / kLeafKeys));
    count_ += static_cast<int64_t>(counted.keys);
    if (left_ == 0 && counted.keys > 0) more_ = true;
    done_ = counted.end;
    key_ = std::move(counted.next);
    return page;
  }
  Reading reading{values, page.missing, &page.kvs};
  reading.values_wanted = !request_.keys_only || request_.sort_target == SortTarget::kValue;
  size_t keys_max = left_ >= 0 ? static_cast<size_t>(left_) : kNoLimit;
  Collected got =
      impl.collect(interval, read_revision_, keys_max, std::max<size_t>(1, budget.keys), budget.bytes, reading);
  if (!page.missing.empty()) {
    page.kvs = {};
    return page;
  }
  count_ += static_cast<int64_t>(got.keys);
  if (left_ >= 0) left_ -= static_cast<int64_t>(got.keys);
  done_ = got.end;
  counting_ = left_ == 0;
  key_ = std::move(got.next);
  return page;
}

}  // namespace fairlead::mvcc
