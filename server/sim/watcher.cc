#include "server/sim/watcher.h"

#include <algorithm>
#include <cstdio>

#include "base/check.h"
#include "base/codec.h"

namespace fairlead::sim {
namespace {

// The few fields of mvccpb.Event, read by code that shares nothing with what wrote them.
struct Proto {
  std::string_view in;
  bool bad = false;

  uint64_t varint() {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (in.empty()) break;
      auto byte = static_cast<uint8_t>(in[0]);
      in.remove_prefix(1);
      v |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return v;
    }
    bad = true;
    return 0;
  }
  std::string_view bytes() {
    uint64_t n = varint();
    if (n > in.size()) {
      bad = true;
      return {};
    }
    std::string_view out = in.substr(0, n);
    in.remove_prefix(n);
    return out;
  }
};

bool read_kv(std::string_view in, Kv& kv) {
  Proto p{in};
  while (!p.in.empty() && !p.bad) {
    switch (p.varint()) {
      case (1 << 3) | 2:
        kv.key = p.bytes();
        break;
      case (2 << 3):
        kv.create_revision = static_cast<int64_t>(p.varint());
        break;
      case (3 << 3):
        kv.mod_revision = static_cast<int64_t>(p.varint());
        break;
      case (4 << 3):
        kv.version = static_cast<int64_t>(p.varint());
        break;
      case (5 << 3) | 2:
        kv.value = p.bytes();
        break;
      case (6 << 3):
        kv.lease = static_cast<int64_t>(p.varint());
        break;
      default:
        return false;
    }
  }
  return !p.bad;
}

// `field`: tag of field 11, length, mvccpb.Event.
bool read_event(std::string_view field, SeenEvent& event) {
  Proto outer{field};
  if (outer.varint() != ((11 << 3) | 2)) return false;
  Proto p{outer.bytes()};
  if (outer.bad || !outer.in.empty()) return false;
  while (!p.in.empty() && !p.bad) {
    switch (p.varint()) {
      case (1 << 3):
        event.put = p.varint() == 0;
        break;
      case (2 << 3) | 2:
        if (!read_kv(p.bytes(), event.kv)) return false;
        break;
      case (3 << 3) | 2:
        event.has_prev = true;
        if (!read_kv(p.bytes(), event.prev)) return false;
        break;
      default:
        return false;
    }
  }
  return !p.bad;
}

}  // namespace

// One stream. It outlives neither its watcher nor the node's knowledge of it: closed by the one that goes first.
class Watcher::Sink final : public node::WatchSink {
 public:
  Sink(Watcher* watcher, uint64_t connection) : watcher_(watcher), connection_(connection) {}

  void on_batch(const mvcc::WatchBatch& batch) override {
    for (const mvcc::WatchMessage& m : batch.messages) {
      Message message;
      message.created = m.created;
      message.canceled = m.canceled;
      message.compact_revision = m.compact_revision;
      message.revision = m.revision;
      message.reason = std::string(m.cancel_reason);
      for (size_t i = m.events_begin; i < m.events_end; ++i) {
        SeenEvent event;
        if (!read_event(batch.events[i].view(), event)) watcher_->broken("an event that cannot be decoded");
        message.events.push_back(std::move(event));
      }
      deliver(std::move(message));
    }
  }

  mvcc::StreamId stream = 0;

 private:
  void deliver(Message message) {
    Watcher* w = watcher_;
    if (w->inner_ >= 0) {
      w->on_message(message);
      return;
    }
    io::sim::Scheduler& scheduler = w->cluster_->world().scheduler();
    // One connection keeps its order.
    w->last_delivery_ =
        std::max(w->last_delivery_, scheduler.now() + w->cluster_->prng().delay(300 * io::kMicrosecond));
    scheduler.at(w->last_delivery_, nullptr, "watch.message",
                 [w, connection = connection_, message = std::move(message)] {
                   if (w->connection_ == connection) w->on_message(message);
                 });
  }

  Watcher* watcher_;
  uint64_t connection_;
};

Watcher::Watcher(Cluster* cluster, History* history, Counters* counters, std::shared_ptr<WatchLog> log, int inner)
    : cluster_(cluster), history_(history), counters_(counters), log_(std::move(log)), inner_(inner) {}
Watcher::~Watcher() = default;

void Watcher::attach(size_t member) {
  if (member_ >= 0 || !cluster_->running(member)) return;
  member_ = static_cast<int>(member);
  uint64_t connection = ++connection_;
  created_ = false;
  cluster_->in_turn(member, [this, connection](node::Node& node) {
    if (connection_ == connection) open(node, connection);
  });
}

void Watcher::open(node::Node& node, uint64_t connection) {
  sink_ = std::make_unique<Sink>(this, connection);
  sink_->stream = node.open_watch(sink_.get());
  mvcc::WatchCreateRequest request;
  request.key = log_->key;
  request.range_end = log_->range_end;
  request.start_revision = log_->next;
  request.prev_kv = log_->prev_kv;
  request.no_put = log_->no_put;
  request.no_delete = log_->no_delete;
  request.progress_notify = log_->id % 2 == 0;
  node.watches().create(sink_->stream, request);
}

void Watcher::detach() {
  if (member_ < 0) return;
  size_t member = static_cast<size_t>(member_);
  member_ = -1;
  ++connection_;
  if (!sink_) return;
  // The server learns of it in a turn of its own; until then the sink must stay.
  auto sink = std::make_shared<std::unique_ptr<Sink>>(std::move(sink_));
  cluster_->in_turn(member, [sink](node::Node& node) { node.close_watch((*sink)->stream); });
}

void Watcher::member_ended(size_t member) {
  if (member_ != static_cast<int>(member)) return;
  member_ = -1;
  ++connection_;
  sink_.reset();
}

void Watcher::broken(const std::string& how) {
  if (log_->broken.empty())
    log_->broken = how + " (from m" + std::to_string(member_ + 1) + ", next " + std::to_string(log_->next) + ")";
}

void Watcher::trace(const Message& message) const {
  std::fprintf(stderr, "%.6f watcher %llu at m%d:%s%s header %lld", static_cast<double>(cluster_->now()) / 1e9,
               static_cast<unsigned long long>(log_->id), member_ + 1, message.created ? " created" : "",
               message.canceled ? " cancelled" : "", static_cast<long long>(message.revision));
  for (const SeenEvent& e : message.events) std::fprintf(stderr, " %s", describe(e.kv).c_str());
  std::fprintf(stderr, "\n");
}

void Watcher::on_message(const Message& message) {
  if (cluster_->trace) trace(message);
  if (message.created && !message.canceled) {
    if (created_) broken("created twice");
    created_ = true;
    if (log_->next == 0) log_->start = log_->next = message.revision + 1;
    return;
  }
  if (message.canceled) {
    if (message.compact_revision > 0) {
      if (message.compact_revision > history_->compact_asked) broken("cancelled by a compaction that nobody asked for");
      if (message.compact_revision <= log_->next) broken("cancelled by a compaction that it was past of");
      log_->gaps.push_back({log_->next, message.compact_revision});
      log_->next = std::max(log_->next, message.compact_revision);
    } else if (!message.reason.starts_with("fairlead: history is damaged") || !damaged ||
               !damaged(static_cast<size_t>(member_))) {
      broken("cancelled: " + message.reason);
    }
    detach();  // and goes on at another member, where it was
    return;
  }
  if (!created_) broken("an event before the watch was created");
  for (const SeenEvent& event : message.events) on_event(event);
  if (message.events.empty()) {
    // Progress: nothing up to here is still to come.
    log_->next = std::max(log_->next, message.revision + 1);
  } else {
    if (message.revision < message.events.back().kv.mod_revision) broken("a header older than its events");
    log_->next = std::max(log_->next, message.events.back().kv.mod_revision + 1);
  }
}

void Watcher::on_event(SeenEvent event) {
  if (event.kv.mod_revision < log_->next) {
    broken("event of revision " + std::to_string(event.kv.mod_revision) + " again or late");
  }
  ++counters_->watch_events;
  if (inner_ >= 0) note(event);
  log_->seen.push_back({std::move(event), cluster_->now(), history_->compact_asked});
}

// The first inner watcher to see a revision defines it. It may see one revision in one message only, so a revision that
// is there already and was not begun by this very message is compared by the judge, not extended.
void Watcher::note(const SeenEvent& event) {
  auto [it, fresh] = history_->revisions.try_emplace(event.kv.mod_revision);
  Revision& revision = it->second;
  if (fresh) {
    revision.first_seen = cluster_->now();
    revision.first_by = log_->id;
  } else if (revision.first_by != log_->id) {
    return;
  }
  revision.events.push_back(event);
}

}  // namespace fairlead::sim
