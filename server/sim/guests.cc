#include "server/sim/guests.h"

#include <algorithm>
#include <cstdio>

namespace fairlead::sim {

using io::kMillisecond;
using io::kSecond;
using io::sim::End;
using Kind = node::MemberChange::Kind;

Guests::Guests(Cluster* cluster, Counters* counters, bool invited)
    : cluster_(cluster), counters_(counters), prng_(cluster->prng().fork(71)), invited_(invited) {
  cluster_->on_received = [this](const node::Node& by, const raft::Message& message) {
    const std::vector<MemberId>& removed = by.removed_members();
    if (std::binary_search(removed.begin(), removed.end(), message.from))
      on_wrong("a removed member still speaks: " + raft::to_string(message));
  };
}

void Guests::say(const std::string& what) const {
  cluster_->world().scheduler().mix(what);
  if (trace) std::fprintf(stderr, "%.6f guests: %s\n", static_cast<double>(cluster_->now()) / 1e9, what.c_str());
}

void Guests::start() {
  if (invited_) plan_next();
}

void Guests::plan_next() {
  io::Nanos pause = calm_ ? kSecond : prng_.between(300, 3000) * kMillisecond;
  cluster_->world().scheduler().after(pause, nullptr, "guests", [this] {
    for (size_t g = 0; g < kGuests; ++g) act(kMembers + g);
    if (!calm_ || !all_gone()) plan_next();
  });
}

void Guests::calm() { calm_ = true; }

// The founder that knows most.
node::Node* Guests::best_founder() {
  node::Node* best = nullptr;
  for (size_t m = 0; m < kMembers; ++m) {
    node::Node* node = cluster_->node(m);
    if (node != nullptr && (best == nullptr || node->applied() > best->applied())) best = node;
  }
  return best;
}

bool Guests::all_gone() {
  for (size_t m = 0; m < kMembers; ++m)
    if (cluster_->node(m) == nullptr || cluster_->node(m)->members_to_come().size() != kMembers) return false;
  return std::none_of(guests_.begin(), guests_.end(), [](const Guest& g) { return g.asking; });
}

// What became of a change whose answer did not come.
void Guests::look(size_t machine) {
  Guest& guest = guests_[machine - kMembers];
  node::Node* host = best_founder();
  if (host == nullptr) return;
  MemberId found;
  for (const auto& [id, member] : host->members())
    // A founder that is behind still has members that are gone for good.
    if (member.peer_urls == std::vector<std::string>{Cluster::peer_url(machine)} && !gone_.contains(id)) found = id;
  bool removed = guest.id.value != 0 &&
                 std::binary_search(host->removed_members().begin(), host->removed_members().end(), guest.id);
  if (removed && found != guest.id) clear(machine);
  if (found.value != 0) guest.id = found;
}

void Guests::clear(size_t machine) {
  Guest& guest = guests_[machine - kMembers];
  ++counters_->guests_removed;
  say(Cluster::name(machine) + " is no member any more");
  cluster_->end(machine, End::kKill);
  cluster_->world().disk(cluster_->host(machine)).wipe();
  cluster_->world().disk(cluster_->host(machine)).make_durable_dir("/vol");
  gone_.insert(guest.id);
  guest.id = MemberId();
  guest.joined = false;
  ++guest.generation;
}

void Guests::invite(size_t machine, const node::Node& host) {
  Guest& guest = guests_[machine - kMembers];
  node::Config::Join join;
  join.cluster = host.cluster_id();
  join.member = guest.id;
  join.members = host.members_to_come();
  if (!join.members.contains(guest.id)) return;  // this one does not know it yet
  // The page does not tell what tells members apart.
  for (auto& [id, member] : join.members) member.store = StoreId();
  say(Cluster::name(machine) + " joins");
  guest.joined = true;
  cluster_->start_guest(machine, std::move(join));
}

void Guests::act(size_t machine) {
  Guest& guest = guests_[machine - kMembers];
  if (guest.asking) return;
  look(machine);
  node::Node* host = best_founder();
  if (host == nullptr) return;
  node::MemberChange c;
  if (guest.id.value == 0) {
    if (calm_) return;
    c.peer_urls = {Cluster::peer_url(machine)};
    c.is_learner = prng_.chance(0.6);
    return change(machine, c);
  }
  if (!guest.joined && !calm_) return invite(machine, *host);
  if (guest.joined && !cluster_->running(machine)) cluster_->start(machine);
  c.id = guest.id;
  auto member = host->members().find(guest.id);
  bool learner = member != host->members().end() && member->second.is_learner;
  if (calm_ || prng_.chance(0.15)) {
    // Without it there may be no quorum to remove it.
    if (calm_ && !guest.joined) invite(machine, *host);
    c.kind = Kind::kRemove;
    return change(machine, c);
  }
  if (learner && prng_.chance(0.5)) {
    c.kind = Kind::kPromote;
    return change(machine, c);
  }
  if (prng_.chance(0.2) && cluster_->running(machine)) {
    bool power = prng_.chance(0.5);
    say((power ? "power cut " : "kill ") + Cluster::name(machine));
    cluster_->end(machine, power ? End::kPowerCut : End::kKill);
  }
}

void Guests::change(size_t machine, node::MemberChange change) {
  Guest& guest = guests_[machine - kMembers];
  size_t by = prng_.below(kMembers);
  if (cluster_->node(by) == nullptr) return;
  constexpr std::array<const char*, 5> kNames = {"?", "add", "remove", "update", "promote"};
  say(std::string(kNames[static_cast<size_t>(change.kind)]) + " " + Cluster::name(machine) + " by " +
      Cluster::name(by));
  guest.asking = true;
  uint64_t generation = ++guest.generation;
  auto over = [this, machine, generation] {
    Guest& g = guests_[machine - kMembers];
    if (g.generation == generation) g.asking = false;
  };
  cluster_->in_turn(by, [this, machine, change, over](node::Node& node) {
    io::Nanos deadline = cluster_->io_now(node) + 4 * kSecond;
    node.change_members(change, deadline, [this, machine, over](const Status& status, const node::MemberChange* done) {
      over();
      if (!status.is_ok()) {
        ++counters_->changes_refused;
        return say("refused: " + std::string(status.message()));
      }
      Guest& g = guests_[machine - kMembers];
      if (done->kind == Kind::kAdd) ++counters_->guests_added, g.id = done->id;
      if (done->kind == Kind::kPromote) ++counters_->guests_promoted;
    });
  });
  // The member that was asked may end before it answers.
  cluster_->world().scheduler().after(5 * kSecond, nullptr, "guests.over", over);
}

void Guests::ended(size_t machine) {
  if (trace) say(Cluster::name(machine) + " ended");
}

// A guest gives up when it is told that it was removed, or when its disk fails.
void Guests::gave_up(const Cluster::GaveUp& g) {
  bool expected = g.why.message().find("removed") != std::string_view::npos;
  if (!expected) on_wrong(Cluster::name(g.member) + " gave up: " + g.why.to_string());
}

}  // namespace fairlead::sim
