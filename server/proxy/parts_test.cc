// The small parts of the grpc-proxy: namespace, cache of ranges, registrations, addresses, pages.
#include <gtest/gtest.h>

#include "server/proxy/fetch_page.h"
#include "server/proxy/kv_proxy.h"
#include "server/proxy/member_list.h"
#include "server/proxy/name_space.h"
#include "server/proxy/range_cache.h"
#include "server/proxy/upstream.h"

namespace fairlead::proxy {
namespace {

const std::string kNoEnd(1, '\0');

// ---- namespace

TEST(Namespace, RangesStayInside) {
  Namespace ns("p/");
  std::string key = "a", end = "b";
  ns.move_in(&key, &end);
  EXPECT_EQ(key, "p/a");
  EXPECT_EQ(end, "p/b");
  key = "a", end = kNoEnd;
  ns.move_in(&key, &end);
  EXPECT_EQ(end, "p0");
  key = "a", end = "";
  ns.move_in(&key, &end);
  EXPECT_EQ(end, "");
  Namespace last("\xff");
  key = "a", end = kNoEnd;
  last.move_in(&key, &end);
  EXPECT_EQ(end, kNoEnd);
}

TEST(Namespace, TransactionsAtEveryDepth) {
  Namespace ns("p/");
  etcdserverpb::TxnRequest m;
  m.add_compare()->set_key("a");
  m.mutable_compare(0)->set_range_end(kNoEnd);
  m.add_success()->mutable_request_put()->set_key("b");
  auto& inner = *m.add_failure()->mutable_request_txn();
  inner.add_compare()->set_key("c");
  inner.add_success()->mutable_request_delete_range()->set_key("d");
  inner.add_failure()->mutable_request_range()->set_key("e");
  ASSERT_TRUE(ns.request(m).is_ok());
  EXPECT_EQ(m.compare(0).key(), "p/a");
  EXPECT_EQ(m.compare(0).range_end(), "p0");
  EXPECT_EQ(m.success(0).request_put().key(), "p/b");
  const auto& moved = m.failure(0).request_txn();
  EXPECT_EQ(moved.compare(0).key(), "p/c");
  EXPECT_EQ(moved.success(0).request_delete_range().key(), "p/d");
  EXPECT_EQ(moved.failure(0).request_range().key(), "p/e");
  inner.add_success()->mutable_request_put();
  EXPECT_EQ(ns.request(inner).message(), "etcdserver: key is not provided");

  etcdserverpb::TxnResponse r;
  r.add_responses()->mutable_response_range()->add_kvs()->set_key("p/x");
  auto& nested = *r.add_responses()->mutable_response_txn();
  nested.add_responses()->mutable_response_put()->mutable_prev_kv()->set_key("p/y");
  nested.add_responses()->mutable_response_delete_range()->add_prev_kvs()->set_key("p/z");
  ns.response(r);
  EXPECT_EQ(r.responses(0).response_range().kvs(0).key(), "x");
  EXPECT_EQ(r.responses(1).response_txn().responses(0).response_put().prev_kv().key(), "y");
  EXPECT_EQ(r.responses(1).response_txn().responses(1).response_delete_range().prev_kvs(0).key(), "z");
}

TEST(Namespace, WithoutAKeyNothingIsAsked) {
  Namespace ns("p/");
  etcdserverpb::RangeRequest range;
  etcdserverpb::PutRequest put;
  etcdserverpb::DeleteRangeRequest remove;
  range.set_range_end(kNoEnd);
  for (const Status& s : {ns.request(range), ns.request(put), ns.request(remove)})
    EXPECT_EQ(s, invalid_argument("etcdserver: key is not provided"));
}

TEST(Namespace, KeysOfALeaseThatAreOthersAreLeftOut) {
  Namespace ns("p/");
  etcdserverpb::LeaseTimeToLiveResponse m;
  for (const char* key : {"other", "p/a", "p", "p/b"}) m.add_keys(key);
  ns.response(m);
  ASSERT_EQ(m.keys_size(), 2);
  EXPECT_EQ(m.keys(0), "a");
  EXPECT_EQ(m.keys(1), "b");
}

// ---- cache

etcdserverpb::RangeRequest range(const std::string& key, const std::string& end = "", int64_t revision = 0) {
  etcdserverpb::RangeRequest m;
  m.set_key(key);
  m.set_range_end(end);
  m.set_revision(revision);
  return m;
}

bool has(RangeCache& cache, const etcdserverpb::RangeRequest& request, std::string_view who = "") {
  Bytes answer;
  etcdserverpb::RangeRequest serializable = request;
  serializable.set_serializable(true);
  return cache.find(who, serializable, &answer) == RangeCache::Found::kYes;
}

TEST(RangeCache, KeepsAnAnswerUntilAWriteMeetsIt) {
  RangeCache cache;
  cache.add("", range("a", "f"), Bytes::copy("answer"), cache.writes());
  cache.add("", range("x"), Bytes::copy("other"), cache.writes());
  EXPECT_TRUE(has(cache, range("a", "f")));
  EXPECT_FALSE(has(cache, range("a", "g")));
  EXPECT_FALSE(has(cache, range("a", "f"), "somebody else"));
  cache.invalidate("f", "");
  EXPECT_TRUE(has(cache, range("a", "f")));
  cache.invalidate("b", "");
  EXPECT_FALSE(has(cache, range("a", "f")));
  EXPECT_TRUE(has(cache, range("x")));
  cache.invalidate("w", kNoEnd);
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(cache.bytes(), 0u);
}

TEST(RangeCache, AnAnswerThatAWriteMayHaveOvertakenIsNotKept) {
  RangeCache cache;
  uint64_t since = cache.writes();
  cache.invalidate("zzz", "");
  cache.add("", range("a"), Bytes::copy("old"), since);
  EXPECT_FALSE(has(cache, range("a")));
  cache.add("", range("a", "", 5), Bytes::copy("of a revision"), since);
  EXPECT_TRUE(has(cache, range("a", "", 5)));
}

TEST(RangeCache, ARevisionStaysTrueUntilItIsCompacted) {
  RangeCache cache;
  cache.add("", range("a", "", 5), Bytes::copy("five"), cache.writes());
  cache.add("", range("a", "", 9), Bytes::copy("nine"), cache.writes());
  cache.invalidate("a", "");
  EXPECT_TRUE(has(cache, range("a", "", 5)));
  cache.compact(9);
  Bytes answer;
  EXPECT_EQ(cache.find("", range("a", "", 5), &answer), RangeCache::Found::kCompacted);
  EXPECT_TRUE(has(cache, range("a", "", 9)));
  cache.add("", range("b", "", 5), Bytes::copy("late"), cache.writes());
  EXPECT_FALSE(has(cache, range("b", "", 5)));
}

TEST(RangeCache, ItsSizeIsBounded) {
  RangeCache cache;
  for (size_t i = 0; i < kCacheEntriesMax + 10; ++i) {
    cache.add("", range("k" + std::to_string(i)), Bytes::copy("x"), cache.writes());
    EXPECT_TRUE(has(cache, range("k0"))) << "used all the time";
  }
  EXPECT_EQ(cache.size(), kCacheEntriesMax);
  EXPECT_FALSE(has(cache, range("k1")));
  for (int i = 0; i < 40; ++i)
    cache.add("", range("big" + std::to_string(i)), Bytes::copy(std::string(kCacheAnswerBytesMax, 'x')),
              cache.writes());
  EXPECT_LE(cache.bytes(), kCacheBytesMax);
  cache.add("", range("huge"), Bytes::copy(std::string(kCacheAnswerBytesMax + 1, 'x')), cache.writes());
  EXPECT_FALSE(has(cache, range("huge")));
}

TEST(RangeCache, RangesMeet) {
  EXPECT_TRUE(ranges_meet("a", "", "a", ""));
  EXPECT_FALSE(ranges_meet("a", "", "b", ""));
  EXPECT_TRUE(ranges_meet("a", "c", "b", ""));
  EXPECT_FALSE(ranges_meet("a", "c", "c", ""));
  EXPECT_TRUE(ranges_meet("a", kNoEnd, "z", ""));
  EXPECT_FALSE(ranges_meet("b", kNoEnd, "a", "b"));
  EXPECT_TRUE(ranges_meet("b", kNoEnd, "a", "c"));
}

TEST(HeaderRevision, IsReadWithoutTheRest) {
  etcdserverpb::RangeResponse m;
  m.add_kvs()->set_value("v");
  EXPECT_EQ(header_revision(Bytes::copy(m.SerializeAsString())), 0);
  m.mutable_header()->set_cluster_id(UINT64_MAX);
  m.mutable_header()->set_member_id(UINT64_MAX);
  m.mutable_header()->set_raft_term(UINT64_MAX);
  m.mutable_header()->set_revision(INT64_MAX);
  EXPECT_EQ(header_revision(Bytes::copy(m.SerializeAsString())), INT64_MAX);
  EXPECT_EQ(header_revision(Bytes()), 0);
  EXPECT_EQ(header_revision(Bytes::literal("\x0A\x7F")), 0);
}

// ---- the rest

TEST(Registration, IsEtcds) {
  std::string text = registration("127.0.0.1:23790", "a \"host\"");
  EXPECT_EQ(text, R"({"Op":0,"Addr":"127.0.0.1:23790","Metadata":"{\"name\":\"a \\\"host\\\"\"}"})");
  std::string address, name;
  ASSERT_TRUE(read_registration(text, &address, &name));
  EXPECT_EQ(address, "127.0.0.1:23790");
  EXPECT_EQ(name, "a \"host\"");
  ASSERT_TRUE(read_registration(R"({"Addr":"x:1","Metadata":7})", &address, &name));
  EXPECT_EQ(name, "");
  for (const char* bad : {"", "7", "{", "[]", R"({"Addr":1})", R"({"addr":"x"})"})
    EXPECT_FALSE(read_registration(bad, &address, &name)) << bad;
}

TEST(DialAddress, SchemesDecide) {
  EXPECT_EQ(dial_address("http://a:1", true), "a:1");
  EXPECT_EQ(dial_address("https://a:1/x", false), "tls:a:1");
  EXPECT_EQ(dial_address("a:1", false), "a:1");
  EXPECT_EQ(dial_address("a:1", true), "tls:a:1");
  EXPECT_EQ(dial_address("unix:///tmp/s", false), "unix:/tmp/s");
  EXPECT_EQ(dial_address("unixs://localhost:7", false), "tls:unix:localhost:7");
}

TEST(FetchPage, BodyOfAnAnswer) {
  auto good = body_of_answer("HTTP/1.0 200 OK\r\nA: b\r\n\r\nbody\r\n\r\nmore");
  ASSERT_TRUE(good.is_ok());
  EXPECT_EQ(*good, "body\r\n\r\nmore");
  EXPECT_EQ(body_of_answer("HTTP/1.1 503 No\r\n\r\n").status().message(), "HTTP status 503 No");
  for (const char* bad : {"", "HTTP/1.0", "HTTP/1.0 200 OK\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.0\r\n\r\n 200 x"})
    EXPECT_FALSE(body_of_answer(bad).is_ok()) << bad;
}

}  // namespace
}  // namespace fairlead::proxy
