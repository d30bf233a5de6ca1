#include "server/bolt/reader.h"

#include <algorithm>
#include <optional>

#include "base/codec.h"

namespace fairlead::bolt {
namespace {

class FileSource final : public Source {
 public:
  FileSource(std::unique_ptr<io::File> file, uint64_t size, std::string path, OnRead on_read)
      : file_(std::move(file)), size_(size), path_(std::move(path)), on_read_(std::move(on_read)) {}
  uint64_t size() const override { return size_; }
  Status read(uint64_t offset, std::span<char> into) const override {
    ASSIGN_OR_RETURN(size_t got, file_->read_at(offset, into));
    if (on_read_) on_read_(got);
    return got == into.size() ? Status() : data_loss(path_ + " ends before offset " + std::to_string(offset + got + 1));
  }
  std::string name() const override { return path_; }

 private:
  std::unique_ptr<io::File> file_;
  uint64_t size_;
  std::string path_;
  OnRead on_read_;
};

class MemorySource final : public Source {
 public:
  explicit MemorySource(std::string_view bytes) : bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }
  Status read(uint64_t offset, std::span<char> into) const override {
    if (offset > bytes_.size() || into.size() > bytes_.size() - offset) return data_loss("the database ends too early");
    std::copy_n(bytes_.data() + offset, into.size(), into.data());
    return {};
  }
  std::string name() const override { return "database"; }

 private:
  std::string_view bytes_;
};

// An element of a page, checked to lie within it.
struct Element {
  std::string_view key;
  std::string_view value;  // of a leaf
  uint32_t flags = 0;
  PageId child = 0;  // of a branch
};
std::optional<Element> element(std::string_view node, bool leaf, size_t i) {
  size_t at = kPageHeaderBytes + i * kElementBytes;
  if (at + kElementBytes > node.size()) return std::nullopt;
  fairlead::Reader r(node.substr(at, kElementBytes));
  Element e;
  uint64_t position = 0, key_bytes = 0, value_bytes = 0;
  if (leaf) {
    e.flags = r.fixed<uint32_t>();
    position = r.fixed<uint32_t>();
    key_bytes = r.fixed<uint32_t>();
    value_bytes = r.fixed<uint32_t>();
  } else {
    position = r.fixed<uint32_t>();
    key_bytes = r.fixed<uint32_t>();
    e.child = r.fixed<uint64_t>();
  }
  uint64_t begin = at + position;
  if (begin > node.size() || key_bytes + value_bytes > node.size() - begin) return std::nullopt;
  e.key = node.substr(begin, key_bytes);
  e.value = node.substr(begin + key_bytes, value_bytes);
  return e;
}

}  // namespace

Result<std::shared_ptr<const Source>> open_source(io::Disk& disk, const std::string& path, OnRead on_read) {
  ASSIGN_OR_RETURN(std::unique_ptr<io::File> file, disk.open(path, io::OpenMode::kRead));
  ASSIGN_OR_RETURN(uint64_t size, file->size());
  return std::shared_ptr<const Source>(std::make_shared<FileSource>(std::move(file), size, path, std::move(on_read)));
}

std::shared_ptr<const Source> memory_source(std::string_view bytes) { return std::make_shared<MemorySource>(bytes); }

// One pass over one bucket.
struct Reader::Walk {
  const Visit& visit;
  std::vector<bool> seen;  // pages
  std::string last_key;
  bool any = false;
  bool buckets_wanted = false;
  std::function<Status(std::string_view name, std::string_view value)> on_bucket;
};

Status Reader::damaged(PageId page, const std::string& what) const {
  return data_loss(source_->name() + ": page " + std::to_string(page) + ": " + what);
}

// The newer of two meta pages that are whole. The second one lies where the page size says, which the first one may
// not be there to tell.
Result<std::unique_ptr<Reader>> Reader::open(std::shared_ptr<const Source> source) {
  std::optional<Meta> best;
  auto look = [&](uint64_t offset) {
    char raw[kPageHeaderBytes + kMetaBytes];
    if (offset + sizeof(raw) > source->size() || !source->read(offset, raw).is_ok()) return;
    std::optional<Meta> m = load_meta({raw + kPageHeaderBytes, kMetaBytes});
    if (!m || !(load_page_header(raw).flags & kMetaPage)) return;
    if (m->page_bytes < kPageBytesMin || m->page_bytes > kPageBytesMax || (m->page_bytes & (m->page_bytes - 1)) != 0)
      return;
    if (offset != 0 && offset != m->page_bytes) return;
    if (!best || m->txid > best->txid) best = m;
  };
  look(0);
  for (uint64_t offset = kPageBytesMin; offset <= kPageBytesMax; offset *= 2) look(offset);
  if (!best) return data_loss(source->name() + ": not a database of etcd's kind: no meta page is whole");
  if (best->pages < kFirstDataPage || best->pages > source->size() / best->page_bytes)
    return data_loss(source->name() + ": the file has " + std::to_string(source->size()) + " bytes, less than its " +
                     std::to_string(best->pages) + " pages");
  std::unique_ptr<Reader> reader(new Reader(std::move(source), *best));
  RETURN_IF_ERROR(reader->load_buckets());
  return reader;
}

Status Reader::load_buckets() {
  Visit none = [](std::string_view, std::string_view) -> Status { return data_loss("an item outside of a bucket"); };
  Walk walk{none, std::vector<bool>(meta_.pages), {}, false, true, {}};
  walk.on_bucket = [this](std::string_view name, std::string_view value) -> Status {
    if (value.size() < kBucketHeaderBytes) return data_loss("a bucket without a root");
    if (buckets_.size() == kBucketsMax) return data_loss("too many buckets");
    Bucket bucket{std::string(name), load_fixed<uint64_t>(value.data()), {}};
    if (bucket.root == 0) bucket.inline_page.assign(value.substr(kBucketHeaderBytes));
    buckets_.push_back(std::move(bucket));
    return {};
  };
  return visit_page(walk, meta_.root, 0, {});
}

std::vector<std::string> Reader::buckets() const {
  std::vector<std::string> out;
  for (const Bucket& bucket : buckets_) out.push_back(bucket.name);
  return out;
}

const Reader::Bucket* Reader::find(std::string_view name) const {
  for (const Bucket& bucket : buckets_)
    if (bucket.name == name) return &bucket;
  return nullptr;
}

Status Reader::for_each(std::string_view name, const Visit& f) const {
  const Bucket* bucket = find(name);
  if (bucket == nullptr) return {};
  if (bucket->root == 0) {
    Walk walk{f, {}, {}, false, false, {}};
    if (bucket->inline_page.size() < kPageHeaderBytes) return damaged(0, "the bucket " + bucket->name + " is cut off");
    return visit_leaf(walk, 0, bucket->inline_page);
  }
  Walk walk{f, std::vector<bool>(meta_.pages), {}, false, false, {}};
  return visit_page(walk, bucket->root, 0, {});
}

Status Reader::for_last(std::string_view name, const Visit& f) const {
  const Bucket* bucket = find(name);
  if (bucket == nullptr) return {};
  std::string node = bucket->inline_page;
  PageId page = bucket->root;
  for (size_t depth = 0; depth < kDepthMax; ++depth) {
    if (page != 0) RETURN_IF_ERROR(read_page(page, node));
    if (node.size() < kPageHeaderBytes) return damaged(page, "is cut off");
    PageHeader header = load_page_header(node.data());
    const bool leaf = header.flags == kLeafPage;
    if (!leaf && header.flags != kBranchPage) return damaged(page, "is neither leaf nor branch");
    if (header.count == 0) return leaf ? Status() : damaged(page, "is a branch without children");
    std::optional<Element> e = element(node, leaf, header.count - 1u);
    if (!e) return damaged(page, "its last item lies outside of it");
    if (leaf) return f(e->key, e->value);
    page = e->child;
  }
  return damaged(page, "lies too deep");
}

// Page and overflow as one piece.
Status Reader::read_page(PageId page, std::string& out) const {
  if (page < kFirstDataPage || page >= meta_.pages) return damaged(page, "is outside of the file");
  char raw[kPageHeaderBytes];
  uint64_t offset = page * meta_.page_bytes;
  RETURN_IF_ERROR(source_->read(offset, raw));
  PageHeader header = load_page_header(raw);
  if (header.id != page) return damaged(page, "calls itself page " + std::to_string(header.id));
  if (header.overflow >= meta_.pages - page) return damaged(page, "goes on behind the end of the file");
  uint64_t bytes = (uint64_t{header.overflow} + 1) * meta_.page_bytes;
  if (bytes > kNodeBytesMax) return damaged(page, "has " + std::to_string(bytes) + " bytes, more than is supported");
  out.resize(bytes);
  return source_->read(offset, out);
}

Status Reader::mark(std::vector<bool>& seen, PageId page, size_t pages) const {
  for (PageId p = page; p < page + pages; ++p) {
    if (seen[p]) return damaged(p, "is part of the tree twice");
    seen[p] = true;
  }
  return {};
}

Status Reader::read_node(Walk& walk, PageId page, std::string& out) const {
  RETURN_IF_ERROR(read_page(page, out));
  PageHeader header = load_page_header(out.data());
  if (header.flags != kLeafPage && header.flags != kBranchPage) return damaged(page, "is neither leaf nor branch");
  return mark(walk.seen, page, size_t{header.overflow} + 1);
}

Status Reader::check() const {
  Visit visit = [](std::string_view, std::string_view) -> Status { return {}; };
  Walk walk{visit, std::vector<bool>(meta_.pages), {}, false, true, visit};
  RETURN_IF_ERROR(visit_page(walk, meta_.root, 0, {}));
  walk.buckets_wanted = false;
  for (const Bucket& bucket : buckets_) {
    walk.any = false;
    if (bucket.root != 0) RETURN_IF_ERROR(visit_page(walk, bucket.root, 0, {}));
  }
  if (meta_.freelist == kNoFreelist) return {};  // what is in no tree is free
  std::string list;
  RETURN_IF_ERROR(read_page(meta_.freelist, list));
  PageHeader header = load_page_header(list.data());
  if (header.flags != kFreelistPage) return damaged(meta_.freelist, "is not the list of free pages");
  RETURN_IF_ERROR(mark(walk.seen, meta_.freelist, size_t{header.overflow} + 1));
  fairlead::Reader in(std::string_view(list).substr(kPageHeaderBytes));
  uint64_t count = header.count == kFreelistLong ? in.fixed<uint64_t>() : header.count;
  for (uint64_t i = 0; i < count; ++i) {
    PageId page = in.fixed<uint64_t>();
    if (!in.ok()) return damaged(meta_.freelist, "lists more pages than it has room for");
    if (page < kFirstDataPage || page >= meta_.pages) return damaged(page, "is free and outside of the file");
    if (walk.seen[page]) return damaged(page, "is free, and used or free a second time");
    walk.seen[page] = true;
  }
  for (PageId page = kFirstDataPage; page < meta_.pages; ++page)
    if (!walk.seen[page]) return damaged(page, "is neither used nor free");
  return {};
}

Status Reader::visit_page(Walk& walk, PageId page, size_t depth, std::string_view low) const {
  if (depth >= kDepthMax) return damaged(page, "lies too deep");
  std::string node;
  RETURN_IF_ERROR(read_node(walk, page, node));
  if (depth > 0 && load_page_header(node.data()).count > 0) {
    std::optional<Element> first = element(node, load_page_header(node.data()).flags == kLeafPage, 0);
    if (first && first->key < low) return damaged(page, "begins before the key that leads to it");
  }
  return load_page_header(node.data()).flags == kLeafPage ? visit_leaf(walk, page, node)
                                                          : visit_branch(walk, page, node, depth);
}

Status Reader::visit_leaf(Walk& walk, PageId page, std::string_view node) const {
  PageHeader header = load_page_header(node.data());
  for (size_t i = 0; i < header.count; ++i) {
    std::optional<Element> e = element(node, true, i);
    if (!e) return damaged(page, "item " + std::to_string(i) + " lies outside of it");
    if (walk.any && e->key <= walk.last_key) return damaged(page, "item " + std::to_string(i) + " is out of order");
    walk.any = true;
    walk.last_key.assign(e->key);
    if (((e->flags & kBucketFlag) != 0) != walk.buckets_wanted)
      return damaged(page, walk.buckets_wanted ? "an item outside of a bucket" : "a bucket within a bucket");
    RETURN_IF_ERROR(walk.buckets_wanted ? walk.on_bucket(e->key, e->value) : walk.visit(e->key, e->value));
  }
  return {};
}

Status Reader::visit_branch(Walk& walk, PageId page, std::string_view node, size_t depth) const {
  PageHeader header = load_page_header(node.data());
  if (header.count == 0) return damaged(page, "is a branch without children");
  for (size_t i = 0; i < header.count; ++i) {
    std::optional<Element> e = element(node, false, i);
    if (!e) return damaged(page, "child " + std::to_string(i) + " lies outside of it");
    RETURN_IF_ERROR(visit_page(walk, e->child, depth + 1, e->key));
  }
  return {};
}

}  // namespace fairlead::bolt
