#include "server/node/autocompact.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>

#include "base/text.h"

namespace fairlead::node {
namespace {

constexpr io::Nanos kHour = 3600 * io::kSecond;
constexpr io::Nanos kRevisionInterval = 300 * io::kSecond;
constexpr io::Nanos kSamplesPerInterval = 10;

io::Nanos interval_of(const AutoCompaction& rule) {
  if (rule.mode == AutoCompaction::Mode::kRevision) return kRevisionInterval;
  return std::max<io::Nanos>(std::min(rule.period, kHour) / kSamplesPerInterval, io::kMillisecond);
}

}  // namespace

Result<AutoCompaction> parse_auto_compaction(const std::string& mode, const std::string& retention) {
  AutoCompaction rule;
  if (mode == "revision")
    rule.mode = AutoCompaction::Mode::kRevision;
  else if (mode.empty())
    return failed_precondition("undefined auto-compaction-mode");
  else if (mode != "periodic")
    return failed_precondition("unknown auto-compaction-mode \"" + mode + "\"");
  int64_t number = 0;
  auto [end, error] = std::from_chars(retention.data(), retention.data() + retention.size(), number);
  bool whole = error == std::errc() && end == retention.data() + retention.size() && number >= 0;
  if (whole && rule.mode == AutoCompaction::Mode::kRevision) {
    rule.revisions = number;
  } else if (whole && number <= INT64_MAX / kHour) {
    rule.period = number * kHour;
  } else {
    std::optional<int64_t> period = parse_duration(retention);
    if (rule.mode == AutoCompaction::Mode::kRevision || !period || *period < 0)
      return failed_precondition("error parsing CompactionRetention: time: invalid duration \"" + retention +
                                 "\" (--auto-compaction-retention)");
    rule.period = *period;
  }
  return rule;
}

AutoCompactor::AutoCompactor(const io::World& world, AutoCompaction rule, Store store)
    : world_(world),
      rule_(rule),
      store_(std::move(store)),
      interval_(interval_of(rule)),
      samples_max_(static_cast<size_t>(rule.period / interval_) + 1),
      last_success_(world.loop->now()),
      wait_(rule.period),
      self_(std::make_shared<AutoCompactor*>(this)) {
  if (rule_.off()) return;
  samples_.push_back(store_.revision());
  later();
}

AutoCompactor::~AutoCompactor() {
  *self_ = nullptr;
  if (timer_) world_.loop->cancel_timer(timer_);
}

void AutoCompactor::later() {
  timer_ = world_.loop->add_timer(world_.loop->now() + interval_, [this] { step(); });
}

void AutoCompactor::step() {
  later();
  if (rule_.mode == AutoCompaction::Mode::kPeriodic)
    periodic_step();
  else
    revision_step();
}

void AutoCompactor::periodic_step() {
  int64_t oldest = samples_.front();
  samples_.push_back(store_.revision());
  if (samples_.size() > samples_max_) samples_.pop_front();
  if (running_ || !store_.is_leader() || oldest == last_revision_) return;
  if (world_.loop->now() - last_success_ < wait_) return;
  wait_ = std::min(rule_.period, kHour);  // the first time a whole period goes by
  compact(oldest);
}

void AutoCompactor::revision_step() {
  int64_t revision = store_.revision() - rule_.revisions;
  if (running_ || !store_.is_leader() || revision <= 0 || revision == last_revision_) return;
  compact(revision);
}

void AutoCompactor::compact(int64_t revision) {
  running_ = true;
  const char* mode = rule_.mode == AutoCompaction::Mode::kPeriodic ? "periodic" : "revision";
  world_.log->info("starting auto compaction", {{"mode", mode}, {"revision", revision}});
  store_.compact(revision, [self = self_, revision, mode](const Status& status) {
    if (!*self) return;
    AutoCompactor& me = **self;
    me.running_ = false;
    if (!status.is_ok() && status.code() != Code::kOutOfRange) {
      me.world_.log->warn("failed auto compaction",
                          {{"mode", mode}, {"revision", revision}, {"error", std::string(status.message())}});
      return;
    }
    me.last_success_ = me.world_.loop->now();
    me.last_revision_ = revision;
    me.world_.log->info("completed auto compaction", {{"mode", mode}, {"revision", revision}});
  });
}

}  // namespace fairlead::node
