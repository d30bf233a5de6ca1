#include "server/discovery/srv.h"

#include <algorithm>
#include <set>
#include <utility>

namespace fairlead::discovery {
namespace {

std::string joined(const std::vector<std::string>& list, std::string_view between = ",") {
  std::string out;
  for (const std::string& item : list) out += (out.empty() ? "" : std::string(between)) + item;
  return out;
}

// address -> the advertised URL that has it
Result<std::map<std::string, std::string>> own_addresses(Resolver& resolver, const std::vector<std::string>& urls) {
  std::map<std::string, std::string> out;
  for (const std::string& url : urls) {
    ASSIGN_OR_RETURN(UrlParts parts, split_url(url));
    if (parts.scheme == "unix" || parts.scheme == "unixs") continue;
    ASSIGN_OR_RETURN(std::vector<std::string> addresses, resolver.addresses(parts.host, parts.port));
    for (const std::string& address : addresses) out.emplace(address, url);
  }
  return out;
}

struct Pass {
  Resolver& resolver;
  const SrvRequest& request;
  const std::map<std::string, std::string>& own;
  SrvPass out = {};
  int unnamed = 0;
  std::string mismatch = {};

  Status query(const std::string& scheme, const std::string& service) {
    std::string name = "_" + service + "._tcp." + request.domain;
    Result<std::vector<SrvRecord>> records = resolver.srv(name);
    if (!records.is_ok()) {
      Status s = records.status();
      out.try_again |= s.code() == Code::kUnavailable;
      return Status(s.code(), "error querying DNS SRV records for _" + service + " " + std::string(s.message()));
    }
    for (const SrvRecord& record : *records) add(scheme, service, record);
    return {};
  }

  void add(const std::string& scheme, const std::string& service, const SrvRecord& record) {
    Result<std::vector<std::string>> addresses = resolver.addresses(record.target, std::to_string(record.port));
    if (!addresses.is_ok()) {
      out.unresolved.push_back(record.target + ": " + std::string(addresses.status().message()));
      return;
    }
    std::string url = scheme + "://" + host_port(record.target, record.port);
    std::string member;
    for (const std::string& address : *addresses) {
      auto mine = own.find(address);
      if (mine == own.end()) continue;
      if (!mine->second.starts_with(scheme + "://")) {
        mismatch = "bootstrap at " + url + " from DNS for " + service + " has scheme mismatch with expected peer " +
                   mine->second;
        return;
      }
      member = request.name;
      break;
    }
    if (member.empty()) member = std::to_string(unnamed++);
    out.peers[member].push_back(url);
  }
};

// Repeats a blocking pass on a worker until it says that it is done or the time is up.
struct Repeat : std::enable_shared_from_this<Repeat> {
  io::World world;
  io::Nanos end = 0;
  std::function<void()> pass;     // on a worker
  std::function<bool()> is_done;  // on the loop: true when the outcome was handed on
  std::function<void()> give_up;

  void go() {
    auto self = shared_from_this();
    world.workers->run(pass, [self] {
      if (self->is_done()) return;
      if (self->world.loop->now() >= self->end) return self->give_up();
      self->world.loop->add_timer(self->world.loop->now() + kNamesInterval, [self] { self->go(); });
    });
  }
};

}  // namespace

Result<UrlParts> split_url(const std::string& url) {
  size_t scheme = url.find("://");
  if (scheme == std::string::npos) return invalid_argument("URL \"" + url + "\" has no scheme");
  UrlParts out{url.substr(0, scheme), url.substr(scheme + 3), ""};
  if (out.scheme == "unix" || out.scheme == "unixs") return out;
  out.host = out.host.substr(0, out.host.find('/'));
  size_t colon = out.host.rfind(':');
  if (colon == std::string::npos) return invalid_argument("URL \"" + url + "\" has no port");
  out.port = out.host.substr(colon + 1);
  out.host = out.host.substr(0, colon);
  if (out.host.starts_with("[") && out.host.ends_with("]")) out.host = out.host.substr(1, out.host.size() - 2);
  return out;
}

SrvPass srv_pass(Resolver& resolver, const SrvRequest& request) {
  SrvPass failed;
  Result<std::map<std::string, std::string>> own = own_addresses(resolver, request.advertise_peer_urls);
  if (!own.is_ok()) {
    failed.error = own.status();
    failed.try_again = own.status().code() == Code::kUnavailable;
    return failed;
  }
  Pass pass{resolver, request, *own};
  std::string suffix = request.suffix.empty() ? "" : "-" + request.suffix;
  Status secure = pass.query("https", "etcd-server-ssl" + suffix);
  Status plain = pass.query("http", "etcd-server" + suffix);
  for (auto& [name, urls] : pass.out.peers) std::sort(urls.begin(), urls.end());
  if (!secure.is_ok() && !plain.is_ok()) {
    pass.out.error = Status(plain.code(), std::string(secure.message()) + "\n" + std::string(plain.message()));
  } else if (!pass.out.unresolved.empty()) {
    pass.out.try_again = true;
    pass.out.error = unavailable("names of SRV records do not resolve: " + joined(pass.out.unresolved, "; "));
  } else if (!pass.out.peers.contains(request.name)) {
    pass.out.error = failed_precondition("cannot find local etcd member \"" + request.name + "\" in SRV records" +
                                         (pass.mismatch.empty() ? "" : ": " + pass.mismatch));
  } else {
    pass.out.try_again = false;
  }
  return std::move(pass.out);
}

void find_srv_peers(const io::World& world, Resolver& resolver, SrvRequest request, PeersFound done) {
  auto repeat = std::make_shared<Repeat>();
  auto result = std::make_shared<SrvPass>();
  auto asked = std::make_shared<SrvRequest>(std::move(request));
  repeat->world = world;
  repeat->end = world.loop->now() + kNamesWaitMax;
  repeat->pass = [&resolver, asked, result] { *result = srv_pass(resolver, *asked); };
  repeat->is_done = [world, asked, result, done] {
    if (result->error.is_ok()) {
      for (const auto& [name, urls] : result->peers)
        for (const std::string& url : urls)
          world.log->info("got bootstrap from DNS for etcd-server", {{"node", name + "=" + url}});
      return done(std::move(result->peers)), true;
    }
    if (!result->try_again) return done(result->error), true;
    world.log->warn("SRV discovery waits for all names",
                    {{"discovery-srv", asked->domain}, {"error", std::string(result->error.message())}});
    return false;
  };
  repeat->give_up = [result, done] { done(result->error); };
  repeat->go();
}

Status verify_texts(const VerifyRequest& request) {
  auto own = request.peers.find(request.name);
  if (own == request.peers.end())
    return failed_precondition("couldn't find local name \"" + request.name +
                               "\" in the initial cluster configuration: --name must be one of the names in "
                               "--initial-cluster");
  std::set<std::string> seen;
  for (const auto& [name, urls] : request.peers)
    for (const std::string& url : urls)
      if (!seen.insert(url).second) return failed_precondition("initial cluster has duplicate url " + url);
  if (!request.advertised_too) return {};
  std::vector<std::string> advertised = request.advertise_peer_urls, listed = own->second;
  std::sort(advertised.begin(), advertised.end());
  std::sort(listed.begin(), listed.end());
  return advertised == listed ? Status() : not_found("the texts differ");
}

Status verify_addresses(Resolver& resolver, const VerifyRequest& request) {
  const std::vector<std::string>& listed = request.peers.at(request.name);
  Result<std::map<std::string, std::string>> ours = own_addresses(resolver, request.advertise_peer_urls);
  Result<std::map<std::string, std::string>> theirs = own_addresses(resolver, listed);
  Status why = !ours.is_ok() ? ours.status() : !theirs.is_ok() ? theirs.status() : Status();
  auto has = [](const std::vector<std::string>& list, const std::string& url) {
    return std::find(list.begin(), list.end(), url) != list.end();
  };
  // Each URL must meet one of the other side: the same text, or a common address under the same scheme.
  auto meets = [&](const std::string& url, const std::vector<std::string>& others,
                   const std::map<std::string, std::string>& addresses) {
    if (has(others, url)) return true;
    if (!why.is_ok()) return false;
    Result<std::map<std::string, std::string>> own = own_addresses(resolver, {url});
    if (!own.is_ok()) return false;
    return std::any_of(own->begin(), own->end(), [&](const auto& entry) {
      auto other = addresses.find(entry.first);
      return other != addresses.end() && split_url(other->second)->scheme == split_url(url)->scheme;
    });
  };
  std::string because = why.is_ok() ? "" : " (" + std::string(why.message()) + ")";
  std::map<std::string, std::string> none;
  for (const std::string& url : listed)
    if (!meets(url, request.advertise_peer_urls, ours.is_ok() ? *ours : none))
      return Status(why.is_ok() ? Code::kFailedPrecondition : Code::kUnavailable,
                    "--initial-cluster has " + request.name + "=" + url +
                        " but missing from --initial-advertise-peer-urls=" + joined(request.advertise_peer_urls) +
                        because);
  for (const std::string& url : request.advertise_peer_urls)
    if (!meets(url, listed, theirs.is_ok() ? *theirs : none))
      return Status(why.is_ok() ? Code::kFailedPrecondition : Code::kUnavailable,
                    "--initial-advertise-peer-urls has " + url + " but missing from --initial-cluster=" + request.name +
                        "=" + joined(listed, "," + request.name + "=") + because);
  return {};
}

void verify_peers(const io::World& world, Resolver& resolver, VerifyRequest request, std::function<void(Status)> done) {
  Status texts = verify_texts(request);
  if (texts.code() != Code::kNotFound) return done(texts);
  auto repeat = std::make_shared<Repeat>();
  auto result = std::make_shared<Status>();
  auto asked = std::make_shared<VerifyRequest>(std::move(request));
  repeat->world = world;
  repeat->end = world.loop->now() + kNamesWaitMax / 2;  // as etcd
  repeat->pass = [&resolver, asked, result] { *result = verify_addresses(resolver, *asked); };
  repeat->is_done = [world, result, done] {
    if (result->code() != Code::kUnavailable) return done(*result), true;
    world.log->warn("waiting for the names of the own peer URLs", {{"error", std::string(result->message())}});
    return false;
  };
  repeat->give_up = [result, done] { done(*result); };
  repeat->go();
}

}  // namespace fairlead::discovery
