// completion: scripts for bash, zsh and fish, made from the tree of verbs.
#include <cstdio>

#include "ctl/go_format.h"
#include "ctl/verbs.h"

namespace fairlead::ctl {
namespace {

// A verb with all that may follow it.
struct Place {
  std::vector<std::string> path;  // "lease", "grant"
  const Command* command;
  std::vector<const Flag*> flags;  // its own and those of the groups that it is in, the root's left out
};

void walk(const Command& command, const Place& parent, std::vector<Place>& out) {
  Place here = parent;
  here.command = &command;
  if (command.parent()) {
    here.path.push_back(command.name());
    for (const Flag& flag : command.global_flags()) here.flags.push_back(&flag);
  }
  Place shown = here;
  for (const Flag& flag : command.own_flags()) shown.flags.push_back(&flag);
  out.push_back(shown);
  for (const auto& child : command.children()) walk(*child, here, out);
}

std::vector<Place> places(const Command& root) {
  std::vector<Place> all;
  walk(root, {}, all);
  return all;
}

std::string joined(const std::vector<std::string>& parts, const char* between) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : between) + part;
  return text;
}

std::vector<std::string> names(const Command& command) {
  std::vector<std::string> all;
  for (const auto& child : command.children()) all.push_back(child->name());
  return all;
}

// What a flag may be, where that is one of a few words.
std::string values_of(const Flag& flag) {
  if (flag.name == "write-out") return "simple fields json protobuf table";
  if (flag.name == "load") return "s m l xl";
  if (flag.name == "order") return "ASCEND DESCEND";
  if (flag.name == "sort-by") return "CREATE KEY MODIFY VALUE VERSION";
  if (flag.name == "consistency") return "l s";
  return "";
}

// "--name|-n"
std::string pattern(const Flag& flag) {
  return "--" + flag.name + (flag.shorthand ? std::string("|-") + flag.shorthand : "");
}

// The patterns of all flags that take a value, and the lines of `case` for those with few values; each name once.
void flag_patterns(const Command& root, const std::vector<Place>& all, std::string& takes_value, std::string& choices) {
  std::vector<const Flag*> flags;
  for (const Flag& flag : root.global_flags()) flags.push_back(&flag);
  for (const Place& place : all) flags.insert(flags.end(), place.flags.begin(), place.flags.end());
  std::string seen = "|";
  for (const Flag* flag : flags) {
    if (flag->kind == Kind::kBool || seen.find("|" + flag->name + "|") != std::string::npos) continue;
    seen += flag->name + "|";
    takes_value += (takes_value.empty() ? "" : "|") + pattern(*flag);
    if (std::string values = values_of(*flag); !values.empty())
      choices += "    " + pattern(*flag) + ") words='" + values + "' ;;\n";
  }
}

// Finds the verb of the line so far, then offers its verbs or its flags. zsh runs it too, by bashcompinit.
void bash(const Command& root) {
  std::vector<Place> all = places(root);
  std::string takes_value, choices, globals;
  flag_patterns(root, all, takes_value, choices);
  for (const Flag& flag : root.global_flags()) globals += " --" + flag.name;
  const char* name = root.name().c_str();
  printf("_%s() {\n  local i word path= known words= flags= previous= cur=${COMP_WORDS[COMP_CWORD]}\n", name);
  printf("  for ((i = 1; i < COMP_CWORD; ++i)); do\n    word=${COMP_WORDS[i]}\n");
  // bash takes --flag=value apart at '='.
  printf("    case $previous in %s) [ \"$word\" = = ] || previous=; continue ;; esac\n", takes_value.c_str());
  printf("    previous=$word\n    known=\"${path:+$path }$word\"\n    case $known in\n");
  for (const Place& place : all)
    if (!place.path.empty()) printf("      '%s')\n        path=$known ;;\n", joined(place.path, " ").c_str());
  printf("    esac\n  done\n  [ \"$cur\" != = ] || cur=\n  case $previous in\n%s    %s) ;;\n    *)\n  case $path in\n",
         choices.c_str(), takes_value.c_str());
  for (const Place& place : all) {
    std::string flags;
    for (const Flag* flag : place.flags) flags += " --" + flag->name;
    printf("    '%s')\n      words='%s' flags='%s' ;;\n", joined(place.path, " ").c_str(),
           joined(names(*place.command), " ").c_str(), flags.c_str());
  }
  printf("  esac\n  case $cur in -*) words=\"$flags%s\" ;; esac ;;\n  esac\n", globals.c_str());
  printf("  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -o default -F _%s %s\n", name, name);
}

std::string fish_text(const std::string& text) {
  std::string out = "'";
  for (char c : text) out += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  return out + "'";
}

void fish_flag(const char* name, const std::string& when, const Flag& flag) {
  printf("complete -c %s", name);
  if (!when.empty()) printf(" -n '%s'", when.c_str());
  printf(" -l %s", flag.name.c_str());
  if (flag.shorthand) printf(" -s %c", flag.shorthand);
  std::string values = values_of(flag);
  if (!values.empty())
    printf(" -x -a '%s'", values.c_str());
  else if (flag.kind != Kind::kBool)
    printf(" -r%s", flag.kind == Kind::kString ? " -F" : "");
  printf(" -d %s\n", fish_text(flag.usage).c_str());
}

void fish(const Command& root) {
  const char* name = root.name().c_str();
  printf("complete -c %s -f\n", name);
  for (const Flag& flag : root.global_flags()) fish_flag(name, "", flag);
  for (const Place& place : places(root)) {
    std::string here;
    for (const std::string& verb : place.path)
      here += (here.empty() ? "" : "; and ") + ("__fish_seen_subcommand_from " + verb);
    std::string offered = place.path.empty()
                              ? "__fish_use_subcommand"
                              : here + "; and not __fish_seen_subcommand_from " + joined(names(*place.command), " ");
    for (const auto& child : place.command->children())
      printf("complete -c %s -n '%s' -a %s -d %s\n", name, offered.c_str(), child->name().c_str(),
             fish_text(child->about()).c_str());
    for (const Flag* flag : place.flags) fish_flag(name, here, *flag);
  }
}

}  // namespace

void add_completion_verb(Command& root) {
  Command& verb = root.add("completion [bash|zsh|fish]", "Generate completion script", [&root](Context& c) {
    const std::string& shell = c.args()[0];
    if (shell == "zsh")
      printf(
          "(( $+functions[compdef] )) || { autoload -U compinit && compinit }\nautoload -U +X bashcompinit && "
          "bashcompinit\n");
    if (shell == "bash" || shell == "zsh") return bash(root);
    if (shell == "fish") return fish(root);
    fail(kExitError, "invalid argument " + go_quote(shell) + " for " + go_quote(c.command().path()));
  });
  verb.exact_arguments(1);
}

}  // namespace fairlead::ctl
