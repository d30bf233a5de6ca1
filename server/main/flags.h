// The one table of flags: the command line, the environment, the config file, --help and docs/flags.md come from it.
//
// States. A flag `works`; or it is `not needed`: accepted, and one warning at start says what takes its place (at most
// kNotNeededMax of these); or it is `refused`, because obeying it would be unsafe or it stands for something that is
// not here: any value but its default is an error. Nothing is ignored in silence.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "server/main/options.h"

namespace fairlead::server {

constexpr size_t kNotNeededMax = 15;

// Values are written as Go's flag package takes them. kInt is a whole number above zero, kUint may be zero, kSigned is
// any; durations are "1h30m", "500ms"; bytes (our own flags) are "64MiB".
enum class Kind { kString, kBool, kInt, kUint, kSigned, kDurationMs, kBytes };
enum class FlagState { kWorks, kNotNeeded, kRefused };

struct Flag {
  const char* group;
  const char* name;
  Kind kind;
  void* (*field)(Options&);  // nullptr: the value is checked and not kept
  const char* usage;
  const char* test = "";  // what covers it: "FILE: TEST", as docs/flags.md shows it
  FlagState state = FlagState::kWorks;
  const char* note = "";          // not needed: what takes its place; refused: why, and what to do instead
  const char* default_text = "";  // where there is no field to take it from
};

template <auto Member>
void* field(Options& o) {
  return &(o.*Member);
}

// In the order of --help. Flags that are missing come last and only where no other row has their name.
const std::vector<Flag>& all_flags();
const Flag* find_flag(std::string_view name);
// A name of etcd 3.5 -> the flag of today; "=" separates a gate: "feature-gates=InitialCorruptCheck".
std::optional<std::string_view> renamed_flag(std::string_view old_name);
struct RenamedFlag {
  const char* old_name;
  const char* new_name;
};
const std::vector<RenamedFlag>& renamed_flags();
// Names that etcd accepts and does nothing with, since its first versions.
bool is_ancient_flag(std::string_view name);

std::string default_text(const Flag& flag);
// The right form of the value, kept in `options` where the flag has a field; a warning where it is not needed.
Status assign(const Flag& flag, Options& options, std::string_view value);
std::string environment_name(std::string_view flag);

}  // namespace fairlead::server
