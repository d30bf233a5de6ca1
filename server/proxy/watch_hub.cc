#include "server/proxy/watch_hub.h"

#include <algorithm>

#include "server/proxy/wire.h"

namespace fairlead::proxy {

using etcdserverpb::ResponseHeader;
using etcdserverpb::WatchCreateRequest;
using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;

namespace {

constexpr int64_t kNoWatch = -1;  // the id in answers that belong to no watch

}  // namespace

struct WatchHub::Watcher {
  Stream* stream = nullptr;
  int64_t id = 0;
  Range range;
  int64_t next_rev = 0;  // 0: from now, and now is not known yet
  bool told = false;     // that it was created
  bool prev_kv = false, progress = false, fragment = false, no_put = false, no_delete = false;
  Broadcast* broadcast = nullptr;  // null: its stream is full
};

struct WatchHub::Broadcast {
  Up* up = nullptr;
  int64_t id = 0;
  Range range;
  int64_t next_rev = 0;
  bool created = false;  // on the stream that stands now
  bool synced = false;   // known to be at the end of history
  std::vector<Watcher*> receivers;
};

struct WatchHub::Up {
  UpId id = 0;
  Who who;
  bool ready = false;
  int64_t last_id = 0;
  size_t streams = 0;
  std::map<int64_t, std::unique_ptr<Broadcast>> broadcasts;
  std::map<Range, std::vector<Broadcast*>> by_range;
  std::deque<int64_t> creating;  // in the order of their answers
  size_t progress_asked = 0;     // not answered yet; a busy watch makes the cluster leave one unanswered
  ResponseHeader header;         // the latest
};

struct WatchHub::Stream {
  StreamId id = 0;
  Up* up = nullptr;
  std::map<int64_t, std::unique_ptr<Watcher>> watchers;
  int64_t next_id = 0;
  size_t progress_wanted = 0;  // answers until one is as new as the last request
  bool full = false;
};

// The events of one message, each encoded at most once in each of two forms.
class WatchHub::Batch {
 public:
  explicit Batch(const WatchResponse& message)
      : message_(message), whole_(message.events_size()), without_previous_(message.events_size()) {}
  const ResponseHeader& header() const { return message_.header(); }
  int size() const { return message_.events_size(); }
  const mvccpb::Event& at(int i) const { return message_.events(i); }
  int64_t last_rev() const { return message_.events(size() - 1).kv().mod_revision(); }

  const Bytes& encoded(int i, bool prev_kv) {
    bool whole = prev_kv || !at(i).has_prev_kv();
    Bytes& out = (whole ? whole_ : without_previous_)[static_cast<size_t>(i)];
    if (!out.empty()) return out;
    WatchResponse one;
    *one.add_events() = at(i);
    if (!whole) one.mutable_events(0)->clear_prev_kv();
    return out = serialize(one);
  }

 private:
  const WatchResponse& message_;
  std::vector<Bytes> whole_, without_previous_;
};

WatchHub::WatchHub(Output& output, const Namespace& name_space) : output_(output), name_space_(name_space) {}
WatchHub::~WatchHub() = default;

// ---- clients

WatchHub::Up& WatchHub::up_of(const Who& who) {
  if (auto at = up_by_who_.find(who); at != up_by_who_.end()) return *at->second;
  auto up = std::make_unique<Up>();
  up->id = ++last_up_;
  up->who = who;
  Up& out = *up;
  up_by_who_[who] = &out;
  ups_[out.id] = std::move(up);
  output_.open_up(out.id, who);
  return out;
}

WatchHub::StreamId WatchHub::open_stream(const Who& who) {
  auto stream = std::make_unique<Stream>();
  stream->id = ++last_stream_;
  stream->up = &up_of(who);
  ++stream->up->streams;
  StreamId id = stream->id;
  streams_[id] = std::move(stream);
  return id;
}

void WatchHub::request(StreamId id, const WatchRequest& request) {
  auto at = streams_.find(id);
  if (at == streams_.end()) return;
  if (request.has_create_request()) create(*at->second, request.create_request());
  if (request.has_cancel_request()) cancel(*at->second, request.cancel_request().watch_id());
  if (request.has_progress_request()) ask_progress(*at->second);
}

void WatchHub::create(Stream& stream, const WatchCreateRequest& request) {
  if (request.start_revision() < 0) return refuse(stream, "etcdserver: mvcc: required revision has been compacted");
  if (stream.watchers.size() >= kWatchersPerStreamMax) return refuse(stream, "too many watchers on one stream");
  int64_t id = request.watch_id();
  if (id != 0 && stream.watchers.contains(id))
    return refuse(stream, "mvcc: duplicate watch ID provided on the WatchStream");
  if (id == 0) {
    while (stream.watchers.contains(stream.next_id)) ++stream.next_id;
    id = stream.next_id++;
  }
  auto watcher = std::make_unique<Watcher>();
  watcher->stream = &stream;
  watcher->id = id;
  watcher->range = {request.key(), request.range_end()};
  if (!name_space_.empty()) name_space_.move_in(&watcher->range.first, &watcher->range.second);
  watcher->next_rev = request.start_revision();
  watcher->prev_kv = request.prev_kv();
  watcher->progress = request.progress_notify();
  watcher->fragment = request.fragment();
  for (int filter : request.filters()) {
    watcher->no_put |= filter == WatchCreateRequest::NOPUT;
    watcher->no_delete |= filter == WatchCreateRequest::NODELETE;
  }
  Watcher& added = *watcher;
  stream.watchers[id] = std::move(watcher);
  attach(added);
}

void WatchHub::refuse(Stream& stream, const std::string& reason) {
  WatchResponse answer;
  *answer.mutable_header() = stream.up->header;
  answer.set_watch_id(kNoWatch);
  answer.set_created(true);
  answer.set_canceled(true);
  answer.set_cancel_reason(reason);
  send(stream, answer);
}

void WatchHub::cancel(Stream& stream, int64_t id) {
  auto at = stream.watchers.find(id);
  if (at == stream.watchers.end()) return;
  leave(*at->second);
  stream.watchers.erase(at);
  WatchResponse answer;
  *answer.mutable_header() = stream.up->header;
  answer.set_watch_id(id);
  answer.set_canceled(true);
  send(stream, answer);
}

void WatchHub::ask_progress(Stream& stream) {
  stream.progress_wanted = ++stream.up->progress_asked;
  if (!stream.up->ready) return;  // up_ready() asks
  WatchRequest request;
  request.mutable_progress_request();
  output_.send_up(stream.up->id, request);
}

void WatchHub::close_stream(StreamId id) {
  auto node = streams_.extract(id);
  if (node.empty()) return;
  Stream& stream = *node.mapped();
  for (auto& [watch_id, watcher] : stream.watchers) leave(*watcher);
  Up* up = stream.up;
  if (--up->streams > 0) return;
  output_.close_up(up->id);
  up_by_who_.erase(up->who);
  ups_.erase(up->id);
}

void WatchHub::stall_if_full(Stream& stream) {
  if (output_.queued_bytes(stream.id) <= kStreamQueueBytesMax) return;
  stream.full = true;
  for (auto& [id, watcher] : stream.watchers)
    if (watcher->told) leave(*watcher);
}

void WatchHub::drained(StreamId id) {
  auto at = streams_.find(id);
  if (at == streams_.end() || !std::exchange(at->second->full, false)) return;
  for (auto& [watch_id, watcher] : at->second->watchers)
    if (!watcher->broadcast) attach(*watcher);
}

// ---- watchers and broadcasts

WatchHub::Broadcast* WatchHub::joinable(Up& up, const Watcher& w) {
  auto at = up.by_range.find(w.range);
  if (at == up.by_range.end()) return nullptr;
  for (Broadcast* b : at->second) {
    if (!b->created && b->next_rev == w.next_rev) return b;  // its answer will be right for both
    bool behind = w.next_rev > 0 && b->next_rev <= w.next_rev;
    if (b->created && behind && (b->synced || w.next_rev - b->next_rev <= kWatchGapMax)) return b;
  }
  return nullptr;
}

void WatchHub::attach(Watcher& w) {
  Up& up = *w.stream->up;
  if (Broadcast* b = joinable(up, w)) {
    w.broadcast = b;
    b->receivers.push_back(&w);
    if (b->created && !w.told) tell_created(w, up.header);
    return;
  }
  auto owned = std::make_unique<Broadcast>();
  Broadcast& b = *owned;
  b.up = &up;
  b.id = ++up.last_id;
  b.range = w.range;
  b.next_rev = w.next_rev;
  b.receivers.push_back(&w);
  w.broadcast = &b;
  up.by_range[b.range].push_back(&b);
  up.broadcasts[b.id] = std::move(owned);
  send_create(b);
}

void WatchHub::send_create(Broadcast& b) {
  if (!b.up->ready) return;  // up_ready() sends it
  WatchRequest request;
  WatchCreateRequest& create = *request.mutable_create_request();
  create.set_key(b.range.first);
  create.set_range_end(b.range.second);
  create.set_start_revision(b.next_rev);
  create.set_progress_notify(true);
  create.set_prev_kv(true);
  create.set_watch_id(b.id);
  b.up->creating.push_back(b.id);
  output_.send_up(b.up->id, request);
}

void WatchHub::leave(Watcher& w) {
  Broadcast* b = std::exchange(w.broadcast, nullptr);
  if (!b) return;
  std::erase(b->receivers, &w);
  if (b->receivers.empty()) drop(*b);
}

// Nobody listens any more. One whose answer is still to come is ended when it comes.
void WatchHub::drop(Broadcast& b) {
  Up& up = *b.up;
  if (b.created && up.ready) {
    WatchRequest request;
    request.mutable_cancel_request()->set_watch_id(b.id);
    output_.send_up(up.id, request);
  }
  auto at = up.by_range.find(b.range);
  std::erase(at->second, &b);
  if (at->second.empty()) up.by_range.erase(at);
  up.broadcasts.erase(b.id);
}

// Moves the receivers to another broadcast of the range that is not ahead, and ends this one.
void WatchHub::coalesce(Broadcast& b) {
  if (!b.created) return;
  for (Broadcast* other : b.up->by_range.at(b.range)) {
    bool near = other->synced || b.next_rev - other->next_rev <= kWatchGapMax;
    if (other == &b || !other->created || other->next_rev > b.next_rev || !near) continue;
    for (Watcher* w : b.receivers) {
      w->broadcast = other;
      other->receivers.push_back(w);
    }
    b.receivers.clear();
    return drop(b);
  }
}

// ---- the cluster

void WatchHub::up_ready(UpId id) {
  auto at = ups_.find(id);
  if (at == ups_.end()) return;
  Up& up = *at->second;
  up.ready = true;
  up.progress_asked = 0;
  for (auto& [watch_id, b] : up.broadcasts) send_create(*b);
  for (auto& [stream_id, stream] : streams_)
    if (stream->up == &up && stream->progress_wanted > 0) ask_progress(*stream);
}

void WatchHub::up_message(UpId id, WatchResponse& message) {
  auto found = ups_.find(id);
  if (found == ups_.end()) return;
  Up& up = *found->second;
  if (message.has_header()) up.header = message.header();
  if (message.created()) return on_created(up, message);
  if (message.watch_id() == kNoWatch && message.events_size() == 0 && !message.canceled())
    return on_progress_of_all(up, message);
  auto at = up.broadcasts.find(message.watch_id());
  if (at == up.broadcasts.end() || !at->second->created) return;  // ended by us
  if (message.events_size() > 0) on_events(*at->second, message);
  if (message.canceled()) return on_canceled(*at->second, message);
  if (message.events_size() == 0) on_progress(*at->second, message);
}

void WatchHub::on_created(Up& up, WatchResponse& message) {
  if (up.creating.empty()) return;
  int64_t id = up.creating.front();
  up.creating.pop_front();
  auto at = up.broadcasts.find(id);
  if (at == up.broadcasts.end()) {  // all have left in the meantime
    if (message.canceled()) return;
    WatchRequest request;
    request.mutable_cancel_request()->set_watch_id(id);
    return output_.send_up(up.id, request);
  }
  Broadcast& b = *at->second;
  if (message.canceled()) return on_canceled(b, message);
  int64_t now = message.header().revision();
  b.created = true;
  b.synced = b.next_rev == 0 || b.next_rev > now;
  if (b.next_rev == 0) b.next_rev = now + 1;
  for (Watcher* w : b.receivers) {
    if (w->next_rev == 0) w->next_rev = now + 1;
    if (!w->told) tell_created(*w, message.header());
  }
  coalesce(b);
}

void WatchHub::tell_created(Watcher& w, const ResponseHeader& header) {
  w.told = true;
  WatchResponse answer;
  *answer.mutable_header() = header;
  answer.set_watch_id(w.id);
  answer.set_created(true);
  send(*w.stream, answer);
}

void WatchHub::on_canceled(Broadcast& b, const WatchResponse& message) {
  std::vector<Watcher*> receivers = std::exchange(b.receivers, {});
  b.created = false;  // there is nothing to be ended in the cluster
  drop(b);
  for (Watcher* w : receivers) {
    WatchResponse answer;
    *answer.mutable_header() = message.header();
    answer.set_watch_id(w->told ? w->id : kNoWatch);
    answer.set_created(!w->told);
    answer.set_canceled(true);
    answer.set_cancel_reason(message.cancel_reason());
    answer.set_compact_revision(message.compact_revision());
    w->broadcast = nullptr;
    send(*w->stream, answer);
    w->stream->watchers.erase(w->id);
  }
}

void WatchHub::on_events(Broadcast& b, WatchResponse& message) {
  if (!name_space_.empty()) name_space_.response(message);
  Batch batch(message);
  b.next_rev = std::max(b.next_rev, batch.last_rev() + 1);
  b.synced |= batch.last_rev() == message.header().revision();
  events_coalesced_ += b.receivers.size() - 1;
  std::vector<Watcher*> receivers = b.receivers;
  for (Watcher* w : receivers) deliver(*w, batch);
  if (message.canceled()) return;
  int64_t id = b.id;
  Up& up = *b.up;
  for (Watcher* w : receivers) stall_if_full(*w->stream);  // may end this broadcast
  if (auto at = up.broadcasts.find(id); at != up.broadcasts.end()) coalesce(*at->second);
}

void WatchHub::deliver(Watcher& w, Batch& batch) {
  std::vector<Bytes> events;
  for (int i = 0; i < batch.size(); ++i) {
    const mvccpb::Event& event = batch.at(i);
    bool unwanted = event.type() == mvccpb::Event::PUT ? w.no_put : w.no_delete;
    if (unwanted || event.kv().mod_revision() < w.next_rev) continue;
    events.push_back(batch.encoded(i, w.prev_kv));
  }
  w.next_rev = std::max(w.next_rev, batch.last_rev() + 1);
  WatchResponse head;
  *head.mutable_header() = batch.header();
  head.set_watch_id(w.id);
  for (size_t i = 0; i < events.size();) {
    std::vector<Bytes> parts(1);
    size_t bytes = 0;
    do {
      bytes += events[i].size();
      parts.push_back(events[i++]);
    } while (i < events.size() && (!w.fragment || bytes + events[i].size() < kWatchFragmentBytes));
    head.set_fragment(i < events.size());
    parts[0] = serialize(head);
    output_.send(w.stream->id, parts);
  }
}

void WatchHub::on_progress(Broadcast& b, const WatchResponse& message) {
  b.synced = true;
  b.next_rev = std::max(b.next_rev, message.header().revision() + 1);
  for (Watcher* w : b.receivers) {
    w->next_rev = std::max(w->next_rev, message.header().revision() + 1);
    if (!w->progress) continue;
    WatchResponse answer;
    *answer.mutable_header() = message.header();
    answer.set_watch_id(w->id);
    send(*w->stream, answer);
  }
  coalesce(b);
}

// Every watch of this stream to the cluster has delivered all up to that revision.
void WatchHub::on_progress_of_all(Up& up, const WatchResponse& message) {
  int64_t next = message.header().revision() + 1;
  up.progress_asked -= std::min<size_t>(up.progress_asked, 1);
  std::vector<int64_t> ids;
  for (auto& [id, b] : up.broadcasts) {
    if (!b->created) continue;
    ids.push_back(id);
    b->synced = true;
    b->next_rev = std::max(b->next_rev, next);
    for (Watcher* w : b->receivers) w->next_rev = std::max(w->next_rev, next);
  }
  for (auto& [id, stream] : streams_) {
    if (stream->up != &up || stream->full || stream->progress_wanted == 0) continue;
    --stream->progress_wanted;
    WatchResponse answer;
    *answer.mutable_header() = message.header();
    answer.set_watch_id(kNoWatch);
    send(*stream, answer);
  }
  for (int64_t id : ids)
    if (auto at = up.broadcasts.find(id); at != up.broadcasts.end()) coalesce(*at->second);
}

void WatchHub::up_ended(UpId id, const Status& status) {
  auto found = ups_.find(id);
  if (found == ups_.end()) return;
  Up& up = *found->second;
  up.ready = false;
  up.creating.clear();
  bool no_leader = status.message() == "etcdserver: no leader";  // who asked for one must hear that there is none
  bool lost = status.is_ok() || status.code() == Code::kUnavailable || status.code() == Code::kInternal;
  if (lost && !no_leader) {
    for (auto& [watch_id, b] : up.broadcasts) {
      resumed_ += b->created;
      b->created = b->synced = false;
    }
    return output_.open_up(up.id, up.who);
  }
  std::vector<StreamId> ended;
  for (auto& [stream_id, stream] : streams_)
    if (stream->up == &up) ended.push_back(stream_id);
  for (StreamId stream_id : ended) {
    output_.end(stream_id, status);
    close_stream(stream_id);
  }
}

void WatchHub::send(Stream& stream, const WatchResponse& message) {
  Bytes bytes = serialize(message);
  output_.send(stream.id, {&bytes, 1});
}

WatchHub::Stats WatchHub::stats() const {
  Stats out;
  out.events_coalesced = events_coalesced_;
  out.resumed = resumed_;
  for (const auto& [id, stream] : streams_) out.watchers += stream->watchers.size();
  for (const auto& [id, up] : ups_) {
    out.watches += up->broadcasts.size();
    for (const auto& [watch_id, b] : up->broadcasts) out.coalescing += b->receivers.size() - 1;
  }
  return out;
}

}  // namespace fairlead::proxy
