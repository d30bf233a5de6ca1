// What etcdutl tells about a database: `snapshot status` and `hashkv`, with its values to the bit. Reads front to back;
// memory follows the live keys (status) or the revisions at and below the compact revision (hashkv).
//
// Errors: kDataLoss for a file that is not whole; mvcc's errors for a revision that is not there.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "server/bolt/reader.h"

namespace fairlead::bolt {

struct Summary {
  uint32_t hash = 0;     // CRC-32C over all buckets: names, keys and values in order
  int64_t revision = 0;  // of the last record
  uint64_t keys = 0;     // alive
  uint64_t bytes = 0;    // of the file's pages
  std::string version;   // "3.7.0"; empty before 3.6
};
Result<Summary> summarize(const Reader& reader);  // of a file whose check() went well

struct KeyHash {
  uint32_t hash = 0;
  int64_t revision = 0;
  int64_t compact_revision = -1;
};
// revision 0: the latest. Two passes over the keys where there was a compaction.
Result<KeyHash> hash_keys(const Reader& reader, int64_t revision);

}  // namespace fairlead::bolt
