// Slots: one per indexed key, 64 bytes, with a stable 32-bit id; and the pool of older revisions.
//
// The key's characters are one allocation beside the slot (length, then bytes). Slots live in blocks that never move,
// so a reference stays good until the slot is freed.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "server/mvcc/record.h"

namespace fairlead::mvcc {

using SlotId = uint32_t;
constexpr SlotId kSlotDead = 1u << 31;  // in a tree leaf: the key's newest revision is a tombstone
constexpr SlotId kNoSlot = kSlotDead - 1;
constexpr uint32_t kVersionInRecord = 0xffffffff;  // the version does not fit: only the record has it

using Place = uint32_t;  // of a record in memory (chunks.h); 0: none

struct Slot {
  char* key = nullptr;  // u32 length, characters
  uint64_t mod = 0;     // main revision of the newest record << 1 | tombstone
  int64_t create = 0;   // of the generation; kept while a tombstone ends it
  int64_t lease = 0;
  uint32_t sub = 0;
  uint32_t version = 0;
  uint32_t value_size = 0;
  uint32_t history = 0;  // where the older revisions are (HistoryPool)
  uint32_t history_count = 0;
  Place place = 0;              // the newest record, if in memory
  SlotId lease_next = kNoSlot;  // other keys of the same lease
  SlotId lease_previous = kNoSlot;

  std::string_view key_view() const {
    uint32_t size;
    std::memcpy(&size, key, sizeof(size));
    return {key + sizeof(size), size};
  }
  int64_t main() const { return static_cast<int64_t>(mod >> 1); }
  bool tombstone() const { return mod & 1; }
  Position position() const { return {main(), sub}; }
};
static_assert(sizeof(Slot) == 64);

class SlotTable {
 public:
  SlotTable() = default;
  SlotTable(const SlotTable&) = delete;
  SlotTable& operator=(const SlotTable&) = delete;
  ~SlotTable();

  SlotId allocate(std::string_view key);
  void free(SlotId id);
  Slot& operator[](SlotId id) { return blocks_[id / kBlock][id % kBlock]; }
  const Slot& operator[](SlotId id) const { return blocks_[id / kBlock][id % kBlock]; }
  std::string_view key(SlotId id) const { return (*this)[id].key_view(); }
  size_t used() const { return used_; }
  size_t bytes() const { return blocks_.size() * kBlock * sizeof(Slot); }
  size_t key_bytes() const { return key_bytes_; }

 private:
  static constexpr size_t kBlock = 1024;
  struct alignas(64) Block {
    Slot slots[kBlock];
  };
  struct BlockRef {
    std::unique_ptr<Block> block;
    Slot& operator[](size_t i) { return block->slots[i]; }
    const Slot& operator[](size_t i) const { return block->slots[i]; }
  };
  std::vector<BlockRef> blocks_;
  SlotId next_ = 0;
  SlotId free_ = kNoSlot;  // linked by lease_next
  size_t used_ = 0;
  size_t key_bytes_ = 0;
};

// One older revision: 12 bytes. Its size is kept as a rough logarithm, so that the logical size of the store can be
// lowered by what was added when the revision is dropped.
struct OlderRevision {
  uint32_t word[3];

  static OlderRevision make(int64_t main, bool tombstone, uint32_t sub, uint8_t size_class) {
    uint64_t packed = static_cast<uint64_t>(main) << 9 | static_cast<uint64_t>(tombstone) << 8 | size_class;
    return {{static_cast<uint32_t>(packed), static_cast<uint32_t>(packed >> 32), sub}};
  }
  uint64_t packed() const { return word[0] | static_cast<uint64_t>(word[1]) << 32; }
  int64_t main() const { return static_cast<int64_t>(packed() >> 9); }
  bool tombstone() const { return packed() >> 8 & 1; }
  uint8_t size_class() const { return static_cast<uint8_t>(packed()); }
  Position position() const { return {main(), word[2]}; }
};
static_assert(sizeof(OlderRevision) == 12);
constexpr int64_t kRevisionMax = (int64_t{1} << 54) - 1;  // what fits; at a million a second, 570 years

// Sizes in 1/8 octaves: size_of_class(class_of_size(n)) is within 1/8 below n.
uint8_t class_of_size(uint64_t size);
uint64_t size_of_class(uint8_t size_class);

// Arrays of older revisions, oldest first, in units of one revision. The capacity follows from the count (it grows by a
// third), so nothing but (place, count) is kept per key.
class HistoryPool {
 public:
  OlderRevision* at(uint32_t place) { return blocks_[place >> kOffsetBits].get() + (place & kOffsetMask); }
  const OlderRevision* at(uint32_t place) const { return blocks_[place >> kOffsetBits].get() + (place & kOffsetMask); }
  // Appends to the array (place, count); place may change.
  void push(uint32_t& place, uint32_t& count, OlderRevision revision);
  // Keeps only the revisions for which keep[i]; returns nothing, place and count change.
  void shrink(uint32_t& place, uint32_t& count, uint32_t new_count, const OlderRevision* kept);
  void free(uint32_t place, uint32_t count);
  size_t bytes() const { return units_ * sizeof(OlderRevision); }

  static uint32_t capacity(uint32_t count);

 private:
  static constexpr uint32_t kOffsetBits = 16;
  static constexpr uint32_t kOffsetMask = (1u << kOffsetBits) - 1;
  static constexpr uint32_t kBlockUnits = 1u << kOffsetBits;
  static constexpr uint32_t kLargeUnits = kBlockUnits / 16;  // larger arrays have a block of their own
  uint32_t allocate(uint32_t units);
  void release(uint32_t place, uint32_t units);
  uint32_t new_block(uint32_t units);

  std::vector<std::unique_ptr<OlderRevision[]>> blocks_;
  std::vector<uint32_t> free_blocks_;
  std::vector<std::vector<uint32_t>> free_arrays_;  // by class, see slots.cc
  uint32_t open_block_ = 0;
  uint32_t open_used_ = kBlockUnits;
  size_t units_ = 0;  // reserved from the system
};

}  // namespace fairlead::mvcc
