// Messages as JSON and back, as the gateway of etcd does it: Protocol Buffers' JSON mapping with the names of the
// .proto files, 64-bit numbers as strings, bytes in base64, nothing that is zero, unknown fields ignored. Errors have
// the words of Go's encoding/json (syntax) and protojson (types), because scripts see them.
//
// Bounds: nesting of values kJsonDepthMax (as Go), of messages kJsonMessageDepthMax. No exceptions, no recursion over
// the syntax. Threads: any.
#pragma once

#include <google/protobuf/message.h>

#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "server/api/kv_codec.h"

namespace fairlead::api {

constexpr size_t kJsonDepthMax = 10'000;
constexpr int kJsonMessageDepthMax = 2 * kNestingMax;  // a txn in a txn is two

// Takes one JSON value, its syntax checked, off the front of `in`. Nothing: only white space is left.
Result<std::optional<std::string_view>> take_json(std::string_view& in);

// `value` is what take_json() returned. kInvalidArgument as protojson says it.
Status from_json(std::string_view value, google::protobuf::Message& out);

std::string to_json(const google::protobuf::Message& message);

}  // namespace fairlead::api
