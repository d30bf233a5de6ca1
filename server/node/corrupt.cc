// Members compare their data: the leader asks the others for HashKV at one revision. Hashes are compared only at equal
// compact revision. Protocol: etcd's three checks (start, every --corrupt-check-time, after compactions); a member
// whose hash differs from that of a majority gets the alarm CORRUPT, and if there is none, member 0 does: the cluster.
#include <algorithm>

#include "base/codec.h"
#include "base/text.h"
#include "server/node/node.h"

namespace fairlead::node {
namespace {

constexpr io::Nanos kHashTimeout = 600 * io::kSecond;  // a large store is hashed for a while

std::string encode_hash(const HashReply& reply) {
  std::string out;
  put_fixed(out, reply.kv.hash);
  put_fixed(out, reply.kv.compact_revision);
  put_fixed(out, reply.kv.hash_revision);
  put_fixed(out, reply.revision);
  return out;
}

bool decode_hash(std::string_view in, HashReply& out) {
  Reader r(in);
  out.kv.hash = r.fixed<uint32_t>();
  out.kv.compact_revision = r.fixed<int64_t>();
  out.kv.hash_revision = r.fixed<int64_t>();
  out.revision = r.fixed<int64_t>();
  return r.ok() && r.at_end();
}

}  // namespace

// ---- asking

void Node::answer_hash_call(MemberId from, uint8_t kind, uint64_t call, std::string_view payload) {
  Reader in(payload);
  auto revision = in.fixed<int64_t>();
  if (!in.ok()) return;
  hash_kv(revision, [this, from, kind, call, alive = alive_](const Status& status, const HashReply& reply) {
    if (*alive) answer_app(from, kind, call, status, status.is_ok() ? encode_hash(reply) : std::string());
  });
}

void Node::ask_hashes(int64_t revision, PeerHashesDone done) {
  auto all = std::make_shared<std::vector<PeerHash>>();
  auto left = std::make_shared<size_t>(1);  // one for this call itself
  auto finish = [all, left, done = std::move(done)] {
    if (--*left == 0) done(*all);
  };
  std::string payload;
  put_fixed(payload, revision);
  for (const auto& [id, member] : members_) {
    if (id == member_id() || member.is_learner) continue;
    ++*left;
    size_t at = all->size();
    all->push_back({id, unavailable("no answer"), {}});
    call_member(id, kAppHashKv, payload, kHashTimeout, [all, at, finish](const Status& status, std::string_view reply) {
      PeerHash& p = (*all)[at];
      p.status = status;
      if (status.is_ok() && !decode_hash(reply, p.reply)) p.status = internal_error("a malformed answer");
      finish();
    });
  }
  world_.loop->post(finish);
}

// ---- judging

void Node::judge_hashes(const storage::HashKv& own, const std::vector<PeerHash>& peers) {
  std::map<uint32_t, std::vector<MemberId>> groups;
  groups[own.hash].push_back(member_id());
  size_t members = 1;
  for (const PeerHash& p : peers) {
    ++members;
    if (p.status.is_ok() && p.reply.kv.compact_revision == own.compact_revision)
      groups[p.reply.kv.hash].push_back(p.id);
  }
  if (groups.size() == 1) return;
  ++stats_.hash_mismatches;
  auto quorum =
      std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.second.size() >= members / 2 + 1; });
  for (const auto& [hash, ids] : groups)
    for (MemberId id : ids)
      world_.log->error("members hold different data", {{"member-id", hex(id.value)},
                                                        {"name", name_of(id)},
                                                        {"hash", hash},
                                                        {"revision", own.hash_revision},
                                                        {"compact-revision", own.compact_revision}});
  if (quorum == groups.end()) return raise_corrupt(MemberId());
  for (const auto& [hash, ids] : groups)
    if (hash != quorum->first)
      for (MemberId id : ids) raise_corrupt(id);
}

void Node::raise_corrupt(MemberId member) {
  Alarm one{member, AlarmType::kCorrupt};
  if (!alarms_.all().contains(one)) alarm(AlarmAction::kActivate, one, [](const Status&, const std::vector<Alarm>&) {});
}

// ---- when

void Node::start_hash_checks() {
  check_later(corrupt_timer_, config_.corrupt_check_interval, &Node::periodic_hash_check);
  if (config_.compact_hash_check)
    check_later(compact_hash_timer_, config_.compact_hash_check_interval, &Node::compact_hash_check);
}

// One check at a time of each kind; the pause begins when it is over.
void Node::check_later(io::TimerId& timer, io::Nanos interval, void (Node::*check)(std::function<void()>)) {
  if (interval <= 0 || stopping_) return;
  timer = world_.loop->add_timer(world_.loop->now() + interval, [this, &timer, interval, check] {
    timer = 0;
    (this->*check)([this, &timer, interval, check, alive = alive_] {
      if (*alive) check_later(timer, interval, check);
    });
  });
}

// At the leader's newest revision: a follower that has not got there yet waits for a later check.
void Node::periodic_hash_check(std::function<void()> over) {
  if (!raft_->is_leader()) return over();
  hash_kv(0, [this, over, alive = alive_](const Status& status, const HashReply& own) {
    if (!*alive) return;
    if (!status.is_ok()) return over();
    ask_hashes(own.kv.hash_revision, [this, over, own, alive](const std::vector<PeerHash>& peers) {
      if (!*alive) return;
      ++stats_.hash_checks;
      judge_hashes(own.kv, peers);
      judge_compactions(peers, over);
    });
  });
}

// What a leader has not got, nobody may have. A leader may have in its log what it has not applied yet, and others have
// applied (it was just elected, or its turn is a long one): it judges behind a barrier, once it has applied all that
// anybody had when they answered.
void Node::judge_compactions(std::vector<PeerHash> peers, std::function<void()> over) {
  barrier([this, peers = std::move(peers), over = std::move(over), alive = alive_](const Status& status) {
    if (!*alive) return;
    for (const PeerHash& p : peers)
      if (status.is_ok() && p.status.is_ok() && raft_->is_leader() &&
          p.reply.kv.compact_revision > keyspace_->compact_revision())
        raise_corrupt(p.id);
    over();
  });
}

// At the compact revision: every member has it, and at it nothing depends on how far anybody is.
void Node::compact_hash_check(std::function<void()> over) {
  int64_t revision = keyspace_->compact_revision();
  if (!raft_->is_leader() || revision <= 0 || revision == compact_hash_checked_) return over();
  hash_kv(revision, [this, over, revision, alive = alive_](const Status& status, const HashReply& own) {
    if (!*alive) return;
    if (!status.is_ok()) return over();
    ask_hashes(revision, [this, over, revision, own, alive](const std::vector<PeerHash>& peers) {
      if (!*alive) return;
      ++stats_.hash_checks;
      bool all = std::all_of(peers.begin(), peers.end(), [&](const PeerHash& p) {
        return p.status.is_ok() && p.reply.kv.compact_revision == own.kv.compact_revision;
      });
      if (all) compact_hash_checked_ = revision;
      judge_hashes(own.kv, peers);
      over();
    });
  });
}

// ---- at a start (gate InitialCorruptCheck): before clients are let in

void Node::initial_hash_check(io::Nanos deadline) {
  size_t connected = 0, peers = 0;
  for (const auto& [id, peer] : transport_->stats()) {
    ++peers;
    connected += peer.connected;
  }
  if (connected < peers && world_.loop->now() < deadline) {
    world_.loop->add_timer(world_.loop->now() + config_.heartbeat_interval, [this, deadline, alive = alive_] {
      if (*alive && !stopping_) initial_hash_check(deadline);
    });
    return;
  }
  hash_kv(0, [this, alive = alive_](const Status& status, const HashReply& own) {
    if (!*alive || stopping_) return;
    if (!status.is_ok()) return fatal(status);
    ask_hashes(own.kv.hash_revision, [this, own, alive](const std::vector<PeerHash>& all) {
      if (!*alive || stopping_) return;
      size_t compared = 0;
      for (const PeerHash& p : all) {
        if (!p.status.is_ok() || p.reply.kv.compact_revision != own.kv.compact_revision) continue;
        ++compared;
        if (p.reply.kv.hash == own.kv.hash) continue;
        return fatal(data_loss("found data inconsistency with peers: at revision " +
                               std::to_string(own.kv.hash_revision) +
                               " the data of this member differs from that of "
                               "member " +
                               std::to_string(p.id.value) + ": remove the damaged one and add it again"));
      }
      world_.log->info("initial corruption checking passed", {{"peers-compared", compared}});
      publish();
    });
  });
}

}  // namespace fairlead::node
