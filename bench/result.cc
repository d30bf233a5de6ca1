#include "bench/result.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "base/codec.h"

namespace fairlead::bench {

namespace {

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

int64_t monotonic_nanos() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

Usage usage_of(const std::vector<int>& pids) {
  Usage usage;
  double ticks_per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  for (int pid : pids) {
    std::string folder = "/proc/" + std::to_string(pid);
    std::string stat = read_file(folder + "/stat");
    size_t after_name = stat.rfind(')');
    if (after_name == std::string::npos) continue;
    std::istringstream fields(stat.substr(after_name + 2));
    std::string skipped;
    for (int i = 3; i < 14; ++i) fields >> skipped;  // fields 14 and 15 are utime and stime
    double user = 0, system = 0;
    fields >> user >> system;
    usage.cpu_seconds += (user + system) / ticks_per_second;
    std::istringstream io(read_file(folder + "/io"));
    std::string name;
    double value = 0;
    while (io >> name >> value) {
      if (name == "write_bytes:") usage.write_bytes += value;
    }
  }
  usage.wall_seconds = static_cast<double>(monotonic_nanos()) * 1e-9;
  return usage;
}

Usage own_usage() { return usage_of({static_cast<int>(getpid())}); }

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
               const Usage& from, const Usage& to, const Usage& own_from, const Usage& own_to, Latencies& latencies) {
  double seconds = to.wall_seconds - from.wall_seconds;
  double count = std::max<double>(1, static_cast<double>(operations));
  json.text("mode", options.mode)
      .text("client", client)
      .number("in_flight", options.in_flight)
      .number("seconds", seconds)
      .number("operations", static_cast<double>(operations))
      .number("errors", static_cast<double>(errors))
      .number("rate", static_cast<double>(operations) / seconds)
      .number("p50_ms", latencies.quantile_ms(0.50))
      .number("p99_ms", latencies.quantile_ms(0.99))
      .number("cpu_us_per_op", (to.cpu_seconds - from.cpu_seconds) * 1e6 / count)
      .number("server_cores", (to.cpu_seconds - from.cpu_seconds) / seconds)
      .number("client_cpu_us_per_op", (own_to.cpu_seconds - own_from.cpu_seconds) * 1e6 / count)
      .number("disk_bytes_per_op", (to.write_bytes - from.write_bytes) / count);
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

Bytes put_request(std::string_view key, std::string_view value) {
  BytesBuilder out(key.size() + value.size() + 2 * (1 + kVarintMax));
  char* p = out.data();
  *p++ = 0x0a;  // key = 1
  p = store_varint(p, key.size());
  std::copy(key.begin(), key.end(), p);
  p += key.size();
  *p++ = 0x12;  // value = 2
  p = store_varint(p, value.size());
  std::copy(value.begin(), value.end(), p);
  p += value.size();
  auto size = static_cast<size_t>(p - out.data());
  return std::move(out).finish(size);
}

Bytes range_request(std::string_view key, bool serializable) {
  std::string out = "\x0a";
  put_lengthed(out, key);
  if (serializable) out += "\x38\x01";  // serializable = 7
  return Bytes::take(std::move(out));
}

Bytes watch_create_request(std::string_view key) {
  std::string create = "\x0a";  // key = 1
  put_lengthed(create, key);
  std::string out = "\x0a";  // create_request = 1
  put_lengthed(out, create);
  return Bytes::take(std::move(out));
}

}  // namespace fairlead::bench
