// fairlead-restore: a snapshot file becomes a data directory. The flags are those of etcdutl's snapshot restore.
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "server/import/import.h"
#include "server/io/real/world.h"

namespace fairlead::import {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitBadUsage = 128;  // as etcdutl

constexpr const char* kUsage =
    "usage: fairlead-restore FILE [--data-dir DIR] [--name NAME] [--initial-cluster NAME=URL,...]\n"
    "         [--initial-cluster-token TOKEN] [--initial-advertise-peer-urls URL,...] [--skip-hash-check]\n"
    "         [--bump-revision N --mark-compacted]\n";

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> out;
  for (size_t at = 0; at <= text.size();) {
    size_t comma = std::min(text.find(',', at), text.size());
    if (comma > at) out.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return out;
}

int bad_usage(const std::string& what) {
  fprintf(stderr, "Error: %s\n%s", what.c_str(), kUsage);
  return kExitBadUsage;
}

std::optional<std::string> flag_value(const std::vector<std::string>& args, size_t& i, const std::string& name) {
  const std::string& arg = args[i];
  if (arg.starts_with("--" + name + "=")) return arg.substr(name.size() + 3);
  if (arg == "--" + name && i + 1 < args.size()) return args[++i];
  return std::nullopt;
}

int restore(const RestoreArgs& args) {
  io::RealWorld::Options options;
  options.logger.level = io::LogLevel::kWarn;
  Result<std::unique_ptr<io::RealWorld>> world = io::RealWorld::create(options);
  if (!world.is_ok()) return fprintf(stderr, "Error: %s\n", world.status().to_string().c_str()), kExitFailed;
  Result<Report> report = restore_snapshot((*world)->world(), args);
  if (!report.is_ok()) {
    fprintf(stderr, "Error: %s\n", std::string(report.status().message()).c_str());
    return report.code() == Code::kInvalidArgument ? kExitBadUsage : kExitFailed;
  }
  printf("restored %s to %s: revision %lld, %llu revisions of keys, %llu leases, %llu users, %llu roles\n",
         args.snapshot_path.c_str(), args.data_dir.c_str(), static_cast<long long>(report->revision),
         static_cast<unsigned long long>(report->records), static_cast<unsigned long long>(report->leases),
         static_cast<unsigned long long>(report->users), static_cast<unsigned long long>(report->roles));
  return 0;
}

int main_checked(const std::vector<std::string>& args) {
  RestoreArgs out;
  std::string cluster, urls = "http://localhost:2380";
  for (size_t i = 0; i < args.size(); ++i) {
    std::optional<std::string> v;
    if (args[i] == "--skip-hash-check") {
      out.skip_hash_check = true;
    } else if (args[i] == "--mark-compacted") {
      out.mark_compacted = true;
    } else if ((v = flag_value(args, i, "data-dir"))) {
      out.data_dir = *v;
    } else if ((v = flag_value(args, i, "name"))) {
      out.name = *v;
    } else if ((v = flag_value(args, i, "initial-cluster"))) {
      cluster = *v;
    } else if ((v = flag_value(args, i, "initial-cluster-token"))) {
      out.initial_cluster_token = *v;
    } else if ((v = flag_value(args, i, "initial-advertise-peer-urls"))) {
      urls = *v;
    } else if ((v = flag_value(args, i, "bump-revision"))) {
      out.bump_revision = std::strtoull(v->c_str(), nullptr, 10);
    } else if (args[i].starts_with("-") || !out.snapshot_path.empty()) {
      return bad_usage("unknown argument: " + args[i]);
    } else {
      out.snapshot_path = args[i];
    }
  }
  if (out.snapshot_path.empty()) return bad_usage("snapshot restore requires exactly one argument");
  if (cluster.empty()) cluster = "default=http://localhost:2380";
  for (const std::string& item : split(cluster)) {
    size_t equals = item.find('=');
    if (equals == std::string::npos) return bad_usage("--initial-cluster: " + item);
    out.initial_cluster[item.substr(0, equals)].push_back(item.substr(equals + 1));
  }
  out.initial_advertise_peer_urls = split(urls);
  if (out.data_dir.empty()) out.data_dir = out.name + ".etcd";
  return restore(out);
}

}  // namespace
}  // namespace fairlead::import

int main(int argc, char** argv) { return fairlead::import::main_checked({argv + 1, argv + argc}); }
