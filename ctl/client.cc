#include "ctl/client.h"

#include <termios.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>

#include <grpc/support/log.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include "ctl/address.h"
#include "ctl/exit.h"
#include "ctl/go_format.h"

namespace fairlead::ctl {
namespace {

using Clock = std::chrono::system_clock;

constexpr useconds_t kRetryPauseMicros = 25'000;
constexpr std::chrono::milliseconds kConnectSlice{2};
constexpr std::chrono::milliseconds kExplainTimeout{200};

// However long a flag says: within what a clock holds.
Clock::time_point after(int64_t nanos) {
  return Clock::now() + std::chrono::nanoseconds(std::min<int64_t>(nanos, INT64_MAX / 4));
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail(kExitBadArgs, "open " + path + ": no such file or directory");
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// In gRPC's words.
std::string target_of(const Address& address) {
  return address.unix_path.empty() ? "dns:///" + address.text() : "unix:" + address.unix_path;
}

const char* code_name(grpc::StatusCode code) {
  static const char* kNames[] = {
      "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
      "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
      "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
      "DataLoss", "Unauthenticated"};
  return code >= 0 && code <= 16 ? kNames[code] : "Unknown";
}

}  // namespace

std::string ask_password(const std::string& prompt) {
  fprintf(stderr, "%s", prompt.c_str());
  termios before{}, silent{};
  bool terminal = tcgetattr(0, &before) == 0;
  if (terminal) {
    silent = before;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    tcsetattr(0, TCSANOW, &silent);
  }
  std::string line;
  bool got = static_cast<bool>(std::getline(std::cin, line));
  if (terminal) {
    tcsetattr(0, TCSANOW, &before);
    fprintf(stderr, "\n");
  }
  if (!got) fail(kExitError, "EOF");
  return line;
}

std::string error_text(const grpc::Status& status) {
  std::string text = status.error_message();
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && !text.starts_with("etcdserver:"))
    return "context deadline exceeded";
  if (text.starts_with("etcdserver:")) return text;
  for (auto [ours, gos] : {std::pair{"Sent message larger", "trying to send message larger"},
                           {"Received message larger", "grpc: received message larger"}})
    if (text.starts_with(ours)) text.replace(0, strlen(ours), gos);
  return std::string("rpc error: code = ") + code_name(status.error_code()) + " desc = " + text;
}

std::string short_error(const grpc::Status& status) {
  const std::string& text = status.error_message();
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && !text.starts_with("etcdserver:"))
    return "no answer in time";
  if (!text.starts_with("failed to connect to all addresses")) return error_text(status);
  // "...; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused"
  size_t last = text.rfind(": ");
  std::string why = last == std::string::npos ? text : text.substr(last + 2);
  if (!why.empty()) why[0] = static_cast<char>(tolower(why[0]));
  return why;
}

bool is_etcd_error(const grpc::Status& status, std::string_view text) {
  return status.error_message() == "etcdserver: " + std::string(text);
}

namespace {

// What --debug shows; of secrets only that there are some.
void show_settings(const Command& command) {
  for (const Command* c = &command; c; c = c->parent())
    for (const Flag& f : c->global_flags()) {
      bool secret = f.name == "password" || f.name == "user" || f.name == "auth-jwt-token";
      std::string value = secret && !f.value.empty() ? "***" : f.kind == Kind::kList ? "[" + f.value + "]" : f.value;
      fprintf(stderr, "%s=%s\n", environment_name("ETCDCTL", f).c_str(), value.c_str());
    }
}

int as_int(int64_t n) { return static_cast<int>(std::clamp<int64_t>(n, INT_MIN, INT_MAX)); }

ClientOptions read_options(Context& context) {
  auto& command = const_cast<Command&>(context.command());
  std::vector<std::string> unknown;
  if (std::string e = command.set_from_environment("ETCDCTL", unknown); !e.empty()) fail(kExitError, e);
  for (const std::string& name : unknown) {
    bool of_watch = command.name() == "watch" && name.starts_with("ETCDCTL_WATCH_");
    // Set for tools that spoke an older protocol too.
    bool version = name == "ETCDCTL_API" && std::string_view(getenv(name.c_str())) == "3";
    if (!of_watch && !version) fprintf(stderr, "unrecognized environment variable %s: ignored\n", name.c_str());
  }
  if (context.on("debug"))
    show_settings(command);
  else
    gpr_set_log_function([](gpr_log_func_args*) {});  // gRPC's own words would stand between what scripts read
  ClientOptions o;
  for (std::string& e : context.list("endpoints")) {
    e.erase(0, e.find_first_not_of(' '));
    e.erase(e.find_last_not_of(' ') + 1);
    o.endpoints.push_back(e);
  }
  if (std::string domain = context.text("discovery-srv"); !domain.empty()) {
    std::vector<std::string> found =
        discover_endpoints(domain, context.text("discovery-srv-name"), context.on("insecure-discovery"));
    if (!found.empty()) o.endpoints = found;
    if (!context.on("insecure-discovery")) o.tls.server_name = domain;
  }
  o.dial_timeout_nanos = context.nanos("dial-timeout");
  o.command_timeout_nanos = context.nanos("command-timeout");
  o.keepalive_time_nanos = context.nanos("keepalive-time");
  o.keepalive_timeout_nanos = context.nanos("keepalive-timeout");
  o.request_bytes_max = as_int(context.number("max-request-bytes"));
  o.reply_bytes_max = as_int(context.number("max-recv-bytes"));
  for (const char* flag : {"cert", "key", "cacert"})
    if (context.given(flag) && context.text(flag).empty())
      fail(kExitBadArgs, std::string("empty string is passed to --") + flag + " option");
  o.tls.cert = context.text("cert");
  o.tls.key = context.text("key");
  o.tls.cacert = context.text("cacert");
  o.tls.insecure_transport = context.on("insecure-transport");
  o.tls.skip_verify = context.on("insecure-skip-tls-verify");
  o.token = context.text("auth-jwt-token");
  std::string user = context.text("user");
  if (o.token.empty() && !user.empty()) {
    o.user = user;
    o.password = context.text("password");
    if (o.password.empty()) {
      size_t colon = user.find(':');
      o.user = user.substr(0, colon);
      o.password = colon == std::string::npos ? ask_password("Password: ") : user.substr(colon + 1);
    }
  }
  return o;
}

}  // namespace

ClientOptions client_options(Context& context) {
  static const ClientOptions options = read_options(context);  // a process runs one verb, and asks for a password once
  return options;
}

Client::Client(ClientOptions options) : options_(std::move(options)) {
  if (options_.endpoints.empty()) fail(kExitBadArgs, "etcdclient: no available endpoints");
  for (const std::string& endpoint : options_.endpoints) channels_.push_back(open_channel(options_, endpoint));
  // Most processes make one call: each begins somewhere else.
  next_ = std::random_device()() % channels_.size();
  if (!options_.user.empty()) log_in();
}

std::shared_ptr<grpc::Channel> open_channel(const ClientOptions& options, const std::string& endpoint,
                                            bool own_connection) {
  const TlsOptions& tls = options.tls;
  const Address address = parse_address(endpoint, wants_tls(tls));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(options.reply_bytes_max > 0 ? options.reply_bytes_max : -1);
  arguments.SetMaxSendMessageSize(options.request_bytes_max > 0 ? options.request_bytes_max : 2 * 1024 * 1024);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS,
                   static_cast<int>(std::max<int64_t>(options.keepalive_time_nanos / 1'000'000, 10'000)));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(options.keepalive_timeout_nanos / 1'000'000));
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Of a socket: the name of its file. Else gRPC makes it of the target.
  if (const std::string& path = address.unix_path; !path.empty())
    arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, path.substr(path.rfind('/') + 1));
  if (own_connection) arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (address.secure && tls.skip_verify) {
    grpc::experimental::TlsChannelCredentialsOptions o;
    o.set_verify_server_certs(false);
    o.set_check_call_host(false);
    o.set_certificate_verifier(std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
    if (!tls.cert.empty()) {
      std::vector<grpc::experimental::IdentityKeyCertPair> pair{{read_file(tls.key), read_file(tls.cert)}};
      o.set_certificate_provider(std::make_shared<grpc::experimental::StaticDataCertificateProvider>("", pair));
      o.watch_identity_key_cert_pairs();
    }
    credentials = grpc::experimental::TlsCredentials(o);
  } else if (address.secure) {
    grpc::SslCredentialsOptions o;
    if (!tls.cacert.empty()) o.pem_root_certs = read_file(tls.cacert);
    if (!tls.cert.empty()) {
      o.pem_cert_chain = read_file(tls.cert);
      o.pem_private_key = read_file(tls.key);
    }
    credentials = grpc::SslCredentials(o);
    if (!tls.server_name.empty()) arguments.SetSslTargetNameOverride(tls.server_name);
  }
  auto channel = grpc::CreateCustomChannel(target_of(address), credentials, arguments);
  // gRPC ends its threads with its last channel, and waits for them. So the first one stays until leave().
  [[maybe_unused]] static const auto* const first = new std::shared_ptr<grpc::Channel>(channel);
  return channel;
}

// gRPC puts the address of the connection that it chose into the call before it writes to it; until then the call's
// peer is the name that was asked for. (For a Unix socket both are the same: there only gRPC's own words tell.)
bool never_sent(const grpc::Status& status, const grpc::ClientContext& context, const std::string& endpoint) {
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return false;
  std::string target = target_of(parse_address(endpoint, false));
  if (context.peer() != target) return false;
  return !target.starts_with("unix:") || status.error_message().starts_with("failed to connect to all addresses");
}

// All endpoints are tried at once, first the one whose turn it is; those that are connected take turns. gRPC goes on
// with a connection only while somebody waits for it: so each is waited for, a little at a time.
int Client::connected(Clock::time_point until) {
  size_t count = channels_.size();
  for (size_t turn = 0;; ++turn) {
    int found = -1;
    for (size_t i = 0; i < count; ++i) {
      size_t k = (next_ + i) % count;
      if (channels_[k]->GetState(true) == GRPC_CHANNEL_READY && found < 0) found = static_cast<int>(k);
    }
    if (found >= 0) {
      next_ = (static_cast<size_t>(found) + 1) % count;
      return found;
    }
    auto now = Clock::now();
    if (now >= until) return -1;
    grpc::Channel& one = *channels_[(next_ + turn) % count];
    grpc_connectivity_state state = one.GetState(false);
    if (state != GRPC_CHANNEL_READY)
      one.WaitForStateChange(state, count == 1 ? until : std::min(until, now + kConnectSlice));
  }
}

// A call that does not wait for a connection fails at once where there is none, and says why.
void Client::explain() {
  if (explained_.exchange(true)) return;
  for (size_t i = 0; i < channels_.size(); ++i) {
    grpc::ClientContext context;
    context.set_deadline(Clock::now() + kExplainTimeout);
    pb::StatusResponse reply;
    grpc::Status status = pb::Maintenance::NewStub(channels_[i])->Status(&context, pb::StatusRequest(), &reply);
    if (!status.ok()) fprintf(stderr, "%s: %s\n", options_.endpoints[i].c_str(), short_error(status).c_str());
  }
}

std::shared_ptr<grpc::Channel> Client::connected_channel(std::chrono::nanoseconds at_most) {
  auto until = std::max(after(options_.dial_timeout_nanos), Clock::now()) +
               std::max(after(options_.command_timeout_nanos) - Clock::now(), Clock::duration(0));
  int at = connected(std::min(until, after(at_most.count())));
  if (at < 0) explain();
  return at < 0 ? nullptr : channels_[static_cast<size_t>(at)];
}

void Client::prepare(grpc::ClientContext& context, bool timed, bool require_leader) {
  if (timed) context.set_deadline(after(options_.command_timeout_nanos));
  if (!token().empty()) context.AddMetadata("token", token());
  context.AddMetadata("client-api-version", "3.7");
  if (require_leader) context.AddMetadata("hasleader", "true");
}

grpc::Status Client::attempt(const Attempt& call, bool idempotent, bool timed) {
  auto until = timed ? after(options_.command_timeout_nanos) : Clock::time_point::max();
  bool renewed = false;
  while (true) {
    int at = connected(until);
    if (at < 0) {
      explain();
      return {grpc::StatusCode::DEADLINE_EXCEEDED, "context deadline exceeded"};
    }
    grpc::ClientContext context;
    prepare(context, false);
    if (until != Clock::time_point::max()) context.set_deadline(until);
    grpc::Status status = call(channels_[static_cast<size_t>(at)], &context);
    if (status.ok() || Clock::now() >= until) return status;
    // A token may have run out, or rights have changed since it was given.
    if (!renewed && !options_.user.empty() &&
        (is_etcd_error(status, "invalid auth token") || is_etcd_error(status, "revision of auth store is old"))) {
      renewed = true;
      log_in();
      continue;
    }
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return status;
    if (!idempotent && !never_sent(status, context, options_.endpoints[static_cast<size_t>(at)])) return status;
    usleep(kRetryPauseMicros);
  }
}

void Client::log_in() {
  pb::AuthenticateRequest request;
  request.set_name(options_.user);
  request.set_password(options_.password);
  pb::AuthenticateResponse reply;
  token_.clear();
  std::string user = std::exchange(options_.user, "");
  grpc::Status status = call<pb::Auth>(&pb::Auth::Stub::Authenticate, request, &reply, true);
  options_.user = user;
  if (status.ok()) {
    token_ = reply.token();
  } else if (!is_etcd_error(status, "authentication is not enabled")) {
    fail(kExitBadConnection, error_text(status));
  }
}

Client make_client(Context& context) { return Client(client_options(context)); }
Client make_client(Context& context, const std::string& endpoint) {
  ClientOptions o = client_options(context);
  o.endpoints = {endpoint};
  return Client(std::move(o));
}

}  // namespace fairlead::ctl
