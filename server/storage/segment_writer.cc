#include "server/storage/segment_writer.h"

#include <algorithm>
#include <utility>

#include "base/codec.h"
#include "base/crc32c.h"
#include "server/storage/segment_format.h"
#include "server/storage/segment_reader.h"

namespace fairlead::storage {

namespace {
constexpr size_t kWriteBytes = 1 << 20;  // one write call

size_t shared_prefix(std::string_view a, std::string_view b) {
  return static_cast<size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<ptrdiff_t>(std::min(a.size(), b.size())), b.begin()).first -
      a.begin());
}
}  // namespace

struct SegmentWriter::State {
  SegmentWriterArgs args;
  std::string path;
  std::unique_ptr<io::File> file;
  uint64_t offset = 0;  // of the end of what was given to put()
  std::string waiting;  // not written yet
  Sha256Hasher hash;

  std::string block;  // open block: records
  uint32_t block_records = 0;
  Place block_first;

  struct Block {
    Place first;
    uint64_t offset;
  };
  std::vector<Block> blocks;
  uint64_t blocks_end = 0;
  uint64_t records = 0;
  Place first, last;

  struct Entry {          // of the directory to be
    uint64_t key_offset;  // in keys
    uint32_t key_size;
    mvcc::RecordMeta meta;
  };
  std::string keys;
  std::vector<Entry> entries;

  std::string_view key(const Entry& e) const { return std::string_view(keys).substr(e.key_offset, e.key_size); }

  Status put(std::string_view data) {
    waiting.append(data);
    offset += data.size();
    return waiting.size() >= kWriteBytes ? flush() : Status();
  }
  Status flush() {
    Status status = file->write_at(offset - waiting.size(), waiting);
    waiting.clear();
    return status;
  }
  Status begin(uint64_t base) {
    std::string header = encode_segment_header({kSegmentFormat, args.kind, args.number, args.random_id, base});
    hash.add(header);
    return put(header);
  }
  Status close_block();
  Status put_table(SegmentFooter& footer);
  Status put_directory(SegmentFooter& footer);
  Status put_directory_block(std::string& entries_bytes, uint32_t count);
};

Result<std::unique_ptr<SegmentWriter>> SegmentWriter::create(io::Disk& disk, const SegmentWriterArgs& args) {
  auto state = std::make_unique<State>();
  state->args = args;
  state->path = args.dir + "/" + segment_file_name(args.number);
  ASSIGN_OR_RETURN(state->file, disk.open(state->path, io::OpenMode::kCreate));
  return std::unique_ptr<SegmentWriter>(new SegmentWriter(std::move(state)));
}

SegmentWriter::SegmentWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
SegmentWriter::~SegmentWriter() = default;
uint64_t SegmentWriter::bytes() const { return state_->offset + state_->block.size(); }
uint64_t SegmentWriter::records() const { return state_->records; }

Status SegmentWriter::add(std::string_view record) {
  State& s = *state_;
  std::string_view rest = record;
  Place place;
  mvcc::KeyRecord key;
  if (s.args.kind == SegmentKind::kKeys) {
    ASSIGN_OR_RETURN(key, mvcc::decode_key_record(rest));
    place = place_of(key.position);
  } else {
    ASSIGN_OR_RETURN(mvcc::SideRecord r, mvcc::decode_side_record(rest));
    place = place_of(r.position);
  }
  if (!rest.empty()) return internal_error(s.path + ": more than one record at once");
  if (s.records > 0 && place <= s.last) return internal_error(s.path + ": records out of order");
  if (s.records == 0) {
    RETURN_IF_ERROR(s.begin(place.major));
    s.first = place;
  }
  if (s.block_records > 0 && s.block.size() + record.size() > s.args.block_bytes) RETURN_IF_ERROR(s.close_block());
  if (s.block_records == 0) s.block_first = place;
  if (s.args.kind == SegmentKind::kKeys) {
    s.entries.push_back(
        {s.keys.size(),
         static_cast<uint32_t>(key.key.size()),
         {key.position, key.create, key.version, key.lease, static_cast<uint32_t>(key.value.size()), key.flags}});
    s.keys.append(key.key);
  }
  s.block.append(record);
  ++s.block_records;
  ++s.records;
  s.last = place;
  return {};
}

Status SegmentWriter::State::close_block() {
  std::string out;
  out.reserve(kBlockHeaderBytes + block.size() + kCrcBytes);
  put_fixed<uint32_t>(out, static_cast<uint32_t>(block.size()));
  put_fixed<uint32_t>(out, block_records);
  put_fixed<uint8_t>(out, 0);  // codec
  put_fixed<uint8_t>(out, 0);  // key id
  put_fixed<uint16_t>(out, 0);
  out.append(block);
  put_fixed<uint32_t>(out, placed_crc(args.random_id, offset, out));
  hash.add(std::string_view(out).substr(out.size() - kCrcBytes));
  blocks.push_back({block_first, offset});
  block.clear();
  block_records = 0;
  return put(out);
}

Status SegmentWriter::State::put_table(SegmentFooter& footer) {
  std::string out;
  Place place;
  uint64_t at = 0;
  for (const Block& b : blocks) {
    put_varint(out, b.first.major - place.major);
    put_varint(out, b.first.minor);
    put_varint(out, b.offset - at);
    place = b.first;
    at = b.offset;
  }
  footer.table = offset;
  put_fixed<uint32_t>(out, placed_crc(args.random_id, offset, out));
  hash.add(out);
  return put(out);
}

Status SegmentWriter::State::put_directory_block(std::string& bytes, uint32_t count) {
  std::string out;
  put_fixed<uint32_t>(out, static_cast<uint32_t>(bytes.size()));
  put_fixed<uint32_t>(out, count);
  out.append(bytes);
  put_fixed<uint32_t>(out, placed_crc(args.random_id, offset, out));
  bytes.clear();
  hash.add(out);
  return put(out);
}

Status SegmentWriter::State::put_directory(SegmentFooter& footer) {
  footer.directory = offset;
  std::sort(entries.begin(), entries.end(), [this](const Entry& a, const Entry& b) {
    int order = key(a).compare(key(b));
    return order != 0 ? order < 0 : a.meta.position < b.meta.position;
  });
  std::string bytes, index;
  uint32_t count = 0;
  std::string_view previous;
  for (const Entry& e : entries) {
    std::string_view k = key(e);
    if (count > 0 && bytes.size() >= args.block_bytes) {
      RETURN_IF_ERROR(put_directory_block(bytes, count));
      count = 0;
    }
    if (count == 0) {
      ++footer.directory_blocks;
      put_varint(index, offset - footer.directory);
      put_lengthed(index, k);
      previous = {};
    }
    const size_t shared = shared_prefix(previous, k);
    put_varint(bytes, shared);
    put_lengthed(bytes, k.substr(shared));
    put_fixed<uint8_t>(bytes, e.meta.flags);
    put_varint(bytes, static_cast<uint64_t>(e.meta.position.main) - first.major);
    put_varint(bytes, static_cast<uint64_t>(e.meta.position.sub));
    put_varint(bytes, static_cast<uint64_t>(e.meta.create));
    put_varint(bytes, static_cast<uint64_t>(e.meta.version));
    put_varint(bytes, zigzag(e.meta.lease));
    put_varint(bytes, e.meta.value_size);
    previous = k;
    ++count;
  }
  if (count > 0) RETURN_IF_ERROR(put_directory_block(bytes, count));
  footer.index = offset;
  put_fixed<uint32_t>(index, placed_crc(args.random_id, offset, index));
  hash.add(index);
  return put(index);
}

Result<SegmentInfo> SegmentWriter::finish() {
  State& s = *state_;
  if (s.records == 0) return internal_error(s.path + ": a segment without records");
  RETURN_IF_ERROR(s.close_block());
  SegmentFooter footer;
  RETURN_IF_ERROR(s.put_table(footer));
  RETURN_IF_ERROR(s.put_directory(footer));
  footer.records = s.records;
  footer.first = s.first;
  footer.last = s.last;
  footer.blocks = static_cast<uint32_t>(s.blocks.size());
  footer.random_id = s.args.random_id;
  footer.hash = s.hash.finish();
  RETURN_IF_ERROR(s.put(encode_segment_footer(footer)));
  RETURN_IF_ERROR(s.flush());
  RETURN_IF_ERROR(s.file->sync());
  SegmentInfo info;
  info.kind = s.args.kind;
  info.number = s.args.number;
  info.random_id = s.args.random_id;
  info.size_bytes = s.offset;
  info.first = s.first;
  info.last = s.last;
  info.records = s.records;
  info.hash = footer.hash;
  return info;
}

}  // namespace fairlead::storage
