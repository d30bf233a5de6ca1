// TLS through bytes: our client and our server over pipes in memory, with certificates made at run time.
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "server/io/real/world.h"
#include "server/net/client.h"
#include "server/net/server.h"
#include "server/net/test_world.h"
#include "server/net/tls_config.h"
#include "server/net/tls_net.h"
#include "server/net/tls_test_pki.h"

namespace fairlead::net {
namespace {

using test::Cert;
using test::CertOptions;
using test::frame;
using test::make_cert;
using test::make_crl;
using test::make_pipe;
using test::PipeEnd;
using test::RawPeer;
using test::TestLoop;

class TestWorkers final : public io::Workers {
 public:
  explicit TestWorkers(TestLoop& loop) : loop_(loop) {}
  void run(std::function<void()> work, std::function<void()> done) override {
    ++jobs;
    auto job = [work, done] {
      work();
      done();
    };
    hold ? held_.push_back(job) : loop_.post(job);
  }
  void let_go() {
    hold = false;
    for (auto& job : std::exchange(held_, {})) loop_.post(job);
  }
  uint64_t jobs = 0;
  bool hold = false;

 private:
  TestLoop& loop_;
  std::vector<std::function<void()>> held_;
};

class TestLog final : public io::Logger {
 public:
  void log(io::LogLevel level, std::string_view message, std::initializer_list<io::Field> fields) override {
    if (level < io::LogLevel::kWarn) return;
    std::string line(message);
    for (const io::Field& field : fields)
      if (field.key == "error") line += ": " + std::string(std::get<std::string_view>(field.value));
    lines.push_back(line);
  }
  bool enabled(io::LogLevel) const override { return true; }
  std::vector<std::string> lines;
};

// Whole files, read only.
class TestDisk final : public io::Disk {
 public:
  struct ReadOnly final : io::File {
    explicit ReadOnly(std::string t) : text(std::move(t)) {}
    Result<size_t> read_at(uint64_t offset, std::span<char> into) const override {
      size_t n = std::min(into.size(), text.size() - std::min<size_t>(offset, text.size()));
      std::copy_n(text.data() + offset, n, into.data());
      return n;
    }
    Status write_at(uint64_t, std::string_view) override { return internal_error("read only"); }
    Status sync() override { return {}; }
    Status reserve(uint64_t) override { return internal_error("read only"); }
    Status truncate(uint64_t) override { return internal_error("read only"); }
    Result<uint64_t> size() const override { return text.size(); }
    void write_durable(uint64_t, std::shared_ptr<io::AlignedBuffer>, size_t, std::function<void(Status)>) override {}
    std::string text;
  };
  Result<std::unique_ptr<io::File>> open(const std::string& path, io::OpenMode) override {
    auto it = files.find(path);
    if (it == files.end()) return not_found("open " + path + ": no such file or directory");
    return std::unique_ptr<io::File>(new ReadOnly(it->second));
  }
  Status make_dirs(const std::string&) override { return {}; }
  Status rename(const std::string&, const std::string&) override { return {}; }
  Status remove(const std::string&) override { return {}; }
  Status sync_dir(const std::string&) override { return {}; }
  Result<std::vector<std::string>> list(const std::string&) override { return std::vector<std::string>(); }
  bool exists(const std::string& path) override { return files.contains(path); }
  Result<uint64_t> free_bytes(const std::string&) override { return uint64_t{0}; }
  Result<std::unique_ptr<io::File>> lock(const std::string&) override { return internal_error("no locks"); }
  std::string_view log_mode() const override { return "test"; }

  std::map<std::string, std::string> files;
};

std::string ok(const Status& status) { return status.to_string(); }

const Cert& authority() {
  static Cert made = make_cert({.common_name = "authority", .serial = 1, .authority = true}, nullptr);
  return made;
}

struct Tls : testing::Test {
  Tls() : workers(loop) {
    world.loop = &loop;
    world.disk = &disk;
    world.workers = &workers;
    world.log = &log;
    gate = std::make_shared<TlsGate>(&workers);
    disk.files["ca"] = authority().cert_pem;
    put("server", make_cert({.common_name = "server"}, &authority()));
    put("client", make_cert({.common_name = "alice", .serial = 7}, &authority()));
    router.add_unary("/t.S/Echo", [this](CallRef call, Bytes request) {
      name = call->peer_common_name();
      call->reply(request);
    });
    router.set_http([this](HttpRequest request, HttpReplyPtr reply) {
      name = request.peer_common_name;
      secure = request.secure;
      ++pages;
      reply->send(HttpResponse::text(200, page));
    });
    server_config.cert_file = "server.crt";
    server_config.key_file = "server.key";
    server_config.trusted_ca_file = "ca";
    server_config.client_cert_auth = true;
    client_config.cert_file = "client.crt";
    client_config.key_file = "client.key";
    client_config.trusted_ca_file = "ca";
  }
  ~Tls() override {
    client.reset();
    server.reset();
    loop.settle();
  }

  void put(const std::string& file, const Cert& cert) {
    disk.files[file + ".crt"] = cert.cert_pem;
    disk.files[file + ".key"] = cert.key_pem;
  }
  void start() {
    if (!server) server.emplace(world, ServerOptions{});
    auto made = TlsContext::create(world, server_config);
    ASSERT_TRUE(made.is_ok()) << made.status().to_string();
    listen.context = *made;
    listen.gate = gate;
  }
  std::unique_ptr<PipeEnd> dial_raw(size_t capacity = 256 * 1024) {
    auto [near, far] = make_pipe(loop, capacity);
    server_end = far.get();
    server->serve(std::move(far), router, listen);
    return std::move(near);
  }
  void connect(const std::string& host = "localhost", size_t capacity = 256 * 1024) {
    auto made = TlsContext::create(world, client_config);
    ASSERT_TRUE(made.is_ok()) << made.status().to_string();
    std::unique_ptr<PipeEnd> near = dial_raw(capacity);
    auto stream = TlsStream::client(loop, std::make_unique<Connected>(loop, std::move(near)), *made, gate, host);
    client.emplace(loop, std::move(stream), ClientOptions{});
  }
  Status call(std::string_view request = "hello", std::string* reply_out = nullptr) {
    Status result = internal_error("no answer");
    client->unary("/t.S/Echo", Bytes::copy(request), [&](const Status& status, Bytes reply) {
      result = status;
      if (reply_out) *reply_out = reply.to_string();
    });
    loop.settle();
    return result;
  }
  Status try_once(const std::string& host = "localhost") {
    client.reset();
    connect(host);
    return call();
  }
  // Taken from a client that never hears an answer.
  std::string whole_hello() {
    auto [near, far] = make_pipe(loop);
    auto context = TlsContext::create(world, client_config);
    CHECK(context.is_ok());
    auto caller =
        TlsStream::client(loop, std::make_unique<Connected>(loop, std::move(near)), *context, gate, "localhost");
    RawPeer listener(std::move(far));
    loop.settle();
    CHECK(listener.received.size() > 100);
    return listener.received;
  }
  std::string last_line() const { return log.lines.empty() ? "" : log.lines.back(); }

  // A pipe stands from the start; a dialed stream tells so in a callback.
  struct Connected final : io::Stream {
    Connected(TestLoop& l, std::unique_ptr<PipeEnd> e) : loop(l), end(std::move(e)) {}
    ~Connected() override { *alive = false; }
    void set_handler(io::StreamHandler* handler) override {
      end->set_handler(handler);
      if (handler && !std::exchange(told, true))
        loop.post([handler, alive = alive] {
          if (*alive) handler->on_connected();
        });
    }
    io::IoResult read(std::span<char> into) override { return end->read(into); }
    io::IoResult writev(std::span<const std::string_view> parts) override { return end->writev(parts); }
    void shutdown_write() override { end->shutdown_write(); }
    void pause_reading(bool paused) override { end->pause_reading(paused); }
    std::string peer_address() const override { return "127.0.0.1:1"; }
    std::string local_address() const override { return "127.0.0.1:2"; }
    TestLoop& loop;
    std::unique_ptr<PipeEnd> end;
    bool told = false;
    std::shared_ptr<bool> alive = std::make_shared<bool>(true);
  };

  TestLoop loop;
  TestWorkers workers;
  TestLog log;
  TestDisk disk;
  io::World world;
  std::shared_ptr<TlsGate> gate;
  Router router;
  TlsConfig server_config, client_config;
  TlsListen listen;
  std::optional<Server> server;
  std::optional<Client> client;
  PipeEnd* server_end = nullptr;
  std::string name;
  bool secure = false;  // of the last page
  size_t pages = 0;
  std::string page = "page\n";
};

TEST_F(Tls, CallsCarryTheVerifiedName) {
  start();
  connect();
  EXPECT_EQ(ok(call()), "OK");
  EXPECT_EQ(name, "alice");
  std::string big(300'000, 'x'), reply;
  EXPECT_EQ(ok(call(big, &reply)), "OK");
  EXPECT_TRUE(reply == big);
  EXPECT_EQ(server->tls_stats().ok, 1u);
  EXPECT_EQ(server->tls_stats().open, 0u);
}

TEST_F(Tls, TheNameIsNoIdentityUnlessAskedFor) {
  server_config.client_cert_auth = false;  // the authority alone still makes a certificate necessary, as in etcd
  start();
  connect();
  EXPECT_EQ(ok(call()), "OK");
  EXPECT_EQ(name, "");
}

TEST_F(Tls, ATurnIsOneWrite) {
  start();
  connect();
  ASSERT_EQ(ok(call()), "OK");
  uint64_t before = server_end->writes;
  int answers = 0;
  for (int i = 0; i < 100; ++i)
    client->unary("/t.S/Echo", Bytes::copy("hello"), [&](const Status& s, Bytes) { answers += s.is_ok(); });
  loop.settle();
  EXPECT_EQ(answers, 100);
  EXPECT_LE(server_end->writes - before, 3u);  // answers, and what HTTP/2 says about windows
}

TEST_F(Tls, SlowPipesLoseNothing) {
  start();
  connect("localhost", 777);
  std::string reply;
  for (size_t size : {size_t{1}, size_t{16 * 1024}, size_t{100'000}, size_t{1'000'000}}) {
    std::string request(size, 'a');
    for (size_t i = 0; i < size; i += 97) request[i] = static_cast<char>('a' + i % 23);
    EXPECT_EQ(ok(call(request, &reply)), "OK");
    EXPECT_TRUE(reply == request) << size;
  }
}

TEST_F(Tls, RefusesClientsWithoutOrWithAWrongCertificate) {
  start();
  TlsConfig good = client_config;
  client_config.cert_file = client_config.key_file = "";
  EXPECT_EQ(try_once().code(), Code::kUnavailable);
  EXPECT_NE(last_line().find("client didn't provide a certificate"), std::string::npos) << last_line();
  client_config = good;

  Cert other = make_cert({.common_name = "other", .authority = true}, nullptr);
  put("client", make_cert({.common_name = "alice"}, &other));
  EXPECT_EQ(try_once().code(), Code::kUnavailable);
  EXPECT_NE(last_line().find("failed to verify certificate"), std::string::npos) << last_line();

  put("client", make_cert({.common_name = "alice", .to_seconds = -10}, &authority()));
  EXPECT_EQ(try_once().code(), Code::kUnavailable);
  EXPECT_NE(last_line().find("certificate has expired"), std::string::npos) << last_line();

  put("client", make_cert({.common_name = "alice"}, &authority()));
  EXPECT_EQ(ok(try_once()), "OK");
  EXPECT_EQ(server->tls_stats().failed, 3u);
}

TEST_F(Tls, AClientChecksTheServer) {
  server_config.client_cert_auth = false;
  server_config.trusted_ca_file = "";
  start();
  EXPECT_EQ(ok(try_once("localhost")), "OK");
  EXPECT_EQ(ok(try_once("127.0.0.1")), "OK");
  Status wrong = try_once("example.com");
  EXPECT_NE(std::string(wrong.message()).find("hostname mismatch"), std::string::npos) << wrong.to_string();
  wrong = try_once("127.0.0.2");
  EXPECT_NE(std::string(wrong.message()).find("IP address mismatch"), std::string::npos) << wrong.to_string();
}

TEST_F(Tls, AllowedNamesAndHostnames) {
  server_config.allowed_names = {"bob", "carol"};
  start();
  EXPECT_EQ(try_once().code(), Code::kUnavailable);
  EXPECT_NE(last_line().find("client certificate authentication failed"), std::string::npos) << last_line();
  server_config.allowed_names = {"bob", "alice"};
  start();
  EXPECT_EQ(ok(try_once()), "OK");
  server_config.allowed_names.clear();
  server_config.allowed_hostnames = {"alice"};  // a common name is no hostname
  start();
  EXPECT_EQ(try_once().code(), Code::kUnavailable);
  server_config.allowed_hostnames = {"elsewhere", "localhost"};
  start();
  EXPECT_EQ(ok(try_once()), "OK");
}

// Whoever signed the list: a serial number on it is refused (etcd's GHSA-3wh4 let revoked certificates in).
TEST_F(Tls, ARevokedCertificateIsRefusedWhateverTheList) {
  Cert other = make_cert({.common_name = "other", .authority = true}, nullptr);
  server_config.crl_file = "crl";
  for (const Cert* issuer : {&authority(), static_cast<const Cert*>(&other)}) {
    for (bool der : {false, true}) {
      disk.files["crl"] = make_crl(*issuer, {6, 7}, der);
      start();
      EXPECT_EQ(try_once().code(), Code::kUnavailable);
      EXPECT_NE(last_line().find("certificate serial 07 revoked"), std::string::npos) << last_line();
      disk.files["crl"] = make_crl(*issuer, {6, 8}, der);
      start();
      EXPECT_EQ(ok(try_once()), "OK");
    }
  }
  // A list that cannot be read refuses everybody; at the start it is an error.
  disk.files.erase("crl");
  loop.advance(2 * io::kSecond);
  EXPECT_EQ(try_once().code(), Code::kUnavailable);
  EXPECT_NE(last_line().find("crl: no such file"), std::string::npos) << last_line();
  EXPECT_FALSE(TlsContext::create(world, server_config).is_ok());
  disk.files["crl"] = "no list";
  loop.advance(2 * io::kSecond);
  EXPECT_EQ(try_once().code(), Code::kUnavailable);
}

TEST_F(Tls, FilesAreReadAnew) {
  server_config.crl_file = "crl";
  disk.files["crl"] = make_crl(authority(), {}, true);
  start();
  EXPECT_EQ(ok(try_once()), "OK");
  // Within the interval nothing is looked at.
  disk.files["crl"] = make_crl(authority(), {7}, true);
  EXPECT_EQ(ok(try_once()), "OK");
  loop.advance(2 * io::kSecond);
  EXPECT_EQ(try_once().code(), Code::kUnavailable);
  disk.files["crl"] = make_crl(authority(), {}, true);

  // A new authority and new certificates below it: the old ones are strangers then.
  Cert fresh = make_cert({.common_name = "fresh", .authority = true}, nullptr);
  std::string old_client = disk.files["client.crt"], old_key = disk.files["client.key"];
  disk.files["ca"] = fresh.cert_pem;
  put("server", make_cert({.common_name = "server"}, &fresh));
  put("client", make_cert({.common_name = "bob"}, &fresh));
  loop.advance(2 * io::kSecond);
  EXPECT_EQ(ok(try_once()), "OK");
  EXPECT_EQ(name, "bob");
  disk.files["client.crt"] = old_client;
  disk.files["client.key"] = old_key;
  EXPECT_EQ(try_once().code(), Code::kUnavailable);
  put("client", make_cert({.common_name = "bob"}, &fresh));

  // A certificate without its key yet: the ones before stay. A revocation counts even then.
  disk.files["server.crt"] = make_cert({.common_name = "server"}, &fresh).cert_pem;
  loop.advance(2 * io::kSecond);
  EXPECT_EQ(ok(try_once()), "OK");
  EXPECT_EQ(listen.context->reload_failures(), 1u);
  disk.files["crl"] = make_crl(fresh, {2}, true);
  loop.advance(2 * io::kSecond);
  EXPECT_EQ(try_once().code(), Code::kUnavailable);
  EXPECT_EQ(listen.context->reloads(), 3u);
}

TEST_F(Tls, PlainClientsAreToldOrServed) {
  start();
  RawPeer http(dial_raw());
  http.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
  loop.settle();
  EXPECT_EQ(http.received, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
  EXPECT_TRUE(http.closed);
  RawPeer h2(dial_raw());
  h2.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  loop.settle();
  EXPECT_EQ(h2.received, "");
  EXPECT_TRUE(h2.closed);
  EXPECT_EQ(server->tls_stats().not_tls, 2u);
  EXPECT_NE(last_line().find("first record does not look like a TLS handshake"), std::string::npos);

  listen.also_plain = true;
  RawPeer both(dial_raw());
  both.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
  loop.settle();
  EXPECT_NE(both.received.find("200 OK"), std::string::npos) << both.received;
  EXPECT_FALSE(secure) << "a plain connection must not pass for one over TLS: see --host-whitelist";
  EXPECT_EQ(ok(try_once()), "OK");
}

// A client that speaks bytes of its own behind a real handshake.
struct RawTls final : io::StreamHandler {
  explicit RawTls(std::unique_ptr<TlsStream> s) : stream(std::move(s)) { stream->set_handler(this); }
  void on_connected() override { connected = true; }
  void on_readable() override {
    char buffer[65536];
    for (;;) {
      io::IoResult got = stream->read(buffer);
      received += got.bytes;
      closed |= got.eof || !got.error.is_ok();
      if (got.bytes == 0 || closed) break;
    }
    if (closed) stream->set_handler(nullptr);
  }
  void send(std::string_view bytes) { (void)stream->writev({&bytes, 1}); }
  std::unique_ptr<TlsStream> stream;
  size_t received = 0;
  bool connected = false, closed = false;
};

// Pages over HTTP/2 are bounded as calls are: who takes none of them makes no more, and is closed after a while.
TEST_F(Tls, PagesOverHttp2WaitForTheirClientToTakeThem) {
  constexpr size_t kRequests = 60, kPageBytes = 1 << 20, kQueuePages = 4;
  page.assign(kPageBytes, 'p');
  server_config.client_cert_auth = false;
  ServerOptions options;
  options.connection_queue_bytes_max = kQueuePages * kPageBytes;
  server.emplace(world, options);
  start();
  auto context = TlsContext::create(world, client_config);
  ASSERT_TRUE(context.is_ok());
  RawTls peer(TlsStream::client(loop, std::make_unique<Connected>(loop, dial_raw()), *context, gate, "localhost"));
  loop.settle();
  ASSERT_TRUE(peer.connected);
  peer.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, {"\0\4\0\0\0\0", 6}));  // no room for answers
  for (size_t i = 0; i < kRequests; ++i)
    peer.send(frame(1, 4 | 1, static_cast<uint32_t>(2 * i + 1), "\x82\x84\x87\x01\x01x"));  // GET https://x/
  loop.settle();
  EXPECT_EQ(pages, kQueuePages);
  EXPECT_EQ(server->stats().queued_bytes, kQueuePages * kPageBytes);
  // Room for all of them.
  peer.send(frame(8, 0, 0, {"\x3f\0\0\0", 4}) + frame(4, 0, 0, {"\0\4\0\x40\0\0", 6}));
  loop.settle();
  EXPECT_EQ(pages, kRequests);
  EXPECT_GT(peer.received, kRequests * kPageBytes);
  EXPECT_EQ(server->stats().queued_bytes, 0u);
  // None again, and for long.
  peer.send(frame(4, 0, 0, {"\0\4\0\0\0\0", 6}) + frame(1, 4 | 1, 2 * kRequests + 1, "\x82\x84\x87\x01\x01x"));
  loop.advance(options.write_stall_timeout + 2 * io::kSecond);
  EXPECT_TRUE(peer.closed);
  EXPECT_EQ(server->stats().connections_open, 0u);
}

TEST_F(Tls, ATlsClientOfAPlainPortIsClosed) {
  start();
  auto [near, far] = make_pipe(loop);
  server->serve(std::move(far), router);
  RawPeer peer(std::move(near));
  peer.send(std::string("\x16\x03\x01\x02\x00\x01", 6));
  loop.settle();
  EXPECT_TRUE(peer.closed);
  EXPECT_NE(last_line().find("served without TLS"), std::string::npos);
}

TEST_F(Tls, AMembersCertificateMustNameItsAddress) {
  start();
  listen.check_address = true;  // the pipe's address is "test"
  EXPECT_EQ(try_once().code(), Code::kUnavailable);
  std::vector<std::string> asked;
  listen.find_host = [&](const std::string& address, const std::vector<std::string>& names, std::string&) {
    asked = names;
    return address == "test" && names == std::vector<std::string>{"localhost"};
  };
  EXPECT_EQ(ok(try_once()), "OK");
  EXPECT_EQ(asked, std::vector<std::string>{"localhost"});
  put("client", make_cert({.common_name = "a", .names = {"IP:10.1.2.3", "IP:::1"}}, &authority()));
  EXPECT_EQ(try_once().code(), Code::kUnavailable);
  EXPECT_NE(last_line().find("certificate is valid for 10.1.2.3,0:0:0:0:0:0:0:1, not test"), std::string::npos);
  put("client", make_cert({.common_name = "a", .names = {}}, &authority()));  // without names: from anywhere
  EXPECT_EQ(ok(try_once()), "OK");
}

// Floods of clients that say half a hello, or all of it, and no more.
TEST_F(Tls, AFloodOfHandshakesStarvesNobody) {
  constexpr size_t kFreshMax = 200, kBegunMax = 50;
  ServerOptions options;
  options.tls_fresh_max = kFreshMax;
  options.tls_begun_max = kBegunMax;
  server.emplace(world, options);
  start();
  const std::string hello = whole_hello();
  connect();
  ASSERT_EQ(ok(call()), "OK");
  std::vector<std::unique_ptr<RawPeer>> flood;
  for (bool whole : {false, true}) {
    for (size_t i = 0; i < 3 * kFreshMax; ++i) {
      flood.push_back(std::make_unique<RawPeer>(dial_raw()));
      flood.back()->send(whole ? hello : hello.substr(0, 60));
      if (i % 64 != 0) continue;
      loop.settle();
      EXPECT_LE(server->tls_stats().open, kFreshMax + kBegunMax);
      EXPECT_EQ(ok(call()), "OK");  // who is connected goes on
    }
    client.reset();
    connect();
    EXPECT_EQ(ok(call()), "OK");  // who comes gets in
    EXPECT_GE(server->tls_stats().pushed_out, 2 * kFreshMax);
  }
  loop.settle();
  uint64_t jobs = workers.jobs;
  for (size_t i = 0; i < kFreshMax; ++i) {
    flood.push_back(std::make_unique<RawPeer>(dial_raw()));
    flood.back()->send(hello.substr(0, 60));
  }
  loop.settle();
  EXPECT_EQ(workers.jobs, jobs);  // half a hello is no work
  loop.advance(kTlsHandshakeTimeout + io::kSecond);
  EXPECT_EQ(server->tls_stats().open, 0u);
  EXPECT_GE(server->tls_stats().timed_out, kFreshMax);
  EXPECT_LE(log.lines.size(), kTlsLogBurst + kTlsLogPerSecond * 12);
}

// One more than the limit pushes out the oldest, and that one alone.
TEST_F(Tls, HandshakesAreCountedToTheLimit) {
  constexpr size_t kFreshMax = 3, kBegunMax = 2;
  ServerOptions options;
  options.tls_fresh_max = kFreshMax;
  options.tls_begun_max = kBegunMax;
  server.emplace(world, options);
  start();
  const std::string hello = whole_hello();
  std::vector<std::unique_ptr<RawPeer>> fresh, begun;
  auto add = [&](std::vector<std::unique_ptr<RawPeer>>& to, std::string_view words) {
    to.push_back(std::make_unique<RawPeer>(dial_raw()));
    to.back()->send(words);
    loop.settle();
  };
  while (fresh.size() < kFreshMax) add(fresh, hello.substr(0, 60));
  EXPECT_EQ(server->tls_stats().open, kFreshMax);
  EXPECT_EQ(server->tls_stats().pushed_out, 0u);
  add(fresh, hello.substr(0, 60));
  EXPECT_EQ(server->tls_stats().open, kFreshMax);
  EXPECT_EQ(server->tls_stats().pushed_out, 1u);
  EXPECT_TRUE(fresh[0]->closed);
  EXPECT_FALSE(fresh[1]->closed);
  fresh.clear();
  loop.settle();
  while (begun.size() < kBegunMax) add(begun, hello);
  EXPECT_EQ(server->tls_stats().open, kBegunMax);
  EXPECT_EQ(server->tls_stats().pushed_out, 1u);
  add(begun, hello);
  EXPECT_EQ(server->tls_stats().open, kBegunMax);
  EXPECT_EQ(server->tls_stats().pushed_out, 2u);
  EXPECT_TRUE(begun[0]->closed);
  EXPECT_FALSE(begun[1]->closed);
}

TEST_F(Tls, LookUpsOfMembersNamesAreBounded) {
  TestWorkers resolvers(loop);
  world.workers = &resolvers;  // handshakes go on elsewhere
  start();
  listen.check_address = true;
  listen.find_host = [](const std::string&, const std::vector<std::string>&, std::string&) { return true; };
  auto context = TlsContext::create(world, client_config);
  ASSERT_TRUE(context.is_ok());
  std::vector<std::unique_ptr<RawTls>> members;
  auto add = [&] {
    members.push_back(std::make_unique<RawTls>(
        TlsStream::client(loop, std::make_unique<Connected>(loop, dial_raw()), *context, gate, "localhost")));
    loop.settle();
  };
  resolvers.hold = true;
  while (members.size() < kTlsHostChecksMax) add();
  EXPECT_EQ(server->tls_stats().open, kTlsHostChecksMax);
  EXPECT_EQ(server->tls_stats().failed, 0u);
  add();
  EXPECT_EQ(server->tls_stats().failed, 1u);
  EXPECT_NE(last_line().find("too many names are being looked up"), std::string::npos) << last_line();
  resolvers.let_go();
  loop.settle();
  EXPECT_EQ(server->tls_stats().ok, kTlsHostChecksMax);
  add();
  EXPECT_EQ(server->tls_stats().ok, kTlsHostChecksMax + 1);
}

// Work waits at the gate, never on the loop; one after the other.
TEST_F(Tls, HandshakesTakeTurnsAtTheGate) {
  start();
  size_t running = 0, most = 0;
  for (int i = 0; i < 5; ++i)
    gate->run(
        false,
        [&] {
          most = std::max(most, ++running);
          --running;
        },
        [] {});
  EXPECT_EQ(workers.jobs, kTlsStepsAtOnceMax);
  std::string order;
  gate->run(
      true, [&] { order += "begun"; }, [] {});
  gate->run(
      false, [&] { order += " fresh"; }, [] {});
  loop.settle();
  EXPECT_EQ(most, kTlsStepsAtOnceMax);
  EXPECT_EQ(order, "begun fresh");
}

TEST_F(Tls, TooManyWordsInAHandshake) {
  start();
  RawPeer peer(dial_raw());
  peer.send(std::string("\x16\x03\x01\x40\x00\x01\x7f\xff\xff", 9) + std::string(kTlsHandshakeInputMax * 2, 'x'));
  loop.settle();
  EXPECT_EQ(server->tls_stats().failed, 1u);
  loop.advance(2 * io::kSecond);
  EXPECT_EQ(server->tls_stats().open, 0u);
}

TEST_F(Tls, OldVersionsAndSuites) {
  server_config.version_min = "TLS1.3";
  client_config.version_max = "TLS1.2";
  start();
  EXPECT_EQ(try_once().code(), Code::kUnavailable);
  server_config.version_min = "TLS1.2";
  server_config.cipher_suites = {"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"};
  start();
  EXPECT_EQ(ok(try_once()), "OK");
  client_config.cipher_suites = {"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"};
  EXPECT_EQ(try_once().code(), Code::kUnavailable);
}

// The same over sockets, with handshakes on real threads.
TEST(TlsReal, ManyConnectionsAtOnce) {
  auto made = io::RealWorld::create({});
  ASSERT_TRUE(made.is_ok());
  io::RealWorld& real = **made;
  io::World world = real.world();
  std::string dir = testing::TempDir() + "tls_real_test.";
  Cert cert = make_cert({.common_name = "server", .rsa_bits = 2048}, &authority());
  for (auto [file, text] : {std::pair{"ca", &authority().cert_pem}, {"crt", &cert.cert_pem}, {"key", &cert.key_pem}})
    std::ofstream(dir + file) << *text;
  TlsConfig config{.cert_file = dir + "crt", .key_file = dir + "key", .trusted_ca_file = dir + "ca"};
  auto context = TlsContext::create(world, config);
  ASSERT_TRUE(context.is_ok()) << context.status().to_string();
  auto gate = std::make_shared<TlsGate>(world.workers);
  Router router;
  router.add_unary("/t.S/Echo", [](CallRef call, Bytes request) { call->reply(request); });
  Server server(world, ServerOptions{});
  auto address = server.listen("127.0.0.1:0", router, TlsListen{.context = *context, .gate = gate});
  ASSERT_TRUE(address.is_ok());
  TlsNet net(*world.loop, *world.net, [&]() -> Result<TlsDial> { return TlsDial{*context, gate}; });
  constexpr size_t kClients = 40, kCalls = 20;
  std::vector<std::unique_ptr<Client>> clients(kClients);
  std::vector<size_t> good(kClients);
  std::set<size_t> broken;
  size_t bad = 0, dialed_again = 0;
  auto dial = [&](size_t i) {
    clients[i] = std::make_unique<Client>(*world.loop, net.connect("tls:" + *address), ClientOptions{});
    good[i] = 0;
    for (size_t n = 0; n < kCalls; ++n) {
      Bytes request = Bytes::copy(std::string(n * n * 200, static_cast<char>('a' + n)));
      clients[i]->unary("/t.S/Echo", request, [&, i, request](const Status& status, Bytes reply) {
        if (status.code() == Code::kUnavailable)
          broken.insert(i);
        else
          ++(status.is_ok() && reply == request ? good[i] : bad);
      });
    }
  };
  for (size_t i = 0; i < kClients; ++i) dial(i);
  auto all_good = [&] { return std::count(good.begin(), good.end(), kCalls) == static_cast<ptrdiff_t>(kClients); };
  int64_t end = world.loop->now_precise() + 60 * io::kSecond;
  while (!all_good() && bad == 0 && world.loop->now_precise() < end) {
    real.loop().run_turn(100 * io::kMillisecond);
    // On a machine that hardly lets this process run, some take longer than a handshake may: as clients do, once more.
    for (size_t i : std::exchange(broken, {})) {
      ++dialed_again;
      dial(i);
    }
  }
  EXPECT_TRUE(all_good());
  EXPECT_EQ(bad, 0u);
  EXPECT_GE(server.tls_stats().ok, kClients);
  EXPECT_TRUE(dialed_again > 0 || server.tls_stats().failed + server.tls_stats().timed_out == 0);
  // Clients that leave in the middle of a handshake.
  clients.clear();
  for (size_t i = 0; i < kClients; ++i)
    clients.push_back(std::make_unique<Client>(*world.loop, net.connect("tls:" + *address), ClientOptions{}));
  for (int i = 0; i < 5; ++i) real.loop().run_turn(io::kMillisecond);
  clients.clear();
  for (int i = 0; i < 20; ++i) real.loop().run_turn(10 * io::kMillisecond);
}

TEST(TlsConfigTest, ContradictionsInEtcdsWords) {
  auto text = [](auto change) {
    TlsConfig config;
    config.cert_file = "c";
    config.key_file = "k";
    change(config);
    return std::string(check_tls_config(config).message());
  };
  EXPECT_EQ(text([](TlsConfig&) {}), "");
  EXPECT_EQ(text([](TlsConfig& c) { c.version_min = "TLS1.4"; }),
            "unexpected TLS version \"TLS1.4\" (must be one of: TLS1.2, TLS1.3)");
  EXPECT_EQ(text([](TlsConfig& c) { c.version_min = "TLS1.3", c.version_max = "TLS1.2"; }),
            "min version (TLS1.3) is greater than max version (TLS1.2)");
  EXPECT_EQ(text([](TlsConfig& c) { c.version_min = "TLS1.3", c.cipher_suites = {"TLS_AES_128_GCM_SHA256"}; }),
            "cipher suites cannot be configured when only TLS1.3 is enabled");
  EXPECT_EQ(text([](TlsConfig& c) { c.cipher_suites = {"foo"}; }), "unexpected TLS cipher suite \"foo\"");
  EXPECT_EQ(text([](TlsConfig& c) { c.key_file = ""; }), "KeyFile and CertFile must both be present[key: , cert: c]");
  EXPECT_EQ(text([](TlsConfig& c) { c.client_key_file = "x"; }),
            "ClientKeyFile and ClientCertFile must both be present or both absent: key: x, cert: ]");
  EXPECT_EQ(text([](TlsConfig& c) {
              c.allowed_names = {"a", "b"}, c.allowed_hostnames = {"h"};
            }),
            "AllowedCNs and AllowedHostnames are mutually exclusive (cns=[\"a\" \"b\"], hostnames=[\"h\"])");
}

}  // namespace
}  // namespace fairlead::net
