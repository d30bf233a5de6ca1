// The JSON gateway: puts and reads as POST requests over HTTP/1.1, one at a time on each of many kept connections, as
// curl and HTTP libraries do it.
#include <strings.h>

#include <charconv>

#include "base/text.h"
#include "bench/modes.h"

namespace fairlead::bench {

namespace {

// What a kept connection of HTTP/1.1 has brought so far of one answer.
class Answer {
 public:
  enum class State : uint8_t { kMore, kWhole, kBad };

  State add(std::string_view bytes) {
    text_.append(bytes);
    if (head_size_ == 0 && !read_head()) return bad_ ? State::kBad : State::kMore;
    if (!chunked_) return text_.size() >= head_size_ + body_size_ ? State::kWhole : State::kMore;
    // The last chunk of an answer to one request at a time is the end of what is there.
    return std::string_view(text_).ends_with("\r\n0\r\n\r\n") ? State::kWhole : State::kMore;
  }
  int status() const { return status_; }
  const std::string& text() const { return text_; }
  void clear() {
    text_.clear();
    head_size_ = body_size_ = 0;
    chunked_ = false;
  }

 private:
  bool read_head() {
    size_t end = text_.find("\r\n\r\n");
    if (end == std::string::npos) return false;
    std::string_view head(text_.data(), end + 2);
    bad_ = head.size() < 12 || !head.starts_with("HTTP/1.1 ");
    if (bad_) return false;
    std::from_chars(head.data() + 9, head.data() + 12, status_);
    chunked_ = has(head, "\r\ntransfer-encoding: chunked", nullptr);
    bad_ = !chunked_ && !has(head, "\r\ncontent-length: ", &body_size_);
    head_size_ = bad_ ? 0 : end + 4;
    return !bad_;
  }
  // Header names in any case; `name` in lower case.
  static bool has(std::string_view head, std::string_view name, size_t* number) {
    for (size_t at = head.find("\r\n"); at != std::string_view::npos; at = head.find("\r\n", at + 2)) {
      std::string_view line = head.substr(at, name.size());
      if (line.size() < name.size() || strncasecmp(line.data(), name.data(), name.size()) != 0) continue;
      if (number) std::from_chars(head.data() + at + name.size(), head.data() + head.size(), *number);
      return true;
    }
    return false;
  }

  std::string text_;
  size_t head_size_ = 0, body_size_ = 0;
  int status_ = 0;
  bool chunked_ = false, bad_ = false;
};

struct Counts {
  uint64_t operations = 0, errors = 0;
  Latencies latencies;
  std::string failure;
  bool stopping = false;
  int open = 0;
};

// One connection, one request at a time.
class Visitor final : public io::StreamHandler {
 public:
  Visitor(io::World& world, const Options& options, size_t number, Counts& counts)
      : options_(options), reads_(options.mode == "gateway-read"), random_(number + 1), counts_(counts) {
    host_ = options.endpoints[number % options.endpoints.size()];
    stream_ = world.net->connect(host_);
    stream_->set_handler(this);
  }

  void on_connected() override { next(); }
  void on_writable() override { write(); }
  void on_readable() override {
    char buffer[16 * 1024];
    io::IoResult got = stream_->read(buffer);
    if (!got.error.is_ok() || got.eof) return fail("connection lost");
    switch (answer_.add({buffer, got.bytes})) {
      case Answer::State::kBad:
        return fail("not HTTP: " + answer_.text().substr(0, 100));
      case Answer::State::kWhole:
        return answered();
      case Answer::State::kMore:
        return;
    }
  }

 private:
  void next() {
    if (counts_.stopping) return;
    std::string key = base64(key_name(random_.next() % options_.keys, options_.key_bytes));
    std::string body = "{\"key\":\"" + key + "\"";
    body += reads_ ? options_.linearizable ? "}" : ",\"serializable\":true}"
                   : ",\"value\":\"" + base64(value_of(random_.next() % 64, options_.value_bytes)) + "\"}";
    request_ = std::string("POST /v3/kv/") + (reads_ ? "range" : "put") + " HTTP/1.1\r\nHost: " + host_ +
               "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
               body;
    written_ = 0;
    answer_.clear();
    ++counts_.open;
    since_ = monotonic_nanos();
    write();
  }
  void write() {
    std::string_view rest = std::string_view(request_).substr(written_);
    if (rest.empty()) return;
    io::IoResult result = stream_->writev({&rest, 1});
    written_ += result.bytes;
    if (!result.error.is_ok()) fail(result.error.to_string());
  }
  void answered() {
    --counts_.open;
    bool good = answer_.status() == 200 && (!reads_ || answer_.text().find("\"kvs\"") != std::string::npos);
    if (good) {
      ++counts_.operations;
      counts_.latencies.add(monotonic_nanos() - since_);
    } else {
      ++counts_.errors;
      if (counts_.failure.empty()) counts_.failure = answer_.text().substr(0, 300);
    }
    next();
  }
  void fail(const std::string& why) {
    ++counts_.errors;
    if (counts_.failure.empty()) counts_.failure = why;
    stream_->set_handler(nullptr);
  }

  const Options& options_;
  bool reads_;
  Random random_;
  Counts& counts_;
  std::string host_;
  std::unique_ptr<io::Stream> stream_;
  std::string request_;
  size_t written_ = 0;
  Answer answer_;
  int64_t since_ = 0;
};

}  // namespace

Result<std::string> run_gateway(io::RealWorld& real, const Options& options) {
  io::World world = real.world();
  Counts counts;
  std::vector<std::unique_ptr<Visitor>> visitors;
  for (int i = 0; i < options.connections; ++i)
    visitors.push_back(std::make_unique<Visitor>(world, options, static_cast<size_t>(i), counts));
  Window window = measure(real.loop(), options, [&] {
    counts.operations = counts.errors = 0;
    counts.latencies.clear();
  });
  uint64_t operations = counts.operations, errors = counts.errors;
  counts.stopping = true;
  (void)run_until(
      real.loop(), 10, [&] { return counts.open == 0; }, "the last answers");
  if (operations == 0) return unavailable("no request succeeded: " + counts.failure);
  Json json;
  put_rates(json, options, "http/1.1", operations, errors, window, counts.latencies);
  if (!counts.failure.empty()) json.text("first_error", counts.failure);
  return json.line();
}

}  // namespace fairlead::bench
