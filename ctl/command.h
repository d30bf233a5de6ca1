// The command line: a tree of commands with flags, read as etcdctl reads it (cobra and pflag): flags anywhere before
// "--", -x v, -xv, --long v, --long=v, booleans with a value only after '='; commands by any unambiguous prefix.
//
// Errors of the grammar go to standard error with the usage, exit code 1, as cobra's do.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fairlead::ctl {

enum class Kind : uint8_t { kString, kBool, kInt, kUint, kDuration, kList };

struct Flag {
  std::string name;
  char shorthand = 0;
  Kind kind = Kind::kString;
  std::string value;  // the default, then what was given
  std::string usage;
  bool changed = false;
};

class Command;

// What a verb gets: its flags and arguments.
class Context {
 public:
  Context(const Command& command, std::vector<std::string> args, size_t behind)
      : command_(command), args_(std::move(args)), behind_separator_(behind) {}

  const std::vector<std::string>& args() const { return args_; }
  const Command& command() const { return command_; }
  // Where in args() begins what stood behind "--"; npos without one.
  size_t behind_separator() const { return behind_separator_; }
  std::string text(std::string_view flag) const;
  bool on(std::string_view flag) const;
  int64_t number(std::string_view flag) const;
  int64_t nanos(std::string_view flag) const;  // a duration
  std::vector<std::string> list(std::string_view flag) const;
  bool given(std::string_view flag) const;

 private:
  const Command& command_;
  std::vector<std::string> args_;
  size_t behind_separator_;
};

class Command {
 public:
  using Run = std::function<void(Context&)>;

  // use: "get [options] <key> [range_end]"; its first word is the name.
  Command(std::string use, std::string about, Run run = nullptr);

  Command& add(std::string use, std::string about, Run run = nullptr);  // a sub-command
  Command& flag(Kind kind, std::string name, std::string value, std::string usage, char shorthand = 0);
  Command& global(Kind kind, std::string name, std::string value, std::string usage, char shorthand = 0);
  Command& describe(std::string long_text);
  Command& alias(std::string name);
  Command& require(std::string flag);
  Command& exact_arguments(size_t count);
  Command& run_with(Run run);  // in the place of what it did

  // Runs what the line asks for; returns the exit code.
  int execute(const std::vector<std::string>& args);
  // For lines within a line (txn): parses flags, hands the rest on; nothing but an error text on failure.
  std::string run_line(const std::vector<std::string>& args);

  const std::string& name() const { return name_; }
  const std::string& about() const { return about_; }
  std::string path() const;
  const std::vector<std::unique_ptr<Command>>& children() const { return children_; }
  const std::vector<Flag>& own_flags() const { return flags_; }
  const std::vector<Flag>& global_flags() const { return globals_; }
  Command* parent() const { return parent_; }
  Command* child(std::string_view name);  // by its name, an alias or an unambiguous prefix; else null
  Flag* find(std::string_view name);
  const Flag* find(std::string_view name) const { return const_cast<Command*>(this)->find(name); }

  // Values for flags that were not given, from PREFIX_FLAG_NAME; a variable and a flag for the same thing are refused,
  // because one would be ignored. Returns an error text or "", and in `unknown` the variables that belong to no flag.
  std::string set_from_environment(const std::string& prefix, std::vector<std::string>& unknown);

  std::string help() const;
  std::string usage() const;
  static std::string flag_lines(const std::vector<Flag>& flags);

 private:
  Flag* find_short(char c);
  std::string parse(const std::vector<std::string>& in, std::vector<std::string>& rest, size_t& behind);
  std::string unknown_command(const std::string& arg) const;
  std::string unfit(const std::vector<std::string>& rest) const;

  std::string use_, name_, about_, long_;
  std::vector<std::string> aliases_;
  std::vector<std::string> required_;
  std::optional<size_t> argument_count_;
  Run run_;
  Command* parent_ = nullptr;
  std::vector<std::unique_ptr<Command>> children_;
  std::vector<Flag> flags_;
  std::vector<Flag> globals_;
};

std::string environment_name(const std::string& prefix, const Flag& flag);  // ETCDCTL_DIAL_TIMEOUT
// "" or why the value does not fit the flag, in pflag's words.
std::string assign(Flag& flag, const std::string& value);
// Go's time.ParseDuration; false where it does not parse.
bool parse_duration(std::string_view text, int64_t& nanos);

}  // namespace fairlead::ctl
