#include "server/main/bootstrap.h"

#include <algorithm>
#include <utility>

#include "server/node/membership.h"
#include "server/storage/store.h"

namespace fairlead::server {
Bootstrap::Bootstrap(const io::World& world, const Options& options)
    : world_(world), options_(options), resolver_(discovery::system_resolver()) {}

void Bootstrap::run(node::Config config, Done done) {
  config_ = std::move(config);
  done_ = std::move(done);
  Result<std::vector<std::string>> advertised =
      split_urls("initial-advertise-peer-urls", options_.initial_advertise_peer_urls);
  if (!advertised.is_ok()) return finish(advertised.status());
  advertised_ = *advertised;
  std::sort(advertised_.begin(), advertised_.end());
  Result<std::optional<storage::Identity>> known = storage::Store::peek(world_, config_.data_dir);
  if (!known.is_ok()) return finish(known.status());
  if (*known) {
    if (!options_.discovery_endpoints.empty() || !options_.discovery_srv.empty())
      world_.log->warn("discovery is ignored since cluster already initialized; valid logs are found",
                       {{"data-dir", config_.data_dir}});
    return finish({});
  }
  if (!options_.discovery_endpoints.empty()) return find_by_token();
  if (!options_.discovery_srv.empty()) return find_by_names();
  verify(config_.initial_cluster_new);
}

void Bootstrap::find_by_names() {
  discovery::SrvRequest request{options_.discovery_srv, options_.discovery_srv_name, options_.name, advertised_};
  discovery::find_srv_peers(world_, *resolver_, std::move(request), [this](Result<discovery::PeerMap> found) {
    if (!found.is_ok()) return finish(found.status());
    config_.initial_cluster = std::move(*found);
    verify(config_.initial_cluster_new);
  });
}

void Bootstrap::find_by_token() {
  if (!config_.initial_cluster_new)
    return finish(failed_precondition("discovery URL should not be set when joining existing initial cluster"));
  // The token of discovery is the cluster's too, as with etcd: it goes into all ids.
  config_.initial_cluster_token = options_.discovery_token;
  discovery::TokenRequest request;
  request.token = options_.discovery_token;
  request.endpoints = split_list(options_.discovery_endpoints);
  request.dial_timeout = options_.discovery_dial_timeout_ms * io::kMillisecond;
  request.request_timeout = options_.discovery_request_timeout_ms * io::kMillisecond;
  request.keepalive_time = options_.discovery_keepalive_time_ms * io::kMillisecond;
  request.keepalive_timeout = options_.discovery_keepalive_timeout_ms * io::kMillisecond;
  request.user = options_.discovery_user;
  request.password = options_.discovery_password;
  if (size_t colon = request.user.find(':'); request.password.empty() && colon != std::string::npos) {
    request.password = request.user.substr(colon + 1);
    request.user.resize(colon);
  }
  request.secure_by_default = !options_.discovery_insecure_transport;
  if (Status s = set_up_tls(); !s.is_ok()) return finish(s);
  io::World world = world_;
  world.net = tls_net_.get();
  request.self = node::bootstrap_member_id(advertised_, options_.discovery_token);
  for (const std::string& url : advertised_)
    request.contents += (request.contents.empty() ? "" : ",") + options_.name + "=" + url;
  join_ = std::make_unique<discovery::TokenJoin>(world, std::move(request), [this](Result<discovery::PeerMap> found) {
    if (found.is_ok()) config_.initial_cluster = std::move(*found);
    finish(found.status());
  });
}

// The service has files of its own: it is another cluster.
Status Bootstrap::set_up_tls() {
  net::TlsConfig config;
  config.cert_file = options_.discovery_cert;
  config.key_file = options_.discovery_key;
  config.trusted_ca_file = options_.discovery_cacert;
  config.self_signed = options_.discovery_insecure_skip_tls_verify;  // then nothing is verified
  ASSIGN_OR_RETURN(std::shared_ptr<net::TlsContext> context, net::TlsContext::create(world_, std::move(config)));
  net::TlsDial dial{std::move(context), std::make_shared<net::TlsGate>(world_.workers)};
  tls_net_ = std::make_unique<net::TlsNet>(*world_.loop, *world_.net, [dial] { return dial; });
  return {};
}

void Bootstrap::verify(bool advertised_too) {
  discovery::VerifyRequest request{config_.initial_cluster, options_.name, advertised_, advertised_too};
  discovery::verify_peers(world_, *resolver_, std::move(request), [this](Status status) { finish(std::move(status)); });
}

void Bootstrap::finish(Status status) {
  Done done = std::exchange(done_, nullptr);
  if (status.is_ok()) return done(std::move(config_));
  done(std::move(status));
}

}  // namespace fairlead::server
