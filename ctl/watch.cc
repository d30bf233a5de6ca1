// watch: one watch of the line, or several by lines of standard input (-i); a command for each event behind "--".
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <mutex>

#include "ctl/go_format.h"
#include "ctl/verbs.h"

extern char** environ;

namespace fairlead::ctl {
namespace {

const char* kBadCount = "bad number of arguments";
const char* kBadCountEnv = "bad number of arguments (found conflicting environment key)";
const char* kBadCountSeparator = "bad number of arguments (found separator --, but no commands)";

struct Wish {
  pb::WatchCreateRequest create;
  std::vector<std::string> command;  // run for each event
};

void run_for_event(const std::vector<std::string>& words, int64_t revision, const mvccpb::Event& event) {
  std::vector<std::string> env;
  for (char** e = environ; *e; ++e) env.push_back(*e);
  env.push_back("ETCD_WATCH_REVISION=" + std::to_string(revision));
  env.push_back("ETCD_WATCH_EVENT_TYPE=" + go_quote(event.type() == mvccpb::Event::DELETE ? "DELETE" : "PUT"));
  env.push_back("ETCD_WATCH_KEY=" + go_quote(event.kv().key()));
  env.push_back("ETCD_WATCH_VALUE=" + go_quote(event.kv().value()));
  std::vector<char*> argv, envp;
  for (const std::string& w : words) argv.push_back(const_cast<char*>(w.c_str()));
  for (const std::string& e : env) envp.push_back(const_cast<char*>(e.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  pid_t pid = 0;
  int status = 1;
  bool started = posix_spawnp(&pid, argv[0], nullptr, nullptr, argv.data(), envp.data()) == 0;
  if (started) waitpid(pid, &status, 0);
  if (started && WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  std::string line;
  for (const std::string& w : words) line += (line.empty() ? "" : " ") + go_quote(w);
  fprintf(
      stderr, "command [%s] error (%s)\n", line.c_str(),
      !started ? "executable file not found in $PATH" : ("exit status " + std::to_string(WEXITSTATUS(status))).c_str());
  leave(kExitError);
}

// The key, its range and the flags of one watch.
Wish make_wish(Context& c, std::vector<std::string> words, const std::vector<std::string>& command) {
  const char* key = getenv("ETCDCTL_WATCH_KEY");
  const char* end = getenv("ETCDCTL_WATCH_RANGE_END");
  if (key && *key) {
    if (!words.empty()) fail(kExitBadArgs, kBadCountEnv);
    words = {key};
    if (end && *end) words.emplace_back(end);
  } else if (end && *end) {
    fail(kExitBadArgs, "ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END=" + go_quote(end));
  }
  if (words.empty()) fail(kExitBadArgs, kBadCount);
  Wish wish;
  wish.command = command;
  wish.create.set_key(words[0]);
  if (words.size() == 2) {
    if (c.on("prefix")) fail(kExitBadArgs, "`range_end` and `--prefix` are mutually exclusive");
    wish.create.set_range_end(words[1]);
  } else if (c.on("prefix")) {
    bool empty = words[0].empty();
    if (empty) wish.create.set_key(std::string(1, '\0'));
    wish.create.set_range_end(empty ? std::string(1, '\0') : prefix_end(words[0]));
  }
  wish.create.set_start_revision(c.number("rev"));
  wish.create.set_prev_kv(c.on("prev-kv"));
  wish.create.set_progress_notify(c.on("progress-notify"));
  wish.create.set_fragment(true);
  return wish;
}

// Watches that live on one stream and outlive it: after a break each goes on behind the last revision that was shown.
class Watcher {
 public:
  Watcher(Client& client, Printer& printer) : client_(client), printer_(printer) {}

  void add(Wish wish) {
    std::lock_guard lock(mutex_);
    int64_t id = next_id_++;
    wish.create.set_watch_id(id);
    if (stream_) send(wish.create);
    wishes_.emplace(id, std::move(wish));
  }
  void request_progress() {
    std::lock_guard lock(mutex_);
    pb::WatchRequest request;
    request.mutable_progress_request();
    if (stream_) stream_->Write(request);
  }
  // Until every watch was cancelled, or for ever. Returns why it ended.
  std::string run() {
    while (true) {
      auto channel = client_.connected_channel();
      if (!channel) continue;
      grpc::ClientContext context;
      client_.prepare(context, false, true);
      auto stub = pb::Watch::NewStub(channel);
      auto stream = stub->Watch(&context);
      {
        std::lock_guard lock(mutex_);
        stream_ = stream.get();
        for (auto& [id, wish] : wishes_) send(wish.create);
      }
      pb::WatchResponse response;
      while (stream->Read(&response)) {
        if (!take(response)) return last_reason_;
        response.Clear();
      }
      grpc::Status status;
      {
        std::lock_guard lock(mutex_);
        stream_ = nullptr;
        status = stream->Finish();
      }
      if (status.error_code() != grpc::StatusCode::UNAVAILABLE && !status.ok()) return error_text(status);
      usleep(100'000);
    }
  }

 private:
  void send(const pb::WatchCreateRequest& create) {
    pb::WatchRequest request;
    *request.mutable_create_request() = create;
    stream_->Write(request);
  }

  // False: no watch is left.
  bool take(pb::WatchResponse& response) {
    std::lock_guard lock(mutex_);
    if (response.canceled()) return cancelled(response);
    if (response.watch_id() == -1) {
      printf("progress notify: %lld\n", static_cast<long long>(response.header().revision()));
      return flush_output(), true;
    }
    auto it = wishes_.find(response.watch_id());
    if (it == wishes_.end() || response.created()) return true;
    Wish& wish = it->second;
    if (response.fragment() || partial_.events_size() > 0) {
      partial_.mutable_events()->MergeFrom(response.events());
      if (response.fragment()) return true;
      response.mutable_events()->Swap(partial_.mutable_events());
      partial_.Clear();
    }
    if (response.events_size() == 0) {
      printf("progress notify: %lld\n", static_cast<long long>(response.header().revision()));
      wish.create.set_start_revision(std::max(wish.create.start_revision(), response.header().revision() + 1));
    } else {
      wish.create.set_start_revision(response.events().rbegin()->kv().mod_revision() + 1);
    }
    printer_.watch(response);
    if (!wish.command.empty())
      for (const auto& event : response.events()) run_for_event(wish.command, response.header().revision(), event);
    return true;
  }

  bool cancelled(pb::WatchResponse& response) {
    std::string reason = response.cancel_reason();
    if (response.compact_revision() != 0) reason = "etcdserver: mvcc: required revision has been compacted";
    if (reason.empty()) reason = "etcdserver: watch canceled";
    fprintf(stderr, "watch was canceled (%s)\n", reason.c_str());
    printer_.watch(response);
    last_reason_ = reason;
    // A create that was refused comes back without its number: it is the only one, or the newest.
    if (wishes_.erase(response.watch_id()) == 0 && !wishes_.empty()) wishes_.erase(std::prev(wishes_.end()));
    return !wishes_.empty() || interactive;
  }

  Client& client_;
  Printer& printer_;
  std::mutex mutex_;
  grpc::ClientReaderWriter<pb::WatchRequest, pb::WatchResponse>* stream_ = nullptr;
  std::map<int64_t, Wish> wishes_;
  int64_t next_id_ = 1;
  pb::WatchResponse partial_;
  std::string last_reason_;

 public:
  bool interactive = false;
};

void watch_lines(Context& c, Watcher& watcher);
Command& add_watch_flags(Command& watch);

void watch(Context& c) {
  // What follows "--" is a command; the grammar has already put both lists together.
  std::vector<std::string> words = c.args(), command;
  size_t behind = c.behind_separator();
  if (behind != std::string::npos) {
    command.assign(words.begin() + static_cast<ptrdiff_t>(behind), words.end());
    words.resize(behind);
    if (command.empty()) fail(kExitBadArgs, kBadCountSeparator);
  }
  bool interactive = c.on("interactive");
  Wish wish;
  if (!interactive) wish = make_wish(c, words, command);
  Client client = make_client(c);
  Printer printer(c);
  Watcher watcher(client, printer);
  if (!interactive) {
    watcher.add(std::move(wish));
    watcher.run();
    fail(kExitInterrupted, "watch is canceled by the server");
  }
  watcher.interactive = true;
  std::thread([&watcher] { watcher.run(); }).detach();
  watch_lines(c, watcher);
}

void watch_lines(Context&, Watcher& watcher) {
  std::string line;
  while (std::getline(std::cin, line)) {
    std::vector<std::string> words = split_line(line);
    if (words.empty()) {
      fprintf(stderr, "Invalid command: %s (watch and progress supported)\n", line.c_str());
    } else if (words[0] == "progress") {
      watcher.request_progress();
    } else if (words[0] != "watch") {
      fprintf(stderr, "Invalid command %s (only support watch)\n", line.c_str());
    } else if (words.size() < 2 && !getenv("ETCDCTL_WATCH_KEY")) {
      fprintf(stderr, "Invalid command %s (command type or key is not provided)\n", line.c_str());
    } else {
      Command verbs("etcdctl", "");
      add_watch_flags(verbs.add("watch", "", [&](Context& one) {
        std::vector<std::string> key = one.args(), command;
        if (size_t behind = one.behind_separator(); behind != std::string::npos) {
          command.assign(key.begin() + static_cast<ptrdiff_t>(behind), key.end());
          key.resize(behind);
          if (command.empty()) fail(kExitBadArgs, kBadCountSeparator);
        }
        watcher.add(make_wish(one, key, command));
      }));
      if (std::string error = verbs.run_line(words); !error.empty()) fail(kExitBadArgs, error);
    }
  }
  fail(kExitInvalidInput, "error reading watch request line: EOF");
}

Command& add_watch_flags(Command& watch) {
  return watch.flag(Kind::kBool, "interactive", "false", "Interactive mode", 'i')
      .flag(Kind::kBool, "prefix", "false", "Watch on a prefix if prefix is set")
      .flag(Kind::kInt, "rev", "0", "Revision to start watching")
      .flag(Kind::kBool, "prev-kv", "false", "get the previous key-value pair before the event happens")
      .flag(Kind::kBool, "progress-notify", "false", "get periodic watch progress notification from server");
}

}  // namespace

void add_watch_verb(Command& root) {
  add_watch_flags(root.add("watch [options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]",
                           "Watches events stream on keys or prefixes", watch));
}

}  // namespace fairlead::ctl
