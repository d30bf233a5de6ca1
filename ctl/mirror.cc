// make-mirror: copies a prefix to another cluster and then follows its changes, revision by revision.
#include <unistd.h>

#include <atomic>
#include <cstdio>

#include "ctl/go_format.h"
#include "ctl/verbs.h"

namespace fairlead::ctl {
namespace {

constexpr int64_t kPageKeys = 1000;
constexpr int kReportSeconds = 30;

class Mirror {
 public:
  Mirror(Context& c, Client& from, Client& to) : from_(from), to_(to) {
    prefix_ = c.text("prefix");
    to_prefix_ = c.text("dest-prefix");
    if (c.on("no-dest-prefix")) {
      if (!to_prefix_.empty())
        fail(kExitBadArgs, "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one");
    } else if (to_prefix_.empty()) {
      to_prefix_ = prefix_;
    }
    ops_max_ = static_cast<int>(c.number("max-txn-ops"));
    revision_ = std::max<int64_t>(c.number("rev") - 1, 0);
  }

  void run() {
    std::thread([this] {
      while (true) {
        sleep(kReportSeconds);
        printf("%lld\n", static_cast<long long>(copied_.load()));
        flush_output();
      }
    }).detach();
    if (revision_ == 0) copy_all();
    follow();
  }

 private:
  std::string moved(const std::string& key) const {
    return key.starts_with(prefix_) ? to_prefix_ + key.substr(prefix_.size()) : key;
  }
  std::string end() const { return prefix_.empty() ? std::string(1, '\0') : prefix_end(prefix_); }

  // The state at one revision, page by page.
  void copy_all() {
    pb::RangeRequest request;
    request.set_key(prefix_.empty() ? std::string(1, '\0') : prefix_);
    request.set_range_end(end());
    request.set_limit(kPageKeys);
    bool more = true;
    while (more) {
      pb::RangeResponse page;
      must(from_.call<pb::KV>(&pb::KV::Stub::Range, request, &page, true, false));
      if (revision_ == 0) revision_ = page.header().revision();
      request.set_revision(revision_);
      for (const auto& kv : page.kvs()) {
        pb::PutRequest put;
        put.set_key(moved(kv.key()));
        put.set_value(kv.value());
        pb::PutResponse done;
        must(to_.call<pb::KV>(&pb::KV::Stub::Put, put, &done, false, false));
        ++copied_;
      }
      more = page.more();
      if (more) request.set_key(page.kvs().rbegin()->key() + std::string(1, '\0'));
    }
  }

  void flush(pb::TxnRequest& txn) {
    if (txn.success_size() == 0) return;
    pb::TxnResponse done;
    must(to_.call<pb::KV>(&pb::KV::Stub::Txn, txn, &done, false, false));
    txn.Clear();
  }

  // The changes of one revision go into one transaction, unless they are more than one holds.
  void apply(const pb::WatchResponse& response) {
    pb::TxnRequest txn;
    int64_t last = 0;
    for (const auto& event : response.events()) {
      if ((last != 0 && event.kv().mod_revision() > last) || txn.success_size() == ops_max_) flush(txn);
      last = event.kv().mod_revision();
      auto* op = txn.add_success();
      if (event.type() == mvccpb::Event::DELETE) {
        op->mutable_request_delete_range()->set_key(moved(event.kv().key()));
      } else {
        op->mutable_request_put()->set_key(moved(event.kv().key()));
        op->mutable_request_put()->set_value(event.kv().value());
      }
      ++copied_;
    }
    flush(txn);
    if (last != 0) revision_ = last;
  }

  [[noreturn]] void follow() {
    while (true) {
      auto channel = from_.connected_channel();
      if (!channel) continue;
      grpc::ClientContext context;
      from_.prepare(context, false, true);
      auto stream = pb::Watch::NewStub(channel)->Watch(&context);
      pb::WatchRequest request;
      request.mutable_create_request()->set_key(prefix_.empty() ? std::string(1, '\0') : prefix_);
      request.mutable_create_request()->set_range_end(end());
      request.mutable_create_request()->set_start_revision(revision_ + 1);
      stream->Write(request);
      pb::WatchResponse response;
      while (stream->Read(&response)) {
        if (response.compact_revision() != 0)
          fail(kExitError, "etcdserver: mvcc: required revision has been compacted");
        if (response.canceled()) fail(kExitError, response.cancel_reason());
        apply(response);
        response.Clear();
      }
      grpc::Status status = stream->Finish();
      if (status.error_code() != grpc::StatusCode::UNAVAILABLE) fail(kExitError, error_text(status));
      usleep(100'000);
    }
  }

  Client& from_;
  Client& to_;
  std::string prefix_, to_prefix_;
  int ops_max_ = 128;
  int64_t revision_ = 0;
  std::atomic<int64_t> copied_{0};
};

void make_mirror(Context& c) {
  if (c.args().size() != 1) fail(kExitBadArgs, "make-mirror takes one destination argument");
  ClientOptions there = client_options(c);
  there.endpoints = {c.args()[0]};
  there.tls = {};
  there.tls.cert = c.text("dest-cert");
  there.tls.key = c.text("dest-key");
  there.tls.cacert = c.text("dest-cacert");
  there.tls.insecure_transport = c.on("dest-insecure-transport");
  there.token.clear();
  there.user = c.text("dest-user");
  there.password = c.text("dest-password");
  if (size_t colon = there.user.find(':'); there.password.empty() && !there.user.empty()) {
    there.password = colon == std::string::npos ? ask_password("Destination Password: ") : there.user.substr(colon + 1);
    there.user = there.user.substr(0, colon);
  }
  Client to(std::move(there));
  Client from = make_client(c);
  Mirror(c, from, to).run();
}

}  // namespace

void add_mirror_verb(Command& root) {
  root.add("make-mirror [options] <destination>", "Makes a mirror at the destination etcd cluster", make_mirror)
      .flag(Kind::kString, "prefix", "", "Key-value prefix to mirror")
      .flag(Kind::kInt, "rev", "0", "Specify the kv revision to start to mirror")
      .flag(Kind::kUint, "max-txn-ops", "128",
            "Maximum number of operations permitted in a transaction during syncing updates.")
      .flag(Kind::kString, "dest-prefix", "",
            "destination prefix to mirror a prefix to a different prefix in the destination cluster")
      .flag(Kind::kBool, "no-dest-prefix", "false", "mirror key-values to the root of the destination cluster")
      .flag(Kind::kString, "dest-cert", "",
            "Identify secure client using this TLS certificate file for the destination cluster")
      .flag(Kind::kString, "dest-key", "", "Identify secure client using this TLS key file")
      .flag(Kind::kString, "dest-cacert", "", "Verify certificates of TLS enabled secure servers using this CA bundle")
      .flag(Kind::kBool, "dest-insecure-transport", "true", "Disable transport security for client connections")
      .flag(Kind::kString, "dest-user", "",
            "Destination username[:password] for authentication (prompt if password is not supplied)")
      .flag(
          Kind::kString, "dest-password", "",
          "Destination password for authentication (if this option is used, --user option shouldn't include password)");
}

}  // namespace fairlead::ctl
