// The handshake: what a member says of itself before anything else, and why a peer may refuse it.
//
// Both sides send the 8 bytes kMagic and a hello frame (the dialer first); each judges the other's. A refusal is sent
// with its reason before the connection is closed, so that the refused side can say what is wrong with it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace fairlead::peer {

constexpr std::string_view kMagic = "FLPEER1\n";
constexpr uint16_t kFormatMin = 1;  // of frames and messages on this connection
constexpr uint16_t kFormatMax = 1;
constexpr size_t kRemovedInHelloMax = 4096;  // newest tombstones sent

enum class ChannelKind : uint8_t { kMessages = 1, kSnapshot = 2 };

struct Hello {
  uint16_t format_min = kFormatMin;
  uint16_t format_max = kFormatMax;
  ChannelKind kind = ChannelKind::kMessages;
  ClusterId cluster;
  MemberId from;
  MemberId to;    // whom the sender believes to be talking to; 0 = not known
  StoreId store;  // of the sender's data directory
  uint64_t start_counter = 0;
  uint64_t features = 0;
  std::vector<MemberId> removed;  // tombstones the sender knows
};

std::string encode(const Hello& hello);
Result<Hello> decode_hello(std::string_view bytes);

enum class Refusal : uint8_t {
  kNone = 0,
  kCluster = 1,   // another cluster
  kNotMe = 2,     // `to` is not the receiver: an address is used twice or was reassigned
  kUnknown = 3,   // `from` is no member here (perhaps not yet)
  kRemoved = 4,   // `from` was removed: it must stop for good
  kAmnesia = 5,   // `from` was known with another data directory: it lost what it acknowledged
  kOldStart = 6,  // a process that was started later on the same data is alive
  kFormat = 7,    // no common format
};
std::string_view refusal_name(Refusal refusal);

struct Verdict {
  Refusal refusal = Refusal::kNone;
  std::string text;  // what is wrong and what to do, for the refused member's log
};
std::string encode(const Verdict& verdict);
Result<Verdict> decode_verdict(std::string_view bytes);

}  // namespace fairlead::peer
