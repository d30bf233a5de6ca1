#include "server/mvcc/watch.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/planted.h"
#include "server/mvcc/proto_encode.h"
#include "server/mvcc/watch_match.h"

namespace fairlead::mvcc {
namespace {
constexpr std::string_view kHistoryDamaged = "fairlead: history is damaged on this member; watch on another one";

constexpr int64_t kNearbyRevisions = 10'000;  // cursors this close share a scan of storage
constexpr size_t kRecordsAgain = 1000;        // looked at again when previous values have arrived
constexpr size_t kValuesKeptMax = 1024;       // previous values a job carries along
constexpr int64_t kInvalidId = -1;

enum class State : uint8_t {
  kLive,
  kRunnable,  // a cursor that could go on
  kParked,    // a cursor whose stream is not ready
  kReading,   // a cursor that waits for storage
};

struct Stream;
struct Watcher {
  Stream* stream = nullptr;
  int64_t id = 0;
  uint64_t sequence = 0;
  std::string key, end;
  bool one_key = false, open = false;
  bool prev_kv = false, no_put = false, no_delete = false, progress_notify = false, fragment = false;
  int64_t start = 0;        // no event before it
  int64_t asked_start = 0;  // as the client gave it
  State state = State::kLive;
  size_t at = 0;      // in its group of a matcher
  Position cursor;    // not live: the next position it needs
  uint64_t read = 0;  // kReading: the job
  bool sent_since_tick = false;
  // of the entry or step at work
  bool listed = false, blocked = false;
  int64_t partial_main = 0;
  std::vector<Bytes> partial;  // events of a revision that is not yet whole
  std::vector<Bytes> whole;    // events ready to be sent

  bool holds(std::string_view k) const { return one_key ? k == key : k >= key && (open || k < end); }
};

struct Stream {
  StreamId id = 0;
  bool ready = true;
  bool dirty = false;
  bool progress_wanted = false;
  int64_t next_id = 0;
  std::map<int64_t, std::unique_ptr<Watcher>> watchers;
  size_t not_live = 0;
  WatchBatch out;
};

struct Job {
  std::vector<Watcher*> watchers;
  bool scanned = false;  // records and next are there
  std::vector<ColdRecords::Entry> records;
  Position next;
  ColdRecords values;
};

// The two encodings of one event, made when first wanted.
struct Encoded {
  const KeyRecord& record;
  std::optional<KeyRecord> prev;
  Bytes plain, with_prev;

  const Bytes& get(bool want_prev) {
    Bytes& bytes = want_prev && prev ? with_prev : plain;
    if (bytes.empty()) bytes = encode_watch_event(record, want_prev && prev ? &*prev : nullptr);
    return bytes;
  }
};

}  // namespace

struct WatchHub::Impl {
  const Keyspace* keyspace;
  WatchLimits limits;
  std::map<StreamId, std::unique_ptr<Stream>> streams;
  StreamId next_stream = 1;
  uint64_t next_sequence = 1;
  uint64_t next_read = 1;
  WatchMatcher<Watcher> live;
  std::map<uint64_t, Watcher*> runnable;  // by sequence
  std::map<uint64_t, Job> jobs;
  std::vector<HistoryRead> reads;  // to be returned by the next catch_up
  std::vector<Stream*> dirty;
  std::set<StreamId> progress_waiting;
  std::vector<Watcher*> touched;
  int64_t compact_revision = -1;
  size_t watchers = 0;
  size_t not_live = 0;
  uint64_t events_total = 0;
  uint64_t pending_events = 0;

  // ---- Output ----
  WatchMessage& message(Stream& s, int64_t id, int64_t revision) {
    if (!s.dirty) {
      s.dirty = true;
      dirty.push_back(&s);
    }
    WatchMessage& m = s.out.messages.emplace_back();
    m.watch_id = id;
    m.revision = revision;
    m.events_begin = m.events_end = s.out.events.size();
    return m;
  }
  void send_whole(Watcher& w) {
    if (w.whole.empty()) return;
    Stream& s = *w.stream;
    WatchMessage& m = message(s, w.id, keyspace->revision());
    m.may_split = w.fragment;
    for (Bytes& event : w.whole) {
      s.out.bytes += event.size();
      s.out.events.push_back(std::move(event));
    }
    m.events_end = s.out.events.size();
    events_total += w.whole.size();
    pending_events += w.whole.size();
    w.whole.clear();
    w.sent_since_tick = true;
  }
  bool can_take(const Stream& s) const { return s.ready && s.out.bytes < limits.stream_bytes_max; }

  // ---- States ----
  void set_state(Watcher& w, State state) {
    if (w.state == state) return;
    if (w.state == State::kLive) {
      live.remove(&w);
      ++not_live;
      ++w.stream->not_live;
    }
    if (w.state == State::kRunnable) runnable.erase(w.sequence);
    w.state = state;
    if (state == State::kLive) {
      live.add(&w);
      --not_live;
      --w.stream->not_live;
    }
    if (state == State::kRunnable) runnable.emplace(w.sequence, &w);
  }
  // A cursor, wherever it belongs now.
  void settle(Watcher& w) {
    w.read = 0;
    bool seam_lost = PLANTED(kWatchGap) && w.partial.empty() && w.cursor.main == keyspace->revision();
    if (w.cursor.main > keyspace->revision() || seam_lost) {
      CHECK(w.partial.empty(), "a watcher joins at a revision boundary");
      set_state(w, State::kLive);
    } else {
      set_state(w, w.stream->ready ? State::kRunnable : State::kParked);
    }
  }
  void make_cursor(Watcher& w, Position cursor) {
    w.cursor = cursor;
    settle(w);
  }
  void forget(Watcher& w) {  // before it is destroyed
    if (w.state == State::kLive) {
      live.remove(&w);
    } else {
      --not_live;
      --w.stream->not_live;
    }
    if (w.state == State::kRunnable) runnable.erase(w.sequence);
    if (w.state == State::kReading) {
      auto& list = jobs.at(w.read).watchers;
      list.erase(std::find(list.begin(), list.end(), &w));
    }
    --watchers;
  }

  bool wants(const Watcher& w, const KeyRecord& r) const {
    return r.position.main >= w.start && !(r.tombstone() ? w.no_delete : w.no_put);
  }

  void deliver(Watcher& w, const KeyRecord& r, const Bytes& event) {
    if (w.partial_main != r.position.main) {
      flush_partial(w);
      w.partial_main = r.position.main;
    }
    w.partial.push_back(event);
  }
  static void flush_partial(Watcher& w) {
    w.whole.insert(w.whole.end(), std::make_move_iterator(w.partial.begin()), std::make_move_iterator(w.partial.end()));
    w.partial.clear();
  }

  void offer_event(const Event& event);
  void applied(const ApplyResult& result);
  void demote_all(int64_t revision);
  void cancel_compacted();
  bool synced(const Stream& s) const;
  void answer_progress();
  void tick(Stream& s);

  // ---- Catching up ----
  enum class Prev : uint8_t { kNone, kHere, kMissing };
  Prev previous(const KeyRecord& r, const ColdRecords& values, std::optional<KeyRecord>& prev, Position& at) const;
  struct Step {
    const ColdRecords& values;
    std::vector<Watcher*> blocked;
    std::set<Position> missing;
    size_t bytes = 0;
  };
  template <typename Match>
  void see(Step& step, const KeyRecord& record, Match&& match);
  void advance(Watcher& w, Position next);
  size_t step_one_key(Step& step, Watcher& w);
  void step_memory(Step& step, const std::vector<Watcher*>& riders, size_t records);
  void step_records(Step& step, const std::vector<Watcher*>& riders, const Job& job);
  void finish_step(Step& step, const std::vector<Watcher*>& riders, Job job);
  void continue_job(uint64_t id);
  uint64_t start_job(Job job, HistoryRead read);
  void start_scans(std::vector<Watcher*>& behind);
  std::vector<HistoryRead> catch_up(size_t records);
};

WatchHub::WatchHub(const Keyspace* keyspace, const WatchLimits& limits) : impl_(std::make_unique<Impl>()) {
  impl_->keyspace = keyspace;
  impl_->limits = limits;
  impl_->compact_revision = keyspace->compact_revision();
}
WatchHub::~WatchHub() = default;

StreamId WatchHub::open_stream() {
  StreamId id = impl_->next_stream++;
  auto stream = std::make_unique<Stream>();
  stream->id = stream->out.stream = id;
  impl_->streams.emplace(id, std::move(stream));
  return id;
}

void WatchHub::close_stream(StreamId id) {
  auto it = impl_->streams.find(id);
  CHECK(it != impl_->streams.end(), "a stream is closed once");
  Stream& s = *it->second;
  for (auto& [watch_id, w] : s.watchers) impl_->forget(*w);
  impl_->pending_events -= s.out.events.size();
  impl_->dirty.erase(std::remove(impl_->dirty.begin(), impl_->dirty.end(), &s), impl_->dirty.end());
  impl_->progress_waiting.erase(id);
  impl_->streams.erase(it);
}

void WatchHub::set_ready(StreamId id, bool ready) {
  Stream& s = *impl_->streams.at(id);
  if (s.ready == ready) return;
  s.ready = ready;
  if (s.not_live == 0) return;
  for (auto& [watch_id, w] : s.watchers) {
    if (ready && w->state == State::kParked) impl_->set_state(*w, State::kRunnable);
    if (!ready && w->state == State::kRunnable) impl_->set_state(*w, State::kParked);
  }
}

void WatchHub::refuse(StreamId stream, std::string_view reason) {
  WatchMessage& m = impl_->message(*impl_->streams.at(stream), kInvalidId, impl_->keyspace->revision());
  m.created = m.canceled = true;
  m.cancel_reason = reason;
}

void WatchHub::create(StreamId stream, const WatchCreateRequest& r) {
  Stream& s = *impl_->streams.at(stream);
  int64_t now = impl_->keyspace->revision();
  bool one_key = r.range_end.empty(), open = r.range_end == std::string_view("\0", 1);
  std::string_view key = r.key.empty() ? std::string_view("\0", 1) : r.key;
  std::string_view refused;
  if (r.start_revision < 0) {
    refused = "etcdserver: mvcc: required revision has been compacted";
  } else if (!one_key && !open && key >= r.range_end) {
    refused = "mvcc: watcher range is empty";
  } else if (r.watch_id != 0 && s.watchers.contains(r.watch_id)) {
    refused = "mvcc: duplicate watch ID provided on the WatchStream";
  } else if (s.watchers.size() >= impl_->limits.watchers_per_stream_max ||
             impl_->watchers >= impl_->limits.watchers_max) {
    refused = "etcdserver: too many watchers";
  }
  if (!refused.empty()) return refuse(stream, refused);
  auto w = std::make_unique<Watcher>();
  w->stream = &s;
  w->sequence = impl_->next_sequence++;
  w->key = key;
  if (!one_key && !open) w->end = r.range_end;
  w->one_key = one_key;
  w->open = open;
  w->prev_kv = r.prev_kv;
  w->no_put = r.no_put;
  w->no_delete = r.no_delete;
  w->progress_notify = r.progress_notify;
  w->fragment = r.fragment;
  w->start = r.start_revision > 0 ? r.start_revision : now + 1;
  w->asked_start = r.start_revision;
  w->id = r.watch_id;
  if (w->id == 0) {
    while (s.watchers.contains(s.next_id)) ++s.next_id;
    w->id = s.next_id++;
  }
  impl_->message(s, w->id, now).created = true;
  ++impl_->watchers;
  Watcher& watcher = *w;
  s.watchers.emplace(w->id, std::move(w));
  impl_->live.add(&watcher);  // new watchers count as live until shown to be behind
  if (watcher.start <= now) {
    impl_->make_cursor(watcher, {watcher.start, 0});
    if (watcher.start < impl_->keyspace->compact_revision()) impl_->cancel_compacted();
  }
}

void WatchHub::cancel(StreamId stream, int64_t watch_id) {
  Stream& s = *impl_->streams.at(stream);
  auto it = s.watchers.find(watch_id);
  if (it == s.watchers.end()) return;
  impl_->forget(*it->second);
  s.watchers.erase(it);
  impl_->message(s, watch_id, impl_->keyspace->revision()).canceled = true;
}

// ---- Live ----

void WatchHub::Impl::offer_event(const Event& event) {
  Encoded encoded{event.record, std::nullopt, {}, {}};
  bool cold_prev = false, prev_known = false;
  live.match(event.record.key, [&](Watcher* w) {
    if (w->blocked || !wants(*w, event.record)) return;
    if (!w->listed) {
      w->listed = true;
      touched.push_back(w);
    }
    if (w->prev_kv && event.has_prev && !prev_known) {
      prev_known = true;
      encoded.prev = keyspace->event_prev(event);
      cold_prev = !encoded.prev;
    }
    // A stream that is full, or a previous value that is not in memory: the watcher continues from history, with the
    // whole of this revision.
    if (!can_take(*w->stream) || (w->prev_kv && cold_prev)) {
      w->blocked = true;
      return;
    }
    w->whole.push_back(encoded.get(w->prev_kv));
  });
}

void WatchHub::Impl::applied(const ApplyResult& result) {
  touched.clear();
  if (result.events_omitted) demote_all(result.revision);
  for (const Event& event : result.events) offer_event(event);
  for (Watcher* w : touched) {
    w->listed = false;
    if (w->blocked) {
      w->blocked = false;
      w->whole.clear();
      make_cursor(*w, {result.revision, 0});
    } else {
      send_whole(*w);
    }
  }
  if (keyspace->compact_revision() != compact_revision) {
    compact_revision = keyspace->compact_revision();
    if (not_live > 0) cancel_compacted();
  }
}

// An entry with too many events to go through in one turn: everybody reads them from history, in steps.
void WatchHub::Impl::demote_all(int64_t revision) {
  for (auto& [id, s] : streams) {
    for (auto& [watch_id, w] : s->watchers) {
      if (w->state == State::kLive) make_cursor(*w, {revision, 0});
    }
  }
}

// Cursors whose next revision is gone.
void WatchHub::Impl::cancel_compacted() {
  int64_t compacted = keyspace->compact_revision();
  for (auto& [id, s] : streams) {
    if (s->not_live == 0) continue;
    for (auto it = s->watchers.begin(); it != s->watchers.end();) {
      Watcher& w = *it->second;
      if (w.state == State::kLive || std::max(w.cursor.main, w.start) >= compacted) {
        ++it;
        continue;
      }
      forget(w);
      WatchMessage& m = message(*s, w.id, 0);
      m.canceled = true;
      m.compact_revision = compacted;
      it = s->watchers.erase(it);
    }
  }
}

void WatchHub::applied(const ApplyResult& result) { impl_->applied(result); }

void WatchHub::continue_on(const Keyspace* later) {
  CHECK(later->revision() >= impl_->keyspace->revision(), "history goes on, it does not begin anew");
  int64_t seen = impl_->keyspace->revision();  // by every live watcher
  if (PLANTED(kWatchJump)) seen = later->revision();
  impl_->keyspace = later;
  impl_->jobs.clear();
  impl_->reads.clear();
  for (auto& [id, s] : impl_->streams) {
    for (auto& [watch_id, w] : s->watchers) {
      if (w->state == State::kLive) w->cursor = {seen + 1, 0};
      impl_->settle(*w);
    }
  }
  impl_->compact_revision = later->compact_revision();
  if (impl_->not_live > 0) impl_->cancel_compacted();
}

// ---- Progress ----

bool WatchHub::Impl::synced(const Stream& s) const {
  if (s.not_live > 0) return false;
  return std::all_of(s.watchers.begin(), s.watchers.end(),
                     [&](const auto& entry) { return entry.second->asked_start <= keyspace->revision(); });
}

void WatchHub::request_progress(StreamId stream) {
  Stream& s = *impl_->streams.at(stream);
  if (s.watchers.empty()) return;  // as etcd: nobody to answer for
  // In its place among the stream's other answers where that can be.
  if (impl_->synced(s)) {
    impl_->message(s, kInvalidId, impl_->keyspace->revision());
    return;
  }
  s.progress_wanted = true;
  impl_->progress_waiting.insert(stream);
}

void WatchHub::Impl::answer_progress() {
  for (auto it = progress_waiting.begin(); it != progress_waiting.end();) {
    Stream& s = *streams.at(*it);
    if (!s.watchers.empty() && !synced(s)) {
      ++it;
      continue;
    }
    if (!s.watchers.empty()) message(s, kInvalidId, keyspace->revision());
    s.progress_wanted = false;
    it = progress_waiting.erase(it);
  }
}

void WatchHub::Impl::tick(Stream& s) {
  for (auto& [id, w] : s.watchers) {
    if (!w->progress_notify) continue;
    if (w->state == State::kLive && !w->sent_since_tick && w->asked_start <= keyspace->revision()) {
      message(s, w->id, keyspace->revision());
    }
    w->sent_since_tick = false;
  }
}

void WatchHub::progress_tick() {
  for (auto& [id, s] : impl_->streams) impl_->tick(*s);
}
void WatchHub::progress_tick(StreamId stream) { impl_->tick(*impl_->streams.at(stream)); }

// ---- Catching up ----

WatchHub::Impl::Prev WatchHub::Impl::previous(const KeyRecord& r, const ColdRecords& values,
                                              std::optional<KeyRecord>& prev, Position& at) const {
  if (!r.tombstone() && r.create == r.position.main) return Prev::kNone;
  auto position = keyspace->previous(r.key, r.position);
  if (!position) return Prev::kNone;
  at = *position;
  prev = keyspace->memory_record(r.key, at);
  if (prev) return Prev::kHere;
  const auto* entry = values.find(at);
  if (!entry) return Prev::kMissing;
  prev = entry->record;
  return Prev::kHere;
}

// One record of history, for all riders that match.
template <typename Match>
void WatchHub::Impl::see(Step& step, const KeyRecord& record, Match&& match) {
  Encoded encoded{record, std::nullopt, {}, {}};
  std::optional<Prev> state;
  Position prev_at;
  match(record.key, [&](Watcher* w) {
    if (record.position < w->cursor || !wants(*w, record)) return;
    if (w->prev_kv && !state) state = previous(record, step.values, encoded.prev, prev_at);
    if (w->prev_kv && *state == Prev::kMissing) {
      if (step.missing.size() < limits.records_per_read_max) step.missing.insert(prev_at);
      if (!w->blocked) {
        w->blocked = true;
        advance(*w, record.position);
        step.blocked.push_back(w);
      }
      return;
    }
    if (w->blocked) return;
    const Bytes& event = encoded.get(w->prev_kv);
    step.bytes += event.size();
    deliver(*w, record, event);
  });
}

// The watcher has seen everything before `next`.
void WatchHub::Impl::advance(Watcher& w, Position next) {
  if (w.cursor < next) w.cursor = next;
  if (w.cursor.main > w.partial_main) flush_partial(w);
}

// A watcher of one key jumps from revision to revision by the index.
size_t WatchHub::Impl::step_one_key(Step& step, Watcher& w) {
  size_t max = limits.records_per_read_max;
  std::vector<Position> positions = keyspace->revisions_of(w.key, w.cursor, max);
  Position next = positions.size() < max ? Position{keyspace->revision() + 1, 0}
                                         : Position{positions.back().main, positions.back().sub + 1};
  for (Position p : positions) {
    std::optional<KeyRecord> record = keyspace->memory_record(w.key, p);
    if (!record) {
      if (const auto* entry = step.values.find(p)) record = entry->record;
    }
    if (record) {
      see(step, *record, [&](std::string_view, auto&& f) { f(&w); });
      continue;
    }
    if (step.missing.size() < max) step.missing.insert(p);
    if (!w.blocked) {
      w.blocked = true;
      advance(w, p);
      step.blocked.push_back(&w);
    }
  }
  if (!w.blocked) advance(w, next);
  return positions.size() + 1;
}

void WatchHub::Impl::step_memory(Step& step, const std::vector<Watcher*>& riders, size_t records) {
  if (riders.empty()) return;
  WatchMatcher<Watcher> matcher;
  Position from = riders[0]->cursor;
  for (Watcher* w : riders) {
    matcher.add(w);
    from = std::min(from, w->cursor);
  }
  auto match = [&](std::string_view key, auto&& f) { matcher.match(key, f); };
  Position next = from, end{keyspace->revision() + 1, 0};
  while (records > 0 && step.bytes < limits.scan_bytes && next < end) {
    size_t some = std::min<size_t>(records, 64);
    next = keyspace->scan_memory(next, some, [&](const KeyRecord& record) { see(step, record, match); });
    records -= some;
  }
  for (Watcher* w : riders) {
    if (!w->blocked) advance(*w, next);
  }
}

void WatchHub::Impl::step_records(Step& step, const std::vector<Watcher*>& riders, const Job& job) {
  auto match = [&](std::string_view key, auto&& f) {
    for (Watcher* w : riders) {
      if (w->holds(key)) f(w);
    }
  };
  for (const auto& entry : job.records) see(step, entry.record, match);
  for (Watcher* w : riders) {
    if (!w->blocked) advance(*w, job.next);
  }
}

uint64_t WatchHub::Impl::start_job(Job job, HistoryRead read) {
  uint64_t id = read.id = next_read++;
  for (Watcher* w : job.watchers) {
    set_state(*w, State::kReading);
    w->read = id;
  }
  jobs.emplace(id, std::move(job));
  reads.push_back(std::move(read));
  return id;
}

// Sends what is whole; those that lack a record wait for it, with what their step was made of.
void WatchHub::Impl::finish_step(Step& step, const std::vector<Watcher*>& riders, Job job) {
  for (Watcher* w : riders) {
    send_whole(*w);
    if (!w->blocked) settle(*w);
    w->blocked = false;
  }
  if (step.blocked.empty()) return;
  job.watchers = step.blocked;
  HistoryRead read;
  read.positions.assign(step.missing.begin(), step.missing.end());
  start_job(std::move(job), std::move(read));
}

void WatchHub::Impl::continue_job(uint64_t id) {
  Job job = std::move(jobs.at(id));
  jobs.erase(id);
  std::vector<Watcher*> ranges;
  std::vector<Watcher*> riders;
  for (Watcher* w : job.watchers) {
    w->read = 0;
    bool in_reach = w->one_key || job.scanned || w->cursor >= keyspace->history_in_memory_from();
    if (in_reach && can_take(*w->stream)) {
      riders.push_back(w);
    } else {
      settle(*w);  // its cursor has not moved
    }
  }
  if (riders.empty()) return;
  ColdRecords values = std::move(job.values);
  Step step{values, {}, {}, 0};
  if (job.scanned) {
    step_records(step, riders, job);
  } else {
    for (Watcher* w : riders) {
      if (w->one_key) {
        step_one_key(step, *w);
      } else {
        ranges.push_back(w);
      }
    }
    step_memory(step, ranges, kRecordsAgain);
  }
  Job next;
  next.scanned = job.scanned;
  next.records = std::move(job.records);
  next.next = job.next;
  if (values.size() < kValuesKeptMax) next.values = values;
  finish_step(step, riders, std::move(next));
}

// Range watchers behind what memory holds: neighbours share a scan.
void WatchHub::Impl::start_scans(std::vector<Watcher*>& behind) {
  std::sort(behind.begin(), behind.end(), [](const Watcher* a, const Watcher* b) {
    return a->cursor != b->cursor ? a->cursor < b->cursor : a->sequence < b->sequence;
  });
  for (size_t begin = 0; begin < behind.size() && jobs.size() < limits.reads_in_flight_max;) {
    size_t end = begin;
    Position from = behind[begin]->cursor;
    Job job;
    while (end < behind.size() && behind[end]->cursor.main - from.main <= kNearbyRevisions)
      job.watchers.push_back(behind[end++]);
    HistoryRead read;
    read.scan = true;
    read.from = from;
    read.to = keyspace->history_in_memory_from();
    read.bytes_max = limits.scan_bytes;
    start_job(std::move(job), std::move(read));
    begin = end;
  }
}

std::vector<HistoryRead> WatchHub::Impl::catch_up(size_t records) {
  Position memory_from = keyspace->history_in_memory_from();
  std::vector<Watcher*> keys, ranges, behind;
  for (const auto& [sequence, w] : runnable) {
    if (keys.size() + ranges.size() + behind.size() >= limits.riders_per_step_max) break;
    if (!can_take(*w->stream)) continue;
    if (w->one_key) {
      keys.push_back(w);
    } else {
      (w->cursor >= memory_from ? ranges : behind).push_back(w);
    }
  }
  ColdRecords none;
  size_t left = records;
  for (Watcher* w : keys) {
    if (left == 0 || jobs.size() >= limits.reads_in_flight_max) break;
    Step step{none, {}, {}, 0};
    left -= std::min(left, step_one_key(step, *w));
    finish_step(step, {w}, {});
  }
  if (!ranges.empty() && jobs.size() < limits.reads_in_flight_max) {
    Step step{none, {}, {}, 0};
    step_memory(step, ranges, records);
    finish_step(step, ranges, {});
  }
  if (!behind.empty()) start_scans(behind);
  return std::exchange(reads, {});
}

std::vector<HistoryRead> WatchHub::catch_up(size_t records) { return impl_->catch_up(records); }

bool WatchHub::catching_up() const {
  if (!impl_->reads.empty()) return true;
  return impl_->jobs.size() < impl_->limits.reads_in_flight_max && !impl_->runnable.empty();
}

void WatchHub::feed_records(uint64_t read, const ColdRecords& records) {
  auto it = impl_->jobs.find(read);
  CHECK(it != impl_->jobs.end(), "a read is answered once");
  for (const auto& [position, entry] : records) {
    Status status = it->second.values.add(position, entry.bytes);
    CHECK(status.is_ok(), "the records were checked when they were read");
  }
  impl_->continue_job(read);
}

void WatchHub::feed_scan(uint64_t read, const std::vector<ColdRecords::Entry>& records, Position next) {
  auto it = impl_->jobs.find(read);
  CHECK(it != impl_->jobs.end(), "a read is answered once");
  it->second.scanned = true;
  it->second.records = records;
  it->second.next = next;
  impl_->continue_job(read);
}

void WatchHub::feed_failed(uint64_t read) {
  auto it = impl_->jobs.find(read);
  CHECK(it != impl_->jobs.end(), "a read is answered once");
  std::vector<Watcher*> riders = std::move(it->second.watchers);
  impl_->jobs.erase(it);
  for (Watcher* w : riders) impl_->settle(*w);
}

void WatchHub::feed_damaged(uint64_t read) {
  auto it = impl_->jobs.find(read);
  CHECK(it != impl_->jobs.end(), "a read is answered once");
  std::vector<Watcher*> riders = it->second.watchers;
  for (Watcher* w : riders) {
    Stream& s = *w->stream;
    int64_t id = w->id;
    impl_->forget(*w);
    s.watchers.erase(id);
    WatchMessage& m = impl_->message(s, id, impl_->keyspace->revision());
    m.canceled = true;
    m.cancel_reason = kHistoryDamaged;
  }
  impl_->jobs.erase(read);
}

// ---- Output ----

std::vector<WatchBatch> WatchHub::take() {
  impl_->answer_progress();
  std::vector<WatchBatch> out;
  out.reserve(impl_->dirty.size());
  for (Stream* s : impl_->dirty) {
    s->dirty = false;
    impl_->pending_events -= s->out.events.size();
    out.push_back(std::move(s->out));
    s->out = {};
    s->out.stream = s->id;
  }
  impl_->dirty.clear();
  return out;
}

bool WatchHub::has_output() const {
  return !impl_->dirty.empty() || std::any_of(impl_->progress_waiting.begin(), impl_->progress_waiting.end(),
                                              [&](StreamId id) { return impl_->synced(*impl_->streams.at(id)); });
}

WatchStats WatchHub::stats() const {
  return {impl_->watchers, impl_->not_live, impl_->streams.size(), impl_->events_total, impl_->pending_events};
}

std::vector<WatchLag> WatchHub::lags(size_t watchers_max) const {
  std::vector<WatchLag> out;
  size_t looked_at = 0;
  for (const auto& [id, s] : impl_->streams) {
    if (s->not_live == 0) continue;
    WatchLag lag;
    lag.stream = id;
    lag.ready = s->ready;
    lag.watchers = s->watchers.size();
    lag.cursors = s->not_live;
    const Watcher* farthest = nullptr;
    for (const auto& [watch_id, w] : s->watchers) {
      if (looked_at >= watchers_max) break;
      ++looked_at;
      if (w->state != State::kLive && (!farthest || w->cursor < farthest->cursor)) farthest = w.get();
    }
    if (!farthest) break;
    lag.watch_id = farthest->id;
    lag.key = farthest->key;
    lag.range_end = farthest->open ? std::string(1, '\0') : farthest->end;
    lag.next_revision = farthest->cursor.main;
    out.push_back(std::move(lag));
  }
  return out;
}

}  // namespace fairlead::mvcc
