// --help in the shape of etcd's (tools look for "  --name" at the start of a line), and the page docs/flags.md.
#include "server/main/flags.h"
#include "server/main/gates.h"
#include "server/main/sub_command.h"

namespace fairlead::server {
namespace {

constexpr const char* kUsage = R"(Usage:

  etcd [flags]
    Start an etcd server.

  etcd --version
    Show the version of etcd.

  etcd -h | --help
    Show the help information about etcd.

  etcd gateway start [flags]
    Pass connections on to endpoints of a cluster; its flags: etcd gateway start --help

  etcd grpc-proxy start [flags]
    Serve etcd's API for a cluster; its flags: etcd grpc-proxy start --help

  etcd --config-file
    Path to the server configuration file. Note that if a configuration file is provided, other command line flags and
    environment variables will be ignored. Durations in it are whole nanoseconds (600000000000 for 10m).

This server is Fairlead, which answers to etcd's name too. Every flag is also an environment variable: --data-dir is
ETCD_DATA_DIR.
)";

const char* state_name(FlagState state) {
  switch (state) {
    case FlagState::kWorks:
      return "works";
    case FlagState::kNotNeeded:
      return "not needed";
    case FlagState::kRefused:
      return "refused";
  }
  return "";
}

std::string escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

std::string help_text() {
  std::string out = kUsage;
  std::string_view group;
  for (const Flag& flag : all_flags()) {
    if (flag.state == FlagState::kRefused) continue;  // tools add what they find here
    if (group != flag.group) out += "\n" + std::string(group = flag.group) + ":\n";
    out += "  --" + std::string(flag.name) + " '" + default_text(flag) + "'\n    " + flag.usage + "\n";
    if (std::string_view(flag.name) == "feature-gates")
      for (const Gate& gate : all_gates())
        out += "    " + std::string(gate.name) + "=true|false (" + gate.stage +
               " - default=" + (gate.on_by_default ? "true" : "false") + ")\n";
    if (flag.state != FlagState::kWorks) out += "    Has no effect here: " + std::string(flag.note) + ".\n";
  }
  return out;
}

std::string flags_markdown() {
  std::string out =
      "# Flags\n\nMade from the server's table of flags by `fairlead --fairlead-help-markdown`; a test compares them. "
      "Each flag is\nalso an environment variable: `--data-dir` is `ETCD_DATA_DIR`. A flag *works*; or is *not "
      "needed*: "
      "accepted, and one\nwarning at start says what takes its place; or is *refused*, because obeying it would be "
      "unsafe or it would\nstand for something that is not here: any value but its default is an error.\n";
  std::string_view group;
  for (const Flag& flag : all_flags()) {
    if (group != flag.group) {
      group = flag.group;
      out += "\n## " + std::string(group) +
             "\n\n| flag | default | state | what it says | test |\n|---|---|---|---|---|\n";
    }
    std::string text = default_text(flag);
    out += "| `--" + std::string(flag.name) + "` | " + (text.empty() ? "" : "`" + escaped(text) + "`") + " | " +
           state_name(flag.state) + " | " + escaped(flag.state == FlagState::kWorks ? flag.usage : flag.note) + " | " +
           flag.test + " |\n";
  }
  out += sub_command_markdown();
  out += "\n## Feature gates\n\n| gate | default | here |\n|---|---|---|\n";
  for (const Gate& gate : all_gates())
    out += "| `" + std::string(gate.name) + "` | " + (gate.on_by_default ? "true" : "false") + " (" + gate.stage +
           ") | " + (gate.has_effect ? "" : "no effect: ") + gate.effect + " |\n";
  out += "\n## Names of etcd 3.5\n\n| name | now |\n|---|---|\n";
  for (const RenamedFlag& renamed : renamed_flags())
    out += "| `--" + std::string(renamed.old_name) + "` | `--" + renamed.new_name + "` |\n";
  out +=
      "\n## Where we differ from etcd 3.7\n\n"
      "- A flag wins over its variable where they differ, with a warning. etcd ends the start, which makes variables\n"
      "  useless as the defaults of an image.\n"
      "- `--force-new-cluster` keeps all of the log, also what the member does not know to be committed: a client may\n"
      "  have been answered ([why](decisions/0009-a-member-that-goes-on-alone.md)). etcd drops that.\n"
      "- `--snapshot-catchup-entries` entries are kept while the log stays below 512 MiB.\n"
      "- `--wal-dir` has a lock of its own, and data without its log is refused by name. A directory of etcd's whose "
      "log is\n"
      "  there is taken over, and our log comes beside it.\n"
      "- With `LeaseCheckpoint`, a renewal also takes back a checkpoint that is still on its way; what is recorded is "
      "always on\n"
      "  disk, as with etcd from cluster version 3.6 on.\n"
      "- `--log-outputs=systemd/journal` is refused: systemd takes stderr into its journal.\n";
  return out;
}

}  // namespace fairlead::server
