#include "server/storage/manifest.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <set>

#include "base/codec.h"
#include "base/crc32c.h"

namespace fairlead::storage {

namespace {

constexpr uint64_t kManifestMagic = 0x464E414D4C524C46ull;  // "FLRLMANF"
constexpr size_t kCopyHeaderBytes = 24;
constexpr uint64_t kSegmentsMax = 1 << 24;

std::string file_name(const char* prefix, uint64_t number) {
  char name[64];
  std::snprintf(name, sizeof(name), "%s-%016llx", prefix, static_cast<unsigned long long>(number));
  return name;
}

void put_hash(std::string& out, const Sha256& hash) {
  out.append(reinterpret_cast<const char*>(hash.data()), hash.size());
}
Sha256 take_hash(Reader& in) {
  Sha256 hash{};
  std::string_view raw = in.bytes(hash.size());
  if (raw.size() == hash.size()) std::memcpy(hash.data(), raw.data(), raw.size());
  return hash;
}

void put_segment(std::string& out, const SegmentInfo& s) {
  put_fixed<uint8_t>(out, static_cast<uint8_t>(s.kind));
  for (uint64_t v : {s.number, s.random_id, s.size_bytes, s.first.major, s.first.minor, s.last.major, s.last.minor,
                     s.records, s.dead_bytes})
    put_fixed<uint64_t>(out, v);
  put_hash(out, s.hash);
  for (uint64_t v : {s.dead.file, s.dead.offset, s.dead.length, s.dead.count}) put_fixed<uint64_t>(out, v);
  put_fixed<uint32_t>(out, s.dead.crc);
}

SegmentInfo take_segment(Reader& in) {
  SegmentInfo s;
  s.kind = static_cast<SegmentKind>(in.fixed<uint8_t>());
  for (uint64_t* v : {&s.number, &s.random_id, &s.size_bytes, &s.first.major, &s.first.minor, &s.last.major,
                      &s.last.minor, &s.records, &s.dead_bytes})
    *v = in.fixed<uint64_t>();
  s.hash = take_hash(in);
  for (uint64_t* v : {&s.dead.file, &s.dead.offset, &s.dead.length, &s.dead.count}) *v = in.fixed<uint64_t>();
  s.dead.crc = in.fixed<uint32_t>();
  return s;
}

Status impossible(const std::string& what) { return data_loss("manifest: " + what); }

Status check_rules(const SharedManifest& m) {
  std::set<uint64_t> dead_files, numbers;
  for (const auto& f : m.dead_files)
    if (!dead_files.insert(f.number).second) return impossible("dead file listed twice");
  const SegmentInfo* last = nullptr;
  for (const SegmentInfo& s : m.segments) {
    if (s.kind != SegmentKind::kKeys && s.kind != SegmentKind::kSide) return impossible("segment of unknown kind");
    if (!numbers.insert(s.number).second) return impossible("segment listed twice");
    if (s.last < s.first || s.records == 0) return impossible("segment without records");
    if (last != nullptr && (s.kind < last->kind || (s.kind == last->kind && s.first <= last->last)))
      return impossible("segments that overlap or are out of order");
    if (s.dead.count > s.records) return impossible("more dead records than records");
    if (s.dead.file != 0 && !dead_files.count(s.dead.file)) return impossible("dead list in a file that is not listed");
    last = &s;
  }
  return {};
}

}  // namespace

std::string segment_file_name(uint64_t number) { return file_name("seg", number); }
std::string dead_file_name(uint64_t number) { return file_name("dead", number); }

std::string SharedManifest::encode() const {
  std::string out;
  put_fixed<uint16_t>(out, format);
  put_fixed<uint32_t>(out, feature_level);
  put_fixed<uint64_t>(out, applied.value);
  put_fixed<uint64_t>(out, applied_term.value);
  put_lengthed(out, config);
  put_fixed<int64_t>(out, revision);
  put_fixed<int64_t>(out, compact_revision);
  put_fixed<int64_t>(out, base_revision);
  put_varint(out, segments.size());
  for (const auto& s : segments) put_segment(out, s);
  put_varint(out, dead_files.size());
  for (const auto& f : dead_files) {
    put_fixed<uint64_t>(out, f.number);
    put_fixed<uint64_t>(out, f.size_bytes);
    put_hash(out, f.hash);
  }
  return out;
}

Result<SharedManifest> SharedManifest::decode(std::string_view raw) {
  Reader in(raw);
  SharedManifest m;
  m.format = in.fixed<uint16_t>();
  if (in.ok() && m.format != kManifestFormat)
    return failed_precondition("manifest: format " + std::to_string(m.format) +
                               " is unknown to this version: start a newer one");
  m.feature_level = in.fixed<uint32_t>();
  m.applied = Index{in.fixed<uint64_t>()};
  m.applied_term = Term{in.fixed<uint64_t>()};
  m.config = in.lengthed();
  m.revision = in.fixed<int64_t>();
  m.compact_revision = in.fixed<int64_t>();
  m.base_revision = in.fixed<int64_t>();
  uint64_t n = in.varint();
  if (n > kSegmentsMax) return impossible("too many segments");
  for (uint64_t i = 0; i < n && in.ok(); ++i) m.segments.push_back(take_segment(in));
  n = in.varint();
  if (n > kSegmentsMax) return impossible("too many dead files");
  for (uint64_t i = 0; i < n && in.ok(); ++i) {
    DeadFileInfo f;
    f.number = in.fixed<uint64_t>();
    f.size_bytes = in.fixed<uint64_t>();
    f.hash = take_hash(in);
    m.dead_files.push_back(f);
  }
  if (!in.ok() || !in.at_end()) return impossible("does not parse");
  RETURN_IF_ERROR(check_rules(m));
  return m;
}

std::string Manifest::encode() const {
  std::string body;
  put_lengthed(body, shared.encode());
  for (uint64_t v : {local.cluster.value, local.member.value, local.store.value, local.start_counter, local.log_id,
                     local.log_position})
    put_fixed<uint64_t>(body, v);
  put_fixed<uint8_t>(body, static_cast<uint8_t>(local.reason));
  for (uint64_t v : {local.term.value, local.vote.value, local.next_file}) put_fixed<uint64_t>(body, v);

  std::string copy;
  put_fixed<uint64_t>(copy, kManifestMagic);
  put_fixed<uint64_t>(copy, body.size());
  put_fixed<uint32_t>(copy, 0);
  put_fixed<uint32_t>(copy, crc32c(body));
  copy.append(body);
  copy.resize((copy.size() + io::kDiskBlockBytes - 1) / io::kDiskBlockBytes * io::kDiskBlockBytes, '\0');
  return copy + copy;
}

namespace {

Result<Manifest> decode_copy(std::string_view copy) {
  Reader in(copy);
  if (in.fixed<uint64_t>() != kManifestMagic) return impossible("not one");
  const uint64_t size = in.fixed<uint64_t>();
  in.fixed<uint32_t>();
  const auto crc = in.fixed<uint32_t>();
  if (!in.ok() || size > in.remaining()) return impossible("cut short");
  std::string_view body = in.bytes(size);
  if (crc32c(body) != crc) return impossible("wrong checksum");
  Reader b(body);
  Manifest m;
  ASSIGN_OR_RETURN(m.shared, SharedManifest::decode(b.lengthed()));
  auto& l = m.local;
  for (uint64_t* v : {&l.cluster.value, &l.member.value, &l.store.value, &l.start_counter, &l.log_id, &l.log_position})
    *v = b.fixed<uint64_t>();
  l.reason = static_cast<ManifestReason>(b.fixed<uint8_t>());
  for (uint64_t* v : {&l.term.value, &l.vote.value, &l.next_file}) *v = b.fixed<uint64_t>();
  if (!b.ok() || !b.at_end()) return impossible("does not parse");
  return m;
}

}  // namespace

Result<Manifest> Manifest::decode(std::string_view file) {
  auto first = decode_copy(file);
  if (first.is_ok() || first.code() == Code::kFailedPrecondition) return first;
  auto second = decode_copy(file.substr(file.size() / 2));
  return second.is_ok() ? second : first;
}

Result<Manifest> read_manifest(io::World& world, const std::string& dir) {
  const std::string path = dir + "/manifest";
  if (!world.disk->exists(path)) return not_found(path + " is not there");
  ASSIGN_OR_RETURN(auto file, world.disk->open(path, io::OpenMode::kRead));
  ASSIGN_OR_RETURN(uint64_t size, file->size());
  std::string raw(size, '\0');
  // Half by half: a block that cannot be read costs one copy, not both.
  for (uint64_t at : {uint64_t{0}, size / 2}) {
    auto got = file->read_at(at, {raw.data() + at, at == 0 ? size / 2 : size - size / 2});
    if (!got.is_ok())
      world.log->error("cannot read one copy of the manifest",
                       {{"path", path}, {"offset", at}, {"error", got.status().message()}});
  }
  auto m = Manifest::decode(raw);
  if (!m.is_ok()) {
    if (m.code() == Code::kFailedPrecondition) return Status(m.code(), path + ": " + std::string(m.status().message()));
    return data_loss(path + ": both copies are damaged, at offsets 0 and " + std::to_string(size / 2) + " (" +
                     std::string(m.status().message()) + "): replace the member");
  }
  if (m->encode() != raw) world.log->warn("one copy of the manifest is damaged; the other is used", {{"path", path}});
  return m;
}

Status write_manifest(io::Disk& disk, const std::string& dir, const Manifest& manifest) {
  const std::string temporary = dir + "/manifest.tmp";
  if (disk.exists(temporary)) RETURN_IF_ERROR(disk.remove(temporary));
  {
    ASSIGN_OR_RETURN(auto file, disk.open(temporary, io::OpenMode::kCreate));
    RETURN_IF_ERROR(file->write_at(0, manifest.encode()));
    RETURN_IF_ERROR(file->sync());
  }
  RETURN_IF_ERROR(disk.rename(temporary, dir + "/manifest"));
  return disk.sync_dir(dir);
}

}  // namespace fairlead::storage
