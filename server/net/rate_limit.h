// A token bucket: events above the rate are a reason to end a connection, or to leave out a line in the log.
#pragma once

#include <cstdint>

#include "server/io/io.h"

namespace fairlead::net {

class RateLimit {
 public:
  bool allow(io::Nanos now, uint32_t per_second, uint32_t burst);

 private:
  io::Nanos since_ = 0;
  double tokens_ = -1;
};

}  // namespace fairlead::net
