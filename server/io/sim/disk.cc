#include "server/io/sim/disk.h"

#include <errno.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"

namespace fairlead::io::sim {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr double kBytesPerNano = 1.0;  // 1 GB/s
using Page = std::array<char, kPageBytes>;
using Pages = std::map<uint64_t, std::shared_ptr<Page>>;  // an absent page is zeros

void read_pages(const Pages& pages, uint64_t offset, char* into, size_t size) {
  while (size > 0) {
    uint64_t page = offset / kPageBytes;
    size_t within = offset % kPageBytes;
    size_t n = std::min<size_t>(size, kPageBytes - within);
    auto it = pages.find(page);
    if (it == pages.end())
      std::memset(into, 0, n);
    else
      std::memcpy(into, it->second->data() + within, n);
    offset += n;
    into += n;
    size -= n;
  }
}

void write_pages(Pages& pages, uint64_t offset, const char* data, size_t size) {
  while (size > 0) {
    size_t within = offset % kPageBytes;
    size_t n = std::min<size_t>(size, kPageBytes - within);
    std::shared_ptr<Page>& page = pages[offset / kPageBytes];
    if (!page)
      page = std::make_shared<Page>(Page{});
    else if (page.use_count() > 1)
      page = std::make_shared<Page>(*page);  // shared by the two contents
    std::memcpy(page->data() + within, data, n);
    offset += n;
    data += n;
    size -= n;
  }
}

void cut_pages(Pages& pages, uint64_t size) {
  pages.erase(pages.lower_bound((size + kPageBytes - 1) / kPageBytes), pages.end());
  if (size % kPageBytes != 0 && pages.count(size / kPageBytes)) {
    Page zeros{};
    write_pages(pages, size, zeros.data(), kPageBytes - size % kPageBytes);
  }
}

void copy_sector(const Pages& from, Pages& to, uint64_t sector) {
  char bytes[kSectorBytes];
  read_pages(from, sector * kSectorBytes, bytes, kSectorBytes);
  write_pages(to, sector * kSectorBytes, bytes, kSectorBytes);
}

}  // namespace

struct DiskImage::Node {
  bool directory = false;
  Pages seen;
  Pages durable;
  uint64_t seen_size = 0;
  uint64_t durable_size = 0;
  bool size_dirty = false;
  std::set<uint64_t> dirty;                               // sectors that a sync would bring to `durable`
  std::vector<std::pair<uint64_t, uint64_t>> unreadable;  // offset, size

  void write(uint64_t offset, std::string_view data) {
    write_pages(seen, offset, data.data(), data.size());
    for (uint64_t s = offset / kSectorBytes; s * kSectorBytes < offset + data.size(); ++s) dirty.insert(s);
    if (offset + data.size() > seen_size) {
      seen_size = offset + data.size();
      size_dirty = true;
    }
    std::erase_if(unreadable, [&](const auto& range) {
      return range.first >= offset && range.first + range.second <= offset + data.size();
    });
  }
  void resize(uint64_t size) {
    if (size == seen_size) return;
    if (size < seen_size) {
      for (uint64_t s = size / kSectorBytes; s * kSectorBytes < seen_size; ++s) {
        if (durable.count(s * kSectorBytes / kPageBytes)) dirty.insert(s);
      }
      cut_pages(seen, size);
    }
    seen_size = size;
    size_dirty = true;
  }
  void sync() {
    for (uint64_t sector : dirty) copy_sector(seen, durable, sector);
    dirty.clear();
    durable_size = seen_size;
    size_dirty = false;
    cut_pages(durable, durable_size);
  }
  void sync_range(uint64_t offset, uint64_t size) {
    for (uint64_t s = offset / kSectorBytes; s * kSectorBytes < offset + size; ++s) {
      copy_sector(seen, durable, s);
      dirty.erase(s);
    }
    durable_size = std::max(durable_size, offset + size);
    if (durable_size == seen_size) size_dirty = false;
  }
  uint64_t power_cut(Prng& prng, double keep) {
    uint64_t lost = 0;
    if (size_dirty && prng.chance(keep)) durable_size = seen_size;
    for (uint64_t sector : dirty) {
      if (prng.chance(keep))
        copy_sector(seen, durable, sector);
      else
        ++lost;
    }
    cut_pages(durable, durable_size);
    seen = durable;
    seen_size = durable_size;
    dirty.clear();
    size_dirty = false;
    return lost;
  }
};

DiskImage::DiskImage(Scheduler* scheduler, uint64_t seed) : scheduler_(scheduler), prng_(seed) {}
DiskImage::~DiskImage() = default;

std::string DiskImage::parent_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

bool DiskImage::is_directory(const std::string& path) const {
  if (path.empty()) return true;  // the root
  auto it = seen_.find(path);
  return it != seen_.end() && it->second->directory;
}

void DiskImage::apply(Tree& tree, const NameChange& change) {
  switch (change.kind) {
    case NameChange::Kind::kCreate:
    case NameChange::Kind::kMakeDir:
      tree[change.to] = change.node;
      return;
    case NameChange::Kind::kRemove:
      tree.erase(change.from);
      return;
    case NameChange::Kind::kRename: {
      tree.erase(change.from);
      tree[change.to] = change.node;
      if (!change.node->directory) return;
      std::vector<std::pair<std::string, std::shared_ptr<Node>>> moved;
      std::string prefix = change.from + "/";
      for (auto it = tree.lower_bound(prefix); it != tree.end() && it->first.starts_with(prefix);) {
        moved.emplace_back(change.to + "/" + it->first.substr(prefix.size()), it->second);
        it = tree.erase(it);
      }
      for (auto& [path, node] : moved) tree[path] = node;
      return;
    }
  }
}

void DiskImage::change_name(NameChange change) {
  apply(seen_, change);
  unsynced_names_.push_back(std::move(change));
}

uint64_t DiskImage::used_bytes() const {
  uint64_t used = 0;
  for (const auto& [path, node] : seen_) used += node->seen_size;
  return used;
}

Status DiskImage::check_space(uint64_t more) const {
  if (used_bytes() + more > faults.capacity_bytes) return io_error("simulated disk", ENOSPC);
  return Status::ok();
}

std::string DiskImage::peek(const std::string& path, uint64_t offset, size_t size) const {
  auto it = seen_.find(path);
  if (it == seen_.end() || offset >= it->second->seen_size) return {};
  std::string out(std::min<uint64_t>(size, it->second->seen_size - offset), '\0');
  read_pages(it->second->seen, offset, out.data(), out.size());
  return out;
}

// Writes under way when their process dies may have reached the disk in part.
void DiskImage::lose_in_flight() {
  for (const InFlight& write : in_flight_) {
    uint64_t dice = prng_.below(3);
    for (uint64_t s = 0; s < write.size; s += kSectorBytes) {
      if (dice == 0 || (dice == 1 && prng_.chance(0.5))) continue;
      write.node->write(write.offset + s, {write.data->data() + s, kSectorBytes});
    }
  }
  in_flight_.clear();
  last_completion_ = 0;
}

void DiskImage::process_killed() {
  locks_.clear();
  crash_after_ = 0;
  lose_in_flight();
}

void DiskImage::power_cut() {
  process_killed();
  size_t kept = prng_.below(unsynced_names_.size() + 1);
  for (size_t i = 0; i < kept; ++i) apply(durable_, unsynced_names_[i]);
  stats_.names_lost += unsynced_names_.size() - kept;
  unsynced_names_.clear();
  // What lies in a directory whose own name was lost cannot be reached.
  for (auto it = durable_.begin(); it != durable_.end();) {
    std::string parent = parent_of(it->first);
    auto up = durable_.find(parent);
    bool reachable = parent.empty() || (up != durable_.end() && up->second->directory);
    it = reachable ? std::next(it) : durable_.erase(it);
  }
  constexpr double kKeep[] = {0.0, 0.1, 0.5, 0.9, 1.0};
  double keep = kKeep[prng_.below(std::size(kKeep))];
  for (auto& [path, node] : durable_) stats_.sectors_lost += node->power_cut(prng_, keep);
  seen_ = durable_;
}

void DiskImage::wipe() {
  process_killed();
  seen_.clear();
  durable_.clear();
  unsynced_names_.clear();
}

void DiskImage::make_durable_dir(const std::string& path) {
  auto node = std::make_shared<Node>();
  node->directory = true;
  seen_[path] = node;
  durable_[path] = node;
}

Status DiskImage::flip_bit(const std::string& path, uint64_t offset, int bit) {
  auto it = seen_.find(path);
  if (it == seen_.end()) return not_found("no such file: " + path);
  for (Pages* pages : {&it->second->seen, &it->second->durable}) {
    char byte;
    read_pages(*pages, offset, &byte, 1);
    byte = static_cast<char>(byte ^ (1 << bit));
    write_pages(*pages, offset, &byte, 1);
  }
  return Status::ok();
}

Status DiskImage::set_unreadable(const std::string& path, uint64_t offset, uint64_t size) {
  auto it = seen_.find(path);
  if (it == seen_.end()) return not_found("no such file: " + path);
  it->second->unreadable.emplace_back(offset, size);
  return Status::ok();
}

std::vector<std::pair<std::string, uint64_t>> DiskImage::files() const {
  std::vector<std::pair<std::string, uint64_t>> out;
  for (const auto& [path, node] : seen_) {
    if (!node->directory) out.emplace_back(path, node->seen_size);
  }
  return out;
}

// --- a process's view ------------------------------------------------------------------------------------------------

class SimDisk final : public Disk {
 public:
  SimDisk(DiskImage* image, Life life, std::function<void(std::function<void()>)> complete)
      : image_(image), life_(std::move(life)), complete_(std::move(complete)) {}

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
  Status make_dirs(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status remove(const std::string& path) override;
  Status sync_dir(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& path) override;
  bool exists(const std::string& path) override {
    return image_->is_directory(trim(path)) || image_->seen_.count(trim(path)) > 0;
  }
  Result<uint64_t> free_bytes(const std::string&) override;
  Result<std::unique_ptr<File>> lock(const std::string& path) override;
  std::string_view log_mode() const override { return "sim"; }

 private:
  friend class SimFile;
  using Node = DiskImage::Node;
  using NameChange = DiskImage::NameChange;

  static std::string trim(const std::string& path) {
    size_t end = path.find_last_not_of('/');
    return end == std::string::npos ? "" : path.substr(0, end + 1);
  }
  static Status gone() { return unavailable("the process is gone"); }

  // Runs one change as one operation: the place where a planned crash point is met.
  template <typename Change>
  Status changing(Change change) {
    if (!life_->alive) return gone();
    ++image_->operations_;
    bool last = image_->crash_after_ > 0 && --image_->crash_after_ == 0;
    if (last && image_->crash_before_) die();
    Status status = change();
    if (last) die();
    return status;
  }
  [[noreturn]] void die() {
    life_->alive = false;
    throw ProcessGone{};
  }

  DiskImage* image_;
  Life life_;
  std::function<void(std::function<void()>)> complete_;
};

class SimFile final : public File {
 public:
  SimFile(SimDisk* disk, std::string path, std::shared_ptr<DiskImage::Node> node, OpenMode mode, std::string lock)
      : disk_(disk),
        image_(disk->image_),
        life_(disk->life_),
        path_(std::move(path)),
        node_(std::move(node)),
        mode_(mode),
        lock_(std::move(lock)) {}
  ~SimFile() override {
    if (!lock_.empty() && life_->alive) image_->locks_.erase(lock_);
    if (life_->alive) {
      for (const auto& write : image_->in_flight_) {
        CHECK(write.node != node_ || mode_ != OpenMode::kLog, "a log file is closed while a write is under way");
      }
    }
  }

  Result<size_t> read_at(uint64_t offset, std::span<char> into) const override {
    if (!life_->alive) return SimDisk::gone();
    ++image_->stats_.reads;
    if (offset >= node_->seen_size) return size_t{0};
    size_t size = std::min<uint64_t>(into.size(), node_->seen_size - offset);
    for (const auto& [start, length] : node_->unreadable) {
      if (start < offset + size && offset < start + length) {
        return io_error("read of " + path_ + " at " + std::to_string(std::max(start, offset)), EIO);
      }
    }
    read_pages(node_->seen, offset, into.data(), size);
    return size;
  }

  Status write_at(uint64_t offset, std::string_view data) override {
    CHECK(mode_ != OpenMode::kRead, "a file opened for reading is written");
    return disk_->changing([&]() -> Status {
      ++image_->stats_.writes;
      if (offset + data.size() > node_->seen_size) {
        RETURN_IF_ERROR(image_->check_space(offset + data.size() - node_->seen_size));
      }
      if (image_->failing_writes_ > 0) {
        --image_->failing_writes_;
        if (image_->prng_.chance(0.5)) node_->write(offset, data);
        return io_error("write of " + path_ + " at " + std::to_string(offset), EIO);
      }
      image_->stats_.bytes_written += data.size();
      image_->scheduler_->mix(data);
      node_->write(offset, data);
      return Status::ok();
    });
  }

  Status sync() override {
    return disk_->changing([&]() -> Status {
      ++image_->stats_.syncs;
      if (image_->failing_syncs_ > 0) {
        --image_->failing_syncs_;
        node_->dirty.clear();  // the kernel calls them clean: no later sync brings them to the disk
        return io_error("sync of " + path_, EIO);
      }
      node_->sync();
      return Status::ok();
    });
  }

  Status reserve(uint64_t size) override {
    return disk_->changing([&]() -> Status {
      if (size > node_->seen_size) RETURN_IF_ERROR(image_->check_space(size - node_->seen_size));
      if (image_->failing_writes_ > 0) {
        --image_->failing_writes_;
        return io_error("reserve of " + path_, EIO);
      }
      node_->resize(size);
      return Status::ok();
    });
  }

  Status truncate(uint64_t size) override {
    return disk_->changing([&] {
      node_->resize(size);
      return Status::ok();
    });
  }

  Result<uint64_t> size() const override {
    if (!life_->alive) return SimDisk::gone();
    return node_->seen_size;
  }

  void write_durable(uint64_t offset, std::shared_ptr<AlignedBuffer> data, size_t size,
                     std::function<void(Status)> done) override;

 private:
  SimDisk* disk_;
  DiskImage* image_;
  Life life_;
  std::string path_;
  std::shared_ptr<DiskImage::Node> node_;
  OpenMode mode_;
  std::string lock_;
};

void SimFile::write_durable(uint64_t offset, std::shared_ptr<AlignedBuffer> data, size_t size,
                            std::function<void(Status)> done) {
  CHECK(mode_ == OpenMode::kLog, "write_durable needs a file opened with OpenMode::kLog");
  CHECK(offset % kDiskBlockBytes == 0 && size % kDiskBlockBytes == 0 && size > 0 && size <= data->size(),
        "durable writes are whole blocks");
  DiskImage* image = image_;
  uint64_t id = image->next_write_++;
  Status submitted = disk_->changing([&] {
    ++image->stats_.durable_writes;
    image->in_flight_.push_back({id, node_, offset, data, size});
    return Status::ok();
  });
  if (!submitted.is_ok()) return;
  Nanos latency = static_cast<Nanos>(static_cast<double>(image->prng_.delay(image->faults.write_latency)) *
                                         image->faults.slow_factor +
                                     static_cast<double>(size) / kBytesPerNano);
  image->last_completion_ = std::max(image->last_completion_, image->scheduler_->now() + latency);
  image->scheduler_->at(image->last_completion_, life_, "disk.write",
                        [image, id, complete = disk_->complete_, done = std::move(done), path = path_] {
                          auto it = std::find_if(image->in_flight_.begin(), image->in_flight_.end(),
                                                 [&](auto& w) { return w.id == id; });
                          CHECK(it != image->in_flight_.end());
                          DiskImage::InFlight write = std::move(*it);
                          image->in_flight_.erase(it);
                          std::string_view bytes(write.data->data(), write.size);
                          Status status;
                          if (write.offset + write.size > write.node->seen_size) {
                            status = image->check_space(write.offset + write.size - write.node->seen_size);
                          }
                          if (status.is_ok() && image->failing_writes_ > 0) {
                            --image->failing_writes_;
                            if (image->prng_.chance(0.5)) write.node->write(write.offset, bytes);
                            status = io_error("write of " + path + " at " + std::to_string(write.offset), EIO);
                          }
                          if (status.is_ok()) {
                            image->stats_.bytes_written += write.size;
                            image->scheduler_->mix(bytes);
                            write.node->write(write.offset, bytes);
                            if (image->failing_syncs_ > 0) {
                              --image->failing_syncs_;
                              status = io_error("write of " + path + " at " + std::to_string(write.offset), EIO);
                            } else {
                              write.node->sync_range(write.offset, write.size);
                            }
                          }
                          complete([done, status] { done(status); });
                        });
}

Result<std::unique_ptr<File>> SimDisk::open(const std::string& raw_path, OpenMode mode) {
  std::string path = trim(raw_path);
  auto it = image_->seen_.find(path);
  bool present = it != image_->seen_.end();
  if (!life_->alive) return gone();
  if (present && it->second->directory) return io_error("open " + path, EISDIR);
  if (present && mode == OpenMode::kCreate) return Status(Code::kAlreadyExists, "open " + path + ": exists already");
  if (!present && (mode == OpenMode::kRead || mode == OpenMode::kReadWrite)) {
    return not_found("open " + path + ": no such file");
  }
  std::shared_ptr<Node> node;
  if (present) {
    node = it->second;
  } else {
    if (!image_->is_directory(DiskImage::parent_of(path))) return not_found("open " + path + ": no such directory");
    node = std::make_shared<Node>();
    RETURN_IF_ERROR(changing([&] {
      image_->change_name({NameChange::Kind::kCreate, "", path, node});
      return Status::ok();
    }));
  }
  return std::unique_ptr<File>(new SimFile(this, path, std::move(node), mode, ""));
}

Status SimDisk::make_dirs(const std::string& raw_path) {
  std::string path = trim(raw_path);
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    std::string part = path.substr(0, end);
    auto it = image_->seen_.find(part);
    if (it != image_->seen_.end() && !it->second->directory) return io_error("make directory " + part, ENOTDIR);
    if (it == image_->seen_.end()) {
      auto node = std::make_shared<Node>();
      node->directory = true;
      RETURN_IF_ERROR(changing([&] {
        image_->change_name({NameChange::Kind::kMakeDir, "", part, node});
        return Status::ok();
      }));
    }
    if (end == std::string::npos) return Status::ok();
  }
}

Status SimDisk::rename(const std::string& raw_from, const std::string& raw_to) {
  std::string from = trim(raw_from), to = trim(raw_to);
  auto it = image_->seen_.find(from);
  if (it == image_->seen_.end() || !image_->is_directory(DiskImage::parent_of(to))) {
    return io_error("rename " + from + " to " + to, ENOENT);
  }
  auto target = image_->seen_.find(to);
  if (target != image_->seen_.end() && target->second->directory) return io_error("rename to " + to, EISDIR);
  return changing([&] {
    image_->change_name({NameChange::Kind::kRename, from, to, it->second});
    return Status::ok();
  });
}

Status SimDisk::remove(const std::string& raw_path) {
  std::string path = trim(raw_path);
  auto it = image_->seen_.find(path);
  if (it == image_->seen_.end()) return not_found("remove " + path + ": no such file");
  auto next = std::next(it);
  if (it->second->directory && next != image_->seen_.end() && next->first.starts_with(path + "/")) {
    return io_error("remove " + path, ENOTEMPTY);
  }
  return changing([&] {
    image_->change_name({NameChange::Kind::kRemove, path, "", it->second});
    return Status::ok();
  });
}

Status SimDisk::sync_dir(const std::string& raw_path) {
  std::string path = trim(raw_path);
  if (!image_->is_directory(path)) return not_found("sync of directory " + path + ": no such directory");
  return changing([&]() -> Status {
    ++image_->stats_.syncs;
    if (image_->failing_syncs_ > 0) {
      --image_->failing_syncs_;
      return io_error("sync of directory " + path, EIO);
    }
    std::vector<NameChange> left;
    for (NameChange& change : image_->unsynced_names_) {
      bool here = (!change.from.empty() && DiskImage::parent_of(change.from) == path) ||
                  (!change.to.empty() && DiskImage::parent_of(change.to) == path);
      if (here)
        DiskImage::apply(image_->durable_, change);
      else
        left.push_back(std::move(change));
    }
    image_->unsynced_names_ = std::move(left);
    return Status::ok();
  });
}

Result<std::vector<std::string>> SimDisk::list(const std::string& raw_path) {
  std::string path = trim(raw_path);
  if (!life_->alive) return gone();
  if (!image_->is_directory(path)) return not_found("list " + path + ": no such directory");
  std::vector<std::string> names;
  std::string prefix = path + "/";
  for (auto it = image_->seen_.lower_bound(prefix); it != image_->seen_.end() && it->first.starts_with(prefix); ++it) {
    std::string name = it->first.substr(prefix.size());
    if (name.find('/') == std::string::npos) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<uint64_t> SimDisk::free_bytes(const std::string&) {
  if (!life_->alive) return gone();
  return image_->faults.capacity_bytes - std::min(image_->used_bytes(), image_->faults.capacity_bytes);
}

Result<std::unique_ptr<File>> SimDisk::lock(const std::string& raw_path) {
  std::string path = trim(raw_path);
  if (!image_->locks_.insert(path).second) {
    return failed_precondition(path + " is locked: another process uses this data directory");
  }
  OpenMode mode = exists(path) ? OpenMode::kReadWrite : OpenMode::kCreate;
  auto file = open(path, mode);
  if (!file.is_ok()) {
    image_->locks_.erase(path);
    return file.status();
  }
  auto it = image_->seen_.find(path);
  return std::unique_ptr<File>(new SimFile(this, path, it->second, OpenMode::kReadWrite, path));
}

std::unique_ptr<Disk> make_sim_disk(DiskImage* image, Life life, std::function<void(std::function<void()>)> complete) {
  return std::make_unique<SimDisk>(image, std::move(life), std::move(complete));
}

}  // namespace fairlead::io::sim
