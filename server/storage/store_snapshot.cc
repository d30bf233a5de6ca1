// The state of one member for another: files with their hashes, and installing what was received.
#include <algorithm>
#include <map>
#include <utility>

#include "base/check.h"
#include "server/storage/segment_format.h"
#include "server/storage/store_core.h"

namespace fairlead::storage {

namespace {
constexpr size_t kHashReadBytes = 1 << 20;

std::string file_path(const std::string& dir, bool segment, uint64_t number) {
  return dir + "/" + (segment ? segment_file_name(number) : dead_file_name(number));
}

Status check_dead_file(io::Disk& disk, const std::string& path, const DeadFileInfo& info) {
  ASSIGN_OR_RETURN(auto file, disk.open(path, io::OpenMode::kRead));
  Sha256Hasher hash;
  std::string piece(kHashReadBytes, '\0');
  for (uint64_t at = 0; at < info.size_bytes;) {
    ASSIGN_OR_RETURN(size_t got, file->read_at(at, piece));
    if (got == 0) break;
    hash.add({piece.data(), got});
    at += got;
  }
  if (hash.finish() != info.hash) return data_loss(path + ": the received file's hash differs");
  return {};
}

Status check_segment(io::Disk& disk, const std::string& dir, SegmentInfo info, uint64_t number) {
  info.number = number;
  ASSIGN_OR_RETURN(auto reader, SegmentReader::open(disk, dir, info));
  return reader->verify();
}

}  // namespace

// --- sending
// ----------------------------------------------------------------------------------------------------------------

SnapshotInfo Store::snapshot() const {
  SnapshotInfo out;
  out.pin = core_->list_;
  const SharedManifest& m = out.pin->shared;
  out.manifest = m.encode();
  out.applied = m.applied;
  out.applied_term = m.applied_term;
  for (const auto& s : m.segments) out.files.push_back({s.size_bytes, s.hash});
  for (const auto& f : m.dead_files) out.files.push_back({f.size_bytes, f.hash});
  for (const auto& f : out.files) out.bytes += f.size_bytes;
  return out;
}

void Store::read_file(const SnapshotInfo& snapshot, size_t index, uint64_t offset, size_t bytes,
                      std::function<void(Result<Bytes>)> done) {
  const SharedManifest& m = snapshot.pin->shared;
  CHECK(index < m.segments.size() + m.dead_files.size(), "the snapshot has that file");
  const bool segment = index < m.segments.size();
  const uint64_t number = segment ? m.segments[index].number : m.dead_files[index - m.segments.size()].number;
  auto result = std::make_shared<Result<Bytes>>(internal_error("not run"));
  core_->world_.workers->run(
      [core = core_, path = file_path(core_->dir_, segment, number), pin = snapshot.pin, offset, bytes, result] {
        auto read = [&]() -> Result<Bytes> {
          ASSIGN_OR_RETURN(auto file, core->world_.disk->open(path, io::OpenMode::kRead));
          BytesBuilder builder(bytes);
          auto got = file->read_at(offset, {builder.data(), bytes});
          if (!got.is_ok())
            return data_loss(path + ": cannot read at offset " + std::to_string(offset) + ": " +
                             std::string(got.status().message()));
          return std::move(builder).finish(*got);
        };
        *result = read();
      },
      [core = core_, result, done = std::move(done)] {
        if (core->closed_) return;
        core->note_result(result->status());
        done(std::move(*result));
      });
}

// --- receiving
// -------------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<Receiver>> Store::receive(std::string_view shared_manifest) {
  auto core = std::make_shared<Receiver::Core>();
  ASSIGN_OR_RETURN(core->manifest, SharedManifest::decode(shared_manifest));
  core->store = core_;
  for (const auto& s : core->manifest.segments) {
    Receiver::Core::File f;
    f.segment = true;
    f.size_bytes = s.size_bytes;
    core->files.push_back(std::move(f));
  }
  for (const auto& d : core->manifest.dead_files) {
    Receiver::Core::File f;
    f.size_bytes = d.size_bytes;
    core->files.push_back(std::move(f));
  }
  for (auto& f : core->files) core->start_over(f);
  return std::unique_ptr<Receiver>(new Receiver(std::move(core)));
}

Receiver::Receiver(std::shared_ptr<Core> core) : core_(std::move(core)) {}
Receiver::~Receiver() = default;  // the guards remove what was not installed
const SharedManifest& Receiver::manifest() const { return core_->manifest; }
size_t Receiver::file_count() const { return core_->files.size(); }
uint64_t Receiver::file_size(size_t index) const { return core_->files.at(index).size_bytes; }
uint64_t Receiver::received(size_t index) const { return core_->files.at(index).received; }
bool Receiver::complete() const {
  return std::all_of(core_->files.begin(), core_->files.end(), [](auto& f) { return f.done; });
}

void Receiver::Core::start_over(File& f) {
  f.file = nullptr;
  f.guard = nullptr;  // removes the abandoned file
  f.received = 0;
  f.done = false;
  f.number = store->take_number();
}

void Receiver::write(size_t index, Bytes piece, std::function<void(Status)> done) {
  CHECK(!core_->writing, "one write at a time");
  Core::File& f = core_->files.at(index);
  CHECK(!f.done && piece.size() <= f.size_bytes - f.received, "a piece lies within its file");
  core_->writing = true;
  struct Job {
    std::shared_ptr<io::File> file;
    Status status;
  };
  auto job = std::make_shared<Job>();
  job->file = f.file;
  const std::string path = file_path(core_->store->dir_, f.segment, f.number);
  if (!f.guard) {
    f.guard = std::make_shared<FileGuard>(core_->store->reaper_, path);
    f.guard->doom();  // until it is installed
  }
  const bool last = f.received + piece.size() == f.size_bytes;
  auto work = [core = core_, job, index, path, piece, last, at = f.received] {
    auto write = [&]() -> Status {
      io::Disk& disk = *core->store->world_.disk;
      const Core::File& target = core->files[index];
      if (!job->file) {
        ASSIGN_OR_RETURN(auto created, disk.open(path, io::OpenMode::kCreate));
        job->file = std::move(created);
      }
      RETURN_IF_ERROR(job->file->write_at(at, piece.view()));
      if (!last) return {};
      RETURN_IF_ERROR(job->file->sync());
      const auto& m = core->manifest;
      return target.segment ? check_segment(disk, core->store->dir_, m.segments[index], target.number)
                            : check_dead_file(disk, path, m.dead_files[index - m.segments.size()]);
    };
    job->status = write();
  };
  core_->store->world_.workers->run(std::move(work),
                                    [core = core_, job, index, last, size = piece.size(), done = std::move(done)] {
                                      if (core->store->closed_) return;
                                      Core::File& target = core->files[index];
                                      core->writing = false;
                                      target.file = last ? nullptr : job->file;
                                      job->file = nullptr;
                                      if (job->status.is_ok()) {
                                        target.received += size;
                                        target.done = last;
                                      } else {
                                        core->start_over(target);
                                      }
                                      done(job->status);
                                    });
}

SharedManifest Receiver::Core::renumbered() const {
  SharedManifest m = manifest;
  std::map<uint64_t, uint64_t> dead;
  for (size_t i = 0; i < files.size(); ++i) {
    if (files[i].segment) {
      m.segments[i].number = files[i].number;
    } else {
      DeadFileInfo& d = m.dead_files[i - m.segments.size()];
      dead[d.number] = files[i].number;
      d.number = files[i].number;
    }
  }
  for (SegmentInfo& s : m.segments)
    if (s.dead.file != 0) s.dead.file = dead.at(s.dead.file);
  return m;
}

// --- installing
// -----------------------------------------------------------------------------------------------------------

void Store::install(std::unique_ptr<Receiver> received, const raft::HardState& hard_state, uint64_t log_position,
                    std::function<void(Status)> done) {
  CHECK(!core_->busy_, "one checkpoint or install at a time");
  CHECK(received->complete(), "only a whole snapshot is installed");
  core_->busy_ = true;
  struct Job {
    std::shared_ptr<Receiver::Core> receiver;
    Manifest manifest;
    std::shared_ptr<SegmentList> list;
    bool named = false;  // a manifest that names the files may be on disk, whatever came of writing it
    Status status;
  };
  auto job = std::make_shared<Job>();
  job->receiver = received->core_;
  job->manifest = core_->manifest_;
  job->manifest.shared = received->core_->renumbered();
  auto& local = job->manifest.local;
  local.reason = ManifestReason::kInstall;
  local.term = hard_state.term;
  local.vote = hard_state.vote;
  local.log_position = log_position;
  auto work = [core = core_, job] {
    auto write = [&]() -> Status {
      ASSIGN_OR_RETURN(job->list, core->open_list(job->manifest.shared, nullptr));
      RETURN_IF_ERROR(fatal(core->world_.disk->sync_dir(core->dir_)));
      job->manifest.local.next_file = core->next_file_.load();
      job->named = true;
      return fatal(write_manifest(*core->world_.disk, core->dir_, job->manifest));
    };
    job->status = write();
  };
  core_->world_.workers->run(std::move(work), [core = core_, job, done = std::move(done)] {
    if (job->named)
      for (auto& f : job->receiver->files) f.guard->spare();  // the list has guards of its own
    if (core->closed_) return;
    core->busy_ = false;
    core->note_result(job->status);
    if (job->status.is_ok()) {
      core->adopt(std::move(job->manifest), std::move(job->list));
    }
    done(job->status);
  });
}

}  // namespace fairlead::storage
