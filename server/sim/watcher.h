// A watching client: it attaches to some member, goes on elsewhere when that ends, resumes behind what it saw, and
// notes everything for the judge. An *inner* watcher sits in one member's process and sees without delay.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "server/sim/cluster.h"
#include "server/sim/history.h"

namespace fairlead::sim {

class Watcher {
 public:
  // `inner`: the member it sits in; -1 for a client. All events seen by inner watchers go into history.revisions.
  Watcher(Cluster* cluster, History* history, Counters* counters, std::shared_ptr<WatchLog> log, int inner);
  ~Watcher();

  void attach(size_t member);
  void detach();                     // the client breaks the connection
  void member_ended(size_t member);  // its streams died with it
  int attached_to() const { return member_; }
  const WatchLog& log() const { return *log_; }
  bool caught_up(int64_t revision) const { return log_->next > revision; }
  // Whether a member may say that its history is damaged.
  std::function<bool(size_t member)> damaged;

 private:
  class Sink;
  struct Message {
    bool created = false;
    bool canceled = false;
    int64_t compact_revision = 0;
    int64_t revision = 0;
    std::string reason;
    std::vector<SeenEvent> events;
  };
  void open(node::Node& node, uint64_t connection);
  void on_message(const Message& message);
  void trace(const Message& message) const;
  void on_event(SeenEvent event);
  void note(const SeenEvent& event);
  void broken(const std::string& how);

  Cluster* cluster_;
  History* history_;
  Counters* counters_;
  std::shared_ptr<WatchLog> log_;
  int inner_;
  int member_ = -1;
  uint64_t connection_ = 0;  // rises with every attach and detach: what comes from older ones is lost
  std::unique_ptr<Sink> sink_;
  bool created_ = false;
  Nanos last_delivery_ = 0;
};

}  // namespace fairlead::sim
