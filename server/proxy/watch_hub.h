// Many watchers of clients on one range, one watch in the cluster (etcd's grpc-proxy: "coalescing").
//
// Pure: messages in, messages out (Output); no clock and no connection. One stream to the cluster (an "up") for each
// set of credentials: whoever asks without the same ones shares nothing. On it, one watch (a "broadcast") for each
// range, and for a while more: a watcher that begins in the past has its own until it has caught up.
//
// Invariants:
// - A broadcast's next_rev: it has delivered every event of its range below that. It grows by the last event of a
//   message, or by a progress message; never by the header of a message with events, which may be far ahead of them
//   while a watch catches up.
// - A watcher's next_rev: what is below is not sent to it (again). So it may move to a broadcast that is at or behind
//   its own: it misses nothing, and sees nothing twice.
// - A watcher "from now" gets a watch of its own first, whose answer tells what now is; then it moves.
// - When the stream to the cluster is lost, each broadcast is made again at next_rev; watchers are not told.
// - A client that does not read leaves its broadcasts when kStreamQueueBytesMax wait for it, and joins again at its own
//   next_rev when they are gone: no event is lost, and none is kept for it.
//
// Bounds: kWatchersPerStreamMax; kStreamQueueBytesMax and one message per stream.
// Threads: the owner's. Output's functions must not call back into the hub.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "proto/rpc.pb.h"
#include "server/proxy/name_space.h"

namespace fairlead::proxy {

constexpr size_t kWatchersPerStreamMax = 100'000;
constexpr size_t kStreamQueueBytesMax = 4 << 20;
constexpr size_t kWatchFragmentBytes = 1536 * 1024 + 512 * 1024;  // as etcd's members cut them by default
constexpr int64_t kWatchGapMax = 1000;  // revisions: a watch that is further behind is not joined while it catches up

class WatchHub {
 public:
  using StreamId = uint64_t;  // of a client
  using UpId = uint64_t;      // of a stream to the cluster
  using Who = std::vector<std::pair<std::string, std::string>>;

  class Output {
   public:
    virtual ~Output() = default;
    virtual void send(StreamId stream, std::span<const Bytes> parts) = 0;  // one WatchResponse
    virtual size_t queued_bytes(StreamId stream) = 0;
    virtual void end(StreamId stream, const Status& status) = 0;
    // Opens a stream to the cluster, for as long as it takes; up_ready() when it stands. Also for one that was lost.
    virtual void open_up(UpId up, const Who& who) = 0;
    virtual void send_up(UpId up, const etcdserverpb::WatchRequest& request) = 0;
    virtual void close_up(UpId up) = 0;  // nothing is told of it any more
  };
  struct Stats {
    uint64_t watchers = 0;          // of clients
    uint64_t watches = 0;           // in the cluster
    uint64_t coalescing = 0;        // watchers that share another one's watch
    uint64_t events_coalesced = 0;  // messages times the watchers that shared them
    uint64_t resumed = 0;           // watches made again after a lost stream
  };

  WatchHub(Output& output, const Namespace& name_space);
  ~WatchHub();

  StreamId open_stream(const Who& who);
  void request(StreamId stream, const etcdserverpb::WatchRequest& request);
  void close_stream(StreamId stream);
  void drained(StreamId stream);  // queued_bytes() is well below kStreamQueueBytesMax again

  void up_ready(UpId up);
  void up_message(UpId up, etcdserverpb::WatchResponse& message);
  void up_ended(UpId up, const Status& status);

  Stats stats() const;

 private:
  using Range = std::pair<std::string, std::string>;
  struct Broadcast;
  struct Up;
  struct Stream;
  struct Watcher;
  class Batch;

  Up& up_of(const Who& who);
  void create(Stream& stream, const etcdserverpb::WatchCreateRequest& request);
  void cancel(Stream& stream, int64_t id);
  void ask_progress(Stream& stream);
  void attach(Watcher& watcher);
  Broadcast* joinable(Up& up, const Watcher& watcher);
  void leave(Watcher& watcher);
  void send_create(Broadcast& broadcast);
  void drop(Broadcast& broadcast);
  void coalesce(Broadcast& broadcast);
  void on_created(Up& up, etcdserverpb::WatchResponse& message);
  void on_canceled(Broadcast& broadcast, const etcdserverpb::WatchResponse& message);
  void on_events(Broadcast& broadcast, etcdserverpb::WatchResponse& message);
  void on_progress(Broadcast& broadcast, const etcdserverpb::WatchResponse& message);
  void on_progress_of_all(Up& up, const etcdserverpb::WatchResponse& message);
  void deliver(Watcher& watcher, Batch& batch);
  void tell_created(Watcher& watcher, const etcdserverpb::ResponseHeader& header);
  void refuse(Stream& stream, const std::string& reason);
  void send(Stream& stream, const etcdserverpb::WatchResponse& message);
  void stall_if_full(Stream& stream);

  Output& output_;
  const Namespace& name_space_;
  std::map<UpId, std::unique_ptr<Up>> ups_;
  std::map<Who, Up*> up_by_who_;
  std::map<StreamId, std::unique_ptr<Stream>> streams_;
  uint64_t last_stream_ = 0, last_up_ = 0;
  uint64_t events_coalesced_ = 0, resumed_ = 0;
};

}  // namespace fairlead::proxy
