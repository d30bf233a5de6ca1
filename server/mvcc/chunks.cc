#include "server/mvcc/chunks.h"

#include "base/check.h"

namespace fairlead::mvcc {

uint32_t Chunks::open_chunk(size_t capacity) {
  uint32_t id;
  if (!free_ids_.empty()) {
    id = free_ids_.back();
    free_ids_.pop_back();
  } else {
    if (chunks_.size() == kChunksMax) return kChunksMax;
    id = static_cast<uint32_t>(chunks_.size());
    chunks_.emplace_back();
  }
  // The chunk is Bytes from the start, so that records can be handed out while it is still being filled: what was
  // handed out is never written again, and nobody reads what is not yet written.
  BytesBuilder builder(capacity);
  char* base = builder.data();
  chunks_[id] = {std::move(builder).finish(capacity), base, 0, {}};
  return id;
}

char* Chunks::reserve(uint32_t& open, std::deque<uint32_t>& queue, size_t& total, size_t size, uint32_t& chunk) {
  size_t need = (kHeader + size + kAlign - 1) / kAlign * kAlign;
  bool own = size > kLargeRecord;
  if (own || open == 0 || kChunkSize - chunks_[open].used < need) {
    chunk = open_chunk(own ? need : kChunkSize);
    if (chunk == kChunksMax) return nullptr;
    if (own && open != 0 && !queue.empty() && queue.back() == open) {
      queue.insert(queue.end() - 1, chunk);  // the open chunk stays last
    } else {
      queue.push_back(chunk);
    }
    total += chunks_[chunk].bytes.block_size();
    if (!own) open = chunk;
  } else {
    chunk = open;
  }
  char* at = chunks_[chunk].base + chunks_[chunk].used;
  chunks_[chunk].used += need;
  return at;
}

Place Chunks::add(SlotId slot, const KeyRecord& record) {
  size_t size = key_record_size(record);
  CHECK(size < kUsedBit, "a record beyond 2 GiB passed the request limit");
  uint32_t chunk;
  char* at = reserve(open_tail_, tail_, tail_bytes_, size, chunk);
  CHECK(at, "the unflushed tail has outgrown every limit");
  tail_used_bytes_ += (kHeader + size + kAlign - 1) / kAlign * kAlign;
  store_fixed(at, slot);
  store_fixed(at + 4, static_cast<uint32_t>(size));
  store_key_record(at + kHeader, record);
  chunks_[chunk].last = record.position;
  return place_of(chunk, static_cast<size_t>(at - chunks_[chunk].base));
}

Place Chunks::add_copy(SlotId slot, std::string_view record) {
  uint32_t chunk;
  char* at = reserve(open_copy_, cache_, cache_bytes_, record.size(), chunk);
  if (!at) return 0;
  store_fixed(at, slot);
  store_fixed(at + 4, static_cast<uint32_t>(record.size()));
  std::memcpy(at + kHeader, record.data(), record.size());
  return place_of(chunk, static_cast<size_t>(at - chunks_[chunk].base));
}

std::string_view Chunks::bytes(Place place) const {
  const char* at = entry(place);
  return {at + kHeader, load_fixed<uint32_t>(at + 4) & ~kUsedBit};
}

SlotId Chunks::slot(Place place) const { return load_fixed<SlotId>(entry(place)); }

void Chunks::use(Place place) const {
  char* at = entry(place) + 4;
  auto size = load_fixed<uint32_t>(at);
  if (!(size & kUsedBit)) store_fixed(at, size | kUsedBit);
}

uint64_t Chunks::seal() {
  open_tail_ = 0;
  return released_ + tail_.size();
}

void Chunks::flushed(uint64_t mark) {
  open_copy_ = 0;  // copies go behind what arrives now, or they would be the next to be evicted
  for (; released_ < mark; ++released_) {
    uint32_t id = tail_.front();
    tail_.pop_front();
    cache_.push_back(id);
    tail_bytes_ -= chunks_[id].bytes.block_size();
    tail_used_bytes_ -= chunks_[id].used;
    cache_bytes_ += chunks_[id].bytes.block_size();
  }
}

}  // namespace fairlead::mvcc
