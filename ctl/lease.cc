// lease grant, revoke, timetolive, list, keep-alive.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "ctl/go_format.h"
#include "ctl/verbs.h"

namespace fairlead::ctl {
namespace {

void grant(Context& c) {
  if (c.args().size() != 1) fail(kExitBadArgs, "lease grant command needs TTL argument");
  int64_t ttl = 0;
  if (std::string e = go_parse_int(c.args()[0], 10, ttl); !e.empty()) fail(kExitBadArgs, "bad TTL (" + e + ")");
  Client client = make_client(c);
  Printer printer(c);
  pb::LeaseGrantRequest request;
  request.set_ttl(ttl);
  pb::LeaseGrantResponse response;
  must(client.call<pb::Lease>(&pb::Lease::Stub::LeaseGrant, request, &response, false), kExitError,
       "failed to grant lease");
  printer.grant(response);
}

void revoke(Context& c) {
  if (c.args().size() != 1) fail(kExitBadArgs, "lease revoke command needs 1 argument");
  int64_t id = lease_id(c.args()[0]);
  Client client = make_client(c);
  Printer printer(c);
  pb::LeaseRevokeRequest request;
  request.set_id(id);
  pb::LeaseRevokeResponse response;
  must(client.call<pb::Lease>(&pb::Lease::Stub::LeaseRevoke, request, &response, false), kExitError,
       "failed to revoke lease");
  printer.revoke(id, response);
}

void time_to_live(Context& c) {
  if (c.args().size() != 1) fail(kExitBadArgs, "lease timetolive command needs lease ID as argument");
  Client client = make_client(c);
  Printer printer(c);
  pb::LeaseTimeToLiveRequest request;
  request.set_id(lease_id(c.args()[0]));
  request.set_keys(c.on("keys"));
  pb::LeaseTimeToLiveResponse response;
  must(client.call<pb::Lease>(&pb::Lease::Stub::LeaseTimeToLive, request, &response, true, false), kExitBadConnection);
  printer.time_to_live(response, c.on("keys"));
}

void list(Context& c) {
  Client client = make_client(c);
  Printer printer(c);
  pb::LeaseLeasesResponse response;
  must(client.call<pb::Lease>(&pb::Lease::Stub::LeaseLeases, pb::LeaseLeasesRequest(), &response, true, false),
       kExitBadConnection);
  printer.leases(response);
}

using Steady = std::chrono::steady_clock;

// One renewal. A broken connection is tried again until it has been answered or `until` is reached, when the lease may
// be over; then the status is DEADLINE_EXCEEDED.
grpc::Status renew(Client& client, int64_t id, Steady::time_point until, pb::LeaseKeepAliveResponse* response) {
  while (true) {
    auto left = until - Steady::now();
    if (left <= Steady::duration::zero()) return {grpc::StatusCode::DEADLINE_EXCEEDED, "context deadline exceeded"};
    auto channel = client.connected_channel(left);
    if (!channel) continue;
    grpc::ClientContext context;
    client.prepare(context, false, true);
    if (until != Steady::time_point::max())
      context.set_deadline(std::chrono::system_clock::now() + (until - Steady::now()));
    auto stream = pb::Lease::NewStub(channel)->LeaseKeepAlive(&context);
    pb::LeaseKeepAliveRequest request;
    request.set_id(id);
    bool answered = stream->Write(request) && stream->Read(response);
    stream->WritesDone();
    if (answered) return grpc::Status::OK;
    grpc::Status status = stream->Finish();
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return status;
    usleep(500'000);
  }
}

void keep_alive(Context& c) {
  if (c.args().size() != 1) fail(kExitBadArgs, "lease keep-alive command needs lease ID as argument");
  int64_t id = lease_id(c.args()[0]);
  Client client = make_client(c);
  Printer printer(c);
  const bool once = c.on("once");
  // Until the first answer nobody knows how much is left: etcdctl's limit.
  auto until =
      once ? Steady::time_point::max()
           : Steady::now() + std::chrono::nanoseconds(client.options().dial_timeout_nanos) + std::chrono::seconds(1);
  while (true) {
    pb::LeaseKeepAliveResponse response;
    grpc::Status status = renew(client, id, until, &response);
    if (!once && Steady::now() >= until) break;
    must(status, kExitBadConnection);
    if (response.ttl() <= 0) {
      if (once) fail(kExitBadConnection, "etcdserver: requested lease not found");
      break;
    }
    printer.keep_alive(response);
    if (once) return;
    until = Steady::now() + std::chrono::seconds(response.ttl());
    usleep(static_cast<useconds_t>(std::max<int64_t>(response.ttl() * 1'000'000 / 3, 500'000)));
  }
  if (printer.simple()) printf("lease %s expired or revoked.\n", go_hex16(static_cast<uint64_t>(id)).c_str());
}

}  // namespace

Session::Session(Client& client, int64_t ttl_seconds) : client_(client), ttl_(ttl_seconds) {
  pb::LeaseGrantRequest request;
  request.set_ttl(ttl_seconds);
  pb::LeaseGrantResponse response;
  must(client.call<pb::Lease>(&pb::Lease::Stub::LeaseGrant, request, &response, false, false));
  lease_ = response.id();
  ttl_ = response.ttl();
  thread_ = std::thread([this] { keep_alive(); });
}

Session::~Session() {
  over_ = true;
  thread_.join();
}

// The claim is given up when the lease may be over by now: somebody else may have it then.
void Session::keep_alive() {
  auto until = Steady::now() + std::chrono::seconds(ttl_);
  auto next = Steady::now() + std::chrono::seconds(ttl_) / 3;
  while (!over_) {
    if (Steady::now() < next) {
      usleep(50'000);
      continue;
    }
    pb::LeaseKeepAliveResponse response;
    auto asked = Steady::now();
    if (!renew(client_, lease_, until, &response).ok() || response.ttl() <= 0) {
      expired_ = true;
      return;
    }
    until = asked + std::chrono::seconds(response.ttl());
    next = asked + std::chrono::seconds(response.ttl()) / 3;
  }
}

void add_lease_verbs(Command& root) {
  Command& lease =
      root.add("lease <subcommand>", "Lease related commands. Use `etcdctl lease --help` to see subcommands");
  lease.describe("Lease related commands");
  lease.add("grant <ttl>", "Creates leases", grant);
  lease.add("revoke <leaseID>", "Revokes leases", revoke);
  lease.add("timetolive <leaseID> [options]", "Get lease information", time_to_live)
      .flag(Kind::kBool, "keys", "false", "Get keys attached to this lease");
  lease.add("list", "List all active leases", list);
  lease.add("keep-alive [options] <leaseID>", "Keeps leases alive (renew)", keep_alive)
      .flag(Kind::kBool, "once", "false", "Resets the keep-alive time to its original value and exits immediately");
}

}  // namespace fairlead::ctl
