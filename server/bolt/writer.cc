#include "server/bolt/writer.h"

#include "base/check.h"
#include "base/codec.h"

namespace fairlead::bolt {
namespace {

constexpr PageId kFreelist = 2;

void append_page(std::string& out, const PageHeader& header, std::string_view body) {
  size_t begin = out.size();
  out.resize(begin + kPageBytes);
  char* p = store_page_header(out.data() + begin, header);
  if (!body.empty()) std::memcpy(p, body.data(), body.size());
}

}  // namespace

Writer::Writer() : counting_(true), next_(kFreelist + 1) {}

Writer::Writer(const Layout& layout, std::string* out)
    : counting_(false), out_(out), promised_(layout), next_(kFreelist + 1) {
  // A page number is its transaction's last bit: the newer one lies in front.
  for (uint64_t txid : {2, 1}) {
    char meta[kMetaBytes];
    store_meta(meta, {kPageBytes, layout.root, kFreelist, layout.pages, txid});
    append_page(*out_, {txid % 2, kMetaPage, 0, 0}, {meta, sizeof(meta)});
  }
  append_page(*out_, {kFreelist, kFreelistPage, 0, 0}, {});
}

void Writer::begin_bucket(std::string_view name) {
  CHECK(!in_bucket_, "one bucket at a time");
  CHECK(buckets_.empty() || buckets_.back().name < name, "buckets come in order");
  in_bucket_ = true;
  buckets_.push_back({std::string(name)});
  any_key_ = false;
}

void Writer::add(std::string_view key, std::string_view value) {
  if (char* room = add_item(key, value.size(), 0); room && !value.empty())
    std::memcpy(room, value.data(), value.size());
}

void Writer::end_bucket() {
  CHECK(in_bucket_);
  buckets_.back().root = close_tree();
  in_bucket_ = false;
}

Layout Writer::finish() {
  CHECK(!in_bucket_);
  in_bucket_ = true;
  any_key_ = false;
  for (const Bucket& bucket : buckets_) {
    if (char* room = add_item(bucket.name, kBucketHeaderBytes, kBucketFlag)) {
      store_fixed(room, bucket.root);
      store_fixed(room + 8, uint64_t{0});
    }
  }
  Layout layout;
  layout.root = close_tree();
  layout.pages = next_;
  if (!counting_) CHECK(layout == promised_, "both passes over the content see the same sizes");
  return layout;
}

char* Writer::add_item(std::string_view key, size_t value_bytes, uint32_t flags) {
  CHECK(in_bucket_ && !key.empty() && key.size() <= kKeyBytesMax && value_bytes <= kValueBytesMax);
  CHECK(!any_key_ || last_key_ < key, "items come in order");
  any_key_ = true;
  last_key_.assign(key);
  size_t bytes = kElementBytes + key.size() + value_bytes;
  if (levels_.empty()) levels_.emplace_back();
  if (levels_[0].count > 0 && (levels_[0].bytes + bytes > kPageBytes || levels_[0].count == kElementsMax))
    close_page(0);
  if (levels_[0].count == 0) begin_page(0, key);
  Level& leaf = levels_[0];
  ++leaf.count;
  leaf.bytes += bytes;
  if (counting_) return nullptr;
  leaf.offsets.push_back(static_cast<uint32_t>(leaf.data.size()));
  put_fixed(leaf.elements, flags);
  put_fixed(leaf.elements, uint32_t{0});  // where the key lies: known when the page is closed
  put_fixed(leaf.elements, static_cast<uint32_t>(key.size()));
  put_fixed(leaf.elements, static_cast<uint32_t>(value_bytes));
  leaf.data.append(key);
  size_t at = leaf.data.size();
  leaf.data.resize(at + value_bytes);
  return leaf.data.data() + at;
}

void Writer::begin_page(size_t level, std::string_view first_key) {
  Level& l = levels_[level];
  l.elements.clear();
  l.data.clear();
  l.offsets.clear();
  l.bytes = kPageHeaderBytes;
  l.first_key.assign(first_key);
}

void Writer::add_child(size_t level, std::string_view first_key, PageId child) {
  if (levels_.size() == level) levels_.emplace_back();
  size_t bytes = kElementBytes + first_key.size();
  // Two children at least, however long their keys are: else no level would be smaller than the one below.
  if (levels_[level].count > 1 && (levels_[level].bytes + bytes > kPageBytes || levels_[level].count == kElementsMax))
    close_page(level);
  if (levels_[level].count == 0) begin_page(level, first_key);
  Level& branch = levels_[level];
  ++branch.count;
  branch.bytes += bytes;
  if (counting_) return;
  branch.offsets.push_back(static_cast<uint32_t>(branch.data.size()));
  put_fixed(branch.elements, uint32_t{0});
  put_fixed(branch.elements, static_cast<uint32_t>(first_key.size()));
  put_fixed(branch.elements, child);
  branch.data.append(first_key);
}

// Gives the open page of a level its number and hands it out; its parent hears of it, unless it may be the root.
PageId Writer::close_page(size_t level) {
  Level& l = levels_[level];
  PageId id = next_;
  auto pages = static_cast<uint32_t>((l.bytes + kPageBytes - 1) / kPageBytes);
  next_ += pages;
  if (!counting_) {
    size_t where = level == 0 ? 4 : 0;  // of the offset within an element; it counts from the element's begin
    for (size_t i = 0; i < l.count; ++i)
      store_fixed(l.elements.data() + i * kElementBytes + where,
                  static_cast<uint32_t>((l.count - i) * kElementBytes + l.offsets[i]));
    size_t begin = out_->size();
    out_->resize(begin + kPageHeaderBytes);
    store_page_header(out_->data() + begin,
                      {id, level == 0 ? kLeafPage : kBranchPage, static_cast<uint16_t>(l.count), pages - 1});
    out_->append(l.elements);
    out_->append(l.data);
    out_->resize(begin + pages * kPageBytes);
  }
  ++l.pages;
  l.count = 0;
  std::string first_key = std::move(l.first_key);
  add_child(level + 1, first_key, id);
  return id;
}

// Closes what is open, level by level, up to the one page above all others.
PageId Writer::close_tree() {
  if (levels_.empty()) levels_.emplace_back();
  if (!any_key_) begin_page(0, {});
  PageId root = 0;
  for (size_t level = 0;; ++level) {
    // A level with one child and no page yet: the child is the root.
    if (level > 0 && levels_[level].pages == 0 && levels_[level].count == 1) break;
    if (levels_[level].count > 0 || (level == 0 && !any_key_)) root = close_page(level);
  }
  levels_.clear();
  return root;
}

}  // namespace fairlead::bolt
