#include "server/main/join.h"
#include "base/text.h"

// Heavy to compile: no other file of this folder includes it.
#include <httplib.h>

#include <algorithm>
#include <charconv>

#include <nlohmann/json.hpp>

#include "server/node/membership.h"

namespace fairlead::server {
namespace {

std::vector<std::string> sorted(std::vector<std::string> urls) {
  std::sort(urls.begin(), urls.end());
  return urls;
}

std::string describe(const node::MemberMap& members) {
  std::string out;
  for (const auto& [id, member] : members) {
    for (const std::string& url : member.peer_urls) out += (out.empty() ? "" : ", ") + url;
  }
  return "{" + out + "}";
}

Result<node::Config::Join> ask_one(const std::string& url, const net::TlsConfig& tls) {
  if (!url.starts_with("http")) return unavailable(url + ": cannot be asked for its members");
  bool own = !tls.client_cert_file.empty();
  httplib::Client client(url, own ? tls.client_cert_file : tls.cert_file, own ? tls.client_key_file : tls.key_file);
  if (!tls.trusted_ca_file.empty()) client.set_ca_cert_path(tls.trusted_ca_file);
  client.enable_server_certificate_verification(!tls.self_signed);
  client.set_connection_timeout(kAskSecondsMax, 0);
  client.set_read_timeout(kAskSecondsMax, 0);
  httplib::Result answer = client.Get("/members");
  if (!answer) return unavailable(url + ": " + httplib::to_string(answer.error()));
  if (answer->status != 200) return unavailable(url + ": status " + std::to_string(answer->status));
  Result<node::Config::Join> join = read_members_page(answer->body, answer->get_header_value("X-Etcd-Cluster-ID"));
  if (!join.is_ok()) return Status(join.code(), url + ": " + std::string(join.status().message()));
  return join;
}

}  // namespace

Result<node::Config::Join> read_members_page(const std::string& body, const std::string& cluster_id_hex) {
  node::Config::Join out;
  const char* end = cluster_id_hex.data() + cluster_id_hex.size();
  auto [at, error] = std::from_chars(cluster_id_hex.data(), end, out.cluster.value, 16);
  if (error != std::errc() || at != end) return invalid_argument("the answer names no cluster");
  nlohmann::json list = nlohmann::json::parse(body, nullptr, false);
  if (!list.is_array()) return invalid_argument("the answer is no list of members");
  for (const nlohmann::json& one : list) {
    auto id = one.is_object() ? one.find("id") : one.end();
    auto urls = one.is_object() ? one.find("peerURLs") : one.end();
    if (!one.is_object() || id == one.end() || urls == one.end() || !id->is_number_unsigned() || !urls->is_array())
      return invalid_argument("the answer is no list of members");
    node::Member m;
    m.id = MemberId(id->get<uint64_t>());
    for (const nlohmann::json& url : *urls)
      if (url.is_string()) m.peer_urls.push_back(url.get<std::string>());
    auto strings = [&](const char* key, std::vector<std::string>& into) {
      auto it = one.find(key);
      if (it == one.end() || !it->is_array()) return;
      for (const nlohmann::json& s : *it)
        if (s.is_string()) into.push_back(s.get<std::string>());
    };
    strings("clientURLs", m.client_urls);
    if (auto it = one.find("name"); it != one.end() && it->is_string()) m.name = it->get<std::string>();
    if (auto it = one.find("isLearner"); it != one.end() && it->is_boolean()) m.is_learner = it->get<bool>();
    out.members.emplace(m.id, m);
  }
  if (out.members.empty()) return unavailable("failed to get raft cluster member(s) from the given URLs");
  return out;
}

Status find_self(const InitialCluster& initial_cluster, const std::string& name, size_t learners_max,
                 node::Config::Join& join) {
  auto bad = [&](const std::string& why) {
    return failed_precondition("error validating peerURLs " + describe(join.members) + ": " + why);
  };
  if (!initial_cluster.contains(name))
    return invalid_argument("couldn't find local name \"" + name +
                            "\" in the initial cluster configuration: --name must be one of the names in "
                            "--initial-cluster");
  if (initial_cluster.size() != join.members.size())
    return bad("member count is unequal: --initial-cluster must name the members that there are, with the new one");
  size_t learners = 0;
  for (const auto& [id, member] : join.members) {
    learners += member.is_learner;
    auto same = std::find_if(initial_cluster.begin(), initial_cluster.end(), [&, &m = member](const auto& named) {
      return sorted(named.second) == sorted(m.peer_urls);
    });
    if (same == initial_cluster.end()) {
      std::string urls;
      for (const std::string& url : member.peer_urls) urls += (urls.empty() ? "" : " ") + url;
      return bad("PeerURLs: no match found for existing member (" + hex(id.value) + ", [" + urls + "])");
    }
    if (same->first == name) join.member = id;
  }
  if (learners > learners_max) return failed_precondition("membership: too many learner members in cluster");
  if (join.member.value == 0) return bad("two names of --initial-cluster have the same peer URLs");
  return {};
}

Result<node::Config::Join> ask_cluster(const InitialCluster& initial_cluster, const std::string& name,
                                       size_t learners_max, const net::TlsConfig& tls) {
  std::vector<std::string> urls;
  for (const auto& [other, peer_urls] : initial_cluster)
    if (other != name) urls.insert(urls.end(), peer_urls.begin(), peer_urls.end());
  std::string reasons;
  for (const std::string& url : sorted(std::move(urls))) {
    Result<node::Config::Join> join = ask_one(url, tls);
    if (!join.is_ok()) {
      reasons += (reasons.empty() ? "" : "; ") + std::string(join.status().message());
      continue;
    }
    RETURN_IF_ERROR(find_self(initial_cluster, name, learners_max, *join));
    return join;
  }
  return unavailable(
      "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs" +
      (reasons.empty() ? std::string(": --initial-cluster names no other member") : " (" + reasons + ")"));
}

}  // namespace fairlead::server
