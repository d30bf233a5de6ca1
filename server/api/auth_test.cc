// Authentication through the front door: members, their servers and gRPC clients on simulated machines.
#include <gtest/gtest.h>

#include <openssl/evp.h>

#include "proto/rpc.pb.h"
#include "server/api/api.h"
#include "server/mvcc/errors.h"
#include "server/net/client.h"
#include "server/node/cluster_for_test.h"

namespace fairlead::api {
namespace {

using namespace etcdserverpb;

template <typename Message>
Bytes bytes_of(const Message& m) {
  return Bytes::copy(m.SerializeAsString());
}

class Collector final : public net::ClientCallHandler {
 public:
  void on_message(net::ClientCall&, Bytes in) override { messages.push_back(in); }
  void on_end(net::ClientCall&, const Status& s) override { ended = s; }
  std::vector<Bytes> messages;
  std::optional<Status> ended;
};

class AuthTest : public ::testing::Test {
 protected:
  void make(size_t size, std::string auth_token = "simple") {
    cluster = std::make_unique<node::TestCluster>(size);
    members = std::vector<Member>(size);
    cluster->on_end = [this](size_t m) {
      members[m].server.reset();
      members[m].api.reset();
    };
    cluster->form();
    ASSERT_TRUE(cluster->make_leader(0));
    client_host = cluster->world().add_host("10.0.1.1");
    io::World world = cluster->world().start_process(client_host);
    for (size_t m = 0; m < size; ++m) {
      cluster->in_turn(m, [&](node::Node& n) {
        Member& member = members[m];
        member.world = cluster->io(m);
        if (auth_token != "simple") write_secret(m, "first secret");
        ApiOptions options;
        options.auth = {auth_token, kBcryptCostMin};
        member.api = std::make_unique<Api>(member.world, n, options);
        ASSERT_EQ(member.api->open_auth(), Status());
        member.api->add_client_routes(member.router);
        member.server = std::make_unique<net::Server>(member.world, net::ServerOptions());
        ASSERT_TRUE(member.server->listen(node::TestCluster::address(m) + ":2379", member.router).is_ok());
      });
      cluster->world().post(client_host, [this, world, m] {
        members[m].client = std::make_unique<net::Client>(
            *world.loop, world.net->connect(node::TestCluster::address(m) + ":2379"), net::ClientOptions());
      });
      ASSERT_TRUE(cluster->wait([&] { return members[m].client != nullptr; }));
    }
  }
  ~AuthTest() override {
    for (Member& m : members) m.client.reset();
    cluster.reset();
  }
  void write_secret(size_t m, const std::string& text) {
    io::Disk& disk = *cluster->io(m).disk;
    if (disk.exists("/vol/secret")) (void)disk.remove("/vol/secret");
    auto file = disk.open("/vol/secret", io::OpenMode::kCreate);
    ASSERT_TRUE(file.is_ok());
    ASSERT_TRUE((*file)->write_at(0, text).is_ok());
  }

  // ---- calls
  template <typename Reply = AuthEnableResponse, typename Request>
  Status call(std::string_view path, const Request& request, const std::string& token = "", Reply* reply = nullptr,
              size_t m = 0, const std::string& header = "token") {
    std::optional<Status> got;
    cluster->world().post(client_host, [&, metadata = net::Metadata{{header, token}}] {
      net::CallOptions options;
      if (!token.empty()) options.metadata = &metadata;
      members[m].client->unary(
          path, bytes_of(request),
          [&](const Status& s, Bytes in) {
            got = s;
            EXPECT_TRUE(!s.is_ok() || !reply || reply->ParseFromString(in.to_string()));
          },
          options);
    });
    EXPECT_TRUE(cluster->wait([&] { return got.has_value(); })) << path;
    return got.value_or(Status(Code::kUnknown, "no answer"));
  }
  Status auth(std::string_view method, const google::protobuf::Message& request, const std::string& token = "") {
    return call("/etcdserverpb.Auth/" + std::string(method), request, token);
  }
  Status add_user(const std::string& name, const std::string& password, const std::string& token = "") {
    AuthUserAddRequest r;
    r.set_name(name);
    r.set_password(password);
    return auth("UserAdd", r, token);
  }
  Status grant(const std::string& user, const std::string& role) {
    AuthUserGrantRoleRequest r;
    r.set_user(user);
    r.set_role(role);
    return auth("UserGrantRole", r);
  }
  Status log_in(const std::string& user, const std::string& password, std::string* token, size_t m = 0) {
    AuthenticateRequest r;
    AuthenticateResponse reply;
    r.set_name(user);
    r.set_password(password);
    Status s = call("/etcdserverpb.Auth/Authenticate", r, "", &reply, m);
    *token = reply.token();
    return s;
  }
  Status put(const std::string& key, const std::string& token, size_t m = 0, const std::string& header = "token") {
    PutRequest r;
    r.set_key(key);
    r.set_value("v");
    return call<PutResponse>("/etcdserverpb.KV/Put", r, token, nullptr, m, header);
  }
  Status get(const std::string& key, const std::string& token, size_t m = 0, bool serializable = false) {
    RangeRequest r;
    r.set_key(key);
    r.set_serializable(serializable);
    return call<RangeResponse>("/etcdserverpb.KV/Range", r, token, nullptr, m);
  }
  // root, and ann with all rights to [a, m).
  void enable() {
    ASSERT_EQ(add_user("root", "root-pw"), Status());
    ASSERT_EQ(grant("root", "root"), Status());
    ASSERT_EQ(add_user("ann", "ann-pw"), Status());
    AuthRoleAddRequest role;
    role.set_name("r");
    ASSERT_EQ(auth("RoleAdd", role), Status());
    AuthRoleGrantPermissionRequest permission;
    permission.set_name("r");
    permission.mutable_perm()->set_permtype(authpb::Permission::READWRITE);
    permission.mutable_perm()->set_key("a");
    permission.mutable_perm()->set_range_end("m");
    ASSERT_EQ(auth("RoleGrantPermission", permission), Status());
    ASSERT_EQ(grant("ann", "r"), Status());
    ASSERT_EQ(auth("AuthEnable", AuthEnableRequest()), Status());
    ASSERT_EQ(log_in("root", "root-pw", &root), Status());
    ASSERT_EQ(log_in("ann", "ann-pw", &ann), Status());
  }
  Collector& collector() { return *collectors.emplace_back(std::make_unique<Collector>()); }  // outlives its call
  // A stream with one request; what came back after a while.
  void stream(std::string_view path, const Bytes& request, const std::string& token, Collector& out, size_t m = 0) {
    cluster->world().post(client_host, [&, token, m] {
      net::Metadata metadata = {{"token", token}};
      net::CallOptions options;
      if (!token.empty()) options.metadata = &metadata;
      net::ClientCall& c = members[m].client->open(path, &out, options);
      c.send_message(request);
      c.half_close();
    });
    EXPECT_TRUE(cluster->wait([&] { return out.ended || !out.messages.empty(); })) << path;
  }
  WatchResponse watch(const std::string& key, const std::string& end, const std::string& token, int64_t start = 0) {
    WatchRequest r;
    r.mutable_create_request()->set_key(key);
    r.mutable_create_request()->set_range_end(end);
    r.mutable_create_request()->set_start_revision(start);
    Collector& out = collector();
    stream("/etcdserverpb.Watch/Watch", bytes_of(r), token, out);
    WatchResponse response;
    EXPECT_TRUE(!out.messages.empty() && response.ParseFromString(out.messages[0].to_string()));
    return response;
  }

  struct Member {
    io::World world;
    net::Router router;
    std::unique_ptr<Api> api;
    std::unique_ptr<net::Server> server;
    std::unique_ptr<net::Client> client;
  };
  std::unique_ptr<node::TestCluster> cluster;
  std::vector<std::unique_ptr<Collector>> collectors;
  std::vector<Member> members;
  io::sim::HostId client_host = 0;
  std::string root, ann;
};

// ---- who may call what

// A method that is added gets its line in access.cc, or this fails.
TEST_F(AuthTest, EveryMethodHasAClass) {
  make(1);
  EXPECT_GE(members[0].router.routes().size(), 30u);
  for (const auto& route : members[0].router.routes()) EXPECT_NE(access_of(route->path), nullptr) << route->path;
}

// CVE-2026-33413: calls that forgot to ask. Every method of the table that is served, by everybody who should not.
TEST_F(AuthTest, EveryClassIsEnforced) {
  make(1);
  enable();
  ASSERT_EQ(add_user("bob", "bob-pw", root), Status());
  std::string bob;
  ASSERT_EQ(log_in("bob", "bob-pw", &bob), Status());
  for (const auto& route : members[0].router.routes()) {
    SCOPED_TRACE(route->path);
    const Access access = *access_of(route->path);
    auto ask = [&](const std::string& token) {
      if (route->unary) return call<AuthEnableResponse>(route->path, AuthEnableRequest(), token);
      Collector& out = collector();
      stream(route->path, Bytes(), token, out);
      if (!out.ended) return Status();  // it is open
      return *out.ended;
    };
    if (access == Access::kOpen || (route->stream && access == Access::kKeys)) continue;  // below
    EXPECT_EQ(ask(""), mvcc::err_user_empty());
    EXPECT_EQ(ask("abcdefghijklmnop.1"), mvcc::err_invalid_auth_token());
    EXPECT_EQ(ask("nonsense"), mvcc::err_invalid_auth_token());
    Status as_bob = ask(bob);
    EXPECT_TRUE(access != Access::kAdmin || as_bob == mvcc::err_permission_denied()) << as_bob.to_string();
    EXPECT_NE(as_bob, mvcc::err_user_empty());
    EXPECT_NE(as_bob, mvcc::err_invalid_auth_token());
  }
}

TEST_F(AuthTest, AlarmsAreReadByUsersAndChangedByRoot) {
  make(1);
  enable();
  AlarmRequest r;
  EXPECT_EQ(call<AlarmResponse>("/etcdserverpb.Maintenance/Alarm", r, ann), Status());
  for (AlarmRequest::AlarmAction action : {AlarmRequest::ACTIVATE, AlarmRequest::DEACTIVATE}) {
    r.set_action(action);
    EXPECT_EQ(call<AlarmResponse>("/etcdserverpb.Maintenance/Alarm", r, ann), mvcc::err_permission_denied());
  }
}

TEST_F(AuthTest, UsersMayKnowThemselves) {
  make(1);
  enable();
  AuthUserGetRequest user;
  user.set_name("ann");
  EXPECT_EQ(auth("UserGet", user, ann), Status());
  user.set_name("root");
  EXPECT_EQ(auth("UserGet", user, ann), mvcc::err_permission_denied());
  AuthRoleGetRequest role;
  role.set_role("r");
  EXPECT_EQ(auth("RoleGet", role, ann), Status());
  role.set_role("root");
  EXPECT_EQ(auth("RoleGet", role, ann), mvcc::err_permission_denied());
  EXPECT_EQ(auth("RoleGet", role, root), mvcc::err_role_not_found());
}

// ---- log-in

TEST_F(AuthTest, APasswordIsABcryptHash) {
  make(1);
  ASSERT_EQ(add_user("ann", "ann-pw"), Status());
  const std::string& hash = cluster->node(0).auth().user("ann")->password;
  EXPECT_EQ(hash.substr(0, 7), "$2a$04$");
  EXPECT_EQ(hash.size(), 60u);
  ASSERT_EQ(add_user("bob", "ann-pw"), Status());
  EXPECT_NE(cluster->node(0).auth().user("bob")->password, hash) << "each has a salt of its own";
  EXPECT_EQ(add_user("long", std::string(72, 'x')), Status());
  EXPECT_EQ(add_user("longer", std::string(73, 'x')),
            Status(Code::kUnknown, "bcrypt: password length exceeds 72 bytes"));
  EXPECT_EQ(add_user("nul", std::string("a\0b", 3)).code(), Code::kInvalidArgument);
  EXPECT_EQ(add_user("", "x"), mvcc::err_user_empty());
}

// A hash that another implementation made (the first of OpenBSD's test vectors), brought by the client.
TEST_F(AuthTest, AHashFromElsewhere) {
  make(1);
  enable();
  AuthUserChangePasswordRequest r;
  r.set_name("ann");
  std::string hash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
  std::string base64(100, '\0');
  int n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(base64.data()),
                          reinterpret_cast<const unsigned char*>(hash.data()), static_cast<int>(hash.size()));
  base64.resize(static_cast<size_t>(n));
  r.set_hashedpassword(base64);
  ASSERT_EQ(auth("UserChangePassword", r, root), Status());
  std::string token;
  EXPECT_EQ(log_in("ann", "U*U", &token), Status());
  EXPECT_EQ(log_in("ann", "U*V", &token), mvcc::err_auth_failed());
  EXPECT_EQ(put("b", ann), mvcc::err_invalid_auth_token()) << "the token of before";
  r.set_hashedpassword("not base64!");
  EXPECT_EQ(auth("UserChangePassword", r, root), mvcc::err_no_password_user());
  r.set_name("nobody");
  EXPECT_EQ(auth("UserChangePassword", r, root), mvcc::err_user_not_found());
}

TEST_F(AuthTest, LogIn) {
  make(1);
  std::string token;
  EXPECT_EQ(log_in("root", "root-pw", &token), mvcc::err_auth_not_enabled());
  enable();
  EXPECT_EQ(log_in("root", "wrong", &token), mvcc::err_auth_failed());
  EXPECT_EQ(log_in("root", "", &token), mvcc::err_auth_failed());
  EXPECT_EQ(log_in("ghost", "root-pw", &token), mvcc::err_auth_failed());
  AuthUserAddRequest r;
  r.set_name("tls");
  r.mutable_options()->set_no_password(true);
  ASSERT_EQ(auth("UserAdd", r, root), Status());
  EXPECT_EQ(log_in("tls", "x", &token), mvcc::err_no_password_user());
  ASSERT_EQ(log_in("root", "root-pw", &token), Status());
  EXPECT_EQ(token.find('.'), node::kTokenLetters);
  // Each header, with and without the word before it.
  EXPECT_EQ(put("b", token), Status());
  EXPECT_EQ(put("b", "Bearer " + token), Status());
  EXPECT_EQ(put("b", token, 0, "authorization"), Status());
  EXPECT_EQ(put("b", "Bearer " + token, 0, "authorization"), Status());
}

// Who asks for a user that does not exist waits for a hash as everybody does.
TEST_F(AuthTest, AnUnknownUserCostsAHashToo) {
  make(1);
  enable();
  for (const char* user : {"ghost", "ann"}) {
    cluster->workers(0).hold_next();
    std::optional<Status> got;
    AuthenticateRequest r;
    r.set_name(user);
    r.set_password("wrong");
    cluster->world().post(client_host, [&] {
      members[0].client->unary("/etcdserverpb.Auth/Authenticate", bytes_of(r),
                               [&](const Status& s, Bytes) { got = s; });
    });
    ASSERT_TRUE(cluster->wait([&] { return cluster->workers(0).holding(); })) << user;
    EXPECT_FALSE(got.has_value());
    cluster->workers(0).let_go();
    ASSERT_TRUE(cluster->wait([&] { return got.has_value(); }));
    EXPECT_EQ(*got, mvcc::err_auth_failed());
  }
}

class StuckWorkers final : public io::Workers {
 public:
  void run(std::function<void()>, std::function<void()>) override { ++taken; }
  size_t taken = 0;
};

class CountingRandom final : public io::Random {
 public:
  uint64_t next() override { return ++n_; }

 private:
  uint64_t n_ = 0;
};

TEST(Passwords, HashesUnderWayAreBounded) {
  StuckWorkers workers;
  CountingRandom random;
  io::World world;
  world.workers = &workers;
  world.random = &random;
  Passwords passwords(world, kBcryptCostMin);
  size_t answered = 0;
  auto refused = [&](const Result<bool>& r) {
    EXPECT_EQ(r.status(), node::err_too_many_requests());
    ++answered;
  };
  for (size_t i = 0; i < kHashesRunningMax + kHashesWaitingMax; ++i) passwords.check("", "x", refused);
  EXPECT_EQ(workers.taken, kHashesRunningMax);
  EXPECT_EQ(passwords.waiting(), kHashesWaitingMax);
  EXPECT_EQ(answered, 0u);
  passwords.check("", "x", refused);
  EXPECT_EQ(answered, 1u);
  passwords.hash("x", [&](const Result<std::string>& r) {
    EXPECT_EQ(r.status(), node::err_too_many_requests());
    ++answered;
  });
  EXPECT_EQ(answered, 2u);
}

// ---- tokens

// The token comes from one member and is used at another that has not heard of it yet.
TEST_F(AuthTest, ATokenIsGoodAtAMemberThatIsBehind) {
  make(3);
  enable();
  ASSERT_TRUE(cluster->wait([&] { return cluster->node(2).applied() == cluster->node(0).applied(); }));
  bool held = true;
  std::vector<std::function<void()>> late;
  cluster->disturb(2, [&](raft::Message m, node::Config::Deliver deliver) {
    if (!held) return deliver(std::move(m));
    late.push_back([m = std::move(m), deliver]() mutable { deliver(std::move(m)); });
  });
  std::string token;
  ASSERT_EQ(log_in("ann", "ann-pw", &token, 0), Status());
  std::optional<Status> got;
  cluster->world().post(client_host, [&] {
    net::Metadata metadata = {{"token", token}};
    net::CallOptions options;
    options.metadata = &metadata;
    PutRequest r;
    r.set_key("b");
    members[2].client->unary(
        "/etcdserverpb.KV/Put", bytes_of(r), [&](const Status& s, Bytes) { got = s; }, options);
  });
  cluster->run_for(200 * io::kMillisecond);
  EXPECT_FALSE(got.has_value());
  cluster->in_turn(2, [&](node::Node&) {
    held = false;
    for (auto& deliver : late) deliver();
  });
  ASSERT_TRUE(cluster->wait([&] { return got.has_value(); }));
  EXPECT_EQ(*got, Status());
}

TEST_F(AuthTest, Jwts) {
  make(3, "jwt,priv-key=/vol/secret,sign-method=HS256,ttl=1000h");  // simulated clocks are far apart
  enable();
  EXPECT_EQ(std::count(ann.begin(), ann.end(), '.'), 2);
  for (size_t m : {0, 1, 2}) {
    EXPECT_EQ(put("b", ann, m).to_string(), "OK") << m;
    EXPECT_EQ(put("z", ann, m), mvcc::err_permission_denied());
    EXPECT_EQ(put("b", ann + "x", m), mvcc::err_invalid_auth_token());
    EXPECT_EQ(get("b", ann, m), Status());
  }
  // A JWT speaks of one auth revision.
  ASSERT_EQ(add_user("bob", "bob-pw", root), Status());
  EXPECT_EQ(put("b", ann), mvcc::err_auth_old_revision());
  EXPECT_EQ(get("b", ann), mvcc::err_auth_old_revision());
  ASSERT_EQ(log_in("ann", "ann-pw", &ann), Status());
  EXPECT_EQ(put("b", ann), Status());
}

TEST_F(AuthTest, JwtsExpire) {
  make(1, "jwt,priv-key=/vol/secret,sign-method=HS256,ttl=60s");
  enable();
  EXPECT_EQ(put("b", ann), Status());
  cluster->run_for(61 * io::kSecond);
  EXPECT_EQ(put("b", ann), mvcc::err_invalid_auth_token());
}

TEST_F(AuthTest, KeyFilesAreReadAgain) {
  make(1, "jwt,priv-key=/vol/secret,sign-method=HS256,ttl=1h");
  enable();
  EXPECT_EQ(put("b", ann), Status());
  cluster->in_turn(0, [&](node::Node&) { write_secret(0, "another secret"); });
  cluster->run_for(2 * kKeyFilesInterval);
  (void)put("b", ann);  // starts the look at the files
  cluster->run_for(io::kSecond);
  EXPECT_EQ(put("b", ann), mvcc::err_invalid_auth_token());
  ASSERT_EQ(log_in("ann", "ann-pw", &ann), Status());
  EXPECT_EQ(put("b", ann), Status());
  // A file that is no key changes nothing.
  cluster->in_turn(0, [&](node::Node&) { write_secret(0, ""); });
  cluster->run_for(2 * kKeyFilesInterval);
  (void)put("b", ann);
  cluster->run_for(io::kSecond);
  EXPECT_EQ(put("b", ann), Status());
}

// ---- reads, writes, watches, leases by right

TEST_F(AuthTest, EachCallIsJudgedByItsKeys) {
  make(1);
  enable();
  EXPECT_EQ(put("b", ann), Status());
  EXPECT_EQ(put("z", ann), mvcc::err_permission_denied());
  EXPECT_EQ(put("z", root), Status());
  for (bool serializable : {false, true}) {
    EXPECT_EQ(get("b", ann, 0, serializable), Status());
    EXPECT_EQ(get("z", ann, 0, serializable), mvcc::err_permission_denied());
    EXPECT_EQ(get("b", "", 0, serializable), mvcc::err_user_empty());
  }
  TxnRequest read;
  read.add_success()->mutable_request_range()->set_key("z");
  EXPECT_EQ(call<TxnResponse>("/etcdserverpb.KV/Txn", read, ann), mvcc::err_permission_denied());
  TxnRequest nested;
  nested.add_failure()->mutable_request_txn()->add_success()->mutable_request_put()->set_key("z");
  EXPECT_EQ(call<TxnResponse>("/etcdserverpb.KV/Txn", nested, ann), mvcc::err_permission_denied());
  EXPECT_EQ(call<TxnResponse>("/etcdserverpb.KV/Txn", nested, root), Status());
}

// GHSA-xg4h: a watch is judged by the whole range it covers, however that is written.
TEST_F(AuthTest, AWatchIsJudgedByItsRange) {
  make(1);
  enable();
  const std::string to_the_end(1, '\0');
  EXPECT_FALSE(watch("b", "", ann).canceled());
  EXPECT_FALSE(watch("a", "m", ann).canceled());
  EXPECT_FALSE(watch("", to_the_end, root).canceled());
  struct Case {
    std::string key, end;
  };
  for (const Case& c : {Case{"z", ""}, Case{"a", "n"}, Case{"a", to_the_end}, Case{"", ""}, Case{"", to_the_end},
                        Case{"", "m"}, Case{to_the_end, to_the_end}}) {
    WatchResponse response = watch(c.key, c.end, ann);
    EXPECT_TRUE(response.created() && response.canceled()) << c.key << " " << c.end;
    EXPECT_EQ(response.watch_id(), -1);
    EXPECT_EQ(response.cancel_reason(), "rpc error: code = PermissionDenied desc = etcdserver: permission denied");
  }
  EXPECT_EQ(watch("b", "", "").cancel_reason(),
            "rpc error: code = InvalidArgument desc = etcdserver: user name is empty");
  EXPECT_EQ(watch("b", "", "x.1").cancel_reason(),
            "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token");
  EXPECT_EQ(watch("b", "", "", -1).cancel_reason(), "etcdserver: mvcc: required revision has been compacted");
}

// Streams that read keys ask for themselves: a range that streams, and who leads an election.
TEST_F(AuthTest, StreamsOfKeysAreJudged) {
  make(1);
  enable();
  ASSERT_EQ(put("b", root), Status());
  auto ask = [&](std::string_view path, const Bytes& request, const std::string& token) {
    Collector& out = collector();
    stream(path, request, token, out);
    cluster->wait([&] { return out.ended.has_value(); }, io::kSecond);
    return out.ended.value_or(Status());
  };
  constexpr std::string_view kRange = "/etcdserverpb.KV/RangeStream", kObserve = "/v3electionpb.Election/Observe";
  RangeRequest mine, foreign;
  mine.set_key("a");
  mine.set_range_end("m");
  foreign.set_key("a");
  foreign.set_range_end("n");
  EXPECT_EQ(ask(kRange, bytes_of(mine), ann), Status());
  EXPECT_EQ(ask(kRange, bytes_of(foreign), ann), mvcc::err_permission_denied());
  EXPECT_EQ(ask(kRange, bytes_of(foreign), root), Status());
  EXPECT_EQ(ask(kRange, bytes_of(mine), ""), mvcc::err_user_empty());
  EXPECT_EQ(ask(kRange, bytes_of(mine), "x.1"), mvcc::err_invalid_auth_token());
  Bytes election = Bytes::copy(std::string("\x0a\x01z", 3));  // LeaderRequest.name = "z"
  for (const std::string& token : {ann, std::string(), std::string("x.1")}) {
    Collector& out = collector();
    cluster->world().post(client_host, [&, token] {
      net::Metadata metadata = {{"token", token}};
      net::CallOptions options;
      if (!token.empty()) options.metadata = &metadata;
      net::ClientCall& c = members[0].client->open(kObserve, &out, options);
      c.send_message(election);
      c.half_close();
    });
    EXPECT_TRUE(cluster->wait([&] { return out.ended.has_value(); }));
    EXPECT_FALSE(out.ended.value_or(Status()).is_ok());
    EXPECT_TRUE(out.messages.empty());
  }
}

// While a create waits to be judged, what follows on its stream waits too, and is answered in order.
TEST_F(AuthTest, AWatchStreamKeepsItsOrder) {
  make(1);
  enable();
  Collector& out = collector();
  cluster->world().post(client_host, [&] {
    net::Metadata metadata = {{"token", ann}};
    net::CallOptions options;
    options.metadata = &metadata;
    net::ClientCall& c = members[0].client->open("/etcdserverpb.Watch/Watch", &out, options);
    for (int i = 1; i <= 20; ++i) {
      WatchRequest r;
      r.mutable_create_request()->set_key(i % 2 ? "z" : "b");  // every other one is refused, after a barrier
      r.mutable_create_request()->set_watch_id(i);
      c.send_message(bytes_of(r));
      WatchRequest cancel;
      cancel.mutable_cancel_request()->set_watch_id(i);
      c.send_message(bytes_of(cancel));
    }
  });
  ASSERT_TRUE(cluster->wait([&] { return out.messages.size() == 30; }));
  size_t at = 0;
  for (int i = 1; i <= 20; ++i) {
    WatchResponse response;
    ASSERT_TRUE(response.ParseFromString(out.messages[at++].to_string()));
    EXPECT_TRUE(response.created());
    EXPECT_EQ(response.watch_id(), i % 2 ? -1 : i);
    if (i % 2) continue;
    ASSERT_TRUE(response.ParseFromString(out.messages[at++].to_string()));
    EXPECT_TRUE(response.canceled() && response.watch_id() == i);
  }
}

TEST_F(AuthTest, KeepAlivesAreJudged) {
  make(1);
  enable();
  LeaseGrantRequest grant_request;
  grant_request.set_id(7);
  grant_request.set_ttl(60);
  ASSERT_EQ(call<LeaseGrantResponse>("/etcdserverpb.Lease/LeaseGrant", grant_request, ann), Status());
  auto keep_alive = [&](const std::string& token) {
    LeaseKeepAliveRequest r;
    r.set_id(7);
    Collector& out = collector();
    stream("/etcdserverpb.Lease/LeaseKeepAlive", bytes_of(r), token, out);
    return out.messages.empty() ? out.ended.value_or(Status()) : Status();
  };
  EXPECT_EQ(keep_alive(ann), Status());
  EXPECT_EQ(keep_alive(""), mvcc::err_user_empty());
  EXPECT_EQ(keep_alive("x.1"), mvcc::err_invalid_auth_token());
  PutRequest foreign;
  foreign.set_key("z");
  foreign.set_lease(7);
  ASSERT_EQ(call<PutResponse>("/etcdserverpb.KV/Put", foreign, root), Status());
  EXPECT_EQ(keep_alive(ann), mvcc::err_permission_denied());
  EXPECT_EQ(keep_alive(root), Status());
}

TEST_F(AuthTest, StatusIsOpenToAll) {
  make(1);
  AuthStatusResponse reply;
  ASSERT_EQ(call("/etcdserverpb.Auth/AuthStatus", AuthStatusRequest(), "", &reply), Status());
  EXPECT_FALSE(reply.enabled());
  EXPECT_EQ(reply.authrevision(), 1u);
  enable();
  ASSERT_EQ(call("/etcdserverpb.Auth/AuthStatus", AuthStatusRequest(), "", &reply), Status());
  EXPECT_TRUE(reply.enabled());
  EXPECT_EQ(reply.authrevision(), cluster->node(0).auth().revision());
  EXPECT_EQ(call("/etcdserverpb.Auth/AuthStatus", AuthStatusRequest(), "x.1", &reply), mvcc::err_invalid_auth_token());
}

}  // namespace
}  // namespace fairlead::api
