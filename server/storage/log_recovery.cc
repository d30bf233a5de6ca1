#include "server/storage/log_recovery.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/crc32c.h"

namespace fairlead::storage {

namespace {

constexpr size_t kScanChunkBytes = 1 << 20;

void drop_ref(BatchRef& ref, uint64_t sequence) {
  LogSegment& s = *ref.segment;
  if (--s.live_batches == 0) s.free_after = sequence;
}

std::string advice() {
  return "; this member's log cannot be trusted: remove the member from the cluster and add it again with an empty "
         "data directory, or restore a copy of the directory";
}

// What the walk knows of one file.
struct Candidate {
  std::shared_ptr<LogSegment> segment;
  std::map<uint64_t, BatchHeader> headers;  // good headers of this segment, by offset
  bool in_chain = false;
};

class Walk {
 public:
  Walk(io::World& world, std::string dir, uint64_t log_id) : world_(world), dir_(std::move(dir)), log_id_(log_id) {}

  Result<LogScan> run() {
    RETURN_IF_ERROR(list());
    for (auto& [number, candidate] : candidates_) RETURN_IF_ERROR(read_headers(candidate));
    RETURN_IF_ERROR(walk());
    RETURN_IF_ERROR(judge_the_rest());
    RETURN_IF_ERROR(sync_what_was_read());
    RETURN_IF_ERROR(finish());
    return std::move(out_);
  }

 private:
  Status list() {
    ASSIGN_OR_RETURN(std::vector<std::string> names, world_.disk->list(dir_));
    for (const std::string& name : names) {
      auto parsed = parse_log_file_name(name);
      if (!parsed) continue;
      out_.number_max = std::max(out_.number_max, parsed->number);
      if (parsed->spare) {
        out_.spares.push_back(parsed->number);
        continue;
      }
      if (parsed->log_id != log_id_)
        return failed_precondition(dir_ + "/" + name +
                                   " belongs to another log than the manifest names: this directory "
                                   "was put together from two; restore it as a whole, or remove the member and add it "
                                   "again with an empty data directory");
      out_.found_files = true;
      Candidate c;
      c.segment = std::make_shared<LogSegment>();
      c.segment->number = parsed->number;
      c.segment->path = dir_ + "/" + name;
      ASSIGN_OR_RETURN(c.segment->reader, world_.disk->open(c.segment->path, io::OpenMode::kReadWrite));
      ASSIGN_OR_RETURN(c.segment->size_bytes, c.segment->reader->size());
      candidates_.emplace(parsed->number, std::move(c));
    }
    return {};
  }

  // A block that cannot be read is never a torn tail: the error goes up.
  Status read_headers(Candidate& c) {
    const LogSegment& s = *c.segment;
    std::string chunk(kScanChunkBytes, '\0');
    for (uint64_t at = 0; at < s.size_bytes; at += kScanChunkBytes) {
      auto got = s.reader->read_at(at, {chunk.data(), std::min<uint64_t>(chunk.size(), s.size_bytes - at)});
      if (!got.is_ok())
        return Status(Code::kDataLoss, s.path + ": cannot read at offset " + std::to_string(at) + ": " +
                                           std::string(got.status().message()) + advice());
      for (size_t i = 0; i + kLogHeaderBytes <= *got; i += io::kDiskBlockBytes) {
        auto h = decode_batch_header({chunk.data() + i, kLogHeaderBytes}, log_id_, s.number, at + i);
        if (!h) continue;
        if (h->format != kLogFormat || (h->flags & ~kLogFlagsKnown) != 0)
          return failed_precondition(s.path + ": format " + std::to_string(h->format) + " at offset " +
                                     std::to_string(at + i) + " is unknown to this version: start a newer one");
        c.headers.emplace(at + i, *h);
      }
    }
    return {};
  }

  const BatchHeader* header_at(const Candidate& c, uint64_t offset) const {
    auto it = c.headers.find(offset);
    return it == c.headers.end() ? nullptr : &it->second;
  }

  // The batch's entries if header, chain and body are good; nothing if it is torn; an error if it cannot be read.
  Result<std::optional<std::vector<raft::Entry>>> good_batch(const Candidate& c, const BatchHeader& h) const {
    using Out = std::optional<std::vector<raft::Entry>>;
    if (h.end() > c.segment->size_bytes) return Out();
    auto body = read_batch_body(*c.segment->reader, c.segment->path, h.offset, h.body_length, h.body_crc);
    if (!body.is_ok()) {
      if (body.code() == Code::kOutOfRange) return Out();  // the checksum differs
      return body.status();
    }
    auto entries = decode_log_body(h, *body);
    if (!entries)
      return data_loss(c.segment->path + ": batch at offset " + std::to_string(h.offset) +
                       " has a good checksum and cannot be parsed" + advice());
    return Out(std::move(*entries));
  }

  // A segment begun by a later start that follows the batch we stand at. The newest wins: that start read the disk
  // later.
  Result<Candidate*> fresh_successor() {
    for (auto it = candidates_.rbegin(); it != candidates_.rend(); ++it) {
      if (current_ != nullptr && it->first <= current_->segment->number) break;
      const BatchHeader* h = header_at(it->second, 0);
      if (h == nullptr || !(h->flags & kLogFresh) || !follows(*h)) continue;
      ASSIGN_OR_RETURN(auto entries, good_batch(it->second, *h));
      if (entries) return &it->second;
    }
    return nullptr;
  }

  bool follows(const BatchHeader& h) const { return h.sequence == out_.sequence + 1 && h.previous_crc == out_.crc; }

  Status walk() {
    if (candidates_.empty()) return {};
    // Segments in front without any batch were linked to or prepared and never used; only a later one can be the
    // oldest.
    auto first =
        std::find_if(candidates_.begin(), candidates_.end(), [](auto& c) { return !c.second.headers.empty(); });
    if (first == candidates_.end()) return {};
    Candidate& oldest = first->second;
    oldest_ = &oldest;
    if (const BatchHeader* h = header_at(oldest, 0)) {
      // The oldest segment left is the beginning: what it followed was released.
      out_.sequence = h->sequence - 1;
      out_.crc = h->previous_crc;
      ASSIGN_OR_RETURN(auto entries, good_batch(oldest, *h));
      if (entries) {
        current_ = &oldest;
      } else {
        // Perhaps torn long ago: then a later start went on from the same batch, and what came before is released.
        ASSIGN_OR_RETURN(current_, fresh_successor());
      }
    }
    if (current_ == nullptr) {  // no batch of it ever became durable, or it rotted: judge_the_rest() decides
      out_.sequence = 0;
      out_.crc = 0;
    }
    for (;;) {
      ASSIGN_OR_RETURN(Candidate * fresh, fresh_successor());
      if (fresh != nullptr) {
        current_ = fresh;
        offset_ = 0;
      }
      if (current_ == nullptr) return {};
      const BatchHeader* h = header_at(*current_, offset_);
      if (h == nullptr || !follows(*h) || (offset_ == 0) != ((h->flags & kLogFirst) != 0)) return {};
      ASSIGN_OR_RETURN(auto entries, good_batch(*current_, *h));
      if (!entries) return {};
      RETURN_IF_ERROR(accept(*h, std::move(*entries)));
    }
  }

  void enter_chain(Candidate& c) {
    if (c.in_chain) return;
    c.in_chain = true;
    out_.chain.push_back(c.segment);
  }

  Status accept(const BatchHeader& h, std::vector<raft::Entry> entries) {
    Candidate& c = *current_;
    enter_chain(c);
    LogSegment& s = *c.segment;
    if (s.first_sequence == 0) s.first_sequence = h.sequence;
    s.written_bytes = h.end();
    out_.sequence = h.sequence;
    out_.crc = h.crc;
    out_.hard_state = {h.term, h.vote};
    out_.start = h.start;
    out_.term_before_start = h.term_before_start;
    last_said_ = h.last_index;
    if (h.flags & kLogRestart) {
      out_.entries.clear();
      truncate_refs(out_.batches, Index{0}, h.sequence);
    }
    if (h.entries > 0) RETURN_IF_ERROR(accept_entries(h, std::move(entries)));
    offset_ = h.end();
    if (h.flags & kLogLast) return follow_link(h);
    return {};
  }

  Status accept_entries(const BatchHeader& h, std::vector<raft::Entry> entries) {
    auto& all = out_.entries;
    if (!all.empty()) {
      if (h.first_index > all.back().index + 1)
        return data_loss(current_->segment->path + ": batch at offset " + std::to_string(h.offset) +
                         " leaves a gap before entry " + std::to_string(h.first_index.value) + advice());
      while (!all.empty() && all.back().index >= h.first_index) all.pop_back();
    }
    truncate_refs(out_.batches, h.first_index, h.sequence);
    for (auto& e : entries)
      if (e.index >= h.start) all.push_back(std::move(e));
    ++current_->segment->live_batches;
    out_.batches.push_back(
        {h.first_index, h.first_index + (h.entries - 1), current_->segment, h.offset, h.body_length});
    return {};
  }

  Status follow_link(const BatchHeader& h) {
    auto next = candidates_.find(h.successor);
    if (next == candidates_.end())
      return data_loss(current_->segment->path + " ends at offset " + std::to_string(h.offset) + " and goes on in " +
                       log_segment_name(log_id_, h.successor) + ", which is missing" + advice());
    current_ = &next->second;
    offset_ = 0;
    enter_chain(*current_);
    return {};
  }

  // The walk ended behind batch out_.sequence. A later header that knew more to be durable makes that place damage;
  // otherwise everything behind it is a torn tail.
  Status judge_the_rest() {
    if (oldest_ == nullptr) return {};
    Candidate& at = current_ != nullptr ? *current_ : *oldest_;
    for (auto& [number, c] : candidates_) {
      if (number < at.segment->number) continue;
      for (const auto& [offset, h] : c.headers) {
        if (&c == &at && offset < offset_) continue;
        if (h.durable > out_.sequence)
          return data_loss(at.segment->path + ": the batch at offset " + std::to_string(offset_) +
                           " is damaged: it was durable, says " + c.segment->path + " at offset " +
                           std::to_string(offset) + advice());
        ++out_.batches_cut;
        out_.bytes_cut += h.size();
      }
    }
    return {};
  }

  // Read is not durable: the process before us may have been killed between write and sync.
  Status sync_what_was_read() {
    for (auto& [number, c] : candidates_) RETURN_IF_ERROR(c.segment->reader->sync());
    return world_.disk->sync_dir(dir_);
  }

  Status finish() {
    for (auto& [number, c] : candidates_)
      if (!c.in_chain) out_.unused.push_back(number);
    auto& all = out_.entries;
    all.erase(all.begin(), std::find_if(all.begin(), all.end(), [&](auto& e) { return e.index >= out_.start; }));
    release_refs(out_.batches, out_.start, out_.sequence);
    if (!all.empty() && all.front().index > out_.start)
      return data_loss(dir_ + ": entries " + std::to_string(out_.start.value) + " to " +
                       std::to_string(all.front().index.value - 1) + " are missing: the segments before " +
                       out_.chain.front()->path + " are gone" + advice());
    const Index last = all.empty() ? out_.start - 1 : all.back().index;
    if (out_.sequence > 0 && last != last_said_)
      return data_loss(dir_ + ": the log should end with entry " + std::to_string(last_said_.value) +
                       " and ends with " + std::to_string(last.value) + ": a segment before " +
                       out_.chain.back()->path + " is gone or damaged" + advice());
    return {};
  }

  io::World& world_;
  std::string dir_;
  uint64_t log_id_;
  std::map<uint64_t, Candidate> candidates_;
  Candidate* oldest_ = nullptr;  // of those with batches
  Candidate* current_ = nullptr;
  uint64_t offset_ = 0;
  Index last_said_;  // by the newest good header
  LogScan out_;
};

}  // namespace

void truncate_refs(std::deque<BatchRef>& refs, Index first, uint64_t sequence) {
  while (!refs.empty() && refs.back().first >= first) {
    drop_ref(refs.back(), sequence);
    refs.pop_back();
  }
  if (!refs.empty() && refs.back().last >= first) refs.back().last = first - 1;
}

void release_refs(std::deque<BatchRef>& refs, Index start, uint64_t sequence) {
  while (!refs.empty() && refs.front().last < start) {
    drop_ref(refs.front(), sequence);
    refs.pop_front();
  }
}

Result<LogScan> scan_log(io::World& world, const std::string& dir, uint64_t log_id) {
  return Walk(world, dir, log_id).run();
}

Result<Bytes> read_batch_body(const io::File& file, const std::string& path, uint64_t offset, uint64_t body_length,
                              uint32_t body_crc) {
  if (body_length == 0) return Bytes();
  BytesBuilder builder(body_length);
  auto got = file.read_at(offset + kLogHeaderBytes, {builder.data(), builder.capacity()});
  if (!got.is_ok())
    return data_loss(path + ": cannot read at offset " + std::to_string(offset) + ": " +
                     std::string(got.status().message()) + advice());
  if (*got != body_length || crc32c({builder.data(), body_length}) != body_crc)
    return Status(Code::kOutOfRange, path + ": the batch at offset " + std::to_string(offset) + " is damaged");
  return std::move(builder).finish(body_length);
}

}  // namespace fairlead::storage
