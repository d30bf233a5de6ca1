#include "server/main/tls_setup.h"

#include <algorithm>
#include <sstream>

#include "server/io/real/address.h"
#include "server/net/self_cert.h"

namespace fairlead::server {
namespace {

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string one; std::getline(in, one, ',');)
    if (!one.empty()) out.push_back(one);
  return out;
}

net::TlsConfig common(const Options& o) {
  net::TlsConfig c;
  c.cipher_suites = split_list(o.cipher_suites);
  c.version_min = o.tls_min_version;
  c.version_max = o.tls_max_version;
  return c;
}

net::TlsConfig client_config(const Options& o) {
  net::TlsConfig c = common(o);
  c.cert_file = o.cert_file;
  c.key_file = o.key_file;
  c.client_cert_file = o.client_cert_file;
  c.client_key_file = o.client_key_file;
  c.trusted_ca_file = o.trusted_ca_file;
  c.crl_file = o.client_crl_file;
  c.client_cert_auth = o.client_cert_auth;
  c.allowed_hostnames = split_list(o.client_cert_allowed_hostname);
  return c;
}

net::TlsConfig peer_config(const Options& o) {
  net::TlsConfig c = common(o);
  c.cert_file = o.peer_cert_file;
  c.key_file = o.peer_key_file;
  c.client_cert_file = o.peer_client_cert_file;
  c.client_key_file = o.peer_client_key_file;
  c.trusted_ca_file = o.peer_trusted_ca_file;
  c.crl_file = o.peer_crl_file;
  c.client_cert_auth = o.peer_client_cert_auth;
  c.allowed_names = split_list(o.peer_cert_allowed_cn);
  c.allowed_hostnames = split_list(o.peer_cert_allowed_hostname);
  return c;
}

Status write_new(io::Disk& disk, const std::string& path, const std::string& text) {
  if (disk.exists(path)) RETURN_IF_ERROR(disk.remove(path));
  ASSIGN_OR_RETURN(std::unique_ptr<io::File> file, disk.open(path, io::OpenMode::kCreate));
  RETURN_IF_ERROR(file->write_at(0, text));
  return file->sync();
}

// etcd's rule for certificates with names: the name must be one that the address resolves to, or resolve to it.
bool find_host(const std::string& address, const std::vector<std::string>& names, std::string& error) {
  Result<std::vector<std::string>> reverse = io::names_of_address(address);
  if (!reverse.is_ok()) error = reverse.status().message();
  for (const std::string& name : names) {
    for (const std::string& found : reverse.is_ok() ? *reverse : std::vector<std::string>()) {
      if (found == name) return true;
      if (name.starts_with("*.") && found.ends_with(name.substr(1))) return true;
    }
  }
  for (const std::string& name : names) {
    if (name.starts_with("*.")) continue;
    Result<std::vector<io::SocketAddress>> forward = io::resolve({name, "0"});
    if (!forward.is_ok()) {
      error = forward.status().message();
      continue;
    }
    for (const io::SocketAddress& one : *forward)
      if (net::host_of_address(io::to_string(one)) == address) return true;
  }
  return false;
}

}  // namespace

Result<std::vector<ListenAt>> listen_at(std::string_view flag, const std::string& urls) {
  std::vector<ListenAt> out;
  ASSIGN_OR_RETURN(std::vector<std::string> list, split_urls(flag, urls));
  for (const std::string& url : list) {
    std::string scheme = url.substr(0, url.find("://"));
    std::string address = url.substr(scheme.size() + 3);
    if (scheme.starts_with("unix")) address = "unix:" + address;
    auto same = std::find_if(out.begin(), out.end(), [&](const ListenAt& at) { return at.address == address; });
    if (same == out.end()) same = out.insert(out.end(), {url, address});
    (scheme.ends_with("s") ? same->tls : same->plain) = true;
  }
  return out;
}

Status TlsSetup::check_urls(const Options& o) {
  auto any_tls = [](std::string_view flag, const std::string& urls, std::string& which) -> Result<bool> {
    if (urls.empty()) return false;
    ASSIGN_OR_RETURN(std::vector<ListenAt> list, listen_at(flag, urls));
    for (const ListenAt& at : list) {
      if (!at.tls) continue;
      which = at.url;
      return true;
    }
    return false;
  };
  auto warn_plain = [&](std::string_view flag, const std::string& urls, bool files, bool auth) -> Status {
    if (urls.empty() || !(files || auth)) return {};
    ASSIGN_OR_RETURN(std::vector<ListenAt> list, listen_at(flag, urls));
    for (const ListenAt& at : list) {
      if (!at.plain) continue;
      if (files)
        world_.log->warn("scheme is http or unix while key and cert files are present; ignoring key and cert files",
                         {{"flag", flag}, {"url", at.url}});
      if (auth)
        world_.log->warn(
            "scheme is http or unix while client certificates are to be checked; ignoring that for this "
            "URL",
            {{"flag", flag}, {"url", at.url}});
    }
    return {};
  };
  std::string url;
  for (auto [flag, urls] : {std::pair{"listen-client-urls", &o.listen_client_urls},
                            std::pair{"listen-client-http-urls", &o.listen_client_http_urls}}) {
    RETURN_IF_ERROR(warn_plain(flag, *urls, client_given(), o.client_cert_auth));
    ASSIGN_OR_RETURN(bool tls, any_tls(flag, *urls, url));
    if (tls && !client_given())
      return invalid_argument("TLS key/cert (--cert-file, --key-file) must be provided for client url " + url +
                              " with HTTPS scheme");
  }
  RETURN_IF_ERROR(warn_plain("listen-peer-urls", o.listen_peer_urls, peer_given(), o.peer_client_cert_auth));
  ASSIGN_OR_RETURN(bool peer_tls, any_tls("listen-peer-urls", o.listen_peer_urls, url));
  if (peer_tls && !peer_given())
    return invalid_argument("cannot listen on TLS for " + url.substr(url.find("://") + 3) +
                            ": KeyFile and CertFile are not presented");
  ASSIGN_OR_RETURN(bool metrics_tls, any_tls("listen-metrics-urls", o.listen_metrics_urls, url));
  if (metrics_tls && !client_given())
    return invalid_argument("client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url");
  if (o.listen_client_http_urls.empty()) return {};
  ASSIGN_OR_RETURN(std::vector<ListenAt> grpc, listen_at("listen-client-urls", o.listen_client_urls));
  ASSIGN_OR_RETURN(std::vector<ListenAt> http, listen_at("listen-client-http-urls", o.listen_client_http_urls));
  for (const ListenAt& one : http)
    for (const ListenAt& other : grpc)
      if (one.address == other.address)
        return invalid_argument("cannot bind both --listen-client-urls and --listen-client-http-urls on the same url " +
                                one.url);
  return {};
}

Status use_self_cert(const io::World& world, const std::string& dir, const std::vector<std::string>& hosts,
                     int64_t years, net::TlsConfig& config) {
  if (years == 0) return invalid_argument("selfSignedCertValidity is invalid,it should be greater than 0");
  config.cert_file = config.client_cert_file = dir + "/cert.pem";
  config.key_file = config.client_key_file = dir + "/key.pem";
  config.self_signed = true;
  if (world.disk->exists(config.cert_file) && world.disk->exists(config.key_file)) return {};
  ASSIGN_OR_RETURN(net::SelfCert made, net::make_self_cert(hosts, years));
  RETURN_IF_ERROR(world.disk->make_dirs(dir));
  RETURN_IF_ERROR(write_new(*world.disk, config.cert_file, made.cert_pem));
  RETURN_IF_ERROR(write_new(*world.disk, config.key_file, made.key_pem));
  RETURN_IF_ERROR(world.disk->sync_dir(dir));
  world.log->warn("automatically generate certificates", {{"cert-file", config.cert_file}, {"validity-years", years}});
  return {};
}

Status TlsSetup::self_cert(const Options& o, const std::string& folder, const std::vector<std::string>& url_lists,
                           net::TlsConfig& config) {
  std::vector<std::string> hosts;
  for (const std::string& urls : url_lists) {
    if (urls.empty()) continue;
    ASSIGN_OR_RETURN(std::vector<ListenAt> list, listen_at("auto-tls", urls));
    for (const ListenAt& at : list)
      if (std::string host = net::host_of_address(at.address); !host.empty()) hosts.push_back(host);
  }
  return use_self_cert(world_, o.data_dir + "/fixtures/" + folder, hosts, o.self_signed_cert_validity, config);
}

Result<std::unique_ptr<TlsSetup>> TlsSetup::create(const io::World& world, const Options& o) {
  std::unique_ptr<TlsSetup> setup(new TlsSetup(world));
  net::TlsConfig client = client_config(o), peer = peer_config(o);
  for (const net::TlsConfig* config : {&client, &peer}) RETURN_IF_ERROR(net::check_tls_config(*config));
  ASSIGN_OR_RETURN(net::TlsCiphers ciphers, net::tls_ciphers(client.cipher_suites));
  for (const std::string& name : ciphers.unavailable)
    world.log->warn("a TLS cipher suite is known but too weak to be offered here", {{"cipher-suite", name}});
  if (o.auto_tls && !client.empty())
    world.log->warn("ignoring client auto TLS since certs given");
  else if (o.auto_tls)
    RETURN_IF_ERROR(
        setup->self_cert(o, "client", {o.listen_client_urls, o.listen_client_http_urls}, client = common(o)));
  if (o.peer_auto_tls && !peer.empty())
    world.log->warn("ignoring peer auto TLS since certs given");
  else if (o.peer_auto_tls)
    RETURN_IF_ERROR(setup->self_cert(o, "peer", {o.listen_peer_urls}, peer = common(o)));
  setup->peer_checks_address_ = !o.peer_skip_client_san_verification;
  if (!client.empty()) {
    ASSIGN_OR_RETURN(setup->client_, net::TlsContext::create(world, client));
    world.log->info("starting with client TLS", {{"cert-file", client.cert_file},
                                                 {"trusted-ca-file", client.trusted_ca_file},
                                                 {"client-cert-auth", client.client_cert_auth},
                                                 {"crl-file", client.crl_file},
                                                 {"cipher-suites", o.cipher_suites}});
  }
  if (!peer.empty() || !peer.trusted_ca_file.empty()) {
    ASSIGN_OR_RETURN(setup->peer_, net::TlsContext::create(world, peer));
    world.log->info("starting with peer TLS", {{"cert-file", peer.cert_file},
                                               {"trusted-ca-file", peer.trusted_ca_file},
                                               {"client-cert-auth", peer.client_cert_auth},
                                               {"crl-file", peer.crl_file},
                                               {"cipher-suites", o.cipher_suites}});
  }
  RETURN_IF_ERROR(setup->check_urls(o));
  return setup;
}

std::shared_ptr<net::TlsGate> TlsSetup::gate() {
  if (!workers_) workers_ = std::make_unique<io::RealWorkers>(world_.loop, 1);
  if (!gate_) gate_ = std::make_shared<net::TlsGate>(workers_.get());
  return gate_;
}

net::TlsListen TlsSetup::listen(const std::shared_ptr<net::TlsContext>& context, const ListenAt& at) {
  net::TlsListen out;
  out.context = context;
  out.gate = gate();
  out.also_plain = at.plain;
  return out;
}

net::TlsListen TlsSetup::for_clients(const ListenAt& at) { return listen(client_, at); }

net::TlsListen TlsSetup::for_metrics(const ListenAt& at) {
  net::TlsListen out = listen(client_, at);
  out.check_address = true;  // as etcd does there
  out.find_host = find_host;
  return out;
}

net::TlsListen TlsSetup::for_peers(const ListenAt& at) {
  net::TlsListen out = listen(peer_, at);
  out.check_address = peer_checks_address_;
  out.find_host = find_host;
  out.rejected = "rejected connection on peer endpoint";
  return out;
}

Result<net::TlsDial> TlsSetup::dial() {
  if (!peer_) {
    ASSIGN_OR_RETURN(peer_, net::TlsContext::create(world_, net::TlsConfig()));
  }
  return net::TlsDial{peer_, gate()};
}

}  // namespace fairlead::server
