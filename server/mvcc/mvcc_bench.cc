// mvcc_bench [keys]: nanoseconds per operation and bytes per key of the keyspace alone, on one core.
// The one file here that reads a clock; it is not part of the library.
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>

#include "server/mvcc/keyspace.h"
#include "server/mvcc/proto_encode.h"
#include "server/mvcc/range.h"

namespace {

using namespace fairlead;
using namespace fairlead::mvcc;

// CPU time: the machine may be busy with other things.
double now_ns() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

size_t heap_bytes() {
  struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

template <typename F>
void report(const char* what, size_t n, F&& f) {
  double start = now_ns();
  f();
  double ns = now_ns() - start;
  std::printf("%-58s %9.0f ns\n", what, ns / static_cast<double>(n));
}

std::string key_of(size_t i) {
  char key[40];
  std::snprintf(key, sizeof(key), "/registry/pods/ns-%03zu/pod-%08zu", i % 200, i * 2654435761u % 100'000'000);
  return key;
}

}  // namespace

int main(int argc, char** argv) {
  size_t n = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1'000'000;
  std::string value(256, 'v');
  std::mt19937_64 rng(1);
  std::vector<uint32_t> order(n);
  for (size_t i = 0; i < n; ++i) order[i] = static_cast<uint32_t>(i);
  std::shuffle(order.begin(), order.end(), rng);
  std::vector<std::string> keys(n);
  for (size_t i = 0; i < n; ++i) keys[i] = key_of(i);

  {
    // The yardstick: what one read of memory that is in no processor cache costs here and now.
    std::vector<uint32_t> memory(size_t{64} << 20);
    for (size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<uint32_t>(rng());
    uint32_t at = 0;
    report("yardstick: one dependent read in 256 MB", 1'000'000, [&] {
      for (int i = 0; i < 1'000'000; ++i) at = memory[(at + static_cast<uint32_t>(i)) % memory.size()];
    });
    if (at == 1) std::printf("\n");
  }

  Keyspace keyspace({.cache_bytes_max = 1 << 20});
  ApplyResult result;
  uint64_t applied = 0;
  size_t before = heap_bytes();
  auto flush = [&] {
    keyspace.freeze();
    keyspace.flushed();
    while (keyspace.trim_cache(64)) {
    }
  };
  auto put_one = [&](size_t i) {
    PutRequest put;
    put.key = keys[i];
    put.value = value;
    Command command = put;
    keyspace.apply(command, Index{++applied}, {}, result);
  };

  report("put of a new key, 256 B, random order", n, [&] {
    for (size_t i = 0; i < n; ++i) {
      put_one(order[i]);
      if (i % 100'000 == 99'999) flush();
    }
  });
  flush();
  KeyspaceStats s = keyspace.stats();
  double heap = static_cast<double>(heap_bytes() - before) - static_cast<double>(s.bytes_cached);
  std::printf("%-58s %9.1f B\n", "index: slots, tree, history, a key",
              static_cast<double>(s.bytes_index) / static_cast<double>(n));
  std::printf("%-58s %9.1f B\n", "heap beside key and cache, a key",
              (heap - static_cast<double>(s.bytes_keys)) / static_cast<double>(n));

  std::shuffle(order.begin(), order.end(), rng);
  report("put again, 256 B, random order, flush each 100k", n, [&] {
    for (size_t i = 0; i < n; ++i) {
      put_one(order[i]);
      if (i % 100'000 == 99'999) flush();
    }
  });
  std::shuffle(order.begin(), order.end(), rng);
  report("put again, decode of the command included", n / 10, [&] {
    for (size_t i = 0; i < n / 10; ++i) {
      PutRequest put;
      put.key = keys[order[i]];
      put.value = value;
      std::string entry = encode_command(put);
      auto command = decode_command(entry);
      keyspace.apply(*command, Index{++applied}, {}, result);
    }
  });
  ColdRecords none;
  RangeResult out;
  std::vector<Position> missing;
  std::string reply;
  report("get of one key, value in memory, encoded", n / 10, [&] {
    for (size_t i = 0; i < n / 10; ++i) {
      RangeRequest get;
      get.key = keys[order[rng() % (n / 10)]];
      missing.clear();
      (void)keyspace.range(get, none, out, missing);
      reply.clear();
      for (const auto& kv : out.kvs.items) append_key_value_field(reply, 2, kv);
    }
  });
  std::string from("\0", 1);
  RangeRequest all;
  all.key = from;
  all.range_end = from;
  all.keys_only = true;
  report("keys-only range over all keys, a key", n, [&] { (void)keyspace.range(all, none, out, missing); });
  std::printf("%-58s %9zu\n", "  keys", out.kvs.items.size());
  report("count of a prefix", 1000, [&] {
    for (size_t i = 0; i < 1000; ++i) keyspace.count("/registry/pods/ns-100", "/registry/pods/ns-101");
  });
  report("count of a prefix at an older revision", 20, [&] {
    for (size_t i = 0; i < 20; ++i) {
      RangeRequest old;
      old.key = "/registry/pods/ns-100";
      old.range_end = "/registry/pods/ns-101";
      old.revision = keyspace.revision() - 1000;
      old.count_only = true;
      (void)keyspace.range(old, none, out, missing);
    }
  });
  s = keyspace.stats();
  std::printf("%-58s %9.1f B\n", "index with one older revision a key, a key",
              static_cast<double>(s.bytes_index) / static_cast<double>(n));
  keyspace.apply(CompactRequest{keyspace.revision(), false}, Index{++applied}, {}, result);
  double longest = 0;
  report("compaction of it, a key", n, [&] {
    for (bool more = true; more;) {
      double start = now_ns();
      more = keyspace.compact_slice(1000);
      longest = std::max(longest, (now_ns() - start) / 1000);
    }
  });
  std::printf("%-58s %9.0f us\n", "  longest slice of 1000 keys", longest);
  report("freeze after it, whole", 1, [&] { keyspace.freeze(); });
  keyspace.flushed();
  report("grant of 100,000 leases, each", 100'000, [&] {
    for (int64_t i = 1; i <= 100'000; ++i) keyspace.apply(LeaseGrantRequest{i, 60}, Index{++applied}, {}, result);
  });
  report("freeze after it, whole", 1, [&] { keyspace.freeze(); });
  keyspace.flushed();

  std::vector<std::pair<std::string, RecordMeta>> metas;
  for (size_t i = 0; i < n; ++i) {
    metas.push_back({key_of(i), {{static_cast<int64_t>(i) + 2, 0}, static_cast<int64_t>(i) + 2, 1, 0, 256, 0}});
  }
  std::sort(metas.begin(), metas.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  Keyspace loaded;
  report("bulk load in key order, a key", n, [&] {
    auto loader = loaded.load(static_cast<int64_t>(n) + 2, -1);
    for (const auto& [key, meta] : metas) loader->add_key(key, {&meta, 1});
    (void)loader->finish();
  });
  std::printf("%-58s %9.1f B\n", "index after a load, a key",
              static_cast<double>(loaded.stats().bytes_index) / static_cast<double>(n));
  return 0;
}
