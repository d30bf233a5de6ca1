// One page of a member, by HTTP/1.0: what the grpc-proxy shows under /metrics.
//
// Bounds: kFetchBytesMax, kFetchTimeout. Threads: the loop; `done` runs once, not inside the call.
#pragma once

#include <functional>
#include <string>

#include "base/status.h"
#include "server/io/io.h"

namespace fairlead::proxy {

constexpr size_t kFetchBytesMax = 16 << 20;
constexpr io::Nanos kFetchTimeout = 10 * io::kSecond;

// address: as io::Net dials it. The body of an answer whose status is 200.
void fetch_page(const io::World& world, const std::string& address, const std::string& host, const std::string& path,
                std::function<void(Result<std::string>)> done);

// The body of a whole HTTP/1.0 answer.
Result<std::string> body_of_answer(std::string answer);

}  // namespace fairlead::proxy
