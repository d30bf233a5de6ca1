// The messages that the load generator writes and reads by hand are those of the generated code.
#include <gtest/gtest.h>

#include "bench/messages.h"
#include "bench/options.h"
#include "bench/result.h"
#include "proto/rpc.pb.h"

namespace fairlead::bench {
namespace {

namespace pb = etcdserverpb;

template <typename Message>
Message parsed(const Bytes& bytes) {
  Message out;
  EXPECT_TRUE(out.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  EXPECT_EQ(out.SerializeAsString(), bytes.view());
  return out;
}

TEST(BenchMessages, Requests) {
  auto put = parsed<pb::PutRequest>(put_request("key", "value"));
  EXPECT_EQ(put.key() + put.value(), "keyvalue");
  auto range = parsed<pb::RangeRequest>(range_request("key", true));
  EXPECT_TRUE(range.key() == "key" && range.serializable());
  EXPECT_FALSE(parsed<pb::RangeRequest>(range_request("key", false)).serializable());
  auto list = parsed<pb::RangeRequest>(list_request("a", "b", 500, 1 << 20));
  EXPECT_TRUE(list.key() == "a" && list.range_end() == "b" && list.limit() == 500 && list.revision() == 1 << 20);
  EXPECT_EQ(parsed<pb::RangeRequest>(list_request("a", "b", 0, 0)).limit(), 0);
  EXPECT_EQ(parsed<pb::WatchRequest>(watch_create_request("key")).create_request().key(), "key");
  auto login = parsed<pb::AuthenticateRequest>(authenticate_request("name", "secret"));
  EXPECT_EQ(login.name() + login.password(), "namesecret");
  auto grant = parsed<pb::LeaseGrantRequest>(lease_grant_request(7, 600));
  EXPECT_TRUE(grant.id() == 7 && grant.ttl() == 600);
  EXPECT_EQ(parsed<pb::LeaseKeepAliveRequest>(lease_keep_alive_request(INT64_MAX)).id(), INT64_MAX);
}

TEST(BenchMessages, Ranges) {
  pb::RangeStreamResponse stream;
  pb::RangeResponse& range = *stream.mutable_range_response();
  range.mutable_header()->set_revision(300);
  for (const char* key : {"a", "b", "longer"}) {
    range.add_kvs()->set_key(key);
    range.mutable_kvs(range.kvs_size() - 1)->set_value(std::string(1000, 'v'));
  }
  range.set_more(true);
  range.set_count(12);
  std::string bytes = range.SerializeAsString();
  RangePart part = parse_range(bytes);
  EXPECT_TRUE(part.good && part.more);
  EXPECT_EQ(part.revision, 300);
  EXPECT_EQ(part.keys, 3u);
  EXPECT_EQ(part.last_key, "longer");
  std::string chunk = stream.SerializeAsString();
  EXPECT_EQ(parse_range_stream(chunk).keys, 3u);
  EXPECT_EQ(parse_range(pb::RangeResponse().SerializeAsString()).keys, 0u);
  EXPECT_FALSE(parse_range(std::string_view(bytes).substr(0, bytes.size() - 5)).good);
}

TEST(BenchMessages, Fields) {
  pb::LeaseKeepAliveResponse answer;
  answer.set_id(7);
  answer.set_ttl(60);
  EXPECT_EQ(number_field(answer.SerializeAsString(), 2), 7);
  EXPECT_EQ(number_field(answer.SerializeAsString(), 3), 60);
  pb::AuthenticateResponse login;
  login.set_token("abc.1");
  std::string bytes = login.SerializeAsString();
  EXPECT_EQ(bytes_field(bytes, 2), "abc.1");
  EXPECT_EQ(bytes_field(bytes, 3), "");
}

TEST(BenchKeys, AscendInTheirNumberAndHaveTheirLength) {
  EXPECT_EQ(key_name(0, 32).size(), 32u);
  EXPECT_TRUE(key_name(0, 32).starts_with("/bench/"));
  EXPECT_LT(key_name(9, 32), key_name(10, 32));
  EXPECT_LT(key_name(99'999, 16), key_name(100'000, 16));
}

TEST(BenchOptions, FlagsAreChecked) {
  auto of = [](std::vector<const char*> words) {
    words.insert(words.begin(), {"fairlead-bench", "put", "--endpoints", "a:1,b:2"});
    return parse_options(static_cast<int>(words.size()), const_cast<char**>(words.data()));
  };
  ASSERT_TRUE(of({}).is_ok());
  EXPECT_EQ(of({})->endpoints, (std::vector<std::string>{"a:1", "b:2"}));
  EXPECT_EQ(of({"--user", "root:secret"})->user, "root:secret");
  EXPECT_FALSE(of({"--user", "root"}).is_ok());
  EXPECT_EQ(of({"--page", "0"})->page, 0);
  EXPECT_FALSE(of({"--leases", "0"}).is_ok());
  EXPECT_EQ(of({"--warmup", "0"})->warmup_seconds, 0);
  for (const char* bad : {"-1", "nan", "x"}) EXPECT_FALSE(of({"--warmup", bad}).is_ok()) << bad;
  EXPECT_FALSE(of({"--nonsense", "1"}).is_ok());
  EXPECT_FALSE(of({"--keys"}).is_ok());
}

}  // namespace
}  // namespace fairlead::bench
