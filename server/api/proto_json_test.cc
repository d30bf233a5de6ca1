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

// What JsonValues makes of a text in pieces: values, then "end" or an error.
std::vector<std::string> values_of(std::string_view text, size_t piece) {
  JsonValues values;
  std::vector<std::string> out;
  auto take = [&] {
    for (;;) {
      Result<std::optional<std::string_view>> next = values.next();
      if (!next.is_ok()) return out.push_back("error: " + std::string(next.status().message())), false;
      if (!*next) return true;
      out.emplace_back(**next);
    }
  };
  for (size_t at = 0; at < text.size(); at += piece) {
    values.append(text.substr(at, piece));
    if (!take()) return out;
  }
  out.push_back("left: " + std::to_string(values.held_bytes()));
  return out;
}

TEST(JsonValues, AreTheSameHoweverTheTextIsCut) {
  const std::pair<const char*, std::vector<std::string>> kCases[] = {
      {R"( {"a":[1,-0.5e+3,"x\u12aB\"\\"],"b":{}} [] )",
       {R"({"a":[1,-0.5e+3,"x\u12aB\"\\"],"b":{}})", "[]", "left: 0"}},
      {"{}{}\n{\"k\":null}\n", {"{}", "{}", "{\"k\":null}", "left: 0"}},
      {"1 23\n\"s\"true false null ", {"1", "23", "\"s\"", "true", "false", "null", "left: 0"}},
      {"{\"a\":1", {"left: 6"}},
      {"12", {"left: 2"}},  // more digits may come
      {"[[[\"", {"left: 4"}},
      {"{} x", {"{}", "error: invalid character 'x' looking for beginning of value"}},
      {"{\"a\" 1}", {"error: invalid character '1' after object key"}},
      {"[1 2]", {"error: invalid character '2' after array element"}},
      {"{\"a\":1 2}", {"error: invalid character '2' after object key:value pair"}},
      {"{,}", {"error: invalid character ',' looking for beginning of object key string"}},
      {"{\"a\":1,}", {"error: invalid character '}' looking for beginning of object key string"}},
      {"[1,]", {"error: invalid character ']' looking for beginning of value"}},
      {"nul!", {"error: invalid character '!' in literal null (expecting 'l')"}},
      {"-x", {"error: invalid character 'x' in numeric literal"}},
      {"01 ", {"0", "1", "left: 0"}},
      {"1.x", {"error: invalid character 'x' after decimal point in numeric literal"}},
      {"1e+x", {"error: invalid character 'x' in exponent of numeric literal"}},
      {"\"\\q\"", {"error: invalid character 'q' in string escape code"}},
      {"\"\\u12g4\"", {"error: invalid character 'g' in \\u hexadecimal character escape"}},
      {"\"a\nb\"", {"error: invalid character '\\n' in string literal"}},
  };
  for (const auto& [text, expected] : kCases)
    for (size_t piece = 1; piece <= std::string_view(text).size(); ++piece)
      EXPECT_EQ(values_of(text, piece), expected) << text << " by " << piece;
}

TEST(JsonValues, TheEndOfTheTextEndsANumberAndCutsTheRest) {
  auto last = [](std::string text) {
    JsonValues values;
    values.set_whole(std::move(text));
    Result<std::optional<std::string_view>> next = values.next();
    return !next.is_ok() ? std::string(next.status().message()) : *next ? std::string(**next) : "nothing";
  };
  for (const char* number : {"0", "-7", "1.5", "1e5", "12E-3"}) EXPECT_EQ(last(number), number);
  for (const char* cut : {"-", "1.", "1e", "1e+", "{", "[1", "\"a", "tru", "{\"a\"", "[[]"})
    EXPECT_EQ(last(cut), "unexpected EOF") << cut;
  EXPECT_EQ(last(" \n"), "nothing");
}

TEST(JsonValues, ManyOrLongOnesInSmallPiecesTakeLinearTime) {
  std::string text = "{\"key\":\"" + std::string(4'000'000, 'a') + "\"}";
  JsonValues values;
  size_t found = 0;
  for (char c : text) {
    values.append(std::string_view(&c, 1));
    Result<std::optional<std::string_view>> next = values.next();
    ASSERT_TRUE(next.is_ok());
    found += next->has_value();
  }
  EXPECT_EQ(found, 1u);
  std::string many;
  for (int i = 0; i < 1'000'000; ++i) many += "{}";
  JsonValues small;
  small.append(many);
  for (found = 0; small.next()->has_value();) ++found;
  EXPECT_EQ(found, 1'000'000u);
  EXPECT_EQ(small.held_bytes(), 0u);
}

}  // namespace
}  // namespace fairlead::api
