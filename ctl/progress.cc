#include "ctl/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "ctl/go_format.h"

namespace fairlead::ctl {
namespace {
constexpr size_t kColumnsDefault = 100;
constexpr size_t kBarColumnsMin = 5;
constexpr std::chrono::milliseconds kInterval{200};

double share_of(const ProgressState& s) {
  return s.total > 0 ? static_cast<double>(s.done) / static_cast<double>(s.total) : 1;
}
}  // namespace

std::string bytes_text(const ProgressState& s) {
  return go_bytes(s.done) + " of " + go_bytes(s.total) + " (" + std::to_string(static_cast<int>(100 * share_of(s))) +
         "%)  ";
}

std::string bar_text(const ProgressState& s) {
  char percent[64];
  snprintf(percent, sizeof percent, " %.2f%% %.0f p/s", 100 * share_of(s),
           s.seconds > 0 ? static_cast<double>(s.done) / s.seconds : 0.0);
  std::string head = std::to_string(s.done) + " / " + std::to_string(s.total) + " [";
  size_t around = head.size() + 1 + std::string(percent).size();
  size_t width = s.columns > around + kBarColumnsMin ? s.columns - around : kBarColumnsMin;
  auto filled = static_cast<size_t>(share_of(s) * static_cast<double>(width));
  std::string bar(filled, '-');
  if (filled > 0 && filled < width) bar.back() = '>';
  return head + bar + std::string(width - filled, '_') + "]" + percent;
}

Progress::Progress(uint64_t total, Text text) : terminal_(isatty(2)), text_(text), begin_(Clock::now()) {
  state_.total = total;
}

void Progress::show(uint64_t done, uint64_t total) {
  bool at_the_end = std::min(done, total) == total && (state_.done < total || state_.total < total);
  state_.done = std::min(done, total);
  state_.total = total;
  auto now = Clock::now();
  if (!terminal_ || (!at_the_end && now - shown_ < kInterval)) return;
  shown_ = now;
  winsize size{};
  size_t columns = ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kColumnsDefault;
  state_.seconds = std::chrono::duration<double>(now - begin_).count();
  state_.columns = columns - 1;
  fprintf(stderr, "\r%s", text_(state_).c_str());
}

void Progress::end() {
  if (shown_ != Clock::time_point{}) fprintf(stderr, "\n");
  shown_ = {};
}

}  // namespace fairlead::ctl
