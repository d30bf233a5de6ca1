// Requests as text for people: what the log and /debug/requests show of one. Values are not shown, only their sizes, as
// in etcd's own lines; long texts are cut. The cost follows the request, not its reply. Threads: any.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace fairlead::api {

constexpr size_t kRequestTextMax = 4096;

struct RequestShape {
  int64_t request_count = -1;  // as etcd counts: 1 for a put, 0 for a range, the operations that a txn took
  int64_t request_size = -1;
  int64_t response_count = -1;
  int64_t response_size = -1;
  std::string content;
};

// Of Range, Put, DeleteRange and Txn; of any other method nothing is known but its size. `reply` is empty where the
// call failed.
RequestShape request_shape(std::string_view path, const Bytes& request, std::span<const Bytes> reply);

}  // namespace fairlead::api
