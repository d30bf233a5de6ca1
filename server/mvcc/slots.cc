#include "server/mvcc/slots.h"

#include <algorithm>
#include <bit>
#include <new>

namespace fairlead::mvcc {

SlotTable::~SlotTable() {
  for (SlotId id = 0; id < next_; ++id) ::operator delete((*this)[id].key);
}

SlotId SlotTable::allocate(std::string_view key) {
  SlotId id = free_;
  if (id != kNoSlot) {
    free_ = (*this)[id].lease_next;
  } else {
    CHECK(next_ < kNoSlot, "more keys than slot ids");
    if (next_ / kBlock == blocks_.size()) blocks_.push_back({std::make_unique<Block>()});
    id = next_++;
  }
  Slot& slot = (*this)[id];
  slot = Slot{};
  auto size = static_cast<uint32_t>(key.size());
  slot.key = static_cast<char*>(::operator new(sizeof(size) + key.size()));
  std::memcpy(slot.key, &size, sizeof(size));
  std::memcpy(slot.key + sizeof(size), key.data(), key.size());
  ++used_;
  key_bytes_ += key.size();
  return id;
}

void SlotTable::free(SlotId id) {
  Slot& slot = (*this)[id];
  key_bytes_ -= slot.key_view().size();
  --used_;
  ::operator delete(slot.key);
  slot = Slot{};
  slot.lease_next = free_;
  free_ = id;
}

uint8_t class_of_size(uint64_t size) {
  if (size < 8) return static_cast<uint8_t>(size);
  int octave = std::bit_width(size) - 4;  // 0 for 8..15
  return static_cast<uint8_t>(8 * (octave + 1) + static_cast<int>(size >> octave & 7));
}

uint64_t size_of_class(uint8_t size_class) {
  if (size_class < 8) return size_class;
  return static_cast<uint64_t>(8 + size_class % 8) << (size_class / 8 - 1);
}

namespace {
// 1, 2, 3, 4, 6, 8, 11, 15, 20, ...: each about a third above the one before.
const std::vector<uint32_t>& capacities() {
  static const std::vector<uint32_t> list = [] {
    std::vector<uint32_t> v{1, 2, 3};
    while (v.back() < 3'000'000'000u) v.push_back(v.back() + std::max(1u, v.back() / 3));
    return v;
  }();
  return list;
}
size_t class_index(uint32_t count) {
  const auto& list = capacities();
  return static_cast<size_t>(std::lower_bound(list.begin(), list.end(), count) - list.begin());
}
}  // namespace

uint32_t HistoryPool::capacity(uint32_t count) { return count == 0 ? 0 : capacities()[class_index(count)]; }

uint32_t HistoryPool::new_block(uint32_t units) {
  uint32_t index;
  if (!free_blocks_.empty()) {
    index = free_blocks_.back();
    free_blocks_.pop_back();
  } else {
    CHECK(blocks_.size() < (1u << (32 - kOffsetBits)), "more older revisions than places");
    index = static_cast<uint32_t>(blocks_.size());
    blocks_.emplace_back();
  }
  blocks_[index].reset(new OlderRevision[units]);
  units_ += units;
  return index;
}

uint32_t HistoryPool::allocate(uint32_t units) {
  if (units > kLargeUnits) return new_block(units) << kOffsetBits;
  size_t index = class_index(units);
  if (free_arrays_.size() <= index) free_arrays_.resize(index + 1);
  auto& list = free_arrays_[index];
  if (!list.empty()) {
    uint32_t place = list.back();
    list.pop_back();
    return place;
  }
  if (kBlockUnits - open_used_ < units) {  // the rest of the old block is given up: at most a sixteenth
    open_block_ = new_block(kBlockUnits);
    open_used_ = 0;
  }
  uint32_t place = open_block_ << kOffsetBits | open_used_;
  open_used_ += units;
  return place;
}

void HistoryPool::release(uint32_t place, uint32_t units) {
  if (units > kLargeUnits) {
    blocks_[place >> kOffsetBits].reset();
    free_blocks_.push_back(place >> kOffsetBits);
    units_ -= units;
    return;
  }
  size_t index = class_index(units);
  if (free_arrays_.size() <= index) free_arrays_.resize(index + 1);
  free_arrays_[index].push_back(place);
}

void HistoryPool::push(uint32_t& place, uint32_t& count, OlderRevision revision) {
  uint32_t old_units = capacity(count), new_units = capacity(count + 1);
  if (old_units != new_units) {
    uint32_t moved = allocate(new_units);
    if (count > 0) {
      std::copy_n(at(place), count, at(moved));
      release(place, old_units);
    }
    place = moved;
  }
  at(place)[count++] = revision;
}

void HistoryPool::shrink(uint32_t& place, uint32_t& count, uint32_t new_count, const OlderRevision* kept) {
  uint32_t old_units = capacity(count), new_units = capacity(new_count);
  if (old_units != new_units) {
    release(place, old_units);
    place = new_units ? allocate(new_units) : 0;
  }
  if (new_count > 0) std::copy_n(kept, new_count, at(place));
  count = new_count;
}

void HistoryPool::free(uint32_t place, uint32_t count) {
  if (count > 0) release(place, capacity(count));
}

}  // namespace fairlead::mvcc
