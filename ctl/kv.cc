// get, put, del, compaction.
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <iterator>

#include "ctl/go_format.h"
#include "ctl/verbs.h"

namespace fairlead::ctl {
namespace {

const char* kBothPrefixAndFromKey = "`--prefix` and `--from-key` cannot be set at the same time, choose one";
const char* kTooManyArguments = "too many arguments, only accept one argument when `--prefix` or `--from-key` is set";

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(toupper(c));
  return text;
}

// --prefix and --from-key of get and del: from an empty key on, both mean everything.
template <typename Request>
void set_range(Request& r, bool prefix, bool from_key) {
  if (!prefix && !from_key) return;
  bool empty = r.key().empty();
  if (empty) r.set_key(std::string(1, '\0'));
  r.set_range_end(from_key || empty ? std::string(1, '\0') : prefix_end(r.key()));
}

void set_sort(pb::RangeRequest& r, Context& c) {
  std::string order = upper(c.text("order")), by = upper(c.text("sort-by"));
  pb::RangeRequest::SortOrder sort = pb::RangeRequest::NONE;
  if (order == "ASCEND")
    sort = pb::RangeRequest::ASCEND;
  else if (order == "DESCEND")
    sort = pb::RangeRequest::DESCEND;
  else if (!order.empty())
    fail(kExitBadFeature, "bad sort order " + c.text("order"));
  pb::RangeRequest::SortTarget target = pb::RangeRequest::KEY;
  if (by == "CREATE")
    target = pb::RangeRequest::CREATE;
  else if (by == "MODIFY")
    target = pb::RangeRequest::MOD;
  else if (by == "VALUE")
    target = pb::RangeRequest::VALUE;
  else if (by == "VERSION")
    target = pb::RangeRequest::VERSION;
  else if (!by.empty() && by != "KEY")
    fail(kExitBadFeature, "bad sort target " + c.text("sort-by"));
  // By key and upwards is the order in which keys come anyway.
  if (target == pb::RangeRequest::KEY && sort == pb::RangeRequest::ASCEND) sort = pb::RangeRequest::NONE;
  r.set_sort_order(sort);
  r.set_sort_target(target);
}

void set_revisions(pb::RangeRequest& r, Context& c) {
  int64_t min_create = c.number("min-create-rev"), max_create = c.number("max-create-rev");
  int64_t min_mod = c.number("min-mod-rev"), max_mod = c.number("max-mod-rev");
  auto check = [](const char* least, int64_t min, const char* most, int64_t max) {
    if (max > 0 && min > max)
      fail(kExitBadFeature,
           std::string(least) + "(=" + std::to_string(min) + ") > " + most + "(=" + std::to_string(max) + ")");
  };
  check("getMinCreateRev", min_create, "getMaxCreateRev", max_create);
  check("getMinModRev", min_mod, "getMaxModRev", max_mod);
  if (min_create > 0) r.set_min_create_revision(min_create);
  if (max_create > 0) r.set_max_create_revision(max_create);
  if (min_mod > 0) r.set_min_mod_revision(min_mod);
  if (max_mod > 0) r.set_max_mod_revision(max_mod);
}

// The chunks of a RangeStream put together.
grpc::Status range_stream(Client& client, const pb::RangeRequest& request, pb::RangeResponse* out) {
  grpc::ClientContext context;
  client.prepare(context, true);
  auto channel = client.connected_channel();
  if (!channel) return {grpc::StatusCode::DEADLINE_EXCEEDED, "context deadline exceeded"};
  auto reader = pb::KV::NewStub(channel)->RangeStream(&context, request);
  pb::RangeStreamResponse chunk;
  while (reader->Read(&chunk)) out->MergeFrom(chunk.range_response());
  return reader->Finish();
}

void get(Context& c) {
  pb::RangeRequest request = range_request(c);
  Client client = make_client(c);
  Printer printer(c);
  pb::RangeResponse response;
  grpc::Status status = c.on("stream") ? range_stream(client, request, &response)
                                       : client.call<pb::KV>(&pb::KV::Stub::Range, request, &response, true);
  must(status);
  if (c.on("count-only") && printer.format() != Format::kFields)
    fail(kExitBadArgs, "--count-only is only for `--write-out=fields`");
  if (c.on("print-value-only")) {
    if (!printer.simple()) fail(kExitBadArgs, "print-value-only is only for `--write-out=simple`");
    printer.set_value_only();
  }
  printer.get(response);
}

void put(Context& c) {
  pb::PutRequest request = put_request(c);
  Client client = make_client(c);
  Printer printer(c);
  pb::PutResponse response;
  must(client.call<pb::KV>(&pb::KV::Stub::Put, request, &response, false));
  printer.put(response);
}

void del(Context& c) {
  pb::DeleteRangeRequest request = delete_request(c);
  Client client = make_client(c);
  Printer printer(c);
  pb::DeleteRangeResponse response;
  must(client.call<pb::KV>(&pb::KV::Stub::DeleteRange, request, &response, false));
  printer.del(response);
}

void compaction(Context& c) {
  if (c.args().size() != 1) fail(kExitBadArgs, "compaction command needs 1 argument");
  pb::CompactionRequest request;
  int64_t revision = 0;
  if (std::string e = go_parse_int(c.args()[0], 10, revision); !e.empty()) fail(kExitError, e);
  request.set_revision(revision);
  request.set_physical(c.on("physical"));
  Client client = make_client(c);
  Printer printer(c);
  pb::CompactionResponse response;
  must(client.call<pb::KV>(&pb::KV::Stub::Compact, request, &response, false));
  printf("compacted revision %lld\n", static_cast<long long>(revision));
}

}  // namespace

int64_t lease_id(const std::string& text) {
  int64_t id = 0;
  if (std::string e = go_parse_int(text, 16, id); !e.empty())
    fail(kExitBadArgs, "bad lease ID arg (" + e + "), expecting ID in Hex");
  return id;
}

pb::RangeRequest range_request(Context& c) {
  if (c.args().empty())
    fail(kExitBadArgs, "get command needs one argument as key and an optional argument as range_end");
  bool prefix = c.on("prefix"), from_key = c.on("from-key");
  if (prefix && from_key) fail(kExitBadArgs, kBothPrefixAndFromKey);
  if (c.on("keys-only") && c.on("count-only"))
    fail(kExitBadArgs, "`--keys-only` and `--count-only` cannot be set at the same time, choose one");
  pb::RangeRequest r;
  std::string consistency = c.text("consistency");
  if (consistency != "l" && consistency != "s")
    fail(kExitBadFeature, "unknown consistency flag " + go_quote(consistency));
  r.set_serializable(consistency == "s");
  r.set_key(c.args()[0]);
  if (c.args().size() > 1) {
    if (prefix || from_key) fail(kExitBadArgs, kTooManyArguments);
    r.set_range_end(c.args()[1]);
  }
  r.set_limit(c.number("limit"));
  if (c.number("rev") > 0) r.set_revision(c.number("rev"));
  set_sort(r, c);
  set_range(r, prefix, from_key);
  r.set_keys_only(c.on("keys-only"));
  r.set_count_only(c.on("count-only"));
  set_revisions(r, c);
  return r;
}

pb::PutRequest put_request(Context& c) {
  static const char* kNeeds = "put command needs 1 argument and input from stdin or 2 arguments";
  if (c.args().empty()) fail(kExitBadArgs, kNeeds);
  bool ignore_value = c.on("ignore-value");
  if (ignore_value && c.args().size() > 1)
    fail(kExitBadArgs, "put command needs only 1 argument when 'ignore-value' is set");
  pb::PutRequest r;
  r.set_key(c.args()[0]);
  if (c.args().size() > 1) {
    r.set_value(c.args()[1]);
  } else if (!ignore_value) {
    r.set_value(std::string(std::istreambuf_iterator<char>(std::cin), {}));
    if (r.value().empty()) fail(kExitBadArgs, kNeeds);
  }
  int64_t lease = 0;
  if (std::string e = go_parse_int(c.text("lease"), 16, lease); !e.empty())
    fail(kExitBadArgs, "bad lease ID (" + e + "), expecting ID in Hex");
  r.set_lease(lease);
  r.set_prev_kv(c.on("prev-kv"));
  r.set_ignore_value(ignore_value);
  r.set_ignore_lease(c.on("ignore-lease"));
  return r;
}

pb::DeleteRangeRequest delete_request(Context& c) {
  if (c.args().empty() || c.args().size() > 2)
    fail(kExitBadArgs, "del command needs one argument as key and an optional argument as range_end");
  bool prefix = c.on("prefix"), from_key = c.on("from-key");
  if (prefix && from_key) fail(kExitBadArgs, kBothPrefixAndFromKey);
  pb::DeleteRangeRequest r;
  r.set_key(c.args()[0]);
  if (c.args().size() > 1) {
    if (prefix || from_key) fail(kExitBadArgs, kTooManyArguments);
    r.set_range_end(c.args()[1]);
    if (!c.on("range")) {
      fprintf(stderr,
              "Warning: Keys between %s and %s will be deleted. Please interrupt the command within next 2 seconds to "
              "cancel. You can provide `--range` flag to avoid the delay.\n",
              go_quote(c.args()[0]).c_str(), go_quote(c.args()[1]).c_str());
      sleep(2);
    }
  }
  set_range(r, prefix, from_key);
  r.set_prev_kv(c.on("prev-kv"));
  return r;
}

Command& add_get(Command& parent, Command::Run run) {
  return parent.add("get [options] <key> [range_end]", "Gets the key or a range of keys", std::move(run))
      .flag(Kind::kString, "consistency", "l", "Linearizable(l) or Serializable(s)")
      .flag(Kind::kString, "order", "", "Order of results; ASCEND or DESCEND (ASCEND by default)")
      .flag(Kind::kString, "sort-by", "", "Sort target; CREATE, KEY, MODIFY, VALUE, or VERSION")
      .flag(Kind::kInt, "limit", "0", "Maximum number of results")
      .flag(Kind::kBool, "prefix", "false", "Get keys with matching prefix")
      .flag(Kind::kBool, "from-key", "false",
            "Get keys that are greater than or equal to the given key using byte compare")
      .flag(Kind::kInt, "rev", "0", "Specify the kv revision")
      .flag(Kind::kBool, "keys-only", "false", "Get only the keys")
      .flag(Kind::kBool, "count-only", "false", "Get only the count")
      .flag(Kind::kBool, "print-value-only", "false", "Only write values when using the \"simple\" output format")
      .flag(Kind::kInt, "min-create-rev", "0", "Minimum create revision")
      .flag(Kind::kInt, "max-create-rev", "0", "Maximum create revision")
      .flag(Kind::kInt, "min-mod-rev", "0", "Minimum modification revision")
      .flag(Kind::kInt, "max-mod-rev", "0", "Maximum modification revision")
      .flag(Kind::kBool, "stream", "false", "Use the RangeStream RPC");
}

Command& add_put(Command& parent, Command::Run run) {
  return parent
      .add("put [options] <key> <value> (<value> can also be given from stdin)", "Puts the given key into the store",
           std::move(run))
      .describe(
          "Puts the given key into the store.\n\n"
          "A <value> that begins with '-' would be read as a flag; put '--' before it:\n\n"
          "  $ put <key> -- <value>\n  $ put -- <key> <value>\n\n"
          "Without <value> and without '--ignore-value' the value is read from standard input.")
      .flag(Kind::kString, "lease", "0", "lease ID (in hexadecimal) to attach to the key")
      .flag(Kind::kBool, "prev-kv", "false", "return the previous key-value pair before modification")
      .flag(Kind::kBool, "ignore-value", "false", "updates the key using its current value")
      .flag(Kind::kBool, "ignore-lease", "false", "updates the key using its current lease");
}

Command& add_del(Command& parent, Command::Run run) {
  return parent
      .add("del [options] <key> [range_end]", "Removes the specified key or range of keys [key, range_end)",
           std::move(run))
      .flag(Kind::kBool, "prefix", "false", "delete keys with matching prefix")
      .flag(Kind::kBool, "prev-kv", "false", "return deleted key-value pairs")
      .flag(Kind::kBool, "from-key", "false",
            "delete keys that are greater than or equal to the given key using byte compare")
      .flag(Kind::kBool, "range", "false", "delete range of keys");
}

void add_kv_verbs(Command& root) {
  add_get(root, get);
  add_put(root, put);
  add_del(root, del);
  root.add("compaction [options] <revision>", "Compacts the event history in etcd", compaction)
      .flag(Kind::kBool, "physical", "false", "'true' to wait for compaction to physically remove all old revisions");
}

}  // namespace fairlead::ctl
