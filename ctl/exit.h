// Exit codes of etcdctl, and the way out: a message on standard error and the code. A command line tool ends where it
// fails; nothing here runs as a library.
#pragma once

#include <string>

namespace fairlead::ctl {

enum ExitCode : int {
  kExitError = 1,
  kExitBadConnection = 2,
  kExitInvalidInput = 3,
  kExitBadFeature = 4,
  kExitInterrupted = 5,
  kExitIo = 6,
  kExitBadArgs = 128,
};

[[noreturn]] void fail(int code, const std::string& message);

}  // namespace fairlead::ctl
