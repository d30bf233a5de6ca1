// One side of one TLS connection without any I/O: bytes in, bytes out, around OpenSSL.
//
// OpenSSL reads from what is given to a call and writes to the string given to it, through a BIO of our own: no copy
// beyond OpenSSL's own. What a call leaves unread is kept (at most what was given to it).
//
// Threads: one at a time; the steps of a handshake may run on a worker, everything else on the loop.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "server/net/tls_context.h"

struct bio_st;

namespace fairlead::net {

// Who the other side is.
struct TlsPeer {
  std::string common_name;  // of a verified certificate
  bool verified = false;    // the other side showed a certificate and its chain is good
  std::vector<std::string> dns_names;
  std::vector<std::string> ip_addresses;
  std::string server_name;  // asked for by a client (SNI)
  std::string version;      // "TLSv1.3"
  bool resumed = false;
};

class TlsEngine {
 public:
  enum class Step { kMore, kDone, kFailed };

  // `host`: of a client, what the server's certificate must name.
  TlsEngine(std::shared_ptr<const TlsMaterial> material, bool server, const std::string& host);
  ~TlsEngine();
  TlsEngine(const TlsEngine&) = delete;
  TlsEngine& operator=(const TlsEngine&) = delete;

  // After kFailed, `out` may hold an alert to be sent, and error() says why.
  Step handshake(std::string_view in, std::string& out);
  const Status& error() const { return error_; }
  TlsPeer peer() const;
  // Of the certificate that the other side showed: its address is named in it. True without a certificate.
  bool names_address(const std::string& address) const;

  // Decrypts into `into` until it is full or nothing more is there. end: the other side will say no more.
  struct Read {
    size_t bytes = 0;
    bool end = false;
    Status error;
  };
  Read read(std::string_view in, std::span<char> into, std::string& out);
  bool holds_input() const;  // read() would find something without new input

  // Encrypts from the start of `parts` until all is done or `out` has grown by about `bytes_max`. Small parts share
  // a record. Returns the plain bytes taken.
  size_t write(std::span<const std::string_view> parts, size_t bytes_max, std::string& out);
  void close(std::string& out);  // "I will say no more"

  // --- for the certificate check
  static TlsEngine* of(ssl_st* ssl);
  const TlsMaterial& material() const { return *material_; }
  void set_refusal(std::string why) { refusal_ = std::move(why); }

 private:
  friend struct TlsBio;
  void begin(std::string_view in, std::string& out);
  void end();
  Status failure(int result);
  bool write_record(std::string_view bytes);

  std::shared_ptr<const TlsMaterial> material_;
  ssl_st* ssl_ = nullptr;
  const bool server_;
  std::string rest_;  // ciphertext not yet read by OpenSSL
  size_t rest_offset_ = 0;
  std::string_view in_;  // during a call
  std::string* out_ = nullptr;
  std::string refusal_;
  Status error_;
};

}  // namespace fairlead::net
