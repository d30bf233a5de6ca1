// etcd's own database of a member that is stopped, written anew in its place: etcdutl's `defrag` and `migrate`. The new
// file is made beside the old one and takes its name when it is durable; a crash in between leaves the old one and a
// `db.tmp.*` that etcd's next start removes.
//
// Blocking; the caller holds the file's lock. Errors: kDataLoss for a database or log that cannot be read,
// kFailedPrecondition and kInvalidArgument for a version that is not to be had.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "server/bolt/reader.h"
#include "server/io/io.h"
#include "server/node/version.h"

namespace fairlead::import {

std::string database_path(const std::string& dir);  // of etcd's directory

struct Rewritten {
  uint64_t bytes_before = 0;
  uint64_t bytes_after = 0;
};
Result<Rewritten> defrag_database(io::Disk& disk, const std::string& dir, bolt::OnRead on_read = nullptr);

constexpr node::ApiLevel kMigrateMin{3, 5};
constexpr node::ApiLevel kMigrateMax = node::kOwnLevel;

struct Migrated {
  bool up_to_date = false;  // nothing was to do
  bool forced = false;      // the version was set in spite of what stands against it
};
// `force`: sets the version even where there is no way to it, as etcdutl does.
Result<Migrated> migrate_database(io::Disk& disk, const std::string& dir, node::ApiLevel target, bool force,
                                  bolt::OnRead on_read = nullptr);

}  // namespace fairlead::import
