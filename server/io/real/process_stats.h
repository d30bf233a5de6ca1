// What the operating system says of this process, for the metrics page.
#pragma once

#include <cstdint>

namespace fairlead::io {

struct ProcessStats {
  double cpu_seconds = 0;  // user and system
  uint64_t resident_bytes = 0;
  uint64_t virtual_bytes = 0;
  uint64_t virtual_bytes_max = 0;  // UINT64_MAX: no limit
  uint64_t files_open = 0;
  uint64_t files_max = 0;                                       // open descriptors allowed
  uint64_t memory_max_bytes = 0;                                // of the control group, or the machine's memory
  double start_unix_seconds = 0;                                // of the process
  uint64_t network_received_bytes = 0, network_sent_bytes = 0;  // of all interfaces of the process's network
};

// What cannot be read is 0. Costs a few microseconds.
ProcessStats process_stats();
// The control group's limit where there is one (version 2, then 1), else the machine's memory.
uint64_t memory_max_bytes();

}  // namespace fairlead::io
