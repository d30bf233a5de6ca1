// fairleadctl, also as etcdctl and as etcdutl: which verbs a name has, and the flags that all of them share.
#include <signal.h>

#include <cstdio>

#include "base/version.h"
#include "ctl/exit.h"
#include "ctl/verbs.h"

namespace fairlead::ctl {
namespace {

constexpr std::string_view kApiVersion = kEtcdVersion.substr(0, kEtcdVersion.rfind('.'));
constexpr const char* kTimeout = "10s";
constexpr const char* kTimeoutUsage = "time to wait to obtain a file lock on db file, 0 to block indefinitely";

void print_version(const char* name) {
  printf("%s version: %s\nAPI version: %s\n", name, std::string(kEtcdVersion).c_str(),
         std::string(kApiVersion).c_str());
}

void add_globals(Command& root) {
  root.global(Kind::kList, "endpoints", "127.0.0.1:2379", "gRPC endpoints")
      .global(Kind::kBool, "debug", "false", "enable client-side debug logging")
      .global(Kind::kString, "write-out", "simple", "set the output format (fields, json, protobuf, simple, table)",
              'w')
      .global(Kind::kBool, "hex", "false", "print byte strings as hex encoded strings")
      .global(Kind::kDuration, "dial-timeout", "2s", "dial timeout for client connections")
      .global(Kind::kDuration, "command-timeout", "5s", "timeout for short running command (excluding dial timeout)")
      .global(Kind::kDuration, "keepalive-time", "2s", "keepalive time for client connections")
      .global(Kind::kDuration, "keepalive-timeout", "6s", "keepalive timeout for client connections")
      .global(Kind::kInt, "max-request-bytes", "0",
              "client-side request send limit in bytes (if 0, it defaults to 2.0 MiB (2 * 1024 * 1024).)")
      .global(Kind::kInt, "max-recv-bytes", "0",
              "client-side response receive limit in bytes (if 0, it defaults to \"math.MaxInt32\")")
      .global(Kind::kBool, "insecure-transport", "true", "disable transport security for client connections")
      .global(Kind::kBool, "insecure-skip-tls-verify", "false",
              "skip server certificate verification (CAUTION: this option should be enabled only for testing purposes)")
      .global(Kind::kBool, "insecure-discovery", "true", "accept insecure SRV records describing cluster endpoints")
      .global(Kind::kString, "discovery-srv", "", "domain name to query for SRV records describing cluster endpoints",
              'd')
      .global(Kind::kString, "discovery-srv-name", "", "service name to query when using DNS discovery")
      .global(Kind::kString, "cert", "", "identify secure client using this TLS certificate file")
      .global(Kind::kString, "key", "", "identify secure client using this TLS key file")
      .global(Kind::kString, "cacert", "", "verify certificates of TLS-enabled secure servers using this CA bundle")
      .global(Kind::kString, "auth-jwt-token", "",
              "JWT token used for authentication (if this option is used, --user and --password should not be set)")
      .global(Kind::kString, "user", "", "username[:password] for authentication (prompt if password is not supplied)")
      .global(Kind::kString, "password", "",
              "password for authentication (if this option is used, --user option shouldn't include password)");
}

// The verbs for files under a name whose other verbs do not know of locks.
void add_timeout(Command& verb) { verb.flag(Kind::kDuration, "timeout", kTimeout, kTimeoutUsage); }

void add_etcdctl(Command& root) {
  add_globals(root);
  add_kv_verbs(root);
  add_txn_verb(root);
  add_watch_verb(root);
  add_lease_verbs(root);
  add_endpoint_verbs(root);
  add_member_verbs(root);
  add_auth_verbs(root);
  add_lock_verbs(root);
  add_mirror_verb(root);
  add_check_verbs(root);
  add_completion_verb(root);
  root.add("version", "Prints the version of etcdctl", [](Context&) { print_version("etcdctl"); });
  root.add("options", "Show the global command-line flags", [&root](Context&) {
    printf("The following options can be passed to any command:\n\n%s",
           Command::flag_lines(root.global_flags()).c_str());
  });
  // As etcdctl had them up to 3.5, and as its users still look for them there.
  add_snapshot_file_verbs(*root.child("snapshot"), add_timeout);
}

void add_etcdutl(Command& root) {
  const Dress as_it_is = [](Command&) {};
  root.global(Kind::kDuration, "timeout", kTimeout, kTimeoutUsage)
      .global(Kind::kString, "write-out", "simple", "set the output format (fields, json, protobuf, simple, table)",
              'w');
  add_completion_verb(root);
  add_offline_defrag_verb(root, as_it_is);
  add_hashkv_verb(root, as_it_is);
  add_migrate_verb(root, as_it_is);
  add_snapshot_file_verbs(root.add("snapshot <subcommand>", "Manages etcd node snapshots"), as_it_is);
  root.add("version", "Prints the version of etcdutl", [](Context&) { print_version("etcdutl"); });
}

// Both tools' verbs, and ours. `defrag` is the one that both have with another meaning: --data-dir tells them apart.
void add_both(Command& root) {
  add_etcdctl(root);
  add_status_verb(root);
  add_top_verb(root);
  add_doctor_verb(root);
  add_hashkv_verb(root, add_timeout);
  add_migrate_verb(root, add_timeout);
  root.child("version")->run_with([](Context&) {
    printf("fairleadctl version: %s\n", std::string(kFairleadVersion).c_str());
    print_version("etcdctl");
  });
  Command& defrag = *root.child("defrag");
  defrag.flag(Kind::kString, "data-dir", "",
              "defragments a data directory that is not in use, in the place of members");
  add_timeout(defrag);
}

}  // namespace
}  // namespace fairlead::ctl

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  std::string name = argv[0];
  name = name.substr(name.rfind('/') + 1);
  fairlead::ctl::Command root(name, "The tool for people: reads, writes and looks after a cluster.");
  if (name == "etcdutl")
    fairlead::ctl::add_etcdutl(root);
  else if (name == "etcdctl")
    fairlead::ctl::add_etcdctl(root);
  else
    fairlead::ctl::add_both(root);
  fairlead::ctl::leave(root.execute({argv + 1, argv + argc}));
}
