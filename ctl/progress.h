// How far a long piece of work is: on standard error, on a terminal only, at most five times a second.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>

#include "ctl/go_format.h"

namespace fairlead::ctl {

class Progress {
 public:
  Progress() = default;
  explicit Progress(uint64_t total) : total_(total) {}
  ~Progress() { end(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(uint64_t done, uint64_t total) {
    auto now = Clock::now();
    if (!terminal_ || (done < total && shown_ && now - last_ < std::chrono::milliseconds(200))) return;
    last_ = now;
    shown_ = true;
    done = std::min(done, total);
    fprintf(stderr, "\r%s of %s (%llu%%)  ", go_bytes(done).c_str(), go_bytes(total).c_str(),
            static_cast<unsigned long long>(total > 0 ? done * 100 / total : 100));
  }
  // For work of a known size.
  void add(uint64_t bytes) { show(done_ += bytes, total_); }
  // Leaves the line.
  void end() {
    if (shown_) fprintf(stderr, "\n");
    shown_ = false;
  }

 private:
  using Clock = std::chrono::steady_clock;
  bool terminal_ = isatty(2);
  bool shown_ = false;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
  Clock::time_point last_{};
};

}  // namespace fairlead::ctl
