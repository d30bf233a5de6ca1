#include "ctl/bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace fairlead::ctl {
namespace {
constexpr size_t kColumnsDefault = 100;
constexpr size_t kBarColumnsMin = 5;
constexpr std::chrono::milliseconds kInterval{200};
}  // namespace

std::string bar_text(int64_t done, int64_t total, double seconds, size_t columns) {
  done = std::clamp<int64_t>(done, 0, total);
  double share = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
  char percent[64];
  snprintf(percent, sizeof percent, " %.2f%% %.0f p/s", 100 * share,
           seconds > 0 ? static_cast<double>(done) / seconds : 0.0);
  std::string head = std::to_string(done) + " / " + std::to_string(total) + " [";
  size_t around = head.size() + 1 + std::string(percent).size();
  size_t width = columns > around + kBarColumnsMin ? columns - around : kBarColumnsMin;
  auto filled = static_cast<size_t>(share * static_cast<double>(width));
  std::string bar(filled, '-');
  if (filled > 0 && filled < width) bar.back() = '>';
  return head + bar + std::string(width - filled, '_') + "]" + percent;
}

Bar::Bar(int64_t total) : terminal_(isatty(2)), total_(total), begin_(Clock::now()) {}

void Bar::show(int64_t done) {
  done_ = done;
  if (!terminal_ || Clock::now() - last_ < kInterval) return;
  last_ = Clock::now();
  draw();
}

void Bar::draw() {
  winsize size{};
  size_t columns = ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kColumnsDefault;
  double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
  fprintf(stderr, "\r%s", bar_text(done_, total_, seconds, columns - 1).c_str());
}

void Bar::finish() {
  if (!terminal_) return;
  terminal_ = false;
  draw();
  fprintf(stderr, "\n");
}

}  // namespace fairlead::ctl
