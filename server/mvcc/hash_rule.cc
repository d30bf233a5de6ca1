#include "server/mvcc/hash_rule.h"

#include <algorithm>

namespace fairlead::mvcc {

void HashRule::judge(std::span<const RecordMeta> revisions) {
  size_t newest = revisions.size();  // at or before the hashed revision
  while (newest > 0 && revisions[newest - 1].position.main > revision_) --newest;
  if (newest == 0) return;
  const bool alive = !revisions[newest - 1].tombstone();
  any_alive_ = any_alive_ || alive;
  for (size_t i = 0; i < newest && revisions[i].position.main <= compact_; ++i) {
    if (i + 1 == newest && alive) break;
    const bool hidden = i + 1 < revisions.size() && revisions[i + 1].position.main <= compact_;
    const bool gone = hidden || (revisions[i].tombstone() && revisions[i].position.main < compact_);
    skipped_.push_back({revisions[i].position, gone});
  }
}

void HashRule::settle() {
  if (!any_alive_) std::erase_if(skipped_, [](const Skipped& s) { return !s.gone; });
  std::sort(skipped_.begin(), skipped_.end());
}

bool HashRule::counts(Position position, bool tombstone) {
  if (position.main > revision_ || (tombstone && position.main == compact_)) return false;
  while (next_ < skipped_.size() && skipped_[next_].position < position) ++next_;
  return next_ == skipped_.size() || skipped_[next_].position != position;
}

}  // namespace fairlead::mvcc
