// Reads what a pin names, front to back, beside everything else: for exports and hashes. Blocking, for workers; one
// thread at a time. Holds the pin, one block of records and one segment's dead list.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "server/io/io.h"
#include "server/mvcc/checkpoint.h"
#include "server/storage/dead_list.h"
#include "server/storage/store.h"

namespace fairlead::storage {

class PinReader {
 public:
  PinReader(io::Disk& disk, std::string dir, Pin pin);
  ~PinReader();

  const SharedManifest& manifest() const;

  // The next key record in order of position, those on dead lists left out; null at the end. Its views live until the
  // next call.
  Result<const mvcc::KeyRecord*> next();
  void rewind();  // next() begins again

  // As Store::load(), of this pin. `keys` false: side records only.
  Status load(mvcc::IndexLoader& loader, bool keys) const;

 private:
  Result<bool> next_block();

  io::Disk& disk_;
  std::string dir_;
  Pin pin_;
  size_t segment_ = 0;  // the one being read
  size_t block_ = 0;    // its next block
  bool opened_ = false;
  DeadList dead_;  // of the segment
  size_t dead_at_ = 0;
  Bytes bytes_;            // the block being read
  std::string_view rest_;  // of it
  mvcc::KeyRecord record_;
};

}  // namespace fairlead::storage
