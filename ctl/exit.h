// Exit codes of etcdctl, and the way out: a message on standard error and the code. A command line tool ends where it
// fails; nothing here runs as a library. Threads: any may end the program.
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

// Writes what was printed. Ends the program where nobody reads it any more (by SIGPIPE, as etcdctl ends) or where there
// is no room for it.
void flush_output();

// The end of the program: writes what was printed, then ends without destructors: gRPC's wait for its threads, which
// takes longer than most calls.
[[noreturn]] void leave(int code);
// What leave() does first, where there is something that must not be lost.
extern void (*before_leaving)();

}  // namespace fairlead::ctl
