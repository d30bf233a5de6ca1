// The ordered index: a B-tree from key to slot.
//
// A leaf entry is 12 bytes: 8 characters of the key after the prefix that all keys of the node share, and the slot id
// with one bit that says whether the key's newest revision is a tombstone. Characters beyond those eight are compared
// in the key itself. The shared prefix follows from the separators around a node: every key that is routed to it has
// it, so it is never compared.
//
// Inner nodes keep for each child the number of live keys (for `count`) and a bound on the newest revision below it: a
// subtree that has not changed since revision r can be counted, or left alone by a compaction, without being visited.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "server/mvcc/slots.h"

namespace fairlead::mvcc {

class KeyTree {
 public:
  static constexpr uint32_t kLeafMax = 84;  // 1016 bytes: fits malloc's 1024
  static constexpr uint32_t kInnerMax = 64;
  static constexpr int kDepthMax = 10;

  struct Leaf {
    uint32_t size = 0;
    uint32_t prefix = 0;  // length of the shared prefix
    uint64_t head[kLeafMax];
    SlotId slot[kLeafMax];  // | kSlotDead

    bool live(uint32_t i) const { return !(slot[i] & kSlotDead); }
    SlotId id(uint32_t i) const { return slot[i] & ~kSlotDead; }
  };
  struct Inner {
    uint32_t size = 0;
    uint32_t prefix = 0;
    void* child[kInnerMax];
    struct Sum {
      int64_t newest;  // no key below has a newer revision
      uint32_t count;  // live keys below
    };
    Sum sum[kInnerMax];                // of each child
    uint64_t head[kInnerMax];          // of separator
    std::string separator[kInnerMax];  // lower bound of child i; [0] is not used
  };
  // Where a key is, or would be: good until the next insert or erase.
  struct Path {
    Inner* inner[kDepthMax];
    uint32_t at[kDepthMax];
    Leaf* leaf = nullptr;
    uint32_t position = 0;
  };

  explicit KeyTree(const SlotTable* slots);
  ~KeyTree();
  KeyTree(const KeyTree&) = delete;
  KeyTree& operator=(const KeyTree&) = delete;

  // True when found; else the path is where it belongs.
  bool find(std::string_view key, Path& path) const;
  void insert(std::string_view key, SlotId slot, bool live, int64_t revision);
  // The key at `path` got a revision.
  void touch(const Path& path, bool live, int64_t revision);
  void erase(Path& path);

  uint64_t live() const { return live_; }
  int64_t newest() const { return newest_; }  // no key has a newer revision
  size_t size() const { return size_; }
  size_t bytes() const { return leaves_ * sizeof(Leaf) + inners_ * sizeof(Inner); }
  // Live keys in [from, to); without `to`: all from `from` on.
  uint64_t count(std::string_view from, const std::string_view* to) const;

  // Visits the leaves that hold keys of [from, to), in order: visit(leaf, begin, end, newest) -> false to stop.
  // Before a subtree that lies wholly in the range is entered, skip(count, newest) may take it as done.
  // Returns false if visit stopped it. The tree must not change meanwhile.
  template <typename Skip, typename Visit>
  bool walk(std::string_view from, const std::string_view* to, Skip&& skip, Visit&& visit) const;

  // Bulk load in ascending key order into an empty tree: leaves are filled whole, then inner nodes level by level.
  class Builder;

 private:
  struct Fences {
    std::string_view low, high;
    bool has_low = false, has_high = false;
  };
  static uint64_t head_of(std::string_view key, uint32_t prefix);
  static uint32_t shared_prefix(const Fences& fences);
  uint32_t lower_bound(const Leaf& leaf, std::string_view key) const;
  static uint32_t child_index(const Inner& inner, std::string_view key);
  bool find_with_fences(std::string_view key, Path& path, Fences* fences) const;
  Fences fences_of(const Path& path, int level) const;
  void refit(void* node, int level, const Fences& fences);
  void split(const Path& path, std::string_view key);
  void split_leaf(const Path& path, std::string_view key);
  void split_inner(const Path& path, int level);
  void insert_child(Inner& parent, uint32_t index, void* node, std::string separator, uint32_t count, int64_t newest);
  void remove_child(Inner& parent, uint32_t index);
  bool merge(Path& path, int level);
  void free_node(void* node, int level);
  uint32_t leaf_live(const Leaf& leaf) const;
  const std::string* upper(const Path& path, int level) const;
  const std::string* lower(const Path& path, int level) const;

  const SlotTable* slots_;
  void* root_;
  int height_ = 0;  // levels of inner nodes above the leaves
  uint64_t live_ = 0;
  int64_t newest_ = 0;
  size_t size_ = 0;
  size_t leaves_ = 0;
  size_t inners_ = 0;
};

template <typename Skip, typename Visit>
bool KeyTree::walk(std::string_view from, const std::string_view* to, Skip&& skip, Visit&& visit) const {
  if (to && *to <= from) return true;
  Path path;
  find(from, path);
  uint32_t begin = path.position;
  for (;;) {
    int level = height_;  // the leaf's
    const std::string* high = upper(path, level - 1);
    uint32_t end = path.leaf->size;
    bool last = to && (!high || *to < *high);
    if (last) {
      const std::string* low = lower(path, level - 1);
      end = low && *to <= *low ? 0 : lower_bound(*path.leaf, *to);
    }
    int64_t newest = height_ ? path.inner[level - 1]->sum[path.at[level - 1]].newest : newest_;
    if (begin < end && !visit(*path.leaf, begin, end, newest)) return false;
    if (last) return true;
    // on to the next leaf, past subtrees that need no visit
    begin = 0;
    --level;
    for (;;) {
      while (level >= 0 && path.at[level] + 1 == path.inner[level]->size) --level;
      if (level < 0) return true;
      Inner* inner = path.inner[level];
      uint32_t at = ++path.at[level];
      const std::string* bound = upper(path, level);
      if (to && *to <= inner->separator[at]) return true;
      if ((!to || (bound && *bound <= *to)) && skip(inner->sum[at].count, inner->sum[at].newest)) continue;
      // enter this child; at its first child the same question is asked
      bool skipped = false;
      while (++level < height_) {
        path.inner[level] = static_cast<Inner*>(path.inner[level - 1]->child[path.at[level - 1]]);
        path.at[level] = 0;
        bound = upper(path, level);
        if ((!to || (bound && *bound <= *to)) &&
            skip(path.inner[level]->sum[0].count, path.inner[level]->sum[0].newest)) {
          skipped = true;
          break;
        }
      }
      if (skipped) continue;
      path.leaf = static_cast<Leaf*>(path.inner[height_ - 1]->child[path.at[height_ - 1]]);
      break;
    }
  }
}

class KeyTree::Builder {
 public:
  explicit Builder(KeyTree* tree) : tree_(tree) {}
  void add(std::string_view key, SlotId slot, bool live, int64_t revision);
  void finish();

 private:
  struct Child {
    void* node;
    std::string separator;
    uint32_t count;
    int64_t newest;
  };
  void close_leaf();

  KeyTree* tree_;
  Leaf* leaf_ = nullptr;
  uint32_t leaf_count_ = 0;
  int64_t leaf_newest_ = 0;
  std::string leaf_separator_;
  std::vector<Child> level_;
};

}  // namespace fairlead::mvcc
