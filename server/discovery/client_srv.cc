#include "server/discovery/client_srv.h"

#include <memory>
#include <utility>

namespace fairlead::discovery {
namespace {

Status query(Resolver& resolver, const std::string& scheme, const std::string& name, std::vector<ClientEndpoint>& out) {
  ASSIGN_OR_RETURN(std::vector<SrvRecord> records, resolver.srv(name));
  for (SrvRecord& record : records)
    out.push_back({scheme + "://" + host_port(record.target, record.port), std::move(record)});
  return {};
}

// All handshakes at once; what has not ended in time has failed.
struct Verification : std::enable_shared_from_this<Verification> {
  struct Attempt final : io::StreamHandler {
    void on_connected() override { parent->ended(*this, {}); }
    void on_readable() override {
      char byte;
      io::IoResult got = stream->read({&byte, 1});
      if (got.would_block || got.bytes > 0) return;
      parent->ended(*this, got.error.is_ok() ? unavailable("the connection was closed") : got.error);
    }
    Verification* parent = nullptr;
    std::unique_ptr<io::Stream> stream;
    Status outcome = unavailable("no answer in time");
    bool open = false;
  };

  void start(const net::TlsDial& dial, const std::string& domain) {
    attempts.resize(endpoints.size());
    for (size_t i = 0; i < endpoints.size(); ++i) {
      attempts[i] = std::make_unique<Attempt>();
      Attempt& attempt = *attempts[i];
      attempt.parent = this;
      if (!endpoints[i].url.starts_with("https://")) {
        attempt.outcome = failed_precondition("is insecure");
        continue;
      }
      attempt.open = true;
      ++open;
      attempt.stream = net::TlsStream::client(*world.loop, world.net->connect(endpoints[i].host_port()), dial.context,
                                              dial.gate, domain);
      attempt.stream->set_handler(&attempt);
    }
    auto self = shared_from_this();
    if (open == 0) return world.loop->post([self] { self->finish(); });
    timer = world.loop->add_timer(world.loop->now() + kVerifyTimeout, [self] { self->finish(); });
  }

  void ended(Attempt& attempt, Status outcome) {
    if (!std::exchange(attempt.open, false)) return;
    attempt.outcome = std::move(outcome);
    attempt.stream->set_handler(nullptr);
    if (--open > 0) return;
    world.loop->post([self = shared_from_this()] { self->finish(); });  // out of the stream's own work
  }

  void finish() {
    if (std::exchange(finished, true)) return;
    world.loop->cancel_timer(timer);
    std::vector<ClientEndpoint> good;
    std::string why_not;
    for (size_t i = 0; i < endpoints.size(); ++i) {
      const Status& outcome = attempts[i]->outcome;
      if (outcome.is_ok())
        good.push_back(endpoints[i]);
      else
        why_not += (why_not.empty() ? "" : ", ") + endpoints[i].url + ": " + std::string(outcome.message());
    }
    attempts.clear();
    done(std::move(good), std::move(why_not));
  }

  io::World world;
  std::vector<ClientEndpoint> endpoints;
  Verified done;
  std::vector<std::unique_ptr<Attempt>> attempts;
  size_t open = 0;
  io::TimerId timer = 0;
  bool finished = false;
};

}  // namespace

Result<std::vector<ClientEndpoint>> find_client_endpoints(Resolver& resolver, const std::string& domain,
                                                          const std::string& suffix) {
  std::string end = (suffix.empty() ? "" : "-" + suffix) + "._tcp." + domain;
  std::vector<ClientEndpoint> out;
  Status secure = query(resolver, "https", "_etcd-client-ssl" + end, out);
  Status plain = query(resolver, "http", "_etcd-client" + end, out);
  if (secure.is_ok() || plain.is_ok()) return out;
  return Status(plain.code(),
                "dns lookup errors: " + std::string(secure.message()) + " and " + std::string(plain.message()));
}

void verify_client_endpoints(const io::World& world, net::TlsDial dial, const std::string& domain,
                             std::vector<ClientEndpoint> endpoints, Verified done) {
  auto verification = std::make_shared<Verification>();
  verification->world = world;
  verification->endpoints = std::move(endpoints);
  verification->done = std::move(done);
  verification->start(dial, domain);
}

}  // namespace fairlead::discovery
