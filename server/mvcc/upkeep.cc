// Compaction, cache, checkpoint, hash: what is done beside applying, in bounded pieces.
#include <algorithm>

#include "base/codec.h"
#include "server/mvcc/impl.h"
#include "server/mvcc/mix.h"

namespace fairlead::mvcc {
namespace {
constexpr std::string_view kChainId = "chain";
constexpr uint64_t kChainN = 0xffffffff;  // behind all side records of its entry
// What survives an eviction is copied as long as live records fill less than this share of the budget.
constexpr size_t kLiveShareNumerator = 3, kLiveShareDenominator = 4;
}  // namespace

void KeyspaceImpl::drop_place(Slot& slot) {
  if (!slot.place) return;
  bytes_placed_ -= logical_size(slot);
  slot.place = 0;
}

void KeyspaceImpl::set_place(Slot& slot, Place place) {
  slot.place = place;
  if (place) bytes_placed_ += logical_size(slot);
}

// ---- Compaction ----

int64_t KeyspaceImpl::compact_target() const {
  return pinned_.empty() ? compact_revision_ : std::min(compact_revision_, *pinned_.begin());
}

bool KeyspaceImpl::dies(int64_t main, bool tombstone, int64_t next_main, int64_t target) {
  return compacted_away(main, tombstone, next_main, target);
}

void KeyspaceImpl::died(Position position) {
  ++counters_.compact_keys_dropped_total;
  if (position.main <= frozen_revision_) {
    dead_keys_.push_back(position);
    return;
  }
  auto it = std::lower_bound(tail_.begin(), tail_.end(), position,
                             [](const TailEntry& e, Position p) { return e.position() < p; });
  CHECK(it != tail_.end() && it->position() == position, "what no checkpoint has is in the tail");
  it->place = 0;
}

void KeyspaceImpl::compact_key(SlotId id, int64_t target) {
  Slot& slot = slots_[id];
  std::vector<OlderRevision>& kept = history_scratch_;
  kept.clear();
  const OlderRevision* older = slot.history_count ? history_.at(slot.history) : nullptr;
  for (uint32_t i = 0; i < slot.history_count; ++i) {
    int64_t next = i + 1 < slot.history_count ? older[i + 1].main() : slot.main();
    if (dies(older[i].main(), older[i].tombstone(), next, target)) {
      bytes_logical_ -= size_of_class(older[i].size_class());
      died(older[i].position());
    } else {
      kept.push_back(older[i]);
    }
  }
  if (kept.size() != slot.history_count) {
    history_revisions_ -= slot.history_count - kept.size();
    history_.shrink(slot.history, slot.history_count, static_cast<uint32_t>(kept.size()), kept.data());
  }
  if (!dies(slot.main(), slot.tombstone(), kNewest, target)) return;
  CHECK(slot.history_count == 0, "what is older than a dead tombstone is dead");
  died(slot.position());
  bytes_logical_ -= logical_size(slot);
  drop_place(slot);
  KeyTree::Path path;
  CHECK(tree_.find(slot.key_view(), path), "a slot in use is in the tree");
  tree_.erase(path);
  slots_.free(id);
}

bool KeyspaceImpl::compact_slice(size_t keys) {
  if (running_) return false;
  if (!walking_) {
    if (!compaction_pending()) return false;
    walking_ = true;
    walk_target_ = compact_target();
    walk_next_.clear();
  }
  std::vector<SlotId>& ids = walk_scratch_;
  ids.clear();
  size_t visited = 0;
  bool whole = tree_.walk(
      walk_next_, nullptr,
      // A key whose newest revision is older than what was compacted before has nothing to lose.
      [&](uint32_t, int64_t newest) { return newest < compacted_to_; },
      [&](const KeyTree::Leaf& leaf, uint32_t begin, uint32_t end, int64_t newest) {
        if (newest >= compacted_to_) {
          for (uint32_t i = begin; i < end; ++i) {
            const Slot& slot = slots_[leaf.id(i)];
            if (slot.history_count > 0 || slot.tombstone()) ids.push_back(leaf.id(i));
          }
          visited += end - begin;
        }
        if (visited < keys) return true;
        walk_next_ = slots_.key(leaf.id(end - 1));
        walk_next_.push_back('\0');
        return false;
      });
  for (SlotId id : ids) compact_key(id, walk_target_);
  if (whole) {
    walking_ = false;
    compacted_to_ = walk_target_;
  }
  return compaction_pending();
}

// ---- Cache ----

bool KeyspaceImpl::trim_cache(size_t chunks) {
  if (running_) return false;
  size_t budget = options_.cache_bytes_max;
  for (; chunks > 0 && chunks_.cache_bytes() > budget; --chunks) {
    bool keep_all = bytes_placed_ + 2 * Chunks::kChunkSize <= budget / kLiveShareDenominator * kLiveShareNumerator;
    bool keep_used = budget >= 4 * Chunks::kChunkSize;
    Position last;
    bool any = chunks_.evict(
        last,
        [&](SlotId id, Place place, bool used) {
          const Slot& slot = slots_[id];
          if (slot.place != place) return Chunks::Fate::kGarbage;
          bool keep = !slot.tombstone() && (keep_all || (keep_used && used));
          return keep ? Chunks::Fate::kKeep : Chunks::Fate::kDrop;
        },
        [&](SlotId id, Place place) {
          Slot& slot = slots_[id];
          drop_place(slot);
          set_place(slot, place);
        });
    if (!any) break;
    while (!tail_.empty() && tail_.front().position() <= last) tail_.pop_front();
    memory_from_ = std::max(memory_from_, Position{last.main, last.sub + 1});
  }
  return chunks_.cache_bytes() > budget && chunks_.cache_bytes() > Chunks::kChunkSize;
}

void KeyspaceImpl::cache(Position position, const ColdRecords::Entry& entry) {
  SlotId id = find(entry.record.key);
  if (id == kNoSlot) return;
  Slot& slot = slots_[id];
  if (slot.place || slot.position() != position || slot.tombstone()) return;
  set_place(slot, chunks_.add_copy(id, entry.bytes.view()));
}

// ---- Checkpoint ----

FrozenTail KeyspaceImpl::freeze() {
  CHECK(!checkpoint_open_, "one checkpoint at a time");
  CHECK(!running_, "a checkpoint holds whole entries only");
  checkpoint_open_ = true;
  FrozenTail out;
  out.revision = revision_;
  out.compact_revision = compact_revision_;
  auto first =
      std::partition_point(tail_.begin(), tail_.end(), [&](const TailEntry& e) { return e.main <= frozen_revision_; });
  out.records.reserve(static_cast<size_t>(tail_.end() - first));
  for (auto it = first; it != tail_.end(); ++it) {
    if (!it->place) continue;
    std::string_view record = chunks_.bytes(it->place);
    out.records.push_back({it->position(), chunks_.chunk(it->place).slice_of(record)});
    out.bytes += record.size();
  }
  out.dead_keys = std::move(dead_keys_);
  dead_keys_.clear();
  if (chain_ != chain_stored_) {
    std::string payload;
    put_fixed(payload, chain_);
    side_.set(SideKind::kKeyspace, kChainId, payload, {applied_.value, kChainN});
    chain_stored_ = chain_;
  }
  side_.freeze(out);
  frozen_revision_ = revision_;
  checkpoint_mark_ = chunks_.seal();
  return out;
}

void KeyspaceImpl::flushed() {
  CHECK(checkpoint_open_, "no checkpoint is open");
  checkpoint_open_ = false;
  chunks_.flushed(checkpoint_mark_);
}

// ---- Hash and numbers ----

uint64_t KeyspaceImpl::state_hash() const {
  CHECK(!running_, "only whole entries can be compared");
  uint64_t h =
      mix(mix(mix(side_.hash(), static_cast<uint64_t>(revision_)), static_cast<uint64_t>(compact_revision_)), chain_);
  auto add_revision = [&h](Position position, bool tombstone) {
    h = mix(mix(h, static_cast<uint64_t>(position.main) << 1 | tombstone), static_cast<uint64_t>(position.sub));
  };
  tree_.walk(
      "", nullptr, [](uint32_t, int64_t) { return false; },
      [&](const KeyTree::Leaf& leaf, uint32_t begin, uint32_t end, int64_t) {
        for (uint32_t i = begin; i < end; ++i) {
          const Slot& slot = slots_[leaf.id(i)];
          if (dies(slot.main(), slot.tombstone(), kNewest, compact_revision_)) continue;
          h = mix_bytes(h, slot.key_view());
          const OlderRevision* older = slot.history_count ? history_.at(slot.history) : nullptr;
          for (uint32_t j = 0; j < slot.history_count; ++j) {
            int64_t next = j + 1 < slot.history_count ? older[j + 1].main() : slot.main();
            if (dies(older[j].main(), older[j].tombstone(), next, compact_revision_)) continue;
            add_revision(older[j].position(), older[j].tombstone());
          }
          add_revision(slot.position(), slot.tombstone());
          if (slot.tombstone()) continue;
          h = mix(mix(h, static_cast<uint64_t>(slot.create)), slot.version);
          h = mix(mix(h, static_cast<uint64_t>(slot.lease)), slot.value_size);
        }
        return true;
      });
  return h;
}

KeyspaceStats KeyspaceImpl::stats() const {
  KeyspaceStats s = counters_;
  s.keys = tree_.live();
  s.keys_indexed = tree_.size();
  s.revisions = slots_.used() + history_revisions_;
  s.bytes_logical = bytes_logical_;
  s.bytes_tail = chunks_.tail_used_bytes() + side_.changed_bytes();
  s.bytes_cached = chunks_.tail_bytes() + chunks_.cache_bytes();
  s.bytes_index = slots_.bytes() + tree_.bytes() + history_.bytes();
  s.bytes_keys = slots_.key_bytes();
  s.leases = leases_.size();
  s.deaths_unwritten = dead_keys_.size();
  return s;
}

}  // namespace fairlead::mvcc
