#include "server/node/snapshot.h"

#include <algorithm>

#include "base/codec.h"
#include "base/failpoint.h"
#include "base/text.h"
#include "server/node/node.h"

namespace fairlead::node {
namespace {

enum Frame : uint8_t { kOffer = peer::kFrameFirstFree, kWant, kPiece, kDone, kNo };

std::string two(uint64_t a, uint64_t b) {
  std::string out;
  put_fixed(out, a);
  put_fixed(out, b);
  return out;
}

void bury(io::Loop& loop, std::unique_ptr<peer::Channel> channel) {
  if (!channel) return;
  channel->abandon();
  std::shared_ptr<peer::Channel> dead(channel.release());
  loop.post([dead] {});
}

}  // namespace

// ---- sender

SnapshotSender::SnapshotSender(Node& node, MemberId to) : node_(node), to_(to) {}

// One that is over may outlive the node: it holds nothing of it any more.
SnapshotSender::~SnapshotSender() {
  *alive_ = false;
  if (over_) return;
  node_.world_.loop->cancel_timer(idle_timer_);
  bury(*node_.world_.loop, std::move(channel_));
}

void SnapshotSender::start() {
  info_ = node_.store_->snapshot();
  began_ = node_.world_.loop->now();
  ++node_.stats_.snapshots_to[to_].in_flight;
  channel_ = node_.transport_->dial_snapshot(to_, this);
  // Never an outcome inside the turn that asked for the snapshot.
  if (!channel_) {
    node_.world_.loop->post([this, alive = alive_] {
      if (*alive) finish(false, "no address is known");
    });
    return;
  }
  node_.world_.log->info("sending a snapshot", {{"to", hex(to_.value)},
                                                {"to-name", node_.name_of(to_)},
                                                {"applied-index", info_.applied.value},
                                                {"bytes", info_.bytes},
                                                {"files", info_.files.size()}});
  channel_->start();
  watch_idle();
}

void SnapshotSender::watch_idle() {
  node_.world_.loop->cancel_timer(idle_timer_);
  idle_timer_ = node_.world_.loop->add_timer(node_.world_.loop->now() + kSnapshotIdleTimeout, [this] {
    idle_timer_ = 0;
    finish(false, "no progress for 30 seconds");
  });
}

peer::Hello SnapshotSender::own_hello(peer::Channel&) {
  return node_.transport_->hello(to_, peer::ChannelKind::kSnapshot);
}

peer::Verdict SnapshotSender::judge(peer::Channel&, const peer::Hello& theirs) {
  if (theirs.from != to_) return {peer::Refusal::kNotMe, "another member answers at this address: check the peer URLs"};
  return node_.transport_->judge(theirs);
}

void SnapshotSender::on_established(peer::Channel&) {
  std::string head = two(info_.applied.value, info_.applied_term.value);
  put_fixed(head, node_.raft_->term().value);
  channel_->send(kOffer, head, Bytes::copy(info_.manifest));
  channel_->flush();
}

void SnapshotSender::on_frame(peer::Channel&, uint8_t type, std::string_view head, const Bytes&) {
  if (over_) return;
  watch_idle();
  Reader in(head);
  if (type == kWant) {
    auto file = in.fixed<uint64_t>();
    auto offset = in.fixed<uint64_t>();
    if (!in.ok() || file >= info_.files.size() || offset >= info_.files[file].size_bytes)
      return finish(false, "the receiver asked for what is not there");
    if (wanted_.size() >= 4 * kPiecesInFlight) return finish(false, "the receiver asks for too much at once");
    wanted_.emplace_back(file, offset);
    send_pieces();
  } else if (type == kDone) {
    finish(true, "");
  } else if (type == kNo) {
    std::string why(in.lengthed());
    Index there(in.fixed<uint64_t>());
    finish(false, why, in.ok() ? there : Index());
  }
}

// One read at a time, so that answers leave in the order of the questions.
void SnapshotSender::send_pieces() {
  if (reading_ || wanted_.empty()) return;
  reading_ = true;
  auto [file, offset] = wanted_.front();
  node_.store_->read_file(info_, file, offset, kPieceBytes,
                          [this, file = file, offset = offset, alive = alive_](Result<Bytes> piece) {
                            if (!*alive || over_) return;
                            if (!piece.is_ok()) return finish(false, piece.status().to_string());
                            reading_ = false;
                            wanted_.pop_front();
                            channel_->send(kPiece, two(file, offset), std::move(*piece));
                            channel_->flush();
                            send_pieces();
                          });
}

void SnapshotSender::on_closed(peer::Channel&, const Status& why) { finish(false, why.to_string()); }

// One that the receiver has no need of says where to go on, as if it had been installed: the leader may have forgotten,
// or never heard, how far a member is that died behind an install.
void SnapshotSender::finish(bool sent, const std::string& why, Index there) {
  if (over_) return;
  over_ = true;
  node_.world_.loop->cancel_timer(idle_timer_);
  idle_timer_ = 0;
  bury(*node_.world_.loop, std::move(channel_));
  SnapshotStats& stats = node_.stats_.snapshots_to[to_];
  --stats.in_flight;
  ++(sent ? stats.succeeded : stats.failed);
  if (sent) stats.seconds.observe(static_cast<double>(node_.world_.loop->now() - began_) / 1e9);
  if (sent) {
    ++node_.stats_.snapshots_sent;
    node_.world_.log->info(
        "a snapshot was installed by a peer",
        {{"peer", hex(to_.value)}, {"peer-name", node_.name_of(to_)}, {"applied-index", info_.applied.value}});
    node_.raft_->snapshot_sent(to_, info_.applied);
  } else {
    node_.world_.log->warn("a snapshot could not be sent",
                           {{"to", hex(to_.value)}, {"to-name", node_.name_of(to_)}, {"error", why}});
    if (there >= info_.applied && there)
      node_.raft_->snapshot_sent(to_, there);
    else
      node_.raft_->snapshot_failed(to_);
  }
  info_ = {};  // the pin
}

// ---- receiver

SnapshotReceiver::SnapshotReceiver(Node& node) : node_(node) {}

SnapshotReceiver::~SnapshotReceiver() {
  *alive_ = false;
  bury(*node_.world_.loop, std::move(channel_));
}

peer::Hello SnapshotReceiver::own_hello(peer::Channel& c) {
  return node_.transport_->hello(c.theirs().from, peer::ChannelKind::kSnapshot);
}

void SnapshotReceiver::take(std::unique_ptr<peer::Channel> channel) {
  bury(*node_.world_.loop, std::move(channel_));
  channel_ = std::move(channel);
  channel_->set_handler(this);
}

void SnapshotReceiver::on_closed(peer::Channel& c, const Status&) {
  if (&c != channel_.get()) return;
  bury(*node_.world_.loop, std::move(channel_));
  wanted_.clear();
  arrived_.clear();
}

void SnapshotReceiver::refuse(const std::string& why, Index there) {
  node_.world_.log->warn("refused or gave up a snapshot", {{"reason", why}});
  if (std::exchange(began_, -1) >= 0) end_of_receiving(false);
  if (!channel_) return;
  std::string head;
  put_lengthed(head, why);
  put_fixed(head, there.value);
  channel_->send(kNo, head);
  channel_->flush();
}

void SnapshotReceiver::on_frame(peer::Channel& c, uint8_t type, std::string_view head, const Bytes& body) {
  if (&c != channel_.get()) return;
  if (type == kOffer) on_offer(head, body);
  if (type == kPiece) on_piece(head, body);
}

void SnapshotReceiver::on_offer(std::string_view head, const Bytes& manifest) {
  Reader in(head);
  Index applied(in.fixed<uint64_t>());
  if (!in.ok()) return refuse("malformed offer");
  if (installing_ || writing_ || node_.stopping_) return refuse("busy with another snapshot");
  if (!node_.raft_->wants_snapshot(applied)) {
    return refuse("not needed: this member has that state already", node_.raft_->commit());
  }
  if (!files_ || manifest_ != manifest.view()) {
    Result<std::unique_ptr<storage::Receiver>> files = node_.store_->receive(manifest.view());
    if (!files.is_ok()) return refuse(files.status().to_string());
    files_ = std::move(*files);
    manifest_ = manifest.to_string();
  }
  applied_ = applied;
  damaged_files_ = 0;
  if (began_ < 0) {
    began_ = node_.world_.loop->now();
    sender_ = channel_->theirs().from;
    node_.stats_.snapshots_from[sender_].in_flight = 1;
  }
  want_from_start();
}

void SnapshotReceiver::end_of_receiving(bool succeeded) {
  SnapshotStats& stats = node_.stats_.snapshots_from[sender_];
  stats.in_flight = 0;
  ++(succeeded ? stats.succeeded : stats.failed);
}

void SnapshotReceiver::want_from_start() {
  wanted_.clear();
  arrived_.clear();
  next_want_ = {0, files_->file_count() == 0 ? 0 : files_->received(0)};
  if (files_->complete()) return install();
  want_more();
}

void SnapshotReceiver::want_more() {
  if (!channel_) return;
  while (wanted_.size() + arrived_.size() + writing_ < kPiecesInFlight && next_want_.file < files_->file_count()) {
    uint64_t left = files_->file_size(next_want_.file) - next_want_.offset;
    if (left == 0) {
      ++next_want_.file;
      next_want_.offset = next_want_.file < files_->file_count() ? files_->received(next_want_.file) : 0;
      continue;
    }
    wanted_.push_back(next_want_);
    channel_->send(kWant, two(next_want_.file, next_want_.offset));
    next_want_.offset += std::min<uint64_t>(left, kPieceBytes);
  }
  channel_->flush();
}

// What was asked for before a file turned out to be damaged may still come: only the next in order counts.
void SnapshotReceiver::on_piece(std::string_view head, const Bytes& piece) {
  Reader in(head);
  auto file = in.fixed<uint64_t>();
  auto offset = in.fixed<uint64_t>();
  if (!in.ok() || !files_ || wanted_.empty() || file != wanted_.front().file || offset != wanted_.front().offset)
    return;
  if (piece.size() != std::min<uint64_t>(files_->file_size(file) - offset, kPieceBytes))
    return refuse("a piece of another length");
  wanted_.pop_front();
  arrived_.emplace_back(file, piece);
  write_next();
}

void SnapshotReceiver::write_next() {
  if (writing_ || arrived_.empty()) return;
  auto [file, piece] = std::move(arrived_.front());
  arrived_.pop_front();
  writing_ = true;
  files_->write(file, std::move(piece), [this, alive = alive_](Status status) {
    if (!*alive) return;
    writing_ = false;
    if (status.code() == Code::kDataLoss) {
      if (++damaged_files_ >= kDamagedFilesMax)
        return refuse("what arrives is damaged, again and again; is the sender's disk? " + status.to_string());
      return want_from_start();  // the damaged file once more, from its beginning
    }
    if (!status.is_ok()) {
      files_.reset();
      return refuse(status.to_string());
    }
    if (files_->complete()) return install();
    want_more();
    write_next();
  });
}

void SnapshotReceiver::install() {
  if (!node_.raft_->wants_snapshot(applied_) || node_.stopping_) {
    files_.reset();
    if (std::exchange(installing_, false)) {  // it waited for a checkpoint; nothing was switched yet
      node_.installing_ = false;
      node_.apply_waits_ = false;
      node_.go_on_soon();
    }
    return refuse("not needed any more", node_.stopping_ ? Index() : node_.raft_->commit());
  }
  installing_ = true;
  node_.installing_ = true;    // no checkpoint begins
  node_.apply_waits_ = true;   // and nothing is applied to the state that goes
  if (node_.store_->busy()) {  // a checkpoint is still running
    node_.world_.loop->add_timer(node_.world_.loop->now() + 10 * io::kMillisecond, [this, alive = alive_] {
      if (*alive) install();
    });
    return;
  }
  raft::HardState hard{node_.raft_->term(), node_.raft_->vote()};
  FAILPOINT(raftBeforeSaveSnap);
  node_.store_->install(std::move(files_), hard, node_.log_->durable_position(), [this, alive = alive_](Status status) {
    if (!*alive) return;
    if (!status.is_ok()) {
      if (status.message().starts_with("fatal:")) return node_.fatal(status);
      installing_ = false;
      node_.installing_ = false;
      node_.apply_waits_ = false;
      return refuse(status.to_string());
    }
    FAILPOINT(raftAfterSaveSnap);
    load(node_.store_->state());
  });
}

// The new index is built by a worker while the loop goes on with heartbeats; nothing else touches the store meanwhile.
void SnapshotReceiver::load(storage::StoreState state) {
  auto keyspace = std::make_shared<std::unique_ptr<mvcc::Keyspace>>();
  auto status = std::make_shared<Status>();
  FAILPOINT(applyBeforeOpenSnapshot);
  node_.world_.workers->run(
      [node = &node_, keyspace, status] {
        *keyspace = std::make_unique<mvcc::Keyspace>(mvcc::KeyspaceOptions{node->config_.value_cache_bytes});
        *status = node->load_keyspace(**keyspace);
      },
      [this, keyspace, status, state = std::move(state), alive = alive_] {
        if (!*alive) return;
        // The manifest is switched already: without its index this member cannot go on.
        if (!status->is_ok()) return node_.fatal(*status);
        FAILPOINT(applyAfterOpenSnapshot);
        node_.switch_to_snapshot(std::move(*keyspace), state);
        manifest_.clear();
      });
}

void SnapshotReceiver::installed() {
  installing_ = false;
  if (io::Nanos began = std::exchange(began_, -1); began >= 0) {
    end_of_receiving(true);
    node_.stats_.snapshots_from[sender_].seconds.observe(static_cast<double>(node_.world_.loop->now() - began) / 1e9);
  }
  if (!channel_) return;
  channel_->send(kDone, two(applied_.value, 0));
  channel_->flush();
}

}  // namespace fairlead::node
