// Watches: batches to their sinks once a turn; history that is no longer in memory comes from storage.
#include "server/node/node.h"

namespace fairlead::node {
namespace {
constexpr io::Nanos kHistoryRetry = 2 * io::kSecond;
}

mvcc::StreamId Node::open_watch(WatchSink* sink) {
  mvcc::StreamId id = hub_->open_stream();
  sinks_.emplace(id, sink);
  return id;
}

void Node::close_watch(mvcc::StreamId stream) {
  if (sinks_.erase(stream) != 0) hub_->close_stream(stream);
}

void Node::deliver_watches() {
  if (!hub_->has_output()) return;
  for (const mvcc::WatchBatch& batch : hub_->take()) {
    auto it = sinks_.find(batch.stream);
    if (it != sinks_.end()) it->second->on_batch(batch);
  }
}

// What is damaged stays so: whoever needs it is told, and watches on another member. Anything else is tried again after
// a pause, so that it does not keep the loop busy.
void Node::history_failed(uint64_t read, const Status& why) {
  if (why.code() == Code::kDataLoss) {
    world_.log->error("history is damaged; its watchers are cancelled", {{"error", why.message()}});
    hub_->feed_damaged(read);
    go_on_soon();
    return;
  }
  world_.log->error("cannot read history for a watcher; it waits", {{"error", why.message()}});
  world_.loop->add_timer(world_.loop->now() + kHistoryRetry, [this, read, alive = alive_, generation = generation_] {
    if (*alive && generation == generation_) hub_->feed_failed(read);
  });
}

void Node::read_history() {
  if (installing_ || !hub_->catching_up()) return;
  for (mvcc::HistoryRead& read : hub_->catch_up(kTurnHistoryRecords)) {
    storage::Pin pin = store_->pin();
    if (!read.scan) {
      std::vector<mvcc::Position> positions = read.positions;
      store_->read(pin, read.positions,
                   [this, id = read.id, positions, alive = alive_,
                    generation = generation_](Result<storage::Store::Records> records) {
                     if (!*alive || generation != generation_) return;
                     mvcc::ColdRecords cold;
                     Status status = records.status();
                     for (size_t i = 0; status.is_ok() && i < positions.size(); ++i)
                       status = cold.add(positions[i], std::move((*records)[i]));
                     if (!status.is_ok()) {
                       return history_failed(id, status);
                     }
                     hub_->feed_records(id, cold);
                   });
      continue;
    }
    // The hub's end is exclusive, the store's inclusive.
    mvcc::Position last =
        read.to.sub > 0 ? mvcc::Position{read.to.main, read.to.sub - 1} : mvcc::Position{read.to.main - 1, INT64_MAX};
    store_->scan(
        pin, read.from, last, read.bytes_max,
        [this, id = read.id, to = read.to, alive = alive_, generation = generation_](Result<storage::ScanResult> scan) {
          if (!*alive || generation != generation_) return;
          std::vector<mvcc::ColdRecords::Entry> records;
          Status status = scan.status();
          if (status.is_ok()) {
            for (Bytes& bytes : scan->records) {
              std::string_view in = bytes.view();
              Result<mvcc::KeyRecord> record = mvcc::decode_key_record(in);
              if (!record.is_ok()) {
                status = record.status();
                break;
              }
              records.push_back({std::move(bytes), *record});
            }
          }
          if (!status.is_ok()) {
            return history_failed(id, status);
          }
          hub_->feed_scan(id, records, scan->done ? to : scan->next);
        });
  }
}

}  // namespace fairlead::node
