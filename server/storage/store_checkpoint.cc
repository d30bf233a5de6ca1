// Writing a checkpoint: docs/formats/segments.md, "Life of a checkpoint".
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/check.h"
#include "server/storage/segment_writer.h"
#include "server/storage/store_core.h"

namespace fairlead::storage {

namespace {

// One checkpoint on its worker. Everything it needs was copied on the loop; `list` is pinned meanwhile.
class CheckpointJob {
 public:
  CheckpointJob(std::shared_ptr<Store::Core> core, CheckpointArgs args, uint64_t id_seed)
      : core_(std::move(core)),
        args_(std::move(args)),
        old_(core_->list_),
        manifest_(core_->manifest_),
        id_seed_(id_seed) {}

  void run() {
    status_ = write_files();
    if (status_.is_ok()) {
      status_ = fatal(core_->world_.disk->sync_dir(core_->dir_));
      manifest_.local.next_file = core_->next_file_.load();
      if (status_.is_ok()) status_ = fatal(write_manifest(*core_->world_.disk, core_->dir_, manifest_));
      if (status_.is_ok()) *args_.tail = {};
      return;
    }
    for (const std::string& path : written_)  // abandoned; a retry uses new numbers
      if (Status s = core_->world_.disk->remove(path); !s.is_ok())
        core_->world_.log->warn("cannot remove an abandoned file", {{"path", path}, {"error", s.message()}});
  }

  Status status() const { return status_; }
  Manifest take_manifest() { return std::move(manifest_); }
  std::shared_ptr<SegmentList> take_list() { return std::move(list_); }

 private:
  Status write_files() {
    const mvcc::FrozenTail& tail = *args_.tail;
    std::vector<SegmentInfo> keys, side;
    for (const SegmentInfo& s : manifest_.shared.segments) (s.kind == SegmentKind::kKeys ? keys : side).push_back(s);
    std::vector<Place> dead_keys, dead_side;
    for (const auto& p : tail.dead_keys) dead_keys.push_back(place_of(p));
    for (const auto& p : tail.dead_side) dead_side.push_back(place_of(p));
    RETURN_IF_ERROR(merge_dead(keys, dead_keys));
    RETURN_IF_ERROR(merge_dead(side, dead_side));
    RETURN_IF_ERROR(write_keys(keys));
    RETURN_IF_ERROR(write_side(side));
    RETURN_IF_ERROR(write_dead_file());

    SharedManifest& m = manifest_.shared;
    m.segments = std::move(keys);
    m.segments.insert(m.segments.end(), side.begin(), side.end());
    for (SegmentInfo& s : m.segments)
      if (auto it = new_dead_.find(s.number); it != new_dead_.end()) s.dead = it->second;
    drop_unused_dead_files(m);
    m.applied = args_.applied;
    m.applied_term = args_.applied_term;
    m.config = args_.config;
    m.feature_level = args_.feature_level;
    m.revision = tail.revision;
    m.compact_revision = tail.compact_revision;
    manifest_.local.log_position = args_.log_position;
    manifest_.local.reason = ManifestReason::kCheckpoint;
    ASSIGN_OR_RETURN(list_, core_->open_list(m, old_.get()));
    return {};
  }

  Result<std::unique_ptr<SegmentWriter>> new_segment(SegmentKind kind) {
    SegmentWriterArgs args;
    args.dir = core_->dir_;
    args.kind = kind;
    args.number = core_->take_number();
    args.random_id = mixed_id(id_seed_);
    args.block_bytes = core_->options_.block_bytes;
    written_.push_back(args.dir + "/" + segment_file_name(args.number));
    return SegmentWriter::create(*core_->world_.disk, args);
  }

  Status write_keys(std::vector<SegmentInfo>& out) {
    std::unique_ptr<SegmentWriter> writer;
    for (const auto& ref : args_.tail->records) {
      if (writer && writer->bytes() + ref.record.size() > core_->options_.segment_bytes_max)
        RETURN_IF_ERROR(close(writer, out));
      if (!writer) {
        if (!out.empty() && place_of(ref.position) <= out.back().last)
          return internal_error("a checkpoint goes back to revision " + std::to_string(ref.position.main));
        ASSIGN_OR_RETURN(writer, new_segment(SegmentKind::kKeys));
      }
      RETURN_IF_ERROR(writer->add(ref.record.view()));
    }
    return writer ? close(writer, out) : Status();
  }

  Status write_side(std::vector<SegmentInfo>& out) {
    std::unique_ptr<SegmentWriter> writer;
    for (const auto& side : args_.tail->side) {
      if (side.record.empty()) continue;
      if (!writer) {
        ASSIGN_OR_RETURN(writer, new_segment(SegmentKind::kSide));
      }
      RETURN_IF_ERROR(writer->add(side.record));
    }
    if (!writer) return {};
    const Place before = out.empty() ? Place() : out.back().last;
    RETURN_IF_ERROR(close(writer, out));
    if (out.size() > 1 && out.back().first <= before)
      return internal_error("side state of a checkpoint goes back to entry " + std::to_string(out.back().first.major));
    return {};
  }

  static Status close(std::unique_ptr<SegmentWriter>& writer, std::vector<SegmentInfo>& out) {
    ASSIGN_OR_RETURN(SegmentInfo info, writer->finish());
    out.push_back(info);
    writer = nullptr;
    return {};
  }

  // New lists for the segments that lost records. A segment without live records goes.
  Status merge_dead(std::vector<SegmentInfo>& segments, std::vector<Place> dead) {
    std::sort(dead.begin(), dead.end());
    std::vector<SegmentInfo> kept;
    auto next = dead.begin();
    for (SegmentInfo& s : segments) {
      auto from = std::lower_bound(next, dead.end(), s.first);
      auto to = std::upper_bound(from, dead.end(), s.last);
      next = to;
      if (from != to) {
        ASSIGN_OR_RETURN(DeadList old, read_dead_list(*core_->world_.disk, core_->dir_, s.dead));
        DeadList merged = merge(old, DeadList(from, to));
        if (merged.size() >= s.records) {
          ASSIGN_OR_RETURN(bool all, wholly_dead(s, merged));
          if (all) continue;
        }
        if (merged.size() > s.records)
          return internal_error(segment_file_name(s.number) + " has " + std::to_string(s.records) + " records, and " +
                                std::to_string(merged.size()) + " of them are said to be dead");
        s.dead_bytes = s.size_bytes / s.records * merged.size();
        lists_.push_back({s.number, std::move(merged)});
      }
      kept.push_back(s);
    }
    segments = std::move(kept);
    return {};
  }

  // Looks every record up rather than trusting two counts: the answer removes a file. Values stay unread.
  Result<bool> wholly_dead(const SegmentInfo& info, const DeadList& dead) const {
    for (const auto& s : old_->segments)
      if (s.info.number == info.number)
        return info.kind == SegmentKind::kKeys ? all_keys_dead(*s.reader, dead) : all_records_dead(*s.reader, dead);
    return false;
  }
  static Result<bool> all_keys_dead(const SegmentReader& reader, const DeadList& dead) {
    auto cursor = reader.directory();
    for (;;) {
      ASSIGN_OR_RETURN(bool more, cursor->next());
      if (!more) return true;
      if (!contains(dead, place_of(cursor->meta().position))) return false;
    }
  }
  static Result<bool> all_records_dead(const SegmentReader& reader, const DeadList& dead) {
    for (size_t b = 0; b < reader.block_count(); ++b) {
      ASSIGN_OR_RETURN(Bytes block, reader.read_block(b));
      for (std::string_view rest = block.view(); !rest.empty();) {
        ASSIGN_OR_RETURN(RecordFrame frame, record_frame(rest));
        if (!contains(dead, frame.place)) return false;
        rest.remove_prefix(frame.size);
      }
    }
    return true;
  }

  Status write_dead_file() {
    if (lists_.empty()) return {};
    const uint64_t number = core_->take_number();
    written_.push_back(core_->dir_ + "/" + dead_file_name(number));
    DeadFileWriter writer(number);
    for (const auto& [segment, list] : lists_) new_dead_[segment] = writer.add(list);
    ASSIGN_OR_RETURN(DeadFileInfo info, writer.finish(*core_->world_.disk, core_->dir_));
    manifest_.shared.dead_files.push_back(info);
    return {};
  }

  std::shared_ptr<Store::Core> core_;
  CheckpointArgs args_;
  Pin old_;
  Manifest manifest_;
  uint64_t id_seed_;
  std::vector<std::string> written_;
  std::vector<std::pair<uint64_t, DeadList>> lists_;  // segment, its new list
  std::map<uint64_t, DeadRef> new_dead_;
  std::shared_ptr<SegmentList> list_;
  Status status_;
};

}  // namespace

void drop_unused_dead_files(SharedManifest& m) {
  std::set<uint64_t> used;
  for (const SegmentInfo& s : m.segments) used.insert(s.dead.file);
  std::erase_if(m.dead_files, [&](const DeadFileInfo& f) { return !used.count(f.number); });
}

void Store::Core::checkpoint(CheckpointArgs args, std::function<void(Status)> done) {
  CHECK(!busy_, "one checkpoint or install at a time");
  CHECK(args.applied >= manifest_.shared.applied, "a checkpoint does not go back");
  CHECK(args.tail != nullptr);
  busy_ = true;
  auto job = std::make_shared<CheckpointJob>(shared_from_this(), std::move(args), world_.random->next());
  const io::Nanos begin = world_.loop->now();
  world_.workers->run([job] { job->run(); },
                      [self = shared_from_this(), job, begin, done = std::move(done)] {
                        if (self->closed_) return;
                        self->busy_ = false;
                        Status status = job->status();
                        self->note_result(status);
                        if (status.is_ok()) {
                          ++self->checkpoints_;
                          self->checkpoint_seconds_ +=
                              static_cast<double>(self->world_.loop->now() - begin) / io::kSecond;
                          self->adopt(job->take_manifest(), job->take_list());
                        }
                        done(status);
                      });
}

}  // namespace fairlead::storage
