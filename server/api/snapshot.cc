// Maintenance.Snapshot: the member's state as etcd's database file, in blobs of 32 KiB, then its SHA-256. Made on
// workers piece by piece, each asked for when the client has taken most of what it was sent: memory is bounded by the
// queue.
#include "base/codec.h"
#include "server/api/api.h"
#include "server/api/proto_util.h"
#include "server/node/public_snapshot.h"

namespace fairlead::api {
namespace {

constexpr size_t kBlobBytes = 32 << 10;        // etcd's
constexpr size_t kQueueBytesMax = 1 << 20;     // above it no further piece is made
constexpr size_t kDrainMarkBytes = 512 << 10;  // below it the next one is
constexpr size_t kSnapshotsMax = 8;            // at a time

char tag(int field, int wire) { return static_cast<char>(field << 3 | wire); }

// SnapshotResponse in parts: 2 remaining_bytes, 3 blob, 4 version. The blob is shared, not copied.
void send_blob(net::ServerCall& call, uint64_t remaining, const Bytes& blob, std::string_view version) {
  std::string head;
  if (remaining > 0) {
    head.push_back(tag(2, 0));
    put_varint(head, remaining);
  }
  head.push_back(tag(3, 2));
  put_varint(head, blob.size());
  std::string tail;
  if (!version.empty()) {
    tail.push_back(tag(4, 2));
    put_lengthed(tail, version);
  }
  call.send_message({Bytes::take(std::move(head)), blob, Bytes::take(std::move(tail))});
}

class SnapshotCall final : public net::CallHandler {
 public:
  SnapshotCall(Api& api, net::ServerCall& call) : api_(api), call_(&call) { call.set_drain_mark(kDrainMarkBytes); }
  ~SnapshotCall() override { leave(); }

  void on_message(net::ServerCall& call, Bytes) override {
    if (started_) return;
    started_ = true;
    if (api_.snapshots_open() >= kSnapshotsMax) return call.finish(node::err_too_many_requests());
    counted_ = true;
    api_.snapshot_opened(1);
    began_ = api_.world().loop->now();
    api_.node().pin_applied([this, alive = alive_](Result<node::PinnedState> pinned) {
      if (!*alive || call_->done()) return;
      if (!pinned.is_ok()) return end(pinned.status());
      job_ = std::make_shared<Job>(*api_.world().disk, api_.node().store().dir(), std::move(*pinned));
      work();
    });
  }
  void on_cancel(net::ServerCall&, const Status&) override { leave(); }
  void on_drained(net::ServerCall&) override { work(); }

 private:
  // Shared with the worker that has it; goes with the last of both, and the pin with it.
  struct Job {
    Job(io::Disk& disk, std::string dir, node::PinnedState state) : snapshot(disk, std::move(dir), std::move(state)) {}
    node::PublicSnapshot snapshot;
    bool prepared = false;
    Status status;
    Bytes piece;
    storage::Sha256 hash{};

    void run() {
      if (!prepared) {
        Result<bool> done = snapshot.prepare();
        status = done.status();
        prepared = done.is_ok() && *done;
        return;
      }
      Result<Bytes> next = snapshot.next();
      status = next.status();
      if (!next.is_ok()) return;
      piece = std::move(*next);
      if (piece.empty()) hash = snapshot.hash();
    }
  };

  // One piece at a time; nothing while the client has not taken the last ones.
  void work() {
    if (!job_ || working_ || ended_ || call_->done() || call_->queued_bytes() > kQueueBytesMax) return;
    working_ = true;
    bool preparing = !job_->prepared;
    api_.world().workers->run([job = job_] { job->run(); },
                              [this, alive = alive_, preparing] {
                                if (!*alive) return;
                                working_ = false;
                                if (call_->done() || ended_) return;
                                if (!job_->status.is_ok()) return end(job_->status);
                                if (!preparing) send();
                                if (preparing && job_->prepared) log_begin();
                                work();
                              });
  }

  void log_begin() {
    api_.world().log->info(
        "sending database snapshot to client",
        {{"total-bytes", job_->snapshot.size_bytes()}, {"storage-version", job_->snapshot.storage_version()}});
  }

  void send() {
    const std::string& version = job_->snapshot.storage_version();
    if (job_->piece.empty()) {
      std::string_view hash(reinterpret_cast<const char*>(job_->hash.data()), job_->hash.size());
      send_blob(*call_, 0, Bytes::copy(hash), version);
      api_.world().log->info(
          "successfully sent database snapshot to client",
          {{"total-bytes", sent_}, {"took-ms", (api_.world().loop->now() - began_) / io::kMillisecond}});
      api_.durations().snapshot.observe(static_cast<double>(api_.world().loop->now() - began_) / 1e9);
      return end(Status());
    }
    // Blobs are whole, whatever the pieces are: what is left waits for the next piece.
    Bytes piece = std::move(job_->piece);
    size_t from = 0;
    if (!rest_.empty()) {
      from = std::min(piece.size(), kBlobBytes - rest_.size());
      rest_.append(piece.view().substr(0, from));
      if (rest_.size() == kBlobBytes) send_one(Bytes::take(std::exchange(rest_, {})));
    }
    for (; piece.size() - from >= kBlobBytes; from += kBlobBytes) send_one(piece.slice(from, kBlobBytes));
    rest_.append(piece.view().substr(from));
    if (!rest_.empty() && sent_ + rest_.size() == job_->snapshot.size_bytes())
      send_one(Bytes::take(std::exchange(rest_, {})));
  }
  void send_one(const Bytes& blob) {
    sent_ += blob.size();
    send_blob(*call_, job_->snapshot.size_bytes() - sent_, blob, job_->snapshot.storage_version());
  }

  void end(const Status& status) {
    ended_ = true;
    if (!status.is_ok()) api_.world().log->warn("a snapshot for a client failed", {{"error", status.message()}});
    net::ServerCall* call = call_;
    leave();
    call->finish(status);
  }
  void leave() {
    *alive_ = false;
    job_.reset();
    if (std::exchange(counted_, false)) api_.snapshot_opened(-1);
  }

  Api& api_;
  net::ServerCall* call_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::shared_ptr<Job> job_;
  bool started_ = false;
  bool counted_ = false;
  bool working_ = false;
  bool ended_ = false;
  std::string rest_;  // of the last piece, less than a blob
  uint64_t sent_ = 0;
  io::Nanos began_ = 0;
};

}  // namespace

void Api::add_snapshot(net::Router& router) {
  router.add_stream("/etcdserverpb.Maintenance/Snapshot", net::MethodKind::kServerStream,
                    [this](net::ServerCall& call) -> std::unique_ptr<net::CallHandler> {
                      return std::make_unique<SnapshotCall>(*this, call);
                    });
}

}  // namespace fairlead::api
