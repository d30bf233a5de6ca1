#include "server/sim/pool.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <vector>

#include "base/check.h"

namespace fairlead::sim {
namespace {

double now_seconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

// What a child says of one seed, as bytes: length, Report, text.
struct Report {
  uint64_t seed;
  uint64_t hash;
  Counters counters;
  uint8_t compared;
  uint32_t text_size;
};

void write_all(int fd, const void* data, size_t size) {
  auto* p = static_cast<const char*>(data);
  while (size > 0) {
    ssize_t n = write(fd, p, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) _exit(1);
    p += n;
    size -= static_cast<size_t>(n);
  }
}

bool read_all(int fd, void* data, size_t size) {
  auto* p = static_cast<char*>(data);
  while (size > 0) {
    ssize_t n = read(fd, p, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

uint64_t running_seed = 0;

void run_one(int out, uint64_t seed, bool twice) {
  running_seed = seed;
  alarm(kSeedWallSecondsMax);
  SeedResult result = run_seed(seed, false);
  if (twice && result.wrong.empty()) {
    alarm(kSeedWallSecondsMax);
    SeedResult again = run_seed(seed, false);
    if (again.hash != result.hash) result.wrong = "two runs of the seed differ: something outside of it decides";
  }
  alarm(0);
  Report report{seed, result.hash, result.counters, twice, static_cast<uint32_t>(result.wrong.size())};
  write_all(out, &report, sizeof report);
  write_all(out, result.wrong.data(), result.wrong.size());
}

[[noreturn]] void child_main(int in, int out, const PoolOptions& options) {
  if (options.in_child) options.in_child();
  set_check_handler([](const char* file, int line, const char* condition, const char* message) {
    std::fprintf(stderr, "seed %llu: check failed at %s:%d: %s: %s\n", static_cast<unsigned long long>(running_seed),
                 file, line, condition, message);
  });
  struct {
    uint64_t seed;
    uint8_t twice;
  } order;
  while (read_all(in, &order, sizeof order)) run_one(out, order.seed, order.twice);
  _exit(0);
}

struct Child {
  pid_t pid = -1;
  int to = -1;
  int from = -1;
  uint64_t seed = 0;
  bool busy = false;
};

class Pool {
 public:
  Pool(const PoolOptions& options, const std::function<void(uint64_t, const std::string&)>& on_seed)
      : options_(options), on_seed_(on_seed), started_(now_seconds()), children_(static_cast<size_t>(options.jobs)) {}

  PoolResult run() {
    signal(SIGPIPE, SIG_IGN);
    for (Child& child : children_) give(child);
    while (any_busy()) wait_for_one();
    for (Child& child : children_) end(child);
    return std::move(result_);
  }

 private:
  bool any_busy() const {
    for (const Child& child : children_) {
      if (child.busy) return true;
    }
    return false;
  }

  void spawn(Child& child) {
    int down[2], up[2];
    CHECK(pipe(down) == 0 && pipe(up) == 0, "no pipe");
    std::fflush(nullptr);
    child.pid = fork();
    CHECK(child.pid >= 0, "no child process");
    if (child.pid == 0) {
      close(down[1]);
      close(up[0]);
      for (const Child& other : children_) {
        if (&other == &child || other.pid < 0) continue;
        close(other.to);
        close(other.from);
      }
      child_main(down[0], up[1], options_);
    }
    close(down[0]);
    close(up[1]);
    child.to = down[1];
    child.from = up[0];
  }

  void give(Child& child) {
    child.busy = false;
    bool late = options_.seconds > 0 && now_seconds() - started_ > options_.seconds;
    bool stop = options_.stop_at_first_failure && result_.failed > 0;
    if (next_ >= options_.seeds || late || stop) return;
    if (child.pid < 0) spawn(child);
    struct {
      uint64_t seed;
      uint8_t twice;
    } order{options_.first_seed + next_, 0};
    order.twice = options_.twice_every > 0 && next_ % options_.twice_every == 0;
    ++next_;
    child.seed = order.seed;
    child.busy = true;
    write_all(child.to, &order, sizeof order);
  }

  void wait_for_one() {
    std::vector<pollfd> fds;
    for (const Child& child : children_) fds.push_back({child.busy ? child.from : -1, POLLIN, 0});
    if (poll(fds.data(), fds.size(), -1) < 0) return;
    for (size_t i = 0; i < children_.size(); ++i) {
      if (fds[i].revents != 0) take(children_[i]);
    }
  }

  void take(Child& child) {
    Report report;
    std::string text;
    bool whole = read_all(child.from, &report, sizeof report);
    if (whole) {
      text.resize(report.text_size);
      whole = read_all(child.from, text.data(), text.size());
    }
    if (whole) {
      result_.compared += report.compared;
      std::vector<uint64_t> values;
      for_each_counter(report.counters, [&](const char*, uint64_t& v) { values.push_back(v); });
      size_t i = 0;
      for_each_counter(result_.counters, [&](const char*, uint64_t& v) { v += values[i++]; });
    } else {
      text = end(child);
    }
    if (text.empty()) {
      ++result_.passed;
    } else {
      if (result_.failed++ == 0) {
        result_.first_failure = child.seed;
        result_.first_failure_text = text;
      }
    }
    on_seed_(child.seed, text);
    give(child);
  }

  std::string end(Child& child) {
    if (child.pid < 0) return "";
    close(child.to);
    close(child.from);
    int status = 0;
    waitpid(child.pid, &status, 0);
    child.pid = -1;
    if (WIFSIGNALED(status)) {
      if (WTERMSIG(status) == SIGALRM)
        return "stuck: no end within " + std::to_string(kSeedWallSecondsMax) + " s of real time";
      return std::string("the process died: ") + strsignal(WTERMSIG(status));
    }
    return "the process ended with status " + std::to_string(WEXITSTATUS(status));
  }

  const PoolOptions& options_;
  const std::function<void(uint64_t, const std::string&)>& on_seed_;
  double started_;
  std::vector<Child> children_;
  uint64_t next_ = 0;
  PoolResult result_;
};

}  // namespace

PoolResult run_pool(const PoolOptions& options, const std::function<void(uint64_t, const std::string&)>& on_seed) {
  return Pool(options, on_seed).run();
}

}  // namespace fairlead::sim
