#include "operator/sim/client.h"

#include <charconv>
#include <random>

namespace fairlead::apisim {

namespace {

struct FaultWord {
  FaultKind kind;
  std::string_view word;
};
constexpr FaultWord kFaultWords[] = {{FaultKind::kCrashBefore, "crash-before"},
                                     {FaultKind::kCrashAfter, "crash-after"},
                                     {FaultKind::kConflict, "conflict"},
                                     {FaultKind::kTimeoutApplied, "timeout-applied"},
                                     {FaultKind::kTimeoutLost, "timeout-lost"},
                                     {FaultKind::kUnavailable, "unavailable"},
                                     {FaultKind::kReadUnavailable, "read-unavailable"},
                                     {FaultKind::kStale, "stale"},
                                     {FaultKind::kLoseEvent, "lose-event"},
                                     {FaultKind::kRepeatEvent, "repeat-event"},
                                     {FaultKind::kBreakWatch, "break-watch"}};

enum class Sort : uint8_t { kWrite, kRead, kEvent };

Sort sort_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::kReadUnavailable:
    case FaultKind::kStale:
      return Sort::kRead;
    case FaultKind::kLoseEvent:
    case FaultKind::kRepeatEvent:
    case FaultKind::kBreakWatch:
      return Sort::kEvent;
    default:
      return Sort::kWrite;
  }
}

const Fault* find_fault(const std::vector<Fault>& script, Sort sort, uint64_t index) {
  for (const Fault& fault : script) {
    if (sort_of(fault.kind) == sort && fault.index == index) return &fault;
  }
  return nullptr;
}

Status stopped() { return Status(Code::kCancelled, "this client was stopped by a simulated crash"); }

}  // namespace

std::string_view fault_name(FaultKind kind) {
  for (const FaultWord& w : kFaultWords) {
    if (w.kind == kind) return w.word;
  }
  return "?";
}

bool is_write_fault(FaultKind kind) { return sort_of(kind) == Sort::kWrite; }

std::string Fault::to_string() const {
  std::string text = std::string(fault_name(kind)) + "@" + std::to_string(index);
  if (kind == FaultKind::kStale) text += ":" + std::to_string(depth);
  return text;
}

Result<std::vector<Fault>> parse_faults(std::string_view text) {
  std::vector<Fault> script;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    const Status bad = invalid_argument("not a fault: '" + std::string(part) + "'");
    const size_t sign = part.find('@');
    if (sign == std::string_view::npos) return bad;
    Fault fault;
    bool known = false;
    for (const FaultWord& w : kFaultWords) {
      if (w.word != part.substr(0, sign)) continue;
      fault.kind = w.kind;
      known = true;
    }
    const char* p = part.data() + sign + 1;
    const char* end = part.data() + part.size();
    auto [rest, error] = std::from_chars(p, end, fault.index);
    if (!known || error != std::errc()) return bad;
    if (rest != end && *rest == ':') rest = std::from_chars(rest + 1, end, fault.depth).ptr;
    if (rest != end || fault.index == 0) return bad;
    script.push_back(fault);
  }
  return script;
}

Client::Client(Server& server, std::string name, std::vector<Fault> script)
    : server_(server), name_(std::move(name)), script_(std::move(script)) {}

Result<Json> Client::call(const Request& request) {
  std::unique_lock lock(mutex_);
  if (crashed_) return stopped();
  const bool write = kube::is_write(request.verb);
  const uint64_t index = write ? ++writes_ : ++reads_;
  const Fault* found = find_fault(script_, write ? Sort::kWrite : Sort::kRead, index);
  const std::optional<Fault> fault = found == nullptr ? std::nullopt : std::optional<Fault>(*found);
  if (fault) hits_++;
  const uint64_t stale_depth = fault && fault->kind == FaultKind::kStale ? fault->depth : stale_depth_;
  if (fault && (fault->kind == FaultKind::kCrashBefore || fault->kind == FaultKind::kCrashAfter)) crashed_ = true;
  lock.unlock();
  if (write) return fault ? write_with_fault(request, fault->kind) : server_.call(request, name_);
  if (fault && fault->kind == FaultKind::kReadUnavailable) return unavailable("simulated: API server not reachable");
  return stale_depth > 0 ? server_.call_stale(request, stale_depth) : server_.call(request, name_);
}

Result<Json> Client::write_with_fault(const Request& request, FaultKind kind) {
  switch (kind) {
    case FaultKind::kCrashBefore:
      return stopped();
    case FaultKind::kCrashAfter:
      (void)server_.call(request, name_);
      return stopped();
    case FaultKind::kConflict:
      return Status(
          Code::kAborted,
          "simulated: the object has been modified; please apply your changes to the latest version and try again");
    case FaultKind::kTimeoutApplied:
      (void)server_.call(request, name_);
      return Status(Code::kDeadlineExceeded, "simulated: no answer; it may have been executed");
    case FaultKind::kTimeoutLost:
      return Status(Code::kDeadlineExceeded, "simulated: no answer; it may have been executed");
    case FaultKind::kUnavailable:
      return unavailable("simulated: API server not reachable");
    default:
      return internal_error("not a fault of writes");
  }
}

Status Client::watch(const Gvr& gvr, const kube::WatchOptions& options, const kube::WatchHandler& handler,
                     std::stop_token stop) {
  if (crashed()) return stopped();
  bool broken = false;
  const auto deliver = [&](kube::WatchEvent event) {
    if (event.type == kube::WatchEventType::kBookmark) return handler(std::move(event));
    std::unique_lock lock(mutex_);
    if (crashed_) return false;
    const Fault* fault = find_fault(script_, Sort::kEvent, ++events_);
    const FaultKind kind = fault == nullptr ? FaultKind::kCrashBefore : fault->kind;
    hits_ += fault != nullptr;
    lock.unlock();
    if (kind == FaultKind::kLoseEvent) return true;
    if (kind == FaultKind::kBreakWatch) {
      broken = true;
      return false;
    }
    if (kind == FaultKind::kRepeatEvent && !handler(event)) return false;
    return handler(std::move(event));
  };
  Status status = server_.watch(gvr, options, deliver, stop);
  if (crashed()) return stopped();
  if (broken) return unavailable("simulated: the watch broke");
  return status;
}

void Client::set_stale_depth(uint64_t depth) {
  std::lock_guard lock(mutex_);
  stale_depth_ = depth;
}
void Client::crash() {
  std::lock_guard lock(mutex_);
  crashed_ = true;
}
bool Client::crashed() const {
  std::lock_guard lock(mutex_);
  return crashed_;
}
uint64_t Client::writes() const {
  std::lock_guard lock(mutex_);
  return writes_;
}
uint64_t Client::reads() const {
  std::lock_guard lock(mutex_);
  return reads_;
}
uint64_t Client::events() const {
  std::lock_guard lock(mutex_);
  return events_;
}
uint64_t Client::faults_hit() const {
  std::lock_guard lock(mutex_);
  return hits_;
}

std::vector<Fault> every_single_fault(uint64_t writes, uint64_t reads, uint64_t stale_depth_max) {
  std::vector<Fault> faults;
  for (uint64_t i = 1; i <= writes; i++) {
    for (FaultKind kind : {FaultKind::kCrashBefore, FaultKind::kCrashAfter, FaultKind::kConflict,
                           FaultKind::kTimeoutApplied, FaultKind::kTimeoutLost, FaultKind::kUnavailable}) {
      faults.push_back({kind, i, 0});
    }
  }
  for (uint64_t i = 1; i <= reads; i++) {
    faults.push_back({FaultKind::kReadUnavailable, i, 0});
    for (uint64_t depth = 1; depth <= stale_depth_max; depth++) faults.push_back({FaultKind::kStale, i, depth});
  }
  return faults;
}

std::vector<Fault> random_faults(uint64_t seed, size_t count, uint64_t writes, uint64_t reads, uint64_t events) {
  std::mt19937_64 random(seed);
  // not std::uniform_int_distribution: its numbers differ between libraries, and a seed is to mean the same everywhere
  const auto below = [&](uint64_t n) { return random() % n; };
  std::vector<Fault> faults;
  std::set<std::pair<Sort, uint64_t>> taken;
  for (size_t tries = 0; faults.size() < count && tries < 20 * count; tries++) {
    Fault fault;
    fault.kind = kFaultWords[below(std::size(kFaultWords))].kind;
    const Sort sort = sort_of(fault.kind);
    const uint64_t range = sort == Sort::kWrite ? writes : sort == Sort::kRead ? reads : events;
    if (range == 0) continue;
    fault.index = 1 + below(range);
    fault.depth = 1 + below(5);
    if (taken.insert({sort, fault.index}).second) faults.push_back(fault);
  }
  return faults;
}

}  // namespace fairlead::apisim
