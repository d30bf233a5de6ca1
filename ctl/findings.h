// What is wrong with a cluster, and what to do: a survey judged by rules, each a function of facts alone.
//
// A finding is kFail where something does not work or is about to be lost, kWarn where it soon will be or where a fault
// has no room left, kOk to say that a thing was looked at and is as it should be.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ctl/survey.h"
#include "ctl/wire.h"

namespace fairlead::ctl {

enum class Level : uint8_t { kOk, kWarn, kFail };
const char* level_name(Level level);

struct Finding {
  std::string check;  // "quorum", "disk", ...: the same words in each run, for scripts
  Level level = Level::kOk;
  std::string member;  // whose; "" for the cluster's
  std::string text;    // what is
  std::string advice;  // what to do; "" where nothing is to be done
};
using Findings = std::vector<Finding>;

struct Limits {
  double disk_seconds = 0.1;            // 99 % of log writes; five times that fails
  double network_seconds = 0.15;        // round trips; likewise
  double clock_seconds = 0.5;           // between any two; ten times that fails
  int64_t expiry_seconds = 30 * 86400;  // of certificates
  uint64_t lag_entries = 5000;          // behind the leader
};

// --- what `status` shows: whether the cluster serves, and whether it will go on
Findings judge_service(const Survey& survey, const Limits& limits);

// --- what `doctor` looks at besides; `earlier`: the same cluster a little before, for rates. Null: since each server
// began.
Findings judge_health(const Survey& survey, const Survey* earlier, const Limits& limits);

// A certificate that was seen somewhere.
struct SeenCertificate {
  std::string where;  // "m1, clients", "--cert"
  std::string url;    // "" for a file
  std::vector<Certificate> chain;
  std::string verify;  // what is wrong with it for whoever asks; "" for nothing
  std::string error;   // it could not be seen
};
Findings judge_certificates(const std::vector<SeenCertificate>& seen, const Limits& limits, int64_t unix_now);

// Writes of a log to this machine's disk, each made durable: seconds, sorted.
struct DiskProbe {
  std::string folder, error;
  std::vector<double> seconds;
};
Finding judge_disk(const DiskProbe& probe, const Limits& limits);

Level worst(const Findings& findings);

std::string milliseconds(double seconds);  // "12.3 ms", for people

}  // namespace fairlead::ctl
