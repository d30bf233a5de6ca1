#include "server/import/import.h"

#include <algorithm>

#include "server/bolt/etcd.h"
#include "server/import/directory.h"
#include "server/import/etcd_wal.h"
#include "server/node/version.h"
#include "server/storage/log_format.h"
#include "server/storage/segment_format.h"

namespace fairlead::import {
namespace {

constexpr size_t kHashBytes = 32;
constexpr size_t kSectorBytes = 512;
constexpr size_t kReadBytes = 1 << 20;
constexpr std::string_view kMark = "import.tmp";
constexpr std::string_view kFormat = "1";  // of the bucket `fairlead`

// A file without its last bytes.
class Front final : public bolt::Source {
 public:
  Front(std::shared_ptr<const bolt::Source> whole, uint64_t size) : whole_(std::move(whole)), size_(size) {}
  uint64_t size() const override { return size_; }
  Status read(uint64_t offset, std::span<char> into) const override {
    if (offset > size_ || into.size() > size_ - offset) return data_loss(name() + " ends too early");
    return whole_->read(offset, into);
  }
  std::string name() const override { return whole_->name(); }

 private:
  std::shared_ptr<const bolt::Source> whole_;
  uint64_t size_;
};

// As etcd's tools print it.
std::string numbers(std::string_view bytes) {
  std::string out = "[";
  for (size_t i = 0; i < bytes.size(); ++i)
    out += (i ? " " : "") + std::to_string(static_cast<unsigned char>(bytes[i]));
  return out + "]";
}

// The database of a snapshot file: without the hash at its end, which is right if it is to be looked at.
Result<std::shared_ptr<const bolt::Source>> open_snapshot(io::Disk& disk, const std::string& path, bool skip_check,
                                                          bolt::OnRead on_read) {
  ASSIGN_OR_RETURN(std::shared_ptr<const bolt::Source> file, bolt::open_source(disk, path, std::move(on_read)));
  bool hashed = file->size() % kSectorBytes == kHashBytes;
  if (!hashed && !skip_check) return data_loss("snapshot missing hash but --skip-hash-check=false");
  if (!hashed) return file;
  auto front = std::make_shared<Front>(file, file->size() - kHashBytes);
  if (skip_check) return std::shared_ptr<const bolt::Source>(front);
  char said[kHashBytes];
  RETURN_IF_ERROR(file->read(front->size(), said));
  storage::Sha256Hasher hasher;
  std::string buffer;
  for (uint64_t at = 0; at < front->size(); at += buffer.size()) {
    buffer.resize(std::min<uint64_t>(kReadBytes, front->size() - at));
    RETURN_IF_ERROR(front->read(at, buffer));
    hasher.add(buffer);
  }
  storage::Sha256 hash = hasher.finish();
  std::string_view got(reinterpret_cast<const char*>(hash.data()), hash.size());
  if (got != std::string_view(said, kHashBytes))
    return data_loss("expected sha256 " + numbers({said, kHashBytes}) + ", got " + numbers(got));
  return std::shared_ptr<const bolt::Source>(front);
}

// What a later version made is not for this one to read.
Status check_state(const bolt::EtcdState& state) {
  for (const std::string* version : {&state.cluster_version, &state.storage_version}) {
    if (version->empty()) continue;
    std::optional<node::ApiLevel> level = node::parse_level(*version);
    if (!level) return data_loss("the database names a version that is none: " + *version);
    if (*level > node::kOwnLevel)
      return failed_precondition("the database is of version " + *version + "; this program reads up to " +
                                 node::to_short(node::kOwnLevel));
  }
  auto format = state.fairlead.find("format");
  if (format != state.fairlead.end() && format->second != kFormat)
    return failed_precondition("the database was made by a later version of Fairlead: format " + format->second);
  return {};
}

bool absent_or_empty(io::Disk& disk, const std::string& dir) {
  if (!disk.exists(dir)) return true;
  Result<std::vector<std::string>> names = disk.list(dir);
  return names.is_ok() && names->empty();
}

std::string parent_of(const std::string& path) {
  size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

std::string joined(const std::vector<std::string>& list) {
  std::string out;
  for (const std::string& one : list) out += (out.empty() ? "" : ",") + one;
  return out;
}

Result<Identity> new_identity(const RestoreArgs& args) {
  Identity out;
  auto own = args.initial_cluster.find(args.name);
  if (own == args.initial_cluster.end())
    return invalid_argument("couldn't find local name \"" + args.name + "\" in the initial cluster configuration");
  std::vector<std::string> listed = own->second, advertised = args.initial_advertise_peer_urls;
  std::sort(listed.begin(), listed.end());
  std::sort(advertised.begin(), advertised.end());
  if (listed != advertised)
    return invalid_argument("--initial-cluster has " + args.name + "=" + joined(listed) +
                            " but missing from --initial-advertise-peer-urls=" + joined(advertised));
  ASSIGN_OR_RETURN(out.members, node::bootstrap_members(args.initial_cluster, args.initial_cluster_token));
  for (const auto& [id, member] : out.members) out.config.voters.push_back(id);
  for (const auto& [name, urls] : args.initial_cluster)
    out.members.at(node::bootstrap_member_id(urls, args.initial_cluster_token)).name = name;
  out.cluster = node::bootstrap_cluster_id(out.config.voters);
  out.member = node::bootstrap_member_id(own->second, args.initial_cluster_token);
  // As if the members had been the first entries of the log, in the first term.
  out.applied = Index{out.members.size()};
  out.applied_term = out.term = Term{1};
  return out;
}

// The bucket `members` is the truth, as for etcd's own start. The configuration in `meta` is not asked: etcdutl's
// restore leaves the one of the cluster that the snapshot was taken of.
Result<Identity> same_identity(const bolt::EtcdState& state, const EtcdWal& wal) {
  Identity out;
  out.cluster = ClusterId{wal.cluster};
  out.member = MemberId{wal.member};
  out.applied = Index{state.consistent_index};
  out.applied_term = Term{state.term};
  out.term = Term{std::max(wal.term, state.term)};
  out.vote = out.term.value == wal.term ? MemberId{wal.vote} : MemberId();
  for (const bolt::EtcdMember& m : state.members) {
    node::Member member;
    member.id = MemberId{m.id};
    member.name = m.name;
    member.peer_urls = m.peer_urls;
    std::sort(member.peer_urls.begin(), member.peer_urls.end());
    member.client_urls = m.client_urls;
    member.is_learner = m.learner;
    out.members.emplace(member.id, member);
    (m.learner ? out.config.learners : out.config.voters).push_back(member.id);
  }
  for (uint64_t id : state.removed) out.removed.push_back(MemberId{id});
  std::sort(out.config.voters.begin(), out.config.voters.end());
  std::sort(out.config.learners.begin(), out.config.learners.end());
  std::sort(out.removed.begin(), out.removed.end());
  if (!out.members.contains(out.member))
    return failed_precondition(
        "the database does not know the member that its log belongs to: it was removed, or the "
        "database is of etcd before 3.5; take a snapshot and restore that");
  if (out.applied.value == 0 || out.applied_term.value == 0)
    return failed_precondition("the database does not say where it stands in the log: it is of etcd before 3.5");
  if (out.config.voters.empty()) return data_loss("the database knows no voting member");
  return out;
}

// Entries that the database does not hold. A single member's own log may end in empty ones: they change nothing and
// nobody else knows them.
Status take_rest(const EtcdWal& wal, Identity& identity) {
  for (const WalEntry& entry : wal.entries) {
    bool nothing = entry.type == 0 && entry.empty && identity.config.voters.size() == 1;
    if (!nothing)
      return failed_precondition(
          "entry " + std::to_string(entry.index) + " (" + wal_entry_name(entry) +
          ") of the log is not in the database yet, and " + std::to_string(wal.entries.size()) +
          " in all: start etcd on this directory once more and stop it in order, then try again");
    identity.applied = Index{entry.index};
    identity.applied_term = Term{entry.term};
  }
  return {};
}

// The mark says that files of ours without a manifest are those of an import that was cut short, which nobody has used.
// Without it they are a member's data that lost its manifest: not ours to remove.
Status begin_import(io::Disk& disk, const std::string& dir, const std::string& log) {
  const std::string mark = dir + "/" + std::string(kMark);
  ASSIGN_OR_RETURN(std::vector<std::string> names, disk.list(dir));
  std::erase_if(names, [](const std::string& name) { return !name.starts_with("seg-"); });
  std::vector<std::string> logs;
  if (disk.exists(log)) {
    ASSIGN_OR_RETURN(logs, disk.list(log));
  }
  std::erase_if(logs, [](const std::string& name) { return !storage::parse_log_file_name(name); });  // etcd's own
  if (!disk.exists(mark)) {
    if (!names.empty() || !logs.empty())
      return data_loss(dir +
                       " holds files of a Fairlead member without their manifest: restore the directory as a whole");
    ASSIGN_OR_RETURN(std::unique_ptr<io::File> file, disk.open(mark, io::OpenMode::kCreate));
    RETURN_IF_ERROR(file->sync());
    return disk.sync_dir(dir);
  }
  for (const std::string& name : names) RETURN_IF_ERROR(disk.remove(dir + "/" + name));
  for (const std::string& name : logs) RETURN_IF_ERROR(disk.remove(log + "/" + name));
  return {};
}

// An import that failed leaves etcd's files alone behind. Where that cannot be done either, the mark stays.
void undo_import(io::Disk& disk, const std::string& dir, const std::string& log) {
  if (disk.exists(dir + "/manifest") || !begin_import(disk, dir, log).is_ok()) return;
  if (disk.exists(dir + "/manifest.tmp")) (void)disk.remove(dir + "/manifest.tmp");
  if (disk.exists(dir + "/log")) (void)disk.remove(dir + "/log");  // an empty one does no harm
  (void)disk.remove(dir + "/" + std::string(kMark));
}

}  // namespace

Result<Report> restore_snapshot(const io::World& world, const RestoreArgs& args) {
  if ((args.bump_revision > 0) != args.mark_compacted)
    return invalid_argument("--mark-compacted required if --revision-bump > 0");
  ASSIGN_OR_RETURN(Identity identity, new_identity(args));
  if (!absent_or_empty(*world.disk, args.data_dir))
    return failed_precondition("data-dir \"" + args.data_dir + "\" not empty or could not be read");
  ASSIGN_OR_RETURN(auto source, open_snapshot(*world.disk, args.snapshot_path, args.skip_hash_check, args.on_read));
  ASSIGN_OR_RETURN(std::unique_ptr<bolt::Reader> reader, bolt::Reader::open(source));
  ASSIGN_OR_RETURN(bolt::EtcdState state, bolt::read_state(*reader));
  RETURN_IF_ERROR(check_state(state));
  RETURN_IF_ERROR(world.disk->make_dirs(args.data_dir));
  ASSIGN_OR_RETURN(Report report,
                   DirectoryWriter(world, args.data_dir, *reader).write(identity, state, args.bump_revision));
  RETURN_IF_ERROR(world.disk->sync_dir(parent_of(args.data_dir)));
  return report;
}

bool is_etcd_directory(io::Disk& disk, const std::string& dir) {
  return disk.exists(dir + "/member/snap/db") && !disk.exists(dir + "/manifest");
}

Result<Report> import_directory(const io::World& world, const std::string& dir, const std::string& wal_dir) {
  const std::string log = wal_dir.empty() ? dir + "/log" : wal_dir;
  const std::string database = dir + "/member/snap/db";
  ASSIGN_OR_RETURN(std::unique_ptr<io::File> lock, world.disk->lock(database));  // bbolt's own
  ASSIGN_OR_RETURN(auto source, bolt::open_source(*world.disk, database));
  ASSIGN_OR_RETURN(std::unique_ptr<bolt::Reader> reader, bolt::Reader::open(source));
  ASSIGN_OR_RETURN(bolt::EtcdState state, bolt::read_state(*reader));
  RETURN_IF_ERROR(check_state(state));
  ASSIGN_OR_RETURN(EtcdWal wal,
                   read_wal(*world.disk, wal_dir.empty() ? dir + "/member/wal" : wal_dir, state.consistent_index));
  ASSIGN_OR_RETURN(Identity identity, same_identity(state, wal));
  RETURN_IF_ERROR(take_rest(wal, identity));
  RETURN_IF_ERROR(begin_import(*world.disk, dir, log));
  Result<Report> report = DirectoryWriter(world, dir, *reader, log).write(identity, state, 0);
  if (!report.is_ok()) {
    undo_import(*world.disk, dir, log);
    return report;
  }
  RETURN_IF_ERROR(world.disk->remove(dir + "/" + std::string(kMark)));
  return report;
}

}  // namespace fairlead::import
