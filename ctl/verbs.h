// Where each file hangs its verbs into the tree.
#pragma once

#include <atomic>
#include <thread>

#include "base/text.h"
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/exit.h"
#include "ctl/print.h"

namespace fairlead::ctl {

void add_kv_verbs(Command& root);  // get put del compaction
void add_txn_verb(Command& root);
void add_watch_verb(Command& root);
void add_lease_verbs(Command& root);
void add_member_verbs(Command& root);
void add_endpoint_verbs(Command& root);  // endpoint, defrag, alarm, move-leader, downgrade, snapshot save
void add_auth_verbs(Command& root);      // auth, user, role
void add_lock_verbs(Command& root);      // lock, elect
void add_mirror_verb(Command& root);
void add_check_verbs(Command& root);
void add_status_verb(Command& root);
void add_top_verb(Command& root);
void add_doctor_verb(Command& root);
void add_completion_verb(Command& root);

// For files and data directories: etcdutl's. What else such a verb needs under the program's name is given to `dress`.
using Dress = std::function<void(Command& verb)>;
void add_snapshot_file_verbs(Command& snapshot, const Dress& dress);  // status, restore
void add_hashkv_verb(Command& root, const Dress& dress);
void add_offline_defrag_verb(Command& root, const Dress& dress);
void add_migrate_verb(Command& root, const Dress& dress);
void defrag_directory(Context& context);  // with --data-dir

// Requests from a line's flags and arguments; also used by txn.
pb::RangeRequest range_request(Context& context);
pb::PutRequest put_request(Context& context);
pb::DeleteRangeRequest delete_request(Context& context);

// Of `get`, `put` and `del` alone, for lines of a txn.
Command& add_get(Command& parent, Command::Run run);
Command& add_put(Command& parent, Command::Run run);
Command& add_del(Command& parent, Command::Run run);

int64_t lease_id(const std::string& text);  // hexadecimal; ends the program where it is none
// A line in words: quotes and escapes as etcdctl's interactive verbs read them.
std::vector<std::string> split_line(const std::string& line);

// Ends the program unless the call went well.
inline void must(const grpc::Status& status, int code = kExitError, const std::string& before = "") {
  if (!status.ok()) fail(code, before.empty() ? error_text(status) : before + " (" + error_text(status) + ")");
}

// What a lock and an election share: a lease that is kept alive, and a claim on a name.
class Session {
 public:
  Session(Client& client, int64_t ttl_seconds);
  ~Session();
  int64_t lease() const { return lease_; }
  bool expired() const { return expired_; }

 private:
  void keep_alive();
  Client& client_;
  int64_t lease_ = 0;
  int64_t ttl_ = 0;
  std::atomic<bool> over_{false}, expired_{false};
  std::thread thread_;
};

}  // namespace fairlead::ctl
