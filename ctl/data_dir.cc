// defrag and migrate of a data directory that no process uses: etcd's, or one of ours.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "ctl/go_format.h"
#include "ctl/local.h"
#include "ctl/progress.h"
#include "ctl/verbs.h"
#include "server/import/rewrite.h"
#include "server/storage/offline.h"

namespace fairlead::ctl {
namespace {

constexpr uint64_t kDefragReads = 2;  // of the whole file: sizes, then bytes

bool is_ours(const std::string& dir) { return storage::is_data_directory(*local_world().disk, dir); }

[[noreturn]] void fail_defrag(int code, const std::string& dir, const std::string& why) {
  fail(code, "Failed to defragment etcd data[" + dir + "] (" + why + ")");
}

void defrag_ours(Context& c, const std::string& dir) {
  if (std::string why = wait_for_directory(c, dir); !why.empty()) fail_defrag(kExitUnusable, dir, why);
  Result<std::unique_ptr<storage::OfflineClean>> clean = storage::OfflineClean::open(local_world(), dir);
  if (!clean.is_ok()) fail_defrag(kExitUnusable, dir, message_of(clean.status()));
  Progress progress;
  Status result;
  bool over = false;
  (*clean)->run([&](const Status& status) {
    result = status;
    over = true;
  });
  while (!over) {
    local_loop().run_turn(100 * io::kMillisecond);
    storage::OfflineClean::Report now = (*clean)->report();
    if (now.bytes_copied > 0) progress.show(now.bytes_copied, std::max(now.bytes_copied, now.bytes_before));
  }
  progress.end();
  storage::OfflineClean::Report report = (*clean)->report();
  *clean = nullptr;
  if (!result.is_ok()) fail_defrag(kExitError, dir, message_of(result));
  if (report.records_dropped == 0 && report.bytes_after >= report.bytes_before)
    fprintf(stderr, "%s: nothing to clean: %s of records, %s of log\n", dir.c_str(),
            go_bytes(report.bytes_after).c_str(), go_bytes(report.bytes_log).c_str());
  else
    fprintf(stderr, "%s: %s before, %s now; %llu dead records are gone\n", dir.c_str(),
            go_bytes(report.bytes_before).c_str(), go_bytes(report.bytes_after).c_str(),
            static_cast<unsigned long long>(report.records_dropped));
}

void defrag_etcds(Context& c, const std::string& dir) {
  const std::string path = import::database_path(dir);
  if (!local_world().disk->exists(path)) fail_defrag(kExitError, dir, "stat " + path + ": " + errno_text());
  FileLock lock(c, path, FileLock::Kind::kExclusive);
  Progress progress(kDefragReads * file_bytes(path));
  Result<import::Rewritten> done =
      import::defrag_database(*local_world().disk, dir, [&](uint64_t n) { progress.add(n); });
  progress.end();
  if (!done.is_ok())
    fail_defrag(done.code() == Code::kDataLoss ? kExitUnusable : kExitError, dir, message_of(done.status()));
  fprintf(stderr, "%s: %s before, %s now\n", path.c_str(), go_bytes(done->bytes_before).c_str(),
          go_bytes(done->bytes_after).c_str());
}

// "3.6", and nothing else.
node::ApiLevel target_version(const std::string& text) {
  const size_t dot = text.find('.');
  if (dot == std::string::npos || text.find('.', dot + 1) != std::string::npos)
    fail(kExitBadArgs, "wrong target version format, expected \"X.Y\", got " + go_quote(text));
  int64_t major = 0, minor = 0;
  for (auto [part, number] : {std::pair{text.substr(0, dot), &major}, {text.substr(dot + 1), &minor}})
    if (std::string e = go_parse_int(part, 10, *number); !e.empty())
      fail(kExitBadArgs, "failed to parse target version: " + e);
  node::ApiLevel out{static_cast<int>(std::min<int64_t>(major, 1'000'000)),
                     static_cast<int>(std::min<int64_t>(minor, 1'000'000))};
  if (out < import::kMigrateMin)
    fail(kExitBadArgs, "target version " + go_quote(node::to_short(out)) + " not supported. Minimal \"" +
                           node::to_short(import::kMigrateMin) + "\"");
  return out;
}

void migrate(Context& c) {
  const node::ApiLevel target = target_version(c.text("target-version"));
  const std::string dir = c.text("data-dir");
  if (is_ours(dir)) {
    if (target != import::kMigrateMax)
      fail(kExitError, dir +
                           " is a Fairlead data directory, which no version of etcd reads and which does not change "
                           "with etcd's. To go on with etcd " +
                           node::to_short(target) +
                           ": downgrade enable, snapshot save, and etcd's own etcdutl snapshot restore");
    fprintf(stderr, "storage version up-to-date: a Fairlead data directory does not change with etcd's versions\n");
    return;
  }
  const std::string path = import::database_path(dir);
  must_be_there(path);
  FileLock lock(c, path, FileLock::Kind::kExclusive);
  Result<import::Migrated> done = import::migrate_database(*local_world().disk, dir, target, c.on("force"));
  if (!done.is_ok()) fail(kExitError, message_of(done.status()));
  fprintf(stderr, "%s %s\n",
          done->up_to_date ? "storage version up-to-date:"
          : done->forced   ? "forcefully set storage version"
                           : "updated storage version:",
          node::to_short(target).c_str());
}

}  // namespace

void defrag_directory(Context& c) {
  if (c.on("cluster")) fail(kExitBadArgs, "--cluster is for members that run, --data-dir for one that does not");
  const std::string dir = c.text("data-dir");
  is_ours(dir) ? defrag_ours(c, dir) : defrag_etcds(c, dir);
}

void add_offline_defrag_verb(Command& root, const Dress& dress) {
  dress(root.add("defrag", "Defragments the storage of the etcd", defrag_directory)
            .flag(Kind::kString, "data-dir", "", "Required. Defragments a data directory not in use by etcd.")
            .require("data-dir"));
}

void add_migrate_verb(Command& root, const Dress& dress) {
  dress(root.add("migrate",
                 "Migrates schema of etcd data dir files to make them compatible with different etcd version", migrate)
            .flag(Kind::kString, "data-dir", "", "Path to the etcd data dir")
            .flag(Kind::kString, "target-version", "",
                  "Target etcd version to migrate contents of data dir. Minimal value 3.5. Format \"X.Y\" for example "
                  "3.6.")
            .flag(Kind::kBool, "force", "false",
                  "Ignore migration failure and forcefully override storage version. Not recommended.")
            .require("data-dir")
            .require("target-version"));
}

}  // namespace fairlead::ctl
