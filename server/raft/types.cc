#include "server/raft/types.h"

#include <algorithm>

#include "base/check.h"
#include "base/codec.h"

namespace fairlead::raft {

Entries Entries::slice(size_t offset, size_t count) const {
  CHECK(offset <= count_ && count <= count_ - offset, "slice within the run");
  Entries out;
  if (count == 0) return out;
  out.offset_ = offset_ + static_cast<uint32_t>(offset);
  out.count_ = static_cast<uint32_t>(count);
  out.block_ = block_;
  return out;
}

size_t Entries::size_bytes() const {
  size_t sum = 0;
  for (const Entry& e : *this) sum += e.size_bytes();
  return sum;
}

bool Configuration::is_voter(MemberId id) const { return std::binary_search(voters.begin(), voters.end(), id); }
bool Configuration::is_learner(MemberId id) const { return std::binary_search(learners.begin(), learners.end(), id); }

std::string Configuration::to_string() const {
  std::string out = "voters";
  for (MemberId id : voters) out += " " + std::to_string(id.value);
  if (!learners.empty()) out += " learners";
  for (MemberId id : learners) out += " " + std::to_string(id.value);
  return out;
}

namespace {

constexpr uint64_t kConfigurationFormat = 1;
constexpr size_t kMembersMax = 1024;  // far above sense; bounds what a damaged length can make us allocate

void put_ids(std::string& out, const std::vector<MemberId>& ids) {
  put_varint(out, ids.size());
  for (MemberId id : ids) put_fixed(out, id.value);
}

bool get_ids(Reader& in, std::vector<MemberId>& ids) {
  uint64_t n = in.varint();
  if (n > kMembersMax) return false;
  for (uint64_t i = 0; i < n && in.ok(); ++i) ids.push_back(MemberId(in.fixed<uint64_t>()));
  return in.ok() && std::is_sorted(ids.begin(), ids.end()) && std::adjacent_find(ids.begin(), ids.end()) == ids.end();
}

bool get_configuration(Reader& in, Configuration& config) {
  if (in.varint() != kConfigurationFormat) return false;
  if (!get_ids(in, config.voters) || !get_ids(in, config.learners)) return false;
  for (MemberId id : config.learners) {
    if (config.is_voter(id)) return false;
  }
  return true;
}

}  // namespace

void Configuration::encode(std::string& out) const {
  put_varint(out, kConfigurationFormat);
  put_ids(out, voters);
  put_ids(out, learners);
}

Result<Configuration> Configuration::decode(std::string_view in) {
  Reader reader(in);
  Configuration config;
  if (!get_configuration(reader, config) || !reader.at_end()) return data_loss("raft: malformed configuration");
  return config;
}

Bytes ConfigEntry::encode() const {
  std::string body;
  config.encode(body);
  std::string out;
  put_lengthed(out, body);
  out.append(context.view());
  return Bytes::take(std::move(out));
}

Result<ConfigEntry> ConfigEntry::decode(const Bytes& data) {
  Reader reader(data.view());
  std::string_view body = reader.lengthed();
  if (!reader.ok()) return data_loss("raft: malformed configuration entry");
  ConfigEntry out;
  ASSIGN_OR_RETURN(out.config, Configuration::decode(body));
  out.context = data.slice(data.size() - reader.remaining(), reader.remaining());
  return out;
}

std::string_view role_name(Role role) {
  switch (role) {
    case Role::kFollower:
      return "follower";
    case Role::kPreCandidate:
      return "pre-candidate";
    case Role::kCandidate:
      return "candidate";
    case Role::kLeader:
      return "leader";
  }
  return "?";
}

namespace {

std::string str(Index i) { return std::to_string(i.value); }
std::string str(Term t) { return std::to_string(t.value); }
std::string pair(Term t, Index i) { return str(t) + "/" + str(i); }
std::string read_suffix(ReadId id) { return id ? " read " + std::to_string(id.value) : ""; }

struct Printer {
  std::string operator()(const Append& m) const {
    std::string out = "Append prev " + pair(m.prev_term, m.prev_index) + " commit " + str(m.commit);
    out += read_suffix(m.read_id);
    if (m.entries.empty()) return out;
    out += " entries [";
    for (const Entry& e : m.entries) {
      if (&e != m.entries.begin()) out += ' ';
      out += pair(e.term, e.index);
      if (e.type == EntryType::kConfig) out += " config";
    }
    return out + "]";
  }
  std::string operator()(const AppendReply& m) const {
    std::string out = "AppendReply ";
    if (m.needs_snapshot) out += "needs-snapshot ";
    if (m.rejected) {
      out += "rejected " + str(m.index) + " hint " + pair(m.hint_term, m.hint_index);
    } else {
      out += "index " + str(m.index);
    }
    if (m.lost) out += " lost";
    return out + read_suffix(m.read_id);
  }
  std::string operator()(const Heartbeat& m) const {
    return "Heartbeat commit " + str(m.commit) + read_suffix(m.read_id) + (m.reply_wanted ? "" : " no-reply");
  }
  std::string operator()(const HeartbeatReply& m) const { return "HeartbeatReply" + read_suffix(m.read_id); }
  std::string operator()(const Vote& m) const {
    return std::string(m.pre ? "PreVote" : "Vote") + " last " + pair(m.last_term, m.last_index) +
           (m.transfer ? " transfer" : "");
  }
  std::string operator()(const VoteReply& m) const {
    return std::string(m.pre ? "PreVoteReply" : "VoteReply") + (m.granted ? " granted" : " rejected");
  }
  std::string operator()(const TimeoutNow&) const { return "TimeoutNow"; }
  std::string operator()(const Propose& m) const {
    return "Propose " + std::to_string(m.id.value) + " of " + std::to_string(m.data.size());
  }
  std::string operator()(const ProposeReply& m) const {
    std::string out = "ProposeReply " + std::to_string(m.id.value);
    if (m.error != ProposeError::kNone) return out + " error " + std::to_string(static_cast<int>(m.error));
    return out + " at " + pair(m.term, m.first_index);
  }
  std::string operator()(const ReadIndex& m) const { return "ReadIndex" + read_suffix(m.read_id); }
  std::string operator()(const ReadIndexReply& m) const {
    return "ReadIndexReply" + read_suffix(m.read_id) + " index " + str(m.index);
  }
};

}  // namespace

std::string to_string(const Message& message) {
  return std::to_string(message.from.value) + "->" + std::to_string(message.to.value) + " term " + str(message.term) +
         " " + std::visit(Printer{}, message.body);
}

}  // namespace fairlead::raft
