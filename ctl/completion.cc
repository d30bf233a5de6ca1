// completion: scripts for bash, zsh and fish, made from the tree of verbs.
#include <cstdio>

#include "ctl/go_format.h"
#include "ctl/verbs.h"

namespace fairlead::ctl {
namespace {

// Each path of verbs with the words that may follow it.
void walk(const Command& command, const std::string& path, std::vector<std::pair<std::string, std::string>>& out) {
  std::string words;
  for (const auto& child : command.children()) words += (words.empty() ? "" : " ") + child->name();
  for (const Flag& flag : command.own_flags()) words += (words.empty() ? "--" : " --") + flag.name;
  out.emplace_back(path, words);
  for (const auto& child : command.children())
    walk(*child, path.empty() ? child->name() : path + " " + child->name(), out);
}

std::string globals(const Command& root) {
  std::string words;
  for (const Flag& flag : root.global_flags()) words += " --" + flag.name;
  return words;
}

// The verbs of the line so far, then the words behind them. zsh runs it too, by bashcompinit.
void bash(const Command& root) {
  const char* name = root.name().c_str();
  printf("_%s() {\n  local word path= cur=${COMP_WORDS[COMP_CWORD]}\n", name);
  printf(
      "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n    case $word in -*) ;; *) path=\"${path:+$path "
      "}$word\" ;; esac\n  done\n");
  printf("  local words\n  case $path in\n");
  std::vector<std::pair<std::string, std::string>> all;
  walk(root, "", all);
  for (auto& [path, words] : all) printf("    '%s') words='%s' ;;\n", path.c_str(), words.c_str());
  printf(
      "    *) words= ;;\n  esac\n  COMPREPLY=($(compgen -W \"$words%s\" -- \"$cur\"))\n}\ncomplete -o default -F _%s "
      "%s\n",
      globals(root).c_str(), name, name);
}

void fish(const Command& root) {
  const char* name = root.name().c_str();
  printf("complete -c %s -f\n", name);
  for (const Flag& flag : root.global_flags()) printf("complete -c %s -l %s\n", name, flag.name.c_str());
  for (const auto& verb : root.children()) {
    printf("complete -c %s -n __fish_use_subcommand -a %s -d '%s'\n", name, verb->name().c_str(),
           verb->about().substr(0, verb->about().find('\'')).c_str());
    std::string within = "__fish_seen_subcommand_from " + verb->name();
    for (const auto& child : verb->children())
      printf("complete -c %s -n '%s' -a %s\n", name, within.c_str(), child->name().c_str());
    for (const Flag& flag : verb->own_flags())
      printf("complete -c %s -n '%s' -l %s\n", name, within.c_str(), flag.name.c_str());
  }
}

}  // namespace

void add_completion_verb(Command& root) {
  Command& verb = root.add("completion [bash|zsh|fish]", "Generate completion script", [&root](Context& c) {
    const std::string& shell = c.args()[0];
    if (shell == "zsh") printf("autoload -U +X bashcompinit && bashcompinit\n");
    if (shell == "bash" || shell == "zsh") return bash(root);
    if (shell == "fish") return fish(root);
    fail(kExitError, "invalid argument " + go_quote(shell) + " for " + go_quote(c.command().path()));
  });
  verb.exact_arguments(1);
}

}  // namespace fairlead::ctl
