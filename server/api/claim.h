// One claimant's place in a queue of keys under a prefix: what a lock and an election are made of. The key
// "<prefix><lease in hex>" lives as long as its lease; the one with the lowest creation revision owns. The steps are
// those of etcd's client library (clientv3/concurrency), so that its locks and ours exclude each other.
//
// All steps are made in the name of the caller who asked. Threads: the loop's. A claim keeps itself alive while a step
// is under way; abandon() ends it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "server/api/api.h"

namespace fairlead::api {

class Claim final : public std::enable_shared_from_this<Claim>, public node::WatchSink {
 public:
  enum class Kind : uint8_t { kLock, kElection };
  using Done = std::function<void(const Status& status, int64_t revision)>;

  Claim(Api& api, node::Caller caller, Kind kind, std::string name, int64_t lease, std::string value);
  ~Claim() override;

  // Answers once the key owns. A lease of 0 is granted first; the caller's own is renewed.
  void acquire(Done done);
  // The client has gone: the key goes too, and done() will not be called.
  void abandon();

  const std::string& key() const { return key_; }
  int64_t lease() const { return lease_; }
  int64_t create_revision() const { return create_revision_; }

  void on_batch(const mvcc::WatchBatch& batch) override;

 private:
  void enter();
  void entered(const mvcc::TxnResult& result);
  void proclaim();
  void wait_for_earlier();
  void watch(std::string key, int64_t revision);
  void watch_over();
  void check_still_there();
  void leave();  // deletes the key
  void finish(const Status& status, int64_t revision);

  Api& api_;
  node::Caller caller_;
  Kind kind_;
  std::string prefix_;
  std::string prefix_end_;
  std::string key_;
  std::string value_;
  std::string watched_;
  int64_t lease_;
  int64_t create_revision_ = 0;
  int64_t entered_revision_ = 0;
  bool in_ = false;  // the key was written
  bool over_ = false;
  Done done_;
  mvcc::StreamId stream_ = 0;
  std::shared_ptr<Claim> self_;  // while a watch is open
};

// A lease in a key's name.
std::string lease_text(int64_t lease);

}  // namespace fairlead::api
