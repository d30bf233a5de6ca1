#include "server/storage/pin_reader.h"

#include "server/storage/store_core.h"

namespace fairlead::storage {

PinReader::PinReader(io::Disk& disk, std::string dir, Pin pin)
    : disk_(disk), dir_(std::move(dir)), pin_(std::move(pin)) {}
PinReader::~PinReader() = default;

const SharedManifest& PinReader::manifest() const { return pin_->shared; }

void PinReader::rewind() {
  segment_ = block_ = 0;
  opened_ = false;
  rest_ = {};
}

// False: there is none. Dead lists are read once a segment.
Result<bool> PinReader::next_block() {
  for (; segment_ < pin_->key_segments; ++segment_, opened_ = false) {
    const SegmentList::Segment& segment = pin_->segments[segment_];
    if (!opened_) {
      ASSIGN_OR_RETURN(dead_, read_dead_list(disk_, dir_, segment.info.dead));
      dead_at_ = block_ = 0;
      opened_ = true;
    }
    if (block_ == segment.reader->block_count()) continue;
    ASSIGN_OR_RETURN(bytes_, segment.reader->read_block(block_++));
    rest_ = bytes_.view();
    return true;
  }
  return false;
}

Result<const mvcc::KeyRecord*> PinReader::next() {
  for (;;) {
    while (rest_.empty()) {
      ASSIGN_OR_RETURN(bool more, next_block());
      if (!more) return static_cast<const mvcc::KeyRecord*>(nullptr);
    }
    ASSIGN_OR_RETURN(RecordFrame frame, record_frame(rest_));
    std::string_view record = rest_.substr(0, frame.size);
    rest_.remove_prefix(frame.size);
    while (dead_at_ < dead_.size() && dead_[dead_at_] < frame.place) ++dead_at_;
    if (dead_at_ < dead_.size() && dead_[dead_at_] == frame.place) continue;
    record_ = mvcc::trusted_key_record(record);  // its block's checksum was right
    return &record_;
  }
}

Status PinReader::load(mvcc::IndexLoader& loader, bool keys) const {
  return load_list(disk_, dir_, *pin_, loader, keys);
}

}  // namespace fairlead::storage
