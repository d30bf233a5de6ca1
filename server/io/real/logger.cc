#include "server/io/real/logger.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cmath>

#include "base/check.h"
#include "base/text.h"

namespace fairlead::io {
namespace {

constexpr std::chrono::seconds kFinalFlush{1};

template <typename T>
void append_number(std::string& out, T value) {
  char buffer[32];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, value);
  out.append(buffer, end.ptr);
}

struct AppendValue {
  std::string& out;
  void operator()(std::string_view v) { append_json_string(out, v); }
  void operator()(bool v) { out += v ? "true" : "false"; }
  void operator()(double v) {
    if (std::isfinite(v))
      append_number(out, v);
    else
      append_json_string(out, std::isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
  }
  void operator()(int64_t v) { append_number(out, v); }
  void operator()(uint64_t v) { append_number(out, v); }
};

std::string log_time_now() {
  timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return format_log_time(t.tv_sec * int64_t{1000000} + t.tv_nsec / 1000);
}

std::atomic<RealLogger*> check_logger{nullptr};

}  // namespace

std::string format_log_time(int64_t unix_micros) {
  time_t seconds = static_cast<time_t>(unix_micros / 1000000);
  tm parts;
  gmtime_r(&seconds, &parts);
  char buffer[40];
  size_t n = strftime(buffer, sizeof buffer, "%Y-%m-%dT%H:%M:%S", &parts);
  std::string out(buffer, n);
  std::string micros = std::to_string(unix_micros % 1000000);
  out += "." + std::string(6 - micros.size(), '0') + micros + "Z";
  return out;
}

std::string format_log_line(LogLevel level, std::string_view time, std::string_view caller, std::string_view message,
                            std::initializer_list<Field> fields) {
  for (const Field& field : fields) {
    if (field.key != "caller") continue;
    if (auto* text = std::get_if<std::string_view>(&field.value)) caller = *text;
  }
  std::string out;
  out.reserve(160 + message.size());
  out += "{\"level\":\"";
  out += log_level_name(level);
  out += "\",\"ts\":\"";
  out += time;
  out += "\",\"caller\":";
  append_json_string(out, caller);
  out += ",\"msg\":";
  append_json_string(out, message);
  for (const Field& field : fields) {
    if (field.key == "caller") continue;
    out.push_back(',');
    append_json_string(out, field.key);
    out.push_back(':');
    std::visit(AppendValue{out}, field.value);
  }
  out.push_back('}');
  return out;
}

std::string format_console_line(LogLevel level, std::string_view time, std::string_view caller,
                                std::string_view message, std::initializer_list<Field> fields) {
  std::string json;
  for (const Field& field : fields) {
    if (field.key == "caller") {
      if (auto* text = std::get_if<std::string_view>(&field.value)) caller = *text;
      continue;
    }
    json += json.empty() ? "{" : ", ";
    append_json_string(json, field.key);
    json += ": ";
    std::visit(AppendValue{json}, field.value);
  }
  std::string out;
  for (std::string_view part : {time, log_level_name(level), caller, message}) {
    if (!out.empty()) out.push_back('\t');
    out += part;
  }
  if (!json.empty()) out += "\t" + json + "}";
  return out;
}

std::string_view log_level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarn:
      return "warn";
    case LogLevel::kError:
      return "error";
    case LogLevel::kFatal:
      return "fatal";
  }
  return "info";
}

Result<LogLevel> parse_log_level(std::string_view name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "warn") return LogLevel::kWarn;
  if (name == "error") return LogLevel::kError;
  if (name == "dpanic" || name == "panic" || name == "fatal") return LogLevel::kFatal;
  return invalid_argument("unrecognized level: \"" + std::string(name) + "\"");
}

std::string RealLogger::line(LogLevel level, std::string_view message, std::initializer_list<Field> fields) const {
  return (options_.console ? format_console_line : format_log_line)(level, log_time_now(), options_.caller, message,
                                                                    fields) +
         "\n";
}

RealLogger::RealLogger(Options options)
    : options_(std::move(options)),
      sink_(options_.sink ? options_.sink : std::make_shared<LogSink>(options_.fd)),
      level_(options_.level) {
  writer_ = std::thread([this] { write_loop(); });
}

RealLogger::~RealLogger() {
  RealLogger* self = this;
  if (check_logger.compare_exchange_strong(self, nullptr)) set_check_handler(nullptr);
  flush(std::chrono::nanoseconds(kFinalFlush).count());
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  writer_.join();
}

void RealLogger::log(LogLevel level, std::string_view message, std::initializer_list<Field> fields) {
  if (!enabled(level)) return;
  std::string line_text = line(level, message, fields);
  size_t limit = options_.queue_bytes_max + (level >= LogLevel::kError ? kLogQueueErrorReserveBytes : 0);
  {
    std::lock_guard lock(mutex_);
    if (queue_bytes_ + line_text.size() > limit) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    queue_bytes_ += line_text.size();
    queue_.push_back(std::move(line_text));
  }
  wake_.notify_one();
}

bool RealLogger::flush(Nanos wait_max) {
  std::unique_lock lock(mutex_);
  return drained_.wait_for(lock, std::chrono::nanoseconds(wait_max), [this] { return queue_bytes_ == 0; });
}

void RealLogger::write_loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::string batch;
    while (!queue_.empty()) {
      batch += queue_.front();
      queue_.pop_front();
    }
    size_t batch_bytes = batch.size();
    lock.unlock();
    uint64_t dropped = dropped_lines();
    if (dropped > dropped_reported_) {
      batch += line(LogLevel::kWarn, "log lines dropped: the sink was blocked",
                    {{"dropped", dropped - dropped_reported_}, {"dropped-total", dropped}});
      dropped_reported_ = dropped;
    }
    bool written = sink_->write(batch, stop_);
    lock.lock();
    queue_bytes_ -= batch_bytes;
    drained_.notify_all();
    if (!written && stop_) return;
  }
}

void RealLogger::install_check_handler() {
  check_logger.store(this);
  set_check_handler([](const char* file, int line, const char* condition, const char* message) {
    RealLogger* logger = check_logger.load();
    if (logger == nullptr) return;
    logger->log(LogLevel::kFatal, "a check failed: this is a bug; the process ends to keep its data safe",
                {{"file", file}, {"line", line}, {"condition", condition}, {"reason", message}});
    logger->flush(std::chrono::nanoseconds(kFinalFlush).count());
  });
}

}  // namespace fairlead::io
