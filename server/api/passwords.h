// Passwords to bcrypt hashes and back, on workers: one hash at etcd's default cost takes longer than thousands of puts.
//
// Hashes are written as etcd writes them ($2a$<cost>$...), so a store moves either way. A password longer than 72
// bytes is refused when it is set (bcrypt would ignore the rest), with etcd's words; one with a NUL byte too.
// Bounds: kHashesRunningMax at a time, so that cold reads and checkpoints keep their workers; kHashesWaitingMax behind
// them, then ResourceExhausted "etcdserver: too many requests".
// Threads: the loop. Passwords are never logged and are wiped when their hash is made.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "server/io/io.h"

namespace fairlead::api {

constexpr size_t kHashesRunningMax = 2;
constexpr size_t kHashesWaitingMax = 256;
constexpr size_t kPasswordBytesMax = 72;
constexpr int kBcryptCostMin = 4, kBcryptCostMax = 31, kBcryptCostDefault = 10;

class Passwords {
 public:
  Passwords(const io::World& world, int cost) : world_(world), cost_(cost) {}
  ~Passwords() { *alive_ = false; }

  void hash(std::string password, std::function<void(Result<std::string>)> done);
  // An empty hash fits no password, and takes as long to say so: who is not a user must not be told faster.
  void check(std::string hash, std::string password, std::function<void(Result<bool>)> done);
  size_t waiting() const { return waiting_.size(); }

 private:
  struct Job {
    std::function<void()> work;
    std::function<void()> done;
  };
  bool submit(Job job);
  void run(Job job);

  io::World world_;
  int cost_;
  size_t running_ = 0;
  std::deque<Job> waiting_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace fairlead::api
