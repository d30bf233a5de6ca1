// Reads a bbolt file that nobody is writing: a snapshot, or a copy of a member's database. Trusts nothing: every
// number, length and order is checked before it is used, a page is visited at most once, and what is wrong is kDataLoss
// naming the page. Only check() looks at free pages.
//
// Memory: the pages on the way from the root to the current leaf, plus a bit for each page of the file. A page with its
// overflow may have kNodeBytesMax. Threads: none of its own; all calls block.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "server/bolt/format.h"
#include "server/io/io.h"

namespace fairlead::bolt {

constexpr size_t kNodeBytesMax = 256 << 20;
constexpr size_t kDepthMax = 32;
constexpr size_t kBucketsMax = 1024;

// Where the bytes come from: a file, or memory in tests.
class Source {
 public:
  virtual ~Source() = default;
  virtual uint64_t size() const = 0;
  virtual Status read(uint64_t offset, std::span<char> into) const = 0;  // all of it, or an error
  virtual std::string name() const = 0;                                  // for messages
};
// Told about every read, for progress.
using OnRead = std::function<void(uint64_t bytes)>;
Result<std::shared_ptr<const Source>> open_source(io::Disk& disk, const std::string& path, OnRead on_read = nullptr);
std::shared_ptr<const Source> memory_source(std::string_view bytes);  // must outlive it

class Reader {
 public:
  static Result<std::unique_ptr<Reader>> open(std::shared_ptr<const Source> source);

  const Meta& meta() const { return meta_; }
  std::vector<std::string> buckets() const;  // in order
  bool has(std::string_view bucket) const { return find(bucket) != nullptr; }

  // Calls `f` for each item of the bucket in key order until it fails; a bucket that is not there has none. The views
  // live during the call. Buckets within buckets are refused: etcd has none.
  using Visit = std::function<Status(std::string_view key, std::string_view value)>;
  Status for_each(std::string_view bucket, const Visit& f) const;

  // The last item alone, if there is one.
  Status for_last(std::string_view bucket, const Visit& f) const;

  // Everything: all buckets share no page, and every other page is on the free list, once, if the file has one.
  Status check() const;

 private:
  struct Bucket {
    std::string name;
    PageId root = 0;
    std::string inline_page;  // of a small bucket, which lies within the root's leaf
  };
  struct Walk;
  Reader(std::shared_ptr<const Source> source, const Meta& meta) : source_(std::move(source)), meta_(meta) {}
  const Bucket* find(std::string_view name) const;
  Status damaged(PageId page, const std::string& what) const;
  Status load_buckets();
  Status read_page(PageId page, std::string& out) const;
  Status mark(std::vector<bool>& seen, PageId page, size_t pages) const;
  Status read_node(Walk& walk, PageId page, std::string& out) const;
  Status visit_page(Walk& walk, PageId page, size_t depth, std::string_view low) const;
  Status visit_leaf(Walk& walk, PageId page, std::string_view node) const;
  Status visit_branch(Walk& walk, PageId page, std::string_view node, size_t depth) const;

  std::shared_ptr<const Source> source_;
  Meta meta_;
  std::vector<Bucket> buckets_;
};

}  // namespace fairlead::bolt
