#include "server/sim/outside.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

namespace fairlead::sim {
namespace {

int depth = 0;
uint64_t count = 0;
const char* first_function = nullptr;
void* first_caller = nullptr;

// nghttp2's limiter of stream resets reads the clock for each reset; h2_session.cc sets its limit out of reach, so that
// what it reads decides nothing.
bool is_nghttp2(void* caller) {
  Dl_info info;
  return dladdr(caller, &info) != 0 && info.dli_fname != nullptr &&
         std::strstr(info.dli_fname, "libnghttp2") != nullptr;
}

void note(const char* function, void* caller) {
  if (depth == 0 || is_nghttp2(caller)) return;
  if (count++ > 0) return;
  first_function = function;
  first_caller = caller;
}

}  // namespace

NoOutside::NoOutside() {
  if (depth++ > 0) return;
  count = 0;
  first_function = nullptr;
}
NoOutside::~NoOutside() { --depth; }

uint64_t NoOutside::calls() { return count; }

std::string NoOutside::first_call() {
  if (count == 0) return "";
  std::string out = first_function;
  Dl_info info;
  if (dladdr(first_caller, &info) == 0) return out + " from an unknown place";
  char place[64];
  std::snprintf(place, sizeof place, "+0x%zx",
                static_cast<size_t>(static_cast<char*>(first_caller) - static_cast<char*>(info.dli_fbase)));
  out += " from " + std::string(info.dli_fname == nullptr ? "?" : info.dli_fname) + place;
  if (info.dli_sname != nullptr) out += " (" + std::string(info.dli_sname) + ")";
  return out;
}

}  // namespace fairlead::sim

// These take the place of the C library's for this program and all its shared libraries.
extern "C" {

int clock_gettime(clockid_t clock, struct timespec* out) noexcept {
  fairlead::sim::note("clock_gettime", __builtin_return_address(0));
  return static_cast<int>(syscall(SYS_clock_gettime, clock, out));
}

int gettimeofday(struct timeval* __restrict out, void* __restrict) noexcept {
  fairlead::sim::note("gettimeofday", __builtin_return_address(0));
  return static_cast<int>(syscall(SYS_gettimeofday, out, nullptr));
}

time_t time(time_t* out) noexcept {
  fairlead::sim::note("time", __builtin_return_address(0));
  time_t now = syscall(SYS_time, nullptr);
  if (out != nullptr) *out = now;
  return now;
}

ssize_t getrandom(void* into, size_t size, unsigned flags) {
  fairlead::sim::note("getrandom", __builtin_return_address(0));
  return syscall(SYS_getrandom, into, size, flags);
}

int getentropy(void* into, size_t size) {
  fairlead::sim::note("getentropy", __builtin_return_address(0));
  if (size > 256) {
    errno = EIO;
    return -1;
  }
  return syscall(SYS_getrandom, into, size, 0) == static_cast<long>(size) ? 0 : -1;
}
}
