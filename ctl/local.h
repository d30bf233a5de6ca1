// What the verbs for files and data directories share: files are opened, locked and complained about as etcdutl does.
#pragma once

#include <string>

#include "base/status.h"
#include "ctl/command.h"
#include "server/io/io.h"
#include "server/io/real/loop.h"

namespace fairlead::ctl {

// etcdutl ends by a panic where a database cannot be opened or is in use; scripts see its exit code.
constexpr int kExitUnusable = 2;

std::string errno_text();  // as Go words it: without a capital
std::string message_of(const Status& status);
// Ends the program unless there is something of that name.
void must_be_there(const std::string& path);
bool is_directory(const std::string& path);
uint64_t file_bytes(const std::string& path);  // 0 where that cannot be told

// The file system, made on the first call; its log goes to standard error, from warnings on.
io::World& local_world();
io::RealLoop& local_loop();

// bbolt's own lock on a database, held until the end: shared to read, exclusive to write. Waits for it as long as
// --timeout says (0: without an end), then ends the program.
class FileLock {
 public:
  enum class Kind { kShared, kExclusive };
  FileLock(Context& context, const std::string& path, Kind kind);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_ = -1;
};

// The same for a data directory of ours, which its user locks again: "" or why it stays locked.
std::string wait_for_directory(Context& context, const std::string& dir);

}  // namespace fairlead::ctl
