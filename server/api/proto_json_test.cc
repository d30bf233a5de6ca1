// JSON of the gateway: what Go's encoding/json and protojson accept, refuse and print.
#include "server/api/proto_json.h"

#include <gtest/gtest.h>

#include "proto/rpc.pb.h"

namespace fairlead::api {
namespace {

std::string parse(std::string_view text, google::protobuf::Message& out) {
  Result<std::optional<std::string_view>> value = take_json(text);
  if (!value.is_ok()) return std::string(value.status().message());
  if (!*value) return "nothing";
  return std::string(from_json(**value, out).message());
}

TEST(ProtoJson, TakesBothNamesNumbersAsTextAndUnknownFields) {
  etcdserverpb::RangeRequest r;
  EXPECT_EQ(parse(R"( {"key":"Zm9v","rangeEnd":"Zg","limit":"5","revision":1e1,"sort_order":"DESCEND","sort_target":2,
                      "keys_only":true,"nothing":{"a":[1,{"b":null}]}} )",
                  r),
            "");
  EXPECT_EQ(r.key(), "foo");
  EXPECT_EQ(r.range_end(), "f");
  EXPECT_EQ(r.limit(), 5);
  EXPECT_EQ(r.revision(), 10);
  EXPECT_EQ(r.sort_order(), etcdserverpb::RangeRequest::DESCEND);
  EXPECT_EQ(r.sort_target(), etcdserverpb::RangeRequest::CREATE);
  EXPECT_TRUE(r.keys_only());
  EXPECT_EQ(to_json(r), R"({"key":"Zm9v","range_end":"Zg==","limit":"5","revision":"10","sort_order":"DESCEND",)"
                        R"("sort_target":"CREATE","keys_only":true})");
}

TEST(ProtoJson, SaysWhatIsWrongInGoWords) {
  const std::pair<const char*, const char*> kCases[] = {
      {"", "nothing"},
      {"{", "unexpected EOF"},
      {"{x", "invalid character 'x' looking for beginning of object key string"},
      {"{\"a\" 1}", "invalid character '1' after object key"},
      {"{\"a\":1 2}", "invalid character '2' after object key:value pair"},
      {"[1 2]", "invalid character '2' after array element"},
      {"nul!", "invalid character '!' in literal null (expecting 'l')"},
      {"-x", "invalid character 'x' in numeric literal"},
      {"{\"key\":5}", "proto: (line 1:8): invalid value for bytes field key: 5"},
      {"{\"limit\":\"x\"}", "proto: (line 1:10): invalid value for int64 field limit: \"x\""},
      {"{\"limit\":1.5}", "proto: (line 1:10): invalid value for int64 field limit: 1.5"},
      {"{\"limit\":9223372036854775808}",
       "proto: (line 1:10): invalid value for int64 field limit: 9223372036854775808"},
      {"{\"key\":\"A\"}", "proto: (line 1:8): invalid value for bytes field key: \"A\""},
      {"{\"limit\":1,\"limit\":1}", "proto: (line 1:12): duplicate field \"limit\""},
      {"[1]", "proto: syntax error (line 1:1): unexpected token ["},
  };
  for (auto& [text, error] : kCases) {
    etcdserverpb::RangeRequest r;
    EXPECT_EQ(parse(text, r), error) << text;
  }
  etcdserverpb::RequestOp op;
  EXPECT_EQ(parse(R"({"request_put":{},"request_range":{}})", op),
            "proto: (line 1:19): error parsing \"request_range\", oneof etcdserverpb.RequestOp.request is already set");
}

TEST(ProtoJson, NestingHasALimit) {
  auto nested = [](size_t depth, const char* open, const char* close) {
    std::string text;
    for (size_t i = 0; i < depth; ++i) text += open;
    for (size_t i = 0; i < depth; ++i) text += close;
    return text;
  };
  etcdserverpb::RangeRequest r;
  EXPECT_EQ(parse("{\"x\":" + nested(kJsonDepthMax - 1, "[", "]") + "}", r), "");
  EXPECT_EQ(parse("{\"x\":" + nested(kJsonDepthMax, "[", "]") + "}", r), "invalid character '[' exceeded max depth");
  // Each level of a nested transaction is three messages: the transaction, its operation, the next transaction.
  auto txns = [](int levels) {
    std::string text;
    for (int i = 0; i < levels; ++i) text += R"({"success":[{"request_txn":)";
    text += "{}";
    for (int i = 0; i < levels; ++i) text += "}]}";
    return text;
  };
  etcdserverpb::TxnRequest t;
  EXPECT_EQ(parse(txns((kJsonMessageDepthMax - 1) / 2), t), "");
  EXPECT_EQ(parse(txns(kJsonMessageDepthMax / 2 + 1), t), "proto: exceeded max recursion depth");
}

}  // namespace
}  // namespace fairlead::api
