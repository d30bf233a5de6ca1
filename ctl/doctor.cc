// doctor: looks at everything that makes clusters fail, and says of each whether it is well and what to do.
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

#include "ctl/go_format.h"
#include "ctl/progress.h"
#include "ctl/screen.h"
#include "ctl/verbs.h"

namespace fairlead::ctl {
namespace {

using Steady = std::chrono::steady_clock;

// The local measurement: at most so many writes of so many bytes, for at most so long.
constexpr int kDiskWritesMax = 256;
constexpr size_t kDiskWriteBytes = 8192;
constexpr std::chrono::seconds kDiskTimeMax{5};
constexpr std::chrono::seconds kHandshakeTimeout{5};

// Into a file of its own beside the data, which is gone before anything is written to it.
DiskProbe probe_disk(const std::string& folder) {
  DiskProbe probe;
  probe.folder = folder;
  std::string path = folder + "/doctor-XXXXXX";
  int fd = mkostemp(path.data(), O_CLOEXEC);
  if (fd < 0) {
    probe.error = strerror(errno);
    return probe;
  }
  unlink(path.c_str());
  std::string block(kDiskWriteBytes, 'd');
  auto end = Steady::now() + kDiskTimeMax;
  Progress bar(kDiskWritesMax, bar_text);
  for (int i = 0; i < kDiskWritesMax && (i == 0 || Steady::now() < end); ++i) {
    auto begin = Steady::now();
    if (write(fd, block.data(), block.size()) != static_cast<ssize_t>(block.size()) || fdatasync(fd) != 0) {
      probe.error = strerror(errno);
      break;
    }
    probe.seconds.push_back(std::chrono::duration<double>(Steady::now() - begin).count());
    bar.show(static_cast<uint64_t>(i) + 1);
  }
  close(fd);
  std::sort(probe.seconds.begin(), probe.seconds.end());
  return probe;
}

SeenCertificate look_at(const std::string& where, const std::string& url, const TlsOptions& tls) {
  SeenCertificate seen{where, url, {}, "", ""};
  Address address = parse_address(url, wants_tls(tls));
  Result<std::unique_ptr<Wire>> wire = Wire::open(address, tls, Steady::now() + kHandshakeTimeout);
  if (!wire.is_ok()) {
    seen.error = std::string(wire.status().message());
    return seen;
  }
  seen.chain = (*wire)->certificates();
  seen.verify = (*wire)->verify();
  return seen;
}

SeenCertificate look_at_file(const std::string& flag, const std::string& file) {
  SeenCertificate seen{flag + " " + file, "", read_certificates(file), "", ""};
  if (seen.chain.empty()) seen.error = "there is no certificate in it";
  return seen;
}

// Of each member the one it shows to clients and the one it shows to members; of ours, the files.
std::vector<SeenCertificate> see_certificates(const Survey& survey, const TlsOptions& tls) {
  std::vector<SeenCertificate> seen;
  auto client_side = [&](const MemberView& v) {
    if (v.endpoint.empty() || !parse_address(v.endpoint, wants_tls(tls)).secure) return;
    SeenCertificate client = look_at(v.name() + ", clients", v.endpoint, tls);
    // Who does not answer at all is said elsewhere.
    if (v.answers || !client.chain.empty()) seen.push_back(std::move(client));
  };
  for (const MemberView& v : survey.strangers) client_side(v);
  for (const MemberView& v : survey.members) {
    client_side(v);
    for (const std::string& url : v.member.peerurls()) {
      if (!url.starts_with("https://")) continue;
      SeenCertificate peer = look_at(v.name() + ", members", url, tls);
      peer.verify.clear();  // members may have an authority of their own, which is not this tool's to know
      // Its peer URL may be in a network that is closed to clients.
      if (peer.error.empty()) seen.push_back(std::move(peer));
    }
  }
  if (!tls.cert.empty()) seen.push_back(look_at_file("--cert", tls.cert));
  if (!tls.cacert.empty()) seen.push_back(look_at_file("--cacert", tls.cacert));
  return seen;
}

void doctor(Context& c) {
  Format format = screen_format(c);
  ClientOptions options = client_options(c);
  Limits limits = limits_of(c);
  std::string token;
  Survey before = take_survey(options, survey_options(c), token);
  auto begin = Steady::now();
  Findings more;
  if (std::string folder = c.text("data-dir"); !folder.empty()) more.push_back(judge_disk(probe_disk(folder), limits));
  auto seen = see_certificates(before, options.tls);
  std::this_thread::sleep_until(begin + std::chrono::nanoseconds(c.nanos("sample")));
  Survey now = take_survey(options, survey_options(c), token);

  Findings findings = judge_service(now, limits);
  for (Finding& f : judge_health(now, &before, limits)) findings.push_back(std::move(f));
  for (Finding& f : judge_certificates(seen, limits, time(nullptr))) findings.push_back(std::move(f));
  for (Finding& f : more) findings.push_back(std::move(f));
  auto many = [&](Level level) {
    return std::count_if(findings.begin(), findings.end(), [&](const Finding& f) { return f.level == level; });
  };
  auto fails = many(Level::kFail), warns = many(Level::kWarn);
  if (format == Format::kJson) {
    nlohmann::ordered_json out = {
        {"fails", fails}, {"warnings", warns}, {"findings", findings_json(findings, Level::kOk)}};
    printf("%s\n", out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
  } else {
    printf("%lld failing, %lld to see to, %lld well\n", static_cast<long long>(fails), static_cast<long long>(warns),
           static_cast<long long>(many(Level::kOk)));
    print_findings(findings, Level::kOk);
  }
  if (fails > 0 || (warns > 0 && c.on("strict"))) leave(kExitError);
}

}  // namespace

void add_doctor_verb(Command& root) {
  Command& verb = root.add(
      "doctor", "Looks for what makes clusters fail: disks, clocks, networks, certificates, quotas, versions", doctor);
  verb.describe(
      "Looks for what makes clusters fail, and says of each thing whether it is well, and if not, what to do: members, "
      "quorum, "
      "leader, alarms, quota, clocks, disks, round trips to and between the members, certificates, versions, file "
      "descriptors, memory, compaction, forgotten learners.\n\n"
      "Nothing is written to the cluster. Exit code 0: nothing fails; 1: something does (with --strict, warnings "
      "count).");
  add_survey_flags(verb);
  verb.flag(Kind::kDuration, "sample", "3s", "how long latencies are watched")
      .flag(Kind::kString, "data-dir", "",
            "on a member's machine: measure the disk of this folder, for at most five seconds")
      .flag(Kind::kBool, "strict", "false", "exit code 1 for warnings too");
}

}  // namespace fairlead::ctl
