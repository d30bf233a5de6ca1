// The disk's free space (of two, if the log has its own: that with less), looked at every few seconds. Below a floor
// this member raises NOSPACE for itself: before the log or a checkpoint fails, while there is room for deletes,
// compaction and cleaning. A ballast file, made in advance, is given up then, so that those have room for certain. The
// alarm ends by itself when twice the floor is free again.
#include <memory>
#include <string>

#include "server/node/node.h"

namespace fairlead::node {
namespace {

constexpr std::string_view kBallast = "/ballast";

struct SpaceLook {
  uint64_t free_bytes = 0;
  bool released = false;  // the ballast
  Status status;
};

// On a worker.
void look_at_space(io::Disk& disk, const std::string& dir, const std::string& log_dir, uint64_t floor,
                   uint64_t ballast_bytes, SpaceLook& out) {
  Result<uint64_t> free_bytes = disk.free_bytes(dir);
  Result<uint64_t> log_free_bytes = log_dir.empty() ? free_bytes : disk.free_bytes(log_dir);
  if (!log_free_bytes.is_ok() || (free_bytes.is_ok() && *log_free_bytes < *free_bytes)) free_bytes = log_free_bytes;
  out.status = free_bytes.status();
  if (!free_bytes.is_ok()) return;
  out.free_bytes = *free_bytes;
  const std::string path = dir + std::string(kBallast);
  const bool there = disk.exists(path);
  if (there && out.free_bytes < floor) {
    out.released = disk.remove(path).is_ok();
  } else if (!there && ballast_bytes > 0 && out.free_bytes >= 2 * floor + 2 * ballast_bytes) {
    auto file = disk.open(path, io::OpenMode::kCreate);
    if (file.is_ok() && (*file)->reserve(ballast_bytes).is_ok()) return;
    [[maybe_unused]] Status gone = disk.remove(path);  // without it there is only less room in an emergency
  }
}

}  // namespace

void Node::watch_space() {
  if (config_.free_space_floor_bytes == 0 || stopped_) return;
  space_timer_ = world_.loop->add_timer(world_.loop->now() + config_.space_look_interval, [this] {
    space_timer_ = 0;
    auto look = std::make_shared<SpaceLook>();
    world_.workers->run(
        [look, disk = world_.disk, dir = config_.data_dir, log_dir = config_.log_dir,
         floor = config_.free_space_floor_bytes,
         ballast = config_.ballast_bytes] { look_at_space(*disk, dir, log_dir, floor, ballast, *look); },
        [this, look, alive = alive_] {
          if (!*alive) return;
          if (look->released)
            world_.log->warn("the disk is almost full: the ballast file was given up",
                             {{"data-dir", config_.data_dir}});
          if (look->status.is_ok()) take_free_space(look->free_bytes);
          watch_space();
        });
  });
}

void Node::take_free_space(uint64_t free_bytes) {
  stats_.free_bytes = free_bytes;
  if (free_bytes < config_.free_space_floor_bytes) {
    if (!low_space_)
      world_.log->error("the disk is almost full: free some of it",
                        {{"free-bytes", free_bytes}, {"floor-bytes", config_.free_space_floor_bytes}});
    low_space_ = true;
  } else if (free_bytes >= 2 * config_.free_space_floor_bytes) {
    low_space_ = false;
  }
  Alarm own{member_id(), AlarmType::kNoSpace};
  if (low_space_ && has_leader() && !stopping_ && !alarms_.all().contains(own))
    alarm(AlarmAction::kActivate, own, [](const Status&, const std::vector<Alarm>&) {});
}

}  // namespace fairlead::node
