// The first start of a member that was added to a running cluster: asks the other members of --initial-cluster who
// belongs to the cluster (the page /members of a peer port), and finds itself in the answer. As etcd does it; its
// words, too, where a script may look for them.
//
// Blocking, for the start only. https URLs are asked with the files that peers are dialed with; a peer that listens on
// a Unix socket only cannot be asked.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "server/net/tls_config.h"
#include "server/node/config.h"

namespace fairlead::server {

using InitialCluster = std::map<std::string, std::vector<std::string>>;  // name -> peer URLs

constexpr int kAskSecondsMax = 10;  // each URL

Result<node::Config::Join> ask_cluster(const InitialCluster& initial_cluster, const std::string& name,
                                       size_t learners_max, const net::TlsConfig& tls = {});

// The answer of one member, parsed and compared with --initial-cluster.
Result<node::Config::Join> read_members_page(const std::string& body, const std::string& cluster_id_hex);
Status find_self(const InitialCluster& initial_cluster, const std::string& name, size_t learners_max,
                 node::Config::Join& join);

}  // namespace fairlead::server
