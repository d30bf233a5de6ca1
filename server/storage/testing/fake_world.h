// A world for storage tests: one thread, time by hand, and a disk that can be cut after any call that changes
// something.
//
// The disk keeps for each file what reads see and what is durable, and which sectors differ. A power cut keeps all,
// none or some of the sectors that were not synced, and all, none or some of the directory changes that were not (a
// prefix, or any subset in which a rename still finds its file). A kill keeps what reads see and forgets nothing; a
// later cut may still lose it.
//
// Unlike the simulation's disk this one is for enumeration: crash_at(n) for n = 1, 2, ... until a run is not cut.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "server/io/io.h"

namespace fairlead::storage::testing {

constexpr size_t kSector = 512;

// Sanitizers make the enumerations some fifty times slower: they get fewer seeds, and every crash point all the same.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

struct Cut {};  // thrown by the call at which the process ends

enum class Keep { kAll, kNone, kSome };

struct Node {
  std::string seen, durable;
  std::set<uint64_t> dirty;                               // sectors of `seen` that are not durable
  std::vector<std::pair<uint64_t, uint64_t>> unreadable;  // offset, end
  void write(uint64_t offset, std::string_view data) {
    if (seen.size() < offset + data.size()) seen.resize(offset + data.size());
    seen.replace(offset, data.size(), data);
    for (uint64_t s = offset / kSector; s * kSector < offset + data.size(); ++s) dirty.insert(s);
  }
  void resize(uint64_t size) {
    for (uint64_t s = std::min<uint64_t>(size, seen.size()) / kSector; s * kSector < seen.size(); ++s) dirty.insert(s);
    seen.resize(size);
  }
};

class FakeDisk : public io::Disk {
 public:
  // --- what tests do to it
  uint64_t mutations = 0;
  uint64_t truncations = 0;
  uint64_t cut_at = 0;  // throws Cut before mutation number cut_at; 0 = never
  int fail_writes = 0;  // the next n writes to files fail with ENOSPC
  int fail_syncs = 0;
  bool fail_log_writes = false;
  uint64_t seed = 1;
  std::vector<std::string> removed;

  void process_ends() {  // a kill: writes in flight reach the platter in part, not durably
    for (InFlight& w : in_flight_) {
      std::string_view data(w.data->data(), w.size);
      for (size_t at = 0; at < data.size(); at += kSector)
        if (coin()) w.node->write(w.offset + at, data.substr(at, kSector));
    }
    in_flight_.clear();
    ++life_;
    locks_.clear();
  }
  void power_cut(Keep keep) {
    for (InFlight& w : in_flight_) w.node->write(w.offset, {w.data->data(), w.size});
    in_flight_.clear();
    ++life_;
    locks_.clear();
    const bool in_order = coin();
    size_t names = keep == Keep::kAll ? pending_.size() : keep == Keep::kNone ? 0 : random() % (pending_.size() + 1);
    if (keep == Keep::kSome && !in_order) names = pending_.size();
    for (size_t i = 0; i < names; ++i) {
      const NameChange& c = pending_[i];
      if (keep == Keep::kSome && !in_order && coin()) continue;
      if (c.kind == NameChange::kRename && !durable_names_.count(c.from)) continue;  // depends on one that was lost
      apply(durable_names_, c);
    }
    pending_.clear();
    seen_names_ = durable_names_;
    for (auto& [path, node] : seen_names_) settle(*node, keep);
  }
  std::string& content(const std::string& path) {
    CHECK(seen_names_.count(path), "the test names a file that is there");
    return seen_names_[path]->seen;
  }
  void damage(const std::string& path, uint64_t offset, char mask) {  // durable damage
    Node& n = *seen_names_.at(path);
    n.seen[offset] = static_cast<char>(n.seen[offset] ^ mask);
    if (offset < n.durable.size()) n.durable[offset] = n.seen[offset];
  }
  void zero(const std::string& path, uint64_t offset, uint64_t size) {
    Node& n = *seen_names_.at(path);
    for (uint64_t i = offset; i < std::min<uint64_t>(offset + size, n.seen.size()); ++i) {
      n.seen[i] = 0;
      if (i < n.durable.size()) n.durable[i] = 0;
    }
  }
  void shorten(const std::string& path, uint64_t size) {
    Node& n = *seen_names_.at(path);
    n.seen.resize(size);
    n.durable.resize(std::min<uint64_t>(size, n.durable.size()));
  }
  void make_unreadable(const std::string& path, uint64_t offset, uint64_t size) {
    seen_names_.at(path)->unreadable.push_back({offset, offset + size});
  }
  void forget(const std::string& path) {
    seen_names_.erase(path);
    durable_names_.erase(path);
  }
  std::vector<std::string> files(const std::string& part = "") const {
    std::vector<std::string> out;
    for (auto& [path, node] : seen_names_)
      if (path.find(part) != std::string::npos) out.push_back(path);
    return out;
  }
  // Another image with the same content: what a test damages, then throws away.
  std::unique_ptr<FakeDisk> copy() const {
    auto out = std::make_unique<FakeDisk>();
    std::map<Node*, std::shared_ptr<Node>> nodes;
    auto clone = [&](const std::shared_ptr<Node>& n) {
      auto& c = nodes[n.get()];
      if (!c) c = std::make_shared<Node>(*n);
      return c;
    };
    for (auto& [p, n] : seen_names_) out->seen_names_[p] = clone(n);
    for (auto& [p, n] : durable_names_) out->durable_names_[p] = clone(n);
    for (auto c : pending_) {
      if (c.node) c.node = clone(c.node);
      out->pending_.push_back(c);
    }
    out->dirs_ = dirs_;
    out->seed = seed;
    return out;
  }

  bool complete_one() {  // the oldest write in flight
    if (in_flight_.empty()) return false;
    if (!fail_log_writes) mutation();
    InFlight w = std::move(in_flight_.front());
    in_flight_.pop_front();
    if (fail_log_writes) {
      w.done(io_error("write", 5));
      return true;
    }
    std::string_view data(w.data->data(), w.size);
    w.node->write(w.offset, data);
    for (uint64_t s = w.offset / kSector; s * kSector < w.offset + data.size(); ++s) w.node->dirty.erase(s);
    if (w.node->durable.size() < w.offset + data.size()) w.node->durable.resize(w.offset + data.size());
    w.node->durable.replace(w.offset, data.size(), data);
    w.done(Status());
    return true;
  }
  size_t in_flight() const { return in_flight_.size(); }

  // --- io::Disk
  Result<std::unique_ptr<io::File>> open(const std::string& path, io::OpenMode mode) override;
  Status make_dirs(const std::string& path) override {
    dirs_.insert(path);  // directories are durable at once: their own crash points are the real disk's business
    return {};
  }
  Status rename(const std::string& from, const std::string& to) override {
    mutation();
    auto it = seen_names_.find(from);
    if (it == seen_names_.end()) return io_error(from, 2);
    return change({NameChange::kRename, from, to, it->second});
  }
  Status remove(const std::string& path) override {
    mutation();
    if (!seen_names_.count(path)) return io_error(path, 2);
    removed.push_back(path);
    return change({NameChange::kRemove, path, "", nullptr});
  }
  Status sync_dir(const std::string& path) override {
    mutation();
    (void)path;
    for (auto& c : pending_) apply(durable_names_, c);
    pending_.clear();
    return {};
  }
  Result<std::vector<std::string>> list(const std::string& path) override {
    std::set<std::string> names;
    for (auto& [p, node] : seen_names_)
      if (p.starts_with(path + "/")) {
        std::string rest = p.substr(path.size() + 1);
        names.insert(rest.substr(0, rest.find('/')));
      }
    for (auto& d : dirs_)
      if (d.starts_with(path + "/")) names.insert(d.substr(path.size() + 1));
    return std::vector<std::string>(names.begin(), names.end());
  }
  bool exists(const std::string& path) override { return seen_names_.count(path) || dirs_.count(path); }
  Result<uint64_t> free_bytes(const std::string&) override { return uint64_t{1} << 40; }
  Result<std::unique_ptr<io::File>> lock(const std::string& path) override;
  std::string_view log_mode() const override { return "fake"; }

 private:
  friend class FakeFile;
  struct NameChange {
    enum Kind { kCreate, kRename, kRemove } kind;
    std::string from, to;
    std::shared_ptr<Node> node;
  };
  using Names = std::map<std::string, std::shared_ptr<Node>>;
  struct InFlight {
    std::shared_ptr<Node> node;
    uint64_t offset;
    std::shared_ptr<io::AlignedBuffer> data;
    size_t size;
    std::function<void(Status)> done;
  };
  void mutation() {
    if (++mutations == cut_at) throw Cut{};
  }
  static void apply(Names& names, const NameChange& c) {
    if (c.kind == NameChange::kCreate) names[c.from] = c.node;
    if (c.kind == NameChange::kRemove) names.erase(c.from);
    if (c.kind == NameChange::kRename) {
      names.erase(c.from);
      names[c.to] = c.node;
    }
  }
  Status change(NameChange c) {
    apply(seen_names_, c);
    pending_.push_back(std::move(c));
    return {};
  }
  uint64_t random() {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed >> 11;
  }
  bool coin() { return random() & 1; }
  void settle(Node& n, Keep keep) {
    if (keep == Keep::kAll) n.durable = n.seen;
    if (keep == Keep::kSome) {
      // The size may or may not have reached the disk; a sector kept beyond it is a hole's zeroes before it.
      if (n.seen.size() > n.durable.size() && coin()) n.durable.resize(n.seen.size());
      for (uint64_t s : n.dirty) {
        uint64_t at = s * kSector;
        if (at >= n.durable.size() || at >= n.seen.size() || !coin()) continue;
        size_t size = std::min<size_t>({kSector, n.durable.size() - at, n.seen.size() - at});
        n.durable.replace(at, size, n.seen, at, size);
      }
    }
    n.seen = n.durable;
    n.dirty.clear();
  }

  Names seen_names_, durable_names_;
  std::vector<NameChange> pending_;
  std::set<std::string> dirs_, locks_;
  std::deque<InFlight> in_flight_;
  uint64_t life_ = 0;
};

class FakeFile : public io::File {
 public:
  FakeFile(FakeDisk* disk, std::shared_ptr<Node> node, std::string lock = "")
      : disk_(disk), node_(std::move(node)), life_(disk->life_), lock_(std::move(lock)) {}
  ~FakeFile() override {
    if (!lock_.empty() && life_ == disk_->life_) disk_->locks_.erase(lock_);
  }
  Result<size_t> read_at(uint64_t offset, std::span<char> into) const override {
    for (auto [from, to] : node_->unreadable)
      if (offset < to && from < offset + into.size()) return io_error("read", 5);
    if (offset >= node_->seen.size()) return size_t{0};
    return node_->seen.copy(into.data(), into.size(), offset);
  }
  Status write_at(uint64_t offset, std::string_view data) override {
    disk_->mutation();
    if (disk_->fail_writes > 0 && --disk_->fail_writes >= 0) return io_error("write", 28);
    node_->write(offset, data);
    return {};
  }
  Status sync() override {
    disk_->mutation();
    if (disk_->fail_syncs > 0 && --disk_->fail_syncs >= 0) return io_error("sync", 5);
    node_->durable = node_->seen;
    node_->dirty.clear();
    return {};
  }
  Status reserve(uint64_t size) override {
    disk_->mutation();
    if (disk_->fail_writes > 0 && --disk_->fail_writes >= 0) return io_error("reserve", 28);
    node_->resize(size);
    return {};
  }
  Status truncate(uint64_t size) override {
    disk_->mutation();
    ++disk_->truncations;
    node_->resize(size);
    return {};
  }
  Result<uint64_t> size() const override { return static_cast<uint64_t>(node_->seen.size()); }
  void write_durable(uint64_t offset, std::shared_ptr<io::AlignedBuffer> data, size_t size,
                     std::function<void(Status)> done) override {
    CHECK(offset % io::kDiskBlockBytes == 0 && size % io::kDiskBlockBytes == 0 && size <= data->size());
    disk_->mutation();
    disk_->in_flight_.push_back({node_, offset, std::move(data), size, std::move(done)});
  }

 private:
  FakeDisk* disk_;
  std::shared_ptr<Node> node_;
  uint64_t life_;
  std::string lock_;
};

inline Result<std::unique_ptr<io::File>> FakeDisk::open(const std::string& path, io::OpenMode mode) {
  auto it = seen_names_.find(path);
  if (it != seen_names_.end()) {
    if (mode == io::OpenMode::kCreate) return io_error(path, 17);
    return std::unique_ptr<io::File>(new FakeFile(this, it->second));
  }
  if (mode == io::OpenMode::kRead || mode == io::OpenMode::kReadWrite) return io_error(path, 2);
  mutation();
  auto node = std::make_shared<Node>();
  Status status = change({NameChange::kCreate, path, "", node});
  CHECK(status.is_ok());
  return std::unique_ptr<io::File>(new FakeFile(this, node));
}

inline Result<std::unique_ptr<io::File>> FakeDisk::lock(const std::string& path) {
  if (!locks_.insert(path).second) return failed_precondition(path + " is locked by another process");
  return std::unique_ptr<io::File>(new FakeFile(this, std::make_shared<Node>(), path));
}

// Loop, workers, randomness and log lines of one process.
class FakeProcess : public io::Loop, public io::Workers, public io::Random, public io::Logger {
 public:
  explicit FakeProcess(FakeDisk* disk, uint64_t seed = 7) : disk_(disk), seed_(seed) {
    world.loop = this;
    world.disk = disk;
    world.random = this;
    world.workers = this;
    world.log = this;
  }
  io::World world;
  std::vector<std::string> lines;
  bool hold_workers = false;

  // Runs everything that can run without time passing.
  void pump() {
    for (;;) {
      if (!posts_.empty()) {
        auto f = std::move(posts_.front());
        posts_.pop_front();
        f();
      } else if (!jobs_.empty() && !hold_workers) {
        auto [work, done] = std::move(jobs_.front());
        jobs_.pop_front();
        work();
        posts_.push_back(std::move(done));
      } else if (!disk_->complete_one()) {
        return;
      }
    }
  }
  // One event only: a completion, a job or a post. False if there is none.
  void advance(io::Nanos by) {
    io::Nanos end = now_ + by;
    while (!timers_.empty() && timers_.begin()->first.first <= end) {
      now_ = std::max(now_, timers_.begin()->first.first);
      auto f = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
      f();
      pump();
    }
    now_ = end;
  }
  size_t timers() const { return timers_.size(); }

  io::Nanos now() const override { return now_; }
  io::Nanos now_precise() const override { return now_; }
  int64_t wall_ms() const override { return 0; }
  io::TimerId add_timer(io::Nanos at, std::function<void()> f) override {
    timers_[{at, ++timer_}] = std::move(f);
    return timer_;
  }
  void cancel_timer(io::TimerId id) override {
    std::erase_if(timers_, [&](auto& t) { return t.first.second == id; });
  }
  void post(std::function<void()> f) override { posts_.push_back(std::move(f)); }
  uint64_t add_turn_hook(std::function<void()>) override { return 0; }
  void remove_turn_hook(uint64_t) override {}
  void run(std::function<void()> work, std::function<void()> done) override {
    jobs_.push_back({std::move(work), std::move(done)});
  }
  uint64_t next() override {
    seed_ += 0x9E3779B97F4A7C15ull;
    uint64_t z = seed_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    return z ^ (z >> 27);
  }
  void log(io::LogLevel, std::string_view message, std::initializer_list<io::Field>) override {
    lines.emplace_back(message);
  }
  bool enabled(io::LogLevel) const override { return true; }

 private:
  FakeDisk* disk_;
  uint64_t seed_;
  io::Nanos now_ = 1;
  io::TimerId timer_ = 0;
  std::map<std::pair<io::Nanos, io::TimerId>, std::function<void()>> timers_;
  std::deque<std::function<void()>> posts_;
  std::deque<std::pair<std::function<void()>, std::function<void()>>> jobs_;
};

}  // namespace fairlead::storage::testing
