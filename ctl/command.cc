#include "ctl/command.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

#include "base/text.h"
#include "ctl/exit.h"
#include "ctl/go_format.h"

namespace fairlead::ctl {
namespace {

const char* type_name(Kind kind) {
  switch (kind) {
    case Kind::kBool:
      return "";
    case Kind::kInt:
      return "int";
    case Kind::kUint:
      return "uint";
    case Kind::kDuration:
      return "duration";
    case Kind::kList:
      return "strings";
    default:
      return "string";
  }
}

bool truth(const std::string& v, bool& out) {
  static const char* kTrue[] = {"1", "t", "T", "true", "TRUE", "True"};
  static const char* kFalse[] = {"0", "f", "F", "false", "FALSE", "False"};
  for (const char* t : kTrue)
    if (v == t) return out = true, true;
  for (const char* f : kFalse)
    if (v == f) return out = false, true;
  return false;
}

std::string display_name(const Flag& flag) {
  return flag.shorthand ? std::string("-") + flag.shorthand + ", --" + flag.name : "--" + flag.name;
}

}  // namespace

void (*before_leaving)() = nullptr;

void flush_output() {
  if (fflush(stdout) == 0 && !ferror(stdout)) return;
  if (errno == EPIPE) {
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
  }
  fprintf(stderr, "Error: write to standard output: %s\n", strerror(errno));
  _exit(kExitError);
}

void leave(int code) {
  if (before_leaving) before_leaving();
  if (code == 0) flush_output();
  fflush(stdout);
  fflush(stderr);
  _exit(code);
}

void fail(int code, const std::string& message) {
  fflush(stdout);
  fprintf(stderr, "Error: %s\n", message.c_str());
  leave(code);
}

bool parse_duration(std::string_view text, int64_t& nanos) {
  bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text == "0") return nanos = 0, true;
  if (text.empty()) return false;
  double total = 0;
  while (!text.empty()) {
    size_t n = text.find_first_not_of("0123456789.");
    if (n == 0 || n == std::string_view::npos) return false;
    double value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + n, value);
    if (error != std::errc() || end != text.data() + n) return false;
    text.remove_prefix(n);
    struct Unit {
      std::string_view name;
      double nanos;
    };
    static const Unit kUnits[] = {{"ns", 1},   {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"\xce\xbcs", 1e3},
                                  {"ms", 1e6}, {"s", 1e9},  {"m", 60e9},        {"h", 3600e9}};
    const Unit* unit = nullptr;
    for (const Unit& u : kUnits)
      if (text.starts_with(u.name) && (!unit || u.name.size() > unit->name.size())) unit = &u;
    if (!unit) return false;
    total += value * unit->nanos;
    text.remove_prefix(unit->name.size());
  }
  if (total >= 9.2e18) return false;  // more than 64 bits of nanoseconds hold
  nanos = static_cast<int64_t>(std::llround(negative ? -total : total));
  return true;
}

std::string assign(Flag& flag, const std::string& value) {
  auto bad = [&](const std::string& why) {
    return "invalid argument " + go_quote(value) + " for " + go_quote(display_name(flag)) + " flag: " + why;
  };
  switch (flag.kind) {
    case Kind::kBool: {
      bool b = false;
      if (!truth(value, b)) return bad("strconv.ParseBool: parsing " + go_quote(value) + ": invalid syntax");
      flag.value = b ? "true" : "false";
      break;
    }
    case Kind::kInt: {
      int64_t n = 0;
      if (std::string e = go_parse_int(value, 0, n); !e.empty()) return bad(e);
      flag.value = std::to_string(n);
      break;
    }
    case Kind::kUint: {
      uint64_t n = 0;
      if (std::string e = go_parse_uint(value, 0, n); !e.empty()) return bad(e);
      flag.value = std::to_string(n);
      break;
    }
    case Kind::kDuration: {
      int64_t nanos = 0;
      if (!parse_duration(value, nanos)) return bad("time: invalid duration " + go_quote(value));
      flag.value = value;
      break;
    }
    case Kind::kList:
      // Given again, a list grows.
      flag.value = flag.changed ? flag.value + "," + value : value;
      break;
    case Kind::kString:
      flag.value = value;
  }
  flag.changed = true;
  return "";
}

// ---- Context --------------------------------------------------------------------------------------------------------

std::string Context::text(std::string_view flag) const {
  const Flag* f = command_.find(flag);
  return f ? f->value : "";
}
bool Context::on(std::string_view flag) const { return text(flag) == "true"; }
int64_t Context::number(std::string_view flag) const { return atoll(text(flag).c_str()); }
int64_t Context::nanos(std::string_view flag) const {
  int64_t n = 0;
  parse_duration(text(flag), n);
  return n;
}
std::vector<std::string> Context::list(std::string_view flag) const {
  std::string all = text(flag);
  return all.empty() ? std::vector<std::string>() : split(all, ',');
}
bool Context::given(std::string_view flag) const {
  const Flag* f = command_.find(flag);
  return f && f->changed;
}

// ---- Command --------------------------------------------------------------------------------------------------------

Command::Command(std::string use, std::string about, Run run)
    : use_(std::move(use)), name_(use_.substr(0, use_.find(' '))), about_(std::move(about)), run_(std::move(run)) {}

Command& Command::add(std::string use, std::string about, Run run) {
  children_.push_back(std::make_unique<Command>(std::move(use), std::move(about), std::move(run)));
  children_.back()->parent_ = this;
  return *children_.back();
}
Command& Command::flag(Kind kind, std::string name, std::string value, std::string usage, char shorthand) {
  flags_.push_back({std::move(name), shorthand, kind, std::move(value), std::move(usage), false});
  return *this;
}
Command& Command::global(Kind kind, std::string name, std::string value, std::string usage, char shorthand) {
  globals_.push_back({std::move(name), shorthand, kind, std::move(value), std::move(usage), false});
  return *this;
}
Command& Command::describe(std::string long_text) {
  long_ = std::move(long_text);
  return *this;
}
Command& Command::alias(std::string name) {
  aliases_.push_back(std::move(name));
  return *this;
}

Command& Command::require(std::string flag_name) {
  required_.push_back(std::move(flag_name));
  return *this;
}
Command& Command::run_with(Run run) {
  run_ = std::move(run);
  return *this;
}
Command& Command::exact_arguments(size_t count) {
  argument_count_ = count;
  return *this;
}

std::string Command::path() const { return parent_ ? parent_->path() + " " + name_ : name_; }

Flag* Command::find(std::string_view name) {
  for (Flag& f : flags_)
    if (f.name == name) return &f;
  for (Command* c = this; c; c = c->parent_)
    for (Flag& f : c->globals_)
      if (f.name == name) return &f;
  return nullptr;
}
Flag* Command::find_short(char letter) {
  for (Flag& f : flags_)
    if (f.shorthand == letter) return &f;
  for (Command* c = this; c; c = c->parent_)
    for (Flag& f : c->globals_)
      if (f.shorthand == letter) return &f;
  return nullptr;
}

Command* Command::child(std::string_view name) {
  Command* by_prefix = nullptr;
  int matches = 0;
  for (auto& c : children_) {
    if (c->name_ == name || std::find(c->aliases_.begin(), c->aliases_.end(), name) != c->aliases_.end())
      return c.get();
    if (!name.empty() && c->name_.starts_with(name)) by_prefix = c.get(), ++matches;
  }
  return matches == 1 ? by_prefix : nullptr;
}

// Takes flags out of the line. Returns an error text or "".
std::string Command::parse(const std::vector<std::string>& in, std::vector<std::string>& rest, size_t& behind) {
  behind = std::string::npos;
  for (size_t i = 0; i < in.size(); ++i) {
    const std::string& arg = in[i];
    if (arg == "--") {
      behind = rest.size();
      rest.insert(rest.end(), in.begin() + static_cast<ptrdiff_t>(i) + 1, in.end());
      return "";
    }
    if (arg.size() < 2 || arg[0] != '-') {
      rest.push_back(arg);
      continue;
    }
    if (arg[1] == '-') {
      size_t equals = arg.find('=');
      std::string name = arg.substr(2, equals == std::string::npos ? std::string::npos : equals - 2);
      if (name.empty() || name[0] == '-' || name[0] == '=') return "bad flag syntax: " + arg;
      Flag* f = find(name);
      if (!f && name == "help") return "help";
      if (!f) return "unknown flag: --" + name;
      std::string value;
      if (equals != std::string::npos)
        value = arg.substr(equals + 1);
      else if (f->kind == Kind::kBool)
        value = "true";
      else if (i + 1 < in.size())
        value = in[++i];
      else
        return "flag needs an argument: --" + name;
      if (std::string e = assign(*f, value); !e.empty()) return e;
      continue;
    }
    for (size_t k = 1; k < arg.size(); ++k) {
      Flag* f = find_short(arg[k]);
      if (!f && arg[k] == 'h') return "help";
      if (!f) return std::string("unknown shorthand flag: '") + arg[k] + "' in " + arg;
      std::string value = "true";
      bool last = true;
      if (k + 1 < arg.size() && arg[k + 1] == '=') {
        value = arg.substr(k + 2);
      } else if (f->kind == Kind::kBool) {
        last = false;
      } else if (k + 1 < arg.size()) {
        value = arg.substr(k + 1);
      } else if (i + 1 < in.size()) {
        value = in[++i];
      } else {
        return std::string("flag needs an argument: '") + arg[k] + "' in " + arg;
      }
      if (std::string e = assign(*f, value); !e.empty()) return e;
      if (last) break;
    }
  }
  return "";
}

std::string Command::unknown_command(const std::string& arg) const {
  std::string out = "unknown command " + go_quote(arg) + " for " + go_quote(path());
  std::string nearest;
  for (const auto& c : children_)
    if (edit_distance(arg, c->name_) <= 2 || c->name_.starts_with(arg)) nearest += "\t" + c->name_ + "\n";
  if (!nearest.empty()) out += "\n\nDid you mean this?\n" + nearest;
  return out;
}

// "" or what cobra says of arguments and flags that are not there.
std::string Command::unfit(const std::vector<std::string>& rest) const {
  if (argument_count_ && rest.size() != *argument_count_)
    return "accepts " + std::to_string(*argument_count_) + " arg(s), received " + std::to_string(rest.size());
  std::string missing;
  for (const std::string& name : required_)
    if (!find(name)->changed) missing += (missing.empty() ? "" : ", ") + go_quote(name);
  return missing.empty() ? "" : "required flag(s) " + missing + " not set";
}

int Command::execute(const std::vector<std::string>& args) {
  // The command is the longest chain of names among the words that are no flags.
  Command* at = this;
  std::vector<std::string> left = args;
  while (true) {
    size_t i = 0;
    for (; i < left.size(); ++i) {
      const std::string& arg = left[i];
      if (arg == "--") {
        i = left.size();
        break;
      }
      if (arg.size() < 2 || arg[0] != '-') break;
      if (arg.find('=') != std::string::npos || arg == "--help" || arg == "-h") continue;
      Flag* f = arg[1] == '-' ? at->find(arg.substr(2)) : arg.size() == 2 ? at->find_short(arg[1]) : nullptr;
      // A flag that is not known yet is the verb's: it is taken for one with a value, as cobra does.
      bool one_letter = arg[1] != '-' && arg.size() == 2;
      if (f ? f->kind != Kind::kBool : arg[1] == '-' || one_letter) ++i;
    }
    if (i >= left.size()) break;
    Command* next = at->child(left[i]);
    if (!next && at == this && !run_ && left[i] != "help") {
      fprintf(stderr, "Error: %s\nRun '%s --help' for usage.\n", unknown_command(left[i]).c_str(), path().c_str());
      return kExitError;
    }
    if (!next) break;
    left.erase(left.begin() + static_cast<ptrdiff_t>(i));
    at = next;
  }
  std::vector<std::string> rest;
  size_t behind = 0;
  std::string error = at->parse(left, rest, behind);
  bool help_word = at == this && !rest.empty() && rest[0] == "help";
  if (error == "help" || help_word) {
    if (help_word) {
      for (size_t i = 1; i < rest.size(); ++i)
        if (Command* next = at->child(rest[i])) at = next;
    }
    fputs(at->help().c_str(), stdout);
    return 0;
  }
  if (error.empty() && at->run_) error = at->unfit(rest);
  if (!error.empty()) {
    fprintf(stderr, "Error: %s\n%s\n", error.c_str(), at->usage().c_str());
    return kExitError;
  }
  if (!at->run_) {
    fputs(at->help().c_str(), stdout);
    return 0;
  }
  Context context(*at, std::move(rest), behind);
  at->run_(context);
  return 0;
}

std::string Command::run_line(const std::vector<std::string>& args) {
  Command* at = args.empty() ? nullptr : child(args[0]);
  if (!at || !at->run_) return "unknown command";
  for (Flag& f : at->flags_) f.changed = false;
  std::vector<std::string> rest;
  size_t behind = 0;
  if (std::string e = at->parse({args.begin() + 1, args.end()}, rest, behind); !e.empty()) return e;
  Context context(*at, std::move(rest), behind);
  at->run_(context);
  return "";
}

std::string environment_name(const std::string& prefix, const Flag& flag) {
  std::string name = prefix + "_";
  for (char ch : flag.name) name += ch == '-' ? '_' : static_cast<char>(toupper(ch));
  return name;
}

std::string Command::set_from_environment(const std::string& prefix, std::vector<std::string>& unknown) {
  std::set<std::string> known;
  for (Command* c = this; c; c = c->parent_) {
    for (Flag& f : c->globals_) {
      std::string name = environment_name(prefix, f);
      known.insert(name);
      const char* value = getenv(name.c_str());
      if (value && f.changed)
        return "conflicting environment variable " + name + " is shadowed by the command-line flag --" + f.name +
               " (either unset the variable or leave the flag out)";
      if (!value || !*value) continue;
      if (std::string e = assign(f, value); !e.empty())
        return "invalid value " + go_quote(value) + " for " + name + ": " + e;
    }
  }
  for (char** e = environ; *e; ++e) {
    std::string name = std::string(*e).substr(0, std::string_view(*e).find('='));
    if (name.starts_with(prefix + "_") && !known.count(name)) unknown.push_back(name);
  }
  return "";
}

std::string Command::flag_lines(const std::vector<Flag>& flags) {
  std::vector<const Flag*> sorted;
  for (const Flag& f : flags) sorted.push_back(&f);
  std::sort(sorted.begin(), sorted.end(), [](const Flag* a, const Flag* b) { return a->name < b->name; });
  std::vector<std::pair<std::string, std::string>> lines;
  size_t width = 0;
  for (const Flag* f : sorted) {
    std::string left = f->shorthand ? std::string("  -") + f->shorthand + ", --" + f->name : "      --" + f->name;
    if (*type_name(f->kind)) left += std::string(" ") + type_name(f->kind);
    std::string right = f->usage;
    bool zero = f->value.empty() || f->value == "false" || f->value == "0";
    if (!zero) {
      if (f->kind == Kind::kString)
        right += " (default " + go_quote(f->value) + ")";
      else if (f->kind == Kind::kList)
        right += " (default [" + f->value + "])";
      else
        right += " (default " + f->value + ")";
    }
    width = std::max(width, left.size());
    lines.emplace_back(left, right);
  }
  std::string out;
  for (auto& [left, right] : lines) out += left + std::string(width - left.size() + 3, ' ') + right + "\n";
  return out;
}

std::string Command::usage() const {
  std::string out = "Usage:\n";
  if (run_) {
    out += "  " + (parent_ ? parent_->path() + " " : "") + use_;
    if (!flags_.empty() && use_.find("[options]") == std::string::npos) out += " [flags]";
    out += "\n";
  }
  if (!children_.empty()) {
    out += "  " + path() + " [command]\n\nAvailable Commands:\n";
    size_t width = 11;
    for (const auto& c : children_) width = std::max(width, c->name_.size());
    for (const auto& c : children_)
      out += "  " + c->name_ + std::string(width - c->name_.size() + 1, ' ') + c->about_ + "\n";
  }
  if (!flags_.empty()) out += "\nFlags:\n" + flag_lines(flags_);
  if (!children_.empty()) out += "\nUse \"" + path() + " [command] --help\" for more information about a command.\n";
  return out;
}

std::string Command::help() const {
  std::string text = long_.empty() ? about_ : long_;
  std::string out = text.empty() ? usage() : text + "\n\n" + usage();
  const Command* root = this;
  while (root->parent_) root = root->parent_;
  auto options =
      std::find_if(root->children_.begin(), root->children_.end(), [](const auto& c) { return c->name_ == "options"; });
  if (options != root->children_.end())
    out +=
        "\nUse \"" + root->name_ + " options\" for a list of global command-line options (applies to all commands).\n";
  else if (!root->globals_.empty())
    out += std::string(root == this ? "\nFlags:\n" : "\nGlobal Flags:\n") + flag_lines(root->globals_);
  return out;
}

}  // namespace fairlead::ctl
