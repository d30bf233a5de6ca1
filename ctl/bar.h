// A progress bar that counts: "12 / 60 [------>______] 20.00% 3 p/s", on standard error, on a terminal only, at most
// five times a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace fairlead::ctl {

// `seconds`: since the beginning, for the speed.
std::string bar_text(int64_t done, int64_t total, double seconds, size_t columns);

class Bar {
 public:
  explicit Bar(int64_t total);
  ~Bar() { finish(); }
  Bar(const Bar&) = delete;
  Bar& operator=(const Bar&) = delete;

  void show(int64_t done);
  void finish();  // shows the last state and leaves the line

 private:
  using Clock = std::chrono::steady_clock;
  void draw();
  bool terminal_;
  int64_t total_, done_ = 0;
  Clock::time_point begin_, last_{};
};

}  // namespace fairlead::ctl
