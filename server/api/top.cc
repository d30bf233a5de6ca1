// fairleadpb.Top: which keys are asked for most and whose watches are slow, on this member.
#include <algorithm>

#include "proto/fairlead.pb.h"
#include "server/api/api.h"
#include "server/api/proto_util.h"

namespace fairlead::api {
namespace {

constexpr uint32_t kListedDefault = 20;
constexpr uint32_t kListedMax = 200;
constexpr size_t kWatchersLookedAtMax = 20'000;
constexpr size_t kQueuedShownBytes = 64 << 10;  // less than this is on its way

size_t listed(uint32_t asked) { return std::min(asked == 0 ? kListedDefault : asked, kListedMax); }

bool slower(const fairleadpb::SlowWatch& a, const fairleadpb::SlowWatch& b) {
  if (a.revisions_behind() != b.revisions_behind()) return a.revisions_behind() > b.revisions_behind();
  return a.queued_bytes() > b.queued_bytes();
}

}  // namespace

std::vector<fairleadpb::SlowWatch> Api::slow_watches() {
  std::map<mvcc::StreamId, fairleadpb::SlowWatch> found;
  int64_t next = node_.keyspace().revision() + 1;
  for (mvcc::WatchLag& lag : node_.watch_hub().lags(kWatchersLookedAtMax)) {
    fairleadpb::SlowWatch& w = found[lag.stream];
    w.set_client("(this member)");  // a lock or an election that waits here
    w.set_watchers(lag.watchers);
    w.set_watchers_behind(lag.cursors);
    w.set_watch_id(lag.watch_id);
    w.set_key(std::move(lag.key));
    w.set_range_end(std::move(lag.range_end));
    w.set_revisions_behind(next - lag.next_revision);
    w.set_reads(lag.ready);
  }
  for (const auto& [stream, call] : watch_calls_) {
    auto it = found.find(stream);
    if (it == found.end()) {
      if (call->queued_bytes() < kQueuedShownBytes) continue;
      it = found.emplace(stream, fairleadpb::SlowWatch()).first;
      it->second.set_reads(true);
    }
    it->second.set_client(std::string(call->peer_address()));
    it->second.set_queued_bytes(call->queued_bytes());
  }
  std::vector<fairleadpb::SlowWatch> out;
  for (auto& [stream, w] : found) out.push_back(std::move(w));
  std::sort(out.begin(), out.end(), slower);
  return out;
}

void Api::add_top(net::Router& router) {
  router.add_unary("/fairleadpb.Top/Look", [this](net::CallRef call, Bytes in) {
    fairleadpb::TopRequest request;
    if (Status s = parse(in, request); !s.is_ok()) return call->finish(s);
    fairleadpb::TopResponse reply;
    reply.set_cluster_id(node_.cluster_id().value);
    reply.set_member_id(node_.member_id().value);
    reply.set_revision(node_.keyspace().revision());
    HotKeys::Report hot = hot_keys_.report(listed(request.prefixes_max()));
    reply.set_seconds(hot.seconds);
    reply.set_requests(hot.requests);
    for (HotKeys::Hot& h : hot.hot) {
      fairleadpb::HotPrefix* p = reply.add_prefixes();
      p->set_prefix(std::move(h.prefix));
      p->set_whole_key(h.whole_key);
      p->set_reads(h.reads);
      p->set_writes(h.writes);
    }
    mvcc::WatchStats watches = node_.watch_hub().stats();
    reply.set_watchers(watches.watchers);
    reply.set_watchers_behind(watches.cursors);
    for (fairleadpb::SlowWatch& w : slow_watches()) {
      if (reply.watches_size() >= static_cast<int>(listed(request.watches_max()))) break;
      *reply.add_watches() = std::move(w);
    }
    call->reply(serialize(reply));
  });
}

}  // namespace fairlead::api
