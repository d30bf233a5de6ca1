// Keys, transactions, watches and leases.
#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "e2e/clients/cpp/cases.h"

namespace fairlead::clients {

using etcdserverpb::KV;
using etcdserverpb::TxnRequest;
using etcdserverpb::TxnResponse;
using mvccpb::Event;

Status refused(const std::string& what, const Status& got, Code code, const std::string& text) {
  if (got.code() == code && got.message().find(text) != std::string_view::npos) return Status::ok();
  return internal_error(what + ": got " + got.to_string() + ", want " + std::string(code_name(code)) + ": " + text);
}

Status kv(const Lab&, Client& c, const std::string& p) {
  ASSIGN_OR_RETURN(int64_t first, c.put(p + "a", "1"));
  etcdserverpb::PutRequest again;
  again.set_key(p + "a");
  again.set_value("2");
  again.set_prev_kv(true);
  ASSIGN_OR_RETURN(auto second, c.call(c.kv, &KV::Stub::Put, again));
  RETURN_IF_ERROR(expect("previous value", second.prev_kv().value(), "1"));
  RETURN_IF_ERROR(c.put(p + "b", "3").status());
  RETURN_IF_ERROR(c.put(p + "c", std::string("\0\xff", 2)).status());

  etcdserverpb::RangeRequest down;
  down.set_key(p);
  down.set_range_end(prefix_end_of(p));
  down.set_limit(2);
  down.set_sort_order(etcdserverpb::RangeRequest::DESCEND);
  ASSIGN_OR_RETURN(auto range, c.call(c.kv, &KV::Stub::Range, down));
  RETURN_IF_ERROR(expect("keys", range.kvs_size(), 2));
  RETURN_IF_ERROR(expect("bytes", range.kvs(0).value(), std::string("\0\xff", 2)));
  RETURN_IF_ERROR(expect("count", range.count(), 3));
  RETURN_IF_ERROR(expect("more", range.more(), true));

  etcdserverpb::RangeRequest old;
  old.set_key(p + "a");
  old.set_revision(first);
  ASSIGN_OR_RETURN(auto before, c.call(c.kv, &KV::Stub::Range, old));
  RETURN_IF_ERROR(expect("old values", before.kvs_size(), 1));
  RETURN_IF_ERROR(expect("old value", before.kvs(0).value(), "1"));

  etcdserverpb::DeleteRangeRequest all;
  all.set_key(p);
  all.set_range_end(prefix_end_of(p));
  all.set_prev_kv(true);
  ASSIGN_OR_RETURN(auto deleted, c.call(c.kv, &KV::Stub::DeleteRange, all));
  RETURN_IF_ERROR(expect("deleted", deleted.deleted(), 3));
  RETURN_IF_ERROR(expect("deleted values", deleted.prev_kvs_size(), 3));
  return refused("empty key", c.put("", "1").status(), Code::kInvalidArgument, "etcdserver: key is not provided");
}

// Creates a and b; where a exists already, reads it and deletes b.
static Result<TxnResponse> create(Client& c, const std::string& p) {
  TxnRequest request;
  auto* compare = request.add_compare();
  compare->set_key(p + "a");
  compare->set_target(etcdserverpb::Compare::CREATE);
  compare->set_create_revision(0);
  for (const char* name : {"a", "b"}) {
    auto* put = request.add_success()->mutable_request_put();
    put->set_key(p + name);
    put->set_value(name);
  }
  request.add_failure()->mutable_request_range()->set_key(p + "a");
  auto* inner = request.add_failure()->mutable_request_txn();
  auto* inner_compare = inner->add_compare();
  inner_compare->set_key(p + "b");
  inner_compare->set_target(etcdserverpb::Compare::VALUE);
  inner_compare->set_value("b");
  inner->add_success()->mutable_request_delete_range()->set_key(p + "b");
  return c.call(c.kv, &KV::Stub::Txn, request);
}

Status txn(const Lab&, Client& c, const std::string& p) {
  ASSIGN_OR_RETURN(auto first, create(c, p));
  ASSIGN_OR_RETURN(auto second, create(c, p));
  RETURN_IF_ERROR(expect("first branch", first.succeeded(), true));
  RETURN_IF_ERROR(expect("second branch", second.succeeded(), false));
  RETURN_IF_ERROR(expect("answers", second.responses_size(), 2));
  RETURN_IF_ERROR(expect("read values", second.responses(0).response_range().kvs_size(), 1));
  RETURN_IF_ERROR(expect("read value", second.responses(0).response_range().kvs(0).value(), "a"));
  const auto& inner = second.responses(1).response_txn();
  RETURN_IF_ERROR(expect("inner branch", inner.succeeded(), true));
  RETURN_IF_ERROR(expect("inner answers", inner.responses_size(), 1));
  RETURN_IF_ERROR(expect("deleted inside", inner.responses(0).response_delete_range().deleted(), 1));

  TxnRequest twice;
  for (int i = 0; i < 2; ++i) twice.add_success()->mutable_request_put()->set_key(p + "a");
  return refused("the same key twice", c.call(c.kv, &KV::Stub::Txn, twice).status(), Code::kInvalidArgument,
                 "duplicate key");
}

Status watch(const Lab&, Client& c, const std::string& p) {
  ASSIGN_OR_RETURN(int64_t from, c.put(p + "a", "1"));
  WatchStream all(c, p, {.from = from}), deletes(c, p, {.from = from, .no_puts = true});
  RETURN_IF_ERROR(c.put(p + "a", "2").status());
  RETURN_IF_ERROR(c.put(p + "b", "3").status());
  etcdserverpb::DeleteRangeRequest one;
  one.set_key(p + "a");
  RETURN_IF_ERROR(c.call(c.kv, &KV::Stub::DeleteRange, one).status());
  ASSIGN_OR_RETURN(auto events, all.take(4));
  RETURN_IF_ERROR(expect("events", events.size(), 4u));
  RETURN_IF_ERROR(expect("previous value", events[1].prev_kv().value(), "1"));
  RETURN_IF_ERROR(expect("third key", events[2].kv().key(), p + "b"));
  RETURN_IF_ERROR(expect("last event", static_cast<int>(events[3].type()), static_cast<int>(Event::DELETE)));
  RETURN_IF_ERROR(expect("deleted value", events[3].prev_kv().value(), "2"));
  ASSIGN_OR_RETURN(auto filtered, deletes.take(1));
  return expect("filtered", filtered[0].kv().mod_revision(), events[3].kv().mod_revision());
}

// Each number until it is acknowledged: of a put whose member died nobody knows whether it was written.
static Status write_numbers(const Lab& lab, const std::string& p, int count) {
  Client writer(lab.target);
  for (int i = 0; i < count; ++i) {
    auto end = std::chrono::steady_clock::now() + std::chrono::seconds(120);
    for (;;) {
      Status status = writer.put(p + "key" + std::to_string(i % 7), std::to_string(i), 0, 2).status();
      if (status.is_ok()) break;
      if (std::chrono::steady_clock::now() > end) return status;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return Status::ok();
}

// Reads until the last number was seen, opening a stream behind the last event whenever one breaks.
static Result<std::vector<Event>> follow(const Lab& lab, Client& c, const std::string& p, int64_t from, int count) {
  std::vector<Event> seen;
  std::map<size_t, std::string> steps{{50, "/kill-watched"}, {150, "/restart"}};
  int streams = 0;
  while (seen.empty() || seen.back().kv().value() != std::to_string(count - 1)) {
    if (++streams > 100) return internal_error("a hundred streams broke");
    WatchStream stream(c, p, {.from = seen.empty() ? from : seen.back().kv().mod_revision() + 1});
    for (;;) {
      auto events = stream.next();
      if (!events.is_ok()) break;  // the member is gone: the next stream goes to another
      seen.insert(seen.end(), events->begin(), events->end());
      if (!steps.empty() && seen.size() >= steps.begin()->first) {
        RETURN_IF_ERROR(lab.act(steps.begin()->second));
        steps.erase(steps.begin());
      }
      if (seen.back().kv().value() == std::to_string(count - 1)) break;
    }
  }
  if (streams < 2) return internal_error("the stream did not break although its member was killed");
  return seen;
}

// The member that has the watch is killed and comes back. What the watch tells must be the history, event by event: as
// a fresh watch tells it afterwards.
Status watch_resume(const Lab& lab, Client& c, const std::string& p) {
  constexpr int kCount = 300;
  RETURN_IF_ERROR(lab.act("/mark"));
  ASSIGN_OR_RETURN(int64_t from, c.put(p + "begin", ""));
  Status wrote;
  std::thread writer([&] { wrote = write_numbers(lab, p, kCount); });
  auto seen = follow(lab, c, p, from + 1, kCount);
  writer.join();
  RETURN_IF_ERROR(seen.status());
  RETURN_IF_ERROR(wrote);
  WatchStream again(c, p, {.from = from + 1});
  ASSIGN_OR_RETURN(auto history, again.take(seen->size()));
  std::set<std::string> values;
  for (size_t i = 0; i < seen->size(); ++i) {
    const Event& event = seen.value()[i];
    values.insert(event.kv().value());
    RETURN_IF_ERROR(expect("event " + std::to_string(i), event.SerializeAsString(), history[i].SerializeAsString()));
    if (i > 0 && event.kv().mod_revision() <= seen.value()[i - 1].kv().mod_revision())
      return internal_error("event " + std::to_string(i) + " goes back in time");
  }
  return expect("acknowledged puts seen", values.size(), static_cast<size_t>(kCount));
}

// Keeps a lease of 5 s alive for 7 s.
static Status keep_alive(Client& c, int64_t id) {
  grpc::ClientContext context;
  c.prepare(context, kCallSeconds);
  auto stream = c.lease->LeaseKeepAlive(&context);
  etcdserverpb::LeaseKeepAliveRequest request;
  request.set_id(id);
  for (int i = 0; i < 14; ++i) {
    etcdserverpb::LeaseKeepAliveResponse response;
    if (!stream->Write(request) || !stream->Read(&response)) return from_grpc(stream->Finish());
    RETURN_IF_ERROR(expect("time to live", response.ttl(), 5));
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  stream->WritesDone();
  return from_grpc(stream->Finish());
}

Status lease(const Lab&, Client& c, const std::string& p) {
  ASSIGN_OR_RETURN(int64_t brief, c.grant(5));
  ASSIGN_OR_RETURN(int64_t lasting, c.grant(1000));
  ASSIGN_OR_RETURN(int64_t revision, c.put(p + "brief", "", brief));
  RETURN_IF_ERROR(c.put(p + "lasting", "", lasting).status());
  RETURN_IF_ERROR(keep_alive(c, brief));
  RETURN_IF_ERROR(c.value_of(p + "brief").status());

  etcdserverpb::LeaseTimeToLiveRequest left;
  left.set_id(lasting);
  left.set_keys(true);
  ASSIGN_OR_RETURN(auto time, c.call(c.lease, &etcdserverpb::Lease::Stub::LeaseTimeToLive, left));
  RETURN_IF_ERROR(expect("granted", time.grantedttl(), 1000));
  RETURN_IF_ERROR(expect("keys", time.keys_size(), 1));

  WatchStream gone(c, p + "brief", {.from = revision, .no_puts = true});
  ASSIGN_OR_RETURN(auto expired, gone.take(1));
  RETURN_IF_ERROR(expect("expired", expired[0].kv().key(), p + "brief"));
  RETURN_IF_ERROR(c.revoke(lasting));
  ASSIGN_OR_RETURN(auto rest, c.get(p, prefix_end_of(p)));
  RETURN_IF_ERROR(expect("rest", rest.count(), 0));
  return refused("revoked again", c.revoke(lasting), Code::kNotFound, "etcdserver: requested lease not found");
}

}  // namespace fairlead::clients
