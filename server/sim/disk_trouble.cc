#include "server/sim/disk_trouble.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <vector>

#include "server/storage/log_format.h"

namespace fairlead::sim {

using io::kMillisecond;
using io::kSecond;

namespace {

constexpr uint64_t kUnlimited = 1ull << 40;
constexpr io::Nanos kGrace = 8 * kSecond;  // of an injected error, to be met by a start that took a while

std::string file_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

struct Batch {
  std::string path;
  storage::BatchHeader header;
};

// All batches of all log files, with the highest position that any of them says was durable.
std::vector<Batch> batches_of(const io::sim::DiskImage& disk, uint64_t& durable) {
  std::vector<Batch> out;
  durable = 0;
  for (const auto& [path, size] : disk.files()) {
    auto name = storage::parse_log_file_name(file_name(path));
    if (!name || name->spare) continue;
    for (uint64_t at = 0; at < size; at += io::kDiskBlockBytes) {
      std::string raw = disk.peek(path, at, storage::kLogHeaderBytes);
      auto header = storage::decode_batch_header(raw, name->log_id, name->number, at);
      if (!header) continue;
      durable = std::max(durable, header->durable);
      out.push_back({path, *header});
    }
  }
  return out;
}

}  // namespace

DiskTrouble::DiskTrouble(Cluster* cluster, Counters* counters, bool with_damage)
    : cluster_(cluster), counters_(counters), prng_(cluster->prng().fork(47)) {
  if (with_damage) victim_ = static_cast<int>(prng_.below(kMembers));
}

void DiskTrouble::start() { plan_next(); }

void DiskTrouble::say(const std::string& what) const {
  cluster_->world().scheduler().mix(what);
  if (trace) std::fprintf(stderr, "%.6f disk: %s\n", static_cast<double>(cluster_->now()) / 1e9, what.c_str());
}

void DiskTrouble::plan_next() {
  cluster_->world().scheduler().after(prng_.between(2000, 12000) * kMillisecond, nullptr, "disk.trouble", [this] {
    if (calm_) return;
    act();
    plan_next();
  });
}

void DiskTrouble::act() {
  uint64_t dice = prng_.below(6);
  if (victim_ >= 0 && dice < 3) return damage();
  size_t member = prng_.below(kMembers);
  if (dice % 2 == 0)
    failing_writes(member);
  else
    no_space(member);
}

void DiskTrouble::failing_writes(size_t member) {
  ++counters_->failed_writes;
  say("failing write on " + Cluster::name(member));
  disk(member).fail_next_write(1 + prng_.below(3));
  failed_until_[member] = INT64_MAX;  // whenever it is met
}

void DiskTrouble::no_space(size_t member) {
  ++counters_->full_disks;
  uint64_t left = prng_.below(200'000);
  say(std::to_string(left) + " bytes left on " + Cluster::name(member));
  disk(member).faults.capacity_bytes = disk(member).used_bytes() + left;
  failed_until_[member] = INT64_MAX;
  cluster_->world().scheduler().after(prng_.between(500, 6000) * kMillisecond, nullptr, "disk.space", [this, member] {
    if (calm_) return;
    disk(member).faults.capacity_bytes = kUnlimited;
    say("space again on " + Cluster::name(member));
  });
}

void DiskTrouble::damage() {
  auto member = static_cast<size_t>(victim_);
  if (prng_.chance(0.3)) {
    if (rot_log()) return;
  }
  bool unreadable = prng_.chance(0.3);
  std::string kind = unreadable && prng_.chance(0.3) ? "log-" : "seg-";
  std::vector<std::pair<std::string, uint64_t>> files;
  for (const auto& [path, size] : disk(member).files()) {
    if (file_name(path).starts_with(kind) && size > 0) files.emplace_back(path, size);
  }
  if (files.empty()) return;
  const auto& [path, size] = files[prng_.below(files.size())];
  unreadable ? make_unreadable(path, size) : rot_segment(path, size);
}

void DiskTrouble::rot_segment(const std::string& path, uint64_t size) {
  auto member = static_cast<size_t>(victim_);
  uint64_t bits = 1 + prng_.below(20);
  say("rot of " + std::to_string(bits) + " bits in " + path + " of " + Cluster::name(member));
  ++counters_->rotten_segments;
  damaged_.insert(file_name(path));
  for (uint64_t i = 0; i < bits; ++i) {
    Status flipped = disk(member).flip_bit(path, prng_.below(size), static_cast<int>(prng_.below(8)));
    if (!flipped.is_ok()) return;
  }
}

bool DiskTrouble::rot_log() {
  auto member = static_cast<size_t>(victim_);
  uint64_t durable = 0;
  std::vector<Batch> batches = batches_of(disk(member), durable);
  // The header that says so may be lost with the power; the one before it is durable and knows all but the last.
  std::erase_if(batches, [durable](const Batch& b) { return b.header.sequence >= durable; });
  if (batches.empty()) return false;
  const Batch& batch = batches[prng_.below(batches.size())];
  uint64_t offset =
      batch.header.offset + prng_.below(storage::kLogHeaderBytes + std::max<uint64_t>(batch.header.body_length, 1));
  say("rot in " + batch.path + " of " + Cluster::name(member) + " at " + std::to_string(offset));
  ++counters_->rotten_logs;
  damaged_.insert(file_name(batch.path));
  return disk(member).flip_bit(batch.path, offset, static_cast<int>(prng_.below(8))).is_ok();
}

void DiskTrouble::make_unreadable(const std::string& path, uint64_t size) {
  auto member = static_cast<size_t>(victim_);
  uint64_t offset = prng_.below(size) / io::kDiskBlockBytes * io::kDiskBlockBytes;
  say("a block of " + path + " of " + Cluster::name(member) + " cannot be read any more");
  ++counters_->unreadable_blocks;
  damaged_.insert(file_name(path));
  [[maybe_unused]] Status there = disk(member).set_unreadable(path, offset, io::kDiskBlockBytes);
}

bool DiskTrouble::explains(size_t member, const Status& why) {
  std::string_view text = why.message();
  if (is_damaged(member)) {
    bool named = std::any_of(damaged_.begin(), damaged_.end(), [&](const std::string& f) {
      return text.find(f) != std::string_view::npos && text.find("offset") != std::string_view::npos;
    });
    // A log file with a block that cannot be read may have got another name meanwhile.
    named |= text.find("Input/output error") != std::string_view::npos && text.find("offset") != std::string_view::npos;
    if (named) {
      ++counters_->damage_refused;
      return true;
    }
  }
  bool injected = text.find("Input/output error") != std::string_view::npos ||
                  text.find("No space left on device") != std::string_view::npos;
  return injected && cluster_->now() < failed_until_[member];
}

void DiskTrouble::calm() {
  calm_ = true;
  for (size_t m = 0; m < kMembers; ++m) {
    disk(m).faults.capacity_bytes = kUnlimited;
    disk(m).fail_next_write(0);
    if (failed_until_[m] != 0) failed_until_[m] = cluster_->now() + kGrace;
  }
}

}  // namespace fairlead::sim
