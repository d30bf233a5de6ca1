#include "server/storage/offline.h"

#include <algorithm>
#include <utility>

#include "server/storage/log_format.h"
#include "server/storage/store_core.h"

namespace fairlead::storage {

namespace {
constexpr io::Nanos kLookEvery = 20 * io::kMillisecond;
constexpr io::Nanos kRemoveWaitMax = 60 * io::kSecond;  // then the next start removes what is left
constexpr uint64_t kFailuresMax = 3;
constexpr uint64_t kNoLimit = uint64_t{1} << 50;  // bytes a second

bool has_manifest(io::Disk& disk, const std::string& dir) { return disk.exists(dir + "/manifest"); }

bool is_log_directory(io::Disk& disk, const std::string& dir) {
  Result<std::vector<std::string>> names = disk.list(dir);
  return names.is_ok() && !has_manifest(disk, dir) &&
         std::any_of(names->begin(), names->end(),
                     [](const std::string& name) { return parse_log_file_name(name).has_value(); });
}

// Nothing is touched before: a LOCK in the wrong directory would keep a member out.
Status check_not_a_log(io::Disk& disk, const std::string& dir) {
  if (!is_log_directory(disk, dir)) return {};
  return failed_precondition(dir +
                             " is a member's log (--wal-dir), not its data directory: name that one (--data-dir)");
}

}  // namespace

bool is_data_directory(io::Disk& disk, const std::string& dir) {
  return has_manifest(disk, dir) || is_log_directory(disk, dir);
}

Result<Resting> open_resting(io::World& world, const std::string& dir) {
  RETURN_IF_ERROR(check_not_a_log(*world.disk, dir));
  Resting out;
  ASSIGN_OR_RETURN(out.lock, world.disk->lock(dir + "/LOCK"));
  ASSIGN_OR_RETURN(Manifest manifest, read_manifest(world, dir));
  OpenArgs args;
  args.dir = dir;
  auto core = std::make_shared<Store::Core>(world, args);
  ASSIGN_OR_RETURN(out.pin, core->open_list(manifest.shared, nullptr));
  out.revision = manifest.shared.revision;
  out.compact_revision = manifest.shared.compact_revision;
  return out;
}

Result<std::unique_ptr<OfflineClean>> OfflineClean::open(const io::World& world, const std::string& dir) {
  RETURN_IF_ERROR(check_not_a_log(*world.disk, dir));
  std::unique_ptr<OfflineClean> out(new OfflineClean(world));
  OpenArgs args;
  args.dir = dir;
  args.may_create = false;
  ASSIGN_OR_RETURN(Store::Opened opened, Store::open(out->world_, args));
  out->store_ = std::move(opened.store);
  out->log_ = std::move(opened.log.log);
  out->bytes_before_ = out->store_->stats().bytes;
  return out;
}

void OfflineClean::run(std::function<void(Status)> done) {
  done_ = std::move(done);
  auto fatal = [this](const Status& why) { fatal_ = why; };
  log_->set_callbacks([](WriteSeq) {}, fatal);
  CleanerOptions options;
  options.bytes_per_second_min = kNoLimit;
  options.manifest_interval = 0;
  // A log that starts anew behind an installed snapshot has to be durable first.
  Cleaner::Hooks hooks{[this] { return log_->idle(); }, fatal};
  cleaner_ = std::make_unique<Cleaner>(world_, *store_, *log_, options, std::move(hooks));
  cleaner_->round([this] { round_over_ = true; });
  world_.loop->post([this] { look(); });
}

void OfflineClean::look() {
  if (!fatal_.is_ok()) return end(fatal_);
  const StoreStats stats = store_->stats();
  if (cleaner_->stats().runs_failed >= kFailuresMax)
    return end(stats.damage_found > 0 ? data_loss("a segment is damaged") : internal_error("cleaning was given up"));
  if (round_over_ && over_at_ == 0) over_at_ = world_.loop->now();
  const bool waited = over_at_ != 0 && world_.loop->now() - over_at_ > kRemoveWaitMax;
  if (round_over_ && !store_->busy() && log_->idle() && (waited || !orphans_left()))
    return end(stats.damage_found > 0 ? data_loss("a segment is damaged and was left as it is") : Status());
  world_.loop->add_timer(world_.loop->now() + kLookEvery, [this] { look(); });
}

void OfflineClean::end(const Status& status) {
  cleaner_->stop();
  std::exchange(done_, nullptr)(status);
}

// Files of the run that no manifest names any more are removed in steps.
bool OfflineClean::orphans_left() const {
  const SharedManifest& manifest = store_->pin_manifest();
  Result<std::vector<std::string>> names = world_.disk->list(store_->dir());
  if (!names.is_ok()) return false;
  auto files = std::count_if(names->begin(), names->end(), [](const std::string& name) {
    return name.starts_with("seg-") || name.starts_with("dead-");
  });
  return static_cast<size_t>(files) > manifest.segments.size() + manifest.dead_files.size();
}

OfflineClean::Report OfflineClean::report() const {
  Report out;
  out.bytes_before = bytes_before_;
  out.bytes_after = store_->stats().bytes;
  out.bytes_log = log_->bytes_total();
  if (cleaner_) {
    out.bytes_copied = cleaner_->stats().bytes_read;
    out.records_dropped = cleaner_->stats().records_dropped;
  }
  return out;
}

}  // namespace fairlead::storage
