#include "server/proxy/watch_hub.h"

#include <gtest/gtest.h>

#include <optional>

#include "server/proxy/wire.h"

namespace fairlead::proxy {
namespace {

using etcdserverpb::WatchCreateRequest;
using etcdserverpb::WatchRequest;
using etcdserverpb::WatchResponse;

struct Recorder final : WatchHub::Output {
  void send(WatchHub::StreamId stream, std::span<const Bytes> parts) override {
    std::string all;
    for (const Bytes& part : parts) all += part.to_string();
    WatchResponse m;
    ASSERT_TRUE(m.ParseFromString(all));
    sent[stream].push_back(std::move(m));
  }
  size_t queued_bytes(WatchHub::StreamId stream) override { return queued[stream]; }
  void end(WatchHub::StreamId stream, const Status& status) override { ended[stream] = status; }
  void open_up(WatchHub::UpId up, const WatchHub::Who&) override { opened.push_back(up); }
  void send_up(WatchHub::UpId up, const WatchRequest& request) override { up_sent[up].push_back(request); }
  void close_up(WatchHub::UpId up) override { closed.push_back(up); }

  std::map<WatchHub::StreamId, std::vector<WatchResponse>> sent;
  std::map<WatchHub::StreamId, size_t> queued;
  std::map<WatchHub::StreamId, Status> ended;
  std::map<WatchHub::UpId, std::vector<WatchRequest>> up_sent;
  std::vector<WatchHub::UpId> opened, closed;
};

struct WatchHubTest : testing::Test {
  WatchRequest create(const std::string& key, int64_t revision = 0) {
    WatchRequest r;
    r.mutable_create_request()->set_key(key);
    r.mutable_create_request()->set_start_revision(revision);
    return r;
  }
  void created(int64_t id, int64_t revision) {
    WatchResponse m;
    m.mutable_header()->set_revision(revision);
    m.set_watch_id(id);
    m.set_created(true);
    hub.up_message(1, m);
  }
  void events(int64_t id, std::vector<int64_t> revisions, int64_t now = 0) {
    WatchResponse m;
    m.mutable_header()->set_revision(now > 0 ? now : revisions.back());
    m.set_watch_id(id);
    for (int64_t revision : revisions) {
      auto& kv = *m.add_events()->mutable_kv();
      kv.set_key("ns/k");
      kv.set_value("v");
      kv.set_mod_revision(revision);
    }
    hub.up_message(1, m);
  }
  void progress(int64_t id, int64_t revision) {
    WatchResponse m;
    m.mutable_header()->set_revision(revision);
    m.set_watch_id(id);
    hub.up_message(1, m);
  }
  std::vector<int64_t> seen(WatchHub::StreamId stream, int64_t id = 0) {
    std::vector<int64_t> revisions;
    for (const WatchResponse& m : out_of(stream))
      for (const auto& e : m.events())
        if (m.watch_id() == id) revisions.push_back(e.kv().mod_revision());
    return revisions;
  }
  const std::vector<WatchResponse>& out_of(WatchHub::StreamId stream) { return out.sent[stream]; }
  const std::vector<WatchRequest>& up() { return out.up_sent[1]; }

  using Revisions = std::vector<int64_t>;
  Recorder out;
  Namespace none{""};
  WatchHub hub{out, none};
};

TEST_F(WatchHubTest, WatchersFromNowShareOneWatchOnceTheyKnowWhatNowIs) {
  auto a = hub.open_stream({}), b = hub.open_stream({});
  EXPECT_EQ(out.opened, (std::vector<WatchHub::UpId>{1}));
  hub.request(a, create("k"));
  EXPECT_TRUE(up().empty()) << "the stream does not stand yet";
  hub.up_ready(1);
  ASSERT_EQ(up().size(), 1u);
  EXPECT_TRUE(up()[0].create_request().prev_kv());
  EXPECT_TRUE(up()[0].create_request().progress_notify());
  created(1, 10);
  ASSERT_EQ(out_of(a).size(), 1u);
  EXPECT_TRUE(out_of(a)[0].created());
  EXPECT_EQ(out_of(a)[0].header().revision(), 10);
  hub.request(b, create("k"));
  ASSERT_EQ(up().size(), 2u) << "now may be later than what the first watch has seen";
  created(2, 12);
  EXPECT_EQ(out_of(b)[0].header().revision(), 12);
  ASSERT_EQ(up().size(), 3u);
  EXPECT_EQ(up()[2].cancel_request().watch_id(), 2);
  EXPECT_EQ(hub.stats().watches, 1u);
  EXPECT_EQ(hub.stats().coalescing, 1u);
  events(1, {11, 12, 13});
  EXPECT_EQ(seen(a), (Revisions{11, 12, 13}));
  EXPECT_EQ(seen(b), (Revisions{13})) << "the others were before it";
  EXPECT_EQ(hub.stats().events_coalesced, 1u);
}

TEST_F(WatchHubTest, OneThatCatchesUpHasItsOwnUntilItHas) {
  auto a = hub.open_stream({}), b = hub.open_stream({});
  hub.up_ready(1);
  hub.request(a, create("k"));
  created(1, 5000);
  hub.request(b, create("k", 3));
  created(2, 5000);
  EXPECT_EQ(hub.stats().watches, 2u);
  events(2, {3, 4}, 5000);  // the header is far ahead of what was delivered
  EXPECT_EQ(hub.stats().watches, 2u) << "5 to 5000 have not come yet";
  events(2, {4000}, 5000);
  EXPECT_EQ(hub.stats().watches, 2u);
  events(1, {5001});
  events(2, {5001});
  EXPECT_EQ(hub.stats().watches, 1u);
  events(1, {5002});
  EXPECT_EQ(seen(a), (Revisions{5001, 5002}));
  EXPECT_EQ(seen(b), (Revisions{3, 4, 4000, 5001, 5002}));
}

TEST_F(WatchHubTest, AWatcherOfTheNextRevisionJoinsAtOnce) {
  auto a = hub.open_stream({}), b = hub.open_stream({});
  hub.up_ready(1);
  hub.request(a, create("k", 11));
  created(1, 10);
  hub.request(b, create("k", 14));
  EXPECT_EQ(up().size(), 1u);
  ASSERT_EQ(out_of(b).size(), 1u);
  EXPECT_TRUE(out_of(b)[0].created());
  events(1, {12, 14});
  EXPECT_EQ(seen(a), (Revisions{12, 14}));
  EXPECT_EQ(seen(b), (Revisions{14}));
}

TEST_F(WatchHubTest, OtherCredentialsShareNothing) {
  auto a = hub.open_stream({{"token", "x"}}), b = hub.open_stream({{"token", "y"}});
  EXPECT_EQ(out.opened.size(), 2u);
  hub.close_stream(a);
  EXPECT_EQ(out.closed, (std::vector<WatchHub::UpId>{1}));
  hub.close_stream(b);
  EXPECT_EQ(out.closed.size(), 2u);
}

TEST_F(WatchHubTest, FiltersAndPreviousValuesAreEachWatchersOwn) {
  auto s = hub.open_stream({});
  hub.up_ready(1);
  WatchRequest no_put = create("k", 5), previous = create("k", 5);
  no_put.mutable_create_request()->add_filters(WatchCreateRequest::NOPUT);
  previous.mutable_create_request()->set_prev_kv(true);
  hub.request(s, create("k", 5));
  hub.request(s, no_put);
  hub.request(s, previous);
  EXPECT_EQ(up().size(), 1u);
  created(1, 4);
  WatchResponse m;
  m.mutable_header()->set_revision(6);
  m.set_watch_id(1);
  auto& put = *m.add_events();
  put.mutable_kv()->set_key("k");
  put.mutable_kv()->set_mod_revision(5);
  put.mutable_prev_kv()->set_value("before");
  auto& gone = *m.add_events();
  gone.set_type(mvccpb::Event::DELETE);
  gone.mutable_kv()->set_mod_revision(6);
  hub.up_message(1, m);
  EXPECT_EQ(seen(s, 0), (Revisions{5, 6}));
  EXPECT_EQ(seen(s, 1), (Revisions{6}));
  EXPECT_EQ(seen(s, 2), (Revisions{5, 6}));
  for (const WatchResponse& r : out_of(s)) {
    if (r.events_size() == 2) {
      EXPECT_EQ(r.events(0).has_prev_kv(), r.watch_id() == 2);
    }
  }
}

TEST_F(WatchHubTest, ALostStreamIsMadeAgainWhereItWas) {
  auto a = hub.open_stream({}), b = hub.open_stream({});
  hub.up_ready(1);
  hub.request(a, create("k"));
  created(1, 10);
  events(1, {11});
  hub.request(b, create("other"));  // its answer is lost
  hub.up_ended(1, unavailable("connection lost"));
  EXPECT_EQ(out.opened.size(), 2u);
  size_t before = up().size();
  hub.up_ready(1);
  ASSERT_EQ(up().size(), before + 2);
  EXPECT_EQ(up()[before].create_request().start_revision(), 12);
  EXPECT_EQ(up()[before + 1].create_request().start_revision(), 0);
  created(1, 20);
  EXPECT_EQ(out_of(a).size(), 2u) << "it is not told again";
  created(2, 20);
  EXPECT_EQ(out_of(b).at(0).header().revision(), 20);
  events(1, {12, 15}, 20);
  EXPECT_EQ(seen(a), (Revisions{11, 12, 15}));
  EXPECT_EQ(hub.stats().resumed, 1u);
}

TEST_F(WatchHubTest, NoLeaderAndRefusalsEndTheClientsStreams) {
  auto a = hub.open_stream({{"hasleader", "true"}});
  hub.up_ready(1);
  hub.request(a, create("k"));
  hub.up_ended(1, unavailable("etcdserver: no leader"));
  EXPECT_EQ(out.ended.at(a).message(), "etcdserver: no leader");
  EXPECT_EQ(out.closed.size(), 1u);
  EXPECT_EQ(hub.stats().watchers, 0u);
}

TEST_F(WatchHubTest, CompactedIsPassedOn) {
  auto a = hub.open_stream({});
  hub.up_ready(1);
  hub.request(a, create("k", 3));
  created(1, 100);
  WatchResponse m;
  m.set_watch_id(1);
  m.set_canceled(true);
  m.set_compact_revision(50);
  m.set_cancel_reason("why");
  hub.up_message(1, m);
  ASSERT_EQ(out_of(a).size(), 2u);
  EXPECT_TRUE(out_of(a)[1].canceled());
  EXPECT_EQ(out_of(a)[1].compact_revision(), 50);
  EXPECT_EQ(out_of(a)[1].cancel_reason(), "why");
  EXPECT_EQ(hub.stats().watches, 0u);
  EXPECT_EQ(up().size(), 1u) << "there is nothing to be cancelled";
}

TEST_F(WatchHubTest, ACreateThatIsRefused) {
  auto a = hub.open_stream({});
  hub.up_ready(1);
  hub.request(a, create("k"));
  WatchResponse m;
  m.set_watch_id(-1);
  m.set_created(true);
  m.set_canceled(true);
  m.set_cancel_reason("denied");
  hub.up_message(1, m);
  ASSERT_EQ(out_of(a).size(), 1u);
  EXPECT_EQ(out_of(a)[0].watch_id(), -1);
  EXPECT_TRUE(out_of(a)[0].created() && out_of(a)[0].canceled());
  EXPECT_EQ(out_of(a)[0].cancel_reason(), "denied");
  hub.request(a, create("k", -1));
  EXPECT_EQ(out_of(a).back().cancel_reason(), "etcdserver: mvcc: required revision has been compacted");
}

TEST_F(WatchHubTest, CancelBeforeAndAfterTheAnswer) {
  auto a = hub.open_stream({});
  hub.up_ready(1);
  WatchRequest cancel;
  cancel.mutable_cancel_request()->set_watch_id(0);
  hub.request(a, create("k"));
  hub.request(a, cancel);
  EXPECT_TRUE(out_of(a).back().canceled());
  EXPECT_EQ(up().size(), 1u);
  created(1, 10);
  ASSERT_EQ(up().size(), 2u);
  EXPECT_EQ(up()[1].cancel_request().watch_id(), 1);
  hub.request(a, create("k"));
  created(2, 11);
  EXPECT_EQ(out_of(a).back().watch_id(), 1) << "ids are not used again by themselves";
  cancel.mutable_cancel_request()->set_watch_id(1);
  hub.request(a, cancel);
  EXPECT_EQ(up().back().cancel_request().watch_id(), 2);
  hub.request(a, cancel);
  EXPECT_EQ(hub.stats().watchers, 0u);
}

TEST_F(WatchHubTest, ASlowClientLeavesAndComesBackWhereItWas) {
  auto slow = hub.open_stream({}), quick = hub.open_stream({});
  hub.up_ready(1);
  hub.request(slow, create("k", 5));
  hub.request(quick, create("k", 5));
  created(1, 4);
  events(1, {5});
  out.queued[slow] = kStreamQueueBytesMax + 1;
  events(1, {6});
  events(1, {7});
  EXPECT_EQ(seen(slow), (Revisions{5, 6}));
  EXPECT_EQ(seen(quick), (Revisions{5, 6, 7}));
  out.queued[slow] = 0;
  hub.drained(slow);
  EXPECT_EQ(up().back().create_request().start_revision(), 7);
  created(2, 7);
  events(2, {7});
  EXPECT_EQ(seen(slow), (Revisions{5, 6, 7}));
  EXPECT_EQ(hub.stats().watches, 1u);
  size_t told = 0;
  for (const WatchResponse& m : out_of(slow)) told += m.created();
  EXPECT_EQ(told, 1u);
}

TEST_F(WatchHubTest, AWatcherThatIsAddedToAFullStreamLeavesToo) {
  auto slow = hub.open_stream({}), other = hub.open_stream({});
  hub.up_ready(1);
  hub.request(other, create("k", 5));
  hub.request(slow, create("k", 5));
  created(1, 5);
  out.queued[slow] = kStreamQueueBytesMax + 1;
  events(1, {6});
  hub.request(slow, create("k", 7));  // joins the watch that goes on for the other stream
  events(1, {7});
  events(1, {8});
  EXPECT_EQ(seen(slow, 1), (Revisions{7})) << "one message, then it is full";
  EXPECT_EQ(seen(other), (Revisions{6, 7, 8}));
}

TEST_F(WatchHubTest, ProgressGoesToThoseWhoWantIt) {
  auto s = hub.open_stream({});
  hub.up_ready(1);
  WatchRequest wants = create("k", 5);
  wants.mutable_create_request()->set_progress_notify(true);
  hub.request(s, create("k", 5));
  hub.request(s, wants);
  created(1, 4);
  size_t before = out_of(s).size();
  progress(1, 30);
  ASSERT_EQ(out_of(s).size(), before + 1);
  EXPECT_EQ(out_of(s).back().watch_id(), 1);
  EXPECT_EQ(out_of(s).back().header().revision(), 30);
  WatchRequest ask;
  ask.mutable_progress_request();
  hub.request(s, ask);
  EXPECT_TRUE(up().back().has_progress_request());
  progress(-1, 40);
  EXPECT_EQ(out_of(s).back().watch_id(), -1);
  EXPECT_EQ(out_of(s).back().header().revision(), 40);
  progress(-1, 41);
  EXPECT_EQ(out_of(s).back().header().revision(), 40) << "nobody has asked";
}

TEST_F(WatchHubTest, IdsThatClientsChoose) {
  auto s = hub.open_stream({});
  hub.up_ready(1);
  WatchRequest mine = create("k", 5);
  mine.mutable_create_request()->set_watch_id(7);
  hub.request(s, mine);
  created(1, 4);
  EXPECT_EQ(out_of(s).back().watch_id(), 7);
  hub.request(s, mine);
  EXPECT_EQ(out_of(s).back().watch_id(), -1);
  EXPECT_EQ(out_of(s).back().cancel_reason(), "mvcc: duplicate watch ID provided on the WatchStream");
}

TEST_F(WatchHubTest, LargeMessagesAreCutForThoseWhoAskForIt) {
  auto s = hub.open_stream({});
  hub.up_ready(1);
  WatchRequest cut = create("k", 5);
  cut.mutable_create_request()->set_fragment(true);
  hub.request(s, cut);
  created(1, 4);
  WatchResponse m;
  m.mutable_header()->set_revision(5);
  m.set_watch_id(1);
  for (int i = 0; i < 3; ++i) {
    m.add_events()->mutable_kv()->set_value(std::string(1 << 20, 'x'));
    m.mutable_events(i)->mutable_kv()->set_mod_revision(5);
  }
  hub.up_message(1, m);
  ASSERT_EQ(out_of(s).size(), 4u);
  EXPECT_TRUE(out_of(s)[1].fragment());
  EXPECT_TRUE(out_of(s)[2].fragment());
  EXPECT_FALSE(out_of(s)[3].fragment());
}

TEST(WatchHubNamespace, RangesGoInAndKeysComeOut) {
  Recorder out;
  Namespace name_space("ns/");
  WatchHub hub(out, name_space);
  auto s = hub.open_stream({});
  hub.up_ready(1);
  WatchRequest r;
  r.mutable_create_request()->set_key("k");
  r.mutable_create_request()->set_range_end(std::string(1, '\0'));
  hub.request(s, r);
  EXPECT_EQ(out.up_sent[1][0].create_request().key(), "ns/k");
  EXPECT_EQ(out.up_sent[1][0].create_request().range_end(), "ns0");
  WatchResponse m;
  m.set_watch_id(1);
  m.set_created(true);
  hub.up_message(1, m);
  m.set_created(false);
  m.mutable_header()->set_revision(2);
  m.add_events()->mutable_kv()->set_key("ns/key");
  m.mutable_events(0)->mutable_kv()->set_mod_revision(2);
  m.mutable_events(0)->mutable_prev_kv()->set_key("ns/key");
  hub.up_message(1, m);
  EXPECT_EQ(out.sent[s].back().events(0).kv().key(), "key");
}

}  // namespace
}  // namespace fairlead::proxy
