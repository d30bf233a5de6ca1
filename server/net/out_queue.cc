#include "server/net/out_queue.h"

#include <algorithm>
#include <cstring>

namespace fairlead::net {

namespace {

constexpr size_t kPiecesPerWrite = 64;
constexpr size_t kPiecesKept = 256;  // capacity kept by an empty queue

}  // namespace

// The free list outlives every queue of its thread except those of static duration, which nobody
// makes.
struct FreeChunks {
  std::vector<void*> chunks;
  ~FreeChunks() {
    for (void* chunk : chunks) ::operator delete(chunk);
  }
};
static thread_local FreeChunks free_chunks;

OutQueue::Chunk* OutQueue::take_chunk() {
  void* memory;
  if (free_chunks.chunks.empty()) {
    memory = ::operator new(sizeof(Chunk));
  } else {
    memory = free_chunks.chunks.back();
    free_chunks.chunks.pop_back();
  }
  return new (memory) Chunk;
}

void OutQueue::give_chunk(Chunk* chunk) {
  if (free_chunks.chunks.size() < kFreeChunksMax) {
    free_chunks.chunks.push_back(chunk);
  } else {
    ::operator delete(chunk);
  }
}

void OutQueue::append(std::string_view bytes) {
  while (!bytes.empty()) {
    if (!open_ || open_->used == kChunkBytes) {
      open_ = take_chunk();
      pieces_.push_back({open_->data, 0, open_, {}});
      open_->pieces = 1;
    } else if (pieces_.back().chunk != open_) {
      pieces_.push_back({open_->data + open_->used, 0, open_, {}});
      ++open_->pieces;
    }
    size_t n = std::min(bytes.size(), kChunkBytes - open_->used);
    std::memcpy(open_->data + open_->used, bytes.data(), n);
    open_->used += static_cast<uint32_t>(n);
    pieces_.back().size += n;
    size_ += n;
    bytes.remove_prefix(n);
  }
}

void OutQueue::append(const Bytes& bytes) {
  if (bytes.size() < kShareBytesMin) {
    append(bytes.view());
    return;
  }
  pieces_.push_back({bytes.data(), bytes.size(), nullptr, bytes});
  size_ += bytes.size();
}

void OutQueue::drop(size_t bytes) {
  size_ -= bytes;
  while (bytes > 0) {
    Piece& piece = pieces_[head_];
    if (bytes < piece.size) {
      piece.data += bytes;
      piece.size -= bytes;
      return;
    }
    bytes -= piece.size;
    if (piece.chunk && --piece.chunk->pieces == 0) {
      if (piece.chunk == open_) open_ = nullptr;
      give_chunk(piece.chunk);
    }
    piece.owner = Bytes();
    ++head_;
  }
  if (size_ == 0) {
    reset();
  } else if (head_ >= kPiecesPerWrite * 4 && head_ * 2 > pieces_.size()) {
    pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<ptrdiff_t>(head_));
    head_ = 0;
  }
}

void OutQueue::reset() {
  pieces_.clear();
  head_ = 0;
  if (pieces_.capacity() > kPiecesKept) pieces_.shrink_to_fit();
}

void OutQueue::clear() {
  if (size_ > 0) drop(size_);
}

io::IoResult OutQueue::flush(io::Stream& stream) {
  io::IoResult total;
  while (size_ > 0) {
    std::string_view parts[kPiecesPerWrite];
    size_t count = std::min(kPiecesPerWrite, pieces_.size() - head_);
    size_t offered = 0;
    for (size_t i = 0; i < count; ++i) {
      parts[i] = {pieces_[head_ + i].data, pieces_[head_ + i].size};
      offered += parts[i].size();
    }
    io::IoResult wrote = stream.writev({parts, count});
    total.bytes += wrote.bytes;
    drop(wrote.bytes);
    if (!wrote.error.is_ok()) {
      total.error = std::move(wrote.error);
      break;
    }
    if (wrote.would_block || (wrote.bytes == 0 && offered > 0)) {
      total.would_block = true;
      break;
    }
  }
  return total;
}

}  // namespace fairlead::net
