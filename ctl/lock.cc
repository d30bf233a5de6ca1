// lock and elect, on the services of the server.
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "ctl/go_format.h"
#include "ctl/verbs.h"
#include "proto/election.grpc.pb.h"
#include "proto/lock.grpc.pb.h"

extern char** environ;

namespace fairlead::ctl {
namespace {

constexpr int64_t kTtlSeconds = 60;  // of an election's session, and where a lock's --ttl is none

volatile sig_atomic_t interrupted = 0;

void catch_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

// Runs a call without a deadline that a signal cancels.
template <typename F>
grpc::Status interruptible(Client& client, F&& run) {
  grpc::ClientContext context;
  client.prepare(context, false);
  std::atomic<bool> over{false};
  std::thread watcher([&] {
    while (!over) {
      if (interrupted) return context.TryCancel();
      usleep(20'000);
    }
  });
  grpc::Status status = run(&context);
  over = true;
  watcher.join();
  return status;
}

pb::RangeResponse get_key(Client& client, const std::string& key) {
  pb::RangeRequest request;
  request.set_key(key);
  pb::RangeResponse response;
  must(client.call<pb::KV>(&pb::KV::Stub::Range, request, &response, true));
  return response;
}

constexpr int kNotFound = -1;

// The exit code of the command, or kNotFound.
int run_command(const std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (const std::string& w : words) argv.push_back(const_cast<char*>(w.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  if (posix_spawnp(&pid, argv[0], nullptr, nullptr, argv.data(), environ) != 0) return kNotFound;
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) kill(pid, SIGTERM);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void unlock(Client& client, const std::string& key) {
  v3lockpb::UnlockRequest request;
  request.set_key(key);
  v3lockpb::UnlockResponse response;
  must(client.call<v3lockpb::Lock>(&v3lockpb::Lock::Stub::Unlock, request, &response, false, false));
}

void lock(Context& c) {
  if (c.args().empty()) fail(kExitBadArgs, "lock takes a lock name argument and an optional command to execute");
  Client client = make_client(c);
  Printer printer(c);
  catch_signals();
  int64_t ttl = c.number("ttl");
  if (ttl <= 0) {
    fprintf(stderr, "--ttl %lld is no time: %lld seconds are taken\n", static_cast<long long>(ttl),
            static_cast<long long>(kTtlSeconds));
    ttl = kTtlSeconds;
  }
  Session session(client, ttl);
  v3lockpb::LockRequest request;
  request.set_name(c.args()[0]);
  request.set_lease(session.lease());
  v3lockpb::LockResponse response;
  auto channel = client.connected_channel();
  if (!channel) fail(kExitError, "context deadline exceeded");
  grpc::Status status = interruptible(client, [&](grpc::ClientContext* context) {
    return v3lockpb::Lock::NewStub(channel)->Lock(context, request, &response);
  });
  if (interrupted && !status.ok()) fail(kExitError, "context canceled");
  must(status);
  if (c.args().size() > 1) {
    setenv("ETCD_LOCK_KEY", response.key().c_str(), 1);
    setenv("ETCD_LOCK_REV", std::to_string(response.header().revision()).c_str(), 1);
    int code = run_command({c.args().begin() + 1, c.args().end()});
    unlock(client, response.key());
    if (code == kNotFound) fail(kExitError, "exec: " + go_quote(c.args()[1]) + ": executable file not found in $PATH");
    if (code != 0) fail(code, "exit status " + std::to_string(code));
    return;
  }
  pb::RangeResponse key = get_key(client, response.key());
  if (key.kvs_size() == 0) fail(kExitError, "lock lost on init");
  printer.get(key);
  flush_output();
  while (!interrupted && !session.expired()) usleep(20'000);
  if (!interrupted) fail(kExitError, "session expired");
  unlock(client, response.key());
}

void observe(Client& client, Printer& printer, const std::string& name) {
  v3electionpb::LeaderRequest request;
  request.set_name(name);
  auto channel = client.connected_channel();
  if (!channel) fail(kExitError, "context deadline exceeded");
  grpc::Status status = interruptible(client, [&](grpc::ClientContext* context) {
    auto stub = v3electionpb::Election::NewStub(channel);
    auto reader = stub->Observe(context, request);
    v3electionpb::LeaderResponse leader;
    while (reader->Read(&leader)) {
      pb::RangeResponse shown;
      *shown.mutable_header() = leader.header();
      *shown.add_kvs() = leader.kv();
      printer.get(shown);
      flush_output();
    }
    return reader->Finish();
  });
  if (!interrupted) fail(kExitError, status.ok() ? "elect: observer lost" : error_text(status));
}

void campaign(Client& client, Printer& printer, const std::string& name, const std::string& proposal) {
  Session session(client, kTtlSeconds);
  v3electionpb::CampaignRequest request;
  request.set_name(name);
  request.set_lease(session.lease());
  request.set_value(proposal);
  v3electionpb::CampaignResponse response;
  auto channel = client.connected_channel();
  if (!channel) fail(kExitError, "context deadline exceeded");
  grpc::Status status = interruptible(client, [&](grpc::ClientContext* context) {
    return v3electionpb::Election::NewStub(channel)->Campaign(context, request, &response);
  });
  if (interrupted && !status.ok()) fail(kExitError, "context canceled");
  must(status);
  printer.get(get_key(client, response.leader().key()));
  flush_output();
  while (!interrupted && !session.expired()) usleep(20'000);
  if (!interrupted) fail(kExitError, "elect: session expired");
  v3electionpb::ResignRequest resign;
  *resign.mutable_leader() = response.leader();
  v3electionpb::ResignResponse resigned;
  must(client.call<v3electionpb::Election>(&v3electionpb::Election::Stub::Resign, resign, &resigned, false, false));
}

void elect(Context& c) {
  if (c.args().size() != 1 && c.args().size() != 2)
    fail(kExitBadArgs, "elect takes one election name argument and an optional proposal argument");
  bool listen = c.on("listen");
  if (c.args().size() == 1 && !listen) fail(kExitBadArgs, "no proposal argument but -l not set");
  if (c.args().size() == 2 && listen) fail(kExitBadArgs, "proposal given but -l is set");
  Client client = make_client(c);
  Printer printer(c);
  catch_signals();
  if (listen) return observe(client, printer, c.args()[0]);
  campaign(client, printer, c.args()[0], c.args()[1]);
}

}  // namespace

void add_lock_verbs(Command& root) {
  root.add("lock <lockname> [exec-command arg1 arg2 ...]", "Acquires a named lock", lock)
      .flag(Kind::kInt, "ttl", "10", "timeout for session");
  root.add("elect <election-name> [proposal]", "Observes and participates in leader election", elect)
      .flag(Kind::kBool, "listen", "false", "observation mode", 'l');
}

}  // namespace fairlead::ctl
