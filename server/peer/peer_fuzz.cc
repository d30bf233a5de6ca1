// Any bytes as what one member says to another: messages, hellos, verdicts. What is taken is the same after it was
// written and read again. The first byte chooses the kind, the second where a message's body begins.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "server/peer/codec.h"
#include "server/peer/hello.h"

using namespace fairlead;
using namespace fairlead::peer;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  std::string in(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (data[0] % 3 == 0) {
    Result<Hello> hello = decode_hello(in);
    if (!hello.is_ok()) return 0;
    std::string once = encode(*hello);
    Result<Hello> again = decode_hello(once);
    CHECK(again.is_ok() && encode(*again) == once, "a hello is the same after it was written and read");
  } else if (data[0] % 3 == 1) {
    Result<Verdict> verdict = decode_verdict(in);
    if (!verdict.is_ok()) return 0;
    std::string once = encode(*verdict);
    Result<Verdict> again = decode_verdict(once);
    CHECK(again.is_ok() && encode(*again) == once, "a verdict is the same after it was written and read");
  } else {
    size_t head = std::min<size_t>(data[1], in.size());
    Result<raft::Message> message = decode_message(std::string_view(in).substr(0, head), Bytes::copy(in.substr(head)));
    if (!message.is_ok()) return 0;
    EncodedMessage once = MessageEncoder().encode(*message);
    Result<raft::Message> again = decode_message(once.head, once.body);
    CHECK(again.is_ok(), "a message that is written can be read");
    EncodedMessage twice = MessageEncoder().encode(*again);
    CHECK(twice.head == once.head && twice.body.view() == once.body.view());
  }
  return 0;
}
