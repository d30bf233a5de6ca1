#include "bench/options.h"

#include <charconv>
#include <cstdlib>
#include <functional>
#include <map>

namespace fairlead::bench {

namespace {

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> out;
  size_t start = 0;
  while (start < text.size()) {
    size_t comma = std::min(text.find(',', start), text.size());
    if (comma > start) out.push_back(text.substr(start, comma - start));
    start = comma + 1;
  }
  return out;
}

template <typename Number>
bool parse_number(const std::string& text, Number* into) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *into);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::string help_text() {
  return "fairlead-bench MODE --endpoints HOST:PORT,... [flags]: one measurement; a line of JSON, or one for each "
         "part\n"
         "  put           closed loop of puts of random keys\n"
         "  fill          every key once, in order; ends when all are written\n"
         "  read          closed loop of reads of one random key (after fill)\n"
         "  gateway-put, gateway-read\n"
         "                the same as JSON over HTTP/1.1, one request at a time on each connection\n"
         "  authenticate  closed loop of logins of --user\n"
         "  connect       a new connection for each read of one key, --connections of them at a time\n"
         "  crowd         opens --connections and keeps them: what opening, keeping and calls over them cost\n"
         "  list          everything under --prefix, again and again: in pages of --page keys, or as a stream\n"
         "  leases        grants --leases, keeps them alive on --streams, and waits: what each costs\n"
         "  watch         watchers of one key; the next put goes when all of them have the event\n"
         "  first-read    tries until a linearizable read is answered; tells when (CLOCK_MONOTONIC)\n"
         "flags: --connections N --in-flight N --seconds S --warmup S --keys N --key-bytes N --value-bytes N\n"
         "       --cacert FILE (TLS) --user NAME:PASSWORD (token) --consistency l|s --watchers N --streams N\n"
         "       --leases N --page N --prefix KEY --timeout S --pids PID,...\n";
}

Result<Options> parse_options(int argc, char** argv) {
  Options o;
  if (argc < 2) return invalid_argument(help_text());
  o.mode = argv[1];
  std::map<std::string, std::function<bool(const std::string&)>> flags = {
      {"--endpoints",
       [&](const std::string& v) {
         o.endpoints = split(v);
         return !o.endpoints.empty();
       }},
      {"--connections", [&](const std::string& v) { return parse_number(v, &o.connections) && o.connections > 0; }},
      {"--in-flight", [&](const std::string& v) { return parse_number(v, &o.in_flight) && o.in_flight > 0; }},
      {"--seconds", [&](const std::string& v) { return parse_number(v, &o.seconds) && o.seconds > 0; }},
      {"--warmup", [&](const std::string& v) { return parse_number(v, &o.warmup_seconds) && o.warmup_seconds >= 0; }},
      {"--keys", [&](const std::string& v) { return parse_number(v, &o.keys) && o.keys > 0; }},
      {"--key-bytes", [&](const std::string& v) { return parse_number(v, &o.key_bytes) && o.key_bytes >= 16; }},
      {"--value-bytes", [&](const std::string& v) { return parse_number(v, &o.value_bytes); }},
      {"--consistency",
       [&](const std::string& v) {
         o.linearizable = v == "l";
         return v == "l" || v == "s";
       }},
      {"--watchers", [&](const std::string& v) { return parse_number(v, &o.watchers) && o.watchers > 0; }},
      {"--streams", [&](const std::string& v) { return parse_number(v, &o.streams) && o.streams > 0; }},
      {"--user",
       [&](const std::string& v) {
         o.user = v;
         return v.find(':') != std::string::npos;
       }},
      {"--leases", [&](const std::string& v) { return parse_number(v, &o.leases) && o.leases > 0; }},
      {"--page", [&](const std::string& v) { return parse_number(v, &o.page) && o.page >= 0; }},
      {"--prefix", [&](const std::string& v) { return !(o.prefix = v).empty(); }},
      {"--cacert",
       [&](const std::string& v) {
         o.ca_file = v;
         return !v.empty();
       }},
      {"--timeout", [&](const std::string& v) { return parse_number(v, &o.timeout_seconds) && o.timeout_seconds > 0; }},
      {"--pids",
       [&](const std::string& v) {
         for (const std::string& pid : split(v)) {
           int number = 0;
           if (!parse_number(pid, &number)) return false;
           o.server_pids.push_back(number);
         }
         return true;
       }},
  };
  for (int i = 2; i < argc; i += 2) {
    auto flag = flags.find(argv[i]);
    if (flag == flags.end()) return invalid_argument(std::string("unknown flag ") + argv[i] + "\n" + help_text());
    if (i + 1 == argc || !flag->second(argv[i + 1])) {
      return invalid_argument(std::string(argv[i]) + ": missing or bad value\n" + help_text());
    }
  }
  if (o.endpoints.empty()) return invalid_argument("--endpoints is missing\n" + help_text());
  return o;
}

}  // namespace fairlead::bench
