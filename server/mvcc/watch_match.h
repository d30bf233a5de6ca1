// Which watchers a key concerns: exact keys by hash, ranges in an interval tree.
//
// Watchers of one range are one group. The tree is a treap over the distinct ranges, ordered by (start, end), whose
// priorities come from a counter, so that its shape depends on the calls alone; each node knows the farthest end below
// it, so a key visits only ranges that can hold it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "server/mvcc/mix.h"

namespace fairlead::mvcc {

// T needs: std::string key, end; bool one_key, open (no end); size_t at (its place in its group, owned by the matcher).
template <typename T>
class WatchMatcher {
 public:
  void add(T* w) {
    std::vector<T*>& group = w->one_key ? exact_[w->key] : insert(w);
    w->at = group.size();
    group.push_back(w);
  }

  void remove(T* w) {
    if (w->one_key) {
      auto it = exact_.find(w->key);
      take_out(it->second, w);
      if (it->second.empty()) exact_.erase(it);
      return;
    }
    Node* node = find(w);
    take_out(node->group, w);
    if (node->group.empty()) root_ = erase(std::move(root_), w);
  }

  // Calls f(watcher) for every watcher whose range holds the key.
  template <typename F>
  void match(std::string_view key, F&& f) const {
    if (!exact_.empty()) {
      if (auto it = exact_.find(key); it != exact_.end()) {
        for (T* w : it->second) f(w);
      }
    }
    stab(root_.get(), key, f);
  }

 private:
  struct Node {
    std::string start, end;
    bool open = false;
    uint64_t priority = 0;
    const Node* farthest = nullptr;  // of this subtree
    std::vector<T*> group;
    std::unique_ptr<Node> left, right;

    bool beyond(std::string_view key) const { return open || key < end; }
    bool ends_before(const Node& o) const { return !open && (o.open || end < o.end); }
  };
  using NodePtr = std::unique_ptr<Node>;
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return static_cast<size_t>(mix_bytes(0, s)); }
  };

  static int order(const T* w, const Node& n) {
    if (int c = w->key.compare(n.start)) return c;
    if (w->open != n.open) return w->open ? 1 : -1;
    return w->open ? 0 : w->end.compare(n.end);
  }
  static void update(Node& n) {
    n.farthest = &n;
    for (const Node* child : {n.left.get(), n.right.get()}) {
      if (child && n.farthest->ends_before(*child->farthest)) n.farthest = child->farthest;
    }
  }
  static NodePtr merge(NodePtr a, NodePtr b) {  // all of a before all of b
    if (!a) return b;
    if (!b) return a;
    if (a->priority > b->priority) {
      a->right = merge(std::move(a->right), std::move(b));
      update(*a);
      return a;
    }
    b->left = merge(std::move(a), std::move(b->left));
    update(*b);
    return b;
  }
  // Nodes before w's range to `before`, the others (none is equal) to `after`.
  static void split(NodePtr n, const T* w, NodePtr& before, NodePtr& after) {
    if (!n) {
      before.reset();
      after.reset();
      return;
    }
    Node& node = *n;
    if (order(w, node) > 0) {
      NodePtr rest = std::move(node.right);
      split(std::move(rest), w, node.right, after);
      update(node);
      before = std::move(n);
    } else {
      NodePtr rest = std::move(node.left);
      split(std::move(rest), w, before, node.left);
      update(node);
      after = std::move(n);
    }
  }
  Node* find(const T* w) const {
    Node* n = root_.get();
    while (n) {
      int c = order(w, *n);
      if (c == 0) return n;
      n = c < 0 ? n->left.get() : n->right.get();
    }
    return nullptr;
  }
  std::vector<T*>& insert(const T* w) {
    if (Node* found = find(w)) return found->group;
    auto node = std::make_unique<Node>();
    node->start = w->key;
    node->end = w->end;
    node->open = w->open;
    node->priority = mix(0, ++inserted_);
    update(*node);
    std::vector<T*>& group = node->group;
    NodePtr before, after;
    split(std::move(root_), w, before, after);
    root_ = merge(merge(std::move(before), std::move(node)), std::move(after));
    return group;
  }
  static NodePtr erase(NodePtr n, const T* w) {
    int c = order(w, *n);
    if (c == 0) return merge(std::move(n->left), std::move(n->right));
    if (c < 0) {
      n->left = erase(std::move(n->left), w);
    } else {
      n->right = erase(std::move(n->right), w);
    }
    update(*n);
    return n;
  }
  template <typename F>
  static void stab(const Node* n, std::string_view key, F&& f) {
    for (; n && n->farthest->beyond(key); n = n->right.get()) {
      stab(n->left.get(), key, f);
      if (key < n->start) return;
      if (n->beyond(key)) {
        for (T* w : n->group) f(w);
      }
    }
  }
  static void take_out(std::vector<T*>& group, T* w) {
    group[w->at] = group.back();
    group[w->at]->at = w->at;
    group.pop_back();
  }

  std::unordered_map<std::string, std::vector<T*>, Hash, std::equal_to<>> exact_;  // never walked
  NodePtr root_;
  uint64_t inserted_ = 0;
};

}  // namespace fairlead::mvcc
