// Reading the state back: index load at a start, records by position, scans of history.
#include <algorithm>
#include <numeric>

#include "server/storage/directory_merge.h"
#include "server/storage/store_core.h"

namespace fairlead::storage {

// --- index load
// -------------------------------------------------------------------------------------------------------------

namespace {

Status load_side(io::Disk& disk, const std::string& dir, const SegmentList::Segment& segment,
                 mvcc::IndexLoader& loader) {
  ASSIGN_OR_RETURN(DeadList dead, read_dead_list(disk, dir, segment.info.dead));
  uint64_t seen = 0;
  for (size_t b = 0; b < segment.reader->block_count(); ++b) {
    ASSIGN_OR_RETURN(Bytes block, segment.reader->read_block(b));
    for (std::string_view rest = block.view(); !rest.empty(); ++seen) {
      ASSIGN_OR_RETURN(mvcc::SideRecord record, mvcc::decode_side_record(rest));
      if (!contains(dead, place_of(record.position))) loader.add_side(record);
    }
  }
  if (seen != segment.info.records)
    return data_loss(dir + "/" + segment_file_name(segment.info.number) + ": " + std::to_string(seen) +
                     " records instead of " + std::to_string(segment.info.records) + ": replace the member");
  return {};
}

}  // namespace

Status Store::Core::load(mvcc::IndexLoader& loader) const {
  const Pin list = list_;
  return load_list(*world_.disk, dir_, *list, loader, true);
}

Status load_list(io::Disk& disk, const std::string& dir, const SegmentList& list, mvcc::IndexLoader& loader,
                 bool keys) {
  DirectoryMerge merge;
  for (size_t i = 0; i < list.segments.size(); ++i) {
    const auto& s = list.segments[i];
    if (i >= list.key_segments) {
      RETURN_IF_ERROR(load_side(disk, dir, s, loader));
    } else if (keys) {
      RETURN_IF_ERROR(merge.add(disk, dir, s));
    }
  }
  std::string key;
  std::vector<mvcc::RecordMeta> revisions;
  while (!merge.at_end()) {
    key.assign(merge.key());
    revisions.clear();
    while (!merge.at_end() && merge.key() == key) {
      revisions.push_back(merge.meta());
      RETURN_IF_ERROR(merge.next());
    }
    loader.add_key(key, revisions);
  }
  return {};
}

// --- records by position
// ------------------------------------------------------------------------------------------------

Result<Store::Records> read_records(const SegmentList& list, const std::vector<mvcc::Position>& positions,
                                    std::atomic<uint64_t>& block_reads) {
  std::vector<size_t> order(positions.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return positions[a] < positions[b]; });
  Store::Records out(positions.size());
  size_t segment = list.key_segments, block_number = 0;
  Bytes block;
  std::string_view rest;  // of block; positions rise, so one pass over each block is enough
  for (size_t i : order) {
    const Place place = place_of(positions[i]);
    const std::string what = "revision " + std::to_string(positions[i].main) + "/" + std::to_string(positions[i].sub);
    const size_t s = list.find(place);
    if (s == list.key_segments || place < list.segments[s].info.first) return not_found(what + " lies in no segment");
    const SegmentReader& reader = *list.segments[s].reader;
    const size_t b = reader.block_of(place);
    if (s != segment || b != block_number) {
      ASSIGN_OR_RETURN(block, reader.read_block(b));
      ++block_reads;
      segment = s;
      block_number = b;
    }
    rest = block.view();
    for (;;) {
      if (rest.empty()) return not_found(what + " is not in " + segment_file_name(list.segments[s].info.number));
      ASSIGN_OR_RETURN(RecordFrame frame, record_frame(rest));
      if (frame.place == place) {
        out[i] = block.slice_of(rest.substr(0, frame.size));
        break;
      }
      if (frame.place > place) return not_found(what + " is not in " + segment_file_name(list.segments[s].info.number));
      rest.remove_prefix(frame.size);
    }
  }
  return out;
}

void Store::read(Pin pin, std::vector<mvcc::Position> positions, std::function<void(Result<Records>)> done) {
  auto result = std::make_shared<Result<Records>>(internal_error("not run"));
  core_->world_.workers->run(
      [core = core_, pin = std::move(pin), positions = std::move(positions), result]() mutable {
        *result = read_records(*pin, positions, core->block_reads_);
        pin = nullptr;
      },
      [core = core_, result, done = std::move(done)] {
        if (core->closed_) return;
        core->note_result(result->status());
        done(std::move(*result));
      });
}

// --- scans
// ------------------------------------------------------------------------------------------------------------------

Result<ScanResult> scan_records(io::Disk& disk, const std::string& dir, const SegmentList& list, mvcc::Position from,
                                mvcc::Position to, size_t bytes_max, std::atomic<uint64_t>& block_reads) {
  ScanResult out;
  size_t bytes = 0;
  const Place first = place_of(from), last = place_of(to);
  for (size_t s = list.find(first); s < list.key_segments; ++s) {
    const auto& segment = list.segments[s];
    if (segment.info.first > last) break;
    ASSIGN_OR_RETURN(DeadList dead, read_dead_list(disk, dir, segment.info.dead));
    for (size_t b = segment.reader->block_of(first); b < segment.reader->block_count(); ++b) {
      if (segment.reader->block_first(b) > last) break;
      ASSIGN_OR_RETURN(Bytes block, segment.reader->read_block(b));
      ++block_reads;
      for (std::string_view rest = block.view(); !rest.empty();) {
        ASSIGN_OR_RETURN(RecordFrame frame, record_frame(rest));
        std::string_view record = rest.substr(0, frame.size);
        rest.remove_prefix(frame.size);
        if (frame.place < first || contains(dead, frame.place)) continue;
        if (frame.place > last) break;
        if (!out.records.empty() && bytes + record.size() > bytes_max) {
          out.next = {static_cast<int64_t>(frame.place.major), static_cast<int64_t>(frame.place.minor)};
          return out;
        }
        bytes += record.size();
        out.records.push_back(block.slice_of(record));
      }
    }
  }
  out.next = to.sub < INT64_MAX ? mvcc::Position{to.main, to.sub + 1} : mvcc::Position{to.main + 1, 0};
  out.done = true;
  return out;
}

void Store::scan(Pin pin, mvcc::Position from, mvcc::Position to, size_t bytes_max,
                 std::function<void(Result<ScanResult>)> done) {
  auto result = std::make_shared<Result<ScanResult>>(internal_error("not run"));
  core_->world_.workers->run(
      [core = core_, pin = std::move(pin), from, to, bytes_max, result]() mutable {
        *result = scan_records(*core->world_.disk, core->dir_, *pin, from, to, bytes_max, core->block_reads_);
        pin = nullptr;
      },
      [core = core_, result, done = std::move(done)] {
        if (core->closed_) return;
        core->note_result(result->status());
        done(std::move(*result));
      });
}

}  // namespace fairlead::storage
