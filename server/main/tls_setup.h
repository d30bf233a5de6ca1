// From flags to TLS: which addresses are served how, with which files, and what contradicts itself. Errors are etcd's
// texts where it has one.
//
// Threads: the loop, while starting; the provider of dial() later.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/io/real/workers.h"
#include "server/main/options.h"
#include "server/net/tls_handshakes.h"
#include "server/net/tls_net.h"

namespace fairlead::server {

// One address to listen on; the same one may be served with and without TLS.
struct ListenAt {
  std::string url;      // as given, for messages
  std::string address;  // as io::Net takes it
  bool tls = false;
  bool plain = false;
};
// Addresses given twice become one.
Result<std::vector<ListenAt>> listen_at(std::string_view flag, const std::string& urls);

// A certificate that signs itself, for these hosts, in `dir` (cert.pem, key.pem); what is there already is used again.
// Sets the files of `config`.
Status use_self_cert(const io::World& world, const std::string& dir, const std::vector<std::string>& hosts,
                     int64_t years, net::TlsConfig& config);

class TlsSetup {
 public:
  // Makes the certificates of --auto-tls and --peer-auto-tls below the data directory, loads all files.
  static Result<std::unique_ptr<TlsSetup>> create(const io::World& world, const Options& options);

  bool client_given() const { return client_ != nullptr; }
  bool peer_given() const { return peer_ && !peer_->config().empty(); }
  const net::TlsContext* client() const { return client_.get(); }
  const net::TlsContext* peer() const { return peer_.get(); }

  net::TlsListen for_clients(const ListenAt& at);
  net::TlsListen for_metrics(const ListenAt& at);
  net::TlsListen for_peers(const ListenAt& at);
  // For dialing other members: --peer-* files, else none and the system's authorities.
  Result<net::TlsDial> dial();

 private:
  TlsSetup(const io::World& world) : world_(world) {}
  Status check_urls(const Options& options);
  Status self_cert(const Options& options, const std::string& folder, const std::vector<std::string>& urls,
                   net::TlsConfig& config);
  std::shared_ptr<net::TlsGate> gate();
  net::TlsListen listen(const std::shared_ptr<net::TlsContext>& context, const ListenAt& at);

  io::World world_;
  std::unique_ptr<io::RealWorkers> workers_;  // one thread for handshakes: theirs never wait behind a disk
  std::shared_ptr<net::TlsGate> gate_;
  std::shared_ptr<net::TlsContext> client_, peer_;
  bool peer_checks_address_ = true;
};

}  // namespace fairlead::server
