// The words of the consensus core: entries, configurations, messages. Values only; server/peer gives messages their
// bytes on the wire, server/storage gives entries and hard states theirs on disk.
//
// Section numbers in this folder refer to Diego Ongaro's thesis "Consensus: Bridging Theory and Practice" (2014).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"

namespace fairlead::raft {

// One submitted log write. Rises by one per Ready that has something to write; 0 = none.
using WriteSeq = StrongId<struct WriteSeqTag, uint64_t>;
// A proposal that a follower sent to the leader. Never used twice by one member, restarts included: the start counter
// is in its upper bits.
using ForwardId = StrongId<struct ForwardIdTag, uint64_t>;

enum class EntryType : uint8_t {
  kNormal = 0,  // data is the shell's
  kConfig = 1,  // data is a ConfigEntry
  kEmpty = 2,   // a new leader's first entry: commits what earlier terms left (3.6.2); no data
};

struct Entry {
  Term term;
  Index index;
  EntryType type = EntryType::kNormal;
  Bytes data;

  // What an entry counts against the limits in bytes.
  size_t size_bytes() const { return data.size() + kEntryOverheadBytes; }
  static constexpr size_t kEntryOverheadBytes = 32;
  bool operator==(const Entry&) const = default;
};

// A run of consecutive entries: immutable, reference-counted, sliced without copying. The same run is shared by the
// in-memory log, the log write, the messages to all followers and apply, whatever its length.
class Entries {
 public:
  Entries() = default;
  explicit Entries(std::vector<Entry> entries)
      : count_(static_cast<uint32_t>(entries.size())),
        block_(std::make_shared<const std::vector<Entry>>(std::move(entries))) {}

  size_t size() const { return count_; }
  bool empty() const { return count_ == 0; }
  const Entry* begin() const { return count_ == 0 ? nullptr : block_->data() + offset_; }
  const Entry* end() const { return begin() + count_; }
  const Entry& operator[](size_t i) const { return begin()[i]; }
  const Entry& front() const { return *begin(); }
  const Entry& back() const { return begin()[count_ - 1]; }

  // [offset, offset + count), which must lie within this run.
  Entries slice(size_t offset, size_t count) const;
  // True if both are the same part of the same block: equal without looking at the contents (a key for caches of
  // encodings; never an order).
  bool same_block(const Entries& o) const { return block_ == o.block_ && offset_ == o.offset_ && count_ == o.count_; }
  size_t size_bytes() const;  // sum of size_bytes(): walks the run

 private:
  uint32_t offset_ = 0;
  uint32_t count_ = 0;
  std::shared_ptr<const std::vector<Entry>> block_;
};

// What must be durable before a vote or an acknowledgement of this term leaves (3.8). The commit index is not part of
// it: it is learnt anew from the leader.
struct HardState {
  Term term;
  MemberId vote;  // 0 = none given in this term
  bool operator==(const HardState&) const = default;
};

// Who counts. Both lists are sorted and disjoint, and there is at least one voter in any configuration in use.
struct Configuration {
  std::vector<MemberId> voters;
  std::vector<MemberId> learners;

  bool is_voter(MemberId id) const;
  bool is_learner(MemberId id) const;
  bool contains(MemberId id) const { return is_voter(id) || is_learner(id); }
  size_t quorum() const { return voters.size() / 2 + 1; }
  std::string to_string() const;  // "voters 1 2 3 learners 4"
  bool operator==(const Configuration&) const = default;

  void encode(std::string& out) const;
  static Result<Configuration> decode(std::string_view in);
};

// The data of an entry of type kConfig: the whole new configuration, and what the shell wants to apply with it (the new
// member's addresses, a tombstone, ...), which the core does not read.
struct ConfigEntry {
  Configuration config;
  Bytes context;

  Bytes encode() const;
  static Result<ConfigEntry> decode(const Bytes& data);
};

// --- messages
// ----------------------------------------------------------------------------------------------------------
//
// Any message may be lost, repeated, delayed or reordered. A repeated Propose is appended again, and its second copy
// may be refused when the first was taken: the shell's apply has to know its entries again. Message::term is the
// sender's term, except for a pre-vote and a granted pre-vote reply, where it is the term that the candidate would
// campaign in.

// Leader to follower: entries after (prev_index, prev_term). Also a probe when entries is empty.
struct Append {
  Index prev_index{};
  Term prev_term{};
  Index commit{};    // the leader's; the follower takes at most what this message proves to match
  Index match{};     // what the leader knows this follower acknowledged (see AppendReply::lost)
  ReadId read_id{};  // the leader's newest read barrier
  Entries entries{};
};

// index: if accepted, the log matches the leader's up to here and is durable. If rejected, the prev_index refused;
// (hint_index, hint_term) is then the follower's last entry that can still agree with the leader's log (fast reject).
// needs_snapshot: rejected by a member that joined with nothing: what it holds is no prefix of this cluster's history
// (entries before its first snapshot change a state that it never had), however far back the log reaches.
// lost: the follower once acknowledged more than it holds (Append::match), so its disk went back in time: what it says
// counts for nothing until it holds again what it acknowledged; index is only good for flow control.
struct AppendReply {
  Index index{};
  bool rejected = false;
  bool lost = false;
  Index hint_index{};
  Term hint_term{};
  ReadId read_id{};  // highest barrier of this term seen
  bool needs_snapshot = false;
};

// Leader to follower, without log check: so commit never exceeds what the follower is known to match. A reply is wanted
// on the leader's heartbeat ticks and for read barriers, not for a mere commit notice.
struct Heartbeat {
  Index commit{};
  Index match{};
  ReadId read_id{};
  bool reply_wanted = false;
};
struct HeartbeatReply {
  ReadId read_id{};  // highest barrier of this term seen
};

// Candidate to voter. pre: asks whether a vote would be given, and changes nothing (9.6).
struct Vote {
  bool pre = false;
  bool transfer = false;  // the leader asked for this election: stickiness does not apply
  Index last_index{};
  Term last_term{};
};
struct VoteReply {
  bool pre = false;
  bool granted = false;
};

// Leader to its successor: campaign at once (3.10).
struct TimeoutNow {};

// Follower to leader: propose these for me. The core of the leader appends them as one batch; a shell that wants to
// check them first (quota, time stamps) takes the message before step() and answers itself.
struct Propose {
  ForwardId id{};
  std::vector<Bytes> data{};
};
enum class ProposeError : uint8_t {
  kNone = 0,
  kNotLeader = 1,       // the receiver does not lead
  kTransferring = 2,    // leadership is being handed over
  kTooMuchPending = 3,  // the limit of uncommitted bytes is reached: slow down
};
// Accepted: the entries of this copy are at first_index.. of this term. They happened if an entry of that term is
// applied there, they never will if another term's is. Nothing is promised until then.
struct ProposeReply {
  ForwardId id{};
  ProposeError error = ProposeError::kNone;
  Term term{};
  Index first_index{};
};

// Follower to leader: up to which index must I have applied to serve all my reads up to read_id? The numbering is the
// follower's; as with ForwardId, no number is ever used twice by one member.
struct ReadIndex {
  ReadId read_id{};
};
struct ReadIndexReply {
  ReadId read_id{};
  Index index{};
};

struct Message {
  MemberId from;
  MemberId to;
  Term term;
  std::variant<Append, AppendReply, Heartbeat, HeartbeatReply, Vote, VoteReply, TimeoutNow, Propose, ProposeReply,
               ReadIndex, ReadIndexReply>
      body;

  template <typename T>
  bool is() const {
    return std::holds_alternative<T>(body);
  }
};
// One line, as the interaction tests print it: "1->2 Append term 3 prev 5/2 commit 4 entries [3/6 3/7]".
std::string to_string(const Message& message);

// --- state as seen from outside
// -------------------------------------------------------------------------------------------

enum class Role : uint8_t { kFollower, kPreCandidate, kCandidate, kLeader };
std::string_view role_name(Role role);

struct SoftState {
  Role role = Role::kFollower;
  MemberId leader;  // 0 = none known
  Term term;
  bool operator==(const SoftState&) const = default;
};

}  // namespace fairlead::raft
