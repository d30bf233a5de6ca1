// Files written and read back; files damaged byte by byte. That real etcd reads them is e2e/interop/snapshot_test.sh's.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "base/codec.h"
#include "base/crc32c.h"
#include "server/bolt/etcd.h"
#include "server/bolt/inspect.h"
#include "server/bolt/proto_wire.h"

namespace fairlead::bolt {
namespace {

using Content = std::map<std::string, std::map<std::string, std::string>>;

void give(Writer& writer, const Content& content) {
  for (const auto& [name, items] : content) {
    writer.begin_bucket(name);
    for (const auto& [key, value] : items) writer.add(key, value);
    writer.end_bucket();
  }
}

std::string file_of(const Content& content) {
  Writer counting;
  give(counting, content);
  Layout layout = counting.finish();
  std::string out;
  Writer writing(layout, &out);
  give(writing, content);
  EXPECT_EQ(writing.finish(), layout);
  EXPECT_EQ(out.size(), layout.bytes());
  return out;
}

Result<Content> content_of(std::string_view file) {
  ASSIGN_OR_RETURN(std::unique_ptr<Reader> reader, Reader::open(memory_source(file)));
  Content out;
  for (const std::string& bucket : reader->buckets()) {
    auto& items = out[bucket];
    RETURN_IF_ERROR(reader->for_each(bucket, [&](std::string_view key, std::string_view value) -> Status {
      items.emplace(key, value);
      return {};
    }));
  }
  return out;
}

Content round_trip(const Content& content) {
  Result<Content> out = content_of(file_of(content));
  EXPECT_TRUE(out.is_ok()) << out.status().to_string();
  return out.is_ok() ? *out : Content{};
}

TEST(Bolt, EmptyFileAndEmptyBuckets) {
  EXPECT_EQ(round_trip({}), Content{});
  Content two = {{"a", {}}, {"b", {}}};
  EXPECT_EQ(round_trip(two), two);
}

TEST(Bolt, OneItem) {
  Content c = {{"b", {{"key", "value"}}}};
  EXPECT_EQ(round_trip(c), c);
}

// Sizes around a page: the value that just fits, and its neighbours; overflow pages around their borders too.
TEST(Bolt, ValuesAroundPageSizes) {
  for (size_t pages : {1, 2, 7}) {
    for (int delta = -40; delta <= 40; ++delta) {
      Content c;
      c["b"]["a"] = "small";
      c["b"]["k"] = std::string(pages * kPageBytes + static_cast<size_t>(delta) - kPageHeaderBytes, 'x');
      c["b"]["z"] = "small";
      ASSERT_EQ(round_trip(c), c) << pages << " pages " << delta;
    }
  }
}

TEST(Bolt, ManyItemsMakeADeepTree) {
  Content c;
  for (int i = 0; i < 60'000; ++i) {
    std::string key(8, '\0');
    store_fixed(key.data(), __builtin_bswap64(static_cast<uint64_t>(i)));
    c["key"][key + std::string(60, 'k')] = std::string(static_cast<size_t>(i % 90), 'v');
  }
  c["meta"]["x"] = "y";
  EXPECT_EQ(round_trip(c), c);
}

TEST(Bolt, LongKeysMakeBranchesWithOverflow) {
  Content c;
  for (int i = 0; i < 50; ++i) c["b"][std::string(1, static_cast<char>('A' + i)) + std::string(20'000, 'k')] = "v";
  EXPECT_EQ(round_trip(c), c);
}

TEST(Bolt, RandomContentRoundTrips) {
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    Content c;
    size_t buckets = random() % 4 + 1;
    for (size_t b = 0; b < buckets; ++b) {
      auto& items = c["bucket" + std::to_string(b)];
      for (size_t n = random() % 800; n > 0; --n) {
        std::string key(random() % 30 + 1, '\0');
        for (char& ch : key) ch = static_cast<char>(random());
        items[key] = std::string(random() % 10 == 0 ? random() % 20'000 : random() % 100, static_cast<char>(random()));
      }
    }
    ASSERT_EQ(round_trip(c), c) << "round " << round;
  }
}

// The output may be taken away at any time: what is held is small.
TEST(Bolt, WritingHoldsLittle) {
  auto items = [](Writer& writer, auto&& after_each) {
    writer.begin_bucket("key");
    for (uint64_t i = 0; i < 200'000; ++i) {
      char key[kRevisionKeyBytesMax];
      size_t size = store_revision_key(key, {static_cast<int64_t>(i), 0, false});
      writer.add({key, size}, 100, [](char* room) { std::fill_n(room, 100, 'v'); });
      after_each();
    }
    writer.end_bucket();
  };
  Writer counting;
  items(counting, [] {});
  Layout layout = counting.finish();
  std::string out;
  size_t most = 0, total = 0;
  Writer writing(layout, &out);
  items(writing, [&] {
    most = std::max(most, out.size());
    total += out.size();
    out.clear();
  });
  EXPECT_EQ(writing.finish(), layout);
  EXPECT_EQ(total + out.size(), layout.bytes());
  EXPECT_LE(most, 8 * kPageBytes);
}

// ---- damage

Content sample() {
  Content c;
  for (int i = 0; i < 400; ++i) c["key"]["k" + std::to_string(1000 + i)] = std::string(50, 'v');
  c["key"]["large"] = std::string(3 * kPageBytes, 'L');
  c["meta"]["term"] = "12345678";
  return c;
}

TEST(BoltDamage, EveryByteOfHeadAndTreeFlipped) {
  std::string file = file_of(sample());
  size_t refused = 0;
  for (size_t at = 0; at < file.size(); at += at < 2 * kPageBytes + 100 ? 3 : 31) {
    for (char flip : {'\x01', '\xff'}) {
      file[at] = static_cast<char>(file[at] ^ flip);
      refused += !content_of(file).is_ok();
      file[at] = static_cast<char>(file[at] ^ flip);
    }
  }
  EXPECT_GT(refused, 100u);
  EXPECT_TRUE(content_of(file).is_ok());
}

TEST(BoltDamage, CutOffAnywhere) {
  std::string file = file_of(sample());
  for (size_t size = 0; size < file.size(); size += 97) EXPECT_FALSE(content_of(file.substr(0, size)).is_ok()) << size;
}

TEST(BoltDamage, OneMetaPageIsEnough) {
  std::string file = file_of(sample());
  for (size_t page : {0, 1}) {
    std::string copy = file;
    copy[page * kPageBytes + kPageHeaderBytes] ^= 1;
    EXPECT_TRUE(content_of(copy).is_ok()) << page;
  }
}

TEST(BoltDamage, ATreeThatBitesItsTail) {
  std::string file = file_of(sample());
  // Let the first child of each branch page be the branch page itself, then some other page.
  size_t branches = 0;
  for (PageId page = kFirstDataPage; page < file.size() / kPageBytes; ++page) {
    char* p = file.data() + page * kPageBytes;
    if (load_page_header(p).flags != kBranchPage) continue;
    ++branches;
    std::string copy = file;
    store_fixed(copy.data() + page * kPageBytes + kPageHeaderBytes + 8, page);
    Result<Content> got = content_of(copy);
    ASSERT_FALSE(got.is_ok());
    EXPECT_NE(got.status().message().find("twice"), std::string_view::npos) << got.status().to_string();
  }
  EXPECT_GT(branches, 0u);
}

// ---- etcd's content

EtcdState full_state() {
  EtcdState s;
  s.consistent_index = 77;
  s.term = 5;
  s.compact_revision = 9;
  s.storage_version = "3.7.0";
  s.voters = {1, 0xFFFFFFFFFFFFFFFF};
  s.learners = {12};
  s.leases = {{1, 60, 0}, {0x7FFFFFFFFFFFFFFF, 1000, 17}};
  s.alarms = {{0xFFFFFFFFFFFFFFFF, 1}};
  s.auth_enabled = true;
  s.auth_revision = 12;
  s.users = {{"root", "a user"}, {"you", ""}};
  s.roles = {{"root", "a role"}};
  s.members = {{1, "one", {"http://a:1"}, {"http://a:2", "http://b:2"}, false}, {12, "", {"http://c:1"}, {}, true}};
  s.removed = {3, 0xABCDEF};
  s.cluster_version = "3.7.0";
  s.downgrade_known = true;
  s.downgrade_enabled = true;
  s.downgrade_target = "3.6.0";
  s.fairlead = {{"format", "1"}};
  return s;
}

std::string file_of(const EtcdState& s) {
  auto write = [&](Writer& writer) {
    write_buckets_before_key(writer, s);
    writer.begin_bucket(kKeyBucket);
    writer.end_bucket();
    write_buckets_after_key(writer, s);
    return writer.finish();
  };
  Writer counting;
  Layout layout = write(counting);
  std::string out;
  Writer writing(layout, &out);
  write(writing);
  return out;
}

TEST(BoltEtcd, StateRoundTrips) {
  for (const EtcdState& state : {full_state(), EtcdState()}) {
    std::string file = file_of(state);
    auto reader = Reader::open(memory_source(file));
    ASSERT_TRUE(reader.is_ok());
    Result<EtcdState> got = read_state(**reader);
    ASSERT_TRUE(got.is_ok()) << got.status().to_string();
    EXPECT_EQ(*got, state);
    EXPECT_EQ((*reader)->buckets(),
              (std::vector<std::string>{"alarm", "auth", "authRoles", "authUsers", "cluster", "fairlead", "key",
                                        "lease", "members", "members_removed", "meta"}));
  }
}

TEST(BoltEtcd, RevisionKeys) {
  char raw[kRevisionKeyBytesMax];
  EXPECT_EQ(store_revision_key(raw, {0x0102030405060708, 9, false}), 17u);
  EXPECT_EQ(std::string(raw, 17), std::string("\1\2\3\4\5\6\7\10_\0\0\0\0\0\0\0\11", 17));
  EXPECT_EQ(store_revision_key(raw, {1, 2, true}), 18u);
  std::optional<RevisionKey> back = parse_revision_key({raw, 18});
  ASSERT_TRUE(back);
  EXPECT_EQ(back->main, 1);
  EXPECT_EQ(back->sub, 2);
  EXPECT_TRUE(back->tombstone);
  for (std::string_view no : {"", "12345678", "12345678x12345678", "12345678_12345678x",
                              "\xff"
                              "2345678_12345678"})
    EXPECT_FALSE(parse_revision_key(no)) << no;
}

TEST(BoltEtcd, ProtoOfAFileIsNotTrusted) {
  EXPECT_TRUE(parse_key_value(std::string("\x0a\x01k\x2a\x01v", 6)));
  EXPECT_FALSE(parse_key_value("\x0a\x7fk"));
  EXPECT_FALSE(parse_key_value("\x0b"));
  EXPECT_FALSE(parse_key_value("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"));
  EXPECT_FALSE(parse_key_value(std::string("\0\0", 2)));  // field number 0
}

Result<std::unique_ptr<Reader>> open_memory(std::string_view file) { return Reader::open(memory_source(file)); }

TEST(Bolt, EveryPageIsUsedOrFree) {
  std::string file = file_of({{"a", {{"k", std::string(3 * kPageBytes, 'x')}}}, {"b", {{"k", "v"}}}});
  EXPECT_TRUE((*open_memory(file))->check().is_ok());
  // One page more, which nothing uses and no list names.
  Meta meta = (*open_memory(file))->meta();
  file.resize(file.size() + kPageBytes);
  ++meta.pages;
  ++meta.txid;
  store_meta(file.data() + (meta.txid % 2) * kPageBytes + kPageHeaderBytes, meta);
  Status lost = (*open_memory(file))->check();
  EXPECT_EQ(lost.message(), "database: page " + std::to_string(meta.pages - 1) + ": is neither used nor free");
  // On the list it is free, a second time it is damage, and so is a page that is used.
  char* list = file.data() + meta.freelist * kPageBytes;
  auto set_list = [&](std::vector<PageId> pages) {
    PageHeader header = load_page_header(list);
    header.count = static_cast<uint16_t>(pages.size());
    store_page_header(list, header);
    for (size_t i = 0; i < pages.size(); ++i) store_fixed(list + kPageHeaderBytes + i * sizeof(PageId), pages[i]);
  };
  set_list({meta.pages - 1});
  EXPECT_TRUE((*open_memory(file))->check().is_ok());
  set_list({meta.pages - 1, meta.pages - 1});
  EXPECT_FALSE((*open_memory(file))->check().is_ok());
  set_list({meta.pages - 1, meta.root});
  EXPECT_FALSE((*open_memory(file))->check().is_ok());
  set_list({meta.pages});
  EXPECT_FALSE((*open_memory(file))->check().is_ok());
  // Without a list all that is not used is free.
  meta.freelist = kNoFreelist;
  store_meta(file.data() + (meta.txid % 2) * kPageBytes + kPageHeaderBytes, meta);
  EXPECT_TRUE((*open_memory(file))->check().is_ok());
}

TEST(Bolt, TheLastItemAlone) {
  auto last_of = [](const Content& content, std::string_view bucket) {
    std::string file = file_of(content), out = "none";
    Status s = (*open_memory(file))->for_last(bucket, [&](std::string_view key, std::string_view) -> Status {
      out = key;
      return {};
    });
    return s.is_ok() ? out : std::string(s.message());
  };
  EXPECT_EQ(last_of({{"a", {}}}, "a"), "none");
  EXPECT_EQ(last_of({{"a", {}}}, "b"), "none");
  Content deep;
  for (int i = 0; i < 5000; ++i) deep["a"]["key-" + std::to_string(100000 + i)] = std::string(200, 'v');
  EXPECT_EQ(last_of(deep, "a"), "key-104999");
}

std::string revision_key(int64_t main, bool tombstone = false) {
  std::string out(kRevisionKeyBytesMax, '\0');
  out.resize(store_revision_key(out.data(), {main, 0, tombstone}));
  return out;
}
std::string value_of(const std::string& key) {
  std::string out;
  put_proto_bytes(out, 1, key);
  return out;
}

// Values beside etcd's own tool are e2e/interop/utl_test.py's.
TEST(Bolt, SummaryAndHash) {
  Content c = {{"key", {}}, {"meta", {{"storageVersion", "3.7.0"}, {"finishedCompactRev", revision_key(3)}}}};
  c["key"][revision_key(3)] = value_of("a");
  c["key"][revision_key(4)] = value_of("b");
  c["key"][revision_key(5, true)] = value_of("a");
  std::string file = file_of(c);
  auto reader = open_memory(file);
  Result<Summary> s = summarize(**reader);
  ASSERT_TRUE(s.is_ok());
  EXPECT_EQ(s->revision, 5);
  EXPECT_EQ(s->keys, 1u);
  EXPECT_EQ(s->bytes, file.size());
  EXPECT_EQ(s->version, "3.7.0");
  uint32_t all = 0;
  for (const auto& [name, items] : c) {
    all = crc32c_extend(all, name);
    for (const auto& [key, value] : items) all = crc32c_extend(crc32c_extend(all, key), value);
  }
  EXPECT_EQ(s->hash, all);

  Result<KeyHash> at3 = hash_keys(**reader, 3), at5 = hash_keys(**reader, 0);
  ASSERT_TRUE(at3.is_ok() && at5.is_ok());
  EXPECT_EQ(at3->hash, crc32c_extend(crc32c_extend(crc32c("key"), revision_key(3)), value_of("a")));
  EXPECT_EQ(at5->revision, 5);
  EXPECT_EQ(at5->compact_revision, 3);
  // At 5 the key `a` is gone, so what compaction kept of it for 3 does not count.
  uint32_t without = crc32c_extend(crc32c_extend(crc32c("key"), revision_key(4)), value_of("b"));
  EXPECT_EQ(at5->hash, crc32c_extend(crc32c_extend(without, revision_key(5, true)), value_of("a")));
  EXPECT_FALSE(hash_keys(**reader, 2).is_ok());
  EXPECT_FALSE(hash_keys(**reader, 6).is_ok());
  c["key"]["short"] = "";
  file = file_of(c);
  EXPECT_FALSE(summarize(**open_memory(file)).is_ok());
  EXPECT_FALSE(hash_keys(**open_memory(file), 0).is_ok());
}

}  // namespace
}  // namespace fairlead::bolt
