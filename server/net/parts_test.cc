// The small parts: gRPC's wire words, the queue of outgoing bytes, deadlines.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "server/net/deadlines.h"
#include "server/net/grpc_wire.h"
#include "server/net/http.h"
#include "server/net/out_queue.h"
#include "server/net/router.h"
#include "server/net/test_world.h"

namespace fairlead::net {
namespace {

using test::make_pipe;
using test::TestLoop;

TEST(GrpcTimeout, Parses) {
  EXPECT_EQ(parse_grpc_timeout("1H"), 3600 * io::kSecond);
  EXPECT_EQ(parse_grpc_timeout("2M"), 120 * io::kSecond);
  EXPECT_EQ(parse_grpc_timeout("5S"), 5 * io::kSecond);
  EXPECT_EQ(parse_grpc_timeout("100m"), 100 * io::kMillisecond);
  EXPECT_EQ(parse_grpc_timeout("7u"), 7 * io::kMicrosecond);
  EXPECT_EQ(parse_grpc_timeout("99999999n"), 99'999'999);
  EXPECT_EQ(parse_grpc_timeout("0m"), 0);
  EXPECT_GT(*parse_grpc_timeout("99999999H"),
            365 * 24 * 3600 * io::kSecond);  // clamped, not overflown
  for (const char* bad : {"", "5", "S", "-1S", "1.5S", "123456789S", "5s", "5 S", "+5S"}) {
    EXPECT_FALSE(parse_grpc_timeout(bad)) << bad;
  }
}

TEST(GrpcTimeout, FormatsWhatItParsesAndNeverLess) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 10'000; ++i) {
    io::Nanos timeout = static_cast<io::Nanos>(random() >> (2 + random() % 60));
    std::string text = format_grpc_timeout(timeout);
    auto back = parse_grpc_timeout(text);
    ASSERT_TRUE(back) << text;
    EXPECT_GE(*back, std::min<io::Nanos>(timeout, INT64_MAX / 4)) << text;
  }
}

TEST(GrpcMessage, EncodesAndDecodes) {
  EXPECT_EQ(percent_encode_message("plain text, no more"), "plain text, no more");
  EXPECT_EQ(percent_encode_message("100%\n\xc3\xa9"), "100%25%0A%C3%A9");
  EXPECT_EQ(percent_decode("100%25%0A%C3%A9"), "100%\n\xc3\xa9");
  EXPECT_EQ(percent_decode("50% of %4 and %zz%"), "50% of %4 and %zz%");
}

TEST(MessageReader, AnyCut) {
  std::vector<std::string> messages = {"", "a", std::string(1000, 'b'), "", std::string(70'000, 'c'), "end"};
  std::string wire;
  for (const std::string& m : messages) {
    wire.push_back(0);
    for (int shift : {24, 16, 8, 0}) wire.push_back(static_cast<char>(m.size() >> shift));
    wire += m;
  }
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    MessageReader reader;
    std::vector<std::string> got;
    size_t most = round == 0 ? 1 : 1 + random() % (round < 100 ? 10 : 100'000);
    for (size_t at = 0; at < wire.size();) {
      std::string_view piece = std::string_view(wire).substr(at, 1 + random() % most);
      at += piece.size();
      while (!piece.empty()) {
        Bytes message;
        if (reader.next(piece, 100'000, message) == MessageReader::Step::kMessage) got.push_back(message.to_string());
      }
    }
    ASSERT_EQ(got.size(), messages.size());
    EXPECT_TRUE(got == messages);
    EXPECT_TRUE(reader.between_messages());
    EXPECT_EQ(reader.held_bytes(), 0u);
  }
}

TEST(MessageReader, AnnouncedSizeTakesNoMemory) {
  MessageReader reader;
  Bytes message;
  std::string_view wire(
      "\0\x7f\xff\xff\xff"
      "abc",
      8);
  EXPECT_EQ(reader.next(wire, SIZE_MAX, message), MessageReader::Step::kNeedMore);
  EXPECT_EQ(reader.held_bytes(), 8u);
}

// Whatever is appended arrives in order, through a socket that takes a few bytes at a time.
TEST(OutQueue, KeepsTheOrder) {
  std::mt19937 random(11);
  for (int round = 0; round < 50; ++round) {
    TestLoop loop;
    auto [near, far] = make_pipe(loop, 1 + random() % 20'000);
    OutQueue queue;
    std::string expected, got;
    char buffer[7000];
    auto take = [&] {
      io::IoResult result = far->read({buffer, 1 + random() % sizeof buffer});
      got.append(buffer, result.bytes);
    };
    for (int i = 0; i < 300; ++i) {
      std::string piece(random() % (random() % 4 == 0 ? 30'000 : 300), static_cast<char>('a' + random() % 26));
      expected += piece;
      if (random() % 2) {
        queue.append(std::string_view(piece));
      } else {
        queue.append(Bytes::copy(piece));
      }
      if (random() % 3 == 0) (void)queue.flush(*near);
      if (random() % 3 == 0) take();
    }
    while (got.size() < expected.size()) {
      (void)queue.flush(*near);
      take();
    }
    EXPECT_TRUE(got == expected);
    EXPECT_TRUE(queue.empty());
  }
}

TEST(MessageQueue, PartsAndSplits) {
  std::mt19937 random(13);
  for (int round = 0; round < 100; ++round) {
    MessageQueue queue;
    OutQueue out;
    TestLoop loop;
    auto [near, far] = make_pipe(loop, SIZE_MAX);
    std::string expected;
    for (int i = 0; i < 20; ++i) {
      std::vector<Bytes> parts;
      std::string whole;
      for (size_t n = random() % 4; n > 0; --n) {
        std::string part(random() % 2 ? random() % 5000 : random() % 3, static_cast<char>('A' + random() % 26));
        whole += part;
        parts.push_back(Bytes::copy(part));
      }
      expected.push_back(0);
      for (int shift : {24, 16, 8, 0}) expected.push_back(static_cast<char>(whole.size() >> shift));
      expected += whole;
      queue.push(parts);
    }
    EXPECT_EQ(queue.bytes(), expected.size());
    while (!queue.empty()) queue.move_to(out, std::min<size_t>(queue.bytes(), 1 + random() % 3000));
    (void)out.flush(*near);
    std::string got(expected.size() + 1, '\0');
    got.resize(far->read(got).bytes);
    EXPECT_TRUE(got == expected);
  }
}

TEST(Deadlines, FireInTimeAndNotWhenRemoved) {
  TestLoop loop;
  std::mt19937 random(17);
  std::multiset<io::Nanos> expected, fired;
  Deadlines deadlines(loop, [&](DeadlineEntry& entry) {
    EXPECT_LE(entry.deadline, loop.now());
    EXPECT_LT(loop.now() - entry.deadline, io::kMillisecond);
    fired.insert(entry.deadline);
  });
  std::vector<std::unique_ptr<DeadlineEntry>> entries;
  for (int i = 0; i < 2000; ++i) {
    auto entry = std::make_unique<DeadlineEntry>();
    entry->deadline = loop.now() + static_cast<io::Nanos>(1 + random() % 1000) * io::kMillisecond;
    deadlines.add(*entry);
    entries.push_back(std::move(entry));
    if (random() % 2 == 0) {
      DeadlineEntry& any = *entries[random() % entries.size()];
      deadlines.remove(any);  // perhaps for the second time, perhaps fired already
    }
    if (random() % 50 == 0) loop.advance(10 * io::kMillisecond);
  }
  for (const auto& entry : entries) {
    if (entry->heap_index != SIZE_MAX) expected.insert(entry->deadline);
  }
  fired.clear();
  loop.advance(2 * io::kSecond);
  EXPECT_EQ(fired, expected);
  EXPECT_EQ(deadlines.size(), 0u);
  EXPECT_EQ(loop.timers(), 0u);
}

TEST(HttpRequest, QueryValues) {
  HttpRequest request;
  request.query = "exclude=NOSPACE&verbose&exclude=A%26B&x=a+b&=odd";
  EXPECT_EQ(request.query_values("exclude"), (std::vector<std::string>{"NOSPACE", "A&B"}));
  EXPECT_EQ(request.query_values("verbose"), std::vector<std::string>{""});
  EXPECT_EQ(request.query_values("x"), std::vector<std::string>{"a b"});
  EXPECT_TRUE(request.query_values("none").empty());
}

}  // namespace
}  // namespace fairlead::net
