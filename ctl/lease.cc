// lease grant, revoke, timetolive, list, keep-alive.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "ctl/go_format.h"
#include "ctl/verbs.h"

namespace fairlead::ctl {
namespace {

void grant(Context& c) {
  if (c.args().size() != 1) fail(kExitBadArgs, "lease grant command needs TTL argument");
  const std::string& text = c.args()[0];
  int64_t ttl = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), ttl);
  if (error != std::errc() || end != text.data() + text.size())
    fail(kExitBadArgs, "bad TTL (" + parse_int_error(text) + ")");
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

// One renewal. A broken connection is tried again until it has been answered.
grpc::Status renew(Client& client, int64_t id, pb::LeaseKeepAliveResponse* response) {
  while (true) {
    auto channel = client.connected_channel();
    if (!channel) continue;
    grpc::ClientContext context;
    client.prepare(context, false, true);
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
  while (true) {
    pb::LeaseKeepAliveResponse response;
    must(renew(client, id, &response), kExitBadConnection);
    if (response.ttl() <= 0) {
      if (c.on("once")) fail(kExitBadConnection, "etcdserver: requested lease not found");
      break;
    }
    printer.keep_alive(response);
    if (c.on("once")) return;
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
  thread_ = std::thread([this] { keep_alive(); });
}

Session::~Session() {
  over_ = true;
  thread_.join();
}

void Session::keep_alive() {
  int64_t ttl = ttl_;
  while (!over_) {
    for (int64_t slept = 0; slept < ttl * 1000 / 3 && !over_; slept += 50) usleep(50'000);
    if (over_) return;
    pb::LeaseKeepAliveResponse response;
    if (!renew(client_, lease_, &response).ok() || response.ttl() <= 0) {
      expired_ = true;
      return;
    }
    ttl = response.ttl();
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
