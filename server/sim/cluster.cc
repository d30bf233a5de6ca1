#include "server/sim/cluster.h"

#include <cstdio>

#include "base/check.h"
#include "server/sim/front_door.h"

namespace fairlead::sim {
namespace {

constexpr const char* kVolume = "/vol";

std::string address(size_t member) { return "10.0.0." + std::to_string(member + 1); }

}  // namespace

Cluster::Cluster(uint64_t seed, ClusterConfig config, Counters* counters)
    : counters_(counters), config_(config), world_(seed) {
  for (size_t m = 0; m < kMachines; ++m) {
    members_.emplace_back();
    members_[m].host = world_.add_host(address(m));
    world_.disk(members_[m].host).make_durable_dir(kVolume);
    if (m >= kMembers) continue;
    world_.set_clock_drift(members_[m].host, config_.drift_ppm[m]);
    if (config_.drift_ppm[m] != 0) ++counters_->drifting_clocks;
  }
  world_.on_process_end = [this](io::sim::HostId host, io::sim::End how) {
    for (size_t m = 0; m < kMachines; ++m) {
      if (members_[m].host != host) continue;
      collect(members_[m]);
      if (members_[m].node && on_ending) on_ending(m, *members_[m].node);
      members_[m].door.reset();
      members_[m].listener.reset();
      members_[m].node.reset();
      if (on_ended) on_ended(m, how);
    }
  };
}

std::string Cluster::client_address(size_t member) { return address(member) + ":2379"; }

Cluster::~Cluster() {
  on_ending = nullptr;
  on_ended = nullptr;
  for (size_t m = 0; m < kMachines; ++m) end(m, io::sim::End::kKill);
}

node::Config Cluster::config_of(size_t member) {
  node::Config c;
  c.name = name(member);
  c.data_dir = std::string(kVolume) + "/data";
  c.peer_listen_addresses = {address(member) + ":2380"};
  c.advertise_client_urls = {"http://" + address(member) + ":2379"};
  for (size_t m = 0; m < kMembers; ++m) c.initial_cluster[name(m)] = {"http://" + address(m) + ":2380"};
  c.strict_reconfig_check = config_.strict_reconfig_check;
  c.learners_max = kGuests;
  c.lease_checkpoint = config_.lease_checkpoint_interval > 0;
  c.lease_checkpoint_interval = config_.lease_checkpoint_interval;
  if (members_[member].join) {
    c.initial_cluster_new = false;
    c.join = members_[member].join;
  }
  c.heartbeat_interval = config_.heartbeat;
  c.election_timeout = config_.election;
  c.checkpoint_tail_bytes = config_.checkpoint_tail_bytes;
  c.checkpoint_log_bytes = config_.checkpoint_log_bytes;
  c.checkpoint_interval = config_.checkpoint_interval;
  c.log_first_segment_bytes = config_.log_first_segment_bytes;
  c.log_segment_bytes = config_.log_segment_bytes;
  c.log_keep_bytes = config_.log_keep_bytes;
  c.catchup_entries = config_.catchup_entries;
  c.value_cache_bytes = config_.value_cache_bytes;
  c.watch_progress_interval = config_.watch_progress_interval;
  c.cleaner = config_.cleaner;
  c.quota_bytes = config_.quota_bytes;
  c.free_space_floor_bytes = config_.free_space_floor_bytes;
  c.ballast_bytes = config_.free_space_floor_bytes / 4;
  c.space_look_interval = 1 * io::kSecond;
  c.auto_disarm_delay = config_.auto_disarm_delay;
  c.corrupt_check_interval = config_.corrupt_check_interval;
  c.disturb_messages = [this, member](raft::Message message, node::Config::Deliver deliver) {
    disturb(member, std::move(message), std::move(deliver));
  };
  return c;
}

void Cluster::start(size_t member) {
  if (running(member)) return;
  ++counters_->starts;
  io::World world = world_.start_process(members_[member].host);
  world_.post(members_[member].host, [this, member, world] { open(member, world); });
}

std::string Cluster::peer_url(size_t member) { return "http://" + address(member) + ":2380"; }

io::Nanos Cluster::io_now(const node::Node& node) const {
  for (const Member& m : members_)
    if (m.node.get() == &node) return m.world.loop->now();
  return 0;
}

void Cluster::start_guest(size_t machine, node::Config::Join join) {
  members_[machine].join = std::move(join);
  start(machine);
}

void Cluster::open(size_t member, const io::World& world) {
  Member& m = members_[member];
  m.world = world;
  node::Config config = config_of(member);
  auto opened = node::Node::open(world, config);
  if (!opened.is_ok()) {
    if (on_gave_up) on_gave_up({member, opened.status()});
    end(member, io::sim::End::kKill);
    return;
  }
  m.node = *std::move(opened);
  m.node->set_on_fatal([this, member](const Status& why) {
    if (trace)
      std::fprintf(stderr, "%.6f m%zu fatal: %s\n", static_cast<double>(now()) / 1e9, member + 1,
                   why.to_string().c_str());
    if (on_gave_up) on_gave_up({member, why});
    end(member, io::sim::End::kKill);
  });
  auto listener = world.net->listen(address(member) + ":2380", [this, member](std::unique_ptr<io::Stream> stream) {
    if (members_[member].node) members_[member].node->accept_peer(std::move(stream), "");
  });
  CHECK(listener.is_ok(), "a new process finds its port free");
  m.listener = *std::move(listener);
  m.node->start();
  // As in server/main: clients are let in when the member is part of its cluster.
  if (config_.front_door) {
    m.node->on_published(
        [&m, world, member] { m.door = std::make_unique<FrontDoor>(world, *m.node, client_address(member)); });
  }
  if (on_opened) on_opened(member, *m.node);
}

void Cluster::lift_quota() {
  config_.quota_bytes = -1;
  for (size_t m = 0; m < kMachines; ++m) in_turn(m, [](node::Node& node) { node.lift_quota(); });
}

void Cluster::stop_orderly(size_t member) {
  in_turn(member,
          [this, member](node::Node& node) { node.stop([this, member] { end(member, io::sim::End::kKill); }); });
}

void Cluster::in_turn(size_t member, std::function<void(node::Node&)> closure) {
  world_.post(members_[member].host, [this, member, closure = std::move(closure)] {
    if (members_[member].node) closure(*members_[member].node);
  });
}

int Cluster::leader() {
  for (size_t m = 0; m < kMembers; ++m) {  // of the founders: the nemesis knows no others
    if (members_[m].node && members_[m].node->is_leader()) return static_cast<int>(m);
  }
  return -1;
}

// The node gets its message now, or late (and so behind later ones), or once more, or never.
void Cluster::disturb(size_t member, raft::Message message, node::Config::Deliver deliver) {
  if (on_message) on_message(message);
  if (on_received && members_[member].node) on_received(*members_[member].node, message);
  io::sim::Life life = world_.life(members_[member].host);
  auto later = [&] {
    world_.scheduler().after(
        prng().between(1, 500) * io::kMillisecond, life, "message.late",
        [this, member, message, deliver] { in_turn(member, [message, deliver](node::Node&) { deliver(message); }); });
  };
  if (message_loss > 0 && prng().chance(message_loss)) {
    ++counters_->messages_lost;
    return;
  }
  if (message_repeat > 0 && prng().chance(message_repeat)) {
    ++counters_->messages_repeated;
    later();
  }
  if (message_delay > 0 && prng().chance(message_delay))
    later();
  else
    deliver(std::move(message));
}

void Cluster::collect(const Member& member) {
  if (!member.node) return;
  const node::Stats& stats = member.node->stats();
  counters_->elections += stats.elections_won;
  counters_->snapshots_installed += stats.snapshots_installed;
  counters_->checkpoints += stats.checkpoints;
  counters_->cold_reads += stats.cold_reads;
  counters_->cleanings += member.node->cleaner().runs;
  counters_->hash_checks += stats.hash_checks;
  counters_->space_alarms += stats.space_alarms;
  counters_->leases_expired += stats.leases_expired;
  counters_->stalls += stats.stalls;
  counters_->proposals_repeated += stats.proposals_repeated;
  counters_->watches_continued += stats.watchers_continued;
}

}  // namespace fairlead::sim
