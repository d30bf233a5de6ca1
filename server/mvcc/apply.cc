// Commands: what they need, their checks, their effect.
#include <algorithm>
#include <bit>

#include "base/codec.h"
#include "server/mvcc/errors.h"
#include "server/mvcc/impl.h"
#include "server/mvcc/lease.h"
#include "server/mvcc/mix.h"

namespace fairlead::mvcc {
namespace {

template <typename T>
const T* as(const RequestOp& op) {
  return std::get_if<T>(&op.op);
}

const std::vector<RequestOp>& branch(const TxnRequest& request, bool succeeded) {
  return succeeded ? request.success : request.failure;
}

// Ids sort as numbers do (negative ones behind, as etcd never grants them).
std::string lease_key(int64_t id) {
  std::string key;
  put_fixed(key, __builtin_bswap64(static_cast<uint64_t>(id)));
  return key;
}

bool compare_holds(CompareResult result, std::strong_ordering order) {
  switch (result) {
    case CompareResult::kEqual:
      return order == 0;
    case CompareResult::kNotEqual:
      return order != 0;
    case CompareResult::kGreater:
      return order > 0;
    case CompareResult::kLess:
      return order < 0;
  }
  return true;  // etcd: an unknown operator holds
}

bool compare_holds(const Compare& c, const KeyValue& kv) {
  switch (c.target) {
    case CompareTarget::kVersion:
      return compare_holds(c.result, kv.version <=> c.number);
    case CompareTarget::kCreate:
      return compare_holds(c.result, kv.create_revision <=> c.number);
    case CompareTarget::kMod:
      return compare_holds(c.result, kv.mod_revision <=> c.number);
    case CompareTarget::kLease:
      return compare_holds(c.result, kv.lease <=> c.number);
    case CompareTarget::kValue:
      return compare_holds(c.result, kv.value <=> c.value);
  }
  return compare_holds(c.result, std::strong_ordering::equal);
}

}  // namespace

// ---- Compares: all of them, of all levels on the path, before any operation ----

bool KeyspaceImpl::holds(const Compare& c, const ColdRecords& values, std::vector<Position>& missing) const {
  bool any = false, all = true;
  int64_t revision = newest_revision();
  auto test = [&](SlotId id) {
    size_t lacking = missing.size();
    auto kv = value_at(slots_[id], revision, c.target == CompareTarget::kValue, values, missing);
    any = any || kv || missing.size() > lacking;
    all = all && (!kv || compare_holds(c, *kv));
  };
  Interval interval(c.key, c.range_end);
  if (interval.kind == Interval::Kind::kOne) {
    SlotId id = find(c.key);
    if (id != kNoSlot) test(id);
  } else if (running_) {
    for_each_key(interval, [&](SlotId id, bool) {
      test(id);
      return true;
    });
  } else {
    for_each_live(interval, test);
  }
  if (any) return all;
  // A missing key is a zero one, but has no value at all to compare with.
  return c.target != CompareTarget::kValue && compare_holds(c, KeyValue{});
}

void KeyspaceImpl::evaluate(const TxnRequest& request, const ColdRecords& values, std::vector<Position>& missing,
                            Path& path) const {
  bool succeeded = std::all_of(request.compares.begin(), request.compares.end(),
                               [&](const Compare& c) { return holds(c, values, missing); });
  path.push_back(succeeded);
  for (const RequestOp& op : branch(request, succeeded)) {
    if (const auto* txn = as<TxnRequest>(op)) evaluate(*txn, values, missing, path);
  }
}

// ---- Needs ----

void KeyspaceImpl::needs_put(const PutRequest& r, const ColdRecords& values, std::vector<Position>& missing) const {
  SlotId id = find(r.key);
  if (id == kNoSlot || slots_[id].tombstone()) return;
  const Slot& slot = slots_[id];
  bool value = (r.prev_kv || r.ignore_value) && slot.value_size > 0;
  KeyRecord record;
  const Bytes* bytes = nullptr;
  if ((value || slot.version == kVersionInRecord) && !newest_record(slot, values, record, &bytes)) {
    missing.push_back(slot.position());
  }
}

void KeyspaceImpl::needs_delete(const DeleteRangeRequest& r, const ColdRecords& values,
                                std::vector<Position>& missing) const {
  if (!r.prev_kv) return;
  Reading reading{values, missing};
  collect(Interval(r.key, r.range_end), kNewest, kNoLimit, kNoLimit, kNoLimit, reading);
}

void KeyspaceImpl::needs_ops(const TxnRequest& request, const Path& path, size_t& at, bool& deleted,
                             const ColdRecords& values, std::vector<Position>& missing) const {
  for (const RequestOp& op : branch(request, path[at++])) {
    if (const auto* put = as<PutRequest>(op)) {
      needs_put(*put, values, missing);
    } else if (const auto* del = as<DeleteRangeRequest>(op)) {
      needs_delete(*del, values, missing);
      deleted = true;
    } else if (const auto* range = as<RangeRequest>(op)) {
      // A delete before it lets keys slide into a limited range: then all of them may be needed.
      RangeRequest wide = *range;
      if (deleted && wide.revision <= 0) wide.limit = 0;
      RangeResult scratch;
      if (check_revision(wide.revision).is_ok()) (void)range_at(wide, values, scratch, missing);
    } else if (const auto* txn = as<TxnRequest>(op)) {
      needs_ops(*txn, path, at, deleted, values, missing);
    }
  }
}

std::vector<Position> KeyspaceImpl::needs(const Command& command, const ColdRecords& values) const {
  std::vector<Position> missing;
  if (const auto* put = std::get_if<PutRequest>(&command)) {
    if (put->prev_kv || put->ignore_value || versions_in_records_) needs_put(*put, values, missing);
  } else if (const auto* del = std::get_if<DeleteRangeRequest>(&command)) {
    needs_delete(*del, values, missing);
  } else if (const auto* txn = std::get_if<TxnRequest>(&command)) {
    Path path;
    evaluate(*txn, values, missing, path);
    size_t at = 0;
    bool deleted = false;
    if (missing.empty()) needs_ops(*txn, path, at, deleted, values, missing);
  }
  std::sort(missing.begin(), missing.end());
  missing.erase(std::unique(missing.begin(), missing.end()), missing.end());
  return missing;
}

// ---- Checks: all of them before the first change ----

Status KeyspaceImpl::check_put(const PutRequest& r) const {
  if (r.ignore_value || r.ignore_lease) {
    SlotId id = find(r.key);
    if (id == kNoSlot || slots_[id].tombstone()) return err_key_not_found();
  }
  if (r.lease != 0 && !leases_.contains(r.lease)) return err_lease_not_found();
  return {};
}

Status KeyspaceImpl::check_ops(const TxnRequest& request, const Path& path, size_t& at) const {
  for (const RequestOp& op : branch(request, path[at++])) {
    if (const auto* put = as<PutRequest>(op)) RETURN_IF_ERROR(check_put(*put));
    if (const auto* range = as<RangeRequest>(op)) RETURN_IF_ERROR(check_revision(range->revision));
    if (const auto* txn = as<TxnRequest>(op)) RETURN_IF_ERROR(check_ops(*txn, path, at));
  }
  return {};
}

// ---- Changes ----

void KeyspaceImpl::write(Txn& txn, KeyTree::Path& path, SlotId id, bool fresh, const KeyRecord& record) {
  Slot& slot = slots_[id];
  if (txn.out.events.size() == kEventsMax) {
    txn.out.events_omitted = true;
    txn.out.events = {};
  }
  Event unwanted;
  Event& event = txn.out.events_omitted ? unwanted : txn.out.events.emplace_back();
  if (!fresh) {
    if (slot.main() < txn.main) {
      event.has_prev = !slot.tombstone();
      event.prev_position = slot.position();
      event.prev_place = event.has_prev ? slot.place : 0;
    } else if (auto before = position_at(slot, txn.main - 1)) {  // a second record of this key in one txn
      event.has_prev = true;
      event.prev_position = *before;
      event.prev_place = memory_place(*before);
    }
    event.has_prev = event.has_prev && record.create != txn.main;
    uint64_t size = logical_size(slot);
    uint8_t size_class = class_of_size(size);
    bytes_logical_ -= size - size_of_class(size_class);
    history_.push(slot.history, slot.history_count,
                  OlderRevision::make(slot.main(), slot.tombstone(), slot.sub, size_class));
    ++history_revisions_;
    drop_place(slot);
  }
  Place place = chunks_.add(id, record);
  std::string_view stored = chunks_.bytes(place);
  chain_ = mix(chain_, load_fixed<uint32_t>(stored.data()));
  tail_.push_back({record.position.main, static_cast<uint32_t>(record.position.sub), place});

  event.record = record;  // its key and value as they lie in the chunk, which outlives the request
  const char* end = stored.data() + stored.size();
  event.record.value = {end - record.value.size(), record.value.size()};
  const char* key_end = event.record.value.data() - varint_size(record.value.size());
  event.record.key = {key_end - record.key.size(), record.key.size()};

  slot.mod = static_cast<uint64_t>(record.position.main) << 1 | static_cast<uint64_t>(record.tombstone());
  slot.sub = static_cast<uint32_t>(record.position.sub);
  slot.value_size = static_cast<uint32_t>(record.value.size());
  if (!record.tombstone()) {
    slot.create = record.create;
    slot.version = record.version < kVersionInRecord ? static_cast<uint32_t>(record.version) : kVersionInRecord;
    versions_in_records_ = versions_in_records_ || slot.version == kVersionInRecord;
  }
  set_place(slot, place);
  bytes_logical_ += logical_size(slot);
  if (fresh) {
    tree_.insert(record.key, id, true, record.position.main);
  } else {
    tree_.touch(path, !record.tombstone(), record.position.main);
  }
  if (slot.lease != record.lease) {
    detach(id);
    attach(id, record.lease);
  }
  ++txn.sub;
}

void KeyspaceImpl::run_put(Txn& txn, const PutRequest& r, PutResult& out) {
  ++counters_.puts_total;
  counters_.put_bytes_total += r.key.size() + r.value.size();
  out.revision = txn.main;
  KeyTree::Path path;
  bool found = tree_.find(r.key, path);
  SlotId id = found ? path.leaf->id(path.position) : slots_.allocate(r.key);
  const Slot& slot = slots_[id];
  bool exists = found && !slot.tombstone();

  KeyRecord record;
  record.position = {txn.main, txn.sub};
  record.create = exists ? slot.create : txn.main;
  record.version = exists ? int64_t{slot.version} + 1 : 1;
  record.key = r.key;
  record.value = r.value;
  record.lease = r.ignore_lease && exists ? slot.lease : r.lease;
  Bytes old_bytes;  // the old value may lie in a cached record that nobody else keeps
  if (exists && (r.prev_kv || r.ignore_value || slot.version == kVersionInRecord)) {
    if (r.prev_kv) {
      std::vector<Position> missing;
      Reading reading{txn.values, missing, &out.prev};
      read_newest(id, reading);
      CHECK(missing.empty(), "needs() names what apply() must be given");
    }
    bool in_record = slot.version == kVersionInRecord || (r.ignore_value && slot.value_size > 0);
    if (in_record) {
      KeyRecord old;
      const Bytes* hold = nullptr;
      CHECK(newest_record(slot, txn.values, old, &hold), "needs() names what apply() must be given");
      old_bytes = *hold;
      record.version = old.version + 1;
      if (r.ignore_value) record.value = old.value;
    }
  }
  write(txn, path, id, !found, record);
}

void KeyspaceImpl::remove(Txn& txn, SlotId id) {
  KeyTree::Path path;
  bool found = tree_.find(slots_.key(id), path);
  CHECK(found, "a slot in use is in the tree");
  KeyRecord record;
  record.position = {txn.main, txn.sub};
  record.flags = kFlagTombstone;
  record.key = slots_.key(id);
  write(txn, path, id, false, record);
}

// At most about `keys` keys; false when there are more, and running_next_ says where.
bool KeyspaceImpl::run_delete(Txn& txn, const DeleteRangeRequest& r, size_t keys, DeleteRangeResult& out) {
  Interval interval(r.key, r.range_end);
  if (running_) interval.from = running_next_;
  std::vector<SlotId>& ids = scratch_;
  ids.clear();
  bool whole = true;
  if (interval.kind == Interval::Kind::kOne) {
    SlotId id = find(r.key);
    if (id != kNoSlot && !slots_[id].tombstone()) ids.push_back(id);
  } else {
    whole = for_each_key(interval, [&](SlotId id, bool live) {
      if (live) ids.push_back(id);
      return ids.size() < keys;
    });
  }
  std::vector<Position> missing;
  Reading reading{txn.values, missing, &out.prev_kvs};
  for (SlotId id : ids) {
    if (r.prev_kv) read_newest(id, reading);
    remove(txn, id);
  }
  CHECK(missing.empty(), "needs() names what apply() must be given");
  if (!whole) {
    running_next_ = slots_.key(ids.back());
    running_next_.push_back('\0');
  }
  out.deleted += static_cast<int64_t>(ids.size());
  out.revision = txn.changed() ? txn.main : revision_;
  return whole;
}

RangeResult KeyspaceImpl::run_range(const Txn& txn, const RangeRequest& request) const {
  ++counters_.ranges_total;
  RangeResult out;
  std::vector<Position> missing;
  CHECK(range_at(request, txn.values, out, missing).is_ok(), "revisions were checked before");
  CHECK(missing.empty(), "needs() names what apply() must be given");
  return out;
}

void KeyspaceImpl::read_old(Txn& txn, const TxnRequest& request, const Path& path, size_t& at) const {
  for (const RequestOp& op : branch(request, path[at++])) {
    const auto* range = as<RangeRequest>(op);
    if (range && range->revision > 0) txn.old_reads.push_back(run_range(txn, *range));
    if (const auto* nested = as<TxnRequest>(op)) read_old(txn, *nested, path, at);
  }
}

void KeyspaceImpl::run_txn(Txn& txn, const TxnRequest& request, const Path& path, size_t& at, TxnResult& out) {
  out.succeeded = path[at++];
  const auto& ops = branch(request, out.succeeded);
  out.results.reserve(ops.size());
  for (const RequestOp& op : ops) {
    auto& result = out.results.emplace_back().result;
    if (const auto* put = as<PutRequest>(op)) {
      run_put(txn, *put, result.emplace<PutResult>());
    } else if (const auto* del = as<DeleteRangeRequest>(op)) {
      ++counters_.deletes_total;
      run_delete(txn, *del, kNoLimit, result.emplace<DeleteRangeResult>());
    } else if (const auto* range = as<RangeRequest>(op)) {
      auto& range_out = result.emplace<RangeResult>();
      if (range->revision > 0) {
        range_out = std::move(txn.old_reads.front());
        txn.old_reads.pop_front();
      } else {
        range_out = run_range(txn, *range);
      }
      range_out.revision = txn.changed() ? txn.main : revision_;
    } else if (const auto* nested = as<TxnRequest>(op)) {
      run_txn(txn, *nested, path, at, result.emplace<TxnResult>());
    }
  }
  out.revision = txn.changed() ? txn.main : revision_;
}

Status KeyspaceImpl::read_txn(const TxnRequest& request, const ColdRecords& values, TxnResult& out,
                              std::vector<Position>& missing) const {
  CHECK(is_read_only(request), "a txn with writes is applied");
  ++counters_.txns_total;
  out = {};
  Path path;
  evaluate(request, values, missing, path);
  if (!missing.empty()) return {};
  size_t at = 0;
  RETURN_IF_ERROR(check_ops(request, path, at));
  out.succeeded = path[0];
  out.revision = revision_;
  for (const RequestOp& op : branch(request, out.succeeded)) {
    auto& range_out = out.results.emplace_back().result.emplace<RangeResult>();
    RETURN_IF_ERROR(range(*as<RangeRequest>(op), values, range_out, missing));
  }
  return {};
}

// ---- Compaction, leases ----

Status KeyspaceImpl::run_compact(const CompactRequest& r) {
  if (r.revision <= compact_revision_) return err_compacted();
  if (r.revision > revision_) return err_future_revision();
  compact_revision_ = r.revision;
  return {};
}

void KeyspaceImpl::attach(SlotId id, int64_t lease_id) {
  Slot& slot = slots_[id];
  slot.lease = lease_id;
  if (lease_id == 0) return;
  Lease& lease = leases_[lease_id];
  slot.lease_previous = kNoSlot;
  slot.lease_next = lease.first;
  if (lease.first != kNoSlot) slots_[lease.first].lease_previous = id;
  lease.first = id;
  ++lease.keys;
}

void KeyspaceImpl::detach(SlotId id) {
  Slot& slot = slots_[id];
  if (slot.lease == 0) return;
  Lease& lease = leases_[slot.lease];
  if (slot.lease_previous != kNoSlot) {
    slots_[slot.lease_previous].lease_next = slot.lease_next;
  } else {
    lease.first = slot.lease_next;
  }
  if (slot.lease_next != kNoSlot) slots_[slot.lease_next].lease_previous = slot.lease_previous;
  --lease.keys;
  slot.lease = 0;
  slot.lease_next = slot.lease_previous = kNoSlot;
}

void KeyspaceImpl::store_lease(int64_t id, const Lease& lease, SidePosition position) {
  std::string payload;
  put_varint(payload, zigzag(lease.ttl));
  put_varint(payload, zigzag(lease.remaining_ttl));
  side_.set(SideKind::kLease, lease_key(id), payload, position);
  chain_ = mix(mix(chain_, static_cast<uint64_t>(id)), crc32c(payload));
}

Status KeyspaceImpl::run_grant(const LeaseGrantRequest& r, Index applied) {
  if (r.id == 0) return err_lease_not_found();
  if (r.ttl > kLeaseTtlMax) return err_lease_ttl_too_large();
  auto [it, fresh] = leases_.try_emplace(r.id);
  if (!fresh) return err_lease_exists();
  it->second.ttl = std::max<int64_t>(1, r.ttl);
  store_lease(r.id, it->second, {applied.value, 0});
  return {};
}

Status KeyspaceImpl::start_revoke(const LeaseRevokeRequest& r) {
  auto it = leases_.find(r.id);
  if (it == leases_.end()) return err_lease_not_found();
  running_slots_.clear();
  running_at_ = 0;
  running_slots_.reserve(it->second.keys);
  for (SlotId id = it->second.first; id != kNoSlot; id = slots_[id].lease_next) running_slots_.push_back(id);
  std::sort(running_slots_.begin(), running_slots_.end(),
            [&](SlotId a, SlotId b) { return slots_.key(a) < slots_.key(b); });
  return {};
}

bool KeyspaceImpl::run_revoke(Txn& txn, const LeaseRevokeRequest& r, size_t keys, LeaseRevokeResult& out) {
  for (; keys > 0 && running_at_ < running_slots_.size(); --keys)
    remove(txn, running_slots_[running_at_++]);  // detaches
  out.deleted = static_cast<int64_t>(running_at_);
  if (running_at_ < running_slots_.size()) return false;
  running_slots_ = {};
  leases_.erase(r.id);
  side_.erase(SideKind::kLease, lease_key(r.id));
  chain_ = mix(chain_, ~static_cast<uint64_t>(r.id));
  return true;
}

void KeyspaceImpl::run_lease_checkpoint(const LeaseCheckpointRequest& r, Index applied) {
  uint64_t n = 0;
  for (const auto& item : r.items) {
    auto it = leases_.find(item.id);
    if (it == leases_.end()) continue;  // revoked meanwhile
    it->second.remaining_ttl = item.remaining_ttl;
    store_lease(item.id, it->second, {applied.value, n++});
  }
}

// ---- One entry ----

bool KeyspaceImpl::apply_some(const Command& command, Index applied, const ColdRecords& values, size_t keys,
                              ApplyResult& out) {
  if (!running_) {
    CHECK(applied > applied_, "entries are applied once and in order");
    CHECK(revision_ < kRevisionMax, "the revision does not fit the index any more");
    applied_ = applied;
    out.status = {};
    out.events.clear();
    out.events_omitted = false;
    running_sub_ = 0;
  }
  CHECK(applied == applied_, "an entry is applied whole before the next one");
  Txn txn{values, out, revision_ + 1, running_sub_};
  bool done = true;
  if (const auto* put = std::get_if<PutRequest>(&command)) {
    auto& reply = out.reply.emplace<PutResult>();
    out.status = check_put(*put);
    if (out.status.is_ok()) run_put(txn, *put, reply);
  } else if (const auto* del = std::get_if<DeleteRangeRequest>(&command)) {
    if (!running_) ++counters_.deletes_total;
    auto& reply = running_ ? std::get<DeleteRangeResult>(out.reply) : out.reply.emplace<DeleteRangeResult>();
    done = run_delete(txn, *del, keys, reply);
  } else if (const auto* request = std::get_if<TxnRequest>(&command)) {
    apply_txn(txn, *request, out);
  } else if (const auto* compact = std::get_if<CompactRequest>(&command)) {
    out.reply.emplace<CompactResult>();
    out.status = run_compact(*compact);
  } else if (const auto* grant = std::get_if<LeaseGrantRequest>(&command)) {
    auto& reply = out.reply.emplace<LeaseGrantResult>();
    out.status = run_grant(*grant, applied);
    reply = {grant->id, std::max<int64_t>(1, grant->ttl)};
  } else if (const auto* revoke = std::get_if<LeaseRevokeRequest>(&command)) {
    if (!running_) out.status = start_revoke(*revoke);
    auto& reply = out.reply.emplace<LeaseRevokeResult>();
    if (out.status.is_ok()) done = run_revoke(txn, *revoke, keys, reply);
  } else if (const auto* checkpoint = std::get_if<LeaseCheckpointRequest>(&command)) {
    out.reply.emplace<LeaseCheckpointResult>();
    run_lease_checkpoint(*checkpoint, applied);
  }
  running_ = !done;
  running_sub_ = txn.sub;
  if (!done) return false;
  if (!out.status.is_ok()) out.reply.emplace<std::monostate>();
  if (txn.changed()) revision_ = txn.main;
  counters_.events_total += txn.sub;
  out.revision = revision_;
  return true;
}

void KeyspaceImpl::apply_txn(Txn& txn, const TxnRequest& request, ApplyResult& out) {
  ++counters_.txns_total;
  Path path;
  std::vector<Position> missing;
  evaluate(request, txn.values, missing, path);
  CHECK(missing.empty(), "needs() names what apply() must be given");
  size_t at = 0;
  out.status = check_ops(request, path, at);
  auto& reply = out.reply.emplace<TxnResult>();
  if (!out.status.is_ok()) return;
  at = 0;
  read_old(txn, request, path, at);
  at = 0;
  run_txn(txn, request, path, at, reply);
}

}  // namespace fairlead::mvcc
