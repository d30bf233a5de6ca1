#include "server/mvcc/tree.h"

#include <cstddef>
#include <utility>

namespace fairlead::mvcc {
namespace {

uint32_t common_prefix(std::string_view a, std::string_view b) {
  size_t n = std::min(a.size(), b.size()), i = 0;
  while (i < n && a[i] == b[i]) ++i;
  return static_cast<uint32_t>(i);
}

// The shortest string s with left < s <= right.
std::string separator_between(std::string_view left, std::string_view right) {
  return std::string(right.substr(0, common_prefix(left, right) + 1));
}

template <typename T>
void move_range(T* array, uint32_t from, uint32_t to, uint32_t count) {
  if (from < to) {
    std::move_backward(array + from, array + from + count, array + to + count);
  } else {
    std::move(array + from, array + from + count, array + to);
  }
}

// First i in [0, size) with head[i] >= wanted; size if none. Without branches to mispredict.
uint32_t first_not_below(const uint64_t* head, uint32_t size, uint64_t wanted) {
  const uint64_t* base = head;
  while (size > 1) {
    uint32_t half = size / 2;
    base += base[half - 1] < wanted ? half : 0;
    size -= half;
  }
  return static_cast<uint32_t>(base - head) + (size == 1 && *base < wanted);
}

// Asks for the lines that a search will look at, all at once: one miss instead of one for each halving.
void prefetch(const void* from, size_t bytes) {
  for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch(static_cast<const char*>(from) + at);
}

}  // namespace

KeyTree::KeyTree(const SlotTable* slots) : slots_(slots), root_(new Leaf), leaves_(1) {}

KeyTree::~KeyTree() { free_node(root_, 0); }

void KeyTree::free_node(void* node, int level) {
  if (level == height_) {
    delete static_cast<Leaf*>(node);
    return;
  }
  auto* inner = static_cast<Inner*>(node);
  for (uint32_t i = 0; i < inner->size; ++i) free_node(inner->child[i], level + 1);
  delete inner;
}

uint64_t KeyTree::head_of(std::string_view key, uint32_t prefix) {
  uint64_t head = 0;
  if (key.size() >= prefix + sizeof(head)) {
    std::memcpy(&head, key.data() + prefix, sizeof(head));
  } else if (key.size() > prefix) {
    std::memcpy(&head, key.data() + prefix, key.size() - prefix);
  }
  return __builtin_bswap64(head);
}

uint32_t KeyTree::shared_prefix(const Fences& fences) {
  return fences.has_low && fences.has_high ? common_prefix(fences.low, fences.high) : 0;
}

// First entry that is not below `key`. Heads decide; among equal heads the keys themselves.
uint32_t KeyTree::lower_bound(const Leaf& leaf, std::string_view key) const {
  uint64_t head = head_of(key, leaf.prefix);
  uint32_t low = first_not_below(leaf.head, leaf.size, head);
  if (low == leaf.size || leaf.head[low] != head) return low;
  uint32_t high = low + 1;
  if (high < leaf.size && leaf.head[high] == head) {
    high = head == ~uint64_t{0} ? leaf.size : low + first_not_below(leaf.head + low, leaf.size - low, head + 1);
  }
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (slots_->key(leaf.id(middle)) < key) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// Last child whose separator is not above `key`.
uint32_t KeyTree::child_index(const Inner& inner, std::string_view key) {
  uint64_t head = head_of(key, inner.prefix);
  uint32_t low = 1 + first_not_below(inner.head + 1, inner.size - 1, head), high = low;
  if (low < inner.size && inner.head[low] == head) {
    high = head == ~uint64_t{0} ? inner.size : low + first_not_below(inner.head + low, inner.size - low, head + 1);
  }
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (inner.separator[middle] <= key) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low - 1;
}

bool KeyTree::find(std::string_view key, Path& path) const {
  void* node = root_;
  for (int level = 0; level < height_; ++level) {
    auto* inner = static_cast<Inner*>(node);
    path.inner[level] = inner;
    path.at[level] = child_index(*inner, key);
    node = inner->child[path.at[level]];
    __builtin_prefetch(&inner->sum[path.at[level]], 1);  // for touch()
    if (level + 1 == height_) {
      prefetch(node, offsetof(Leaf, slot));
    } else {
      prefetch(node, 8);
      prefetch(static_cast<Inner*>(node)->head, sizeof(Inner::head));
    }
  }
  path.leaf = static_cast<Leaf*>(node);
  path.position = lower_bound(*path.leaf, key);
  return path.position < path.leaf->size && slots_->key(path.leaf->id(path.position)) == key;
}

// Upper bound of the child that `path` takes at `level` (and so of all below); null: none.
const std::string* KeyTree::upper(const Path& path, int level) const {
  for (; level >= 0; --level) {
    const Inner* inner = path.inner[level];
    if (path.at[level] + 1 < inner->size) return &inner->separator[path.at[level] + 1];
  }
  return nullptr;
}

const std::string* KeyTree::lower(const Path& path, int level) const {
  for (; level >= 0; --level) {
    if (path.at[level] > 0) return &path.inner[level]->separator[path.at[level]];
  }
  return nullptr;
}

// Of the node at `level` on the path.
KeyTree::Fences KeyTree::fences_of(const Path& path, int level) const {
  Fences fences;
  if (const std::string* low = lower(path, level - 1)) {
    fences.low = *low;
    fences.has_low = true;
  }
  if (const std::string* high = upper(path, level - 1)) {
    fences.high = *high;
    fences.has_high = true;
  }
  return fences;
}

// After the fences of a node changed: its prefix and heads, and those of the nodes at its edges, which share a fence.
void KeyTree::refit(void* node, int level, const Fences& fences) {
  uint32_t prefix = shared_prefix(fences);
  if (level == height_) {
    auto* leaf = static_cast<Leaf*>(node);
    if (leaf->prefix == prefix) return;
    leaf->prefix = prefix;
    for (uint32_t i = 0; i < leaf->size; ++i) leaf->head[i] = head_of(slots_->key(leaf->id(i)), prefix);
    return;
  }
  auto* inner = static_cast<Inner*>(node);
  if (inner->prefix != prefix) {
    inner->prefix = prefix;
    for (uint32_t i = 1; i < inner->size; ++i) inner->head[i] = head_of(inner->separator[i], prefix);
  }
  Fences first = fences, last = fences;
  if (inner->size > 1) {
    first.has_high = last.has_low = true;
    first.high = inner->separator[1];
    last.low = inner->separator[inner->size - 1];
  }
  refit(inner->child[0], level + 1, first);
  if (inner->size > 1) refit(inner->child[inner->size - 1], level + 1, last);
}

uint32_t KeyTree::leaf_live(const Leaf& leaf) const {
  uint32_t live = 0;
  for (uint32_t i = 0; i < leaf.size; ++i) live += leaf.live(i);
  return live;
}

void KeyTree::insert(std::string_view key, SlotId slot, bool live, int64_t revision) {
  Path path;
  find(key, path);
  while (path.leaf->size == kLeafMax) {
    split(path, key);
    find(key, path);
  }
  Leaf& leaf = *path.leaf;
  move_range(leaf.head, path.position, path.position + 1, leaf.size - path.position);
  move_range(leaf.slot, path.position, path.position + 1, leaf.size - path.position);
  leaf.head[path.position] = head_of(key, leaf.prefix);
  leaf.slot[path.position] = slot | kSlotDead;  // touch() counts it
  ++leaf.size;
  ++size_;
  touch(path, live, revision);
}

void KeyTree::touch(const Path& path, bool live, int64_t revision) {
  SlotId& entry = path.leaf->slot[path.position];
  uint32_t change = static_cast<uint32_t>(live) - static_cast<uint32_t>(path.leaf->live(path.position));
  entry = live ? entry & ~kSlotDead : entry | kSlotDead;
  live_ += static_cast<uint64_t>(static_cast<int32_t>(change));
  newest_ = std::max(newest_, revision);
  for (int level = 0; level < height_; ++level) {
    Inner* inner = path.inner[level];
    uint32_t at = path.at[level];
    inner->sum[at].count += change;
    inner->sum[at].newest = std::max(inner->sum[at].newest, revision);
  }
}

// Splits the topmost node on the path that must be split before the leaf can be; the caller searches again.
void KeyTree::split(const Path& path, std::string_view key) {
  int level = height_;
  while (level > 0 && path.inner[level - 1]->size == kInnerMax) --level;
  if (level == 0) {
    auto* root = new Inner;
    ++inners_;
    root->size = 1;
    root->child[0] = root_;
    root->sum[0].count = static_cast<uint32_t>(live_);
    root->sum[0].newest = newest_;
    root_ = root;
    ++height_;
    CHECK(height_ < kDepthMax, "64^9 leaves do not fit in memory");
  } else if (level == height_) {
    split_leaf(path, key);
  } else {
    split_inner(path, level);
  }
}

void KeyTree::split_leaf(const Path& path, std::string_view key) {
  Leaf* left = path.leaf;
  auto* right = new Leaf;
  ++leaves_;
  Fences fences = fences_of(path, height_);
  // Keys that arrive in order leave full leaves behind.
  bool append = !fences.has_high && path.position == left->size;
  uint32_t middle = append ? left->size : left->size / 2;
  std::string_view right_first = append ? key : slots_->key(left->id(middle));
  std::string separator = separator_between(slots_->key(left->id(middle - 1)), right_first);

  right->size = left->size - middle;
  std::copy_n(left->head + middle, right->size, right->head);
  std::copy_n(left->slot + middle, right->size, right->slot);
  left->size = middle;
  right->prefix = left->prefix;

  Inner& parent = *path.inner[height_ - 1];
  uint32_t at = path.at[height_ - 1];
  std::string high(fences.high);  // inserting moves separators
  fences.high = high;
  uint32_t right_live = leaf_live(*right);
  parent.sum[at].count -= right_live;
  insert_child(parent, at + 1, right, std::move(separator), right_live, parent.sum[at].newest);
  std::string_view middle_fence = parent.separator[at + 1];
  refit(left, height_, {fences.low, middle_fence, fences.has_low, true});
  refit(right, height_, {middle_fence, fences.high, true, fences.has_high});
}

void KeyTree::split_inner(const Path& path, int level) {
  Inner* left = path.inner[level];
  auto* right = new Inner;
  ++inners_;
  Fences fences = fences_of(path, level);
  uint32_t middle = left->size / 2;
  std::string separator = std::move(left->separator[middle]);
  right->size = left->size - middle;
  right->prefix = left->prefix;
  uint32_t right_count = 0;
  int64_t right_newest = 0;
  for (uint32_t i = 0; i < right->size; ++i) {
    right->child[i] = left->child[middle + i];
    right->sum[i].count = left->sum[middle + i].count;
    right->sum[i].newest = left->sum[middle + i].newest;
    right->head[i] = left->head[middle + i];
    if (i > 0) right->separator[i] = std::move(left->separator[middle + i]);
    right_count += right->sum[i].count;
    right_newest = std::max(right_newest, right->sum[i].newest);
  }
  left->size = middle;

  Inner& parent = *path.inner[level - 1];
  uint32_t at = path.at[level - 1];
  std::string high(fences.high);  // inserting moves separators
  fences.high = high;
  parent.sum[at].count -= right_count;
  insert_child(parent, at + 1, right, std::move(separator), right_count, right_newest);
  std::string_view middle_fence = parent.separator[at + 1];
  refit(left, level, {fences.low, middle_fence, fences.has_low, true});
  refit(right, level, {middle_fence, fences.high, true, fences.has_high});
}

void KeyTree::insert_child(Inner& parent, uint32_t index, void* node, std::string separator, uint32_t count,
                           int64_t newest) {
  uint32_t tail = parent.size - index;
  move_range(parent.child, index, index + 1, tail);
  move_range(parent.sum, index, index + 1, tail);
  move_range(parent.head, index, index + 1, tail);
  move_range(parent.separator, index, index + 1, tail);
  parent.child[index] = node;
  parent.sum[index].count = count;
  parent.sum[index].newest = newest;
  parent.head[index] = head_of(separator, parent.prefix);
  parent.separator[index] = std::move(separator);
  ++parent.size;
}

void KeyTree::remove_child(Inner& parent, uint32_t index) {
  uint32_t tail = parent.size - index - 1;
  move_range(parent.child, index + 1, index, tail);
  move_range(parent.sum, index + 1, index, tail);
  move_range(parent.head, index + 1, index, tail);
  move_range(parent.separator, index + 1, index, tail);
  --parent.size;
  parent.separator[parent.size].clear();
}

void KeyTree::erase(Path& path) {
  touch(path, false, 0);
  Leaf& leaf = *path.leaf;
  move_range(leaf.head, path.position + 1, path.position, leaf.size - path.position - 1);
  move_range(leaf.slot, path.position + 1, path.position, leaf.size - path.position - 1);
  --leaf.size;
  --size_;
  for (int level = height_; level > 0 && merge(path, level); --level) {
  }
  while (height_ > 0 && static_cast<Inner*>(root_)->size == 1) {
    auto* old = static_cast<Inner*>(root_);
    root_ = old->child[0];
    --height_;
    --inners_;
    delete old;
  }
}

// Joins the node at `level` with a neighbour under the same parent when it is a quarter full and both fit with room to
// spare. True when the parent lost a child.
bool KeyTree::merge(Path& path, int level) {
  Inner& parent = *path.inner[level - 1];
  bool is_leaf = level == height_;
  auto size_of = [&](uint32_t i) {
    return is_leaf ? static_cast<Leaf*>(parent.child[i])->size : static_cast<Inner*>(parent.child[i])->size;
  };
  uint32_t max = is_leaf ? kLeafMax : kInnerMax, at = path.at[level - 1];
  if (size_of(at) > max / 4 || parent.size == 1) return false;
  uint32_t left_at = at > 0 && (at + 1 == parent.size || size_of(at - 1) <= size_of(at + 1)) ? at - 1 : at;
  if (size_of(left_at) + size_of(left_at + 1) > max * 3 / 4) return false;

  // The fences of the joined node: those of the pair. The prefix can only get shorter.
  path.at[level - 1] = left_at;
  Fences fences = fences_of(path, level);
  std::string high_copy;
  if (const std::string* high = left_at + 2 < parent.size ? &parent.separator[left_at + 2] : upper(path, level - 2)) {
    high_copy = *high;
    fences.high = high_copy;
    fences.has_high = true;
  } else {
    fences.has_high = false;
  }
  if (is_leaf) {
    auto* left = static_cast<Leaf*>(parent.child[left_at]);
    auto* right = static_cast<Leaf*>(parent.child[left_at + 1]);
    uint32_t prefix = shared_prefix(fences);
    for (uint32_t i = 0; i < right->size; ++i) {
      left->slot[left->size + i] = right->slot[i];
      left->head[left->size + i] = head_of(slots_->key(right->id(i)), prefix);
    }
    if (left->prefix != prefix) {
      left->prefix = prefix;
      for (uint32_t i = 0; i < left->size; ++i) left->head[i] = head_of(slots_->key(left->id(i)), prefix);
    }
    left->size += right->size;
    delete right;
    --leaves_;
  } else {
    auto* left = static_cast<Inner*>(parent.child[left_at]);
    auto* right = static_cast<Inner*>(parent.child[left_at + 1]);
    right->separator[0] = parent.separator[left_at + 1];
    for (uint32_t i = 0; i < right->size; ++i) {
      uint32_t to = left->size + i;
      left->child[to] = right->child[i];
      left->sum[to].count = right->sum[i].count;
      left->sum[to].newest = right->sum[i].newest;
      left->separator[to] = std::move(right->separator[i]);
    }
    left->size += right->size;
    left->prefix = shared_prefix(fences);
    for (uint32_t i = 1; i < left->size; ++i) left->head[i] = head_of(left->separator[i], left->prefix);
    delete right;
    --inners_;
  }
  parent.sum[left_at].count += parent.sum[left_at + 1].count;
  parent.sum[left_at].newest = std::max(parent.sum[left_at].newest, parent.sum[left_at + 1].newest);
  remove_child(parent, left_at + 1);
  return true;
}

uint64_t KeyTree::count(std::string_view from, const std::string_view* to) const {
  if (to && *to <= from) return 0;
  auto rank = [this](std::string_view key) {
    Path path;
    find(key, path);
    uint64_t below = 0;
    for (int level = 0; level < height_; ++level) {
      for (uint32_t i = 0; i < path.at[level]; ++i) below += path.inner[level]->sum[i].count;
    }
    for (uint32_t i = 0; i < path.position; ++i) below += path.leaf->live(i);
    return below;
  };
  return (to ? rank(*to) : live_) - rank(from);
}

// ---- Bulk load ----

void KeyTree::Builder::close_leaf() {
  level_.push_back({leaf_, leaf_separator_, leaf_count_, leaf_newest_});
  leaf_ = nullptr;
}

void KeyTree::Builder::add(std::string_view key, SlotId slot, bool live, int64_t revision) {
  if (leaf_ && leaf_->size == kLeafMax) {
    std::string separator = separator_between(tree_->slots_->key(leaf_->id(leaf_->size - 1)), key);
    Fences fences{leaf_separator_, separator, !level_.empty(), true};
    tree_->refit(leaf_, tree_->height_, fences);
    close_leaf();
    leaf_separator_ = std::move(separator);
  }
  if (!leaf_) {
    leaf_ = new Leaf;
    ++tree_->leaves_;
    leaf_count_ = 0;
    leaf_newest_ = 0;
  }
  leaf_->head[leaf_->size] = head_of(key, 0);
  leaf_->slot[leaf_->size++] = live ? slot : slot | kSlotDead;
  leaf_count_ += live;
  leaf_newest_ = std::max(leaf_newest_, revision);
  tree_->live_ += live;
  tree_->newest_ = std::max(tree_->newest_, revision);
  ++tree_->size_;
}

void KeyTree::Builder::finish() {
  if (!leaf_) return;  // nothing was added: the tree keeps its empty leaf
  close_leaf();
  delete static_cast<Leaf*>(tree_->root_);
  --tree_->leaves_;
  while (level_.size() > 1) {
    std::vector<Child> above;
    for (size_t begin = 0; begin < level_.size();) {
      size_t end = std::min(level_.size(), begin + kInnerMax);
      auto* inner = new Inner;
      ++tree_->inners_;
      Fences fences{level_[begin].separator, end < level_.size() ? std::string_view(level_[end].separator) : "",
                    begin > 0, end < level_.size()};
      inner->prefix = shared_prefix(fences);
      Child parent{inner, level_[begin].separator, 0, 0};
      for (size_t i = begin; i < end; ++i) {
        uint32_t at = inner->size++;
        inner->child[at] = level_[i].node;
        inner->sum[at].count = level_[i].count;
        inner->sum[at].newest = level_[i].newest;
        inner->head[at] = head_of(level_[i].separator, inner->prefix);
        inner->separator[at] = at > 0 ? std::move(level_[i].separator) : std::string();
        parent.count += level_[i].count;
        parent.newest = std::max(parent.newest, level_[i].newest);
      }
      above.push_back(std::move(parent));
      begin = end;
    }
    level_ = std::move(above);
    ++tree_->height_;
  }
  tree_->root_ = level_[0].node;
}

}  // namespace fairlead::mvcc
