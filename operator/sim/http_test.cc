// The real client against servers that misbehave: silence, broken connections, garbage, overload, wrong certificates,
// rotated tokens. A scripted socket plays the bad servers; the HTTP front plays the good one.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <fstream>
#include <mutex>
#include <thread>

#include "operator/kube/http_api.h"
#include "operator/sim/client.h"
#include "operator/sim/http_front.h"
#include "operator/sim/server.h"

namespace fairlead::apisim {
namespace {

using std::chrono::milliseconds;
namespace gvr = kube::gvr;

// Answers each request with the next text of its script, as it stands. "" holds the connection open in silence;
// "close" closes it. The last text is repeated.
class ScriptedServer {
 public:
  explicit ScriptedServer(std::deque<std::string> script) : script_(std::move(script)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
          ::listen(listener_, 16) == 0);
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~ScriptedServer() {
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    {
      std::lock_guard lock(mutex_);
      for (int fd : connections_) ::shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& thread : threads_) thread.join();
    for (int fd : connections_) ::close(fd);
    ::close(listener_);
  }
  std::unique_ptr<kube::Api> client() {
    kube::ConnectionConfig config;
    config.server = "http://127.0.0.1:" + std::to_string(port_);
    return kube::connect(config).value();
  }
  int requests() const { return requests_; }

 private:
  void accept_all() {
    while (!stopping_) {
      const int fd = ::accept(listener_, nullptr, nullptr);
      if (fd < 0) return;
      std::lock_guard lock(mutex_);
      connections_.push_back(fd);
      threads_.emplace_back([this, fd] { serve(fd); });
    }
  }
  void serve(int fd) {
    std::string input;
    char buffer[4096];
    while (true) {
      const size_t head = input.find("\r\n\r\n");
      size_t need = std::string::npos;
      if (head != std::string::npos) {
        const size_t at = input.find("Content-Length: ");
        need = head + 4 + (at < head ? static_cast<size_t>(std::atoi(input.c_str() + at + 16)) : 0);
      }
      if (need <= input.size()) {
        input.erase(0, need);
        requests_++;
        std::string answer;
        {
          std::lock_guard lock(mutex_);
          answer = script_.front();
          if (script_.size() > 1) script_.pop_front();
        }
        if (answer == "close") break;
        if (!answer.empty()) (void)!::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
        continue;
      }
      const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
      if (n <= 0) return;
      input.append(buffer, static_cast<size_t>(n));
    }
    ::shutdown(fd, SHUT_RDWR);
  }

  std::mutex mutex_;
  std::deque<std::string> script_;    // guarded by mutex_
  std::vector<int> connections_;      // guarded by mutex_
  std::vector<std::thread> threads_;  // only the acceptor's, until it has ended
  std::thread acceptor_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> requests_{0};
  int listener_ = -1;
  int port_ = 0;
};

std::string http(int code, const std::string& body, const std::string& headers = "") {
  return "HTTP/1.1 " + std::to_string(code) + " x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         headers + "\r\n" + body;
}
std::string stream(const std::string& body, bool ends) {
  char size[16];
  std::snprintf(size, sizeof size, "%zx", body.size());
  return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(size) + "\r\n" + body + "\r\n" +
         (ends ? "0\r\n\r\n" : "");
}

Request request(kube::Verb verb, milliseconds timeout = milliseconds(5'000)) {
  Request r;
  r.verb = verb;
  r.gvr = gvr::kConfigMaps;
  r.key = {"default", "a"};
  r.body = {{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"metadata", {{"namespace", "default"}, {"name", "a"}}}};
  r.timeout = timeout;
  return r;
}

TEST(Http, SilenceIsAnUnknownOutcomeAndNotRepeated) {
  ScriptedServer server({""});
  auto api = server.client();
  const auto start = std::chrono::steady_clock::now();
  const Status status = api->call(request(kube::Verb::kCreate, milliseconds(300))).status();
  EXPECT_EQ(status.code(), Code::kDeadlineExceeded) << status.to_string();
  EXPECT_TRUE(kube::outcome_unknown(status));
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(5'000));
  EXPECT_EQ(server.requests(), 1);
}

TEST(Http, BrokenConnectionIsAnUnknownOutcomeForWritesOnly) {
  ScriptedServer server({"close", "close", http(200, "{}")});
  auto api = server.client();
  const Status status = api->call(request(kube::Verb::kCreate)).status();
  EXPECT_EQ(status.code(), Code::kDeadlineExceeded) << status.to_string();
  EXPECT_EQ(server.requests(), 1);
  EXPECT_TRUE(api->call(request(kube::Verb::kGet)).is_ok());  // a read is tried again
  EXPECT_EQ(server.requests(), 3);
}

TEST(Http, NobodyThereIsCertain) {
  kube::ConnectionConfig config;
  config.server = "http://127.0.0.1:1";
  auto api = kube::connect(config).value();
  const Status status = api->call(request(kube::Verb::kCreate, milliseconds(1'000))).status();
  EXPECT_EQ(status.code(), Code::kUnavailable) << status.to_string();
  EXPECT_FALSE(kube::outcome_unknown(status));
  EXPECT_EQ(api->watch(gvr::kConfigMaps, {}, [](kube::WatchEvent) { return true; }, {}).code(), Code::kUnavailable);
}

TEST(Http, OverloadIsWaitedOutWithinBounds) {
  const std::string busy =
      http(429, R"({"kind":"Status","reason":"TooManyRequests","message":"busy"})", "Retry-After: 0\r\n");
  {
    ScriptedServer server({busy, http(503, "{}"), http(201, "{}")});
    EXPECT_TRUE(server.client()->call(request(kube::Verb::kCreate)).is_ok());
    EXPECT_EQ(server.requests(), 3);
  }
  ScriptedServer server({busy});
  const Status status = server.client()->call(request(kube::Verb::kCreate)).status();
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_EQ(server.requests(), kube::kAttemptsMax);
}

TEST(Http, UnknownOutcomesOfTheServerAreNotRepeated) {
  for (int code : {500, 504}) {
    ScriptedServer server({http(code, "{}")});
    EXPECT_TRUE(kube::outcome_unknown(server.client()->call(request(kube::Verb::kApply)).status()));
    EXPECT_EQ(server.requests(), 1);
  }
}

TEST(Http, GarbageAndFloodsAreRefused) {
  ScriptedServer garbage({http(200, "this is not JSON")});
  EXPECT_EQ(garbage.client()->call(request(kube::Verb::kCreate)).code(), Code::kInternal);
  ScriptedServer nonsense({"good morning\r\n\r\n"});
  EXPECT_EQ(nonsense.client()->call(request(kube::Verb::kCreate, milliseconds(300))).code(), Code::kDeadlineExceeded);
  ScriptedServer flood({http(200, std::string(kube::kResponseBytesMax + 1, ' '))});
  const Status status = flood.client()->call(request(kube::Verb::kCreate, milliseconds(120'000))).status();
  EXPECT_EQ(status.code(), Code::kInternal);
  EXPECT_NE(status.message().find("larger than"), std::string_view::npos) << status.to_string();
}

TEST(Http, RefusesToAddressACollectionByAccident) {
  ScriptedServer server({http(200, "{}")});
  Request nameless = request(kube::Verb::kDelete);
  nameless.key.name.clear();
  EXPECT_EQ(server.client()->call(nameless).code(), Code::kInvalidArgument);
  EXPECT_EQ(server.requests(), 0);
}

// ---- watch ----

struct Watched {
  Status status;
  size_t events = 0;
};

Watched watch_once(kube::Api& api) {
  Watched w;
  kube::WatchOptions options;
  options.resource_version = "1";
  options.timeout = std::chrono::seconds(20);
  w.status = api.watch(gvr::kConfigMaps, options, [&](kube::WatchEvent) { return ++w.events < 100; }, {});
  return w;
}

TEST(HttpWatch, EndsAndBreaks) {
  const std::string event = R"({"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"2"}}})"
                            "\n";
  {
    ScriptedServer server({stream(event + event, true)});
    const Watched w = watch_once(*server.client());
    EXPECT_TRUE(w.status.is_ok()) << w.status.to_string();
    EXPECT_EQ(w.events, 2u);
  }
  {
    ScriptedServer server({stream(event + event.substr(0, 20), true)});  // ends inside an event
    const Watched w = watch_once(*server.client());
    EXPECT_EQ(w.status.code(), Code::kUnavailable);
    EXPECT_EQ(w.events, 1u);
  }
  {
    ScriptedServer server(
        {stream(R"({"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}})"
                "\n",
                true)});
    EXPECT_EQ(watch_once(*server.client()).status.code(), Code::kOutOfRange);
  }
  {
    ScriptedServer server({http(410, R"({"kind":"Status","reason":"Expired"})")});
    EXPECT_EQ(watch_once(*server.client()).status.code(), Code::kOutOfRange);
  }
  {
    ScriptedServer server({stream("not an event\n", true)});
    EXPECT_EQ(watch_once(*server.client()).status.code(), Code::kInternal);
  }
  ScriptedServer server({stream(std::string(kube::kWatchLineBytesMax + 1, 'x'), true)});
  EXPECT_EQ(watch_once(*server.client()).status.code(), Code::kInternal);
}

TEST(HttpWatch, StopIsPromptEvenBeforeTheAnswer) {
  ScriptedServer server({""});
  auto api = server.client();
  std::stop_source stop;
  std::thread stopper([&] {
    while (server.requests() == 0) std::this_thread::sleep_for(milliseconds(1));
    stop.request_stop();
  });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(api->watch(
                   gvr::kConfigMaps, {}, [](kube::WatchEvent) { return true; }, stop.get_token())
                .code(),
            Code::kCancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(5'000));
  stopper.join();
}

TEST(HttpWatch, BrokenStreamsAreResumed) {
  Server server;
  Client client(server, "op");
  auto front = HttpFront::start(server, client).value();
  kube::ConnectionConfig config;
  config.server = front->url();
  auto api = kube::connect(config).value();
  const auto config_map = [](const std::string& name) {
    return Json{{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"metadata", {{"namespace", "default"}, {"name", name}}}};
  };
  kube::WatchOptions options;
  options.resource_version = api->list(gvr::kConfigMaps).value().resource_version;
  std::string seen;
  const auto watch_until = [&](const std::string& last) {
    return api->watch(gvr::kConfigMaps, options,
                      [&](kube::WatchEvent event) {
                        options.resource_version = kube::resource_version_of(event.object);
                        if (event.type == kube::WatchEventType::kBookmark) return true;
                        seen += kube::name_of(event.object);
                        if (seen == "a") front->break_watches();
                        return kube::name_of(event.object) != last;
                      },
                      {});
  };
  ASSERT_TRUE(api->create(gvr::kConfigMaps, config_map("a")).is_ok());
  EXPECT_EQ(watch_until("z").code(), Code::kUnavailable);
  ASSERT_TRUE(api->create(gvr::kConfigMaps, config_map("b")).is_ok());
  EXPECT_TRUE(watch_until("b").is_ok());
  EXPECT_EQ(seen, "ab");
}

// ---- who we are ----

class Folder {
 public:
  Folder() {
    char pattern[] = "/tmp/fairlead-http-XXXXXX";
    path_ = ::mkdtemp(pattern);
  }
  ~Folder() {
    for (const std::string& f : files_) ::unlink(f.c_str());
    ::rmdir(path_.c_str());
  }
  std::string write(const std::string& name, const std::string& text) {
    const std::string path = path_ + "/" + name;
    std::ofstream(path) << text;
    files_.push_back(path);
    return path;
  }

 private:
  std::string path_;
  std::vector<std::string> files_;
};

TEST(HttpIdentity, TokenFileIsReadAgainWhenItChanges) {
  Folder folder;
  Server server;
  Client client(server, "op");
  auto front =
      HttpFront::start(server, client,
                       {.required_token = "first", .certificate_file = "", .key_file = "", .client_ca_file = ""})
          .value();
  kube::ConnectionConfig config;
  config.server = front->url();
  config.token = "never used";
  config.token_file = folder.write("token", "first\n");
  auto api = kube::connect(config).value();
  EXPECT_TRUE(api->list(gvr::kConfigMaps).is_ok());
  front->set_required_token("second");
  EXPECT_EQ(api->list(gvr::kConfigMaps).code(), Code::kUnauthenticated);
  folder.write("token", "second\n");
  EXPECT_TRUE(api->list(gvr::kConfigMaps).is_ok());
  EXPECT_TRUE(api->watch(gvr::kConfigMaps,
                         {.ns = "", .label_selector = "", .resource_version = "", .timeout = milliseconds(0)},
                         [](kube::WatchEvent) { return true; }, {})
                  .is_ok());
}

struct Issued {
  std::string certificate_pem, key_pem;
  X509* certificate = nullptr;
  EVP_PKEY* key = nullptr;
};

// A certificate for `san`, signed by `issuer` (null: by itself, an authority).
Issued issue(const std::string& name, const std::string& san, const Issued* issuer) {
  Issued made;
  made.key = EVP_EC_gen("P-256");
  X509* x = X509_new();
  static long serial = 1;
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
  X509_gmtime_adj(X509_getm_notBefore(x), -3600);
  X509_gmtime_adj(X509_getm_notAfter(x), 3600);
  X509_set_pubkey(x, made.key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(x, X509_get_subject_name(issuer == nullptr ? x : issuer->certificate));
  const auto extend = [&](int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer == nullptr ? x : issuer->certificate, x, nullptr, nullptr, 0);
    X509_EXTENSION* e = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
  };
  extend(NID_basic_constraints, issuer == nullptr ? "critical,CA:TRUE" : "CA:FALSE");
  if (!san.empty()) extend(NID_subject_alt_name, san);
  X509_sign(x, issuer == nullptr ? made.key : issuer->key, EVP_sha256());
  made.certificate = x;
  const auto text_of = [](BIO* memory) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(memory, &data);
    std::string text(data, static_cast<size_t>(size));
    BIO_free(memory);
    return text;
  };
  BIO* memory = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(memory, x);
  made.certificate_pem = text_of(memory);
  memory = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(memory, made.key, nullptr, nullptr, 0, nullptr, nullptr);
  made.key_pem = text_of(memory);
  return made;
}

TEST(HttpIdentity, TlsTrustsOnlyTheGivenAuthority) {
  Folder folder;
  const Issued ca = issue("the authority", "", nullptr), other_ca = issue("another", "", nullptr);
  const Issued ours = issue("server", "IP:127.0.0.1", &ca),
               elsewhere = issue("server", "DNS:example.com,IP:10.0.0.1", &ca);
  const Issued user = issue("operator", "", &ca), stranger = issue("stranger", "", &other_ca);
  const std::string ca_file = folder.write("ca.crt", ca.certificate_pem);
  Server server;
  Client client(server, "op");
  HttpFrontOptions options;
  options.certificate_file = folder.write("server.crt", ours.certificate_pem);
  options.key_file = folder.write("server.key", ours.key_pem);

  const auto list = [&](HttpFront& front, const Issued* authority, const Issued* who) {
    kube::ConnectionConfig config;
    config.server = front.url();
    if (authority != nullptr) config.ca_pem = authority->certificate_pem;
    if (who != nullptr) {
      config.client_certificate_pem = who->certificate_pem;
      config.client_key_pem = who->key_pem;
    }
    Request r;
    r.verb = kube::Verb::kList;
    r.gvr = gvr::kConfigMaps;
    return kube::connect(config).value()->call(r).code();
  };
  {
    auto front = HttpFront::start(server, client, options).value();
    EXPECT_EQ(list(*front, &ca, nullptr), Code::kOk);
    EXPECT_EQ(list(*front, &other_ca, nullptr), Code::kUnavailable);
    EXPECT_EQ(list(*front, nullptr, nullptr), Code::kUnavailable);
    // an authority that the system trusts does not count when one is given
    ::setenv("SSL_CERT_FILE", ca_file.c_str(), 1);
    EXPECT_EQ(list(*front, nullptr, nullptr), Code::kOk);
    EXPECT_EQ(list(*front, &other_ca, nullptr), Code::kUnavailable);
    ::unsetenv("SSL_CERT_FILE");
  }
  {
    HttpFrontOptions wrong_name = options;
    wrong_name.certificate_file = folder.write("elsewhere.crt", elsewhere.certificate_pem);
    wrong_name.key_file = folder.write("elsewhere.key", elsewhere.key_pem);
    auto front = HttpFront::start(server, client, wrong_name).value();
    EXPECT_EQ(list(*front, &ca, nullptr), Code::kUnavailable);
  }
  options.client_ca_file = ca_file;
  auto front = HttpFront::start(server, client, options).value();
  EXPECT_EQ(list(*front, &ca, &user), Code::kOk);
  EXPECT_NE(list(*front, &ca, nullptr), Code::kOk);
  EXPECT_NE(list(*front, &ca, &stranger), Code::kOk);
  for (const Issued& i : {ca, other_ca, ours, elsewhere, user, stranger}) {
    X509_free(i.certificate);
    EVP_PKEY_free(i.key);
  }
}

}  // namespace
}  // namespace fairlead::apisim
