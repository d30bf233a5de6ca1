// How far a long piece of work is: one line on standard error that is written over, on a terminal only, at most five
// times a second and at the end of the work. Threads: the caller's.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace fairlead::ctl {

// What the line says; `seconds` since the beginning.
struct ProgressState {
  uint64_t done = 0, total = 0;
  double seconds = 0;
  size_t columns = 0;  // of the terminal
};
std::string bytes_text(const ProgressState& state);  // "12 MB of 60 MB (20%)"
std::string bar_text(const ProgressState& state);    // "12 / 60 [------>______] 20.00% 3 p/s", as etcdctl's

class Progress {
 public:
  using Text = std::string (*)(const ProgressState&);
  explicit Progress(uint64_t total = 0, Text text = bytes_text);
  ~Progress() { end(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(uint64_t done) { show(done, state_.total); }
  void show(uint64_t done, uint64_t total);
  void add(uint64_t more) { show(state_.done + more); }
  void end();  // leaves the line

 private:
  using Clock = std::chrono::steady_clock;
  const bool terminal_;
  const Text text_;
  const Clock::time_point begin_;
  ProgressState state_;
  Clock::time_point shown_{};  // the last time; none yet
};

}  // namespace fairlead::ctl
