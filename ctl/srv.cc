// --discovery-srv: endpoints from DNS SRV records, _etcd-client-ssl._tcp and _etcd-client._tcp of a domain.
#include <arpa/nameser.h>
#include <netinet/in.h>
#include <resolv.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "ctl/client.h"
#include "ctl/exit.h"

namespace fairlead::ctl {
namespace {

// "scheme://host:port" for each record, best priority first. False: the name has none.
bool look_up(const std::string& name, const std::string& scheme, std::vector<std::string>& out) {
  std::array<unsigned char, 65536> answer;
  int size = res_query(name.c_str(), ns_c_in, ns_t_srv, answer.data(), answer.size());
  ns_msg message;
  if (size <= 0 || ns_initparse(answer.data(), size, &message) != 0) return false;
  std::vector<std::pair<int, std::string>> found;
  for (int i = 0; i < ns_msg_count(message, ns_s_an); ++i) {
    ns_rr record;
    if (ns_parserr(&message, ns_s_an, i, &record) != 0 || ns_rr_type(record) != ns_t_srv || ns_rr_rdlen(record) < 7)
      continue;
    const unsigned char* data = ns_rr_rdata(record);
    char host[NS_MAXDNAME];
    if (dn_expand(ns_msg_base(message), ns_msg_end(message), data + 6, host, sizeof host) < 0) continue;
    found.emplace_back(ns_get16(data), scheme + "://" + host + ":" + std::to_string(ns_get16(data + 4)));
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [priority, url] : found) out.push_back(url);
  return !found.empty();
}

}  // namespace

std::vector<std::string> discover_endpoints(const std::string& domain, const std::string& service, bool insecure) {
  std::string suffix = service.empty() ? "" : "-" + service;
  std::vector<std::string> all;
  bool any = look_up("_etcd-client-ssl" + suffix + "._tcp." + domain, "https", all);
  any |= look_up("_etcd-client" + suffix + "._tcp." + domain, "http", all);
  if (!any) fail(kExitError, "error querying DNS SRV records for _etcd-client" + suffix + " of " + domain);
  if (insecure) return all;
  std::vector<std::string> secure;
  for (const std::string& endpoint : all) {
    if (endpoint.starts_with("http://"))
      fprintf(stderr, "ignoring discovered insecure endpoint \"%s\"\n", endpoint.c_str());
    else
      secure.push_back(endpoint);
  }
  return secure;
}

}  // namespace fairlead::ctl
