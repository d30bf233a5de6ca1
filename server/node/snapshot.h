// A snapshot from the leader to a member that lags behind its log: files of a pinned manifest over a connection of
// their own, asked for piece by piece by the receiver, which makes the transfer flow-controlled and resumable: after a
// broken connection the receiver goes on where it was as long as the sender offers the same manifest.
//
//   sender   -> offer   head: applied, applied term, sender's term; body: shared manifest
//   receiver -> want    head: file, offset; several at once, answered in order
//   sender   -> piece   head: file, offset; body: at most kPieceBytes
//   receiver -> done    head: applied index     (installed and durable)
//   receiver -> no      head: reason; the index up to which it has all that is committed, where that is the reason, or
//   0
//
// Threads: the loop. Bounds: kPiecesInFlight pieces asked for or waiting to be written, kIdleTimeout without progress,
// one snapshot received at a time.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "server/mvcc/keyspace.h"
#include "server/peer/channel.h"
#include "server/storage/store.h"

namespace fairlead::node {

class Node;

constexpr size_t kPieceBytes = 256 << 10;
constexpr size_t kPiecesInFlight = 8;
constexpr io::Nanos kSnapshotIdleTimeout = 30 * io::kSecond;
constexpr int kDamagedFilesMax = 2;  // of one offer: then the damage is the sender's, not the way's

class SnapshotSender final : public peer::ChannelHandler {
 public:
  SnapshotSender(Node& node, MemberId to);
  ~SnapshotSender() override;
  void start();
  bool over() const { return over_; }
  Index applied() const { return info_.applied; }  // what it brings the receiver to

 private:
  peer::Hello own_hello(peer::Channel&) override;
  peer::Verdict judge(peer::Channel&, const peer::Hello& theirs) override;
  void on_established(peer::Channel&) override;
  void on_frame(peer::Channel&, uint8_t type, std::string_view head, const Bytes& body) override;
  void on_refused(peer::Channel&, const peer::Verdict&) override {}
  void on_closed(peer::Channel&, const Status& why) override;
  void send_pieces();
  void finish(bool sent, const std::string& why, Index there = {});
  void watch_idle();

  Node& node_;
  const MemberId to_;
  storage::SnapshotInfo info_;
  std::deque<std::pair<size_t, uint64_t>> wanted_;  // file, offset; the first is being read if reading_
  bool reading_ = false;
  std::unique_ptr<peer::Channel> channel_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  io::TimerId idle_timer_ = 0;
  io::Nanos began_ = 0;
  bool over_ = false;
};

class SnapshotReceiver final : public peer::ChannelHandler {
 public:
  explicit SnapshotReceiver(Node& node);
  ~SnapshotReceiver() override;
  // A new connection takes the place of the one before.
  void take(std::unique_ptr<peer::Channel> channel);
  // The installed state and the log behind it are durable: the sender is told.
  void installed();

 private:
  peer::Hello own_hello(peer::Channel&) override;
  peer::Verdict judge(peer::Channel&, const peer::Hello&) override { return {}; }
  void on_established(peer::Channel&) override {}
  void on_frame(peer::Channel&, uint8_t type, std::string_view head, const Bytes& body) override;
  void on_refused(peer::Channel&, const peer::Verdict&) override {}
  void on_closed(peer::Channel&, const Status& why) override;
  void on_offer(std::string_view head, const Bytes& manifest);
  void on_piece(std::string_view head, const Bytes& piece);
  void want_from_start();  // of what is not there yet
  void want_more();
  void write_next();
  void install();
  void load(storage::StoreState state);
  void refuse(const std::string& why, Index there = {});
  void end_of_receiving(bool succeeded);

  Node& node_;
  std::unique_ptr<peer::Channel> channel_;
  std::unique_ptr<storage::Receiver> files_;
  std::string manifest_;  // of files_: the same offer goes on where it was
  Index applied_;
  int damaged_files_ = 0;  // since the offer
  io::Nanos began_ = -1;   // of what is received now, interruptions included; -1: nothing is
  MemberId sender_;
  bool writing_ = false;
  bool installing_ = false;
  struct Want {
    size_t file = 0;
    uint64_t offset = 0;
  };
  Want next_want_;                                // what is asked for next
  std::deque<Want> wanted_;                       // asked for, in order
  std::deque<std::pair<size_t, Bytes>> arrived_;  // file, piece: to be written, in order
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace fairlead::node
