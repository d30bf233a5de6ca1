#include "server/storage/clean_job.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/failpoint.h"
#include "base/planted.h"

namespace fairlead::storage {

CleanJob::CleanJob(std::shared_ptr<Store::Core> core, Pin list, const std::vector<uint64_t>& segments, uint64_t id_seed)
    : core_(std::move(core)), list_(std::move(list)), numbers_(segments), id_seed_(id_seed) {
  for (const auto& s : list_->segments) {
    if (std::find(segments.begin(), segments.end(), s.info.number) == segments.end()) continue;
    Input in;
    in.info = s.info;
    in.reader = s.reader;
    bytes_in_ += s.info.size_bytes;
    kind_ = s.info.kind;
    inputs_.push_back(std::move(in));
  }
  CHECK(inputs_.size() == segments.size(), "a plan names segments of the manifest it was made from");
}

// --- copy

Status CleanJob::copy(size_t bytes) {
  if (bytes_read_ == 0) FAILPOINT(defragBeforeCopy);
  RETURN_IF_ERROR(FAILPOINT_STATUS(defragdbFail));
  const uint64_t end = bytes_read_ + bytes;
  while (at_ < inputs_.size()) {
    Input& in = inputs_[at_];
    if (!in.opened) {
      ASSIGN_OR_RETURN(in.dead, read_dead_list(*core_->world_.disk, core_->dir_, in.info.dead));
      in.opened = true;
    }
    if (in.block == in.reader->block_count()) {
      if (in.seen != in.info.records) {
        damaged_ = in.info.number;
        return data_loss(segment_file_name(in.info.number) + ": " + std::to_string(in.seen) + " records instead of " +
                         std::to_string(in.info.records) + ": replace the member");
      }
      ++at_;
      continue;
    }
    if (bytes_read_ >= end) return {};
    RETURN_IF_ERROR(copy_block(in));
  }
  return writer_ ? close_writer() : Status();
}

Status CleanJob::copy_block(Input& in) {
  auto block = in.reader->read_block(in.block);
  if (!block.is_ok()) {
    if (block.code() == Code::kDataLoss) damaged_ = in.info.number;
    return block.status();
  }
  ++in.block;
  ++core_->block_reads_;
  bytes_read_ += block->size();
  for (std::string_view rest = block->view(); !rest.empty(); ++in.seen) {
    ASSIGN_OR_RETURN(RecordFrame frame, record_frame(rest));
    RETURN_IF_ERROR(copy_record(in, rest.substr(0, frame.size), frame.place));
    rest.remove_prefix(frame.size);
  }
  return {};
}

Status CleanJob::copy_record(Input& in, std::string_view record, Place place) {
  bool dead = contains(in.dead, place);
  if (PLANTED(kCleanerDropsTombstone) && kind_ == SegmentKind::kKeys && mvcc::trusted_key_record(record).tombstone())
    dead = true;
  if (PLANTED(kCleanerTakesLive) && in.seen == 0 && in.info.records > 1) dead = true;
  if (dead) {
    ++records_dropped_;
    return {};
  }
  if (writer_ && writer_->bytes() + record.size() > core_->options_.segment_bytes_max) RETURN_IF_ERROR(close_writer());
  if (!writer_) RETURN_IF_ERROR(open_writer());
  Status status = writer_->add(record);  // checks the record's own checksum on the way
  if (status.code() == Code::kDataLoss) damaged_ = in.info.number;
  return status;
}

Status CleanJob::open_writer() {
  RETURN_IF_ERROR(FAILPOINT_STATUS(defragOpenFileError));
  SegmentWriterArgs args;
  args.dir = core_->dir_;
  args.kind = kind_;
  args.number = core_->take_number();
  args.random_id = mixed_id(id_seed_);
  args.block_bytes = core_->options_.block_bytes;
  written_.push_back(args.dir + "/" + segment_file_name(args.number));
  ASSIGN_OR_RETURN(writer_, SegmentWriter::create(*core_->world_.disk, args));
  return {};
}

Status CleanJob::close_writer() {
  ASSIGN_OR_RETURN(SegmentInfo info, writer_->finish());
  bytes_written_ += info.size_bytes;
  outputs_.push_back(info);
  writer_ = nullptr;
  return {};
}

// --- swap

Status CleanJob::swap(Manifest manifest, const Pin& list) {
  manifest_ = std::move(manifest);
  RETURN_IF_ERROR(build(list));
  RETURN_IF_ERROR(fatal(core_->world_.disk->sync_dir(core_->dir_)));
  manifest_.local.reason = ManifestReason::kClean;
  manifest_.local.next_file = core_->next_file_.load();
  FAILPOINT(defragBeforeRename);
  return fatal(write_manifest(*core_->world_.disk, core_->dir_, manifest_));
}

Status CleanJob::build(const Pin& list) {
  SharedManifest& m = manifest_.shared;
  auto from = std::find_if(m.segments.begin(), m.segments.end(),
                           [&](const SegmentInfo& s) { return s.number == numbers_.front(); });
  std::vector<SegmentInfo> now;
  for (auto it = from; it != m.segments.end() && now.size() < numbers_.size(); ++it) {
    if (it->number != numbers_[now.size()]) break;
    now.push_back(*it);
  }
  // A checkpoint has dropped one of them as wholly dead, or an installed snapshot replaced them all.
  if (now.size() != numbers_.size()) return {Code::kAborted, "the segments are not in use any more"};
  ASSIGN_OR_RETURN(std::vector<SegmentInfo> outputs, with_new_deaths(now));
  from = m.segments.erase(from, from + static_cast<ptrdiff_t>(now.size()));
  m.segments.insert(from, outputs.begin(), outputs.end());
  drop_unused_dead_files(m);
  ASSIGN_OR_RETURN(new_list_, core_->open_list(m, list.get()));
  return {};
}

// What died since the copy began becomes the outputs' dead list.
Result<std::vector<SegmentInfo>> CleanJob::with_new_deaths(const std::vector<SegmentInfo>& inputs_now) {
  std::vector<SegmentInfo> outputs = outputs_;
  DeadList fresh;
  for (size_t i = 0; i < inputs_now.size(); ++i) {
    const DeadRef &then = inputs_[i].info.dead, &now = inputs_now[i].dead;
    if (now.file == then.file && now.offset == then.offset) continue;
    ASSIGN_OR_RETURN(DeadList dead, read_dead_list(*core_->world_.disk, core_->dir_, now));
    std::set_difference(dead.begin(), dead.end(), inputs_[i].dead.begin(), inputs_[i].dead.end(),
                        std::back_inserter(fresh));
  }
  if (fresh.empty()) return outputs;
  const uint64_t number = core_->take_number();
  written_.push_back(core_->dir_ + "/" + dead_file_name(number));
  DeadFileWriter file(number);
  for (SegmentInfo& s : outputs) {
    auto from = std::lower_bound(fresh.begin(), fresh.end(), s.first);
    auto to = std::upper_bound(from, fresh.end(), s.last);
    if (from == to) continue;
    s.dead = file.add(DeadList(from, to));
    s.dead_bytes = s.size_bytes / s.records * s.dead.count;
  }
  ASSIGN_OR_RETURN(DeadFileInfo info, file.finish(*core_->world_.disk, core_->dir_));
  manifest_.shared.dead_files.push_back(info);
  return outputs;
}

void CleanJob::abandon() {
  writer_ = nullptr;
  for (const std::string& path : written_)
    if (Status s = core_->world_.disk->remove(path); !s.is_ok() && core_->world_.disk->exists(path))
      core_->world_.log->warn("cannot remove an abandoned file", {{"path", path}, {"error", s.message()}});
}

}  // namespace fairlead::storage
