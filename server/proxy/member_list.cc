#include "server/proxy/member_list.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/text.h"
#include "server/proxy/forward.h"
#include "server/proxy/wire.h"

namespace fairlead::proxy {

namespace {

constexpr const char* kMemberList = "/etcdserverpb.Cluster/MemberList";
constexpr io::Nanos kCallTimeout = 5 * io::kSecond;

}  // namespace

std::string registration(const std::string& address, const std::string& name) {
  return "{\"Op\":0,\"Addr\":" + json_string(address) +
         ",\"Metadata\":" + json_string("{\"name\":" + json_string(name) + "}") + "}";
}

bool read_registration(const std::string& value, std::string* address, std::string* name) {
  auto outer = nlohmann::json::parse(value, nullptr, false);
  if (!outer.is_object() || !outer.contains("Addr") || !outer["Addr"].is_string()) return false;
  *address = outer["Addr"].get<std::string>();
  name->clear();
  if (!outer.contains("Metadata") || !outer["Metadata"].is_string()) return true;
  auto inner = nlohmann::json::parse(outer["Metadata"].get<std::string>(), nullptr, false);
  if (inner.is_object() && inner.contains("name") && inner["name"].is_string())
    *name = inner["name"].get<std::string>();
  return true;
}

// The stream that keeps the lease of a registration alive: asks every third of its time.
struct MemberList::Keeper final : net::ClientCallHandler {
  Keeper(MemberList& l, int64_t id) : list(l), lease(id) {}
  ~Keeper() override {
    list.world_.loop->cancel_timer(timer);
    if (waiting) list.upstream_.cancel(waiting);
    if (call) call->cancel();
  }
  void open() {
    waiting = list.upstream_.when_ready([this](const Status& status, Upstream::ClientPtr c) {
      waiting = 0;
      if (!status.is_ok()) return ended(status.message());
      client = std::move(c);
      call = &client->open("/etcdserverpb.Lease/LeaseKeepAlive", this);
      ask();
    });
  }
  void ask() {
    etcdserverpb::LeaseKeepAliveRequest request;
    request.set_id(lease);
    call->send_message(serialize(request));
    io::Nanos third = list.options_.resolver_ttl_seconds * io::kSecond / 3;
    timer = list.world_.loop->add_timer(list.world_.loop->now() + third, [this] {
      if (!std::exchange(answered, false)) return ended("no answer");
      if (call) ask();
    });
  }
  void on_message(net::ClientCall&, Bytes bytes) override {
    etcdserverpb::LeaseKeepAliveResponse reply;
    answered = parse(bytes, reply).is_ok() && reply.ttl() > 0;
    if (!answered) ended("the lease has expired");
  }
  void on_end(net::ClientCall&, const Status& status) override {
    call = nullptr;
    ended(status.message());
  }
  void ended(std::string_view why) {
    list.world_.loop->cancel_timer(timer);
    if (std::exchange(over, true)) return;
    list.register_again(std::string(why));
  }

  MemberList& list;
  const int64_t lease;
  Upstream::ClientPtr client;
  net::ClientCall* call = nullptr;
  uint64_t waiting = 0;
  io::TimerId timer = 0;
  bool answered = false;
  bool over = false;
};

MemberList::MemberList(const io::World& world, Upstream& upstream, WatchProxy& watches, const Namespace& name_space,
                       MemberListOptions options)
    : world_(world), upstream_(upstream), watches_(watches), name_space_(name_space), options_(std::move(options)) {
  if (options_.resolver_prefix.empty()) return;
  begin_register();
  read_all();
}

MemberList::~MemberList() { *alive_ = false; }

void MemberList::later(io::Nanos pause, void (MemberList::*f)()) {
  world_.loop->add_timer(world_.loop->now() + pause, [this, alive = alive_, f] {
    if (*alive) (this->*f)();
  });
}

// ---- the service

void MemberList::add_routes(net::Router& router) {
  for (const char* method : {"MemberAdd", "MemberRemove", "MemberUpdate", "MemberPromote"}) {
    std::string path = std::string("/etcdserverpb.Cluster/") + method;
    router.add_unary(path, [this, path](net::CallRef call, Bytes in) {
      forward(upstream_, call, upstream_call(*call, path, std::move(in), false), answer_as_is);
    });
  }
  router.add_unary(kMemberList, [this](net::CallRef call, Bytes in) { answer(std::move(call), in); });
}

void MemberList::answer(net::CallRef call, const Bytes& request) {
  if (options_.advertise_client_url.empty())
    return forward(upstream_, call, upstream_call(*call, kMemberList, request, true), answer_as_is);
  etcdserverpb::MemberListResponse reply;
  auto add = [&reply](const std::string& name, const std::string& address) {
    etcdserverpb::Member& member = *reply.add_members();
    member.set_name(name);
    member.add_clienturls(address);
  };
  for (const auto& [key, one] : registered_) add(one.second, one.first);
  if (reply.members_size() == 0) add(options_.host_name, options_.advertise_client_url);
  call->reply(serialize(reply));
}

// ---- registration

void MemberList::begin_register() {
  keeper_.reset();
  etcdserverpb::LeaseGrantRequest request;
  request.set_ttl(options_.resolver_ttl_seconds);
  UpstreamCall call{"/etcdserverpb.Lease/LeaseGrant", serialize(request)};
  call.deadline = world_.loop->now() + kCallTimeout;
  upstream_.unary(std::move(call), [this, alive = alive_](const Status& status, Bytes bytes) {
    if (!*alive) return;
    etcdserverpb::LeaseGrantResponse reply;
    if (!status.is_ok() || !parse(bytes, reply).is_ok()) return register_again(std::string(status.message()));
    put_registration(reply.id());
  });
}

void MemberList::put_registration(int64_t lease) {
  etcdserverpb::PutRequest request;
  request.set_key(options_.resolver_prefix + "/" + options_.advertise_client_url);
  request.set_value(registration(options_.advertise_client_url, options_.host_name));
  request.set_lease(lease);
  if (!name_space_.empty() && !name_space_.request(request).is_ok()) return;
  UpstreamCall call{"/etcdserverpb.KV/Put", serialize(request)};
  call.deadline = world_.loop->now() + kCallTimeout;
  upstream_.unary(std::move(call), [this, lease, alive = alive_](const Status& status, Bytes) {
    if (!*alive) return;
    if (!status.is_ok()) return register_again(std::string(status.message()));
    world_.log->info("registered session with lease",
                     {{"addr", options_.advertise_client_url}, {"lease-ttl", options_.resolver_ttl_seconds}});
    keeper_ = std::make_unique<Keeper>(*this, lease);
    keeper_->open();
  });
}

void MemberList::register_again(const std::string& why) {
  world_.log->warn("the registration of this proxy is lost and made again", {{"error", why}});
  later(kRegisterPause, &MemberList::begin_register);
}

// ---- the others

void MemberList::read_all() {
  etcdserverpb::RangeRequest request;
  request.set_key(options_.resolver_prefix + "/");
  request.set_range_end(prefix_end(request.key()));
  request.set_limit(kRegisteredMax);
  if (!name_space_.empty() && !name_space_.request(request).is_ok()) return;
  UpstreamCall call{"/etcdserverpb.KV/Range", serialize(request)};
  call.repeatable = true;
  call.deadline = world_.loop->now() + kCallTimeout;
  upstream_.unary(std::move(call), [this, alive = alive_](const Status& status, Bytes bytes) {
    if (!*alive) return;
    etcdserverpb::RangeResponse reply;
    if (!status.is_ok() || !parse(bytes, reply).is_ok()) return later(kRegisterPause, &MemberList::read_all);
    if (!name_space_.empty()) name_space_.response(reply);
    registered_.clear();
    for (const auto& kv : reply.kvs()) put(kv.key(), kv.value());
    etcdserverpb::WatchRequest watch;
    auto& create = *watch.mutable_create_request();
    create.set_key(options_.resolver_prefix + "/");
    create.set_range_end(prefix_end(create.key()));
    create.set_start_revision(reply.header().revision() + 1);
    watch_ = watches_.listen(watch, [this](const etcdserverpb::WatchResponse& message) {
      for (const auto& event : message.events()) {
        if (event.type() == mvccpb::Event::PUT)
          put(event.kv().key(), event.kv().value());
        else
          registered_.erase(event.kv().key());
      }
      if (message.canceled()) watch_again();
    });
  });
}

void MemberList::put(const std::string& key, const std::string& value) {
  std::string address, name;
  if (registered_.size() >= kRegisteredMax || !read_registration(value, &address, &name))
    return world_.log->warn("a registration of a proxy cannot be used", {{"key", key}});
  registered_[key] = {address, name};
}

void MemberList::watch_again() {
  watches_.close(std::exchange(watch_, 0));
  later(kRegisterPause, &MemberList::read_all);
}

}  // namespace fairlead::proxy
