// The Watch service: one handler per stream. Events come encoded from the hub; here each message only gets its header.
#include <deque>

#include "base/codec.h"
#include "base/failpoint.h"
#include "server/api/api.h"
#include "server/api/proto_util.h"
#include "server/mvcc/errors.h"

namespace fairlead::api {
namespace {

constexpr size_t kStreamQueueBytesMax = 4 << 20;   // above it the stream's watchers become cursors
constexpr std::string_view kFirstKey("\0", 1);     // what an empty key means
constexpr size_t kStreamDrainMarkBytes = 1 << 20;  // below it they go on

char* store_field(char* p, int number, uint64_t value) {
  if (value == 0) return p;
  *p++ = static_cast<char>(number << 3);
  return store_varint(p, value);
}

// WatchResponse up to its events (field 11, the last).
size_t watch_head_bound(const Header& header, const mvcc::WatchMessage& m) {
  return header_field_size(header) + 6 * (1 + kVarintMax) + m.cancel_reason.size();
}
char* store_watch_head(char* p, const Header& header, const mvcc::WatchMessage& m, bool more_follows = false) {
  p = store_header_field(p, header);
  p = store_field(p, 2, static_cast<uint64_t>(m.watch_id));
  p = store_field(p, 3, m.created);
  p = store_field(p, 4, m.canceled);
  p = store_field(p, 5, static_cast<uint64_t>(m.compact_revision));
  if (!m.cancel_reason.empty()) {
    *p++ = static_cast<char>(6 << 3 | 2);
    p = store_varint(p, m.cancel_reason.size());
    std::memcpy(p, m.cancel_reason.data(), m.cancel_reason.size());
    p += m.cancel_reason.size();
  }
  return store_field(p, 7, more_follows);
}

class WatchCall final : public net::CallHandler, public node::WatchSink {
 public:
  WatchCall(Api& api, net::ServerCall& call) : api_(api), call_(&call), stream_(api.node().open_watch(this)) {
    call.set_drain_mark(kStreamDrainMarkBytes);
    api.watch_opened(stream_, call);
  }
  ~WatchCall() override {
    *alive_ = false;
    leave();
  }

  void on_message(net::ServerCall& call, Bytes in) override {
    etcdserverpb::WatchRequest request;
    if (Status s = parse(in, request); !s.is_ok()) {
      leave();
      return call.finish(s);
    }
    if (judging_) return waiting_.push_back(std::move(request));
    handle(request);
  }
  void handle(const etcdserverpb::WatchRequest& request) {
    mvcc::WatchHub& hub = api_.node().watches();
    switch (request.request_union_case()) {
      case etcdserverpb::WatchRequest::kCreateRequest: {
        const auto& r = request.create_request();
        if (api_.node().auth().enabled() && r.start_revision() >= 0 && !admitted_) return judge(request);
        mvcc::WatchCreateRequest create;
        create.key = r.key();
        create.range_end = r.range_end();
        create.start_revision = r.start_revision();
        create.watch_id = r.watch_id();
        create.prev_kv = r.prev_kv();
        create.progress_notify = r.progress_notify();
        create.fragment = r.fragment();
        for (int filter : r.filters()) {
          create.no_put |= filter == etcdserverpb::WatchCreateRequest::NOPUT;
          create.no_delete |= filter == etcdserverpb::WatchCreateRequest::NODELETE;
        }
        return hub.create(stream_, create);
      }
      case etcdserverpb::WatchRequest::kCancelRequest:
        return hub.cancel(stream_, request.cancel_request().watch_id());
      case etcdserverpb::WatchRequest::kProgressRequest:
        return hub.request_progress(stream_);
      default:
        return;  // a request without content, as etcd: ignored
    }
  }

  // A client that will ask for nothing more still gets its events, as from etcd.
  void on_half_close(net::ServerCall&) override {}
  void on_cancel(net::ServerCall&, const Status&) override { leave(); }
  void on_drained(net::ServerCall&) override {
    if (open_) api_.node().watches().set_ready(stream_, true);
  }

  // The heads of a batch share one allocation: with many watchers on a stream it is the dearest part of an event.
  void on_batch(const mvcc::WatchBatch& batch) override {
    FAILPOINT(beforeSendWatchResponse);
    size_t bound = 0;
    for (const mvcc::WatchMessage& m : batch.messages) bound += watch_head_bound(api_.header(m.revision), m);
    BytesBuilder builder(bound);
    char* end = builder.data();
    ends_.clear();
    for (const mvcc::WatchMessage& m : batch.messages) {
      end = store_watch_head(end, api_.header(m.revision), m);
      ends_.push_back(static_cast<size_t>(end - builder.data()));
    }
    size_t used = ends_.empty() ? 0 : ends_.back();
    Bytes heads = std::move(builder).finish(used);
    size_t begin = 0;
    for (size_t i = 0; i < batch.messages.size(); ++i) {
      const mvcc::WatchMessage& m = batch.messages[i];
      if (m.may_split && send_fragments(batch, m)) {
        begin = ends_[i];
        continue;
      }
      parts_.clear();
      parts_.push_back(heads.slice(begin, ends_[i] - begin));
      begin = ends_[i];
      parts_.insert(parts_.end(), batch.events.begin() + static_cast<ptrdiff_t>(m.events_begin),
                    batch.events.begin() + static_cast<ptrdiff_t>(m.events_end));
      call_->send_message(std::span<const Bytes>(parts_));
    }
    parts_.clear();
    if (call_->queued_bytes() > kStreamQueueBytesMax) api_.node().watches().set_ready(stream_, false);
  }

 private:
  // Asks whether the caller may watch this; what comes meanwhile waits, so that answers keep their order.
  void judge(const etcdserverpb::WatchRequest& request) {
    judging_ = true;
    call_->pause_input(true);
    api_.with_caller(call_->ref(), [this, request, alive = alive_](const Result<node::Caller>& who) {
      if (!*alive || !open_) return;
      if (!who.is_ok()) return judged(request, who.status());
      auto may = [this, alive, request, caller = *who]() -> Status {
        if (!*alive) return {};
        const auto& r = request.create_request();
        std::string_view key = r.key().empty() ? kFirstKey : std::string_view(r.key());
        return api_.node().check_read(caller, key, r.range_end());
      };
      api_.node().when_permitted(may, [this, alive, request](const Status& status) {
        if (*alive && open_) judged(request, status);
      });
    });
  }
  void judged(const etcdserverpb::WatchRequest& request, const Status& status) {
    if (status.is_ok()) {
      admitted_ = true;
      handle(request);
      admitted_ = false;
    } else {
      api_.node().watches().refuse(stream_, refusal(status));
    }
    judging_ = false;
    while (!judging_ && !waiting_.empty()) {
      etcdserverpb::WatchRequest next = std::move(waiting_.front());
      waiting_.pop_front();
      handle(next);
    }
    if (!judging_) call_->pause_input(false);  // what it held back may come at once
  }
  // etcd's words here are those of a gRPC error printed whole.
  static std::string_view refusal(const Status& why) {
    if (why == mvcc::err_invalid_auth_token())
      return "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";
    if (why == mvcc::err_auth_old_revision())
      return "rpc error: code = InvalidArgument desc = etcdserver: revision of auth store is old";
    if (why == mvcc::err_user_empty()) return "rpc error: code = InvalidArgument desc = etcdserver: user name is empty";
    return "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
  }
  // The events of a message that is too large for a client's limit, in several: all but the last say that more follows.
  // False: it is not too large.
  bool send_fragments(const mvcc::WatchBatch& batch, const mvcc::WatchMessage& m) {
    size_t limit = api_.node().config().request_bytes_max + kGrpcOverheadBytes;
    size_t total = 0;
    for (size_t i = m.events_begin; i < m.events_end; ++i) total += batch.events[i].size();
    if (total < limit || m.events_end - m.events_begin < 2) return false;
    Header header = api_.header(m.revision);
    for (size_t i = m.events_begin; i < m.events_end;) {
      parts_.assign(1, Bytes());
      size_t size = watch_head_bound(header, m);
      do {
        size += batch.events[i].size();
        parts_.push_back(batch.events[i++]);
      } while (i < m.events_end && size + batch.events[i].size() < limit);
      BytesBuilder head(watch_head_bound(header, m));
      char* end = store_watch_head(head.data(), header, m, i < m.events_end);
      size_t used = static_cast<size_t>(end - head.data());
      parts_[0] = std::move(head).finish(used);
      call_->send_message(std::span<const Bytes>(parts_));
    }
    return true;
  }

  void leave() {
    if (!std::exchange(open_, false)) return;
    api_.watch_closed(stream_);
    api_.node().close_watch(stream_);
  }

  Api& api_;
  net::ServerCall* call_;
  mvcc::StreamId stream_;
  bool open_ = true;
  bool judging_ = false;   // a create waits for its judgement
  bool admitted_ = false;  // it has it
  std::deque<etcdserverpb::WatchRequest> waiting_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::vector<Bytes> parts_;
  std::vector<size_t> ends_;
};

}  // namespace

void Api::add_watch(net::Router& router) {
  router.add_stream("/etcdserverpb.Watch/Watch", net::MethodKind::kBidi,
                    [this](net::ServerCall& call) -> std::unique_ptr<net::CallHandler> {
                      return std::make_unique<WatchCall>(*this, call);
                    });
}

}  // namespace fairlead::api
