#include "server/io/real/cpu_profile.h"

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

namespace fairlead::io {
namespace {

constexpr size_t kFramesOfHandler = 3;  // at most: the handler, the kernel's return

// What the handler may touch: allocated before it can run, and never freed, because a signal may come late.
struct Samples {
  std::atomic<bool> running{false};
  std::atomic<int> writing{0};
  std::atomic<size_t> used{0};
  std::atomic<uint64_t> lost{0};
  std::unique_ptr<uintptr_t[]> words;
};

Samples& samples() {
  static auto* all = new Samples;
  return *all;
}

std::mutex mutex;
std::vector<timer_t> timers;  // guarded by mutex

uintptr_t program_counter(const void* context) {
#if defined(__x86_64__)
  return static_cast<uintptr_t>(static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
#elif defined(__aarch64__)
  return static_cast<uintptr_t>(static_cast<const ucontext_t*>(context)->uc_mcontext.pc);
#else
  return 0;
#endif
}

void on_sample(int, siginfo_t*, void* context) {
  int saved_errno = errno;
  Samples& all = samples();
  all.writing.fetch_add(1);
  if (all.running.load()) {
    void* frames[kProfileDepthMax];
    int depth = backtrace(frames, kProfileDepthMax);
    // The innermost frames are this handler's; the interrupted instruction comes after them.
    uintptr_t pc = program_counter(context);
    int first = 0;
    while (first < depth && reinterpret_cast<uintptr_t>(frames[first]) != pc) ++first;
    if (first == depth) first = std::min<int>(depth, kFramesOfHandler);
    auto count = static_cast<size_t>(depth - first);
    size_t at = count > 0 ? all.used.fetch_add(count + 2) : kProfileWordsMax;
    if (at + count + 2 <= kProfileWordsMax) {
      all.words[at] = 1;
      all.words[at + 1] = count;
      for (size_t i = 0; i < count; ++i)
        all.words[at + 2 + i] = reinterpret_cast<uintptr_t>(frames[static_cast<size_t>(first) + i]);
    } else {
      all.lost.fetch_add(1);
    }
  }
  all.writing.fetch_sub(1);
  errno = saved_errno;
}

std::vector<pid_t> threads() {
  std::vector<pid_t> out;
  DIR* folder = opendir("/proc/self/task");
  if (!folder) return out;
  while (const dirent* entry = readdir(folder))
    if (pid_t id = static_cast<pid_t>(strtol(entry->d_name, nullptr, 10)); id > 0) out.push_back(id);
  closedir(folder);
  return out;
}

// The kernel's number of a thread's CPU clock, what pthread_getcpuclockid makes of a thread of one's own.
clockid_t cpu_clock_of(pid_t thread) { return static_cast<clockid_t>((~static_cast<unsigned>(thread)) << 3 | 6); }

void start_timer(pid_t thread) {
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGPROF;
  event._sigev_un._tid = thread;
  timer_t timer;
  if (timer_create(cpu_clock_of(thread), &event, &timer) != 0) return;  // it has just ended
  itimerspec every{};
  every.it_interval.tv_nsec = every.it_value.tv_nsec = kProfilePeriodMicros * 1000;
  timer_settime(timer, 0, &every, nullptr);
  timers.push_back(timer);
}

void append_words(std::string& out, std::initializer_list<uintptr_t> words) {
  for (uintptr_t w : words) out.append(reinterpret_cast<const char*>(&w), sizeof w);
}

std::string maps() {
  std::string out;
  FILE* f = fopen("/proc/self/maps", "r");
  if (!f) return out;
  char buffer[4096];
  while (size_t n = fread(buffer, 1, sizeof buffer, f)) out.append(buffer, n);
  fclose(f);
  return out;
}

}  // namespace

Status start_cpu_profile() {
  std::lock_guard lock(mutex);
  Samples& all = samples();
  if (all.running.load()) return failed_precondition("cpu profiling already in use");
  void* warm_up[4];
  backtrace(warm_up, 4);  // loads the unwinder, which a signal must not do
  if (!all.words) all.words = std::make_unique<uintptr_t[]>(kProfileWordsMax);
  all.used = 0;
  all.lost = 0;
  struct sigaction action {};
  action.sa_sigaction = on_sample;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGPROF, &action, nullptr) != 0) return io_error("sigaction", errno);
  all.running = true;
  for (pid_t thread : threads()) start_timer(thread);
  return {};
}

std::string stop_cpu_profile() {
  std::lock_guard lock(mutex);
  Samples& all = samples();
  for (timer_t timer : timers) timer_delete(timer);
  timers.clear();
  all.running = false;
  while (all.writing.load() > 0) sched_yield();
  std::string out;
  append_words(out, {0, 3, 0, static_cast<uintptr_t>(kProfilePeriodMicros), 0});
  // Only whole samples: one that did not fit has moved `used` on.
  size_t end = std::min(all.used.load(), kProfileWordsMax);
  size_t at = 0;
  while (at + 2 <= end && all.words[at] == 1 && at + 2 + all.words[at + 1] <= end) at += 2 + all.words[at + 1];
  out.append(reinterpret_cast<const char*>(all.words.get()), at * sizeof(uintptr_t));
  append_words(out, {0, 1, 0});
  all.words.reset();
  return out + maps();
}

}  // namespace fairlead::io
