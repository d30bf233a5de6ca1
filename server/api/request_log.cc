#include "server/api/request_log.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "server/api/request_text.h"
#include "server/api/tracer.h"
#include "server/node/node.h"

namespace fairlead::api {
namespace {

// Calls that wait on purpose would push everything else out.
bool waits_on_purpose(const net::Router::Route& route) {
  return route.path == "/v3lockpb.Lock/Lock" || route.path == "/v3electionpb.Election/Campaign";
}

bool faster(const SlowRequest& a, const SlowRequest& b) { return a.took > b.took; }

// As Go prints durations: "1.234567ms".
std::string duration_text(io::Nanos t) {
  char out[32];
  if (t < io::kMicrosecond)
    snprintf(out, sizeof out, "%lldns", static_cast<long long>(t));
  else if (t < io::kMillisecond)
    snprintf(out, sizeof out, "%.3fµs", static_cast<double>(t) / 1e3);
  else if (t < io::kSecond)
    snprintf(out, sizeof out, "%.6fms", static_cast<double>(t) / 1e6);
  else
    snprintf(out, sizeof out, "%.9fs", static_cast<double>(t) / 1e9);
  std::string text(out);
  size_t unit = text.find_first_not_of("0123456789.");
  size_t dot = text.find('.');
  if (dot == std::string::npos) return text;
  size_t last = unit;
  while (last > dot && (text[last - 1] == '0' || text[last - 1] == '.')) {
    --last;
    if (text[last] == '.') break;
  }
  return text.substr(0, last) + text.substr(unit);
}

std::string time_text(int64_t unix_ms) {
  time_t seconds = unix_ms / 1000;
  tm parts{};
  gmtime_r(&seconds, &parts);
  char date[32], out[48];
  strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
  snprintf(out, sizeof out, "%s.%03dZ", date, static_cast<int>(unix_ms % 1000));
  return out;
}

std::string html_escape(std::string_view in) {
  std::string out;
  for (char c : in) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else
      out.push_back(c);
  }
  return out;
}

}  // namespace

struct RequestLog::End {
  net::ServerCall& call;
  const net::Router::Route& route;
  const Status& status;
  std::span<const Bytes> reply;
  io::Nanos now;
  io::Nanos took;
  RequestShape shape;
};

void RequestLog::on_start(net::ServerCall& call, const net::Router::Route& route) {
  call.note().began = world_.loop->now();
  if (tracer_) tracer_->on_start(call, route);
}

void RequestLog::on_request(net::ServerCall& call, const net::Router::Route& route, const Bytes& request) {
  net::CallNote& note = call.note();
  if (note.dispatched == 0) note.dispatched = world_.loop->now();
  if (note.trace != 0) tracer_->on_request(call, route, request);
  if (route.kind != net::MethodKind::kUnary || kept_bytes_ + request.size() > kRequestsKeptBytesMax) return;
  note.request = request;
  kept_bytes_ += request.size();
}

void RequestLog::on_sent(net::ServerCall& call, const net::Router::Route& route) {
  if (tracer_) tracer_->on_sent(call, route);
}

io::Nanos RequestLog::clock() {
  io::Nanos turn = world_.loop->now();
  if (turn != turn_) {
    turn_ = clock_ = turn;
    ends_in_turn_ = 0;
  }
  if (++ends_in_turn_ % kCallsPerClock == 0) clock_ = world_.loop->now_precise();
  return clock_;
}

void RequestLog::on_end(net::ServerCall& call, const net::Router::Route& route, const Status& status,
                        std::span<const Bytes> reply) {
  net::CallNote& note = call.note();
  kept_bytes_ -= note.request.size();
  if (note.trace != 0) tracer_->on_end(call, route, status, reply);
  io::Nanos now = clock();
  io::Nanos took = now - note.began;
  bool unary = route.kind == net::MethodKind::kUnary;
  bool keeps = now >= floor_until_ || took > floor_;
  bool slow = unary && (took > warn_after_ || warn_after_ == 0);  // 0: all, also those of one turn
  bool tell = unary && world_.log->enabled(io::LogLevel::kDebug);
  if (!keeps && !slow && !tell) return;
  now = world_.loop->now_precise();
  took = now - note.began;
  End end{call, route, status, reply, now, took, {}};
  end.shape = request_shape(route.path, note.request, reply);
  if (slow) ++slow_total_;
  // As etcd: at the level debug the same line for each, and no warning.
  if (tell)
    warn(end, io::LogLevel::kDebug);
  else if (slow)
    warn(end, io::LogLevel::kWarn);
  if (unary && !waits_on_purpose(route)) keep(end);
}

void RequestLog::warn(const End& end, io::LogLevel level) {
  const RequestShape& s = end.shape;
  std::string began = time_text(world_.loop->wall_ms() - end.took / io::kMillisecond);
  std::string peer(end.call.peer_address());
  world_.log->log(level, "request stats",
                  {{"start time", began},
                   {"time spent", duration_text(end.took)},
                   {"remote", peer},
                   {"response type", end.route.path},
                   {"request count", s.request_count},
                   {"request size", s.request_size},
                   {"response count", s.response_count},
                   {"response size", s.response_size},
                   {"request content", s.content}});
}

RequestLog::Window& RequestLog::window(io::Nanos now) {
  if (windows_.empty() || now >= windows_.back().ends) {
    windows_.push_back({now + kSlowWindow, {}});
    if (windows_.size() > kSlowWindows) windows_.pop_front();
    floor_ = -1;
    floor_until_ = windows_.back().ends;
  }
  return windows_.back();
}

void RequestLog::keep(const End& end) {
  Window& w = window(end.now);
  if (w.calls.size() >= kSlowPerWindow) {
    if (end.took <= w.calls.front().took) return;
    std::pop_heap(w.calls.begin(), w.calls.end(), faster);
    w.calls.pop_back();
  }
  const net::CallNote& note = end.call.note();
  SlowRequest r;
  r.began_unix_ms = world_.loop->wall_ms() - end.took / io::kMillisecond;
  r.method = std::string_view(end.route.path).substr(1);
  r.peer = end.call.peer_address();
  r.content = end.shape.content.substr(0, kSlowContentMax);
  r.code = end.status.code();
  r.request_bytes = static_cast<int64_t>(note.request.size());
  r.took = end.took;
  io::Nanos whole = note.dispatched > 0 ? note.dispatched : end.now;
  r.receive = whole - note.began;
  r.answer = end.now - whole;
  r.stages = node_.stages();
  if (const auto& s = r.stages) {
    r.check = std::clamp<io::Nanos>(s->asked - whole, 0, r.answer);
    r.answer = std::max<io::Nanos>(0, r.answer - r.check - s->queue - s->raft - s->apply_wait - s->apply);
  }
  w.calls.push_back(std::move(r));
  std::push_heap(w.calls.begin(), w.calls.end(), faster);
  if (w.calls.size() >= kSlowPerWindow) floor_ = w.calls.front().took;
}

std::vector<SlowRequest> RequestLog::slowest() {
  io::Nanos oldest = world_.loop->now() - static_cast<io::Nanos>(kSlowWindows) * kSlowWindow;
  while (!windows_.empty() && windows_.front().ends < oldest) windows_.pop_front();
  std::vector<SlowRequest> all;
  for (const Window& w : windows_) all.insert(all.end(), w.calls.begin(), w.calls.end());
  std::stable_sort(all.begin(), all.end(), faster);
  return all;
}

// ---- pages

std::string slow_requests_html(const std::vector<SlowRequest>& calls) {
  std::string out =
      "<!doctype html><html><head><meta charset=\"utf-8\"><title>slow requests</title><style>"
      "body{font:14px sans-serif}td,th{padding:2px 8px;text-align:right;border-bottom:1px solid #ddd}"
      ".l{text-align:left}</style></head><body><h1>The slowest requests of the last minutes</h1><p>Times in ms. Log "
      "sync is part of Raft; a call without stages was answered by this member alone, or failed before it was "
      "proposed. <a href=\"?format=json\">JSON</a></p><table><tr><th class=l>began</th><th class=l>method</th>"
      "<th>total</th><th>receive</th><th>check</th><th>queue</th><th>raft</th><th>log sync</th><th>apply wait</th>"
      "<th>apply</th><th>answer</th><th class=l>code</th><th class=l>from</th><th class=l>request</th></tr>\n";
  auto cell = [&](io::Nanos t) {
    char text[32];
    snprintf(text, sizeof text, "<td>%.3f", static_cast<double>(t) / 1e6);
    out += text;
  };
  for (const SlowRequest& r : calls) {
    out += "<tr><td class=l>" + time_text(r.began_unix_ms) + "<td class=l>" + html_escape(r.method);
    cell(r.took);
    cell(r.receive);
    if (r.stages) {
      for (io::Nanos t :
           {r.check, r.stages->queue, r.stages->raft, r.stages->log_sync, r.stages->apply_wait, r.stages->apply})
        cell(t);
    } else {
      out += "<td><td><td><td><td><td>";
    }
    cell(r.answer);
    out += "<td class=l>" + std::to_string(static_cast<int>(r.code)) + "<td class=l>" + html_escape(r.peer) +
           "<td class=l>" + html_escape(r.content) + "</tr>\n";
  }
  return out + "</table></body></html>\n";
}

std::string slow_requests_json(const std::vector<SlowRequest>& calls) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const SlowRequest& r : calls) {
    nlohmann::ordered_json one = {
        {"began", time_text(r.began_unix_ms)}, {"method", r.method}, {"total_ns", r.took}, {"receive_ns", r.receive}};
    if (r.stages) {
      one["check_ns"] = r.check;
      one["queue_ns"] = r.stages->queue;
      one["raft_ns"] = r.stages->raft;
      one["log_sync_ns"] = r.stages->log_sync;
      one["apply_wait_ns"] = r.stages->apply_wait;
      one["apply_ns"] = r.stages->apply;
    }
    one["answer_ns"] = r.answer;
    one["code"] = static_cast<int>(r.code);
    one["remote"] = r.peer;
    one["request_bytes"] = r.request_bytes;
    one["request"] = r.content;
    list.push_back(std::move(one));
  }
  return nlohmann::ordered_json{{"requests", std::move(list)}}.dump(1, ' ', false,
                                                                    nlohmann::json::error_handler_t::replace) +
         "\n";
}

}  // namespace fairlead::api
