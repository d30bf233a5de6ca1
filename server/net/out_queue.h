// What a connection has to say, gathered for one writev: small pieces are copied side by side into
// chunks, large ones are shared. An empty queue holds no chunk, so an idle connection costs nothing
// here.
//
// Threads: one. The free chunks are kept per thread, at most kFreeChunksMax of them.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "server/io/io.h"

namespace fairlead::net {

constexpr size_t kChunkBytes = 16 * 1024;
constexpr size_t kFreeChunksMax = 256;
constexpr size_t kShareBytesMin = 2048;  // below it a copy is cheaper than one more piece in the writev

class OutQueue {
 public:
  OutQueue() = default;
  ~OutQueue() { clear(); }
  OutQueue(const OutQueue&) = delete;
  OutQueue& operator=(const OutQueue&) = delete;

  void append(std::string_view bytes);  // copies
  void append(const Bytes& bytes);      // shares what is large
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  void clear();

  // Writes until all is gone or the stream is full. Returns the bytes moved, would_block and error
  // as io does.
  io::IoResult flush(io::Stream& stream);

 private:
  struct Chunk {
    uint32_t pieces = 0;  // that point into it
    uint32_t used = 0;
    char data[kChunkBytes];
  };
  struct Piece {
    const char* data;
    size_t size;
    Chunk* chunk;  // or
    Bytes owner;
  };
  static Chunk* take_chunk();
  static void give_chunk(Chunk* chunk);
  void drop(size_t bytes);
  void reset();

  std::vector<Piece> pieces_;
  size_t head_ = 0;  // first piece not yet written
  size_t size_ = 0;
  Chunk* open_ = nullptr;  // has room
};

}  // namespace fairlead::net
