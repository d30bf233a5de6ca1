#include "server/import/rewrite.h"

#include <functional>
#include <map>
#include <optional>

#include "server/bolt/etcd.h"
#include "server/bolt/writer.h"
#include "server/import/etcd_wal.h"

namespace fairlead::import {
namespace {

constexpr std::string_view kMetaBucket = "meta";
constexpr std::string_view kStorageVersion = "storageVersion";
constexpr node::ApiLevel kFirstNamed{3, 6};  // the first version that writes down which one it is
constexpr size_t kPieceBytes = 1 << 20;

using Items = std::map<std::string, std::string>;
using Edit = std::function<void(Items& meta)>;

// All buckets into the writer; `ready` after every item, to take away what is complete.
Status copy(const bolt::Reader& from, const Items& meta, bolt::Writer& writer, const std::function<Status()>& ready) {
  for (const std::string& bucket : from.buckets()) {
    writer.begin_bucket(bucket);
    if (bucket == kMetaBucket) {
      for (const auto& [key, value] : meta) writer.add(key, value);
    } else {
      RETURN_IF_ERROR(from.for_each(bucket, [&](std::string_view key, std::string_view value) -> Status {
        writer.add(key, value);
        return ready();
      }));
    }
    writer.end_bucket();
  }
  return {};
}

Result<std::unique_ptr<bolt::Reader>> open_database(io::Disk& disk, const std::string& path, bolt::OnRead on_read) {
  ASSIGN_OR_RETURN(auto source, bolt::open_source(disk, path, std::move(on_read)));
  return bolt::Reader::open(std::move(source));
}

Result<uint64_t> write_copy(io::Disk& disk, const bolt::Reader& from, const Items& meta, const std::string& path) {
  bolt::Writer counting;
  RETURN_IF_ERROR(copy(from, meta, counting, [] { return Status(); }));
  const bolt::Layout layout = counting.finish();
  if (disk.exists(path)) RETURN_IF_ERROR(disk.remove(path));  // of a run that was cut short
  ASSIGN_OR_RETURN(std::unique_ptr<io::File> file, disk.open(path, io::OpenMode::kCreate));
  std::string out;
  uint64_t at = 0;
  auto flush = [&](size_t above) -> Status {
    if (out.size() <= above) return {};
    RETURN_IF_ERROR(file->write_at(at, out));
    at += out.size();
    out.clear();
    return {};
  };
  bolt::Writer writer(layout, &out);
  RETURN_IF_ERROR(copy(from, meta, writer, [&] { return flush(kPieceBytes); }));
  if (writer.finish() != layout) return internal_error("the database has changed while it was copied");
  RETURN_IF_ERROR(flush(0));
  RETURN_IF_ERROR(file->sync());
  return at;
}

Result<Rewritten> rewrite(io::Disk& disk, const std::string& dir, const Edit& edit, bolt::OnRead on_read) {
  const std::string path = database_path(dir), copy_path = path + ".tmp.fairlead";
  ASSIGN_OR_RETURN(std::unique_ptr<bolt::Reader> reader, open_database(disk, path, std::move(on_read)));
  Items meta;
  RETURN_IF_ERROR(reader->for_each(kMetaBucket, [&](std::string_view key, std::string_view value) -> Status {
    meta.emplace(key, value);
    return {};
  }));
  if (edit) edit(meta);
  Result<uint64_t> written = write_copy(disk, *reader, meta, copy_path);
  if (!written.is_ok()) {
    if (disk.exists(copy_path)) (void)disk.remove(copy_path).is_ok();
    return written.status();
  }
  RETURN_IF_ERROR(disk.rename(copy_path, path));
  RETURN_IF_ERROR(disk.sync_dir(path.substr(0, path.rfind('/'))));
  return Rewritten{reader->meta().pages * reader->meta().page_bytes, *written};
}

Result<node::ApiLevel> version_of(const bolt::EtcdState& meta) {
  if (std::optional<node::ApiLevel> level = node::parse_level(meta.storage_version)) return *level;
  if (meta.term == 0) return failed_precondition("missing term information");  // before 3.5, or just made
  return kMigrateMin;
}

// Whether there is a way from one version to the other; each minor version has a step of its own.
Status check_plan(node::ApiLevel from, node::ApiLevel to) {
  auto no_plan = [](const std::string& why) { return failed_precondition("cannot create migration plan: " + why); };
  if (from.major != to.major) return no_plan("changing major storage version is not supported");
  if (from <= kMigrateMax && to <= kMigrateMax) return {};
  node::ApiLevel unknown{to.major, from <= kMigrateMax ? kMigrateMax.minor + 1 : from.minor + (from < to)};
  return no_plan("version \"" + node::to_version(unknown) + "\" is not supported");
}

}  // namespace

std::string database_path(const std::string& dir) { return dir + "/member/snap/db"; }

Result<Rewritten> defrag_database(io::Disk& disk, const std::string& dir, bolt::OnRead on_read) {
  return rewrite(disk, dir, nullptr, std::move(on_read));
}

Result<Migrated> migrate_database(io::Disk& disk, const std::string& dir, node::ApiLevel target, bool force,
                                  bolt::OnRead on_read) {
  Migrated out;
  bolt::EtcdState meta;
  {
    ASSIGN_OR_RETURN(std::unique_ptr<bolt::Reader> reader, open_database(disk, database_path(dir), nullptr));
    ASSIGN_OR_RETURN(meta, bolt::read_meta_bucket(*reader));
  }
  ASSIGN_OR_RETURN(node::ApiLevel current, version_of(meta));
  out.up_to_date = current == target;
  if (out.up_to_date) return out;
  Result<EtcdWal> wal = read_wal(disk, dir + "/member/wal", meta.consistent_index);
  if (!wal.is_ok()) return data_loss("failed to read wal: " + std::string(wal.status().message()));
  Status plan = check_plan(current, target);
  if (plan.is_ok() && target < current && target < kFirstNamed && wal->version_test)
    plan = failed_precondition("cannot downgrade storage, WAL contains newer entries, as the target version (" +
                               node::to_version(target) + ") is lower than the version (3.6.0) detected from WAL logs");
  if (!plan.is_ok() && !force) return plan;
  out.forced = !plan.is_ok();
  Edit edit = [&](Items& items) {
    if (target < kFirstNamed)
      items.erase(std::string(kStorageVersion));
    else
      items[std::string(kStorageVersion)] = node::to_version(target);
  };
  RETURN_IF_ERROR(rewrite(disk, dir, edit, std::move(on_read)).status());
  return out;
}

}  // namespace fairlead::import
