#include "server/storage/segment_reader.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/codec.h"
#include "base/crc32c.h"
#include "base/planted.h"
#include "server/storage/segment_format.h"

namespace fairlead::storage {

namespace {
constexpr size_t kCursorReadBytes = 64 << 10;
constexpr uint32_t kBlockBytesMax = 1u << 30;
}  // namespace

struct SegmentReader::State {
  SegmentInfo info;
  std::string path;
  std::unique_ptr<io::File> file;
  SegmentFooter footer;
  SegmentHeader header;
  std::string raw_header;
  std::string raw_table;
  struct Block {
    Place first;
    uint64_t offset;
    uint64_t end;
  };
  std::vector<Block> blocks;

  Status damage(uint64_t offset, const std::string& what) const {
    return data_loss(path + ": " + what + " at offset " + std::to_string(offset) +
                     "; this member's data is damaged: replace the member");
  }
  Result<std::string> read(uint64_t offset, uint64_t size) const {
    std::string out(size, '\0');
    auto got = file->read_at(offset, out);
    if (!got.is_ok()) return damage(offset, "cannot read (" + std::string(got.status().message()) + ")");
    if (*got != size) return damage(offset, "the file ends too early");
    return out;
  }
  // A piece that ends in its CRC.
  bool whole(uint64_t offset, std::string_view piece) const {
    if (PLANTED(kServeDamaged)) return piece.size() >= kCrcBytes;
    return piece.size() >= kCrcBytes &&
           load_fixed<uint32_t>(piece.data() + piece.size() - kCrcBytes) ==
               placed_crc(info.random_id, offset, piece.substr(0, piece.size() - kCrcBytes));
  }
  Status open();
  Status parse_table();
  // The raw block, checked.
  Result<Bytes> raw_block(const Block& b) const;
};

Result<std::shared_ptr<const SegmentReader>> SegmentReader::open(io::Disk& disk, const std::string& dir,
                                                                 const SegmentInfo& info) {
  auto state = std::make_unique<State>();
  state->info = info;
  state->path = dir + "/" + segment_file_name(info.number);
  auto file = disk.open(state->path, io::OpenMode::kRead);
  if (!file.is_ok())
    return data_loss(state->path + ": the manifest names it and it cannot be opened (" +
                     std::string(file.status().message()) + "); this member's data is damaged: replace the member");
  state->file = std::move(*file);
  RETURN_IF_ERROR(state->open());
  return std::shared_ptr<const SegmentReader>(new SegmentReader(std::move(state)));
}

SegmentReader::SegmentReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
SegmentReader::~SegmentReader() = default;
const SegmentInfo& SegmentReader::info() const { return state_->info; }
size_t SegmentReader::block_count() const { return state_->blocks.size(); }
Place SegmentReader::block_first(size_t block) const { return state_->blocks[block].first; }

Status SegmentReader::State::open() {
  ASSIGN_OR_RETURN(uint64_t size, file->size());
  if (size != info.size_bytes || size < kSegmentHeaderBytes + kSegmentFooterBytes)
    return damage(size, "the file has " + std::to_string(size) + " bytes instead of " +
                            std::to_string(info.size_bytes) + ", ends");
  ASSIGN_OR_RETURN(raw_header, read(0, kSegmentHeaderBytes));
  auto h = decode_segment_header(raw_header);
  if (!h) return damage(0, "damaged header");
  if (h->format != kSegmentFormat)
    return failed_precondition(path + ": format " + std::to_string(h->format) +
                               " is unknown to this version: start a newer one");
  if (h->kind != info.kind || h->random_id != info.random_id) return damage(0, "header of another segment");
  header = *h;
  const uint64_t at = size - kSegmentFooterBytes;
  ASSIGN_OR_RETURN(std::string raw, read(at, kSegmentFooterBytes));
  auto f = decode_segment_footer(raw);
  if (!f) return damage(at, "damaged footer");
  if (f->random_id != info.random_id || f->records != info.records || f->hash != info.hash || f->first != info.first ||
      f->last != info.last)
    return damage(at, "footer that the manifest does not describe");
  footer = *f;
  if (footer.table < kSegmentHeaderBytes || footer.directory < footer.table || footer.index < footer.directory ||
      at < footer.index)
    return damage(at, "impossible footer");
  return parse_table();
}

Status SegmentReader::State::parse_table() {
  ASSIGN_OR_RETURN(raw_table, read(footer.table, footer.directory - footer.table));
  if (!whole(footer.table, raw_table)) return damage(footer.table, "damaged block table");
  Reader in(std::string_view(raw_table).substr(0, raw_table.size() - kCrcBytes));
  Place place;
  uint64_t at = 0;
  for (uint32_t i = 0; i < footer.blocks && in.ok(); ++i) {
    place.major += in.varint();
    place.minor = in.varint();
    at += in.varint();
    if (!blocks.empty()) blocks.back().end = at;
    blocks.push_back({place, at, footer.table});
  }
  bool good = in.ok() && in.at_end() && !blocks.empty() && blocks[0].offset == kSegmentHeaderBytes;
  for (const Block& b : blocks) good = good && b.offset < b.end && b.end <= footer.table;
  if (!good) return damage(footer.table, "impossible block table");
  return {};
}

Result<Bytes> SegmentReader::State::raw_block(const Block& b) const {
  const uint64_t size = b.end - b.offset;
  if (size < kBlockHeaderBytes + kCrcBytes || size > kBlockBytesMax) return damage(b.offset, "impossible block");
  BytesBuilder builder(size);
  auto got = file->read_at(b.offset, {builder.data(), builder.capacity()});
  if (!got.is_ok()) return damage(b.offset, "cannot read (" + std::string(got.status().message()) + ")");
  std::string_view raw(builder.data(), *got);
  if (*got != size || !whole(b.offset, raw)) return damage(b.offset, "damaged block");
  if (load_fixed<uint32_t>(raw.data()) != size - kBlockHeaderBytes - kCrcBytes)
    return damage(b.offset, "block of another length");
  if (raw[8] != 0 || raw[9] != 0)
    return failed_precondition(path + ": block at offset " + std::to_string(b.offset) +
                               " is compressed or encrypted in a way that this version does not know");
  return std::move(builder).finish(size);
}

size_t SegmentReader::block_of(Place place) const {
  auto it = std::partition_point(state_->blocks.begin(), state_->blocks.end(),
                                 [&](const State::Block& b) { return b.first <= place; });
  return it == state_->blocks.begin() ? 0 : static_cast<size_t>(it - state_->blocks.begin()) - 1;
}

Result<Bytes> SegmentReader::read_block(size_t block) const {
  ASSIGN_OR_RETURN(Bytes raw, state_->raw_block(state_->blocks[block]));
  return raw.slice(kBlockHeaderBytes, raw.size() - kBlockHeaderBytes - kCrcBytes);
}

// --- directory
// ----------------------------------------------------------------------------------------------------------

namespace {

// Reads the directory block by block, a few at a time.
class Cursor final : public SegmentReader::DirectoryCursor {
 public:
  Cursor(const std::function<Result<std::string>(uint64_t, uint64_t)>& read,
         const std::function<bool(uint64_t, std::string_view)>& whole,
         const std::function<Status(uint64_t, const std::string&)>& damage, uint64_t from, uint64_t to, uint64_t base,
         uint64_t records)
      : read_(read), whole_(whole), damage_(damage), at_(from), end_(to), base_(base), records_(records) {}

  Result<bool> next() override {
    while (left_ == 0) {
      if (!in_.at_end()) return damage_(block_, "directory block with an impossible count");
      if (at_ == end_) {
        if (seen_ != records_) return damage_(at_, "directory that is too short");
        return false;
      }
      RETURN_IF_ERROR(next_block());
    }
    --left_;
    ++seen_;
    const uint64_t shared = in_.varint();
    std::string_view rest = in_.lengthed();
    meta_.flags = in_.fixed<uint8_t>();
    meta_.position.main = static_cast<int64_t>(base_ + in_.varint());
    meta_.position.sub = static_cast<int64_t>(in_.varint());
    meta_.create = static_cast<int64_t>(in_.varint());
    meta_.version = static_cast<int64_t>(in_.varint());
    meta_.lease = unzigzag(in_.varint());
    meta_.value_size = static_cast<uint32_t>(in_.varint());
    if (!in_.ok() || shared > key_.size()) return damage_(block_, "directory block that does not parse");
    key_.resize(shared);
    key_.append(rest);
    return true;
  }
  std::string_view key() const override { return key_; }
  const mvcc::RecordMeta& meta() const override { return meta_; }

 private:
  Status next_block() {
    uint64_t size = 0;
    for (uint64_t want = kCursorReadBytes;;) {
      const uint64_t have = buffer_.size() - taken_;
      if (have >= kDirectoryHeaderBytes) {
        size = kDirectoryHeaderBytes + load_fixed<uint32_t>(buffer_.data() + taken_) + kCrcBytes;
        if (size > end_ - at_) return damage_(at_, "directory block of an impossible length");
        if (have >= size) break;
        want = std::max(want, size);
      } else if (have >= end_ - at_) {
        return damage_(at_, "directory block that is too short");
      }
      ASSIGN_OR_RETURN(buffer_, read_(at_, std::min(want, end_ - at_)));
      taken_ = 0;
    }
    std::string_view raw = std::string_view(buffer_).substr(taken_, size);
    if (!whole_(at_, raw)) return damage_(at_, "damaged directory block");
    left_ = load_fixed<uint32_t>(raw.data() + 4);
    in_ = Reader(raw.substr(kDirectoryHeaderBytes, size - kDirectoryHeaderBytes - kCrcBytes));
    key_.clear();
    block_ = at_;
    at_ += size;
    taken_ += size;
    return {};
  }

  std::function<Result<std::string>(uint64_t, uint64_t)> read_;
  std::function<bool(uint64_t, std::string_view)> whole_;
  std::function<Status(uint64_t, const std::string&)> damage_;
  uint64_t at_;  // offset of the next block
  uint64_t end_;
  uint64_t base_;
  uint64_t records_;
  uint64_t seen_ = 0;
  uint64_t block_ = 0;  // offset of the one being read
  std::string buffer_;
  uint64_t taken_ = 0;
  uint32_t left_ = 0;
  Reader in_{std::string_view()};
  std::string key_;
  mvcc::RecordMeta meta_;
};

}  // namespace

std::unique_ptr<SegmentReader::DirectoryCursor> SegmentReader::directory() const {
  const State* s = state_.get();
  return std::make_unique<Cursor>([s](uint64_t offset, uint64_t size) { return s->read(offset, size); },
                                  [s](uint64_t offset, std::string_view piece) { return s->whole(offset, piece); },
                                  [s](uint64_t offset, const std::string& what) { return s->damage(offset, what); },
                                  s->footer.directory, s->footer.index, s->header.base,
                                  s->info.kind == SegmentKind::kKeys ? s->info.records : 0);
}

// --- everything
// ---------------------------------------------------------------------------------------------------------

Status SegmentReader::verify() const {
  const State& s = *state_;
  Sha256Hasher hash;
  hash.add(s.raw_header);
  for (const State::Block& b : s.blocks) {
    ASSIGN_OR_RETURN(Bytes raw, s.raw_block(b));
    hash.add(raw.view().substr(raw.size() - kCrcBytes));
  }
  hash.add(s.raw_table);
  const uint64_t footer_at = s.info.size_bytes - kSegmentFooterBytes;
  for (uint64_t at = s.footer.directory; at < footer_at;) {
    ASSIGN_OR_RETURN(std::string piece, s.read(at, std::min<uint64_t>(1 << 20, footer_at - at)));
    hash.add(piece);
    at += piece.size();
  }
  if (hash.finish() != s.info.hash) return s.damage(0, "the hash over the segment differs, which starts");
  auto cursor = directory();  // names the place, should it be there
  for (;;) {
    ASSIGN_OR_RETURN(bool more, cursor->next());
    if (!more) return {};
  }
}

Result<RecordFrame> record_frame(std::string_view in) {
  Reader r(in);
  r.fixed<uint32_t>();
  std::string_view body = r.lengthed();
  RecordFrame frame;
  frame.size = static_cast<size_t>(r.position() - in.data());
  Reader b(body);
  b.bytes(2);
  frame.place.major = b.varint();
  frame.place.minor = b.varint();
  if (!r.ok() || !b.ok()) return data_loss("a record that does not parse");
  return frame;
}

}  // namespace fairlead::storage
