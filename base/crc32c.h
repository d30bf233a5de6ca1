// CRC-32C (Castagnoli), as iSCSI, etcd and our files use it: reflected, polynomial 0x1EDC6F41, initial and final
// complement. crc32c("123456789") == 0xE3069283.
#pragma once

#include <cstdint>
#include <string_view>

namespace fairlead {

// Checksum of data that follows bytes whose checksum is `seed` (0 for none): crc32c_extend(crc32c(a), b) == crc32c(ab).
uint32_t crc32c_extend(uint32_t seed, std::string_view data);
inline uint32_t crc32c(std::string_view data) { return crc32c_extend(0, data); }

namespace crc32c_internal {
uint32_t extend_portable(uint32_t seed, std::string_view data);  // table driven; the test compares both
}

}  // namespace fairlead
