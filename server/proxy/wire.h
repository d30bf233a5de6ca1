// Protobuf messages to and from the bytes of a call.
#pragma once

#include "base/bytes.h"
#include "base/status.h"

namespace fairlead::proxy {

template <typename Message>
Bytes serialize(const Message& message) {
  BytesBuilder builder(message.ByteSizeLong());
  message.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(builder.data()));
  return std::move(builder).finish(static_cast<size_t>(message.GetCachedSize()));
}

template <typename Message>
Status parse(const Bytes& in, Message& out) {
  if (out.ParseFromArray(in.data(), static_cast<int>(in.size()))) return {};
  return internal_error("grpc: error unmarshalling: proto: cannot parse " + out.GetTypeName());
}

}  // namespace fairlead::proxy
