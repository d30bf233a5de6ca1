// Encoded records in memory: the unflushed tail and the cache of newest values, in chunks.
//
// A chunk is one reference-counted block of kChunkSize bytes (or of one large record) that is filled once, front to
// back. Before each record stands the id of the slot whose record it is, so that an eviction can ask whether the record
// is still the newest of its key. Records never move; a slice of a chunk handed out keeps the whole chunk.
//
//   tail chunks    filled by apply; closed by seal() at a checkpoint; become cache when it is durable
//   cache chunks   the former, and copies of records: fetched ones, and survivors of evicted chunks
//
// Eviction takes the oldest cache chunk whole. Its records that are still newest and were used since (or all of them,
// while what is live is well below the budget: then the chunk was mostly garbage) are copied to a fresh chunk; the
// others become cold. This is CLOCK over a log: no list, no per-entry allocation.
#pragma once

#include <deque>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/codec.h"
#include "server/mvcc/record.h"
#include "server/mvcc/slots.h"

namespace fairlead::mvcc {

class Chunks {
 public:
  static constexpr size_t kChunkSize = 256 << 10;
  static constexpr size_t kLargeRecord = kChunkSize / 4;  // gets a chunk of its own
  static constexpr size_t kHeader = 8;                    // slot id, size with the used bit
  static constexpr size_t kAlign = 16;

  // Appends to the tail: encodes the record. Never fails (the node bounds the tail).
  Place add(SlotId slot, const KeyRecord& record);
  // Appends a copy to the cache; 0 when there is no place id left.
  Place add_copy(SlotId slot, std::string_view record);

  std::string_view bytes(Place place) const;
  KeyRecord record(Place place) const { return trusted_key_record(bytes(place)); }
  const Bytes& chunk(Place place) const { return chunks_[place >> kOffsetBits].bytes; }  // what keeps the record
  void use(Place place) const;  // marks it for the next eviction; the mark is beside the record, not in it
  SlotId slot(Place place) const;

  // Closes the open tail chunk. Returns a mark for flushed().
  uint64_t seal();
  // Tail chunks closed up to the mark become cache.
  void flushed(uint64_t mark);

  size_t cache_bytes() const { return cache_bytes_; }  // of cache chunks, whole
  size_t tail_bytes() const { return tail_bytes_; }    // of tail chunks, whole
  size_t tail_used_bytes() const { return tail_used_bytes_; }

  // Takes the oldest cache chunk away. `decide(slot, place, used)` says for each record whether it is still its slot's
  // newest and should survive; `moved(slot, new_place)` tells where a survivor or (0) that a newest record is gone.
  // Returns the last position of an evicted former tail chunk ({} otherwise); false when there is nothing to evict.
  enum class Fate : uint8_t { kGarbage, kDrop, kKeep };
  template <typename Decide, typename Moved>
  bool evict(Position& last, Decide&& decide, Moved&& moved);

 private:
  static constexpr int kOffsetBits = 14;  // in units of kAlign
  static constexpr uint32_t kChunksMax = 1u << (32 - kOffsetBits);
  static constexpr uint32_t kUsedBit = 1u << 31;
  static_assert(kChunkSize / kAlign == 1u << kOffsetBits);

  struct Chunk {
    Bytes bytes;
    char* base = nullptr;
    size_t used = 0;
    Position last;  // tail chunks: of their last record
  };
  uint32_t open_chunk(size_t capacity);  // kChunksMax when ids ran out
  char* reserve(uint32_t& open, std::deque<uint32_t>& queue, size_t& total, size_t size, uint32_t& chunk);
  static Place place_of(uint32_t chunk, size_t offset) {
    return chunk << kOffsetBits | static_cast<uint32_t>(offset / kAlign);
  }
  char* entry(Place place) const {
    return chunks_[place >> kOffsetBits].base + (place & ((1u << kOffsetBits) - 1)) * kAlign;
  }

  std::vector<Chunk> chunks_{1};  // id 0 is not used: place 0 means none
  std::vector<uint32_t> free_ids_;
  std::deque<uint32_t> tail_;  // oldest first; the last may be open
  std::deque<uint32_t> cache_;
  uint32_t open_tail_ = 0;
  uint32_t open_copy_ = 0;
  uint64_t released_ = 0;  // tail chunks handed to the cache so far
  size_t tail_bytes_ = 0;
  size_t tail_used_bytes_ = 0;
  size_t cache_bytes_ = 0;
};

template <typename Decide, typename Moved>
bool Chunks::evict(Position& last, Decide&& decide, Moved&& moved) {
  if (cache_.empty()) return false;
  uint32_t id = cache_.front();
  cache_.pop_front();
  if (id == open_copy_) open_copy_ = 0;
  Chunk chunk = std::move(chunks_[id]);
  chunks_[id] = {};
  cache_bytes_ -= chunk.bytes.block_size();
  last = chunk.last;
  for (size_t offset = 0; offset < chunk.used;) {
    const char* at = chunk.base + offset;
    auto slot = load_fixed<uint32_t>(at);
    uint32_t size_used = load_fixed<uint32_t>(at + 4);
    uint32_t size = size_used & ~kUsedBit;
    Fate fate = decide(slot, place_of(id, offset), (size_used & kUsedBit) != 0);
    if (fate == Fate::kKeep) {
      moved(slot, add_copy(slot, {at + kHeader, size}));
    } else if (fate == Fate::kDrop) {
      moved(slot, 0);
    }
    offset += (kHeader + size + kAlign - 1) / kAlign * kAlign;
  }
  free_ids_.push_back(id);
  return true;
}

}  // namespace fairlead::mvcc
