// The manifest: the one file that says which segments count, which of their records are dead, and what the state is
// that they hold. Replaced as a whole (manifest.tmp, sync, rename, directory sync); its body is stored twice, each copy
// with its CRC. Bytes: docs/formats/segments.md.
//
// The shared part describes the state and travels in snapshots; the local part belongs to this member alone.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "server/io/io.h"
#include "server/mvcc/record.h"

namespace fairlead::storage {

using Sha256 = std::array<unsigned char, 32>;

constexpr uint16_t kManifestFormat = 1;

// A place on the line that a segment covers: (main, sub) for keys, (applied index, n) for side state.
struct Place {
  uint64_t major = 0;
  uint64_t minor = 0;
  auto operator<=>(const Place&) const = default;
};
inline Place place_of(mvcc::Position p) { return {static_cast<uint64_t>(p.main), static_cast<uint64_t>(p.sub)}; }
inline Place place_of(mvcc::SidePosition p) { return {p.applied, p.n}; }

enum class SegmentKind : uint8_t { kKeys = 1, kSide = 2 };

// Where the list of a segment's dead records lies. file 0 = no dead records.
struct DeadRef {
  uint64_t file = 0;
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t count = 0;
  uint32_t crc = 0;
};

struct SegmentInfo {
  SegmentKind kind = SegmentKind::kKeys;
  uint64_t number = 0;     // file name; local to this member
  uint64_t random_id = 0;  // in the file's header
  uint64_t size_bytes = 0;
  Place first, last;  // interval; those of one kind do not overlap and rise
  uint64_t records = 0;
  uint64_t dead_bytes = 0;  // estimate: dead records x mean record size
  Sha256 hash{};
  DeadRef dead;
};

struct DeadFileInfo {
  uint64_t number = 0;
  uint64_t size_bytes = 0;
  Sha256 hash{};  // of the whole file
};

struct SharedManifest {
  uint16_t format = kManifestFormat;
  uint32_t feature_level = 0;
  Index applied;
  Term applied_term;
  std::string config;  // Raft configuration; opaque here, written by node
  int64_t revision = 1;
  int64_t compact_revision = -1;
  int64_t base_revision = 0;          // revisions at or below it were never in segments here
  std::vector<SegmentInfo> segments;  // keys in revision order, then side in order
  std::vector<DeadFileInfo> dead_files;

  std::string encode() const;
  static Result<SharedManifest> decode(std::string_view in);  // kDataLoss; checks the rules on intervals
};

enum class ManifestReason : uint8_t { kFirstStart = 1, kStart = 2, kCheckpoint = 3, kClean = 4, kInstall = 5 };

struct LocalManifest {
  ClusterId cluster;
  MemberId member;
  StoreId store;               // random, made with the directory
  uint64_t start_counter = 0;  // raised durably at every start
  uint64_t log_id = 0;
  uint64_t log_position = 0;  // sequence number of a batch that was durable when this was written
  ManifestReason reason = ManifestReason::kFirstStart;
  Term term;  // reason install: hard state to go on with, should the log be older
  MemberId vote;
  uint64_t next_file = 1;  // file numbers rise and are never reused
};

struct Manifest {
  SharedManifest shared;
  LocalManifest local;

  std::string encode() const;  // the whole file
  static Result<Manifest> decode(std::string_view file);
};

// Blocking. A missing file is kNotFound; one damaged copy is repaired by the next write (one log line).
Result<Manifest> read_manifest(io::World& world, const std::string& dir);
// Blocking. Durable when it returns ok.
Status write_manifest(io::Disk& disk, const std::string& dir, const Manifest& manifest);

std::string segment_file_name(uint64_t number);  // "seg-0000000000000001"
std::string dead_file_name(uint64_t number);     // "dead-0000000000000001"

}  // namespace fairlead::storage
