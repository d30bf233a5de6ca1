#include "server/proxy/forward.h"

#include <utility>
#include <vector>

namespace fairlead::proxy {
namespace {

class Forwarded final : public net::CallHandler {
 public:
  Forwarded(Upstream& upstream, uint64_t id) : upstream_(upstream), id_(id) {}
  void on_cancel(net::ServerCall&, const Status&) override { upstream_.cancel(id_); }

 private:
  Upstream& upstream_;
  uint64_t id_;
};

// Two streams, end to end.
class Pipe final : public net::CallHandler, private net::ClientCallHandler {
 public:
  Pipe(Upstream& upstream, net::ServerCall& call)
      : upstream_(upstream), call_(&call), path_(call.path()), metadata_(forwarded_metadata(call)) {
    call.set_drain_mark(net::kDrainMarkDefaultBytes);
    if (Upstream::ClientPtr client = upstream_.client()) {
      open(std::move(client));
      return;
    }
    call.pause_input(true);
    waiting_ = upstream_.when_ready([this](const Status& status, Upstream::ClientPtr client) {
      waiting_ = 0;
      if (!status.is_ok()) return call_->finish(status);
      open(std::move(client));
      call_->pause_input(false);
    });
  }
  ~Pipe() override { close(); }

  void on_message(net::ServerCall& call, Bytes message) override {
    if (!out_) return held_.push_back(std::move(message));
    out_->send_message(message);
    if (out_->queued_bytes() > kPipeBytesMax) call.pause_input(true);
  }
  void on_half_close(net::ServerCall&) override {
    half_closed_ = true;
    if (out_) out_->half_close();
  }
  void on_cancel(net::ServerCall&, const Status&) override { close(); }
  void on_drained(net::ServerCall&) override {
    if (out_) out_->pause_input(false);
  }

 private:
  void open(Upstream::ClientPtr client) {
    client_ = std::move(client);
    net::CallOptions options;
    options.metadata = &metadata_;
    out_ = &client_->open(path_, this, options);
    for (const Bytes& message : std::exchange(held_, {})) out_->send_message(message);
    if (half_closed_) out_->half_close();
  }
  void close() {
    if (waiting_) upstream_.cancel(std::exchange(waiting_, 0));
    if (out_) std::exchange(out_, nullptr)->cancel();
  }

  void on_message(net::ClientCall&, Bytes message) override {
    call_->send_message(message);
    if (out_ && call_->queued_bytes() > kPipeBytesMax) out_->pause_input(true);
  }
  void on_end(net::ClientCall&, const Status& status) override {
    out_ = nullptr;
    call_->finish(status);
  }
  void on_drained(net::ClientCall&) override { call_->pause_input(false); }

  Upstream& upstream_;
  net::ServerCall* call_;
  std::string path_;
  net::Metadata metadata_;
  Upstream::ClientPtr client_;  // outlives the stream
  net::ClientCall* out_ = nullptr;
  uint64_t waiting_ = 0;
  std::vector<Bytes> held_;  // at most what the client's window allows: its input is paused
  bool half_closed_ = false;
};

}  // namespace

net::Metadata forwarded_metadata(const net::ServerCall& call) {
  net::Metadata out;
  for (std::string_view name : kForwardedMetadata)
    if (std::string_view value = call.metadata(name); !value.empty()) out.emplace_back(name, value);
  return out;
}

UpstreamCall upstream_call(const net::ServerCall& call, std::string path, Bytes request, bool repeatable) {
  return {std::move(path), std::move(request), forwarded_metadata(call), call.deadline(), repeatable};
}

void forward(Upstream& upstream, net::CallRef call, UpstreamCall out, Answer then) {
  uint64_t id = upstream.unary(std::move(out), [call, then = std::move(then)](const Status& status, Bytes reply) {
    if (!call->done()) then(*call, status, std::move(reply));
  });
  call->set_handler(std::make_unique<Forwarded>(upstream, id));
}

void answer_as_is(net::ServerCall& call, const Status& status, Bytes reply) {
  if (!status.is_ok()) return call.finish(status);
  call.reply(reply);
}

std::unique_ptr<net::CallHandler> make_pipe(Upstream& upstream, net::ServerCall& call) {
  return std::make_unique<Pipe>(upstream, call);
}

}  // namespace fairlead::proxy
