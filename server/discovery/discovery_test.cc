#include <gtest/gtest.h>

#include <deque>
#include <set>

#include "proto/rpc.pb.h"
#include "server/discovery/client_srv.h"
#include "server/discovery/dns.h"
#include "server/discovery/srv.h"
#include "server/discovery/token.h"
#include "server/io/sim/world.h"
#include "server/net/server.h"

namespace fairlead::discovery {
namespace {

// ---- answers of name servers

std::string u16(uint16_t v) { return {static_cast<char>(v >> 8), static_cast<char>(v & 0xFF)}; }
std::string labels(std::initializer_list<std::string_view> names) {
  std::string out;
  for (auto name : names) out += static_cast<char>(name.size()) + std::string(name);
  return out + '\0';
}

std::string srv_answer(const std::vector<std::string>& targets, uint16_t port, uint16_t count) {
  std::string out = u16(7) + u16(0x8180) + u16(1) + u16(count) + u16(0) + u16(0);
  out += labels({"_etcd-server", "_tcp", "example", "com"}) + u16(33) + u16(1);
  for (const std::string& target : targets)
    out += u16(0xC00C) + u16(33) + u16(1) + std::string(4, '\0') + u16(static_cast<uint16_t>(6 + target.size())) +
           u16(0) + u16(0) + u16(port) + target;
  return out;
}

TEST(Dns, ReadsSrvRecordsWithCompressedNames) {
  std::string compressed = std::string("\6infra1") + u16(0xC000 | 30);  // "...example.com" of the question
  size_t example = srv_answer({}, 0, 0).find("\7example");
  compressed = std::string("\6infra1") + u16(static_cast<uint16_t>(0xC000 | example));
  auto records = parse_srv_answer(srv_answer({labels({"infra0", "example", "com"}), compressed}, 2380, 2));
  ASSERT_TRUE(records.is_ok()) << records.status().to_string();
  EXPECT_EQ(*records, (std::vector<SrvRecord>{{"infra0.example.com", 2380}, {"infra1.example.com", 2380}}));
}

TEST(Dns, PrioritiesAndWeightsAreRead) {
  std::string answer = srv_answer({labels({"a"})}, 2379, 1);
  size_t record = answer.size() - labels({"a"}).size() - 6;
  answer.replace(record, 4, u16(10) + u16(60));
  auto records = parse_srv_answer(answer);
  ASSERT_TRUE(records.is_ok()) << records.status().to_string();
  EXPECT_EQ(*records, (std::vector<SrvRecord>{{"a", 2379, 10, 60}}));
}

TEST(Dns, DamagedAnswersAreErrors) {
  std::string good = srv_answer({labels({"infra0", "example", "com"})}, 2380, 1);
  ASSERT_TRUE(parse_srv_answer(good).is_ok());
  for (size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(parse_srv_answer(good.substr(0, n)).is_ok()) << n;
  EXPECT_FALSE(parse_srv_answer(srv_answer({labels({"a"})}, 1, 2)).is_ok());  // one is missing
  EXPECT_FALSE(parse_srv_answer(srv_answer({labels({})}, 1, 1)).is_ok());     // the root is no host
  size_t target = good.size() - labels({"infra0", "example", "com"}).size();
  std::string loop = srv_answer({u16(static_cast<uint16_t>(0xC000 | target))}, 1, 1);  // a name that points at itself
  EXPECT_FALSE(parse_srv_answer(loop).is_ok());
  for (size_t i = 0; i < good.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      (void)parse_srv_answer(bad).is_ok();  // anything but a crash
    }
}

// ---- SRV

struct FakeResolver final : Resolver {
  std::map<std::string, std::vector<SrvRecord>> records;
  std::map<std::string, std::string> hosts;  // name -> address
  std::set<std::string> servers_down;        // SRV names without an answer
  Result<std::vector<SrvRecord>> srv(const std::string& name) override {
    if (servers_down.contains(name)) return unavailable("lookup " + name + ": no answer");
    auto found = records.find(name);
    if (found == records.end()) return not_found("lookup " + name + ": no such host");
    return found->second;
  }
  Result<std::vector<std::string>> addresses(const std::string& host, const std::string& port) override {
    if (host.find_first_not_of("0123456789.") == std::string::npos) return std::vector{host + ":" + port};
    auto found = hosts.find(host);
    if (found == hosts.end()) return unavailable("resolve " + host + ": no such host");
    return std::vector{found->second + ":" + port};
  }
};

struct Srv : testing::Test {
  Srv() : sim(1) {
    sim.add_host("10.9.9.9");
    world = sim.start_process(0);
    for (int i = 0; i < 3; ++i) {
      std::string host = "infra" + std::to_string(i) + ".example.com";
      resolver.records["_etcd-server._tcp.example.com"].push_back({host, 2380});
      resolver.hosts[host] = "10.0.0." + std::to_string(i);
    }
    request = {"example.com", "", "me", {"http://10.0.0.1:2380"}};
  }
  void find() {
    sim.post(0,
             [this] { find_srv_peers(world, resolver, request, [this](Result<PeerMap> r) { found = std::move(r); }); });
  }
  void verify(VerifyRequest r) {
    verdict.reset();
    sim.post(0, [this, r] { verify_peers(world, resolver, r, [this](Status s) { verdict = std::move(s); }); });
    sim.run_for(40 * io::kSecond);
  }
  io::sim::SimWorld sim;
  io::World world;
  FakeResolver resolver;
  SrvRequest request;
  std::optional<Result<PeerMap>> found;
  std::optional<Status> verdict;
};

TEST_F(Srv, TheOwnAddressHasTheOwnName) {
  find();
  sim.run_for(io::kSecond);
  ASSERT_TRUE(found && found->is_ok()) << found->status().to_string();
  EXPECT_EQ(**found, (PeerMap{{"0", {"http://infra0.example.com:2380"}},
                              {"me", {"http://infra1.example.com:2380"}},
                              {"1", {"http://infra2.example.com:2380"}}}));
}

TEST_F(Srv, SecureAndPlainServicesAddUp) {
  resolver.records["_etcd-server-ssl-blue._tcp.example.com"] = {{"infra0.example.com", 2380}};
  resolver.records["_etcd-server-blue._tcp.example.com"] = {{"infra1.example.com", 2380}};
  request.suffix = "blue";
  find();
  sim.run_for(io::kSecond);
  ASSERT_TRUE(found && found->is_ok()) << found->status().to_string();
  EXPECT_EQ(**found, (PeerMap{{"0", {"https://infra0.example.com:2380"}}, {"me", {"http://infra1.example.com:2380"}}}));
}

TEST_F(Srv, WaitsUntilEveryNameResolves) {
  std::string late = resolver.hosts["infra2.example.com"];
  resolver.hosts.erase("infra2.example.com");
  find();
  sim.run_for(20 * io::kSecond);
  EXPECT_FALSE(found);
  resolver.hosts["infra2.example.com"] = late;
  sim.run_for(2 * io::kSecond);
  ASSERT_TRUE(found && found->is_ok());
  EXPECT_EQ((*found)->size(), 3u);
}

TEST_F(Srv, GivesUpWithTheNamesThatAreMissing) {
  resolver.hosts.erase("infra2.example.com");
  find();
  sim.run_for(kNamesWaitMax + 2 * io::kSecond);
  ASSERT_TRUE(found && !found->is_ok());
  EXPECT_NE(found->status().message().find("infra2.example.com: resolve infra2.example.com"), std::string::npos);
}

TEST_F(Srv, ErrorsAreEtcds) {
  request.domain = "nowhere.example.com";
  find();
  sim.run_for(io::kSecond);
  ASSERT_TRUE(found);
  EXPECT_EQ(
      found->status().message(),
      "error querying DNS SRV records for _etcd-server-ssl lookup _etcd-server-ssl._tcp.nowhere.example.com: no such "
      "host\nerror querying DNS SRV records for _etcd-server lookup _etcd-server._tcp.nowhere.example.com: no such "
      "host");
  request.domain = "example.com";
  request.advertise_peer_urls = {"http://10.0.0.7:2380"};
  found.reset();
  find();
  sim.run_for(io::kSecond);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->status().message(), "cannot find local etcd member \"me\" in SRV records");
  request.advertise_peer_urls = {"https://10.0.0.1:2380"};
  found.reset();
  find();
  sim.run_for(io::kSecond);
  ASSERT_TRUE(found);
  EXPECT_NE(found->status().message().find("scheme mismatch with expected peer https://10.0.0.1:2380"),
            std::string::npos);
}

TEST_F(Srv, EndpointsForClients) {
  resolver.records["_etcd-client._tcp.example.com"] = {{"a.example.com", 2379, 1, 2}};
  resolver.records["_etcd-client-ssl-blue._tcp.example.com"] = {{"::1", 2379}};
  auto plain = find_client_endpoints(resolver, "example.com", "");
  ASSERT_TRUE(plain.is_ok());
  ASSERT_EQ(plain->size(), 1u);
  EXPECT_EQ(plain->front().url, "http://a.example.com:2379");
  EXPECT_EQ(plain->front().record.weight, 2);
  auto secure = find_client_endpoints(resolver, "example.com", "blue");
  ASSERT_TRUE(secure.is_ok());
  EXPECT_EQ(secure->at(0).url, "https://[::1]:2379");
  EXPECT_EQ(find_client_endpoints(resolver, "other.com", "").status().message(),
            "dns lookup errors: lookup _etcd-client-ssl._tcp.other.com: no such host and lookup "
            "_etcd-client._tcp.other.com: no such host");
}

TEST_F(Srv, EndpointsThatCannotProveWhoTheyAreAreLeftOut) {
  std::vector<ClientEndpoint> endpoints = {{"http://a:1", {}}, {"https://10.0.0.77:2379", {}}};
  std::optional<std::string> why;
  size_t good = 9;
  sim.post(0, [&] {
    auto context = net::TlsContext::create(world, net::TlsConfig());
    ASSERT_TRUE(context.is_ok());
    net::TlsDial dial{*context, std::make_shared<net::TlsGate>(world.workers)};
    verify_client_endpoints(world, dial, "example.com", endpoints, [&](auto left, const std::string& text) {
      good = left.size();
      why = text;
    });
  });
  sim.run_for(2 * kVerifyTimeout);
  EXPECT_EQ(good, 0u);
  ASSERT_TRUE(why);
  EXPECT_NE(why->find("http://a:1: is insecure, https://10.0.0.77:2379: "), std::string::npos) << *why;
}

TEST_F(Srv, ANameServerThatDoesNotAnswerIsAskedAgain) {
  resolver.servers_down.insert("_etcd-server._tcp.example.com");
  find();
  sim.run_for(5 * io::kSecond);
  EXPECT_FALSE(found);
  resolver.servers_down.clear();
  sim.run_for(2 * io::kSecond);
  EXPECT_TRUE(found && found->is_ok());
}

TEST_F(Srv, TheOwnUrlsMustBeTheListedOnes) {
  PeerMap peers = {{"me", {"http://infra1.example.com:2380"}}, {"x", {"http://10.0.0.5:2380"}}};
  verify({peers, "me", {"http://infra1.example.com:2380"}});
  EXPECT_TRUE(verdict && verdict->is_ok());
  verify({peers, "me", {"http://10.0.0.1:2380"}});  // the same by its address
  EXPECT_TRUE(verdict && verdict->is_ok()) << verdict->to_string();
  verify({peers, "you", {"http://10.0.0.1:2380"}});
  EXPECT_NE(verdict->message().find("couldn't find local name \"you\" in the initial cluster configuration"),
            std::string::npos);
  verify({peers, "me", {"http://10.0.0.2:2380"}});
  EXPECT_EQ(verdict->message(),
            "--initial-cluster has me=http://infra1.example.com:2380 but missing from "
            "--initial-advertise-peer-urls=http://10.0.0.2:2380");
  verify({peers, "me", {"http://infra1.example.com:2380", "http://10.0.0.9:1"}});
  EXPECT_EQ(verdict->message(),
            "--initial-advertise-peer-urls has http://10.0.0.9:1 but missing from "
            "--initial-cluster=me=http://infra1.example.com:2380");
  verify({peers, "me", {"http://nobody.example.com:2380"}});
  EXPECT_NE(verdict->message().find("resolve nobody.example.com"), std::string::npos);
  peers["x"] = peers["me"];
  verify({peers, "me", peers["me"]});
  EXPECT_EQ(verdict->message(), "initial cluster has duplicate url http://infra1.example.com:2380");
  verify({{{"me", {"http://a:1"}}}, "me", {"http://b:1"}, false});
  EXPECT_TRUE(verdict->is_ok());
}

// ---- tokens: a small registry behind the real front door, over the simulated network

template <typename Message>
Bytes serialize(const Message& message) {
  return Bytes::copy(message.SerializeAsString());
}

class Registry {
 public:
  struct Value {
    std::string value;
    int64_t create_revision, mod_revision;
  };
  std::map<std::string, Value> keys;
  int64_t revision = 1;
  int failures = 0;      // so many calls end with kUnavailable
  std::string password;  // of the user "root"; empty: everyone may
  size_t watches = 0;    // made so far

  Registry(io::World world, const std::string& address) : server_(world, net::ServerOptions{}) {
    router_.add_unary("/etcdserverpb.Auth/Authenticate", [this](net::CallRef call, Bytes in) {
      etcdserverpb::AuthenticateRequest request;
      request.ParseFromArray(in.data(), static_cast<int>(in.size()));
      if (request.name() != "root" || request.password() != password)
        return call->finish(invalid_argument("etcdserver: authentication failed, invalid user ID or password"));
      etcdserverpb::AuthenticateResponse reply;
      reply.set_token("t1");
      call->reply(serialize(reply));
    });
    router_.add_unary("/etcdserverpb.KV/Range", [this](net::CallRef call, Bytes in) { range(call, in); });
    router_.add_unary("/etcdserverpb.KV/Put", [this](net::CallRef call, Bytes in) {
      if (!may(call)) return;
      etcdserverpb::PutRequest request;
      request.ParseFromArray(in.data(), static_cast<int>(in.size()));
      put(request.key(), request.value());
      call->reply(serialize(etcdserverpb::PutResponse()));
    });
    router_.add_stream("/etcdserverpb.Watch/Watch", net::MethodKind::kBidi, [this](net::ServerCall& call) {
      ++watches;
      auto watcher = std::make_unique<Watcher>();
      watcher->registry = this;
      watcher->call = net::CallRef(&call);
      watchers_.insert(watcher.get());
      return watcher;
    });
    CHECK(server_.listen(address, router_).is_ok());
  }
  void put(const std::string& key, const std::string& value) {
    ++revision;
    auto [it, fresh] = keys.try_emplace(key, Value{value, revision, revision});
    it->second.value = value;
    it->second.mod_revision = revision;
    for (Watcher* w : watchers_) w->event(key, it->second);
  }
  void break_watches() {
    for (Watcher* w : std::set(watchers_)) w->call->finish(unavailable("etcdserver: server stopped"));
  }

 private:
  struct Watcher final : net::CallHandler {
    Registry* registry = nullptr;
    net::CallRef call;
    std::string key, end;
    ~Watcher() override { registry->watchers_.erase(this); }
    void on_message(net::ServerCall&, Bytes in) override {
      etcdserverpb::WatchRequest request;
      request.ParseFromArray(in.data(), static_cast<int>(in.size()));
      key = request.create_request().key();
      end = request.create_request().range_end();
      etcdserverpb::WatchResponse created;
      created.set_created(true);
      call->send_message(serialize(created));
      for (const auto& [k, value] : registry->keys)
        if (value.mod_revision >= request.create_request().start_revision()) event(k, value);
    }
    void event(const std::string& k, const Value& value) {
      if (key.empty() || k < key || k >= end) return;
      etcdserverpb::WatchResponse reply;
      auto* kv = reply.add_events()->mutable_kv();
      kv->set_key(k);
      kv->set_value(value.value);
      kv->set_create_revision(value.create_revision);
      call->send_message(serialize(reply));
    }
  };

  bool may(net::CallRef& call) {
    if (failures > 0) return --failures, call->finish(unavailable("not now")), false;
    if (password.empty() || call->metadata("token") == "t1") return true;
    return call->finish(invalid_argument("etcdserver: user name is empty")), false;
  }
  void range(net::CallRef& call, const Bytes& in) {
    if (!may(call)) return;
    etcdserverpb::RangeRequest request;
    request.ParseFromArray(in.data(), static_cast<int>(in.size()));
    etcdserverpb::RangeResponse reply;
    reply.mutable_header()->set_revision(revision);
    for (const auto& [key, value] : keys) {
      bool hit = request.range_end().empty() ? key == request.key() : key >= request.key() && key < request.range_end();
      if (!hit) continue;
      auto* kv = reply.add_kvs();
      kv->set_key(key);
      kv->set_value(value.value);
      kv->set_create_revision(value.create_revision);
    }
    call->reply(serialize(reply));
  }

  std::set<Watcher*> watchers_;
  net::Router router_;
  net::Server server_;
};

struct Tokens : testing::Test {
  static constexpr uint32_t kJoiners = 4;
  Tokens() : sim(1) {
    sim.add_host("10.0.0.100");
    for (uint32_t i = 0; i < kJoiners; ++i) sim.add_host("10.0.0." + std::to_string(i));
    registry = std::make_unique<Registry>(sim.start_process(0), "10.0.0.100:2379");
    for (uint32_t i = 0; i < kJoiners; ++i) worlds.push_back(sim.start_process(i + 1));
    sim.set_log(io::LogLevel::kInfo, false);
    joins.resize(kJoiners);
    found.resize(kJoiners);
  }
  ~Tokens() override {
    joins.clear();
    registry.reset();
  }
  TokenRequest request(uint32_t i) {
    TokenRequest r;
    r.token = "tk";
    r.endpoints = {"http://10.0.0.100:2379"};
    r.self = MemberId(0x100 + i);
    r.contents = "m" + std::to_string(i) + "=http://10.0.0." + std::to_string(i) + ":2380";
    return r;
  }
  void join(uint32_t i, TokenRequest r) {
    sim.post(i + 1, [=, this] {
      joins[i] = std::make_unique<TokenJoin>(worlds[i], r, [=, this](Result<PeerMap> p) { found[i] = std::move(p); });
    });
  }
  void TearDown() override {
    if (HasFailure())
      for (auto& l : sim.log_lines()) puts(l.c_str());
  }
  std::string error(uint32_t i) { return found[i] ? std::string(found[i]->status().message()) : "(nothing yet)"; }

  io::sim::SimWorld sim;
  std::unique_ptr<Registry> registry;
  std::vector<io::World> worlds;
  std::vector<std::unique_ptr<TokenJoin>> joins;
  std::vector<std::optional<Result<PeerMap>>> found;
  const PeerMap three = {
      {"m0", {"http://10.0.0.0:2380"}}, {"m1", {"http://10.0.0.1:2380"}}, {"m2", {"http://10.0.0.2:2380"}}};
};

TEST_F(Tokens, MembersMeet) {
  registry->put("/_etcd/registry/tk/_config/size", "3");
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_FALSE(found[0]);
    join(i, request(i));
    sim.run_for(10 * io::kSecond);
  }
  for (uint32_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(found[i] && found[i]->is_ok()) << i << ": " << error(i);
    EXPECT_EQ(**found[i], three);
  }
  EXPECT_TRUE(registry->keys.contains("/_etcd/registry/tk/members/100"));
  join(3, request(3));
  sim.run_for(10 * io::kSecond);
  EXPECT_NE(error(3).find("discovery: cluster is full"), std::string::npos);
  found[1].reset();  // one that comes again, as after a crash, is one of them
  join(1, request(1));
  sim.run_for(10 * io::kSecond);
  ASSERT_TRUE(found[1] && found[1]->is_ok()) << error(1);
}

TEST_F(Tokens, ErrorsAreEtcds) {
  join(0, request(0));
  sim.run_for(10 * io::kSecond);
  EXPECT_EQ(error(0), "discovery: size key not found");
  for (const char* bad : {"0", "-1", "three", "", "3x", "99999999"}) {
    registry->put("/_etcd/registry/tk/_config/size", bad);
    found[0].reset();
    join(0, request(0));
    sim.run_for(10 * io::kSecond);
    EXPECT_EQ(error(0), "discovery: size key is bad") << bad;
  }
  registry->put("/_etcd/registry/tk/_config/size", "2");
  registry->put("/_etcd/registry/tk/members/5", "m5=ftp://x:1");
  found[0].reset();
  join(0, request(0));
  sim.run_for(10 * io::kSecond);
  EXPECT_NE(error(0).find("discovery: invalid peer URL"), std::string::npos);
  registry->keys.erase("/_etcd/registry/tk/members/5");
  registry->put("/_etcd/registry/tk/members/6", request(0).contents);
  found[0].reset();
  join(0, request(0));
  sim.run_for(10 * io::kSecond);
  EXPECT_NE(error(0).find("has duplicate url"), std::string::npos);
}

TEST_F(Tokens, AServiceThatDoesNotAnswerIsAskedAgain) {
  registry->put("/_etcd/registry/tk/_config/size", "1");
  registry->failures = 2;
  join(0, request(0));
  sim.run_for(5 * io::kSecond);
  EXPECT_FALSE(found[0]);
  sim.run_for(10 * io::kSecond);  // after pauses of 2 s and 4 s
  ASSERT_TRUE(found[0] && found[0]->is_ok()) << error(0);
  TokenRequest r = request(1);
  r.endpoints = {"10.0.0.55:1", "10.0.0.100:2379"};  // the second is asked at once
  registry->put("/_etcd/registry/tk/_config/size", "2");
  join(1, r);
  sim.run_for(r.request_timeout + r.dial_timeout + 10 * io::kSecond);
  EXPECT_TRUE(found[1] && found[1]->is_ok()) << error(1);
}

TEST_F(Tokens, AWatchThatBreaksIsMadeAgain) {
  registry->put("/_etcd/registry/tk/_config/size", "2");
  join(0, request(0));
  sim.run_for(10 * io::kSecond);
  EXPECT_EQ(registry->watches, 1u);
  sim.post(0, [this] { registry->break_watches(); });
  sim.run_for(10 * io::kSecond);
  EXPECT_EQ(registry->watches, 2u);
  join(1, request(1));
  sim.run_for(10 * io::kSecond);
  EXPECT_TRUE(found[0] && found[0]->is_ok()) << error(0);
}

TEST_F(Tokens, ASilentServiceIsLeft) {
  registry->put("/_etcd/registry/tk/_config/size", "2");
  join(0, request(0));
  sim.run_for(10 * io::kSecond);
  EXPECT_EQ(registry->watches, 1u);
  sim.set_link(0, 1, false);  // nothing comes back any more, and nothing tells
  sim.run_for(60 * io::kSecond);
  sim.heal_all_links();
  sim.run_for(60 * io::kSecond);  // longer than the longest pause by now
  EXPECT_EQ(registry->watches, 2u);
  join(1, request(1));
  sim.run_for(300 * io::kSecond);
  EXPECT_TRUE(found[0] && found[0]->is_ok()) << error(0);
}

TEST_F(Tokens, Passwords) {
  registry->put("/_etcd/registry/tk/_config/size", "1");
  registry->password = "secret";
  TokenRequest r = request(0);
  r.user = "root";
  r.password = "wrong";
  join(0, r);
  sim.run_for(10 * io::kSecond);
  EXPECT_NE(error(0).find("authentication failed"), std::string::npos);
  r.password = "secret";
  found[0].reset();
  join(0, r);
  sim.run_for(10 * io::kSecond);
  EXPECT_TRUE(found[0] && found[0]->is_ok()) << error(0);
}

}  // namespace
}  // namespace fairlead::discovery
