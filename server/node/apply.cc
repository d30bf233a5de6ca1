// Apply: committed entries in strict order. An entry that needs a value which is not in memory parks the queue while a
// worker reads it; the loop goes on.
#include <algorithm>

#include "base/failpoint.h"
#include "base/planted.h"
#include "base/text.h"
#include "server/node/entry.h"
#include "server/node/node.h"

namespace fairlead::node {
namespace {
constexpr size_t kClockEveryEntries = 64;  // reading the clock for each would cost more than some of them
}

void Node::apply_committed() {
  io::Nanos began = world_.loop->now_precise();
  apply_began_ = began;
  size_t count = 0;
  while (!apply_waits_ && !to_apply_.empty()) {
    const raft::Entries& run = to_apply_.front();
    const raft::Entry& entry = run[to_apply_offset_];
    CHECK(entry.index == applied_ + 1, "entries are applied in order, each once");
    if (!apply_entry(entry)) break;
    applied_ = entry.index;
    applied_term_ = entry.term;
    lead_leases();
    if (++to_apply_offset_ == run.size()) {
      to_apply_.pop_front();
      to_apply_offset_ = 0;
    }
    if (++count % kClockEveryEntries == 0 && world_.loop->now_precise() - began > kTurnApplyMax) {
      go_on_soon();
      break;
    }
  }
  if (count == 0) return;
  raft_->applied(applied_);
  last_apply_ = world_.loop->now();
  stats_.proposals_applied = applied_.value;
  double seconds = static_cast<double>(world_.loop->now_precise() - began) / 1e9;
  for (size_t op = 0; op < kOperationCount; ++op)
    for (bool ok : {false, true})
      if (uint64_t n = std::exchange(batch_operations_[op][ok], 0); n > 0)
        stats_.apply.observe(static_cast<Operation>(op), ok, seconds / static_cast<double>(count), n);
  if (seconds * 1e9 > static_cast<double>(config_.slow_apply)) {
    ++stats_.slow_applies;
    world_.log->warn("apply request took too long", {{"took-ms", static_cast<int64_t>(seconds * 1000)},
                                                     {"entries", count},
                                                     {"expected-duration-ms", config_.slow_apply / io::kMillisecond}});
  }
}

bool Node::apply_entry(const raft::Entry& entry) {
  if (entry.type == raft::EntryType::kEmpty) return true;
  raft::ConfigEntry config;
  if (entry.type == raft::EntryType::kConfig) {
    Result<raft::ConfigEntry> decoded = raft::ConfigEntry::decode(entry.data);
    CHECK(decoded.is_ok(), "a committed configuration is malformed");
    config = *std::move(decoded);
  }
  bool is_config = entry.type == raft::EntryType::kConfig;
  is_config ? FAILPOINT(beforeApplyOneConfChange) : FAILPOINT(beforeApplyOneEntryNormal);
  Result<Envelope> envelope = decode_envelope(is_config ? config.context.view() : entry.data.view());
  CHECK(envelope.is_ok(), "a committed entry is malformed");
  CHECK(!is_config || envelope->kind == kEntryMembers, "a configuration comes with a change of the members");
  // Changes of the members do not go through proposals: the leader checks each before it appends it.
  if (envelope->kind == kEntryMembers) {
    apply_members(*envelope, entry.index, is_config ? &config.config : nullptr);
    return true;
  }
  operation_ = operation_of(envelope->kind, envelope->payload);
  if (!applies_first(*envelope)) {
    drop_repeated(*envelope);
    return true;
  }
  if (!apply_envelope(entry, *envelope)) return false;
  requests_.note(envelope->proposer, envelope->request);
  return true;
}

// The log may hold a proposal more than once (requests.h). What a member that is gone has left behind does not count:
// what of it was applied is forgotten.
bool Node::applies_first(const Envelope& envelope) const {
  if (PLANTED(kRepeatedProposal)) return true;
  if (requests_.knows(envelope.proposer)) return requests_.fresh(envelope.proposer, envelope.request);
  return !std::binary_search(removed_.begin(), removed_.end(), envelope.proposer);
}

// Who still waits for it learns nothing more: it came too late, or its first copy came with a snapshot.
void Node::drop_repeated(const Envelope& envelope) {
  ++stats_.proposals_repeated;
  if (envelope.proposer == member_id()) fail_pending(envelope.request, err_timeout());
}

bool Node::apply_envelope(const raft::Entry& entry, const Envelope& envelope) {
  bool mine = envelope.proposer == member_id();
  switch (envelope.kind) {
    case kEntryCommand: {
      mvcc::Identity nobody;
      return apply_command(entry, &nobody, envelope.payload, envelope.request, mine);
    }
    case kEntryAs:
      return apply_as(entry, envelope.payload, envelope.request, mine);
    case kEntryAuth:
      apply_auth(entry, envelope.payload, envelope.request, mine);
      return true;
    case kEntryAlarm:
      apply_alarm(entry, envelope.payload);
      if (mine) answer(envelope.request, Status(), nullptr);
      return true;
    case kEntryAttributes:
      apply_attributes(envelope.payload);
      ++batch_operations_[operation_][true];
      if (mine) answer(envelope.request, Status(), nullptr);
      return true;
    case kEntryVersion:
      apply_version(entry, envelope.payload);
      if (mine) answer(envelope.request, Status(), nullptr);
      return true;
    case kEntryProbe:
      if (mine) answer(envelope.request, Status(), nullptr);
      return true;
    default:
      CHECK(
          false,
          "a committed entry is of a kind that this version does not know: a later version was running; go back to it");
  }
  return true;
}

bool Node::apply_command(const raft::Entry& entry, const mvcc::Identity* who, std::string_view payload,
                         uint64_t request, bool mine) {
  Result<mvcc::Command> command = mvcc::decode_command(payload);
  CHECK(command.is_ok(), "a committed command is malformed");
  operation_ = static_cast<Operation>(command->index());  // also where it stands behind a user's name
  if (Status refused = alarms_.refuses(*command); !refused.is_ok() && !keyspace_->applying()) {
    result_ = {};
    result_.status = refused;
    result_.revision = keyspace_->revision();
    ++batch_operations_[operation_][false];
    if (mine) answer(request, refused, &result_);
    return true;
  }
  if (!keyspace_->applying()) {
    bool judge = who && auth_.enabled() && !PLANTED(kRightsIgnored);
    Status judged = judge ? auth_.check(*who, *command, *keyspace_) : Status();
    if (!judged.is_ok()) {
      result_ = {};
      result_.status = judged;
      result_.revision = keyspace_->revision();
      ++batch_operations_[operation_][false];
      if (mine) answer(request, judged, &result_);
      return true;
    }
    std::vector<mvcc::Position> cold = keyspace_->needs(*command, apply_cold_);
    if (!cold.empty()) {
      fetch_for_apply(std::move(cold));
      return false;
    }
  }
  bool compacts = std::holds_alternative<mvcc::CompactRequest>(*command);
  if (compacts) FAILPOINT(compactBeforeCommitScheduledCompact);
  // A delete of very many keys goes on in the next turn; readers see the revision before until it is whole.
  if (!keyspace_->apply_some(*command, entry.index, apply_cold_, kTurnApplyKeys, result_)) {
    go_on_soon();
    return false;
  }
  if (compacts) FAILPOINT(compactAfterCommitScheduledCompact);
  if (PLANTED(kApplyTwice) && store_->identity().start_counter > 1 && entry.index == store_->state().applied + 1 &&
      apply_cold_.empty())
    keyspace_->apply(*command, entry.index, apply_cold_, result_);
  if (!apply_cold_.empty()) apply_cold_.clear();
  hub_->applied(result_);
  ++batch_operations_[operation_][result_.status.is_ok()];
  mirror_leases(*command, result_);
  if (mine) answer(request, result_.status, &result_);
  return true;
}

void Node::fetch_for_apply(std::vector<mvcc::Position> positions) {
  apply_waits_ = true;
  ++stats_.apply_parks;
  stats_.cold_reads += positions.size();
  std::vector<mvcc::Position> wanted = positions;
  store_->read(store_->pin(), std::move(positions),
               [this, wanted = std::move(wanted), alive = alive_,
                generation = generation_](Result<storage::Store::Records> records) {
                 if (!*alive || generation != generation_) return;
                 // Damage: this member cannot go on applying; it must be replaced.
                 if (!records.is_ok()) return fatal(records.status());
                 for (size_t i = 0; i < wanted.size(); ++i)
                   if (Status s = apply_cold_.add(wanted[i], std::move((*records)[i])); !s.is_ok()) return fatal(s);
                 if (!installing_) apply_waits_ = false;
                 go_on_soon();
               });
}

// A member says who it is. Replicated, so that every other one can tell it from an impostor with an empty disk.
void Node::apply_attributes(std::string_view payload) {
  Result<Member> member = decode_member(payload);
  CHECK(member.is_ok(), "a committed member record is malformed");
  auto it = members_.find(member->id);
  if (it == members_.end()) return;  // removed meanwhile
  it->second.name = member->name;
  it->second.client_urls = member->client_urls;
  it->second.store = member->store;
  it->second.start_counter = member->start_counter;
  world_.log->info(
      "published a member's attributes",
      {{"member-id", hex(member->id.value)}, {"name", member->name}, {"start-counter", member->start_counter}});
  if (member->id == member_id()) note_published();
}

// The leader's clock beside the replicated leases.
void Node::mirror_leases(const mvcc::Command& command, const mvcc::ApplyResult& result) {
  if (!result.status.is_ok()) {
    // A revoke of a lease that is gone already: nothing to keep time for.
    if (const auto* revoke = std::get_if<mvcc::LeaseRevokeRequest>(&command)) lease_clock_.revoked(revoke->id);
    return;
  }
  if (const auto* grant = std::get_if<mvcc::LeaseGrantRequest>(&command)) {
    lease_clock_.granted(grant->id, grant->ttl, now_ms());
    ++stats_.leases_granted;
    stats_.lease_ttl.observe(static_cast<double>(grant->ttl));
  } else if (const auto* revoke = std::get_if<mvcc::LeaseRevokeRequest>(&command)) {
    lease_clock_.revoked(revoke->id);
    ++stats_.leases_revoked;
  } else if (const auto* checkpoint = std::get_if<mvcc::LeaseCheckpointRequest>(&command)) {
    for (const auto& item : checkpoint->items) lease_clock_.checkpointed(item.id, item.remaining_ttl, now_ms());
  }
}

}  // namespace fairlead::node
