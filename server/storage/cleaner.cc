#include "server/storage/cleaner.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "server/storage/clean_job.h"

namespace fairlead::storage {

namespace {
constexpr io::Nanos kPauseStep = 100 * io::kMillisecond;  // how long a pause lasts before the log is looked at again
constexpr io::Nanos kBusyStep = 10 * io::kMillisecond;    // while a checkpoint is running
}  // namespace

Cleaner::Cleaner(const io::World& world, Store& store, const Log& log, const CleanerOptions& options, Hooks hooks)
    : world_(world), store_(store), log_(log), options_(options), hooks_(std::move(hooks)) {}

Cleaner::~Cleaner() {
  *alive_ = false;
  world_.loop->cancel_timer(timer_);
}

void Cleaner::start() {
  measured_at_ = world_.loop->now();
  log_bytes_ = log_.stats().bytes;
  look_later(options_.look_interval);
}

void Cleaner::stop() {
  stopped_ = true;
  world_.loop->cancel_timer(timer_);
  timer_ = 0;
  end_round();
}

void Cleaner::look_later(io::Nanos after) {
  if (stopped_) return;
  world_.loop->cancel_timer(timer_);
  timer_ = world_.loop->add_timer(world_.loop->now() + after, [this] {
    timer_ = 0;
    look();
  });
}

void Cleaner::round(std::function<void()> done) {
  if (stopped_) return world_.loop->post(std::move(done));
  round_done_.push_back(std::move(done));
  if (round_below_ == 0) round_began_ = world_.loop->now();
  round_below_ = store_.core_->next_file_.load();
  stats_.round_running = true;
  retry_at_ = 0;
  if (!job_) look_later(0);
}

void Cleaner::end_round() {
  if (round_below_ == 0) return;
  round_below_ = 0;
  stats_.round_running = false;
  ++stats_.rounds;
  stats_.round_seconds_last = static_cast<double>(world_.loop->now() - round_began_) / io::kSecond;
  stats_.round_seconds_sum += stats_.round_seconds_last;
  for (auto& done : std::exchange(round_done_, {})) done();
}

// Rate and latency of the log since the last look.
void Cleaner::measure_log() {
  const io::Nanos now = world_.loop->now();
  const io::Nanos passed = now - measured_at_;
  if (passed < options_.look_interval / 2) return;
  const LogStats& s = log_.stats();
  log_rate_ =
      static_cast<uint64_t>(static_cast<double>(s.bytes - log_bytes_) * io::kSecond / static_cast<double>(passed));
  const uint64_t syncs = s.syncs - log_syncs_;
  const double seconds = s.sync_seconds_sum - log_sync_seconds_;
  log_slow_ =
      syncs > 0 && seconds / static_cast<double>(syncs) * io::kSecond > static_cast<double>(options_.log_latency_max);
  measured_at_ = now;
  log_bytes_ = s.bytes;
  log_syncs_ = s.syncs;
  log_sync_seconds_ = s.sync_seconds_sum;
}

uint64_t Cleaner::bytes_per_second() const {
  uint64_t rate = std::max(options_.bytes_per_second_min, 2 * log_rate_);
  if (dead_share(store_.pin_manifest()).at_least(options_.dead_percent_urgent)) rate *= kUrgentFactor;
  return rate;
}

void Cleaner::look() {
  measure_log();
  if (job_ || stopped_) return;
  if (world_.loop->now() < retry_at_) return look_later(options_.look_interval);
  if (!begin()) {
    end_round();
    return look_later(options_.look_interval);
  }
  piece();
}

bool Cleaner::begin() {
  auto plan =
      plan_clean(store_.pin_manifest(), options_, store_.core_->options_.segment_bytes_max, damaged_, round_below_);
  if (!plan) return false;
  job_ = std::make_shared<CleanJob>(store_.core_, store_.pin(), plan->segments, world_.random->next());
  stats_.running = true;
  piece_bytes_ = 0;
  return true;
}

void Cleaner::piece() {
  piece_began_ = world_.loop->now();
  auto status = std::make_shared<Status>();
  auto job = job_;
  world_.workers->run([job, status, bytes = options_.piece_bytes] { *status = job->copy(bytes); },
                      [this, alive = alive_, job, status] {
                        if (!*alive) return;
                        if (stopped_) return end_job({Code::kAborted, "this member stops"});
                        if (!status->is_ok()) return end_job(*status);
                        next_piece();
                      });
}

// The pace: a piece takes at least its share of a second. A slow log has the disk to itself.
void Cleaner::next_piece() {
  measure_log();
  const uint64_t copied = job_->bytes_read() - piece_bytes_;
  io::Nanos wait = static_cast<io::Nanos>(copied * static_cast<uint64_t>(io::kSecond) / bytes_per_second()) -
                   (world_.loop->now() - piece_began_);
  if (log_slow_) {
    ++stats_.pauses;
    wait = std::max(wait, kPauseStep);
  }
  const bool ready = job_->copied();
  if (ready) wait = std::max(wait, last_swap_ == 0 ? 0 : last_swap_ + options_.manifest_interval - world_.loop->now());
  timer_ = world_.loop->add_timer(world_.loop->now() + std::max<io::Nanos>(wait, 0), [this, ready] {
    timer_ = 0;
    measure_log();
    if (!ready && log_slow_) return next_piece();
    piece_bytes_ = job_->bytes_read();
    ready ? swap() : piece();
  });
}

void Cleaner::swap() {
  if (stopped_) return end_job({Code::kAborted, "this member stops"});
  Store::Core& core = *store_.core_;
  if (core.busy_ || !hooks_.may_swap()) {
    timer_ = world_.loop->add_timer(world_.loop->now() + kBusyStep, [this] {
      timer_ = 0;
      swap();
    });
    return;
  }
  core.busy_ = true;
  auto status = std::make_shared<Status>();
  auto job = job_;
  world_.workers->run(
      [job, status, manifest = core.manifest_, list = core.list_] { *status = job->swap(manifest, list); },
      [this, alive = alive_, shared = store_.core_, job, status] {
        if (shared->closed_) return;
        shared->busy_ = false;
        if (status->is_ok()) shared->adopt(job->take_manifest(), job->take_list());
        if (*alive) end_job(*status);
      });
}

void Cleaner::end_job(const Status& status) {
  std::shared_ptr<CleanJob> job = std::move(job_);
  job_ = nullptr;
  stats_.running = false;
  stats_.bytes_read += job->bytes_read();
  stats_.bytes_written += job->bytes_written();
  store_.core_->note_result(status);
  if (status.is_ok()) {
    last_swap_ = world_.loop->now();
    ++stats_.runs;
    stats_.segments_in += job->segments().size();
    stats_.segments_out += job->segments_out();
    stats_.records_dropped += job->records_dropped();
    stats_.bytes_freed += job->bytes_in() - std::min(job->bytes_in(), job->bytes_written());
    retry_after_ = kCleanRetryMin;
    return look_later(round_below_ != 0 ? 0 : options_.look_interval);
  }
  ++stats_.runs_failed;
  if (status.message().starts_with("fatal:")) return hooks_.on_fatal(status);
  world_.workers->run([job] { job->abandon(); }, [job] {});
  if (stopped_) return;
  if (job->damaged() != 0) damaged_.insert(job->damaged());
  if (status.code() == Code::kAborted) return look_later(0);
  world_.log->error("cleaning was given up; it will be tried again", {{"error", status.message()}});
  retry_at_ = world_.loop->now() + retry_after_;
  retry_after_ = std::min(2 * retry_after_, kCleanRetryMax);
  look_later(options_.look_interval);
}

}  // namespace fairlead::storage
