// etcd's write-ahead log, as far as an import needs it: whose it is, the hard state, and what lies behind an index.
//
// Files NUMBER-INDEX.wal (16 hex digits each), in order; frames of u64 (length in 56 bits, padding in the top byte),
// record, padding to 8 bytes; a record is a message: 1 type, 2 CRC32C over the data of all records so far, 3 data. A
// file begins with the checksum so far. The last file ends in zeroes, or in the middle of a frame.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "server/io/io.h"

namespace fairlead::import {

struct WalEntry {
  uint64_t index = 0;
  uint64_t term = 0;
  uint32_t type = 0;  // 0 normal, 1 and 2 changes of the configuration
  bool empty = false;
  uint32_t request = 0;  // the field of the request that it holds; 0: unknown
};

struct EtcdWal {
  uint64_t cluster = 0;
  uint64_t member = 0;
  uint64_t term = 0;
  uint64_t vote = 0;
  uint64_t commit = 0;
  bool version_test = false;      // some entry, wherever, holds the one request that etcd 3.5 does not know
  std::vector<WalEntry> entries;  // behind the index that was asked for
};

Result<EtcdWal> read_wal(io::Disk& disk, const std::string& dir, uint64_t behind);
// The name of an entry's content: "Put", "ConfChange", ...
std::string wal_entry_name(const WalEntry& entry);

}  // namespace fairlead::import
