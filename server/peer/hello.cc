#include "server/peer/hello.h"

#include "base/codec.h"

namespace fairlead::peer {

std::string encode(const Hello& h) {
  std::string out;
  put_fixed(out, h.format_min);
  put_fixed(out, h.format_max);
  put_fixed(out, static_cast<uint8_t>(h.kind));
  put_fixed(out, h.cluster.value);
  put_fixed(out, h.from.value);
  put_fixed(out, h.to.value);
  put_fixed(out, h.store.value);
  put_fixed(out, h.start_counter);
  put_fixed(out, h.features);
  size_t count = std::min(h.removed.size(), kRemovedInHelloMax);
  put_varint(out, count);
  for (size_t i = h.removed.size() - count; i < h.removed.size(); ++i) put_fixed(out, h.removed[i].value);
  return out;
}

Result<Hello> decode_hello(std::string_view bytes) {
  Reader in(bytes);
  Hello h;
  h.format_min = in.fixed<uint16_t>();
  h.format_max = in.fixed<uint16_t>();
  h.kind = static_cast<ChannelKind>(in.fixed<uint8_t>());
  h.cluster = ClusterId(in.fixed<uint64_t>());
  h.from = MemberId(in.fixed<uint64_t>());
  h.to = MemberId(in.fixed<uint64_t>());
  h.store = StoreId(in.fixed<uint64_t>());
  h.start_counter = in.fixed<uint64_t>();
  h.features = in.fixed<uint64_t>();
  uint64_t count = in.varint();
  if (count > kRemovedInHelloMax) return invalid_argument("a peer's hello is malformed");
  for (uint64_t i = 0; i < count; ++i) h.removed.push_back(MemberId(in.fixed<uint64_t>()));
  // Later formats may add fields behind these.
  if (!in.ok() || (h.kind != ChannelKind::kMessages && h.kind != ChannelKind::kSnapshot))
    return invalid_argument("a peer's hello is malformed");
  return h;
}

std::string_view refusal_name(Refusal refusal) {
  switch (refusal) {
    case Refusal::kNone:
      return "none";
    case Refusal::kCluster:
      return "cluster-mismatch";
    case Refusal::kNotMe:
      return "wrong-address";
    case Refusal::kUnknown:
      return "unknown-member";
    case Refusal::kRemoved:
      return "removed-member";
    case Refusal::kAmnesia:
      return "data-lost";
    case Refusal::kOldStart:
      return "started-again";
    case Refusal::kFormat:
      return "no-common-format";
  }
  return "?";
}

std::string encode(const Verdict& v) {
  std::string out;
  put_fixed(out, static_cast<uint8_t>(v.refusal));
  put_lengthed(out, v.text);
  return out;
}

Result<Verdict> decode_verdict(std::string_view bytes) {
  Reader in(bytes);
  Verdict v;
  v.refusal = static_cast<Refusal>(in.fixed<uint8_t>());
  v.text = in.lengthed();
  if (!in.ok()) return invalid_argument("a peer's verdict is malformed");
  return v;
}

}  // namespace fairlead::peer
