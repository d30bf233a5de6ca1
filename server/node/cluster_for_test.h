// A few members on simulated machines, for tests that need a real node: no faults but those that the test makes, and
// every wait is for a condition, in virtual time. server/sim is the place for chance.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/io/sim/world.h"
#include "server/node/node.h"

namespace fairlead::node {

// Workers that can be told to keep their next job back.
class HeldWorkers final : public io::Workers {
 public:
  explicit HeldWorkers(io::Workers* inner) : inner_(inner) {}
  void run(std::function<void()> work, std::function<void()> done) override;
  void hold_next() { hold_next_ = true; }
  bool holding() const { return held_ != nullptr; }
  void let_go();

 private:
  io::Workers* inner_;
  bool hold_next_ = false;
  std::function<void()> held_;
};

class TestCluster {
 public:
  using Disturb = std::function<void(raft::Message, Config::Deliver)>;
  using Tweak = std::function<void(size_t member, Config&)>;

  explicit TestCluster(size_t size, Tweak tweak = {}, uint64_t seed = 1);
  ~TestCluster();

  io::sim::SimWorld& world() { return world_; }
  io::sim::HostId host(size_t member) const { return members_[member].host; }
  size_t size() const { return members_.size(); }
  std::string data_dir(size_t member) { return config_of(member).data_dir; }
  static std::string address(size_t member) { return "10.0.0." + std::to_string(member + 1); }

  void start(size_t member);
  void kill(size_t member) { world_.end_process(members_[member].host, io::sim::End::kKill); }
  // All start, find a leader and know each other.
  void form();
  bool running(size_t member) const { return members_[member].node != nullptr; }
  Node& node(size_t member) { return *members_[member].node; }
  const io::World& io(size_t member) const { return members_[member].world; }
  HeldWorkers& workers(size_t member) { return *members_[member].workers; }
  // Why the member gave up; empty if it did not.
  const std::string& fatal(size_t member) const { return members_[member].fatal; }

  // Runs simulated time until the condition holds; false if it does not within the limit.
  bool wait(const std::function<bool()>& condition, io::Nanos limit = 30 * io::kSecond);
  void run_for(io::Nanos time) { world_.run_for(time); }
  // Calls the closure in a turn of the member, and waits for that turn.
  void in_turn(size_t member, const std::function<void(Node&)>& closure);

  size_t wait_for_leader();  // index of the only leader that runs
  bool make_leader(size_t member);
  Status put(size_t member, const std::string& key, const std::string& value);
  // What the member itself has applied.
  std::string get_local(size_t member, const std::string& key);
  void isolate(size_t member, bool cut);

  // Sees every message that the member gets from a peer; without one, all are delivered.
  void disturb(size_t member, Disturb disturb) { members_[member].disturb = std::move(disturb); }
  std::function<void(size_t member)> on_end;  // a process is over: what stood on its world must go

 private:
  struct Member {
    io::sim::HostId host = 0;
    io::World world;
    std::unique_ptr<HeldWorkers> workers;
    std::unique_ptr<io::Listener> listener;
    std::unique_ptr<Node> node;
    Disturb disturb;
    std::string fatal;
  };
  Config config_of(size_t member);

  Tweak tweak_;
  std::vector<Member> members_;
  io::sim::SimWorld world_;  // goes first: its end destroys the nodes
};

}  // namespace fairlead::node
