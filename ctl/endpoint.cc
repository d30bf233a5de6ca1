// What speaks to single endpoints: endpoint health, status, hashkv; defrag, move-leader, snapshot save. And alarm,
// downgrade.
#include <openssl/evp.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>

#include "ctl/go_format.h"
#include "ctl/local.h"
#include "ctl/progress.h"
#include "ctl/verbs.h"

namespace fairlead::ctl {
namespace {

using Steady = std::chrono::steady_clock;

int64_t nanos_since(Steady::time_point begin) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Steady::now() - begin).count();
}

// Those given, or with --cluster those of the members.
std::vector<std::string> endpoints_of(Context& c) {
  if (!c.on("cluster")) return client_options(c).endpoints;
  Client client = make_client(c);
  pb::MemberListRequest request;
  request.set_linearizable(true);
  pb::MemberListResponse response;
  grpc::Status status = client.call<pb::Cluster>(&pb::Cluster::Stub::MemberList, request, &response, true);
  if (!status.ok()) fail(kExitError, "failed to fetch endpoints from etcd cluster member list: " + error_text(status));
  std::vector<std::string> all;
  for (const pb::Member& m : response.members()) all.insert(all.end(), m.clienturls().begin(), m.clienturls().end());
  return all;
}

// A read through the quorum; who may not read this key has shown as much.
EndpointHealth health_of(ClientOptions options, const std::string& endpoint) {
  options.endpoints = {endpoint};
  EndpointHealth h;
  h.endpoint = endpoint;
  Client client(options);
  auto begin = Steady::now();
  pb::RangeRequest request;
  request.set_key("health");
  pb::RangeResponse response;
  grpc::Status status = client.call<pb::KV>(&pb::KV::Stub::Range, request, &response, true);
  h.took = go_duration(nanos_since(begin));
  h.health = status.ok() || is_etcd_error(status, "permission denied");
  if (!h.health) {
    h.error = error_text(status);
    return h;
  }
  pb::AlarmResponse alarms;
  status = client.call<pb::Maintenance>(&pb::Maintenance::Stub::Alarm, pb::AlarmRequest(), &alarms, true);
  if (!status.ok()) {
    h.health = false;
    h.error = "Unable to fetch the alarm list";
  } else if (alarms.alarms_size() > 0) {
    h.health = false;
    h.error = "Active Alarm(s): ";
    for (const auto& a : alarms.alarms())
      h.error += a.alarm() == pb::NOSPACE ? "NOSPACE " : a.alarm() == pb::CORRUPT ? "CORRUPT " : "UNKNOWN ";
  }
  return h;
}

void health(Context& c) {
  Printer printer(c);
  ClientOptions options = client_options(c);
  std::vector<std::string> endpoints = endpoints_of(c);
  std::vector<EndpointHealth> all(endpoints.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < endpoints.size(); ++i)
    threads.emplace_back([&, i] { all[i] = health_of(options, endpoints[i]); });
  for (std::thread& t : threads) t.join();
  printer.endpoint_health(all);
  for (const EndpointHealth& h : all)
    if (!h.error.empty()) fail(kExitError, "unhealthy cluster");
}

void status(Context& c) {
  Printer printer(c);
  std::vector<EndpointStatus> all;
  bool failed = false;
  for (const std::string& endpoint : endpoints_of(c)) {
    Client client = make_client(c, endpoint);
    EndpointStatus one{endpoint, {}};
    grpc::Status s =
        client.call<pb::Maintenance>(&pb::Maintenance::Stub::Status, pb::StatusRequest(), &one.status, true);
    if (s.ok()) {
      all.push_back(one);
    } else {
      failed = true;
      fprintf(stderr, "Failed to get the status of endpoint %s (%s)\n", endpoint.c_str(), error_text(s).c_str());
    }
  }
  printer.endpoint_status(all);
  if (failed) leave(kExitError);
}

void hashkv(Context& c) {
  Printer printer(c);
  std::vector<EndpointHash> all;
  grpc::Status last;
  for (const std::string& endpoint : endpoints_of(c)) {
    Client client = make_client(c, endpoint);
    EndpointHash one{endpoint, {}};
    pb::HashKVRequest request;
    request.set_revision(c.number("rev"));
    grpc::Status s = client.call<pb::Maintenance>(&pb::Maintenance::Stub::HashKV, request, &one.hash, true);
    if (s.ok()) {
      all.push_back(one);
    } else {
      last = s;
      fprintf(stderr, "Failed to get the hash of endpoint %s (%s)\n", endpoint.c_str(), error_text(s).c_str());
    }
  }
  printer.endpoint_hash(all);
  must(last);
}

void defrag(Context& c) {
  if (c.given("data-dir")) return defrag_directory(c);
  Printer printer(c);
  bool failed = false;
  for (const std::string& endpoint : endpoints_of(c)) {
    Client client = make_client(c, endpoint);
    auto begin = Steady::now();
    pb::DefragmentResponse response;
    grpc::Status s =
        client.call<pb::Maintenance>(&pb::Maintenance::Stub::Defragment, pb::DefragmentRequest(), &response, false);
    std::string took = go_duration(nanos_since(begin));
    if (s.ok())
      printf("Finished defragmenting etcd member[%s]. took %s\n", endpoint.c_str(), took.c_str());
    else
      fprintf(stderr, "Failed to defragment etcd member[%s]. took %s. (%s)\n", endpoint.c_str(), took.c_str(),
              error_text(s).c_str());
    failed |= !s.ok();
  }
  if (failed) leave(kExitError);
}

void move_leader(Context& c) {
  if (c.args().size() != 1) fail(kExitBadArgs, "move-leader command needs 1 argument");
  uint64_t target = 0;
  if (std::string e = go_parse_uint(c.args()[0], 16, target); !e.empty()) fail(kExitBadArgs, e);
  Printer printer(c);
  std::vector<std::string> endpoints = client_options(c).endpoints;
  for (const std::string& endpoint : endpoints) {
    Client client = make_client(c, endpoint);
    pb::StatusResponse status;
    must(client.call<pb::Maintenance>(&pb::Maintenance::Stub::Status, pb::StatusRequest(), &status, true));
    if (status.header().member_id() != status.leader()) continue;
    pb::MoveLeaderRequest request;
    request.set_targetid(target);
    pb::MoveLeaderResponse response;
    must(client.call<pb::Maintenance>(&pb::Maintenance::Stub::MoveLeader, request, &response, false));
    return printer.move_leader(status.leader(), target, response);
  }
  std::string list;
  for (const std::string& e : endpoints) list += (list.empty() ? "" : " ") + e;
  fail(kExitBadArgs, "no leader endpoint given at [" + list + "]");
}

// ---- alarms, downgrade ----------------------------------------------------------------------------------------------

void alarm(Context& c, pb::AlarmRequest::AlarmAction action, const char* verb) {
  if (!c.args().empty()) fail(kExitBadArgs, std::string("alarm ") + verb + " command accepts no arguments");
  Client client = make_client(c);
  Printer printer(c);
  pb::AlarmResponse list;
  must(client.call<pb::Maintenance>(&pb::Maintenance::Stub::Alarm, pb::AlarmRequest(), &list, true));
  if (action == pb::AlarmRequest::GET) return printer.alarm(list);
  pb::AlarmResponse disarmed;
  for (const pb::AlarmMember& a : list.alarms()) {
    pb::AlarmRequest request;
    request.set_action(action);
    request.set_memberid(a.memberid());
    request.set_alarm(a.alarm());
    pb::AlarmResponse one;
    must(client.call<pb::Maintenance>(&pb::Maintenance::Stub::Alarm, request, &one, true));
    *disarmed.mutable_header() = one.header();
    disarmed.mutable_alarms()->MergeFrom(one.alarms());
  }
  if (list.alarms_size() == 0) disarmed.clear_header();
  printer.alarm(disarmed);
}

void downgrade(Context& c, pb::DowngradeRequest::DowngradeAction action, const char* verb) {
  pb::DowngradeRequest request;
  if (action != pb::DowngradeRequest::CANCEL) {
    if (c.args().empty()) fail(kExitBadArgs, "TARGET_VERSION not provided");
    if (c.args().size() > 1) fail(kExitBadArgs, "too many arguments");
    if (c.args()[0].empty()) fail(kExitBadArgs, "target version not provided");
    request.set_version(c.args()[0]);
  }
  request.set_action(action);
  Client client = make_client(c);
  Printer printer(c);
  pb::DowngradeResponse response;
  must(client.call<pb::Maintenance>(&pb::Maintenance::Stub::Downgrade, request, &response, false));
  printer.downgrade(verb, response);
}

// ---- snapshot -------------------------------------------------------------------------------------------------------

[[noreturn]] void give_up(const std::string& part, const std::string& why) {
  unlink(part.c_str());
  fail(kExitInterrupted, why);
}

// Into <file>.part, synced and renamed when the checksum at the end of the stream fits: a file of that name is whole.
void snapshot_save(Context& c) {
  if (c.args().size() != 1) fail(kExitBadArgs, "snapshot save expects one argument <filename>");
  const std::string& path = c.args()[0];
  Client client = make_client(c);
  Printer printer(c);
  std::string part = path + ".part";
  FILE* file = fopen(part.c_str(), "wb");
  if (!file) fail(kExitInterrupted, "could not open " + part + " (open " + part + ": " + errno_text() + ")");
  auto channel = client.connected_channel();
  if (!channel) give_up(part, "context deadline exceeded");
  grpc::ClientContext context;
  client.prepare(context, c.given("command-timeout"));
  auto reader = pb::Maintenance::NewStub(channel)->Snapshot(&context, pb::SnapshotRequest());
  pb::SnapshotResponse piece;
  Progress progress;
  uint64_t bytes = 0;
  std::string version, tail;
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> sha(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(sha.get(), EVP_sha256(), nullptr);
  while (reader->Read(&piece)) {
    if (!piece.version().empty()) version = piece.version();
    if (fwrite(piece.blob().data(), 1, piece.blob().size(), file) != piece.blob().size())
      give_up(part, "write " + part + ": " + errno_text());
    // The last 32 bytes are the checksum of all before them.
    tail += piece.blob();
    if (tail.size() > 32) {
      EVP_DigestUpdate(sha.get(), tail.data(), tail.size() - 32);
      tail.erase(0, tail.size() - 32);
    }
    bytes += piece.blob().size();
    progress.show(bytes, bytes + piece.remaining_bytes());
  }
  progress.end();
  grpc::Status status = reader->Finish();
  if (!status.ok()) give_up(part, error_text(status));
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_DigestFinal_ex(sha.get(), digest, &size);
  if (bytes % 512 != 32) give_up(part, "sha256 checksum not found [bytes: " + std::to_string(bytes) + "]");
  if (tail != std::string_view(reinterpret_cast<char*>(digest), size))
    give_up(part, "the snapshot's checksum does not fit what was received; try again");
  if (fflush(file) != 0 || fsync(fileno(file)) != 0) give_up(part, "could not sync " + part + ": " + errno_text());
  fclose(file);
  if (rename(part.c_str(), path.c_str()) != 0)
    give_up(part, "could not rename " + part + " to " + path + " (" + errno_text() + ")");
  printf("Snapshot saved at %s\n", path.c_str());
  if (!version.empty()) printf("Server version %s\n", version.c_str());
}

}  // namespace

void add_endpoint_verbs(Command& root) {
  Command& endpoint =
      root.add("endpoint <subcommand>", "Endpoint related commands. Use `etcdctl endpoint --help` to see subcommands");
  endpoint.describe("Endpoint related commands");
  endpoint.global(Kind::kBool, "cluster", "false", "use all endpoints from the cluster member list");
  endpoint.add("health", "Checks the healthiness of endpoints specified in `--endpoints` flag", health);
  endpoint.add("status", "Prints out the status of endpoints specified in `--endpoints` flag", status);
  endpoint.add("hashkv", "Prints the KV history hash for each endpoint in --endpoints", hashkv)
      .flag(Kind::kInt, "rev", "0", "maximum revision to hash (default: latest revision)");
  root.add("defrag", "Defragments the storage of the etcd members with given endpoints", defrag)
      .flag(Kind::kBool, "cluster", "false", "use all endpoints from the cluster member list");
  root.add("move-leader <transferee-member-id>", "Transfers leadership to another etcd cluster member.", move_leader);
  Command& alarms =
      root.add("alarm <subcommand>", "Alarm related commands. Use `etcdctl alarm --help` to see subcommands");
  alarms.describe("Alarm related commands");
  alarms.add("disarm", "Disarms all alarms", [](Context& c) { alarm(c, pb::AlarmRequest::DEACTIVATE, "disarm"); });
  alarms.add("list", "Lists all alarms", [](Context& c) { alarm(c, pb::AlarmRequest::GET, "list"); });
  Command& down = root.add("downgrade <TARGET_VERSION>",
                           "Downgrade related commands. Use `etcdctl downgrade --help` to see subcommands");
  down.describe("Downgrade related commands");
  down.add("validate <TARGET_VERSION>", "Validate downgrade capability before starting downgrade",
           [](Context& c) { downgrade(c, pb::DowngradeRequest::VALIDATE, "validate"); });
  down.add("enable <TARGET_VERSION>", "Start a downgrade action to cluster",
           [](Context& c) { downgrade(c, pb::DowngradeRequest::ENABLE, "enable"); });
  down.add("cancel", "Cancel the ongoing downgrade action to cluster",
           [](Context& c) { downgrade(c, pb::DowngradeRequest::CANCEL, "cancel"); });
  Command& snapshot = root.add("snapshot <subcommand>", "Manages etcd node snapshots");
  snapshot.add("save <filename>", "Stores an etcd node backend snapshot to a given file", snapshot_save);
}

}  // namespace fairlead::ctl
