#include "server/raft/cluster_for_test.h"

#include <algorithm>
#include <stdexcept>

namespace fairlead::raft {

namespace {

std::string str(MemberId id) { return std::to_string(id.value); }
std::string str(Index i) { return std::to_string(i.value); }
std::string str(Term t) { return std::to_string(t.value); }

std::string describe(const Entry& e) {
  std::string out = str(e.term) + "/" + str(e.index);
  if (e.type == EntryType::kEmpty) return out + " empty";
  if (e.type == EntryType::kConfig) return out + " config " + ConfigEntry::decode(e.data)->config.to_string();
  return out + " " + e.data.to_string();
}

std::string describe(const std::vector<Entries>& runs) {
  std::string out;
  for (const Entries& run : runs) {
    for (const Entry& e : run) out += (out.empty() ? "" : ", ") + describe(e);
  }
  return out;
}

}  // namespace

bool TestDisk::holds(Index index, Term term) const {
  if (index <= log_start) return true;
  return index <= last() && log[index - log_start - 1].term == term;
}

void TestDisk::cut(Index from) {
  if (from <= last()) log.resize(from - log_start - 1);
}

void TestDisk::drop_log_before_snapshot() {
  bool agrees = log_start <= checkpoint && checkpoint <= last() &&
                (checkpoint == log_start ? log_start_term : log[checkpoint - log_start - 1].term) == checkpoint_term;
  if (agrees) return;
  log.clear();
  log_start = checkpoint;
  log_start_term = checkpoint_term;
}

void TestCluster::add(MemberId id, const Configuration& config, bool needs_snapshot) {
  auto m = std::make_unique<TestMember>();
  m->needs_snapshot = needs_snapshot;
  m->id = id;
  m->disk.checkpoint_config = config;
  members_[id] = std::move(m);
  start(id);
}

void TestCluster::start(MemberId id, Bytes take_over) {
  TestMember& m = member(id);
  Options o = options;
  o.id = id;
  o.start_counter = ++m.disk.starts;
  o.seed = seed * 1000 + m.disk.starts;
  m.disk.drop_log_before_snapshot();
  Restored restored{m.disk.hard,
                    m.disk.checkpoint,
                    m.disk.checkpoint_config,
                    m.disk.log_start,
                    m.disk.log_start_term,
                    m.disk.log,
                    m.needs_snapshot && !m.disk.checkpoint,
                    std::move(take_over)};
  m.applied.resize(m.disk.checkpoint.value);
  m.applied_config = m.disk.checkpoint_config;
  m.raft = std::make_unique<Raft>(o, std::move(restored));
  check();
}

void TestCluster::crash(MemberId id) {
  TestMember& m = member(id);
  m.raft.reset();
  m.writes.clear();
  m.to_apply.clear();
  m.read_log.clear();
  m.snapshots.clear();
  m.reads.clear();
  std::optional<TestInstall> install = std::exchange(m.install, std::nullopt);
  if (install) snapshot_outcome(install->from, id, std::nullopt);
  invariants_.restarted(id);
}

std::vector<MemberId> TestCluster::ids() const {
  std::vector<MemberId> out;
  for (auto& [id, m] : members_) out.push_back(id);
  return out;
}

MemberId TestCluster::leader() const {
  const Raft* best = nullptr;
  for (auto& [id, m] : members_) {
    if (m->raft && m->raft->is_leader() && (!best || m->raft->term() > best->term())) best = m->raft.get();
  }
  return best ? best->id() : MemberId();
}

void TestCluster::check() {
  std::vector<const Raft*> up;
  for (auto& [id, m] : members_) {
    if (m->raft) up.push_back(m->raft.get());
  }
  if (std::string broken = invariants_.check(up); !broken.empty()) throw std::runtime_error(broken);
  for (const Raft* r : up) check_durable_quorum(*r);
}

// What any member believes committed is on the disks of a quorum, whoever is up.
void TestCluster::check_durable_quorum(const Raft& raft) {
  if (raft.commit() <= durable_checked_) return;
  durable_checked_ = raft.commit();
  std::optional<Term> term = raft.term_at(raft.commit());
  bool held = on_majority(raft.config(), raft.commit(), *term);
  // A configuration's entry, and what is before it, may also be held by a majority of the one before.
  if (raft.commit() <= raft.config_index()) held |= on_majority(member(raft.id()).applied_config, raft.commit(), *term);
  if (!held) throw std::runtime_error("committed without a durable quorum: " + str(raft.commit()));
}

bool TestCluster::on_majority(const Configuration& config, Index index, Term term) {
  size_t holding = 0;
  for (MemberId voter : config.voters) {
    auto at = members_.find(voter);
    holding += at != members_.end() && at->second->disk.holds(index, term);
  }
  return holding >= config.quorum();
}

void TestCluster::print_ready(MemberId id, const Ready& r) {
  std::string who = str(id) + "> ";
  if (r.soft_state) {
    std::string leader = r.soft_state->leader ? " leader " + str(r.soft_state->leader) : "";
    log(who + std::string(role_name(r.soft_state->role)) + " term " + str(r.soft_state->term) + leader);
  }
  if (r.write_seq) {
    std::string line = "write " + std::to_string(r.write_seq.value) + ":";
    if (r.log_reset) line += " reset to " + str(r.log_reset->term) + "/" + str(r.log_reset->index);
    if (r.truncate_from) line += " truncate from " + str(r.truncate_from);
    if (r.hard_state) line += " term " + str(r.hard_state->term) + " vote " + str(r.hard_state->vote);
    if (!r.to_append.empty()) line += " entries [" + describe(r.to_append) + "]";
    log(who + line);
  }
  for (const Message& m : r.messages) log(who + "send " + to_string(m));
  if (!r.committed.empty()) log(who + "commit [" + describe(r.committed) + "]");
  // Ids carry the start counter in their upper bits.
  auto low = [](uint64_t v) { return std::to_string(v & 0xFFFFFFFFFF); };
  for (const ReadReady& read : r.reads)
    log(who + "reads to " + low(read.read_id.value) + " at index " + str(read.index));
  for (const ProposeReply& p : r.forwarded) {
    log(who + "forwarded " + low(p.id.value) +
        (p.error == ProposeError::kNone ? " at " + str(p.term) + "/" + str(p.first_index)
                                        : " refused " + std::to_string(static_cast<int>(p.error))));
  }
  for (const ReadLogRequest& read : r.read_log)
    log(who + "read log " + str(read.from) + ".." + str(read.to_index) + " for " + str(read.to));
  for (const SnapshotRequest& s : r.snapshots) log(who + "snapshot wanted for " + str(s.to));
  if (r.transfer_aborted) log(who + "transfer aborted");
}

void TestCluster::write_out(TestMember& m, Ready& r) {
  if (!r.write_seq) return;
  if (r.log_reset && (r.truncate_from || !r.to_append.empty())) throw std::runtime_error("a log reset comes alone");
  TestWrite write{r.write_seq, r.log_reset, r.truncate_from, {}, r.hard_state};
  for (const Entries& run : r.to_append) write.entries.insert(write.entries.end(), run.begin(), run.end());
  m.writes.push_back(std::move(write));
}

bool TestCluster::ready(MemberId id) {
  TestMember& m = member(id);
  if (!m.raft || !m.raft->has_ready()) return false;
  Ready r = m.raft->ready();
  print_ready(id, r);
  write_out(m, r);
  for (Message& message : r.messages) {
    if (std::string broken = invariants_.said(message); !broken.empty()) throw std::runtime_error(broken);
    net_.push_back(std::move(message));
  }
  for (const Entries& run : r.committed) m.to_apply.insert(m.to_apply.end(), run.begin(), run.end());
  for (const ReadReady& read : r.reads) {
    while (!m.reads.empty() && m.reads.begin()->first <= read.read_id) {
      if (m.reads.begin()->second > read.index) throw std::runtime_error("stale read on member " + str(id));
      m.reads.erase(m.reads.begin());
    }
    m.reads_ready.push_back(read);
  }
  m.forwarded.insert(m.forwarded.end(), r.forwarded.begin(), r.forwarded.end());
  m.read_log.insert(m.read_log.end(), r.read_log.begin(), r.read_log.end());
  for (const SnapshotRequest& s : r.snapshots) m.snapshots.push_back(s.to);
  check();
  return true;
}

bool TestCluster::complete_write(MemberId id) {
  TestMember& m = member(id);
  if (m.writes.empty()) return false;
  TestWrite write = std::move(m.writes.front());
  m.writes.pop_front();
  if (write.log_reset) {
    m.disk.log.clear();
    m.disk.log_start = write.log_reset->index;
    m.disk.log_start_term = write.log_reset->term;
  }
  if (write.truncate_from) m.disk.cut(write.truncate_from);
  for (Entry& e : write.entries) {
    if (e.index != m.disk.last() + 1) throw std::runtime_error("a write leaves a hole in the log of member " + str(id));
    m.disk.log.push_back(std::move(e));
  }
  if (write.hard) m.disk.hard = *write.hard;
  log(str(id) + "> durable " + std::to_string(write.seq.value));
  m.raft->log_durable(write.seq);
  check();
  return true;
}

bool TestCluster::apply(MemberId id, size_t entries_max) {
  TestMember& m = member(id);
  if (!m.raft || m.install || m.to_apply.empty()) return false;
  for (; entries_max > 0 && !m.to_apply.empty(); --entries_max) {
    Entry e = std::move(m.to_apply.front());
    m.to_apply.pop_front();
    if (e.index.value != m.applied.size() + 1) throw std::runtime_error("applied out of order on member " + str(id));
    auto [truth, is_new] = truth_.try_emplace(e.index, e);
    if (!(truth->second == e))
      throw std::runtime_error("member " + str(id) + " applied something else at " + str(e.index));
    if (e.type == EntryType::kConfig) m.applied_config = ConfigEntry::decode(e.data)->config;
    m.applied.push_back(std::move(e));
  }
  m.raft->applied(Index(m.applied.size()));
  check();
  return true;
}

bool TestCluster::answer_read_log(MemberId id) {
  TestMember& m = member(id);
  if (!m.raft || m.read_log.empty()) return false;
  ReadLogRequest request = m.read_log.front();
  m.read_log.pop_front();
  std::vector<Entry> entries;
  size_t bytes = 0;
  for (Index i = request.from; i > m.disk.log_start && i <= m.disk.last() && i <= request.to_index; ++i) {
    const Entry& e = m.disk.log[i - m.disk.log_start - 1];
    if (!entries.empty() && bytes + e.size_bytes() > request.bytes_max) break;
    bytes += e.size_bytes();
    entries.push_back(e);
  }
  m.raft->log_entries(request.to, Entries(std::move(entries)));
  check();
  return true;
}

void TestCluster::checkpoint(MemberId id) {
  TestMember& m = member(id);
  Index index(m.applied.size());
  if (!m.raft || index <= m.disk.checkpoint || index > m.raft->durable_index()) return;
  m.disk.checkpoint = index;
  m.disk.checkpoint_term = m.applied.back().term;
  m.disk.checkpoint_config = m.applied_config;
}

void TestCluster::compact(MemberId id, Index upto) {
  TestMember& m = member(id);
  upto = std::min(upto, m.disk.checkpoint);
  if (!m.raft || upto <= m.disk.log_start || upto > m.disk.last()) return;
  m.disk.log_start_term = m.disk.log[upto - m.disk.log_start - 1].term;
  m.disk.log.erase(m.disk.log.begin(), m.disk.log.begin() + static_cast<ptrdiff_t>(upto - m.disk.log_start));
  m.disk.log_start = upto;
  m.raft->compacted(upto + 1);
  check();
}

void TestCluster::snapshot_outcome(MemberId from, MemberId to, std::optional<Index> installed) {
  if (!is_up(from)) return;
  if (installed) {
    raft(from).snapshot_sent(to, *installed);
  } else {
    log(str(from) + "> snapshot for " + str(to) + " failed");
    raft(from).snapshot_failed(to);
  }
  check();
}

bool TestCluster::send_snapshot(MemberId from_id) {
  TestMember& from = member(from_id);
  if (!from.raft || from.snapshots.empty()) return false;
  MemberId to_id = from.snapshots.front();
  from.snapshots.pop_front();
  checkpoint(from_id);
  Index index = from.disk.checkpoint;
  auto at = members_.find(to_id);
  bool reachable = at != members_.end() && at->second->raft && !is_cut(from_id, to_id);
  if (!reachable || at->second->install) {
    snapshot_outcome(from_id, to_id, std::nullopt);
    return true;
  }
  if (!at->second->raft->wants_snapshot(index)) {
    log(str(to_id) + "> needs no snapshot at " + str(index));
    snapshot_outcome(from_id, to_id, at->second->raft->commit());
    return true;
  }
  log(str(from_id) + "> snapshot to " + str(to_id) + " at " + str(index));
  at->second->install = TestInstall{from_id,
                                    index,
                                    from.disk.checkpoint_term,
                                    {from.applied.begin(), from.applied.begin() + static_cast<ptrdiff_t>(index.value)},
                                    from.disk.checkpoint_config};
  return true;
}

bool TestCluster::finish_install(MemberId to_id) {
  TestMember& to = member(to_id);
  if (!to.raft || !to.install) return false;
  TestInstall install = *std::move(to.install);
  to.install.reset();
  to.applied = std::move(install.state);
  to.applied_config = install.config;
  to.to_apply.clear();
  // The manifest is switched in one durable step; the log on disk follows with a later write, or at the next start.
  to.disk.checkpoint = install.index;
  to.disk.checkpoint_term = install.term;
  to.disk.checkpoint_config = install.config;
  to.raft->installed_snapshot(install.index, install.term, install.config);
  check();
  bool heard = !is_cut(install.from, to_id);
  snapshot_outcome(install.from, to_id, heard ? std::optional(install.index) : std::nullopt);
  return true;
}

bool TestCluster::deliver(size_t position, bool keep) {
  if (position >= net_.size()) return false;
  Message m = net_[position];
  if (!keep) net_.erase(net_.begin() + static_cast<ptrdiff_t>(position));
  auto at = members_.find(m.to);
  if (at == members_.end() || !at->second->raft || is_cut(m.from, m.to)) return true;
  at->second->raft->step(std::move(m));
  check();
  return true;
}

bool TestCluster::deliver_all(MemberId to) {
  bool any = false;
  for (size_t i = 0; i < net_.size();) {
    if (net_[i].to != to) {
      ++i;
      continue;
    }
    any = true;
    deliver(i);
  }
  return any;
}

void TestCluster::read(MemberId id) {
  Index floor = invariants_.max_committed();
  member(id).reads[raft(id).read()] = floor;
}

void TestCluster::stabilize(const std::vector<MemberId>& which) {
  constexpr int kRoundsMax = 10000;
  for (int round = 0; round < kRoundsMax; ++round) {
    bool any = false;
    for (MemberId id : which) {
      while (ready(id)) any = true;
    }
    for (MemberId id : which) {
      TestMember& m = member(id);
      while (m.raft && !m.hold_writes && complete_write(id)) any = true;
      if (!m.hold_applies) any |= apply(id);
      while (answer_read_log(id)) any = true;
      while (send_snapshot(id)) any = true;
    }
    for (MemberId id : which) any |= finish_install(id);
    for (MemberId id : which) any |= deliver_all(id);
    if (!any) return;
  }
  throw std::runtime_error("the cluster does not come to rest");
}

void TestCluster::cut(MemberId a, MemberId b) { cuts_[std::minmax(a, b)] = true; }
void TestCluster::heal() { cuts_.clear(); }
bool TestCluster::is_cut(MemberId a, MemberId b) const { return cuts_.contains(std::minmax(a, b)); }

void TestCluster::announce(MemberId a, MemberId b, bool up) {
  if (is_up(a)) raft(a).connected(b, up);
  if (is_up(b)) raft(b).connected(a, up);
}

}  // namespace fairlead::raft
