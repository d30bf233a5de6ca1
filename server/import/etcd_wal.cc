#include "server/import/etcd_wal.h"

#include <algorithm>
#include <map>

#include "base/codec.h"
#include "base/crc32c.h"
#include "server/bolt/proto_wire.h"

namespace fairlead::import {
namespace {

constexpr size_t kRecordBytesMax = 256 << 20;
constexpr size_t kEntriesMax = 1'000'000;
constexpr size_t kSectorBytes = 512;
constexpr uint32_t kVersionTest = 9900;  // DowngradeVersionTest, since 3.6
constexpr size_t kFileBytesMax = size_t{4} << 30;

enum RecordType : uint64_t { kMetadata = 1, kEntry = 2, kState = 3, kCrc = 4, kSnapshot = 5 };

class WalReader {
 public:
  WalReader(io::Disk& disk, std::string dir, uint64_t behind) : disk_(disk), dir_(std::move(dir)), behind_(behind) {}

  Result<EtcdWal> read() {
    ASSIGN_OR_RETURN(std::vector<std::string> names, disk_.list(dir_));
    std::erase_if(names, [](const std::string& name) { return !name.ends_with(".wal"); });
    if (names.empty()) return data_loss(dir_ + ": no log of etcd's is there");
    std::sort(names.begin(), names.end());
    for (size_t i = 0; i < names.size(); ++i) RETURN_IF_ERROR(read_file(dir_ + "/" + names[i], i + 1 == names.size()));
    if (out_.cluster == 0 || out_.member == 0) return data_loss(dir_ + ": the log does not say whose it is");
    return std::move(out_);
  }

 private:
  Status read_file(const std::string& path, bool last) {
    ASSIGN_OR_RETURN(std::unique_ptr<io::File> file, disk_.open(path, io::OpenMode::kRead));
    ASSIGN_OR_RETURN(uint64_t size, file->size());
    if (size > kFileBytesMax) return data_loss(path + ": larger than any log file of etcd's");
    auto damaged = [&](uint64_t offset, const std::string& what) {
      return data_loss(path + " at offset " + std::to_string(offset) + ": " + what);
    };
    std::string frame;
    for (uint64_t at = 0; at + 8 <= size;) {
      char head[8];
      RETURN_IF_ERROR(read_all(*file, at, head));
      auto field = load_fixed<uint64_t>(head);
      if (field == 0) break;  // what was reserved and never written
      uint64_t length = field & 0x00FFFFFFFFFFFFFF;
      uint64_t padding = field >> 63 ? field >> 56 & 7 : 0;
      if (length > kRecordBytesMax || length + padding > size - at - 8) {
        if (last && length <= kRecordBytesMax) break;  // torn
        return damaged(at, "a record of impossible length");
      }
      frame.resize(length);
      RETURN_IF_ERROR(read_all(*file, at + 8, frame));
      Result<bool> whole = take_record(frame);
      if (!whole.is_ok() || !*whole) {
        if (last && torn(frame, at + 8)) break;
        return damaged(at, whole.is_ok() ? "a record whose checksum is wrong" : std::string(whole.status().message()));
      }
      at += 8 + length + padding;
    }
    return {};
  }

  static Status read_all(io::File& file, uint64_t offset, std::span<char> into) {
    ASSIGN_OR_RETURN(size_t got, file.read_at(offset, into));
    return got == into.size() ? Status() : data_loss("a log file ends too early");
  }

  // A sector of zeroes within the record was never written: etcd's own rule for a torn one.
  static bool torn(std::string_view record, uint64_t offset) {
    for (size_t at = 0; at < record.size();) {
      size_t end = std::min(record.size(), at + kSectorBytes - (offset + at) % kSectorBytes);
      std::string_view sector = record.substr(at, end - at);
      if (std::all_of(sector.begin(), sector.end(), [](char c) { return c == 0; })) return true;
      at = end;
    }
    return false;
  }

  // False: the checksum is wrong.
  Result<bool> take_record(std::string_view record) {
    uint64_t type = 0, crc = 0;
    std::string_view data;
    bolt::ProtoReader in(record);
    for (bolt::ProtoField f; in.next(f);) {
      if (f.number == 1) type = f.varint;
      if (f.number == 2) crc = f.varint;
      if (f.number == 3) data = f.bytes;
    }
    if (!in.ok()) return false;
    if (type == kCrc) {
      if (any_crc_ && crc != crc_) return false;
      crc_ = static_cast<uint32_t>(crc);
      any_crc_ = true;
      return true;
    }
    crc_ = crc32c_extend(crc_, data);
    if (crc_ != crc) return false;
    if (type == kMetadata) return take_metadata(data);
    if (type == kState) return take_state(data);
    if (type == kEntry) return take_entry(data);
    if (type != kSnapshot) return data_loss("a record of unknown type " + std::to_string(type));
    return true;
  }

  bool take_metadata(std::string_view data) {
    bolt::ProtoReader in(data);
    for (bolt::ProtoField f; in.next(f);) {
      if (f.number == 1) out_.member = f.varint;
      if (f.number == 2) out_.cluster = f.varint;
    }
    return in.ok();
  }
  bool take_state(std::string_view data) {
    bolt::ProtoReader in(data);
    out_.term = out_.vote = out_.commit = 0;
    for (bolt::ProtoField f; in.next(f);) {
      if (f.number == 1) out_.term = f.varint;
      if (f.number == 2) out_.vote = f.varint;
      if (f.number == 3) out_.commit = f.varint;
    }
    return in.ok();
  }
  Result<bool> take_entry(std::string_view data) {
    WalEntry entry;
    std::string_view request;
    bolt::ProtoReader in(data);
    for (bolt::ProtoField f; in.next(f);) {
      if (f.number == 1) entry.type = static_cast<uint32_t>(f.varint);
      if (f.number == 2) entry.term = f.varint;
      if (f.number == 3) entry.index = f.varint;
      if (f.number == 4) request = f.bytes;
    }
    if (!in.ok()) return false;
    entry.empty = request.empty();
    bolt::ProtoReader content(request);
    for (bolt::ProtoField f; content.next(f);)
      if (f.lengthed && f.number > 1 && f.number != 100) entry.request = f.number;  // 1: id of old, 100: header
    out_.version_test |= entry.request == kVersionTest;
    // An entry replaces what lies at its index and behind it.
    while (!out_.entries.empty() && out_.entries.back().index >= entry.index) out_.entries.pop_back();
    if (entry.index <= behind_) return true;
    if (out_.entries.size() == kEntriesMax) return data_loss("too many entries that the database does not hold");
    out_.entries.push_back(entry);
    return true;
  }

  io::Disk& disk_;
  std::string dir_;
  uint64_t behind_;
  EtcdWal out_;
  uint32_t crc_ = 0;
  bool any_crc_ = false;
};

}  // namespace

Result<EtcdWal> read_wal(io::Disk& disk, const std::string& dir, uint64_t behind) {
  return WalReader(disk, dir, behind).read();
}

std::string wal_entry_name(const WalEntry& entry) {
  if (entry.type != 0) return entry.type == 1 ? "ConfChange" : "ConfChangeV2";
  if (entry.empty) return "empty";
  static const std::map<uint32_t, std::string_view> names = {{3, "Range"},
                                                             {4, "Put"},
                                                             {5, "DeleteRange"},
                                                             {6, "Txn"},
                                                             {7, "Compaction"},
                                                             {8, "LeaseGrant"},
                                                             {9, "LeaseRevoke"},
                                                             {10, "Alarm"},
                                                             {11, "LeaseCheckpoint"},
                                                             {1300, "ClusterVersionSet"},
                                                             {1301, "ClusterMemberAttrSet"},
                                                             {1302, "DowngradeInfoSet"}};
  if (auto it = names.find(entry.request); it != names.end()) return std::string(it->second);
  if (entry.request >= 1000 && entry.request < 1300) return "Auth";
  return "request " + std::to_string(entry.request);
}

}  // namespace fairlead::import
