// txn: compares and two lists of requests from standard input, each ended by an empty line.
#include <cstdio>
#include <iostream>

#include "ctl/go_format.h"
#include "ctl/verbs.h"

namespace fairlead::ctl {
namespace {

std::string trimmed(std::string_view text) {
  size_t begin = text.find_first_not_of(" \t\r\n\v\f");
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r\n\v\f") - begin + 1));
}

// One line, or the end of the program: a txn that is cut short is not sent.
bool next_line(std::string& line) {
  if (!std::getline(std::cin, line) || std::cin.eof()) fail(kExitInvalidInput, "EOF");
  line = trimmed(line);
  return !line.empty();
}

// target("key") op "value"
pb::Compare parse_compare(const std::string& line) {
  auto malformed = [&](const std::string& more = "") {
    fail(kExitInvalidInput, "malformed comparison: " + line + more);
  };
  size_t paren = line.find('(');
  if (paren == std::string::npos) malformed();
  std::string target = line.substr(0, paren), key, value;
  std::string_view rest = std::string_view(line).substr(paren + 1);
  if (!go_unquote(rest, key) || !rest.starts_with(')')) malformed("; got " + target + "(" + go_quote(key) + ")");
  rest.remove_prefix(1);
  auto skip = [&] { rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size())); };
  skip();
  std::string op(rest.substr(0, rest.find_first_of(" \t")));
  rest.remove_prefix(op.size());
  skip();
  if (!go_unquote(rest, value)) malformed("; got " + target + "(" + go_quote(key) + ") " + op + " \"\"");
  pb::Compare c;
  c.set_key(key);
  if (op == "=")
    c.set_result(pb::Compare::EQUAL);
  else if (op == "!=")
    c.set_result(pb::Compare::NOT_EQUAL);
  else if (op == ">")
    c.set_result(pb::Compare::GREATER);
  else if (op == "<")
    c.set_result(pb::Compare::LESS);
  else
    fail(kExitInvalidInput, "unknown result op " + op);
  int64_t n = 0;
  bool number = go_parse_int(value, 10, n).empty();
  if (target == "ver" || target == "version") {
    c.set_target(pb::Compare::VERSION);
    c.set_version(n);
  } else if (target == "c" || target == "create") {
    c.set_target(pb::Compare::CREATE);
    c.set_create_revision(n);
  } else if (target == "m" || target == "mod") {
    c.set_target(pb::Compare::MOD);
    c.set_mod_revision(n);
  } else if (target == "val" || target == "value") {
    c.set_target(pb::Compare::VALUE);
    c.set_value(value);
    number = true;
  } else if (target == "lease") {
    c.set_target(pb::Compare::LEASE);
    c.set_lease(n);
  } else {
    malformed(" (unknown target " + target + ")");
  }
  if (!number) fail(kExitInvalidInput, "invalid txn compare request: " + line);
  return c;
}

pb::RequestOp parse_request(const std::string& line) {
  std::vector<std::string> words = split_line(line);
  if (words.size() < 2) fail(kExitInvalidInput, "invalid txn compare request: " + line);
  pb::RequestOp op;
  Command verbs("txn", "");
  add_put(verbs, [&](Context& c) { *op.mutable_request_put() = put_request(c); });
  add_get(verbs, [&](Context& c) { *op.mutable_request_range() = range_request(c); });
  add_del(verbs, [&](Context& c) { *op.mutable_request_delete_range() = delete_request(c); });
  if (!verbs.run_line(words).empty()) fail(kExitInvalidInput, "invalid txn request: " + line);
  return op;
}

void txn(Context& c) {
  if (!c.args().empty()) fail(kExitBadArgs, "txn command does not accept argument");
  Client client = make_client(c);
  Printer printer(c);
  auto prompt = [&](const char* text) {
    if (c.on("interactive")) puts(text);
    fflush(stdout);
  };
  pb::TxnRequest request;
  std::string line;
  prompt("compares:");
  while (next_line(line)) *request.add_compare() = parse_compare(line);
  prompt("success requests (get, put, del):");
  while (next_line(line)) *request.add_success() = parse_request(line);
  prompt("failure requests (get, put, del):");
  while (next_line(line)) *request.add_failure() = parse_request(line);
  bool writes = false;
  for (const auto* ops : {&request.success(), &request.failure()})
    for (const pb::RequestOp& op : *ops) writes |= !op.has_request_range();
  pb::TxnResponse response;
  must(client.call<pb::KV>(&pb::KV::Stub::Txn, request, &response, !writes, false));
  printer.txn(response);
}

}  // namespace

// Words are quoted with "..." (Go's escapes), '...' or nothing.
std::vector<std::string> split_line(const std::string& line) {
  std::vector<std::string> words;
  std::string_view rest = line;
  while (true) {
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t\r\n"), rest.size()));
    if (rest.empty()) return words;
    std::string word;
    if (rest[0] == '"') {
      std::string_view quoted = rest;
      if (!go_unquote(quoted, word)) fail(kExitInvalidInput, "invalid syntax");
      rest = quoted;
    } else if (rest[0] == '\'') {
      size_t end = rest.find('\'', 1);
      if (end == std::string_view::npos) end = rest.size() - 1;
      word = rest.substr(1, end - 1);
      rest.remove_prefix(end + 1);
    } else {
      size_t end = std::min(rest.find_first_of(" \t\r\n"), rest.size());
      word = rest.substr(0, end);
      rest.remove_prefix(end);
    }
    words.push_back(word);
  }
}

void add_txn_verb(Command& root) {
  root.add("txn [options]", "Txn processes all the requests in one transaction", txn)
      .describe(
          "Txn reads requests from standard input and applies them as one atomic transaction: a list of conditions,\n"
          "the requests if all of them hold, the requests if one does not. Each list ends with an empty line.\n\n"
          "  mod(\"key1\") > \"0\"\n\n  put key1 \"overwrote-key1\"\n\n  put key1 \"created-key1\"\n")
      .flag(Kind::kBool, "interactive", "false", "Input transaction in interactive mode", 'i');
}

}  // namespace fairlead::ctl
