#include "server/net/tls_handshakes.h"

#include <cctype>
#include <utility>

namespace fairlead::net {
namespace {

constexpr std::string_view kPlainHttpAnswer =
    "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

std::string joined(const std::vector<std::string>& list) {
  std::string out;
  for (const std::string& s : list) out += (out.empty() ? "" : ",") + s;
  return out;
}

bool looks_like_http1(std::string_view first) {
  return !first.empty() && std::isupper(static_cast<unsigned char>(first[0])) && !first.starts_with("PRI");
}

}  // namespace

TlsHandshakes::TlsHandshakes(const io::World& world, size_t fresh_max, size_t begun_max)
    : world_(world), fresh_max_(fresh_max), begun_max_(begun_max) {}

TlsHandshakes::~TlsHandshakes() {
  *alive_ = false;
  if (timer_) world_.loop->cancel_timer(timer_);
}

void TlsHandshakes::stop() {
  fresh_.clear();
  begun_.clear();
  count();
}

void TlsHandshakes::accept(std::unique_ptr<io::Stream> stream, const TlsListen& listen, Done done) {
  if (fresh_.size() >= fresh_max_ && !push_out(fresh_)) {
    ++stats_.pushed_out;
    return;  // closed
  }
  Place place = fresh_.emplace(fresh_.end());
  place->listen = &listen;
  place->done = std::move(done);
  place->since = world_.loop->now();
  place->number = ++last_number_;
  place->stream = TlsStream::server(*world_.loop, std::move(stream), listen.context, listen.gate,
                                    [this, place](TlsResult result) { ended(place, result); });
  count();
  arm();
}

// The oldest that costs nothing but room: its client has said nothing for the longest time.
bool TlsHandshakes::push_out(std::list<Pending>& from) {
  for (Place place = from.begin(); place != from.end(); ++place) {
    if (place->stream->working() || place->checking_host) continue;
    if (place->linger_until == 0) ++stats_.pushed_out;
    erase(place);
    return true;
  }
  return false;
}

// From now on it holds OpenSSL's memory.
void TlsHandshakes::begun(Place place) {
  if (std::exchange(place->begun, true)) return;
  begun_.splice(begun_.end(), fresh_, place);  // the place stays the same
  if (begun_.size() > begun_max_) push_out(begun_);
}

void TlsHandshakes::ended(Place place, TlsResult result) {
  if (result == TlsResult::kWaiting) return begun(place);
  if (result == TlsResult::kFailed) {
    ++stats_.failed;
    return reject(place, place->stream->error());
  }
  if (result == TlsResult::kPlain) {
    if (place->listen->also_plain) return serve(place);
    ++stats_.not_tls;
    return refuse_plain(place);
  }
  if (place->listen->check_address) return check_address(place);
  serve(place);
}

// etcd's rule: a certificate without names may come from anywhere; else the address must be one of its addresses or
// belong to one of its names.
void TlsHandshakes::check_address(Place place) {
  const TlsPeer& peer = place->stream->peer();
  std::string address = host_of_address(place->stream->peer_address());
  bool no_names = peer.dns_names.empty() && peer.ip_addresses.empty();
  if (no_names || address.empty() || place->stream->names_own_address()) return serve(place);
  auto mismatch = [address, names = peer.dns_names](const std::string& error) {
    return Status(Code::kUnauthenticated, "tls: \"" + address + "\" does not match any of DNSNames [" + joined(names) +
                                              "]" + (error.empty() ? "" : " (" + error + ")"));
  };
  if (peer.dns_names.empty()) {
    ++stats_.failed;
    return reject(place, Status(Code::kUnauthenticated,
                                "x509: certificate is valid for " + joined(peer.ip_addresses) + ", not " + address));
  }
  if (!place->listen->find_host || host_checks_ >= kTlsHostChecksMax) {
    ++stats_.failed;
    return reject(place, mismatch(place->listen->find_host ? "too many names are being looked up" : ""));
  }
  ++host_checks_;
  place->checking_host = true;
  struct Answer {
    bool good = false;
    std::string error;
  };
  auto answer = std::make_shared<Answer>();
  world_.workers->run([answer, address, names = peer.dns_names,
                       find = place->listen->find_host] { answer->good = find(address, names, answer->error); },
                      [this, alive = alive_, answer, mismatch, number = place->number] {
                        if (!*alive) return;
                        --host_checks_;
                        for (Place at = begun_.begin(); at != begun_.end(); ++at) {
                          if (at->number != number) continue;
                          at->checking_host = false;
                          if (answer->good) return serve(at);
                          ++stats_.failed;
                          return reject(at, mismatch(answer->error));
                        }
                      });
}

void TlsHandshakes::serve(Place place) {
  std::unique_ptr<TlsStream> stream = std::move(place->stream);
  Done done = std::move(place->done);
  TlsPeer peer = stream->peer();
  if (!peer.version.empty()) {
    ++stats_.ok;
    stats_.resumed += peer.resumed;
    stats_.seconds += static_cast<double>(world_.loop->now() - place->since) / static_cast<double>(io::kSecond);
  }
  (place->begun ? begun_ : fresh_).erase(place);
  count();
  done(std::move(stream), peer);
}

void TlsHandshakes::reject(Place place, const Status& why) {
  log_rejected(*place, why);
  place->linger_until = world_.loop->now() + kTlsLingerTimeout;
  place->stream->linger([this, place] { erase(place); });
}

void TlsHandshakes::refuse_plain(Place place) {
  if (looks_like_http1(place->stream->first_bytes())) {
    std::string_view answer = kPlainHttpAnswer;
    (void)place->stream->writev({&answer, 1});
  }
  reject(place, invalid_argument("tls: first record does not look like a TLS handshake"));
}

void TlsHandshakes::erase(Place place) {
  // It may be the stream that calls.
  std::shared_ptr<TlsStream> gone(place->stream.release());
  if (gone) world_.loop->post([gone] {});
  (place->begun ? begun_ : fresh_).erase(place);
  count();
}

void TlsHandshakes::arm() {
  if (timer_ || (fresh_.empty() && begun_.empty())) return;
  timer_ = world_.loop->add_timer(world_.loop->now() + kTlsSweepInterval, [this] {
    timer_ = 0;
    sweep(fresh_);
    sweep(begun_);
    arm();
  });
}

void TlsHandshakes::sweep(std::list<Pending>& list) {
  io::Nanos now = world_.loop->now();
  for (Place place = list.begin(); place != list.end();) {
    Place at = place++;
    if (at->linger_until != 0) {
      if (now >= at->linger_until) erase(at);
    } else if (now - at->since >= kTlsHandshakeTimeout) {
      ++stats_.timed_out;
      log_rejected(*at, unavailable("tls: the handshake took too long"));
      erase(at);
    }
  }
}

void TlsHandshakes::log_rejected(const Pending& pending, const Status& why) {
  // Health checks of load balancers connect and hang up: no news.
  bool news = why.message() != "EOF";
  if (news && !log_rate_.allow(world_.loop->now(), kTlsLogPerSecond, kTlsLogBurst)) {
    ++lines_left_out_;
    return;
  }
  const TlsPeer& peer = pending.stream->peer();
  std::string address = pending.stream->peer_address();
  std::string ips = joined(peer.ip_addresses), names = joined(peer.dns_names);
  std::initializer_list<io::Field> fields = {{"remote-addr", address}, {"server-name", peer.server_name},
                                             {"ip-addresses", ips},    {"dns-names", names},
                                             {"error", why.message()}, {"lines-left-out", lines_left_out_}};
  if (!news) {
    world_.log->debug(pending.listen->rejected, fields);
    return;
  }
  world_.log->warn(pending.listen->rejected, fields);
  lines_left_out_ = 0;
}

}  // namespace fairlead::net
