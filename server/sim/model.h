// A key space in twenty lines of std::map, with etcd's rules and none of its machinery: what the judge compares with.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/sim/history.h"

namespace fairlead::sim {

class Model {
 public:
  struct Outcome {
    bool succeeded = true;
    std::vector<SubResult> results;
    std::vector<SeenEvent> events;
  };
  int64_t revision() const { return revision_; }
  const std::map<std::string, Kv>& kvs() const { return kvs_; }

  // What the operation would do as the next revision. Changes nothing.
  Outcome preview(const Op& op) const;
  // Makes these events the next revision.
  void commit(const std::vector<SeenEvent>& events);
  SubResult range(const SubOp& op) const { return range_in(kvs_, op); }
  std::vector<std::string> lease_keys(int64_t lease) const;

 private:
  SubResult range_in(const std::map<std::string, Kv>& kvs, const SubOp& op) const;
  std::map<std::string, Kv> at(int64_t revision) const;

  int64_t revision_ = 1;
  std::map<std::string, Kv> kvs_;
  std::map<std::string, std::vector<std::pair<int64_t, std::optional<Kv>>>> past_;
};

}  // namespace fairlead::sim
