// Flags of the load generators: --name value. One set for all modes; `fairlead-bench help` lists
// them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace fairlead::bench {

struct Options {
  std::string mode;                    // help_text() lists them
  std::vector<std::string> endpoints;  // host:port; connections go round them
  int connections = 16;
  int in_flight = 256;
  double seconds = 3;
  double warmup_seconds = 1;
  uint64_t keys = 100'000;
  size_t key_bytes = 32;
  size_t value_bytes = 256;
  bool linearizable = false;
  int watchers = 1000;
  int streams = 100;
  std::string ca_file;  // then TLS is spoken
  std::string user;     // NAME:PASSWORD, whose token every call has; empty: none
  std::string token;    // of every call, from log_in()
  int leases = 100'000;
  int64_t page = 0;                // keys of a page of a list; 0: RangeStream
  std::string prefix = "/bench/";  // of a list
  double timeout_seconds = 60;     // of first-read and of waiting for connections
  std::vector<int> server_pids;    // whose CPU and disk bytes are counted
};

Result<Options> parse_options(int argc, char** argv);
std::string help_text();

}  // namespace fairlead::bench
