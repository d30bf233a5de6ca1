#include "server/discovery/token.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

#include "base/text.h"
#include "proto/rpc.pb.h"
#include "server/net/client.h"

namespace fairlead::discovery {
namespace {

constexpr const char* kRegistry = "/_etcd/registry/";
constexpr unsigned kBackoffDoublingsMax = 8;
constexpr io::Nanos kPingIntervalMin = 10 * io::kSecond;  // servers end connections that ping more often
constexpr size_t kReplyBytesMax = 4 << 20;

template <typename Message>
Bytes serialize(const Message& message) {
  BytesBuilder builder(message.ByteSizeLong());
  message.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(builder.data()));
  return std::move(builder).finish(message.ByteSizeLong());
}

template <typename Message>
bool parse(const Bytes& in, Message& out) {
  return out.ParseFromArray(in.data(), static_cast<int>(in.size()));
}

struct Peer {
  std::string key, value;
  int64_t create_revision = 0;
};

}  // namespace

Result<PeerMap> parse_peers(const std::string& text) {
  PeerMap out;
  std::set<std::string> seen;
  for (size_t start = 0; start <= text.size();) {
    size_t comma = std::min(text.find(',', start), text.size());
    std::string item = text.substr(start, comma - start);
    start = comma + 1;
    size_t equals = item.find('=');
    std::string url = equals == std::string::npos ? "" : item.substr(equals + 1);
    Result<UrlParts> parts = split_url(url);
    bool known = parts.is_ok() && (parts->scheme == "http" || parts->scheme == "https" || parts->scheme == "unix" ||
                                   parts->scheme == "unixs");
    if (equals == 0 || !known) return invalid_argument("discovery: invalid peer URL \"" + item + "\"");
    if (!seen.insert(url).second) return invalid_argument("discovery cluster " + text + " has duplicate url");
    out[item.substr(0, equals)].push_back(url);
  }
  for (auto& [name, urls] : out) std::sort(urls.begin(), urls.end());
  return out;
}

struct TokenJoin::Impl : std::enable_shared_from_this<Impl>, net::ClientCallHandler {
  Impl(const io::World& w, TokenRequest r, PeersFound d) : world(w), request(std::move(r)), done(std::move(d)) {}
  ~Impl() override { world.loop->cancel_timer(timer); }

  std::string prefix() const { return kRegistry + request.token + "/members/"; }
  std::string own_key() const { return prefix() + hex(request.self.value); }

  // ---- the connection

  void connect() {
    if (client && !client->broken()) return;
    client.reset();
    metadata.clear();
    std::string endpoint = request.endpoints[next_endpoint++ % request.endpoints.size()];
    bool secure = request.secure_by_default;
    if (size_t scheme = endpoint.find("://"); scheme != std::string::npos) {
      std::string name = endpoint.substr(0, scheme);
      secure = name == "https" || name == "unixs";
      endpoint = (name == "unix" || name == "unixs" ? "unix:" : "") + endpoint.substr(scheme + 3);
    }
    while (endpoint.ends_with("/") && !endpoint.starts_with("unix:")) endpoint.pop_back();
    std::unique_ptr<io::Stream> stream = world.net->connect((secure ? "tls:" : "") + endpoint);
    net::ClientOptions options;
    options.authority = endpoint;
    options.message_bytes_max = kReplyBytesMax;
    options.ping_interval = std::max(request.keepalive_time, kPingIntervalMin);
    options.ping_timeout = request.keepalive_timeout;
    client = std::make_unique<net::Client>(*world.loop, std::move(stream), options);
  }

  // Never inside a callback of the client: it may be replaced here.
  void attempt() {
    connect();
    if (!request.user.empty() && metadata.empty()) return authenticate();
    if (register_next) return register_self();
    read_size();
  }

  template <typename Reply>
  void call(const char* path, const Bytes& message, std::function<void(const Status&, const Reply&)> then) {
    net::CallOptions options;
    options.timeout = request.request_timeout + request.dial_timeout;
    options.metadata = &metadata;
    std::weak_ptr<Impl> weak = weak_from_this();
    auto answer = [weak, then](const Status& status, Bytes bytes) {
      // Out of the client's own work first.
      auto self = weak.lock();
      if (!self) return;
      Reply reply;
      Status outcome = status;
      if (outcome.is_ok() && !parse(bytes, reply)) outcome = internal_error("the reply is malformed");
      self->world.loop->post([weak, then, outcome, reply = std::move(reply)] {
        if (auto again = weak.lock(); again && !again->finished) then(outcome, reply);
      });
    };
    client->unary(path, message, answer, options);
  }

  void authenticate() {
    etcdserverpb::AuthenticateRequest message;
    message.set_name(request.user);
    message.set_password(request.password);
    call<etcdserverpb::AuthenticateResponse>("/etcdserverpb.Auth/Authenticate", serialize(message),
                                             [this](const Status& status, const auto& reply) {
                                               if (status.code() == Code::kInvalidArgument) return fail(status);
                                               if (!status.is_ok()) return retry("authentication", status);
                                               metadata = {{"token", reply.token()}};
                                               attempt();
                                             });
  }

  // ---- the steps

  void read_size() {
    etcdserverpb::RangeRequest message;
    message.set_key(kRegistry + request.token + "/_config/size");
    call<etcdserverpb::RangeResponse>(
        "/etcdserverpb.KV/Range", serialize(message), [this](const Status& status, const auto& reply) {
          if (!status.is_ok()) return retry("cluster status check", status);
          if (reply.kvs_size() == 0) return fail(failed_precondition("discovery: size key not found"));
          const std::string& text = reply.kvs(0).value();
          auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
          if (error != std::errc() || end != text.data() + text.size() || size < 1 || size > kClusterSizeMax)
            return fail(failed_precondition("discovery: size key is bad"));
          read_members();
        });
  }

  void read_members() {
    etcdserverpb::RangeRequest message;
    message.set_key(prefix());
    message.set_range_end(prefix_end(prefix()));
    call<etcdserverpb::RangeResponse>("/etcdserverpb.KV/Range", serialize(message),
                                      [this](const Status& status, const auto& reply) {
                                        if (!status.is_ok()) return retry("cluster status check", status);
                                        retries = 0;
                                        peers.clear();
                                        for (const auto& kv : reply.kvs())
                                          add_peer(kv.key(), kv.value(), kv.create_revision());
                                        judge(reply.header().revision());
                                      });
  }

  void judge(int64_t revision) {
    size_t place = 0;
    while (place < peers.size() && peers[place].key != own_key()) ++place;
    if (place >= size)
      return fail(failed_precondition(
          "discovery: cluster is full; do not reuse discovery token; generate a new one to bootstrap a cluster"));
    if (place == peers.size() || !registered) {
      register_next = true;
      return attempt();
    }
    if (peers.size() >= size) return succeed();
    wait_for_peers(revision);
  }

  void register_self() {
    etcdserverpb::PutRequest message;
    message.set_key(own_key());
    message.set_value(request.contents);
    call<etcdserverpb::PutResponse>("/etcdserverpb.KV/Put", serialize(message),
                                    [this](const Status& status, const auto&) {
                                      if (!status.is_ok()) return retry("register member itself", status);
                                      retries = 0;
                                      register_next = false;
                                      registered = true;
                                      world.log->info("register member itself successfully",
                                                      {{"memberKey", own_key()}, {"memberInfo", request.contents}});
                                      attempt();
                                    });
  }

  void wait_for_peers(int64_t revision) {
    world.log->info("waiting for peers from discovery service",
                    {{"clusterSize", uint64_t{size}}, {"found-peers", uint64_t{peers.size()}}});
    etcdserverpb::WatchRequest message;
    auto* create = message.mutable_create_request();
    create->set_key(prefix());
    create->set_range_end(prefix_end(prefix()));
    create->set_start_revision(revision + 1);
    net::CallOptions options;
    options.metadata = &metadata;
    watch = &client->open("/etcdserverpb.Watch/Watch", this, options);
    watch->send_message(serialize(message));
  }

  void on_message(net::ClientCall& stream, Bytes bytes) override {
    etcdserverpb::WatchResponse reply;
    bool good = parse(bytes, reply) && !reply.canceled();
    for (const auto& event : reply.events())
      if (event.type() == mvccpb::Event::PUT)
        add_peer(event.kv().key(), event.kv().value(), event.kv().create_revision());
    if (good && peers.size() < size) return;
    stream.cancel();
    watch = nullptr;
    later([good](Impl& self) {
      if (!good) return self.retry("watch", internal_error("the watch was cancelled"));
      self.succeed();
    });
  }

  void on_end(net::ClientCall&, const Status& status) override {
    watch = nullptr;
    later([status](Impl& self) { self.retry("watch", status.is_ok() ? unavailable("the watch ended") : status); });
  }

  void add_peer(const std::string& key, const std::string& value, int64_t create_revision) {
    bool known = std::any_of(peers.begin(), peers.end(), [&](const Peer& p) { return p.key == key; });
    if (known || value.find('=') == std::string::npos) {
      world.log->warn(
          known ? "found duplicate peer from discovery service" : "invalid peer info returned from discovery service",
          {{"memberKey", key}, {"memberInfo", value}});
      return;
    }
    world.log->info("found peer from discovery service", {{"memberKey", key}, {"memberInfo", value}});
    peers.push_back({key, value, create_revision});
    std::sort(peers.begin(), peers.end(),
              [](const Peer& a, const Peer& b) { return a.create_revision < b.create_revision; });
  }

  // ---- outcomes

  template <typename F>
  void later(F f) {
    std::weak_ptr<Impl> weak = weak_from_this();
    world.loop->post([weak, f] {
      if (auto self = weak.lock(); self && !self->finished) f(*self);
    });
  }

  // The next endpoint at once; a pause after a round over all.
  void retry(const char* what, const Status& why) {
    client.reset();
    ++failures;
    bool round_done = failures % request.endpoints.size() == 0;
    io::Nanos pause = 0;
    if (round_done) {
      retries = std::min(retries + 1, kBackoffDoublingsMax);
      pause = (io::Nanos{1} << retries) * io::kSecond;
    }
    world.log->warn(
        "retry connecting to discovery service",
        {{"reason", what}, {"error", std::string(why.message())}, {"backoff-ms", pause / io::kMillisecond}});
    std::weak_ptr<Impl> weak = weak_from_this();
    timer = world.loop->add_timer(world.loop->now() + pause, [weak] {
      if (auto self = weak.lock(); self && !self->finished) self->attempt();
    });
  }

  void succeed() {
    std::string text;
    for (size_t i = 0; i < size; ++i) text += (i == 0 ? "" : ",") + peers[i].value;
    Result<PeerMap> found = parse_peers(text);
    if (found.is_ok()) world.log->info("discovery joined cluster successfully", {{"cluster", text}});
    finish(std::move(found));
  }
  void fail(const Status& why) {
    world.log->error("discovery failed to join cluster",
                     {{"discovery-token", request.token}, {"error", std::string(why.message())}});
    finish(why);
  }
  void finish(Result<PeerMap> result) {
    finished = true;
    client.reset();
    done(std::move(result));
  }

  io::World world;
  TokenRequest request;
  PeersFound done;
  std::unique_ptr<net::Client> client;
  net::Metadata metadata;
  net::ClientCall* watch = nullptr;
  std::vector<Peer> peers;
  size_t size = 0;
  size_t next_endpoint = 0, failures = 0;
  unsigned retries = 0;
  bool register_next = false, registered = false, finished = false;
  io::TimerId timer = 0;
};

TokenJoin::TokenJoin(const io::World& world, TokenRequest request, PeersFound done)
    : impl_(std::make_shared<Impl>(world, std::move(request), std::move(done))) {
  impl_->later([](Impl& self) { self.attempt(); });
}

TokenJoin::~TokenJoin() {
  impl_->finished = true;
  if (impl_->watch) impl_->watch->cancel();
}

}  // namespace fairlead::discovery
