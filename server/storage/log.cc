#include "server/storage/log.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/failpoint.h"
#include "server/storage/log_core.h"

namespace fairlead::storage {

// --- Log: the face ------------------------------------------------------------------------------------------------

Result<RecoveredLog> Log::recover(io::World& world, const std::string& dir, uint64_t log_id, bool may_create,
                                  const LogOptions& options) {
  if (may_create) RETURN_IF_ERROR(world.disk->make_dirs(dir));
  if (!world.disk->exists(dir))
    return data_loss(dir +
                     ": the log is missing, or is elsewhere (--wal-dir); restore the directory as a whole, or remove "
                     "the member and add it "
                     "again with an empty data directory");
  ASSIGN_OR_RETURN(LogScan scan, scan_log(world, dir, log_id));
  if (!scan.found_files && !may_create)
    return data_loss(dir +
                     ": no segment of the log is there; restore the directory as a whole, or remove the member and "
                     "add it again with an empty data directory");
  RecoveredLog out;
  out.hard_state = scan.hard_state;
  out.start = scan.start;
  out.term_before_start = scan.term_before_start;
  out.entries = scan.entries;
  out.batches_cut = scan.batches_cut;
  if (scan.batches_cut > 0)
    world.log->warn(
        "cut a torn tail off the log: these batches were never acknowledged",
        {{"dir", dir}, {"batches", scan.batches_cut}, {"bytes", scan.bytes_cut}, {"last-good-batch", scan.sequence}});
  auto core = std::make_shared<Core>(world, dir, log_id, options);
  RETURN_IF_ERROR(core->adopt(std::move(scan)));
  out.log.reset(new Log(std::move(core)));
  return out;
}

Log::Log(std::shared_ptr<Core> core) : core_(std::move(core)) {}
Log::~Log() { core_->detach(); }

void Log::set_callbacks(std::function<void(WriteSeq)> on_durable, std::function<void(Status)> on_fatal) {
  core_->on_durable_ = std::move(on_durable);
  core_->on_fatal_ = std::move(on_fatal);
  core_->report_early_failure();
}
void Log::append(std::optional<raft::HardState> hard_state, std::span<const raft::Entry> entries, WriteSeq seq) {
  core_->append(hard_state, entries, seq);
}
void Log::release(Index start) { core_->release(start); }
void Log::restart_at(Index index, Term term, std::optional<raft::HardState> hard_state, WriteSeq seq) {
  core_->restart_at(index, term, hard_state, seq);
}
void Log::read(Index from, Index to, size_t bytes_max, std::function<void(Result<Entries>)> done) {
  core_->read(from, to, bytes_max, std::move(done));
}
void Log::stop(std::function<void()> done) { core_->stop(std::move(done)); }
Index Log::first_index() const { return core_->start_; }
Index Log::last_index() const { return core_->last_; }
Index Log::durable_index() const { return core_->durable_index_; }
std::optional<Term> Log::term_at(Index index) const { return core_->term_at(index); }
uint64_t Log::durable_position() const { return core_->durable_batch_; }
uint64_t Log::bytes_total() const { return core_->bytes_total(); }
bool Log::idle() const { return core_->idle(); }
const LogStats& Log::stats() const { return core_->stats_; }
const std::string& Log::dir() const { return core_->dir_; }

// --- taking over what recovery found -----------------------------------------------------------------------------

Log::Core::Core(io::World& world, std::string dir, uint64_t log_id, const LogOptions& options)
    : world_(world), dir_(std::move(dir)), log_id_(log_id), options_(options) {
  CHECK(options_.first_segment_bytes >= 2 * io::kDiskBlockBytes && options_.segment_bytes >= 2 * io::kDiskBlockBytes,
        "a segment holds at least a batch and the one that links to its successor");
  CHECK(options_.first_segment_bytes % io::kDiskBlockBytes == 0 && options_.segment_bytes % io::kDiskBlockBytes == 0);
}

namespace {

constexpr size_t kFillBytes = 1 << 20;  // one write of zeroes

// Makes the segment larger: blocks reserved, then written with zeroes. A write into blocks that were reserved only
// costs the file system a change of its own records at each sync, about as much as the sync itself.
Status grow_segment(LogSegment& segment, uint64_t bytes) {
  RETURN_IF_ERROR(segment.writer->reserve(bytes));
  const std::string zeroes(std::min<uint64_t>(kFillBytes, bytes - segment.size_bytes), '\0');
  for (uint64_t at = segment.size_bytes; at < bytes; at += zeroes.size())
    RETURN_IF_ERROR(segment.writer->write_at(at, std::string_view(zeroes).substr(0, bytes - at)));
  return segment.writer->sync();
}

// A segment that is ready to be written to: name, size and blocks are durable. Blocking.
Result<std::shared_ptr<LogSegment>> make_segment(io::Disk& disk, const std::string& dir, uint64_t log_id,
                                                 uint64_t number, uint64_t bytes, std::optional<uint64_t> spare) {
  auto segment = std::make_shared<LogSegment>();
  segment->number = number;
  segment->path = dir + "/" + log_segment_name(log_id, number);
  if (spare && !disk.exists(segment->path))  // a retry may have renamed it already
    RETURN_IF_ERROR(disk.rename(dir + "/" + log_spare_name(*spare), segment->path));
  ASSIGN_OR_RETURN(segment->writer, disk.open(segment->path, io::OpenMode::kLog));
  ASSIGN_OR_RETURN(segment->size_bytes, segment->writer->size());
  if (segment->size_bytes < bytes) {
    RETURN_IF_ERROR(grow_segment(*segment, bytes));
    segment->size_bytes = bytes;
  }
  RETURN_IF_ERROR(segment->writer->sync());
  RETURN_IF_ERROR(disk.sync_dir(dir));
  ASSIGN_OR_RETURN(segment->reader, disk.open(segment->path, io::OpenMode::kRead));
  return segment;
}

// Entries [from, to) out of batches that are durable. Blocking.
Result<Log::Entries> read_entries(const std::vector<BatchRef>& refs, uint64_t log_id, Index from, Index to,
                                  size_t bytes_max) {
  Log::Entries out;
  size_t bytes = 0;
  for (const BatchRef& ref : refs) {
    const LogSegment& s = *ref.segment;
    char raw[kLogHeaderBytes];
    ASSIGN_OR_RETURN(size_t got, s.reader->read_at(ref.offset, raw));
    auto header = decode_batch_header({raw, got}, log_id, s.number, ref.offset);
    const std::string where = s.path + ": the batch at offset " + std::to_string(ref.offset);
    if (!header || header->body_length != ref.body_length) return data_loss(where + " is damaged");
    auto body = read_batch_body(*s.reader, s.path, ref.offset, header->body_length, header->body_crc);
    if (!body.is_ok()) return data_loss(std::string(body.status().message()));
    auto entries = decode_log_body(*header, *body);
    if (!entries) return data_loss(where + " cannot be parsed");
    for (raft::Entry& e : *entries) {
      if (e.index < from || e.index > ref.last) continue;
      bytes += e.size_bytes();
      if (e.index >= to || (!out.empty() && bytes > bytes_max)) return out;
      out.push_back(std::move(e));
    }
  }
  return out;
}

}  // namespace

Status Log::Core::adopt(LogScan scan) {
  hard_state_ = scan.hard_state;
  start_ = scan.start;
  term_before_start_ = scan.term_before_start;
  last_ = scan.entries.empty() ? start_ - 1 : scan.entries.back().index;
  durable_index_ = last_;
  unwritten_ = last_ + 1;
  for (auto& e : scan.entries) {
    note_term(e.index, e.term);
    recent_bytes_ += e.size_bytes();
    recent_.push_back(std::move(e));
  }
  refs_ = std::move(scan.batches);
  segments_.assign(scan.chain.begin(), scan.chain.end());
  sequence_ = durable_batch_ = declared_durable_ = last_data_batch_ = scan.sequence;
  crc_ = scan.crc;
  next_number_ = scan.number_max + 1;
  stats_.torn_tails_cut = scan.batches_cut > 0;
  stats_.torn_bytes_cut = scan.bytes_cut;
  trim_recent();

  // Segments that hold nothing that counts. Not those of the chain, even the empty one that a link names.
  spares_.assign(scan.spares.begin(), scan.spares.end());
  std::sort(spares_.begin(), spares_.end());
  for (uint64_t number : scan.unused) {
    RETURN_IF_ERROR(
        world_.disk->rename(dir_ + "/" + log_segment_name(log_id_, number), dir_ + "/" + log_spare_name(number)));
    spares_.push_back(number);
  }
  std::sort(spares_.begin(), spares_.end());
  while (spares_.size() > options_.spares_max) {
    RETURN_IF_ERROR(world_.disk->remove(dir_ + "/" + log_spare_name(spares_.front())));
    spares_.pop_front();
  }
  RETURN_IF_ERROR(world_.disk->sync_dir(dir_));

  std::optional<uint64_t> spare;
  if (!spares_.empty()) {
    spare = spares_.front();
    spares_.pop_front();
  }
  ASSIGN_OR_RETURN(next_,
                   make_segment(*world_.disk, dir_, log_id_, next_number_++, options_.first_segment_bytes, spare));
  stats_.segments = segments_.size() + 1;
  return {};
}

// --- submissions ----------------------------------------------------------------------------------------------------

void Log::Core::note_term(Index index, Term term) {
  if (terms_.empty() || terms_.rbegin()->second != term) terms_[index] = term;
}

std::optional<Term> Log::Core::term_at(Index index) const {
  if (index + 1 == start_) return term_before_start_;
  if (index < start_ || index > last_) return std::nullopt;
  auto it = terms_.upper_bound(index);
  CHECK(it != terms_.begin(), "every entry has a term");
  return std::prev(it)->second;
}

bool Log::Core::idle() const { return !in_flight_ && !anything_to_write(); }

uint64_t Log::Core::bytes_total() const {
  uint64_t n = 0;
  for (const auto& s : segments_) n += s->written_bytes;
  return n;
}

// Entries from `first` on are about to be replaced: what was durable of them no longer counts.
void Log::Core::cut_suffix(Index first) {
  ++truncations_;
  while (!recent_.empty() && recent_.back().index >= first) {
    recent_bytes_ -= recent_.back().size_bytes();
    recent_.pop_back();
  }
  terms_.erase(terms_.lower_bound(first), terms_.end());
  last_ = first - 1;
  durable_index_ = std::min(durable_index_, last_);
  unwritten_ = std::min(unwritten_, first);
  if (in_flight_ && in_flight_->last >= first) in_flight_->last = last_;
  for (Submission& s : waiting_) s.last = std::min(s.last, last_);
}

void Log::Core::append(std::optional<raft::HardState> hard_state, std::span<const raft::Entry> entries, WriteSeq seq) {
  CHECK(!stopping_, "nothing is appended after stop()");
  CHECK(waiting_.empty() || seq > waiting_.back().seq, "write sequences rise");
  if (failed_) return;
  if (hard_state) {
    CHECK(hard_state->term >= hard_state_.term, "the term never falls");
    hard_state_ = *hard_state;
    header_dirty_ = true;
  }
  if (!entries.empty()) {
    CHECK(entries.front().index <= last_ + 1, "the log has no gaps");
    CHECK(entries.front().index >= start_, "what lies before the log's start is decided");
    if (entries.front().index <= last_) cut_suffix(entries.front().index);
    for (const raft::Entry& e : entries) {
      CHECK(e.index == last_ + 1, "entries are contiguous");
      note_term(e.index, e.term);
      recent_bytes_ += e.size_bytes();
      recent_.push_back(e);
      last_ = e.index;
    }
  }
  waiting_.push_back({seq, entries.empty() ? Index{0} : last_});
  kick();
}

void Log::Core::release(Index start) {
  if (failed_ || stopping_) return;
  CHECK(start >= start_ && start <= durable_index_ + 1, "only what is durable and applied is released");
  if (start == start_) return;
  term_before_start_ = *term_at(start - 1);
  if (auto it = terms_.upper_bound(start); it != terms_.begin()) {  // the run that start lies in begins at start now
    Term term = std::prev(it)->second;
    terms_.erase(terms_.begin(), it);
    if (start <= last_) terms_[start] = term;
  }
  start_ = start;
  while (!recent_.empty() && recent_.front().index < start) recent_pop_front();
  header_dirty_ = true;
  kick();
}

void Log::Core::restart_at(Index index, Term term, std::optional<raft::HardState> hard_state, WriteSeq seq) {
  CHECK(!stopping_, "nothing is appended after stop()");
  if (failed_) return;
  if (hard_state) hard_state_ = *hard_state;
  ++truncations_;
  recent_.clear();
  recent_bytes_ = 0;
  terms_.clear();
  start_ = index + 1;
  term_before_start_ = term;
  last_ = durable_index_ = index;
  unwritten_ = start_;
  if (in_flight_) in_flight_->last = Index{0};
  for (Submission& s : waiting_) s.last = Index{0};
  restart_pending_ = true;
  waiting_.push_back({seq, Index{0}});
  kick();
}

void Log::Core::stop(std::function<void()> done) {
  CHECK(!stopping_, "stopped once");
  stopping_ = true;
  stopped_ = std::move(done);
  kick();
}

void Log::Core::detach() {
  on_durable_ = nullptr;
  on_fatal_ = nullptr;
  stopped_ = nullptr;
  failed_ = true;  // nothing more is written or answered
}

// --- writing --------------------------------------------------------------------------------------------------------

bool Log::Core::anything_to_write() const {
  return header_dirty_ || restart_pending_ || unwritten_ <= last_ || !waiting_.empty();
}

// Starts the next write if none is in flight and there is something to write.
void Log::Core::kick() {
  if (failed_ || in_flight_) return;
  waiting_for_segment_ = false;
  bool mark = false;
  if (!anything_to_write()) {
    if (!stopping_) return;
    mark = declared_durable_ < last_data_batch_;
    if (!mark) {
      if (stopped_) world_.loop->post(std::exchange(stopped_, nullptr));
      return;
    }
  }
  uint32_t entries = 0;
  uint64_t body = mark ? 0 : next_body_bytes(entries);
  BatchHeader size;
  size.body_length = static_cast<uint32_t>(body);
  if (!take_segment_for(size.size())) return;
  write_batch(mark ? kLogMark : 0, entries, body);
}

uint64_t Log::Core::next_body_bytes(uint32_t& entries) const {
  uint64_t bytes = 0;
  entries = 0;
  if (unwritten_ > last_) return 0;
  for (size_t i = unwritten_ - recent_.front().index; i < recent_.size(); ++i) {
    size_t n = log_entry_size(recent_[i]);
    if (entries > 0 && bytes + n > options_.batch_bytes_max) break;
    bytes += n;
    ++entries;
  }
  CHECK(bytes <= kLogBodyBytesMax, "an entry larger than a batch can be is refused when it is proposed");
  return bytes;
}

// Makes room for a batch of `bytes` in segments_.back(). Each segment keeps a block for the batch that links to the
// next. False: it is on its way, and kick() will be called.
bool Log::Core::take_segment_for(uint64_t bytes) {
  if (current_open_) {
    const LogSegment& s = *segments_.back();
    if (s.written_bytes + bytes + io::kDiskBlockBytes <= s.size_bytes) return true;
  }
  const uint64_t needed = bytes + io::kDiskBlockBytes;
  if (!next_ || next_->size_bytes < needed) {
    waiting_for_segment_ = true;
    prepare(needed);
    return false;
  }
  if (current_open_) {
    write_batch(kLogLast, 0, 0);
    return false;
  }
  segments_.push_back(std::move(next_));
  next_ = nullptr;
  current_open_ = true;
  prepare(0);
  return true;
}

// Encodes and submits one batch: `entries` entries from unwritten_ on, and in its header the newest term, vote and
// start.
void Log::Core::write_batch(uint16_t flags, uint32_t entries, uint64_t body_bytes) {
  LogSegment& s = *segments_.back();
  BatchHeader h;
  h.flags = flags;
  if (s.first_sequence == 0) {
    h.flags |= kLogFirst;
    if (!after_link_) h.flags |= kLogFresh;
    after_link_ = false;
    s.first_sequence = sequence_ + 1;
  }
  if (restart_pending_) h.flags |= kLogRestart;
  h.log_id = log_id_;
  h.segment = s.number;
  h.offset = s.written_bytes;
  h.sequence = sequence_ + 1;
  h.durable = durable_batch_;
  h.body_length = static_cast<uint32_t>(body_bytes);
  h.previous_crc = crc_;
  h.entries = entries;
  h.first_index = entries > 0 ? unwritten_ : Index{0};
  h.term = hard_state_.term;
  h.vote = hard_state_.vote;
  h.start = start_;
  h.term_before_start = term_before_start_;
  h.successor = (flags & kLogLast) ? next_->number : 0;
  take_over_refs(h);
  h.last_index = refs_.empty() ? start_ - 1 : refs_.back().last;

  auto buffer = std::make_shared<io::AlignedBuffer>(h.size());
  char* const body = buffer->data() + kLogHeaderBytes;
  char* p = body;
  const size_t first = entries > 0 ? unwritten_ - recent_.front().index : 0;
  for (size_t i = 0; i < entries; ++i) p = store_log_entry(p, recent_[first + i]);
  CHECK(p == body + body_bytes, "the batch is as long as was computed");
  h.body_crc = crc32c({body, body_bytes});
  encode_batch_header(buffer->data(), h);

  InFlight f;
  f.declared = h.durable;
  f.link = flags & kLogLast;
  f.mark = flags & kLogMark;
  f.bytes = h.size();
  f.entries = entries;
  f.last = entries > 0 ? unwritten_ + (entries - 1) : Index{0};
  if (entries > 0) unwritten_ = f.last + 1;
  f.seq = take_finished();
  if (entries > 0 || header_dirty_ || restart_pending_ || f.seq.value != 0) last_data_batch_ = h.sequence;
  header_dirty_ = restart_pending_ = false;
  sequence_ = h.sequence;
  crc_ = h.crc;
  s.written_bytes = h.end();
  f.submitted = world_.loop->now_precise();
  in_flight_ = f;
  FAILPOINT(walBeforeSync);
  s.writer->write_durable(h.offset, std::move(buffer), h.size(),
                          [self = shared_from_this()](Status status) { self->written(std::move(status)); });
}

// Where entries lie once this batch is durable; what it replaces may go then.
void Log::Core::take_over_refs(const BatchHeader& h) {
  if (h.flags & kLogRestart) truncate_refs(refs_, Index{0}, h.sequence);
  if (h.entries > 0) {
    truncate_refs(refs_, h.first_index, h.sequence);
    ++segments_.back()->live_batches;
    refs_.push_back({h.first_index, h.first_index + (h.entries - 1), segments_.back(), h.offset, h.body_length});
  }
  release_refs(refs_, start_, h.sequence);
}

// The submissions that are wholly in batches by now, in order; their highest sequence, 0 if there is none.
WriteSeq Log::Core::take_finished() {
  WriteSeq seq;
  while (!waiting_.empty() && waiting_.front().last < unwritten_) {
    seq = waiting_.front().seq;
    waiting_.pop_front();
  }
  return seq;
}

void Log::Core::written(Status status) {
  InFlight f = *in_flight_;
  in_flight_.reset();
  if (failed_) return;
  if (!status.is_ok()) return fail(std::move(status));
  FAILPOINT(walAfterSync);
  last_activity_ = world_.loop->now();
  durable_batch_ = sequence_;
  declared_durable_ = f.declared;
  if (f.last.value != 0) durable_index_ = std::max(durable_index_, f.last);
  const io::Nanos latency = world_.loop->now_precise() - f.submitted;
  const double seconds = static_cast<double>(latency) / io::kSecond;
  auto bucket = std::lower_bound(kSyncBucketsSeconds.begin(), kSyncBucketsSeconds.end(), seconds);
  ++stats_.sync_buckets[static_cast<size_t>(bucket - kSyncBucketsSeconds.begin())];
  stats_.sync_seconds_sum += seconds;
  stats_.last_latency = latency;
  ++stats_.syncs;
  stats_.bytes += f.bytes;
  stats_.entries += f.entries;
  stats_.marks += f.mark;
  if (f.link) {
    current_open_ = false;
    after_link_ = true;
  }
  trim_recent();
  if (f.seq.value != 0 && on_durable_) on_durable_(f.seq);
  kick();
  release_files();
  arm_mark();
}

void Log::Core::fail(Status status) {
  if (failed_) return;
  failed_ = true;
  if (on_fatal_) return on_fatal_(std::move(status));
  early_failure_ = std::move(status);
}

// A restart that the store submitted at the start may fail before anybody listens.
void Log::Core::report_early_failure() {
  if (early_failure_.is_ok()) return;
  world_.loop->post([self = shared_from_this()] {
    if (self->on_fatal_) self->on_fatal_(self->early_failure_);
  });
}

void Log::Core::recent_pop_front() {
  recent_bytes_ -= recent_.front().size_bytes();
  recent_.pop_front();
}

void Log::Core::trim_recent() {
  while (recent_bytes_ > options_.cache_bytes_max && !recent_.empty() && recent_.front().index <= durable_index_ &&
         recent_.front().index < unwritten_)
    recent_pop_front();
}

// --- the durable mark ---------------------------------------------------------------------------------------------

void Log::Core::arm_mark() {
  if (mark_armed_ || failed_ || stopping_ || declared_durable_ >= last_data_batch_) return;
  mark_armed_ = true;
  world_.loop->add_timer(last_activity_ + options_.idle_mark_after, [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->idle_check();
  });
}

void Log::Core::idle_check() {
  mark_armed_ = false;
  if (failed_ || stopping_ || in_flight_ || anything_to_write()) return;  // written() arms it again
  if (declared_durable_ >= last_data_batch_) return;
  if (world_.loop->now() < last_activity_ + options_.idle_mark_after) return arm_mark();
  if (take_segment_for(io::kDiskBlockBytes)) write_batch(kLogMark, 0, 0);
}

// --- segments -------------------------------------------------------------------------------------------------------

void Log::Core::prepare(uint64_t bytes_min) {
  if (preparing_ || failed_) return;
  preparing_ = true;
  struct Job {
    std::shared_ptr<LogSegment> segment;
    Status status;
  };
  auto job = std::make_shared<Job>();
  job->segment = next_;
  uint64_t bytes = std::max(bytes_min, options_.segment_bytes);
  bytes = (bytes + io::kDiskBlockBytes - 1) / io::kDiskBlockBytes * io::kDiskBlockBytes;
  std::optional<uint64_t> spare;
  if (!next_ && !spares_.empty()) spare = spares_.front();
  auto work = [job, disk = world_.disk, dir = dir_, log_id = log_id_, number = next_number_, bytes, spare] {
    if (job->segment) {  // it is there and too small for the next batch
      job->status = grow_segment(*job->segment, bytes);
      return;
    }
    auto made = make_segment(*disk, dir, log_id, number, bytes, spare);
    if (made.is_ok()) job->segment = std::move(*made);
    job->status = made.status();
  };
  world_.workers->run(std::move(work), [self = shared_from_this(), job, bytes, spare] {
    self->preparing_ = false;
    if (job->status.is_ok()) {
      if (self->next_) {
        self->next_->size_bytes = bytes;
      } else {
        self->next_ = job->segment;
        ++self->next_number_;
        if (spare) self->spares_.pop_front();
      }
    }
    self->prepared(job->status);
  });
}

void Log::Core::prepared(Status status) {
  stats_.segments = segments_.size() + (next_ ? 1 : 0);
  if (status.is_ok()) return kick();
  if (waiting_for_segment_) return fail(std::move(status));
  world_.log->warn("cannot prepare the next segment of the log yet", {{"dir", dir_}, {"error", status.message()}});
  world_.loop->add_timer(world_.loop->now() + kPrepareRetry, [weak = weak_from_this()] {
    if (auto self = weak.lock(); self && !self->next_) self->prepare(0);
  });
}

// The oldest segment: nothing in it is needed, the batch that made it so is durable, nobody reads it, and a later one
// can be the oldest.
bool Log::Core::front_may_go() const {
  if (segments_.size() < 2) return false;
  const LogSegment& front = *segments_.front();
  if (front.live_batches > 0 || front.free_after > durable_batch_ || front.reads_in_flight > 0) return false;
  auto heir = std::find_if(segments_.begin() + 1, segments_.end(), [](auto& s) { return s->first_sequence != 0; });
  return heir != segments_.end() && (*heir)->first_sequence <= durable_batch_;
}

// One file at a time, oldest first, the directory synced before the next.
void Log::Core::release_files() {
  if (releasing_ || failed_ || !front_may_go()) return;
  releasing_ = true;
  std::shared_ptr<LogSegment> segment = std::move(segments_.front());
  segments_.pop_front();
  const bool keep = spares_.size() < options_.spares_max;
  auto status = std::make_shared<Status>();
  auto work = [segment, status, keep, disk = world_.disk, dir = dir_] {
    segment->writer.reset();
    segment->reader.reset();
    *status =
        keep ? disk->rename(segment->path, dir + "/" + log_spare_name(segment->number)) : disk->remove(segment->path);
    if (status->is_ok()) *status = disk->sync_dir(dir);
  };
  world_.workers->run(std::move(work), [self = shared_from_this(), segment, status, keep] {
    self->releasing_ = false;
    if (!status->is_ok()) return self->fail(*status);
    if (keep) self->spares_.push_back(segment->number);
    ++self->stats_.segments_recycled;
    self->stats_.segments = self->segments_.size() + (self->next_ ? 1 : 0);
    self->release_files();
  });
}

// --- reading back
// -----------------------------------------------------------------------------------------------------

void Log::Core::read(Index from, Index to, size_t bytes_max, std::function<void(Result<Entries>)> done) {
  CHECK(from < to && to <= last_ + 1, "only what the log holds is asked for");
  auto answer = [this, &done](Result<Entries> result) {
    world_.loop->post([self = shared_from_this(), done = std::move(done), result = std::move(result)]() mutable {
      if (!self->failed_) done(std::move(result));
    });
  };
  if (from < start_)
    return answer(Status(Code::kOutOfRange, "entry " + std::to_string(from.value) + " was released from the log"));
  if (!recent_.empty() && from >= recent_.front().index) {
    Entries out;
    size_t bytes = 0;
    for (size_t i = from - recent_.front().index; i < recent_.size() && recent_[i].index < to; ++i) {
      bytes += recent_[i].size_bytes();
      if (!out.empty() && bytes > bytes_max) break;
      out.push_back(recent_[i]);
    }
    return answer(std::move(out));
  }
  read_files(from, to, bytes_max, std::move(done));
}

void Log::Core::read_files(Index from, Index to, size_t bytes_max, std::function<void(Result<Entries>)> done) {
  struct Job {
    std::vector<BatchRef> refs;
    Result<Entries> result = Entries();
  };
  auto job = std::make_shared<Job>();
  auto ref = std::partition_point(refs_.begin(), refs_.end(), [&](const BatchRef& r) { return r.last < from; });
  for (size_t bytes = 0; ref != refs_.end() && ref->first < to; ++ref) {
    if (!job->refs.empty() && bytes + ref->body_length > bytes_max) break;
    bytes += ref->body_length;
    job->refs.push_back(*ref);
    ++ref->segment->reads_in_flight;
  }
  CHECK(!job->refs.empty() && job->refs.front().first <= from, "what is not in memory lies in a segment");
  auto work = [job, from, to, bytes_max, log_id = log_id_] {
    job->result = read_entries(job->refs, log_id, from, to, bytes_max);
  };
  world_.workers->run(
      std::move(work), [self = shared_from_this(), job, from, done = std::move(done), truncations = truncations_] {
        for (const BatchRef& r : job->refs) --r.segment->reads_in_flight;
        if (self->failed_) return;
        self->release_files();
        if (truncations != self->truncations_)
          return done(Status(Code::kAborted, "the log was changed while it was read"));
        if (from < self->start_)
          return done(Status(Code::kOutOfRange, "entry " + std::to_string(from.value) + " was released from the log"));
        done(std::move(job->result));
      });
}

}  // namespace fairlead::storage
