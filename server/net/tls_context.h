// Certificates, keys, authorities and revocation lists from files, ready for handshakes, and read anew when the files
// change: no restart is needed for a new certificate, a new authority or a new revocation.
//
// Reload: current() is asked at each handshake; at most once in kTlsRecheckInterval it reads the files and compares
// their bytes. Files that do not fit together (a certificate whose key is still the old one) leave what was there in
// use and are told once (a new revocation list counts even then); a revocation list that cannot be read refuses every
// certificate, because the one that it would have named must not slip through (etcd's GHSA-3wh4 was such a gap).
// Revocation: a serial number on the list is refused whoever signed list or certificate, as etcd does: a list by the
// wrong issuer cannot hide a revocation.
// Resumption: stateless tickets whose keys belong to one set of files, so a change ends all of them; at least every
// kTlsTicketKeyLife they are made new.
//
// Threads: current() reads files and belongs behind a TlsGate, whose steps run one at a time, so nothing is locked
// here; all contexts of a process share one gate. The numbers may be read from anywhere.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "server/io/io.h"
#include "server/net/tls_config.h"

struct ssl_ctx_st;
struct ssl_st;
struct x509_st;

namespace fairlead::net {

constexpr io::Nanos kTlsRecheckInterval = io::kSecond;
constexpr io::Nanos kTlsTicketKeyLife = 12 * 3600 * io::kSecond;
constexpr long kTlsSessionSeconds = 3600;  // a resumed session is at most this old
constexpr size_t kTlsFileBytesMax = 4 << 20;

// One set of files. Immutable.
class TlsMaterial {
 public:
  ~TlsMaterial();
  ssl_ctx_st* server() const { return server_; }  // null without a certificate
  ssl_ctx_st* client() const { return client_; }
  int64_t not_after_seconds() const { return not_after_seconds_; }  // Unix time; 0 without a certificate
  const TlsConfig& config() const { return config_; }
  // Empty: fine. Else why this certificate of the other side, whose chain is good, is refused.
  std::string refusal(x509_st* certificate, bool leaf) const;

 private:
  friend class TlsContext;
  TlsMaterial() = default;
  TlsConfig config_;
  ssl_ctx_st* server_ = nullptr;
  ssl_ctx_st* client_ = nullptr;
  int64_t not_after_seconds_ = 0;
  std::set<std::string> revoked_;  // serial numbers, big-endian
  std::string crl_error_;
};

class TlsContext {
 public:
  // What cannot be used at the start is an error.
  static Result<std::shared_ptr<TlsContext>> create(const io::World& world, TlsConfig config);
  ~TlsContext();

  std::shared_ptr<const TlsMaterial> current(io::Nanos now);
  const TlsConfig& config() const { return config_; }
  uint64_t reloads() const { return reloads_; }
  uint64_t reload_failures() const { return reload_failures_; }
  int64_t not_after_seconds() const { return not_after_seconds_; }

 private:
  struct Files;
  TlsContext(const io::World& world, TlsConfig config);
  Files read_files() const;
  Result<std::shared_ptr<const TlsMaterial>> build(const Files& files) const;
  Status take(const Files& files, io::Nanos now);

  const io::World world_;
  const TlsConfig config_;
  std::unique_ptr<Files> files_;
  std::shared_ptr<const TlsMaterial> material_;
  io::Nanos checked_at_ = 0;
  io::Nanos built_at_ = 0;
  std::string last_error_;
  std::atomic<uint64_t> reloads_ = 0;
  std::atomic<uint64_t> reload_failures_ = 0;
  std::atomic<int64_t> not_after_seconds_ = 0;
};

// The oldest error of OpenSSL's queue of this thread, which is emptied.
std::string tls_error_text(std::string_view fallback);
// As Go prints a common name: the last one of the subject.
std::string common_name_of(x509_st* certificate);
// Does a name or address of the certificate match? Its common name does not count, as in Go.
bool certificate_matches(x509_st* certificate, const std::string& host);

}  // namespace fairlead::net
