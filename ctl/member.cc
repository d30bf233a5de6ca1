// member add, remove, update, list, promote.
#include <cstdio>

#include "ctl/address.h"
#include "ctl/go_format.h"
#include "ctl/verbs.h"

namespace fairlead::ctl {
namespace {

// As they were given; the program ends where one is none.
std::vector<std::string> checked(std::vector<std::string> urls) {
  peer_urls(urls);
  return urls;
}

uint64_t member_id(Context& c) {
  if (c.args().size() != 1) fail(kExitBadArgs, "member ID is not provided");
  uint64_t id = 0;
  if (std::string e = go_parse_uint(c.args()[0], 16, id); !e.empty())
    fail(kExitBadArgs, "bad member ID arg (" + e + "), expecting ID in Hex");
  return id;
}

// The member that was added has no name yet in the answer.
void print_start_settings(const pb::MemberAddResponse& r, const std::string& name, const std::string& urls) {
  std::string cluster;
  for (const pb::Member& m : r.members())
    for (const std::string& url : m.peerurls())
      cluster += (cluster.empty() ? "" : ",") + (m.id() == r.member().id() ? name : m.name()) + "=" + url;
  printf(
      "\nETCD_NAME=%s\nETCD_INITIAL_CLUSTER=%s\nETCD_INITIAL_ADVERTISE_PEER_URLS=%s\nETCD_INITIAL_CLUSTER_STATE="
      "\"existing\"\n",
      go_quote(name).c_str(), go_quote(cluster).c_str(), go_quote(urls).c_str());
}

void add(Context& c) {
  if (c.args().empty()) fail(kExitBadArgs, "member name not provided");
  if (c.args().size() > 1) {
    std::string text = "too many arguments";
    for (const std::string& arg : c.args())
      if (arg.starts_with("http") || arg.starts_with("HTTP")) text += ", did you mean --peer-urls=" + arg;
    fail(kExitBadArgs, text);
  }
  std::string urls = c.text("peer-urls");
  if (urls.empty()) fail(kExitBadArgs, "member peer urls not provided");
  pb::MemberAddRequest request;
  for (const std::string& url : checked(split(urls, ','))) request.add_peerurls(url);
  request.set_islearner(c.on("learner"));
  Client client = make_client(c);
  Printer printer(c);
  pb::MemberAddResponse response;
  must(client.call<pb::Cluster>(&pb::Cluster::Stub::MemberAdd, request, &response, false));
  printer.member_add(response);
  if (printer.simple()) print_start_settings(response, c.args()[0], urls);
}

void remove(Context& c) {
  pb::MemberRemoveRequest request;
  request.set_id(member_id(c));
  Client client = make_client(c);
  Printer printer(c);
  pb::MemberRemoveResponse response;
  must(client.call<pb::Cluster>(&pb::Cluster::Stub::MemberRemove, request, &response, false));
  printer.member_remove(request.id(), response);
}

void update(Context& c) {
  pb::MemberUpdateRequest request;
  request.set_id(member_id(c));
  std::string urls = c.text("peer-urls");
  if (urls.empty()) fail(kExitBadArgs, "member peer urls not provided");
  for (const std::string& url : checked(split(urls, ','))) request.add_peerurls(url);
  Client client = make_client(c);
  Printer printer(c);
  pb::MemberUpdateResponse response;
  must(client.call<pb::Cluster>(&pb::Cluster::Stub::MemberUpdate, request, &response, false));
  printer.member_update(request.id(), response);
}

void list(Context& c) {
  std::string consistency = c.text("consistency");
  // etcdctl's text ends with its `get` flag's value; the flag's name is what helps.
  if (consistency != "l" && consistency != "s") fail(kExitBadFeature, "unknown consistency flag " + go_quote("l"));
  pb::MemberListRequest request;
  request.set_linearizable(consistency == "l");
  Client client = make_client(c);
  Printer printer(c);
  pb::MemberListResponse response;
  must(client.call<pb::Cluster>(&pb::Cluster::Stub::MemberList, request, &response, true));
  printer.member_list(response);
}

void promote(Context& c) {
  pb::MemberPromoteRequest request;
  request.set_id(member_id(c));
  Client client = make_client(c);
  Printer printer(c);
  pb::MemberPromoteResponse response;
  must(client.call<pb::Cluster>(&pb::Cluster::Stub::MemberPromote, request, &response, false));
  printer.member_promote(request.id(), response);
}

}  // namespace

void add_member_verbs(Command& root) {
  Command& member =
      root.add("member <subcommand>", "Membership related commands. Use `etcdctl member --help` to see subcommands");
  member.describe("Membership related commands");
  member.add("add <memberName> [options]", "Adds a member into the cluster", add)
      .flag(Kind::kString, "peer-urls", "", "comma separated peer URLs for the new member.")
      .flag(Kind::kBool, "learner", "false", "indicates if the new member is raft learner");
  member.add("remove <memberID>", "Removes a member from the cluster", remove);
  member.add("update <memberID> [options]", "Updates a member in the cluster", update)
      .flag(Kind::kString, "peer-urls", "", "comma separated peer URLs for the updated member.");
  member.add("list", "Lists all members in the cluster", list)
      .flag(Kind::kString, "consistency", "l", "Linearizable(l) or Serializable(s)");
  member.add("promote <memberID>", "Promotes a non-voting member in the cluster", promote);
}

}  // namespace fairlead::ctl
