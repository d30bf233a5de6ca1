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
#include <vector>

#include "base/status.h"
#include "server/api/kv_codec.h"

namespace fairlead::api {

constexpr size_t kJsonDepthMax = 10'000;
constexpr int kJsonMessageDepthMax = 2 * kNestingMax;  // a txn in a txn is two

// Checks the syntax of one value whose text may come in pieces; each byte is looked at once.
class JsonScanner {
 public:
  // Reads on, from the first character of the value (no white space). True: the value is complete, and `used` bytes of
  // `text` belong to it. After an error it is of no further use.
  Result<bool> feed(std::string_view text, size_t& used);
  bool may_end() const;  // no more text has to come: a number has no end of its own

 private:
  enum class State : uint8_t {
    kValue,
    kArrayBegun,
    kObjectBegun,
    kKey,
    kColon,
    kAfterValue,
    kDone,
    kLiteral,
    kString,
    kEscape,
    kHex,
    kMinus,
    kZero,
    kDigits,
    kDot,
    kFraction,
    kExponent,
    kExponentSign,
    kExponentDigits,
  };
  // Each: whether the character was taken.
  Result<bool> step(char c);
  Result<bool> step_structure(char c);
  Result<bool> step_string(char c);
  Result<bool> step_number(char c);
  Result<bool> begin_value(char c);
  bool close();
  void end_value();
  static size_t skip_plain(std::string_view text, size_t at);

  std::vector<char> open_;  // the brackets around
  State state_ = State::kValue;
  bool in_key_ = false;
  int hex_left_ = 0;
  std::string_view word_;  // true, false, null
  size_t word_at_ = 0;
};

// A sequence of JSON values that comes in pieces: a request's body, or the messages of a WebSocket. Holds what no value
// was made of yet: how much that may be is the caller's to watch.
class JsonValues {
 public:
  void append(std::string_view text) { text_.append(text); }
  void set_whole(std::string text) {
    text_ = std::move(text);
    ended_ = true;
  }
  // The next value, its syntax checked; valid until the next call of anything here. Nothing: more has to come, or
  // nothing is left. After an error it is of no further use.
  Result<std::optional<std::string_view>> next();
  size_t held_bytes() const { return text_.size() - taken_; }

 private:
  std::string text_;
  size_t taken_ = 0;    // of text_
  size_t scanned_ = 0;  // likewise
  JsonScanner scanner_;
  bool begun_ = false;  // inside of a value
  bool ended_ = false;  // nothing more will come
};

// Takes one JSON value, its syntax checked, off the front of `in`. Nothing: only white space is left.
Result<std::optional<std::string_view>> take_json(std::string_view& in);

// `value` is what take_json() returned. kInvalidArgument as protojson says it.
Status from_json(std::string_view value, google::protobuf::Message& out);

std::string to_json(const google::protobuf::Message& message);

}  // namespace fairlead::api
