#include "ctl/print.h"

#include <cstdio>

#include "ctl/exit.h"
#include "ctl/go_format.h"

namespace fairlead::ctl {
namespace {

void out(const std::string& text) { fwrite(text.data(), 1, text.size(), stdout); }
std::string number(int64_t v) { return std::to_string(v); }
std::string number(uint64_t v) { return std::to_string(v); }
const char* truth(bool b) { return b ? "true" : "false"; }

std::string hex_bytes(std::string_view bytes) {
  static const char* kDigits = "0123456789abcdef";
  std::string text;
  for (char c : bytes) {
    auto u = static_cast<unsigned char>(c);
    text += {'\\', 'x', kDigits[u >> 4], kDigits[u & 15]};
  }
  return text;
}

std::string join(const auto& parts, const char* between) {
  std::string text;
  bool first = true;
  for (const auto& part : parts) text += (std::exchange(first, false) ? "" : between) + std::string(part);
  return text;
}

// %16x: to the right in sixteen columns.
std::string wide_hex(uint64_t value) {
  std::string text = go_hex(value);
  return std::string(text.size() < 16 ? 16 - text.size() : 0, ' ') + text;
}

std::vector<std::vector<std::string>> member_rows(const pb::MemberListResponse& r) {
  std::vector<std::vector<std::string>> rows;
  for (const pb::Member& m : r.members())
    rows.push_back({go_hex(m.id()), m.name().empty() ? "unstarted" : "started", m.name(), join(m.peerurls(), ","),
                    join(m.clienturls(), ","), truth(m.islearner())});
  return rows;
}

std::vector<std::vector<std::string>> status_rows(const std::vector<EndpointStatus>& all) {
  std::vector<std::vector<std::string>> rows;
  for (const EndpointStatus& e : all) {
    const pb::StatusResponse& s = e.status;
    int64_t free = s.dbsize() > 0 ? 100 - s.dbsizeinuse() * 100 / s.dbsize() : 0;
    rows.push_back({e.endpoint, go_hex(s.header().member_id()), s.version(), s.storageversion(),
                    go_bytes(static_cast<uint64_t>(s.dbsize())), go_bytes(static_cast<uint64_t>(s.dbsizeinuse())),
                    number(free) + "%", go_bytes(static_cast<uint64_t>(s.dbsizequota())),
                    truth(s.leader() == s.header().member_id()), truth(s.islearner()), number(s.raftterm()),
                    number(s.raftindex()), number(s.raftappliedindex()), join(s.errors(), ", "),
                    s.downgradeinfo().targetversion(), truth(s.downgradeinfo().enabled())});
  }
  return rows;
}

std::string row_line(const std::vector<std::string>& row) { return join(row, ", ") + "\n"; }

// clientv3's own structs: the header's fields, then those given.
std::string flat_json(const pb::ResponseHeader& h, const std::string& rest) {
  std::string head = go_json(h);
  head.pop_back();
  return head + (head.size() > 1 ? "," : "") + rest + "}\n";
}

std::string txn_json(const pb::TxnResponse& r) {
  std::string text = "{";
  auto add = [&](const std::string& part) { text += (text.size() > 1 ? "," : "") + part; };
  if (r.has_header()) add("\"header\":" + go_json(r.header()));
  if (r.succeeded()) add("\"succeeded\":true");
  std::string responses;
  for (const pb::ResponseOp& op : r.responses()) {
    std::string one;
    if (op.has_response_range()) one = "\"response_range\":" + go_json(op.response_range());
    if (op.has_response_put()) one = "\"response_put\":" + go_json(op.response_put());
    if (op.has_response_delete_range()) one = "\"response_delete_range\":" + go_json(op.response_delete_range());
    if (op.has_response_txn()) one = "\"response_txn\":" + txn_json(op.response_txn());
    responses += (responses.empty() ? "" : ",") + ("{\"Response\":{" + one + "}}");
  }
  if (!responses.empty()) add("\"responses\":[" + responses + "]");
  return text + "}";
}

}  // namespace

Printer::Printer(Context& context) : hex_(context.on("hex")) {
  std::string name = context.text("write-out");
  static const std::pair<const char*, Format> kFormats[] = {{"simple", Format::kSimple},
                                                            {"fields", Format::kFields},
                                                            {"json", Format::kJson},
                                                            {"protobuf", Format::kProtobuf},
                                                            {"table", Format::kTable}};
  for (auto& [known, format] : kFormats) {
    if (name == known) {
      format_ = format;
      return;
    }
  }
  fail(kExitBadFeature, "unsupported output format");
}

void Printer::line(const std::string& text) { out(text + "\n"); }

void Printer::unsupported() const {
  static const char* kNames[] = {"simple", "fields", "json", "protobuf", "table"};
  fail(kExitBadFeature, std::string(kNames[static_cast<int>(format_)]) + " not supported as output format");
}

void Printer::generic(const google::protobuf::Message& r) {
  if (format_ == Format::kJson) return line(go_json(r));
  if (format_ == Format::kProtobuf) return out(r.SerializeAsString());
  unsupported();
}

std::string Printer::id(uint64_t value) const { return hex_ ? go_hex(value) : number(value); }
std::string Printer::lease_id(int64_t value) const {
  return hex_ ? go_hex16(static_cast<uint64_t>(value)) : number(value);
}

void Printer::key_value(const mvccpb::KeyValue& kv) {
  if (!value_only_) line(hex_ ? hex_bytes(kv.key()) : kv.key());
  line(hex_ ? hex_bytes(kv.value()) : kv.value());
}

void Printer::header(const pb::ResponseHeader& h) {
  line("\"ClusterID\" : " + id(h.cluster_id()));
  line("\"MemberID\" : " + id(h.member_id()));
  if (h.revision() > 0) line("\"Revision\" : " + number(h.revision()));
  line("\"RaftTerm\" : " + number(h.raft_term()));
}

void Printer::fields(const std::string& p, const mvccpb::KeyValue& kv) {
  line("\"" + p + "Key\" : " + go_quote(kv.key()));
  line("\"" + p + "CreateRevision\" : " + number(kv.create_revision()));
  line("\"" + p + "ModRevision\" : " + number(kv.mod_revision()));
  line("\"" + p + "Version\" : " + number(kv.version()));
  line("\"" + p + "Value\" : " + go_quote(kv.value()));
  line("\"" + p + "Lease\" : " + lease_id(kv.lease()));
}

void Printer::get(const pb::RangeResponse& r) {
  if (simple()) {
    for (const auto& kv : r.kvs()) key_value(kv);
  } else if (format_ == Format::kFields) {
    header(r.header());
    for (const auto& kv : r.kvs()) fields("", kv);
    line(std::string("\"More\" : ") + truth(r.more()));
    line("\"Count\" : " + number(r.count()));
  } else {
    generic(r);
  }
}

void Printer::put(const pb::PutResponse& r) {
  if (simple()) {
    line("OK");
    if (r.has_prev_kv()) key_value(r.prev_kv());
  } else if (format_ == Format::kFields) {
    header(r.header());
    if (r.has_prev_kv()) fields("Prev", r.prev_kv());
  } else {
    generic(r);
  }
}

void Printer::del(const pb::DeleteRangeResponse& r) {
  if (simple()) {
    line(number(r.deleted()));
    for (const auto& kv : r.prev_kvs()) key_value(kv);
  } else if (format_ == Format::kFields) {
    header(r.header());
    line("\"Deleted\" : " + number(r.deleted()));
    for (const auto& kv : r.prev_kvs()) fields("Prev", kv);
  } else {
    generic(r);
  }
}

void Printer::txn(const pb::TxnResponse& r) {
  if (format_ == Format::kJson) return line(txn_json(r));
  if (format_ == Format::kProtobuf || format_ == Format::kTable) return generic(r);
  if (simple()) {
    line(r.succeeded() ? "SUCCESS" : "FAILURE");
  } else {
    header(r.header());
    line(std::string("\"Succeeded\" : ") + truth(r.succeeded()));
  }
  for (const pb::ResponseOp& op : r.responses()) {
    if (simple()) line("");
    if (op.has_response_delete_range())
      del(op.response_delete_range());
    else if (op.has_response_put())
      put(op.response_put());
    else if (op.has_response_range())
      get(op.response_range());
    else
      line("unexpected response " + go_text(op));
  }
}

void Printer::watch(const pb::WatchResponse& r) {
  if (simple() || format_ == Format::kFields) {
    if (!simple()) header(r.header());
    for (const auto& event : r.events()) {
      std::string type = event.type() == mvccpb::Event::DELETE ? "DELETE" : "PUT";
      line(simple() ? type : "\"Type\" : " + type);
      if (event.has_prev_kv()) simple() ? key_value(event.prev_kv()) : fields("Prev", event.prev_kv());
      simple() ? key_value(event.kv()) : fields("", event.kv());
    }
  } else if (format_ == Format::kJson) {
    std::string events;
    for (const auto& event : r.events()) events += (events.empty() ? "" : ",") + go_json(event);
    line("{\"Header\":" + go_json(r.header()) + ",\"Events\":" + (events.empty() ? "null" : "[" + events + "]") +
         ",\"CompactRevision\":" + number(r.compact_revision()) + ",\"Canceled\":" + truth(r.canceled()) +
         ",\"Created\":" + truth(r.created()) + ",\"CancelReason\":" + go_json_string(r.cancel_reason()) + "}");
  } else if (format_ == Format::kProtobuf) {
    pb::WatchResponse shown = r;
    shown.clear_watch_id();
    shown.clear_cancel_reason();
    shown.clear_fragment();
    generic(shown);
  } else {
    unsupported();
  }
  flush_output();
}

void Printer::grant(const pb::LeaseGrantResponse& r) {
  if (simple())
    return line("lease " + go_hex16(static_cast<uint64_t>(r.id())) + " granted with TTL(" + number(r.ttl()) + "s)");
  if (format_ == Format::kFields) {
    header(r.header());
    line("\"ID\" : " + lease_id(r.id()));
    return line("\"TTL\" : " + number(r.ttl()));
  }
  if (format_ == Format::kJson)
    return out(flat_json(r.header(), "\"ID\":" + number(r.id()) + ",\"TTL\":" + number(r.ttl()) +
                                         ",\"Error\":" + go_json_string(r.error())));
  header_bytes(r.header());
}

void Printer::revoke(int64_t lease, const pb::LeaseRevokeResponse& r) {
  if (simple()) return line("lease " + go_hex16(static_cast<uint64_t>(lease)) + " revoked");
  if (format_ == Format::kFields) return header(r.header());
  generic(r);
}

void Printer::keep_alive(const pb::LeaseKeepAliveResponse& r) {
  if (simple()) {
    line("lease " + go_hex16(static_cast<uint64_t>(r.id())) + " keepalived with TTL(" + number(r.ttl()) + ")");
  } else if (format_ == Format::kFields) {
    header(r.header());
    line("\"ID\" : " + lease_id(r.id()));
    line("\"TTL\" : " + number(r.ttl()));
  } else if (format_ == Format::kJson) {
    out(flat_json(r.header(), "\"ID\":" + number(r.id()) + ",\"TTL\":" + number(r.ttl())));
  } else {
    header_bytes(r.header());
  }
  flush_output();
}

void Printer::time_to_live(const pb::LeaseTimeToLiveResponse& r, bool keys) {
  if (simple()) {
    std::string lease = "lease " + go_hex16(static_cast<uint64_t>(r.id()));
    if (r.grantedttl() == 0 && r.ttl() == -1) return line(lease + " already expired");
    std::string text =
        lease + " granted with TTL(" + number(r.grantedttl()) + "s), remaining(" + number(r.ttl()) + "s)";
    if (keys) text += ", attached keys([" + join(r.keys(), " ") + "])";
    return line(text);
  }
  if (format_ == Format::kFields) {
    header(r.header());
    line("\"ID\" : " + lease_id(r.id()));
    line("\"TTL\" : " + number(r.ttl()));
    line("\"GrantedTTL\" : " + number(r.grantedttl()));
    for (const std::string& key : r.keys()) line("\"Key\" : " + go_quote(key));
    return;
  }
  if (format_ == Format::kJson) {
    std::string list;
    for (const std::string& key : r.keys()) list += (list.empty() ? "\"" : ",\"") + base64(key) + "\"";
    return out(flat_json(r.header(), "\"id\":" + number(r.id()) + ",\"ttl\":" + number(r.ttl()) +
                                         ",\"granted-ttl\":" + number(r.grantedttl()) +
                                         ",\"keys\":" + (list.empty() ? "null" : "[" + list + "]")));
  }
  header_bytes(r.header());
}

void Printer::leases(const pb::LeaseLeasesResponse& r) {
  if (simple()) {
    line("found " + number(static_cast<int64_t>(r.leases_size())) + " leases");
    for (const auto& lease : r.leases()) line(go_hex16(static_cast<uint64_t>(lease.id())));
  } else if (format_ == Format::kFields) {
    header(r.header());
    for (const auto& lease : r.leases()) line("\"ID\" : " + lease_id(lease.id()));
  } else if (format_ == Format::kJson) {
    std::string list;
    for (const auto& lease : r.leases()) list += (list.empty() ? "" : ",") + ("{\"id\":" + number(lease.id()) + "}");
    out(flat_json(r.header(), "\"leases\":[" + list + "]"));
  } else {
    header_bytes(r.header());
  }
}

// clientv3 wraps these answers into structs whose only message is the header: etcdctl prints that one.
void Printer::header_bytes(const pb::ResponseHeader& h) const {
  if (format_ != Format::kProtobuf) unsupported();
  out(h.SerializeAsString());
}

// ---- members --------------------------------------------------------------------------------------------------------

std::string Printer::json_header(const pb::ResponseHeader& h) const {
  if (!hex_) return go_json(h);
  std::string text =
      "{\"cluster_id\":\"" + go_hex(h.cluster_id()) + "\",\"member_id\":\"" + go_hex(h.member_id()) + "\"";
  if (h.revision() != 0) text += ",\"revision\":" + number(h.revision());
  if (h.raft_term() != 0) text += ",\"raft_term\":" + number(h.raft_term());
  return text + "}";
}

static std::string hex_member(const pb::Member& m) {
  auto list = [](const auto& urls) {
    std::string text;
    for (const std::string& url : urls) text += (text.empty() ? "" : ",") + go_json_string(url);
    return "[" + text + "]";
  };
  std::string text = "{\"ID\":\"" + go_hex(m.id()) + "\"";
  if (!m.name().empty()) text += ",\"name\":" + go_json_string(m.name());
  if (m.peerurls_size() > 0) text += ",\"peerURLs\":" + list(m.peerurls());
  if (m.clienturls_size() > 0) text += ",\"clientURLs\":" + list(m.clienturls());
  if (m.islearner()) text += ",\"isLearner\":true";
  return text + "}";
}

template <typename Response>
void Printer::members_json(const Response& r, const pb::Member* added) {
  if (!hex_ || format_ != Format::kJson) return generic(r);
  std::string text = "{\"header\":" + json_header(r.header());
  if (added) text += ",\"member\":" + hex_member(*added);
  std::string list;
  for (const pb::Member& m : r.members()) list += (list.empty() ? "" : ",") + hex_member(m);
  line(text + ",\"members\":[" + list + "]}");
}

void Printer::member_add(const pb::MemberAddResponse& r) {
  if (simple())
    return line("Member " + wide_hex(r.member().id()) + " added" + (r.member().islearner() ? " as learner " : " ") +
                "to cluster " + wide_hex(r.header().cluster_id()));
  members_json(r, &r.member());
}
void Printer::member_remove(uint64_t member, const pb::MemberRemoveResponse& r) {
  if (simple())
    return line("Member " + wide_hex(member) + " removed from cluster " + wide_hex(r.header().cluster_id()));
  members_json(r, nullptr);
}
void Printer::member_update(uint64_t member, const pb::MemberUpdateResponse& r) {
  if (simple()) return line("Member " + wide_hex(member) + " updated in cluster " + wide_hex(r.header().cluster_id()));
  members_json(r, nullptr);
}
void Printer::member_promote(uint64_t member, const pb::MemberPromoteResponse& r) {
  if (simple()) return line("Member " + wide_hex(member) + " promoted in cluster " + wide_hex(r.header().cluster_id()));
  members_json(r, nullptr);
}

void Printer::member_list(const pb::MemberListResponse& r) {
  if (simple()) {
    for (const auto& row : member_rows(r)) out(row_line(row));
    return;
  }
  if (format_ == Format::kTable)
    return out(table({"ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"}, member_rows(r)));
  if (format_ != Format::kFields) return members_json(r, nullptr);
  header(r.header());
  for (const pb::Member& m : r.members()) {
    line("\"ID\" : " + id(m.id()));
    line("\"Name\" : " + go_quote(m.name()));
    for (const std::string& url : m.peerurls()) line("\"PeerURL\" : " + go_quote(url));
    for (const std::string& url : m.clienturls()) line("\"ClientURL\" : " + go_quote(url));
    line(std::string("\"IsLearner\" : ") + truth(m.islearner()));
    line("");
  }
}

// ---- endpoints ------------------------------------------------------------------------------------------------------

void Printer::endpoint_health(const std::vector<EndpointHealth>& all) {
  std::vector<std::vector<std::string>> rows;
  std::string json;
  for (const EndpointHealth& h : all) {
    rows.push_back({h.endpoint, truth(h.health), h.took, h.error});
    json += (json.empty() ? "" : ",") + ("{\"endpoint\":" + go_json_string(h.endpoint) +
                                         ",\"health\":" + truth(h.health) + ",\"took\":" + go_json_string(h.took) +
                                         (h.error.empty() ? "" : ",\"error\":" + go_json_string(h.error)) + "}");
    if (simple() && h.error.empty())
      line(h.endpoint + " is healthy: successfully committed proposal: took = " + h.took);
    else if (simple())
      fprintf(stderr, "%s is unhealthy: failed to commit proposal: %s\n", h.endpoint.c_str(), h.error.c_str());
    if (format_ == Format::kFields) {
      line("\"Endpoint\" : " + go_quote(h.endpoint));
      line(std::string("\"Health\" : ") + truth(h.health));
      line("\"Took\" : " + h.took);
      line("\"Error\" : " + h.error);
      line("");
    }
  }
  if (format_ == Format::kTable) out(table({"endpoint", "health", "took", "error"}, rows));
  if (format_ == Format::kJson) line(all.empty() ? "null" : "[" + json + "]");
  if (format_ == Format::kProtobuf) unsupported();
}

void Printer::endpoint_status(const std::vector<EndpointStatus>& all) {
  auto rows = status_rows(all);
  if (simple()) {
    for (const auto& row : rows) out(row_line(row));
  } else if (format_ == Format::kTable) {
    out(table({"endpoint", "ID", "version", "storage version", "db size", "in use", "percentage not in use", "quota",
               "is leader", "is learner", "raft term", "raft index", "raft applied index", "errors",
               "downgrade target version", "downgrade enabled"},
              rows));
  } else if (format_ == Format::kJson) {
    std::string json;
    for (const EndpointStatus& e : all)
      json += (json.empty() ? "" : ",") +
              ("{\"Endpoint\":" + go_json_string(e.endpoint) + ",\"Status\":" + go_json(e.status) + "}");
    line(all.empty() ? "null" : "[" + json + "]");
  } else if (format_ == Format::kFields) {
    for (const EndpointStatus& e : all) {
      const pb::StatusResponse& s = e.status;
      header(s.header());
      line("\"Version\" : " + go_quote(s.version()));
      line("\"StorageVersion\" : " + go_quote(s.storageversion()));
      line("\"DBSize\" : " + number(s.dbsize()));
      line("\"DBSizeInUse\" : " + number(s.dbsizeinuse()));
      line("\"DBSizeQuota\" : " + number(s.dbsizequota()));
      line("\"Leader\" : " + number(s.leader()));
      line(std::string("\"IsLearner\" : ") + truth(s.islearner()));
      line("\"RaftIndex\" : " + number(s.raftindex()));
      line("\"RaftTerm\" : " + number(s.raftterm()));
      line("\"RaftAppliedIndex\" : " + number(s.raftappliedindex()));
      line("\"Errors\" : [" + join(s.errors(), " ") + "]");
      line("\"Endpoint\" : " + go_quote(e.endpoint));
      line("\"DowngradeTargetVersion\" : " + go_quote(s.downgradeinfo().targetversion()));
      line(std::string("\"DowngradeEnabled\" : ") + truth(s.downgradeinfo().enabled()));
      line("");
    }
  } else {
    unsupported();
  }
}

void Printer::endpoint_hash(const std::vector<EndpointHash>& all) {
  std::vector<std::vector<std::string>> rows;
  for (const EndpointHash& e : all)
    rows.push_back({e.endpoint, number(static_cast<uint64_t>(e.hash.hash())), number(e.hash.hash_revision())});
  if (simple()) {
    for (const auto& row : rows) out(row_line(row));
  } else if (format_ == Format::kTable) {
    out(table({"endpoint", "hash", "hash_revision"}, rows));
  } else if (format_ == Format::kJson) {
    std::string json;
    for (const EndpointHash& e : all)
      json += (json.empty() ? "" : ",") +
              ("{\"Endpoint\":" + go_json_string(e.endpoint) + ",\"HashKV\":" + go_json(e.hash) + "}");
    line(all.empty() ? "null" : "[" + json + "]");
  } else if (format_ == Format::kFields) {
    for (const EndpointHash& e : all) {
      header(e.hash.header());
      line("\"Endpoint\" : " + go_quote(e.endpoint));
      line("\"Hash\" : " + number(static_cast<uint64_t>(e.hash.hash())));
      line("\"HashRevision\" : " + number(e.hash.hash_revision()));
      line("");
    }
  } else {
    unsupported();
  }
}

// ---- files ----------------------------------------------------------------------------------------------------------

// Of what is no message: names and values in order, as Go prints such a struct.
void Printer::values(const std::vector<Value>& all) {
  auto joined = [&](auto&& each, const char* between) {
    std::string text;
    for (const Value& one : all) text += (text.empty() ? "" : between) + each(one);
    return text;
  };
  switch (format_) {
    case Format::kSimple:
      return line(joined([](const Value& one) { return one.shown; }, ", "));
    case Format::kTable: {
      std::vector<std::string> header, row;
      for (const Value& one : all) header.push_back(one.heading), row.push_back(one.shown);
      return out(table(header, {row}));
    }
    case Format::kFields:
      for (const Value& one : all) line("\"" + one.field + "\" : " + one.plain);
      return;
    case Format::kJson:
      return line("{" +
                  joined(
                      [](const Value& one) {
                        return "\"" + one.json + "\":" + (one.text ? json_string(one.plain) : one.plain);
                      },
                      ",") +
                  "}");
    case Format::kProtobuf:
      unsupported();
  }
}

void Printer::database_status(const bolt::Summary& s) {
  values({{"hash", "Hash", "hash", go_hex(s.hash), number(uint64_t{s.hash})},
          {"revision", "Revision", "revision", number(s.revision), number(s.revision)},
          {"total keys", "Keys", "totalKey", number(s.keys), number(s.keys)},
          {"total size", "Size", "totalSize", go_bytes(s.bytes), number(s.bytes)},
          {"version", "Version", "version", s.version, s.version, true}});
}

void Printer::database_hash(const bolt::KeyHash& h) {
  auto row = [](const char* heading, const char* field, const char* json, const std::string& value) {
    return Value{heading, field, json, value, value};
  };
  values({row("hash", "Hash", "hash", number(uint64_t{h.hash})),
          row("hash revision", "Hash revision", "hashRevision", number(h.revision)),
          row("compact revision", "Compact revision", "compactRevision", number(h.compact_revision))});
}

void Printer::move_leader(uint64_t leader, uint64_t target, const pb::MoveLeaderResponse& r) {
  if (simple()) return line("Leadership transferred from " + go_hex(leader) + " to " + go_hex(target));
  generic(r);
}

void Printer::downgrade(const std::string& verb, const pb::DowngradeResponse& r) {
  if (simple()) return line("Downgrade " + verb + " success, cluster version " + r.version());
  generic(r);
}

void Printer::alarm(const pb::AlarmResponse& r) {
  if (simple()) {
    for (const auto& a : r.alarms()) line(go_text(a));
  } else if (format_ == Format::kFields) {
    header(r.header());
    for (const auto& a : r.alarms()) {
      line("\"MemberID\" : " + id(a.memberid()));
      line("\"AlarmType\" : " + pb::AlarmType_Name(a.alarm()));
      line("");
    }
  } else {
    generic(r);
  }
}

// ---- users and roles ------------------------------------------------------------------------------------------------

void Printer::role_get(const std::string& role, const pb::AuthRoleGetResponse& r) {
  if (format_ == Format::kFields) {
    header(r.header());
    for (const auto& p : r.perm()) {
      line("\"PermType\" :  " + authpb::Permission_Type_Name(p.permtype()));
      line("\"Key\" : " + go_quote(p.key()));
      line("\"RangeEnd\" : " + go_quote(p.range_end()));
    }
    return;
  }
  if (!simple()) return generic(r);
  line("Role " + role);
  bool all = role == "root" && r.perm_size() == 0;
  auto rights = [&](const char* title, authpb::Permission::Type type) {
    line(title);
    if (all) return line("\t[, <open ended>");
    for (const auto& p : r.perm()) {
      if (p.permtype() != type && p.permtype() != authpb::Permission::READWRITE) continue;
      std::string text = "\t" + p.key();
      if (!p.range_end().empty()) {
        bool open = p.range_end() == std::string(1, '\0');
        text = "\t[" + p.key() + ", " + (open ? "<open ended>" : p.range_end() + ")");
        if (!p.key().empty() && prefix_end(p.key()) == p.range_end()) text += " (prefix " + p.key() + ")";
      }
      line(text);
    }
  };
  rights("KV Read:", authpb::Permission::READ);
  rights("KV Write:", authpb::Permission::WRITE);
}

void Printer::role_list(const pb::AuthRoleListResponse& r) {
  if (simple()) {
    for (const std::string& role : r.roles()) line(role);
  } else if (format_ == Format::kFields) {
    header(r.header());
    std::string text = "\"Roles\" :";
    for (const std::string& role : r.roles()) text += " " + go_quote(role);
    line(text);
  } else {
    generic(r);
  }
}

void Printer::role_revoke(const std::string& role, const std::string& key, const std::string& end,
                          const pb::AuthRoleRevokePermissionResponse& r) {
  std::string text = "Permission of key " + key;
  if (!end.empty())
    text = "Permission of range [" + key + ", " + (end == std::string(1, '\0') ? "<open ended>" : end + ")");
  done(text + " is revoked from role " + role, r);
}

void Printer::user_get(const std::string& user, const pb::AuthUserGetResponse& r) {
  if (!simple()) return generic(r);
  line("User: " + user);
  std::string text = "Roles:";
  for (const std::string& role : r.roles()) text += " " + role;
  line(text);
}

void Printer::user_list(const pb::AuthUserListResponse& r) {
  if (!simple()) return generic(r);
  for (const std::string& user : r.users()) line(user);
}

void Printer::auth_status(const pb::AuthStatusResponse& r) {
  if (!simple()) return generic(r);
  line(std::string("Authentication Status: ") + truth(r.enabled()));
  line("AuthRevision: " + number(r.authrevision()));
}

}  // namespace fairlead::ctl
