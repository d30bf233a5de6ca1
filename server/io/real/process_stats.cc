#include "server/io/real/process_stats.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace fairlead::io {

namespace {

uint64_t count_files() {
  struct stat folder_stat {};  // Linux 6.2 and later have the number here
  if (stat("/proc/self/fd", &folder_stat) == 0 && folder_stat.st_size > 0)
    return static_cast<uint64_t>(folder_stat.st_size);
  DIR* folder = opendir("/proc/self/fd");
  if (!folder) return 0;
  uint64_t count = 0;
  while (const dirent* entry = readdir(folder)) count += entry->d_name[0] != '.';
  closedir(folder);
  return count - 1;  // the folder itself
}

// Seconds since 1970: the machine's start and the ticks from there to the process's.
double start_of_process() {
  double boot = 0;
  if (FILE* f = fopen("/proc/stat", "r")) {
    char line[4096];
    while (fgets(line, sizeof line, f))
      if (sscanf(line, "btime %lf", &boot) == 1) break;
    fclose(f);
  }
  FILE* f = fopen("/proc/self/stat", "r");
  if (!f || boot == 0) return 0;
  char line[1024];
  size_t n = fread(line, 1, sizeof line - 1, f);
  fclose(f);
  line[n] = '\0';
  const char* field = strrchr(line, ')');  // the name before it may hold anything
  for (int skip = 0; field && skip < 20; ++skip) field = strchr(field + 1, ' ');
  return field ? boot + static_cast<double>(strtoull(field, nullptr, 10)) / static_cast<double>(sysconf(_SC_CLK_TCK))
               : 0;
}

void read_network(ProcessStats& out) {
  FILE* f = fopen("/proc/self/net/netstat", "r");
  if (!f) return;
  // Pairs of lines: names, then numbers. IpExt has the bytes of all interfaces, the loopback included.
  char names[8192], numbers[8192];
  while (fgets(names, sizeof names, f) && fgets(numbers, sizeof numbers, f)) {
    if (strncmp(names, "IpExt:", 6) != 0) continue;
    char *name_next = nullptr, *number_next = nullptr;
    char* name = strtok_r(names, " \n", &name_next);
    char* number = strtok_r(numbers, " \n", &number_next);
    for (; name && number;
         name = strtok_r(nullptr, " \n", &name_next), number = strtok_r(nullptr, " \n", &number_next)) {
      if (strcmp(name, "InOctets") == 0) out.network_received_bytes = strtoull(number, nullptr, 10);
      if (strcmp(name, "OutOctets") == 0) out.network_sent_bytes = strtoull(number, nullptr, 10);
    }
  }
  fclose(f);
}

// The first number of a file; 0 where there is none ("max").
uint64_t read_number(const char* path) {
  unsigned long long value = 0;
  if (FILE* f = fopen(path, "r")) {
    if (fscanf(f, "%llu", &value) != 1) value = 0;
    fclose(f);
  }
  return value;
}

}  // namespace

// A container sees its own control group at the root.
uint64_t memory_max_bytes() {
  auto page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  uint64_t machine = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * page_bytes;
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"})
    if (uint64_t limit = read_number(path); limit > 0 && limit < machine) return limit;
  return machine;
}

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
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) out.files_max = limit.rlim_cur;
  if (getrlimit(RLIMIT_AS, &limit) == 0) out.virtual_bytes_max = limit.rlim_cur;
  out.memory_max_bytes = memory_max_bytes();
  out.files_open = count_files();
  static const double start = start_of_process();
  out.start_unix_seconds = start;
  read_network(out);
  return out;
}

}  // namespace fairlead::io
