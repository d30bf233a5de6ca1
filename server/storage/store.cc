#include "server/storage/store.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "base/check.h"
#include "base/text.h"
#include "server/storage/log_format.h"
#include "server/storage/store_core.h"

namespace fairlead::storage {

namespace {
constexpr io::Nanos kReapPause = 5 * io::kMillisecond;  // between two steps at a large file
}

// --- files that nobody names any more
// -----------------------------------------------------------------------------------

void Reaper::remove(std::string path) {
  std::lock_guard lock(mutex_);
  if (closed_) return;
  paths_.push_back(std::move(path));
  if (posted_) return;
  posted_ = true;
  world_.loop->post([self = shared_from_this()] { self->drain(); });
}

void Reaper::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
}

void Reaper::drain() {
  {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    removing_.insert(removing_.end(), paths_.begin(), paths_.end());
    paths_.clear();
    posted_ = !removing_.empty();
    if (!posted_) return;
  }
  world_.workers->run([self = shared_from_this()] { self->remove_step(); },
                      [self = shared_from_this()] {
                        if (self->removing_.empty()) return self->drain();
                        self->world_.loop->add_timer(self->world_.loop->now() + kReapPause, [self] { self->drain(); });
                      });
}

void Reaper::remove_step() {
  while (!removing_.empty()) {
    const std::string& path = removing_.back();
    if (auto file = world_.disk->open(path, io::OpenMode::kReadWrite); file.is_ok()) {
      auto size = (*file)->size();
      if (size.is_ok() && *size > step_bytes_ && (*file)->truncate(*size - step_bytes_).is_ok()) return;
    }
    if (Status s = world_.disk->remove(path); !s.is_ok() && world_.disk->exists(path))
      world_.log->warn("cannot remove a file that is not needed any more", {{"path", path}, {"error", s.message()}});
    removing_.pop_back();
  }
}

size_t SegmentList::find(Place place) const {
  auto end = segments.begin() + static_cast<ptrdiff_t>(key_segments);
  auto it = std::partition_point(segments.begin(), end, [&](const Segment& s) { return s.info.last < place; });
  return static_cast<size_t>(it - segments.begin());
}

// --- the face
// --------------------------------------------------------------------------------------------------------------

Store::Store(std::shared_ptr<Core> core) : core_(std::move(core)) {}
Store::~Store() {
  core_->closed_ = true;
  core_->reaper_->close();
}
const Identity& Store::identity() const { return core_->identity_; }
const StoreState& Store::state() const { return core_->state_; }
Pin Store::pin() const { return core_->list_; }
const SharedManifest& Store::pin_manifest() const { return core_->list_->shared; }
const std::string& Store::dir() const { return core_->dir_; }
bool Store::busy() const { return core_->busy_; }
Status Store::load(mvcc::IndexLoader& loader) const { return core_->load(loader); }
void Store::checkpoint(CheckpointArgs args, std::function<void(Status)> done) {
  core_->checkpoint(std::move(args), std::move(done));
}

StoreStats Store::stats() const {
  StoreStats out;
  for (const SegmentInfo& s : core_->manifest_.shared.segments) {
    ++out.segments;
    out.bytes += s.size_bytes;
    out.records += s.records;
    out.dead_records += s.dead.count;
    out.dead_bytes += s.dead_bytes;
  }
  for (const DeadFileInfo& f : core_->manifest_.shared.dead_files) out.bytes += f.size_bytes;
  out.checkpoints = core_->checkpoints_;
  out.checkpoint_seconds_sum = core_->checkpoint_seconds_;
  out.block_reads = core_->block_reads_.load();
  out.damage_found = core_->damage_found_;
  return out;
}

Result<std::optional<Identity>> Store::peek(io::World& world, const std::string& dir) {
  auto m = read_manifest(world, dir);
  if (m.code() == Code::kNotFound) return std::optional<Identity>();
  if (!m.is_ok()) return m.status();
  return std::optional<Identity>(Identity{m->local.cluster, m->local.member, m->local.store, m->local.start_counter});
}

void Store::confirm_log(uint64_t log_position, std::function<void(Status)> done) {
  CHECK(!core_->busy_, "one checkpoint or install at a time");
  core_->busy_ = true;
  Manifest m = core_->manifest_;
  m.local.reason = ManifestReason::kStart;
  m.local.log_position = log_position;
  m.local.next_file = core_->next_file_.load();
  auto status = std::make_shared<Status>();
  core_->world_.workers->run(
      [core = core_, m, status] { *status = fatal(write_manifest(*core->world_.disk, core->dir_, m)); },
      [core = core_, m, status, done = std::move(done)] {
        if (core->closed_) return;
        core->busy_ = false;
        if (status->is_ok()) core->manifest_ = m;
        done(*status);
      });
}

// --- a start
// ---------------------------------------------------------------------------------------------------------------

namespace {

std::string parent_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

// The number in "seg-..." or "dead-...", 0 for another name.
uint64_t state_file_number(std::string_view name) {
  if (name.starts_with("seg-"))
    name.remove_prefix(4);
  else if (name.starts_with("dead-"))
    name.remove_prefix(5);
  else
    return 0;
  uint64_t number = 0;
  auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number, 16);
  return name.size() == 16 && error == std::errc() && end == name.data() + name.size() ? number : 0;
}

}  // namespace

Result<Store::Opened> Store::open(io::World& world, const OpenArgs& args) {
  Opened out;
  auto core = std::make_shared<Core>(world, args);
  RETURN_IF_ERROR(core->begin(args, out.first_start));
  ASSIGN_OR_RETURN(
      out.log, Log::recover(world, core->log_dir_, core->manifest_.local.log_id, out.first_start, args.options.log));
  RETURN_IF_ERROR(core->join_log(out.log, out.first_start));
  out.store.reset(new Store(std::move(core)));
  return out;
}

Status Store::Core::begin(const OpenArgs& args, bool& first_start) {
  if (!world_.disk->exists(dir_)) {
    if (!args.may_create) return not_found(dir_ + " is not there");
    RETURN_IF_ERROR(world_.disk->make_dirs(dir_));
  }
  ASSIGN_OR_RETURN(lock_, world_.disk->lock(dir_ + "/LOCK"));
  auto m = read_manifest(world_, dir_);
  first_start = m.code() == Code::kNotFound;
  if (!first_start) RETURN_IF_ERROR(m.status());
  if (log_dir_ != dir_ + "/log") RETURN_IF_ERROR(lock_log(first_start));
  if (first_start) return make_first(args);
  manifest_ = std::move(*m);
  return take_existing(args);
}

// Another data directory does not protect it.
Status Store::Core::lock_log(bool first_start) {
  if (!world_.disk->exists(log_dir_)) {
    if (!first_start)
      return failed_precondition("the log of " + dir_ + " is not in " + log_dir_ +
                                 ", which is not there: is --wal-dir what it was?");
    RETURN_IF_ERROR(world_.disk->make_dirs(log_dir_));
    RETURN_IF_ERROR(world_.disk->sync_dir(parent_of(log_dir_)));
  }
  ASSIGN_OR_RETURN(log_lock_, world_.disk->lock(log_dir_ + "/LOCK"));
  return {};
}

// A directory without a manifest: nothing in it was ever acknowledged, or it is not whole.
Status Store::Core::make_first(const OpenArgs& args) {
  if (!args.may_create) return not_found(dir_ + " holds no data");
  if (args.cluster.value == 0 || args.member.value == 0)
    return invalid_argument(dir_ + ": a first start needs the cluster's and the member's ID");
  const std::string lost = dir_ +
                           "/manifest is missing and data is there: restore the directory as a whole, or remove "
                           "the member and add it again with an empty data directory";
  ASSIGN_OR_RETURN(auto names, world_.disk->list(dir_));
  for (const std::string& name : names)
    if (state_file_number(name) != 0) return data_loss(lost);
  if (world_.disk->exists(log_dir_)) {  // a first start that was cut short left segments without a batch
    ASSIGN_OR_RETURN(auto logs, world_.disk->list(log_dir_));
    for (const std::string& name : logs) {
      const std::string path = log_dir_ + "/" + name;
      auto parsed = parse_log_file_name(name);
      if (!parsed) continue;
      char raw[kLogHeaderBytes];
      ASSIGN_OR_RETURN(auto file, world_.disk->open(path, io::OpenMode::kRead));
      ASSIGN_OR_RETURN(size_t got, file->read_at(0, raw));
      if (decode_batch_header({raw, got}, parsed->log_id, parsed->number, 0)) return data_loss(lost);
    }
    for (const std::string& name : logs)
      if (parse_log_file_name(name)) RETURN_IF_ERROR(world_.disk->remove(log_dir_ + "/" + name));
  }
  manifest_.shared.config = args.first_config;
  auto& local = manifest_.local;
  local.cluster = args.cluster;
  local.member = args.member;
  local.store = StoreId{world_.random->next() | 1};
  local.log_id = world_.random->next();
  local.reason = ManifestReason::kFirstStart;
  return {};
}

Status Store::Core::take_existing(const OpenArgs& args) {
  const auto& local = manifest_.local;
  if (args.cluster.value != 0 && args.cluster != local.cluster)
    return failed_precondition(dir_ + " belongs to cluster " + hex(local.cluster.value) + ", not to " +
                               hex(args.cluster.value));
  if (args.member.value != 0 && args.member != local.member)
    return failed_precondition(dir_ + " belongs to member " + hex(local.member.value) + ", not to " +
                               hex(args.member.value));
  next_file_ = local.next_file;
  // What the process before us wrote may be seen and not durable. Nothing is removed before it is.
  ASSIGN_OR_RETURN(auto file, world_.disk->open(dir_ + "/manifest", io::OpenMode::kReadWrite));
  RETURN_IF_ERROR(file->sync());
  RETURN_IF_ERROR(world_.disk->sync_dir(dir_));
  return remove_orphans();
}

Status Store::Core::remove_orphans() {
  std::set<std::string> named;
  for (const auto& s : manifest_.shared.segments) named.insert(segment_file_name(s.number));
  for (const auto& f : manifest_.shared.dead_files) named.insert(dead_file_name(f.number));
  ASSIGN_OR_RETURN(auto names, world_.disk->list(dir_));
  uint64_t removed = 0;
  for (const std::string& name : names) {
    const uint64_t number = state_file_number(name);
    if (named.count(name) || (number == 0 && name != "manifest.tmp")) continue;
    uint64_t next = std::max(next_file_.load(), number + 1);
    next_file_ = next;
    RETURN_IF_ERROR(world_.disk->remove(dir_ + "/" + name));
    ++removed;
  }
  if (removed > 0) world_.log->info("removed files that no manifest names", {{"dir", dir_}, {"files", removed}});
  return {};
}

// The log must be the manifest's, reach as far as it was durable then, and hold the applied entry or start behind it.
Status Store::Core::check_log(const RecoveredLog& recovered, bool& restart) const {
  const Log& log = *recovered.log;
  const auto& local = manifest_.local;
  const auto& shared = manifest_.shared;
  const std::string advice =
      ": the log was lost, is older than the state, or is elsewhere (--wal-dir); restore the directory as a whole, or "
      "remove "
      "the member and add it again with an empty data directory";
  if (log.durable_position() < local.log_position)
    return data_loss(log.dir() + " ends with batch " + std::to_string(log.durable_position()) + ", and batch " +
                     std::to_string(local.log_position) + " was durable" + advice);
  restart = log.term_at(shared.applied) != shared.applied_term;
  if (!restart || local.reason == ManifestReason::kInstall) return {};
  return data_loss(log.dir() + " holds entries " + std::to_string(log.first_index().value) + " to " +
                   std::to_string(log.last_index().value) + ", not entry " + std::to_string(shared.applied.value) +
                   " of term " + std::to_string(shared.applied_term.value) + " that the state stands for" + advice);
}

Status Store::Core::join_log(RecoveredLog& recovered, bool first_start) {
  bool restart = false;
  if (!first_start) RETURN_IF_ERROR(check_log(recovered, restart));
  ASSIGN_OR_RETURN(auto list, open_list(manifest_.shared, nullptr));
  if (restart) {  // the process ended between the installed manifest and the log's new start
    raft::HardState hs{manifest_.local.term, manifest_.local.vote};
    if (recovered.hard_state.term >= hs.term) hs = recovered.hard_state;
    if (hs.term < manifest_.shared.applied_term) hs = {manifest_.shared.applied_term, MemberId{0}};
    recovered.log->restart_at(manifest_.shared.applied, manifest_.shared.applied_term, hs, WriteSeq{0});
    recovered.hard_state = hs;
    recovered.start = manifest_.shared.applied + 1;
    recovered.term_before_start = manifest_.shared.applied_term;
    recovered.entries.clear();
    world_.log->info("the log starts anew behind an installed snapshot",
                     {{"dir", dir_}, {"index", manifest_.shared.applied.value}});
  }
  auto& local = manifest_.local;
  ++local.start_counter;
  if (!restart) {  // else the log does not hold the applied entry yet: the reason stays
    if (!first_start) local.reason = ManifestReason::kStart;
    local.log_position = recovered.log->durable_position();
  }
  local.next_file = next_file_.load();
  RETURN_IF_ERROR(write_manifest(*world_.disk, dir_, manifest_));
  if (first_start) RETURN_IF_ERROR(world_.disk->sync_dir(parent_of(dir_)));
  adopt(manifest_, std::move(list));
  return {};
}

// --- lists
// ------------------------------------------------------------------------------------------------------------------

Result<std::shared_ptr<SegmentList>> Store::Core::open_list(const SharedManifest& shared,
                                                            const SegmentList* previous) const {
  auto list = std::make_shared<SegmentList>();
  list->shared = shared;
  for (const SegmentInfo& info : shared.segments) {
    SegmentList::Segment s;
    s.info = info;
    if (previous != nullptr)
      for (const auto& p : previous->segments)
        if (p.info.number == info.number) {
          s.guard = p.guard;
          s.reader = p.reader;
        }
    if (!s.reader) {
      s.guard = std::make_shared<FileGuard>(reaper_, dir_ + "/" + segment_file_name(info.number));
      ASSIGN_OR_RETURN(s.reader, SegmentReader::open(*world_.disk, dir_, info));
    }
    list->key_segments += info.kind == SegmentKind::kKeys;
    list->segments.push_back(std::move(s));
  }
  for (const DeadFileInfo& info : shared.dead_files) {
    SegmentList::DeadFile f;
    f.info = info;
    if (previous != nullptr)
      for (const auto& p : previous->dead_files)
        if (p.info.number == info.number) f.guard = p.guard;
    if (!f.guard) {
      const std::string path = dir_ + "/" + dead_file_name(info.number);
      if (!world_.disk->exists(path))
        return data_loss(path + ": the manifest names it and it is missing: replace the member");
      f.guard = std::make_shared<FileGuard>(reaper_, path);
    }
    list->dead_files.push_back(std::move(f));
  }
  return list;
}

void Store::Core::adopt(Manifest manifest, std::shared_ptr<SegmentList> list) {
  std::set<const FileGuard*> kept;
  for (const auto& s : list->segments) kept.insert(s.guard.get());
  for (const auto& f : list->dead_files) kept.insert(f.guard.get());
  if (list_) {
    for (const auto& s : list_->segments)
      if (!kept.count(s.guard.get())) s.guard->doom();
    for (const auto& f : list_->dead_files)
      if (!kept.count(f.guard.get())) f.guard->doom();
  }
  manifest_ = std::move(manifest);
  list_ = std::move(list);
  const auto& m = manifest_;
  identity_ = {m.local.cluster, m.local.member, m.local.store, m.local.start_counter};
  state_ = {m.shared.applied,  m.shared.applied_term,     m.shared.config,
            m.shared.revision, m.shared.compact_revision, m.shared.feature_level};
}

}  // namespace fairlead::storage
