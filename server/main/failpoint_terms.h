// The little language in which a failpoint is told what to do, as gofail has it:
//
//   terms     term { "->" term }        the first one that is due is carried out
//   term      { N "*" | P "%" } action  N times; with a chance of P percent
//   action    off | return | sleep | panic | print, each with an optional (value)
//   value     a whole number, true, false, "text" in Go's quotes, or nothing
//
// Its action "break" (a debugger on the process) is refused. Threads: a Terms may be evaluated from several at once.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"

namespace fairlead::server {

using FailpointValue = std::variant<std::monostate, int64_t, bool, std::string>;  // monostate: no value
// As Go prints it, with its type: "{}", "struct {}".
std::string printed(const FailpointValue& value);
std::string type_name(const FailpointValue& value);

enum class FailpointAction : uint8_t { kOff, kReturn, kSleep, kPanic, kPrint };

class FailpointTerms {
 public:
  struct Due {
    FailpointAction action = FailpointAction::kOff;
    FailpointValue value;
  };

  static Result<std::unique_ptr<FailpointTerms>> parse(std::string_view text);

  // What is to be done this time; nothing when no term is due.
  std::optional<Due> next();
  const std::string& text() const { return text_; }
  uint64_t count() const { return count_; }  // times that something was due

 private:
  struct Modifier {
    bool percent = false;
    int64_t left = 0;
    double chance = 0;
  };
  struct Term {
    std::vector<Modifier> modifiers;
    Due due;
  };

  std::string text_;
  std::mutex mutex_;
  std::vector<Term> chain_;
  std::mt19937_64 random_{std::random_device{}()};
  std::atomic<uint64_t> count_ = 0;
};

// sleep(100): milliseconds; sleep("1s"): a duration as Go writes it. Nothing for any other value.
std::optional<int64_t> sleep_ms(const FailpointValue& value);

}  // namespace fairlead::server
