// Ranges as streams (RangeStream): a reader of any size costs two chunks of memory, whatever its range.
#include "base/failpoint.h"
#include "server/node/node.h"
#include "server/node/range_job.h"

namespace fairlead::node {
namespace {

constexpr size_t kFirstChunkKeys = 10;  // as etcd; then as many as come near kStreamChunkBytes

size_t bytes_of(const mvcc::KeyValues& kvs) {
  size_t bytes = 0;
  for (const mvcc::KeyValue& kv : kvs.items) bytes += kv.key.size() + kv.value.size();
  return bytes;
}

}  // namespace

uint64_t Node::open_range(const Caller& caller, Bytes owner, const mvcc::RangeRequest& request, RangeSink* sink) {
  auto job = std::make_shared<RangeJob>();
  job->id = next_job_++;
  job->caller = caller;
  job->owner = std::move(owner);
  job->request = request;
  job->sink = sink;
  job->chunk_keys = kFirstChunkKeys;
  job->done = [sink](const Status& status, const mvcc::RangeResult* result) { sink->on_end(status, result); };
  range_jobs_.emplace(job->id, job);
  auto start = [this, job](const Status& status) {
    if (job->over) return;
    if (!status.is_ok()) return finish_range_job(job, status);
    if (Status s = check_read(job->caller, job->request.key, job->request.range_end); !s.is_ok())
      return finish_range_job(job, s);
    if (job->request.count_only || job->request.range_end.empty()) return run_range(job);
    page_range(job);
  };
  if (request.serializable && !installing_ && !stopping_) {
    world_.loop->post([start, alive = alive_] {
      if (*alive) start(Status());
    });
  } else {
    linearizable(start);
  }
  return job->id;
}

void Node::resume_range(uint64_t id) {
  auto it = range_jobs_.find(id);
  if (it == range_jobs_.end() || !std::exchange(it->second->waits_for_sink, false)) return;
  page_range(it->second);
}

void Node::close_range(uint64_t id) {
  auto it = range_jobs_.find(id);
  if (it == range_jobs_.end()) return;
  std::shared_ptr<RangeJob> job = it->second;
  job->done = [](const Status&, const mvcc::RangeResult*) {};
  job->sink = nullptr;
  finish_range_job(std::move(job), Status(Code::kCancelled, "etcdserver: request canceled"));
}

// A chunk goes out when the next one is there, so that the last one can carry header, count and more.
void Node::stream_page(std::shared_ptr<RangeJob> job, mvcc::RangePage page) {
  // Rights may have changed since the last chunk.
  if (Status s = check_read(job->caller, job->request.key, job->request.range_end); !s.is_ok())
    return finish_range_job(std::move(job), s);
  FAILPOINT(beforeRangeStreamChunk);
  bool goes_on = true;
  if (!page.kvs.items.empty()) {
    size_t bytes = bytes_of(page.kvs);
    if (bytes < kStreamChunkBytes / 2)
      job->chunk_keys = std::min(job->chunk_keys * 2, kStreamChunkKeysMax);
    else if (bytes > kStreamChunkBytes * 2)
      job->chunk_keys = std::max<size_t>(job->chunk_keys / 2, 1);
    mvcc::RangeResult chunk;
    chunk.kvs = std::exchange(job->held, std::move(page.kvs));
    if (!chunk.kvs.items.empty()) goes_on = job->sink->on_chunk(chunk);
    if (job->over) return;  // closed from inside
  }
  if (job->cursor->done()) {
    job->result.kvs = std::move(job->held);
    job->result.revision = job->cursor->revision();
    job->result.count = job->cursor->count();
    job->result.more = job->cursor->more();
    return finish_range_job(std::move(job), Status());
  }
  job->waits_for_sink = !goes_on;
  if (!goes_on) return;
  world_.loop->post([this, job, alive = alive_] {
    if (*alive) page_range(job);
  });
}

}  // namespace fairlead::node
