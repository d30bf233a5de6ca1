// Where the CPU time of this process goes: each thread is interrupted after every kProfilePeriod of CPU time that it
// has used, and its stack is noted. The result is pprof's older format for CPU profiles (machine words, then
// /proc/self/maps), which `go tool pprof` reads.
//
// Not running, it costs nothing: no timer, no handler. Running, about 100 samples of some microseconds for each second
// of CPU time. Threads that begin later than the profile are not in it.
// Bounds: kProfileWordsMax; what is beyond is left out and counted. One profile at a time.
// Threads: start and stop from any, one after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/status.h"

namespace fairlead::io {

constexpr int64_t kProfilePeriodMicros = 10'000;
constexpr size_t kProfileWordsMax = 1 << 20;
constexpr int kProfileDepthMax = 64;

// FailedPrecondition "cpu profiling already in use".
Status start_cpu_profile();
// The profile. May wait a moment for samples that are being taken.
std::string stop_cpu_profile();

}  // namespace fairlead::io
