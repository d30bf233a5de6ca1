// HashKV: what is hashed must be on disk, so a checkpoint comes first if it is not; then a worker reads a pinned list
// of segments in steps. While the checkpoint is waited for, the keyspace is pinned at the compact revision of the call,
// so that no dead list names what that revision still shows.
#include "server/node/hash.h"

#include <algorithm>

#include "server/mvcc/errors.h"
#include "server/node/node.h"

namespace fairlead::node {
namespace {
constexpr size_t kStepBytes = 4 << 20;  // of a worker, then others have their turn
}

struct Node::HashJob {
  int64_t compact = -1;
  HashReply reply;
  HashDone done;
  io::Nanos deadline = 0;
  std::optional<mvcc::Keyspace::Pin> pin;
  std::unique_ptr<storage::HashKvJob> work;
};

void Node::hash_kv(int64_t revision, HashDone done) {
  auto refuse = [&](const Status& why) { world_.loop->post([done = std::move(done), why] { done(why, {}); }); };
  auto job = std::make_shared<HashJob>();
  job->compact = keyspace_->compact_revision();
  job->reply.revision = keyspace_->revision();
  if (revision > 0 && revision < job->compact) return refuse(mvcc::err_compacted());
  if (revision > job->reply.revision) return refuse(mvcc::err_future_revision());
  if (stopping_ || installing_) return refuse(stopping_ ? err_stopped() : err_leader_changed());
  if (hashes_ >= kHashesMax) return refuse(err_too_many_requests());
  ++hashes_;
  job->reply.kv.hash_revision = revision <= 0 ? job->reply.revision : revision;
  job->deadline = world_.loop->now() + config_.request_timeout();
  job->done = std::move(done);
  if (job->reply.kv.hash_revision <= store_->state().revision) return run_hash(std::move(job));
  job->pin = keyspace_->pin(std::max<int64_t>(job->compact, 1));
  hash_jobs_waiting_.push_back(std::move(job));
  checkpoint_wanted_ = true;
  go_on_soon();
}

// Those whose revision is on disk now begin; those that have waited too long end. While a snapshot is switched in, the
// disk is ahead of the keyspace and may be compacted further than it knows: nobody begins.
void Node::serve_hashes() {
  if (hash_jobs_waiting_.empty() || installing_) return;
  io::Nanos now = world_.loop->now();
  for (auto& job : std::exchange(hash_jobs_waiting_, {})) {
    if (job->reply.kv.hash_revision <= store_->state().revision) {
      run_hash(std::move(job));
    } else if (now >= job->deadline) {
      finish_hash(*job, err_timeout());
    } else {
      if (!checkpoint_running_) checkpoint_wanted_ = true;
      hash_jobs_waiting_.push_back(std::move(job));
    }
  }
}

void Node::run_hash(std::shared_ptr<HashJob> job) {
  job->work = std::make_unique<storage::HashKvJob>(*world_.disk, store_->dir(), store_->pin(), job->compact,
                                                   job->reply.kv.hash_revision);
  if (job->pin) keyspace_->unpin(*std::exchange(job->pin, std::nullopt));  // the list is pinned now
  step_hash(std::move(job));
}

void Node::step_hash(std::shared_ptr<HashJob> job) {
  auto status = std::make_shared<Status>();
  world_.workers->run([job, status] { *status = job->work->step(kStepBytes); },
                      [this, job, status, alive = alive_] {
                        if (!*alive) return;
                        if (!status->is_ok()) return finish_hash(*job, *status);
                        if (!job->work->done()) return step_hash(job);
                        job->reply.kv = job->work->result();
                        finish_hash(*job, Status());
                      });
}

void Node::finish_hash(HashJob& job, const Status& status) {
  if (job.pin) keyspace_->unpin(*std::exchange(job.pin, std::nullopt));
  job.work = nullptr;
  --hashes_;
  if (status.code() == Code::kDataLoss)
    world_.log->error("cannot hash the data of this member", {{"error", status.message()}});
  job.done(status, job.reply);
}

// At an end or before another state is switched in: pins belong to the keyspace that goes.
void Node::fail_hashes(const Status& why) {
  for (auto& job : std::exchange(hash_jobs_waiting_, {})) finish_hash(*job, why);
}

uint32_t Node::side_hash() const { return static_cast<uint32_t>(keyspace_->side().hash()); }

}  // namespace fairlead::node
