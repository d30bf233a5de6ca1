#include "server/storage/dead_list.h"

#include <algorithm>

#include "base/codec.h"
#include "base/crc32c.h"
#include "server/storage/segment_format.h"

namespace fairlead::storage {

namespace {
constexpr uint64_t kDeadMagic = 0x31444145444C4146ull;  // "FALDEAD1"
constexpr size_t kDeadHeaderBytes = 16;
constexpr uint64_t kDeadListBytesMax = 1ull << 32;
}  // namespace

bool contains(const DeadList& list, Place place) { return std::binary_search(list.begin(), list.end(), place); }

DeadList merge(const DeadList& a, const DeadList& b) {
  DeadList out;
  out.reserve(a.size() + b.size());
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(out));
  return out;
}

Result<DeadList> read_dead_list(io::Disk& disk, const std::string& dir, const DeadRef& ref) {
  DeadList out;
  if (ref.file == 0) return out;
  const std::string path = dir + "/" + dead_file_name(ref.file);
  auto damage = [&](const std::string& what) {
    return data_loss(path + ": dead list at offset " + std::to_string(ref.offset) + " " + what +
                     "; this member's data is damaged: replace the member");
  };
  auto file = disk.open(path, io::OpenMode::kRead);
  if (!file.is_ok()) return damage("cannot be opened (" + std::string(file.status().message()) + ")");
  if (ref.length > kDeadListBytesMax) return damage("is impossibly long");
  std::string raw(ref.length, '\0');
  auto got = (*file)->read_at(ref.offset, raw);
  if (!got.is_ok()) return damage("cannot be read (" + std::string(got.status().message()) + ")");
  if (*got != raw.size() || crc32c(raw) != ref.crc) return damage("is damaged");
  Reader in(raw);
  const uint64_t count = in.varint();
  if (count != ref.count || count > raw.size()) return damage("has another length");
  out.reserve(count);
  Place place;
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    const uint64_t step = in.varint();
    place.minor = in.varint() + (step == 0 ? place.minor : 0);
    place.major += step;
    out.push_back(place);
  }
  if (!in.ok() || !in.at_end()) return damage("does not parse");
  return out;
}

DeadFileWriter::DeadFileWriter(uint64_t number) : number_(number) {
  put_fixed<uint64_t>(content_, kDeadMagic);
  put_fixed<uint16_t>(content_, 1);
  content_.resize(kDeadHeaderBytes, '\0');
}

DeadRef DeadFileWriter::add(const DeadList& list) {
  DeadRef ref;
  ref.file = number_;
  ref.offset = content_.size();
  ref.count = list.size();
  put_varint(content_, list.size());
  Place last;
  for (const Place& p : list) {
    const uint64_t step = p.major - last.major;
    put_varint(content_, step);
    put_varint(content_, step == 0 ? p.minor - last.minor : p.minor);
    last = p;
  }
  ref.length = content_.size() - ref.offset;
  ref.crc = crc32c(std::string_view(content_).substr(ref.offset));
  return ref;
}

Result<DeadFileInfo> DeadFileWriter::finish(io::Disk& disk, const std::string& dir) {
  ASSIGN_OR_RETURN(auto file, disk.open(dir + "/" + dead_file_name(number_), io::OpenMode::kCreate));
  RETURN_IF_ERROR(file->write_at(0, content_));
  RETURN_IF_ERROR(file->sync());
  return DeadFileInfo{number_, content_.size(), sha256(content_)};
}

}  // namespace fairlead::storage
