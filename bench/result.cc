#include "bench/result.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace fairlead::bench {

namespace {

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// The number behind `name` at the start of a line.
double number_in(const std::string& path, std::string_view name) {
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) {
    if (std::string_view(line).starts_with(name)) return std::strtod(line.c_str() + name.size(), nullptr);
  }
  return 0;
}

}  // namespace

int64_t monotonic_nanos() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

Usage usage_of(const std::vector<int>& pids) {
  Usage usage;
  for (int pid : pids) {
    clockid_t clock;  // in nanoseconds, where /proc has hundredths of a second
    timespec used{};
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0) continue;
    usage.cpu_seconds += static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
    std::string folder = "/proc/" + std::to_string(pid);
    usage.write_bytes += number_in(folder + "/io", "write_bytes:");
    usage.anonymous_bytes += number_in(folder + "/status", "RssAnon:") * 1024;
  }
  usage.wall_seconds = static_cast<double>(monotonic_nanos()) * 1e-9;
  return usage;
}

Usage own_usage() { return usage_of({static_cast<int>(getpid())}); }

void Window::begin(const Options& options) {
  own_from = own_usage();
  from = usage_of(options.server_pids);
}

void Window::end(const Options& options) {
  to = usage_of(options.server_pids);
  own_to = own_usage();
}

double Latencies::quantile_ms(double q) {
  if (values_.empty()) return 0;
  auto at =
      static_cast<size_t>(std::min(q * static_cast<double>(values_.size()), static_cast<double>(values_.size() - 1)));
  std::nth_element(values_.begin(), values_.begin() + static_cast<ptrdiff_t>(at), values_.end());
  return values_[at] * 1e-6;
}

Json& Json::number(const std::string& name, double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.6g", std::isfinite(value) ? value : 0.0);
  body_ += (body_.empty() ? "\"" : ", \"") + name + "\": " + text;
  return *this;
}

Json& Json::text(const std::string& name, const std::string& value) {
  std::string escaped;
  for (char c : value) {
    if (c == '"' || c == '\\') escaped.push_back('\\');
    escaped.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
  }
  body_ += (body_.empty() ? "\"" : ", \"") + name + "\": \"" + escaped + "\"";
  return *this;
}

void put_rates(Json& json, const Options& options, const std::string& client, uint64_t operations, uint64_t errors,
               const Window& window, Latencies& latencies) {
  double seconds = window.seconds(), count = std::max<double>(1, static_cast<double>(operations));
  json.text("mode", options.mode)
      .text("client", client)
      .number("in_flight", options.in_flight)
      .number("seconds", seconds)
      .number("operations", static_cast<double>(operations))
      .number("errors", static_cast<double>(errors))
      .number("rate", static_cast<double>(operations) / seconds)
      .number("p50_ms", latencies.quantile_ms(0.50))
      .number("p99_ms", latencies.quantile_ms(0.99))
      .number("cpu_us_per_op", window.cpu_seconds() * 1e6 / count)
      .number("server_cores", window.cpu_seconds() / seconds)
      .number("client_cpu_us_per_op", window.own_cpu_seconds() * 1e6 / count)
      .number("disk_bytes_per_op", (window.to.write_bytes - window.from.write_bytes) / count);
}

void put_idle(Json& json, const Options& options, double things, const Window& window) {
  double seconds = window.seconds();
  json.text("mode", options.mode)
      .number("seconds", seconds)
      .number("cpu_us_per_op", window.cpu_seconds() * 1e6 / (things * seconds))
      .number("server_cores", window.cpu_seconds() / seconds);
}

std::string key_name(uint64_t n, size_t key_bytes) {
  char digits[24];
  int size = std::snprintf(digits, sizeof digits, "%012llu", static_cast<unsigned long long>(n));
  std::string key = "/bench/";
  if (key.size() + static_cast<size_t>(size) > key_bytes) key = "/b/";
  key.append(key_bytes - std::min(key_bytes, key.size() + static_cast<size_t>(size)), 'k');
  return key.append(digits, static_cast<size_t>(size));
}

std::string value_of(uint64_t seed, size_t size) {
  Random random(seed);
  std::string value(size, '\0');
  for (char& c : value) c = static_cast<char>(' ' + random.next() % 95);
  return value;
}

}  // namespace fairlead::bench
