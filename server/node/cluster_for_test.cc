#include "server/node/cluster_for_test.h"

#include "base/check.h"

namespace fairlead::node {
namespace {
constexpr const char* kVolume = "/vol";
constexpr io::Nanos kStep = 10 * io::kMillisecond;
}  // namespace

void HeldWorkers::run(std::function<void()> work, std::function<void()> done) {
  if (!std::exchange(hold_next_, false)) return inner_->run(std::move(work), std::move(done));
  held_ = [this, work = std::move(work), done = std::move(done)] { inner_->run(work, done); };
}

void HeldWorkers::let_go() {
  if (auto held = std::exchange(held_, nullptr)) held();
}

TestCluster::TestCluster(size_t size, Tweak tweak, uint64_t seed) : tweak_(std::move(tweak)), world_(seed) {
  members_.resize(size);
  for (size_t m = 0; m < size; ++m) {
    members_[m].host = world_.add_host(address(m));
    world_.disk(members_[m].host).make_durable_dir(kVolume);
  }
  world_.on_process_end = [this](io::sim::HostId host, io::sim::End) {
    for (size_t m = 0; m < members_.size(); ++m) {
      Member& member = members_[m];
      if (member.host != host) continue;
      if (on_end) on_end(m);
      member.listener.reset();
      member.node.reset();
      member.workers.reset();
    }
  };
}

TestCluster::~TestCluster() {
  for (size_t m = 0; m < members_.size(); ++m) kill(m);
}

Config TestCluster::config_of(size_t member) {
  Config c;
  c.name = "m" + std::to_string(member + 1);
  c.data_dir = std::string(kVolume) + "/data";
  c.peer_listen_addresses = {address(member) + ":2380"};
  c.advertise_client_urls = {"http://" + address(member) + ":2379"};
  for (size_t m = 0; m < members_.size(); ++m)
    c.initial_cluster["m" + std::to_string(m + 1)] = {"http://" + address(m) + ":2380"};
  c.log_first_segment_bytes = 64 << 10;
  c.log_segment_bytes = 256 << 10;
  c.catchup_entries = 0;
  c.disturb_messages = [this, member](raft::Message message, const Config::Deliver& deliver) {
    if (members_[member].disturb) return members_[member].disturb(std::move(message), deliver);
    deliver(std::move(message));
  };
  if (tweak_) tweak_(member, c);
  return c;
}

void TestCluster::start(size_t member) {
  io::World world = world_.start_process(members_[member].host);
  world_.post(members_[member].host, [this, member, world] {
    Member& m = members_[member];
    m.world = world;
    m.workers = std::make_unique<HeldWorkers>(world.workers);
    m.world.workers = m.workers.get();
    auto opened = Node::open(m.world, config_of(member));
    CHECK(opened.is_ok(), "a member of a test starts");
    m.node = *std::move(opened);
    m.node->set_on_fatal([this, member](const Status& why) {
      members_[member].fatal = std::string(why.message());
      kill(member);
    });
    auto listener = m.world.net->listen(address(member) + ":2380", [&m](std::unique_ptr<io::Stream> stream) {
      if (m.node) m.node->accept_peer(std::move(stream), "");
    });
    CHECK(listener.is_ok());
    m.listener = *std::move(listener);
    m.node->start();
  });
}

void TestCluster::form() {
  for (size_t m = 0; m < members_.size(); ++m) start(m);
  bool formed = wait([this] {
    for (const Member& m : members_) {
      if (!m.node || !m.node->published() || !m.node->has_leader()) return false;
    }
    return true;
  });
  CHECK(formed, "the members of a test form a cluster");
}

bool TestCluster::wait(const std::function<bool()>& condition, io::Nanos limit) {
  io::Nanos end = world_.now() + limit;
  while (!condition()) {
    if (world_.now() >= end) return false;
    world_.run_for(kStep);
  }
  return true;
}

void TestCluster::in_turn(size_t member, const std::function<void(Node&)>& closure) {
  bool ran = false;
  world_.post(members_[member].host, [this, member, &closure, &ran] {
    ran = true;
    if (members_[member].node) closure(*members_[member].node);
  });
  CHECK(wait([&ran] { return ran; }), "a member of a test takes its turn");
}

size_t TestCluster::wait_for_leader() {
  size_t leader = 0;
  bool found = wait([this, &leader] {
    size_t leaders = 0;
    for (size_t m = 0; m < members_.size(); ++m) {
      if (!members_[m].node || !members_[m].node->is_leader()) continue;
      leader = m;
      ++leaders;
    }
    return leaders == 1;
  });
  CHECK(found, "the members of a test agree on a leader");
  return leader;
}

bool TestCluster::make_leader(size_t member) {
  return wait([this, member] {
    if (node(member).is_leader()) return true;
    for (size_t m = 0; m < members_.size(); ++m) {
      if (!members_[m].node || !members_[m].node->is_leader()) continue;
      in_turn(m, [id = node(member).member_id()](Node& leader) {
        [[maybe_unused]] Status refused = leader.transfer_leader(id);  // tried until it is done
      });
    }
    run_for(200 * io::kMillisecond);
    return node(member).is_leader();
  });
}

Status TestCluster::put(size_t member, const std::string& key, const std::string& value) {
  bool answered = false;
  Status status;
  in_turn(member, [&](Node& n) {
    mvcc::PutRequest request;
    request.key = key;
    request.value = value;
    n.propose(request, [&answered, &status](const Status& s, const mvcc::ApplyResult*) {
      answered = true;
      status = s;
    });
  });
  CHECK(wait([&answered] { return answered; }), "every proposal is answered in time");
  return status;
}

std::string TestCluster::get_local(size_t member, const std::string& key) {
  std::string value;
  bool answered = false;
  in_turn(member, [&](Node& n) {
    mvcc::RangeRequest request;
    request.key = key;
    request.serializable = true;
    n.range(Bytes(), request, [&](const Status& s, const mvcc::RangeResult* result) {
      answered = true;
      if (s.is_ok() && !result->kvs.items.empty()) value = std::string(result->kvs.items[0].value);
    });
  });
  CHECK(wait([&answered] { return answered; }), "every read is answered in time");
  return value;
}

void TestCluster::isolate(size_t member, bool cut) {
  for (size_t other = 0; other < members_.size(); ++other) {
    if (other == member) continue;
    world_.set_link(members_[member].host, members_[other].host, !cut);
    world_.set_link(members_[other].host, members_[member].host, !cut);
  }
}

}  // namespace fairlead::node
