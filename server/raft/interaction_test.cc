// Runs the scripts in testdata/: commands to a small cluster, and everything its cores then do, line by line.
//
//   interaction_test             compares; a difference fails
//   interaction_test --rewrite   writes what happens now into the scripts, for review with git diff
//
// A script is lines: "# comment", "> command", and below a command its output. "> quietly COMMAND" leaves the output
// out. What a member hands out is printed as "ID> ...". Commands (A, B, ID are members; lists may be empty for "all"):
//
//   options NAME=VALUE...    election, heartbeat, message-bytes, inflight, uncommitted-bytes, apply-bytes,
//   memory-bytes;
//                            for members made afterwards
//   members N                voters 1..N, fresh            join ID          a fresh member that knows no configuration
//   newcomer ID              the same, and it takes nothing before a snapshot
//   tick ID [N]              timeout ID                    ticks until it campaigns
//   expire ID...             ticks till it counts on no leader any more; what it sends meanwhile is dropped
//   ready ID                 settle [ID...]                goes on until nothing is left to do
//   deliver ID [A]           all messages to it [from A]   deliver-reversed ID, deliver-twice ID
//   drop ID [A]              drops messages to it [from A]
//   hold ID, write ID, release ID        its log writes: hold back, complete the oldest, go on by themselves
//   hold-apply ID, release-apply ID
//   propose ID TEXT...       one batch                     forward ID TEXT...
//   read ID                  transfer A B                  stalled ID
//   add-voter A ID, add-learner A ID, promote A ID, remove A ID
//   cut A B, isolate A, heal                               the network; link A B, unlink A B: what the transports
//   take-over ID                         starts it: it goes on alone, for good
//   report crash ID, start ID       checkpoint ID                 compact ID INDEX rewind ID INDEX          (down) its
//   disk goes back in time: log cut behind INDEX status [ID...]           progress A                    log ID
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "server/raft/cluster_for_test.h"

namespace fairlead::raft {
namespace {

bool rewrite = false;

using Words = std::vector<std::string>;

Words split(const std::string& line) {
  std::istringstream in(line);
  Words out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

std::string str(uint64_t v) { return std::to_string(v); }

class Script {
 public:
  Script() {
    cluster_.options.election_ticks = 5;
    cluster_.options.heartbeat_ticks = 1;
    cluster_.log = [this](const std::string& line) { out_.push_back(line); };
  }

  Words run(const std::string& line) {
    out_.clear();
    Words words = split(line);
    bool quietly = words.front() == "quietly";
    if (quietly) words.erase(words.begin());
    try {
      if (!run_setup(words) && !run_time(words) && !run_input(words) && !run_world(words) && !run_looking(words)) {
        out_.push_back("no such command");
      }
    } catch (const std::exception& broken) {
      out_.push_back(std::string("BROKEN: ") + broken.what());
      ADD_FAILURE() << line << ": " << broken.what();
      quietly = false;
    }
    if (quietly) out_.clear();
    return out_;
  }

 private:
  static MemberId id(const Words& w, size_t i) { return MemberId(std::stoull(w.at(i))); }
  Raft& raft(const Words& w) { return cluster_.raft(id(w, 1)); }
  std::vector<MemberId> list(const Words& w) {
    std::vector<MemberId> out;
    for (size_t i = 1; i < w.size(); ++i) out.push_back(id(w, i));
    return out.empty() ? cluster_.ids() : out;
  }
  static std::vector<Bytes> texts(const Words& w) {
    std::vector<Bytes> out;
    for (size_t i = 2; i < w.size(); ++i) out.push_back(Bytes::copy(w[i]));
    return out;
  }
  void say(const std::string& line) { out_.push_back(line); }
  void say(const Status& status) {
    if (!status.is_ok()) say("refused: " + std::string(status.message()));
  }

  bool run_setup(const Words& w) {
    if (w[0] == "options") {
      for (size_t i = 1; i < w.size(); ++i) option(w[i]);
    } else if (w[0] == "members") {
      Configuration config;
      for (uint64_t i = 1; i <= id(w, 1).value; ++i) config.voters.push_back(MemberId(i));
      for (MemberId voter : config.voters) cluster_.add(voter, config);
    } else if (w[0] == "join") {
      cluster_.add(id(w, 1), Configuration{});
    } else if (w[0] == "newcomer") {
      cluster_.add(id(w, 1), Configuration{}, true);
    } else {
      return false;
    }
    return true;
  }

  void option(const std::string& text) {
    size_t equals = text.find('=');
    std::string name = text.substr(0, equals);
    uint64_t value = std::stoull(text.substr(equals + 1));
    Options& o = cluster_.options;
    if (name == "election")
      o.election_ticks = static_cast<uint32_t>(value);
    else if (name == "heartbeat")
      o.heartbeat_ticks = static_cast<uint32_t>(value);
    else if (name == "message-bytes")
      o.message_bytes_max = value;
    else if (name == "inflight")
      o.inflight_messages_max = value;
    else if (name == "uncommitted-bytes")
      o.uncommitted_bytes_max = value;
    else if (name == "apply-bytes")
      o.apply_bytes_max = value;
    else if (name == "memory-bytes")
      o.memory_bytes_max = value;
    else
      say("no such option: " + name);
  }

  bool run_time(const Words& w) {
    if (w[0] == "tick") {
      for (uint64_t n = w.size() > 2 ? std::stoull(w[2]) : 1; n > 0; --n) {
        raft(w).tick();
        while (cluster_.ready(id(w, 1))) {
        }
      }
    } else if (w[0] == "timeout") {
      Raft& r = raft(w);
      do r.tick();
      while (r.role() != Role::kPreCandidate || !r.has_ready());
      while (cluster_.ready(id(w, 1))) {
      }
    } else if (w[0] == "expire") {
      for (MemberId member : list(w)) expire(member);
    } else if (w[0] == "ready") {
      cluster_.ready(id(w, 1));
    } else if (w[0] == "settle") {
      cluster_.stabilize(list(w));
    } else if (w[0] == "stalled") {
      raft(w).stalled();
    } else {
      return false;
    }
    return true;
  }

  void expire(MemberId member) {
    for (uint32_t n = 0; n < cluster_.options.election_ticks; ++n) cluster_.raft(member).tick();
    while (cluster_.ready(member)) {
    }
    std::erase_if(cluster_.net(), [&](const Message& m) { return m.from == member; });
    out_.clear();
  }

  bool run_input(const Words& w) {
    if (w[0] == "propose") {
      Proposed p = raft(w).propose(texts(w));
      if (!p.ok()) say("refused: " + str(static_cast<uint64_t>(p.error)));
    } else if (w[0] == "forward") {
      say(raft(w).forward(texts(w)).status());
    } else if (w[0] == "read") {
      cluster_.read(id(w, 1));
    } else if (w[0] == "transfer") {
      say(raft(w).transfer_leader(id(w, 2)));
    } else if (w[0] == "add-voter" || w[0] == "add-learner" || w[0] == "promote" || w[0] == "remove") {
      say(raft(w).propose_config(changed(raft(w).config(), w[0], id(w, 2)), Bytes()).status());
    } else {
      return false;
    }
    cluster_.check();
    return true;
  }

  static Configuration changed(Configuration config, const std::string& how, MemberId member) {
    std::erase(config.voters, member);
    std::erase(config.learners, member);
    auto insert = [&](std::vector<MemberId>& ids) {
      ids.insert(std::upper_bound(ids.begin(), ids.end(), member), member);
    };
    if (how == "add-voter" || how == "promote") insert(config.voters);
    if (how == "add-learner") insert(config.learners);
    return config;
  }

  bool run_world(const Words& w) {
    MemberId a = w.size() > 1 ? id(w, 1) : MemberId();
    MemberId b = w.size() > 2 ? id(w, 2) : MemberId();
    if (w[0] == "deliver")
      deliver(a, b, false, false);
    else if (w[0] == "deliver-reversed")
      deliver(a, b, true, false);
    else if (w[0] == "deliver-twice")
      deliver(a, b, false, true);
    else if (w[0] == "drop")
      std::erase_if(cluster_.net(), [&](const Message& m) { return m.to == a && (!b || m.from == b); });
    else if (w[0] == "hold")
      cluster_.member(a).hold_writes = true;
    else if (w[0] == "release")
      cluster_.member(a).hold_writes = false;
    else if (w[0] == "write")
      cluster_.complete_write(a);
    else if (w[0] == "hold-apply")
      cluster_.member(a).hold_applies = true;
    else if (w[0] == "release-apply")
      cluster_.member(a).hold_applies = false;
    else if (w[0] == "cut")
      cluster_.cut(a, b);
    else if (w[0] == "isolate")
      for (MemberId other : cluster_.ids()) other != a ? cluster_.cut(a, other) : void();
    else if (w[0] == "heal")
      cluster_.heal();
    else if (w[0] == "link")
      cluster_.announce(a, b, true);
    else if (w[0] == "unlink")
      cluster_.announce(a, b, false);
    else if (w[0] == "crash")
      cluster_.crash(a);
    else if (w[0] == "start")
      cluster_.start(a);
    else if (w[0] == "take-over")
      cluster_.start(a, Bytes::literal("alone"));
    else if (w[0] == "checkpoint")
      cluster_.checkpoint(a);
    else if (w[0] == "compact")
      cluster_.compact(a, Index(b.value));
    else if (w[0] == "rewind")
      rewind(a, b.value);
    else
      return false;
    return true;
  }

  void rewind(MemberId member, uint64_t last) {
    cluster_.member(member).disk.cut(Index(last + 1));
    cluster_.invariants().disk_replaced(member);
  }

  void deliver(MemberId to, MemberId from, bool reversed, bool twice) {
    std::vector<Message> messages;
    std::erase_if(cluster_.net(), [&](const Message& m) {
      bool wanted = m.to == to && (!from || m.from == from);
      if (wanted) messages.push_back(m);
      return wanted;
    });
    if (reversed) std::reverse(messages.begin(), messages.end());
    for (const Message& m : messages) {
      for (int n = twice ? 2 : 1; n > 0; --n) {
        if (cluster_.is_up(to) && !cluster_.is_cut(m.from, to)) raft_at(to).step(m);
        cluster_.check();
      }
    }
  }
  Raft& raft_at(MemberId member) { return cluster_.raft(member); }

  bool run_looking(const Words& w) {
    if (w[0] == "status") {
      for (MemberId member : list(w)) status(member);
    } else if (w[0] == "progress") {
      for (const MemberProgress& p : raft(w).progress()) {
        say(str(p.id.value) + ": " + std::string(progress_state_name(p.state)) + " match " + str(p.match.value) +
            " next " + str(p.next.value) + (p.learner ? " learner" : "") + (p.active ? "" : " inactive") +
            (p.lost ? " lost" : ""));
      }
    } else if (w[0] == "log") {
      std::string line;
      for (Index i = raft(w).first_index(); i <= raft(w).last_index(); ++i) {
        line += (line.empty() ? "" : " ") + str(raft(w).term_at(i)->value) + "/" + str(i.value);
      }
      say(line);
    } else {
      return false;
    }
    return true;
  }

  void status(MemberId member) {
    if (!cluster_.is_up(member)) return say(str(member.value) + ": down");
    const Raft& r = raft_at(member);
    say(str(member.value) + ": " + std::string(role_name(r.role())) + " term " + str(r.term().value) + " leader " +
        str(r.leader().value) + " last " + str(r.last_index().value) + " durable " + str(r.durable_index().value) +
        " commit " + str(r.commit().value) + " applied " + str(r.applied_index().value) + " (" +
        r.config().to_string() + ")");
  }

  TestCluster cluster_;
  Words out_;
};

class Interaction : public testing::TestWithParam<std::string> {};

TEST_P(Interaction, Script) {
  std::filesystem::path path = std::filesystem::path("server/raft/testdata") / (GetParam() + ".txt");
  std::ifstream file(path);
  ASSERT_TRUE(file) << "run in the root of the source tree";
  std::vector<std::string> expected, actual;
  for (std::string line; std::getline(file, line);) expected.push_back(line);
  Script script;
  for (const std::string& line : expected) {
    bool kept = line.empty() || line[0] == '#';
    if (kept) actual.push_back(line);
    if (line.rfind("> ", 0) != 0) continue;
    actual.push_back(line);
    for (std::string& out : script.run(line.substr(2))) actual.push_back(std::move(out));
  }
  if (rewrite) {
    std::ofstream out(path);
    for (const std::string& line : actual) out << line << '\n';
    return;
  }
  for (size_t i = 0; i < std::max(expected.size(), actual.size()); ++i) {
    std::string want = i < expected.size() ? expected[i] : "(end)";
    std::string got = i < actual.size() ? actual[i] : "(end)";
    ASSERT_EQ(want, got) << path.string() << ":" << i + 1
                         << " (if the new behaviour is right: raft_interaction_test --rewrite)";
  }
}

std::vector<std::string> scripts() {
  std::vector<std::string> out;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("server/raft/testdata", none)) {
    if (entry.path().extension() == ".txt") out.push_back(entry.path().stem().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

INSTANTIATE_TEST_SUITE_P(Testdata, Interaction, testing::ValuesIn(scripts()),
                         [](const auto& script) { return script.param; });

TEST(InteractionScripts, AreThere) { EXPECT_GE(scripts().size(), 25u); }

}  // namespace
}  // namespace fairlead::raft

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) fairlead::raft::rewrite |= std::string_view(argv[i]) == "--rewrite";
  return RUN_ALL_TESTS();
}
