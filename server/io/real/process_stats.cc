#include "server/io/real/process_stats.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>

namespace fairlead::io {

ProcessStats process_stats() {
  ProcessStats out;
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    out.cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  }
  auto page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (FILE* f = fopen("/proc/self/statm", "r")) {
    unsigned long long pages = 0, resident = 0;
    if (fscanf(f, "%llu %llu", &pages, &resident) == 2) {
      out.virtual_bytes = pages * page_bytes;
      out.resident_bytes = resident * page_bytes;
    }
    fclose(f);
  }
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) out.files_max = files.rlim_cur;
  return out;
}

}  // namespace fairlead::io
