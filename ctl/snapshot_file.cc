// snapshot status, snapshot restore, hashkv: etcdutl's verbs for files. A file is never written to.
#include <algorithm>
#include <cstdio>
#include <map>

#include "ctl/address.h"
#include "ctl/local.h"
#include "ctl/progress.h"
#include "ctl/verbs.h"
#include "server/bolt/inspect.h"
#include "server/import/import.h"
#include "server/mvcc/errors.h"
#include "server/storage/hash_kv.h"
#include "server/storage/offline.h"

namespace fairlead::ctl {
namespace {

constexpr uint64_t kReads = 2;         // of the whole file: its structure or what a compaction left, then its content
constexpr uint64_t kRestoreReads = 2;  // the checksum, then the content
constexpr size_t kHashStepBytes = 4 << 20;  // between two looks at the progress

Result<std::unique_ptr<bolt::Reader>> open_database(const std::string& path, Progress& progress) {
  ASSIGN_OR_RETURN(auto source, bolt::open_source(*local_world().disk, path, [&](uint64_t n) { progress.add(n); }));
  return bolt::Reader::open(std::move(source));
}

// ---- snapshot status ------------------------------------------------------------------------------------------------

void snapshot_status(Context& c) {
  if (c.args().size() != 1) fail(kExitBadArgs, "snapshot status requires exactly one argument");
  const std::string& path = c.args()[0];
  must_be_there(path);
  Printer printer(c);
  if (is_directory(path))
    fail(kExitError, path + " is a directory, no snapshot" +
                         (storage::is_data_directory(*local_world().disk, path)
                              ? ": hashkv tells about a member's data, snapshot save takes a snapshot of a running one"
                              : ""));
  FileLock lock(c, path, FileLock::Kind::kShared);
  Progress progress(file_bytes(path) * kReads);
  Result<std::unique_ptr<bolt::Reader>> reader = open_database(path, progress);
  if (!reader.is_ok()) fail(kExitError, message_of(reader.status()));
  Status whole = (*reader)->check();
  if (!whole.is_ok()) {
    progress.end();
    fail(kExitError, "snapshot file integrity check failed. 1 errors found.\n" + message_of(whole));
  }
  Result<bolt::Summary> summary = bolt::summarize(**reader);
  progress.end();
  if (!summary.is_ok()) fail(kExitError, message_of(summary.status()));
  printer.database_status(*summary);
}

// ---- hashkv ---------------------------------------------------------------------------------------------------------

// As the library's error reads without the server's prefix.
[[noreturn]] void fail_hash(const Status& status) {
  std::string text = message_of(status);
  const std::string prefix = "etcdserver: ";
  if (text.starts_with(prefix)) text.erase(0, prefix.size());
  fail(kExitError, text);
}

bolt::KeyHash hash_of_file(Context& c, const std::string& path) {
  FileLock lock(c, path, FileLock::Kind::kShared);
  Progress progress(file_bytes(path) * kReads);
  Result<std::unique_ptr<bolt::Reader>> reader = open_database(path, progress);
  if (!reader.is_ok()) fail(kExitUnusable, message_of(reader.status()));
  Result<bolt::KeyHash> hash = bolt::hash_keys(**reader, c.number("rev"));
  progress.end();
  if (!hash.is_ok()) fail_hash(hash.status());
  return *hash;
}

// What is on disk: the state of the last checkpoint.
bolt::KeyHash hash_of_directory(Context& c, const std::string& dir) {
  if (std::string why = wait_for_directory(c, dir); !why.empty()) fail(kExitUnusable, why);
  Result<storage::Resting> resting = storage::open_resting(local_world(), dir);
  if (!resting.is_ok()) fail(kExitUnusable, message_of(resting.status()));
  const int64_t revision = c.number("rev") == 0 ? resting->revision : c.number("rev");
  if (revision > 0 && revision < resting->compact_revision) fail_hash(mvcc::err_compacted());
  if (revision > resting->revision) {
    fprintf(stderr, "%s holds revisions up to %lld; what its log holds beyond is for the member's next start\n",
            dir.c_str(), static_cast<long long>(resting->revision));
    fail_hash(mvcc::err_future_revision());
  }
  storage::HashKvJob job(*local_world().disk, dir, resting->pin, resting->compact_revision, revision);
  while (!job.done())
    if (Status s = job.step(kHashStepBytes); !s.is_ok()) fail(kExitUnusable, message_of(s));
  storage::HashKv hash = job.result();
  return {hash.hash, hash.hash_revision, hash.compact_revision};
}

void hashkv(Context& c) {
  Printer printer(c);
  const std::string& path = c.args()[0];
  must_be_there(path);
  const bool ours = is_directory(path) && storage::is_data_directory(*local_world().disk, path);
  printer.database_hash(ours ? hash_of_directory(c, path) : hash_of_file(c, path));
}

// ---- snapshot restore -----------------------------------------------------------------------------------------------

std::map<std::string, std::vector<std::string>> cluster_of(const std::string& text) {
  std::map<std::string, std::vector<std::string>> out;
  for (const std::string& item : split(text, ',')) {
    if (item.empty()) continue;
    size_t equals = std::min(item.find('='), item.size());
    out[item.substr(0, equals)].push_back(equals < item.size() ? item.substr(equals + 1) : "");
  }
  for (auto& [name, urls] : out) urls = peer_urls(urls);
  return out;
}

void snapshot_restore(Context& c) {
  if (c.args().size() != 1) fail(kExitBadArgs, "snapshot restore requires exactly one argument");
  import::RestoreArgs args;
  args.bump_revision = static_cast<uint64_t>(c.number("bump-revision"));
  args.mark_compacted = c.on("mark-compacted");
  if ((args.bump_revision > 0) != args.mark_compacted)
    fail(kExitBadArgs, "--mark-compacted required if --revision-bump > 0");
  args.snapshot_path = c.args()[0];
  args.name = c.text("name");
  args.data_dir = c.text("data-dir").empty() ? args.name + ".etcd" : c.text("data-dir");
  args.initial_advertise_peer_urls = peer_urls(split(c.text("initial-advertise-peer-urls"), ','));
  args.initial_cluster = cluster_of(c.text("initial-cluster"));
  args.initial_cluster_token = c.text("initial-cluster-token");
  args.skip_hash_check = c.on("skip-hash-check");
  if (!c.text("wal-dir").empty())
    fail(kExitError, "--wal-dir: a Fairlead member keeps its log in its data directory (" + args.data_dir +
                         "/log); mount another disk there instead");
  if (c.given("initial-memory-map-size"))
    fprintf(stderr, "--initial-memory-map-size has no effect: no file is mapped into memory\n");

  Progress progress(file_bytes(args.snapshot_path) * kRestoreReads);
  args.on_read = [&](uint64_t n) { progress.add(n); };
  Result<import::Report> report = import::restore_snapshot(local_world(), args);
  progress.end();
  if (report.code() == Code::kNotFound) fail(kExitError, "open " + args.snapshot_path + ": no such file or directory");
  // Where the checksum is not looked at, damage is found where etcdutl opens the database, by a panic.
  if (report.code() == Code::kDataLoss && args.skip_hash_check) fail(kExitUnusable, message_of(report.status()));
  if (!report.is_ok()) fail(kExitError, message_of(report.status()));
  fprintf(stderr, "restored %s to %s: revision %lld, %llu revisions of keys, %llu leases, %llu users, %llu roles\n",
          args.snapshot_path.c_str(), args.data_dir.c_str(), static_cast<long long>(report->revision),
          static_cast<unsigned long long>(report->records), static_cast<unsigned long long>(report->leases),
          static_cast<unsigned long long>(report->users), static_cast<unsigned long long>(report->roles));
}

Command& add_restore(Command& snapshot) {
  return snapshot
      .add("restore <filename> --data-dir {output dir} [options]",
           "Restores an etcd member snapshot to an etcd directory", snapshot_restore)
      .flag(Kind::kString, "data-dir", "", "Path to the output data directory")
      .flag(Kind::kString, "wal-dir", "", "Path to the WAL directory (use --data-dir if none given)")
      .flag(Kind::kString, "initial-cluster", "default=http://localhost:2380",
            "Initial cluster configuration for restore bootstrap")
      .flag(Kind::kString, "initial-cluster-token", "etcd-cluster",
            "Initial cluster token for the etcd cluster during restore bootstrap")
      .flag(Kind::kString, "initial-advertise-peer-urls", "http://localhost:2380",
            "List of this member's peer URLs to advertise to the rest of the cluster")
      .flag(Kind::kString, "name", "default", "Human-readable name for this member")
      .flag(Kind::kBool, "skip-hash-check", "false",
            "Ignore snapshot integrity hash value (required if copied from data directory)")
      .flag(Kind::kUint, "initial-memory-map-size", "10737418240",
            "Initial memory map size of the database in bytes. It uses the default value if not defined or defined to "
            "0")
      .flag(Kind::kUint, "bump-revision", "0", "How much to increase the latest revision after restore")
      .flag(Kind::kBool, "mark-compacted", "false",
            "Mark the latest revision after restore as the point of scheduled compaction (required if --bump-revision "
            "> 0, disallowed otherwise)");
}

}  // namespace

void add_snapshot_file_verbs(Command& snapshot, const Dress& dress) {
  add_restore(snapshot);
  dress(snapshot.add("status <filename>", "Gets backend snapshot status of a given file", snapshot_status)
            .describe("When --write-out is set to simple, this command prints out comma-separated status lists for "
                      "each endpoint.\nThe items in the lists are hash, revision, total keys, total size.\n"));
}

void add_hashkv_verb(Command& root, const Dress& dress) {
  dress(root.add("hashkv <filename>", "Prints the KV history hash of a given file", hashkv)
            .exact_arguments(1)
            .flag(Kind::kInt, "rev", "0", "maximum revision to hash (default: latest revision)"));
}

}  // namespace fairlead::ctl
