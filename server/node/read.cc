// Reads: one Raft round for all linearizable reads of a turn; values that are not in memory are fetched by a worker;
// large ranges go page by page, one page a turn, at a pinned revision.
#include "base/planted.h"
#include "server/node/node.h"
#include "server/node/range_job.h"

namespace fairlead::node {
namespace {
constexpr uint32_t kReadsPerTiming = 16;
constexpr io::Nanos kSlowReadIndex = 500 * io::kMillisecond;  // etcd asks its peers again then
}  // namespace

struct Node::TxnJob {
  uint64_t id = 0;
  Caller caller;
  Bytes owner;
  mvcc::TxnRequest request;
  TxnReadDone done;
  mvcc::ColdRecords cold;
  bool over = false;
  io::Nanos since = 0;  // the call
};

void Node::linearizable(Done ready) {
  Status refused;
  if (stopping_)
    refused = err_stopped();
  else if (reads_waiting_ >= kReadsMax)
    refused = err_too_many_requests();
  if (!refused.is_ok()) {
    world_.loop->post([ready = std::move(ready), refused] { ready(refused); });
    return;
  }
  if (PLANTED(kStaleRead)) {
    world_.loop->post([ready = std::move(ready)] { ready(Status()); });
    return;
  }
  ++reads_waiting_;
  new_reads_.push_back(std::move(ready));
}

void Node::barrier(Done done) { linearizable(std::move(done)); }

void Node::serve_reads() {
  if (installing_) return;  // the index and the segments on disk do not belong together now
  while (!read_batches_.empty() && read_batches_.front().index && applied_ >= *read_batches_.front().index) {
    io::Nanos asked = read_batches_.front().deadline - config_.request_timeout();
    if (world_.loop->now() - asked > kSlowReadIndex) ++stats_.slow_read_indexes;
    std::vector<Done> waiting = std::move(read_batches_.front().waiting);
    io::Nanos through = std::max<io::Nanos>(read_batches_.front().through, 1);
    read_batches_.pop_front();
    reads_waiting_ -= waiting.size();
    answering_ = {asked, 0, Index(), asked, through, world_.loop->now()};
    for (Done& done : waiting) done(Status());
    answering_ = {};
  }
}

void Node::fail_reads(const Status& why) {
  std::vector<Done> all = std::move(new_reads_);
  new_reads_.clear();
  for (ReadBatch& batch : read_batches_)
    for (Done& done : batch.waiting) all.push_back(std::move(done));
  read_batches_.clear();
  reads_waiting_ = 0;
  for (Done& done : all) done(why);
  while (!range_jobs_.empty()) finish_range_job(range_jobs_.begin()->second, why);
  while (!txn_jobs_.empty()) finish_txn(txn_jobs_.begin()->second, why, nullptr);
}

void Node::close_range_jobs() {
  for (auto& [id, job] : range_jobs_) {
    job->over = true;
    job->cursor.reset();
  }
  range_jobs_.clear();
}

std::optional<Status> Node::range_now(const Caller& caller, const mvcc::RangeRequest& request,
                                      mvcc::RangeResult& result) {
  point_missing_.clear();
  if (!request.serializable || !request.range_end.empty() || stopping_) return std::nullopt;
  std::optional<Status> status = read_point(caller, request, result);
  if (status) observe_request(kOpRange, status->is_ok(), world_.loop->now());
  return status;
}

// One key, from memory. Nothing when its value is elsewhere: point_missing_ says where; or while a snapshot is switched
// in. The clock is looked at for the first read of a turn and then for each kReadsPerTiming-th: two looks would cost
// more than some of them. The others count as long as the one before.
std::optional<Status> Node::read_point(const Caller& caller, const mvcc::RangeRequest& request,
                                       mvcc::RangeResult& result) {
  point_missing_.clear();
  if (installing_) return std::nullopt;
  if (Status s = check_read(caller, request.key, request.range_end); !s.is_ok()) return s;
  io::Nanos began = reads_of_turn_++ % kReadsPerTiming == 0 ? world_.loop->now_precise() : 0;
  Status status = keyspace_->range(request, {}, result, point_missing_);
  if (!point_missing_.empty()) return std::nullopt;
  if (began != 0) range_seconds_ = static_cast<double>(world_.loop->now_precise() - began) / 1e9;
  (status.is_ok() ? stats_.range : stats_.range_failed).observe(range_seconds_);
  return status;
}

void Node::range(const Caller& caller, Bytes owner, const mvcc::RangeRequest& request, RangeDone done,
                 std::function<bool()> wanted) {
  mvcc::RangeResult result;
  if (std::optional<Status> status = range_now(caller, request, result))
    return done(*status, status->is_ok() ? &result : nullptr);
  range_later(caller, std::move(owner), request, std::move(done), std::move(wanted));
}

void Node::range_later(const Caller& caller, Bytes owner, const mvcc::RangeRequest& request, RangeDone done,
                       std::function<bool()> wanted) {
  bool local = request.serializable && !installing_;
  RangeCall* call = take_range_call();
  *call = {caller, std::move(owner), request, std::move(done), std::move(wanted), world_.loop->now()};
  if (!local) return linearizable([this, call](const Status& status) { serve_range(call, status); });
  stopping_ ? finish_range_job(job_of(call), err_stopped()) : start_range(job_of(call));
}

Node::RangeCall* Node::take_range_call() {
  if (range_calls_free_.empty()) return &range_calls_.emplace_back();
  RangeCall* call = range_calls_free_.back();
  range_calls_free_.pop_back();
  return call;
}

Node::RangeCall Node::give_range_call(RangeCall* call) {
  RangeCall out = std::exchange(*call, {});
  range_calls_free_.push_back(call);
  if (range_calls_free_.size() == range_calls_.size() && range_calls_.size() > kRangeCallsKept) {
    range_calls_free_.clear();
    range_calls_.clear();
  }
  return out;
}

std::shared_ptr<Node::RangeJob> Node::job_of(RangeCall* call) {
  auto job = std::make_shared<RangeJob>();
  static_cast<RangeCall&>(*job) = give_range_call(call);
  job->answering = answering_;
  return job;
}

// Behind its barrier. A single key that is in memory needs no job.
void Node::serve_range(RangeCall* call, const Status& status) {
  if (status.is_ok() && !call->request.range_end.empty()) return run_range(job_of(call));
  std::optional<Status> answer = status;
  mvcc::RangeResult result = std::move(point_result_);  // with its room
  if (status.is_ok()) answer = read_point(call->caller, call->request, result);
  if (!answer) return start_range(job_of(call));
  RangeCall over = give_range_call(call);
  observe_request(kOpRange, answer->is_ok(), over.since);
  over.done(*answer, answer->is_ok() ? &result : nullptr);
  result.clear();
  point_result_ = std::move(result);
}

// What read_point() has found out just now is not looked for again.
void Node::start_range(std::shared_ptr<RangeJob> job) {
  if (point_missing_.empty()) return run_range(std::move(job));
  fetch_range(std::move(job), std::exchange(point_missing_, {}));
}

void Node::run_range(std::shared_ptr<RangeJob> job) {
  if (job->over) return;
  if (installing_) return finish_range_job(std::move(job), err_leader_changed());
  const mvcc::RangeRequest& r = job->request;
  if (Status s = check_read(job->caller, r.key, r.range_end); !s.is_ok()) return finish_range_job(std::move(job), s);
  bool newest = r.revision <= 0 && !mvcc::needs_whole(r);
  bool few = newest && (r.count_only || (r.limit > 0 && static_cast<uint64_t>(r.limit) <= kRangeDirectKeys));
  if (!few && !r.range_end.empty() && keyspace_->count(r.key, r.range_end) > kRangeDirectKeys)
    return page_range(std::move(job));
  std::vector<mvcc::Position> missing;
  job->result = {};
  io::Nanos began = world_.loop->now_precise();
  Status status = keyspace_->range(r, job->cold, job->result, missing);
  job->looked_up = job->looked_up.value_or(0) + world_.loop->now_precise() - began;
  if (missing.empty() || !status.is_ok()) return finish_range_job(std::move(job), status);
  fetch_range(std::move(job), std::move(missing));
}

// Asked again for the state as it is then: still one instant after the request came.
void Node::fetch_range(std::shared_ptr<RangeJob> job, std::vector<mvcc::Position> missing) {
  if (job->id == 0) range_jobs_.emplace(job->id = next_job_++, job);
  fetch(store_->pin(), std::move(missing), std::shared_ptr<mvcc::ColdRecords>(job, &job->cold),
        [this, job](const Status& s) {
          if (job->over) return;
          if (!s.is_ok()) return finish_range_job(job, s);
          run_range(job);
        });
}

void Node::page_range(std::shared_ptr<RangeJob> job) {
  if (job->over) return;
  if (installing_) return finish_range_job(std::move(job), err_leader_changed());
  if (job->wanted && !job->wanted())
    return finish_range_job(std::move(job), Status(Code::kCancelled, "etcdserver: request canceled"));
  if (!job->cursor) {
    if (paged_ranges_ >= kPagedRangesMax) return finish_range_job(std::move(job), err_too_many_requests());
    Result<mvcc::RangeCursor> cursor = mvcc::RangeCursor::open(*keyspace_, job->request);
    if (!cursor.is_ok()) return finish_range_job(std::move(job), cursor.status());
    job->cursor.emplace(std::move(*cursor));
    ++paged_ranges_;
    job->pin = store_->pin();
    if (job->id == 0) range_jobs_.emplace(job->id = next_job_++, job);
  }
  io::Nanos began = world_.loop->now_precise();
  mvcc::RangePage page = job->cursor->step(job->budget(), job->cold);
  job->looked_up = job->looked_up.value_or(0) + world_.loop->now_precise() - began;
  if (!page.missing.empty()) {
    // What is not flushed yet is in memory, so what is missing lies in the segments of now.
    job->pin = store_->pin();
    return fetch(job->pin, std::move(page.missing), std::shared_ptr<mvcc::ColdRecords>(job, &job->cold),
                 [this, job](const Status& s) {
                   if (job->over) return;
                   if (!s.is_ok()) return finish_range_job(job, s);
                   page_range(job);
                 });
  }
  job->cold.clear();
  if (job->sink) return stream_page(std::move(job), std::move(page));
  mvcc::KeyValues& all = job->result.kvs;
  std::move(page.kvs.items.begin(), page.kvs.items.end(), std::back_inserter(all.items));
  std::move(page.kvs.holds.begin(), page.kvs.holds.end(), std::back_inserter(all.holds));
  if (!job->cursor->done()) {
    world_.loop->post([this, job, alive = alive_] {
      if (*alive) page_range(job);
    });
    return;
  }
  // Rights may have changed since the first page.
  Status still = check_read(job->caller, job->request.key, job->request.range_end);
  if (!still.is_ok()) return finish_range_job(std::move(job), still);
  job->result.revision = job->cursor->revision();
  job->result.count = job->cursor->count();
  job->result.more = job->cursor->more();
  if (!mvcc::needs_whole(job->request)) return finish_range_job(std::move(job), Status());
  // Sorting very many keys takes long: not here.
  world_.workers->run([job] { mvcc::finish_range(job->request, job->result); },
                      [this, job, alive = alive_] {
                        if (*alive) finish_range_job(job, Status());
                      });
}

void Node::finish_range_job(std::shared_ptr<RangeJob> job, const Status& status) {
  if (job->over) return;
  job->over = true;
  if (!job->sink) observe_request(kOpRange, status.is_ok(), job->since);
  if (job->looked_up && status.code() != Code::kCancelled)
    (status.is_ok() ? stats_.range : stats_.range_failed).observe(static_cast<double>(*job->looked_up) / 1e9);
  if (job->id != 0) range_jobs_.erase(job->id);
  if (job->cursor) --paged_ranges_;
  job->cursor.reset();
  Answering outer = std::exchange(answering_, job->answering);
  job->done(status, status.is_ok() ? &job->result : nullptr);
  answering_ = outer;
}

void Node::read_txn(const Caller& caller, Bytes owner, mvcc::TxnRequest request, TxnReadDone done) {
  auto job = std::make_shared<TxnJob>();
  job->caller = caller;
  job->since = world_.loop->now();
  job->owner = std::move(owner);
  job->request = std::move(request);
  job->done = std::move(done);
  // etcd answers an empty transaction without asking the others, too.
  bool local = mvcc::is_serializable(job->request) && !installing_;
  if (local) {
    return stopping_ ? finish_txn(std::move(job), err_stopped(), nullptr) : run_txn(std::move(job));
  }
  linearizable([this, job = std::move(job)](const Status& status) {
    status.is_ok() ? run_txn(job) : finish_txn(job, status, nullptr);
  });
}

void Node::run_txn(std::shared_ptr<TxnJob> job) {
  if (job->over) return;
  if (installing_) return finish_txn(std::move(job), err_leader_changed(), nullptr);
  mvcc::TxnResult result;
  std::vector<mvcc::Position> missing;
  Status status = check_txn(job->caller, job->request);
  if (status.is_ok()) status = keyspace_->read_txn(job->request, job->cold, result, missing);
  if (missing.empty() || !status.is_ok()) return finish_txn(std::move(job), status, status.is_ok() ? &result : nullptr);
  if (job->id == 0) txn_jobs_.emplace(job->id = next_job_++, job);
  fetch(store_->pin(), std::move(missing), std::shared_ptr<mvcc::ColdRecords>(job, &job->cold),
        [this, job](const Status& s) {
          if (job->over) return;
          s.is_ok() ? run_txn(job) : finish_txn(job, s, nullptr);
        });
}

void Node::finish_txn(std::shared_ptr<TxnJob> job, const Status& status, const mvcc::TxnResult* result) {
  if (std::exchange(job->over, true)) return;
  txn_jobs_.erase(job->id);
  observe_request(kOpReadonlyTxn, status.is_ok(), job->since);
  job->done(status, result);
}

// Workers do other things too: no more than a few reads are with them.
void Node::fetch(const storage::Pin& pin, std::vector<mvcc::Position> missing, std::shared_ptr<mvcc::ColdRecords> into,
                 Done done) {
  if (fetches_.size() >= kFetchesWaitingMax) {
    world_.loop->post([done = std::move(done), alive = alive_] {
      if (*alive) done(err_too_many_requests());
    });
    return;
  }
  fetches_.push_back({pin, std::move(missing), std::move(into), std::move(done)});
  start_fetches();
}

void Node::start_fetches() {
  while (fetches_running_ < kFetchesAtOnceMax && !fetches_.empty()) {
    Fetch next = std::move(fetches_.front());
    fetches_.pop_front();
    ++fetches_running_;
    stats_.cold_reads += next.missing.size();
    storage::Pin pin = std::move(next.pin);
    std::vector<mvcc::Position> positions = next.missing;
    store_->read(std::move(pin), std::move(positions),
                 [this, next = std::move(next), alive = alive_,
                  generation = generation_](Result<storage::Store::Records> records) {
                   if (!*alive) return;
                   --fetches_running_;
                   if (generation == generation_) fetched(next, std::move(records));
                   if (*alive) start_fetches();
                 });
  }
}

void Node::fetched(const Fetch& fetch, Result<storage::Store::Records> records) {
  if (!records.is_ok()) {
    world_.log->error("cannot read a value from disk", {{"error", records.status().message()}});
    return fetch.done(records.status());
  }
  for (size_t i = 0; i < fetch.missing.size(); ++i)
    if (Status s = fetch.into->add(fetch.missing[i], std::move((*records)[i])); !s.is_ok()) return fetch.done(s);
  for (mvcc::Position position : fetch.missing)
    if (fetch.missing.size() < kScanRecords || keyspace_->cache_has_room())
      keyspace_->cache(position, *fetch.into->find(position));
  fetch.done(Status());
}

}  // namespace fairlead::node
