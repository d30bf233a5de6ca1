#include "server/raft/invariants.h"

#include <algorithm>

namespace fairlead::raft {

namespace {

std::string at(MemberId member, const std::string& what) {
  return "member " + std::to_string(member.value) + ": " + what;
}
std::string str(Index index) { return std::to_string(index.value); }

}  // namespace

std::string Invariants::check(const std::vector<const Raft*>& members) {
  for (const Raft* m : members) {
    if (std::string broken = check_alone(*m); !broken.empty()) return broken;
  }
  for (const Raft* m : members) {
    if (std::string broken = check_commits(*m); !broken.empty()) return broken;
  }
  for (const Raft* m : members) {
    if (!m->is_leader()) continue;
    if (std::string broken = check_leader(*m); !broken.empty()) return broken;
  }
  for (size_t i = 0; i < members.size(); ++i) {
    for (size_t j = i + 1; j < members.size(); ++j) {
      if (std::string broken = check_matching(*members[i], *members[j]); !broken.empty()) return broken;
    }
  }
  return "";
}

std::string Invariants::said(const Message& m) {
  auto* reply = std::get_if<VoteReply>(&m.body);
  auto* request = std::get_if<Vote>(&m.body);
  MemberId candidate;
  if (reply && !reply->pre && reply->granted) candidate = m.to;
  if (request && !request->pre) candidate = m.from;
  if (!candidate) return "";
  auto [told, is_new] = votes_.try_emplace({m.from, m.term}, candidate);
  if (told->second != candidate) return at(m.from, "voted twice in term " + std::to_string(m.term.value));
  return "";
}

std::string Invariants::check_alone(const Raft& m) {
  if (m.applied_index() > m.commit()) return at(m.id(), "applied more than is committed");
  if (m.commit() > m.last_index()) return at(m.id(), "committed more than the log holds");
  if (m.durable_index() > m.last_index()) return at(m.id(), "more durable than the log holds");
  if (!seen_.contains(m.id())) {
    if (std::string broken = check_memory(m); !broken.empty()) return broken;
  }
  durable_[m.id()] = {m.durable_hard_state(), m.durable_index(), m.term_at(m.durable_index()).value_or(Term()),
                      m.applied_index()};
  Seen& seen = seen_[m.id()];
  if (m.term() < seen.term) return at(m.id(), "term went backwards");
  if (m.commit() < seen.commit) return at(m.id(), "commit index went backwards");
  if (m.applied_index() < seen.applied) return at(m.id(), "applied index went backwards");
  seen = {m.term(), m.commit(), m.applied_index()};
  return "";
}

// A start finds all that the life before counted as durable.
std::string Invariants::check_memory(const Raft& m) {
  auto known = durable_.find(m.id());
  if (known == durable_.end()) return "";
  const Durable& before = known->second;
  if (m.term() < before.hard.term) return at(m.id(), "forgot term " + std::to_string(before.hard.term.value));
  bool same_term = m.term() == before.hard.term;
  if (same_term && m.vote() != before.hard.vote) {
    if (before.hard.vote) return at(m.id(), "forgot its vote of term " + std::to_string(m.term().value));
  }
  // An installed snapshot takes the place of a log, from the moment that the disk names it.
  bool behind_snapshot = m.last_index() < m.first_index() && m.applied_index() > before.applied;
  if (before.last < m.first_index() || behind_snapshot) return "";
  if (m.term_at(before.last) != before.last_term) return at(m.id(), "forgot the durable entry " + str(before.last));
  return "";
}

std::string Invariants::check_commits(const Raft& m) {
  // Walks down from the commit index to what is known already: amortised, each entry is compared once per member.
  for (Index i = m.commit(); i > Index() && i >= m.first_index(); i = i - 1) {
    Term term = *m.term_at(i);
    auto [known, is_new] = committed_.try_emplace(i, term);
    if (known->second != term) return at(m.id(), "committed another entry at " + str(i) + " than was committed before");
    if (!is_new && m.commit() - i >= 64) break;
  }
  return "";
}

std::string Invariants::check_leader(const Raft& leader) {
  auto [first, is_new] = leaders_.try_emplace(leader.term(), leader.id());
  if (first->second != leader.id()) {
    return at(leader.id(), "leads term " + std::to_string(leader.term().value) + ", which member " +
                               std::to_string(first->second.value) + " has led");
  }
  for (auto entry = committed_.rbegin(); entry != committed_.rend(); ++entry) {
    auto [index, term] = *entry;
    if (term > leader.term() || index < leader.first_index()) continue;  // committed by a later leader; compacted
    if (leader.term_at(index) != term) return at(leader.id(), "leads without the committed entry " + str(index));
    if (!is_new && index + 64 < max_committed()) break;  // older ones were compared when it came to lead
  }
  return "";
}

std::string Invariants::check_matching(const Raft& a, const Raft& b) {
  Index low = std::max(a.first_index(), b.first_index());
  bool agree = false;
  Index top = std::min(a.last_index(), b.last_index());
  if (top > low + 256) low = top - 256;
  for (Index i = top; i >= low && i > Index(); i = i - 1) {
    bool same = a.term_at(i) == b.term_at(i);
    if (agree && !same)
      return at(a.id(),
                "log and that of " + std::to_string(b.id().value) + " differ below an equal entry, at " + str(i));
    agree = agree || same;
  }
  return "";
}

}  // namespace fairlead::raft
