// Watchers: who gets which events, exactly once and in order.
//
// A watcher is *live* (it gets events as commands are applied) or a *cursor* (it reads history until it has caught up,
// then joins the live ones between two revisions). It becomes a cursor when it starts in the past, when its stream
// cannot take more, and when an event needs a previous value that is not in memory. Nothing is buffered for a slow
// reader: its cursor is two numbers.
//
// An event is encoded at most twice (with and without prev_kv) into shared bytes; a message is a list of such slices.
// Messages of a stream come in one batch per take(). Events of one revision are never split over messages.
//
// History comes from the keyspace's memory while it reaches back far enough, else from storage: catch_up() returns
// reads, the caller answers each with feed_*. Range watchers at nearby cursors share one scan; a watcher of one key
// jumps by the index.
//
// Bounds: watchers per stream and in all (WatchLimits), bytes queued for a stream between two take() calls, reads in
// flight, records per catch-up step.
//
// Threads: one, the keyspace's. Pure: no clock; the order of everything is the order of calls.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "server/mvcc/keyspace.h"

namespace fairlead::mvcc {

using StreamId = uint64_t;

struct WatchLimits {
  size_t watchers_per_stream_max = 10'000;
  size_t watchers_max = 1'000'000;
  size_t stream_bytes_max = 4 << 20;  // queued for one stream before its watchers become cursors
  size_t scan_bytes = 1 << 20;        // asked of storage at once
  size_t reads_in_flight_max = 16;
  size_t records_per_read_max = 128;  // positions in one read of single records, about
  size_t riders_per_step_max = 4096;  // watchers that share one step
};

struct WatchCreateRequest {
  std::string_view key;
  std::string_view range_end;  // "\0": every key >= key
  int64_t start_revision = 0;  // 0: from now on
  int64_t watch_id = 0;        // 0: the hub chooses
  bool prev_kv = false;
  bool no_put = false;  // filters
  bool no_delete = false;
  bool progress_notify = false;
  bool fragment = false;  // messages of this watcher may be split by whoever sends them
};

// What a stream sends. Numbers for the response's fields; texts are etcd's.
struct WatchMessage {
  int64_t watch_id = 0;
  int64_t revision = 0;  // header.revision (0 on a cancel by compaction, as etcd sends it)
  bool created = false;
  bool canceled = false;
  bool may_split = false;  // the watcher asked for `fragment`
  int64_t compact_revision = 0;
  std::string_view cancel_reason;  // a literal
  size_t events_begin = 0;         // into WatchBatch::events; none: begin == end
  size_t events_end = 0;
};

struct WatchBatch {
  StreamId stream = 0;
  std::vector<WatchMessage> messages;
  std::vector<Bytes> events;  // each a whole field 11 of WatchResponse (proto_encode.h)
  size_t bytes = 0;           // of events
};

// History wanted from storage. Answer with feed_records or feed_scan, or with feed_failed.
struct HistoryRead {
  uint64_t id = 0;
  bool scan = false;
  std::vector<Position> positions;  // !scan: these records; sorted
  Position from;                    // scan: records in position order from here,
  Position to;                      //       up to but not including this position
  size_t bytes_max = 0;             //       stopping after about this many bytes (at least one record)
};

struct WatchStats {
  uint64_t watchers = 0;
  uint64_t cursors = 0;  // not live: etcd's "slow watchers"
  uint64_t streams = 0;
  uint64_t events_total = 0;  // sent
  uint64_t pending_events = 0;
};

// How far a stream with cursors is behind: of its farthest one.
struct WatchLag {
  StreamId stream = 0;
  bool ready = true;  // false: its reader takes nothing more for now
  size_t watchers = 0, cursors = 0;
  int64_t watch_id = 0;
  std::string key, range_end;  // range_end as in WatchCreateRequest
  int64_t next_revision = 0;   // that it has not seen
};

class WatchHub {
 public:
  explicit WatchHub(const Keyspace* keyspace, const WatchLimits& limits = {});
  ~WatchHub();

  StreamId open_stream();
  void close_stream(StreamId stream);  // and all its watchers
  // A stream that is not ready gets no events: its watchers become cursors when one comes. Ready at open.
  void set_ready(StreamId stream, bool ready);

  // Queues the reply (created, or created and canceled with etcd's reason and watch_id -1). No event of the watcher
  // comes before it.
  void create(StreamId stream, const WatchCreateRequest& request);
  // Queues the reply of a create that the caller refuses; `reason` is a literal.
  void refuse(StreamId stream, std::string_view reason);
  void cancel(StreamId stream, int64_t watch_id);  // unknown ids are ignored, as in etcd
  // One answer with watch_id -1 as soon as every watcher of the stream is caught up and has started.
  void request_progress(StreamId stream);
  // The notify interval is over: a progress message for every caught-up watcher that asked for them and was sent
  // nothing since the last tick.
  void progress_tick();                 // all streams
  void progress_tick(StreamId stream);  // one, for those who spread the ticks

  // Right after every apply(), with its result. Compactions too: cursors that lost their history are cancelled.
  void applied(const ApplyResult& result);

  // The state was replaced by a later one of the same history (a snapshot was installed): every watcher goes on as a
  // cursor right behind what it has seen, or is cancelled where that was compacted. Reads that are not answered yet are
  // void: their numbers must not be fed any more. Call while the keyspace so far still lives.
  void continue_on(const Keyspace* keyspace);

  // Batches since the last call, streams in the order in which they got something.
  std::vector<WatchBatch> take();
  bool has_output() const;

  // One bounded step for cursors: `records` records looked at in memory. Returns reads for storage to answer.
  std::vector<HistoryRead> catch_up(size_t records);
  bool catching_up() const;  // some cursor could go on now without waiting for storage or for its stream
  void feed_records(uint64_t read, const ColdRecords& records);
  // Decoded records of a scan in position order, `next` = where the scan stopped (== the read's `to` when it is whole).
  void feed_scan(uint64_t read, const std::vector<ColdRecords::Entry>& records, Position next);
  // What is wanted is damaged: the affected cursors are cancelled, with a reason.
  void feed_damaged(uint64_t read);
  // The read could not be answered (retry, or its history is gone); affected cursors try again.
  void feed_failed(uint64_t read);

  WatchStats stats() const;
  // Streams that have cursors, in the order of their ids; no more than about `watchers_max` watchers are looked at.
  std::vector<WatchLag> lags(size_t watchers_max) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::mvcc
