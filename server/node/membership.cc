#include "server/node/membership.h"

#include <openssl/evp.h>

#include <algorithm>

#include "base/codec.h"

namespace fairlead::node {
namespace {

constexpr uint8_t kMemberFormat = 1;
constexpr uint8_t kConfigFormat = 3;  // 1: without a log of changes; 2: without applied requests
constexpr size_t kUrlsMax = 64;

void put_list(std::string& out, const std::vector<std::string>& list) {
  put_varint(out, list.size());
  for (const std::string& s : list) put_lengthed(out, s);
}

bool read_list(Reader& in, std::vector<std::string>& list) {
  uint64_t n = in.varint();
  if (!in.ok() || n > kUrlsMax) return false;
  for (uint64_t i = 0; i < n; ++i) list.emplace_back(in.lengthed());
  return in.ok();
}

}  // namespace

uint64_t sha1_prefix(std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  CHECK(EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha1(), nullptr) == 1 && size >= 8);
  uint64_t out = 0;
  for (int i = 0; i < 8; ++i) out = out << 8 | digest[i];
  return out;
}

std::string encode_member(const Member& m) {
  std::string out;
  put_fixed<uint8_t>(out, kMemberFormat);
  put_fixed(out, m.id.value);
  put_lengthed(out, m.name);
  put_list(out, m.peer_urls);
  put_list(out, m.client_urls);
  put_fixed<uint8_t>(out, m.is_learner);
  put_fixed(out, m.store.value);
  put_varint(out, m.start_counter);
  return out;
}

Result<Member> decode_member(std::string_view bytes) {
  Reader in(bytes);
  Member m;
  if (in.fixed<uint8_t>() != kMemberFormat) return data_loss("a member record has an unknown format");
  m.id = MemberId(in.fixed<uint64_t>());
  m.name = in.lengthed();
  if (!read_list(in, m.peer_urls) || !read_list(in, m.client_urls)) return data_loss("a member record is damaged");
  m.is_learner = in.fixed<uint8_t>() != 0;
  m.store = StoreId(in.fixed<uint64_t>());
  m.start_counter = in.varint();
  if (!in.ok() || !in.at_end()) return data_loss("a member record is damaged");
  return m;
}

std::string encode_cluster_config(const raft::Configuration& raft, const MemberMap& members,
                                  const std::vector<MemberId>& removed, const ChangeLog& changes,
                                  const AppliedRequests& requests) {
  std::string out;
  put_fixed<uint8_t>(out, kConfigFormat);
  std::string raft_config;
  raft.encode(raft_config);
  put_lengthed(out, raft_config);
  put_varint(out, members.size());
  for (const auto& [id, member] : members) put_lengthed(out, encode_member(member));
  put_varint(out, removed.size());
  for (MemberId id : removed) put_fixed(out, id.value);
  put_varint(out, changes.fence);
  put_varint(out, changes.done.size());
  for (const ChangeLog::Done& done : changes.done) {
    put_lengthed(out, done.request_id);
    put_fixed<uint8_t>(out, static_cast<uint8_t>(done.kind));
    put_fixed(out, done.member.value);
  }
  requests.encode(out);
  return out;
}

Result<ClusterConfig> decode_cluster_config(std::string_view bytes) {
  Reader in(bytes);
  auto format = in.fixed<uint8_t>();
  if (format < 1 || format > kConfigFormat) return data_loss("the manifest's configuration has an unknown format");
  ClusterConfig out;
  ASSIGN_OR_RETURN(out.raft, raft::Configuration::decode(in.lengthed()));
  for (uint64_t n = in.varint(); in.ok() && n > 0; --n) {
    ASSIGN_OR_RETURN(Member member, decode_member(in.lengthed()));
    MemberId id = member.id;
    out.members.emplace(id, std::move(member));
  }
  for (uint64_t n = in.varint(); in.ok() && n > 0; --n) out.removed.push_back(MemberId(in.fixed<uint64_t>()));
  if (format >= 2) {
    out.changes.fence = in.varint();
    for (uint64_t n = in.varint(); in.ok() && n > 0; --n) {
      ChangeLog::Done& done = out.changes.done.emplace_back();
      done.request_id = in.lengthed();
      done.kind = static_cast<ChangeKind>(in.fixed<uint8_t>());
      done.member = MemberId(in.fixed<uint64_t>());
    }
  }
  if (in.ok() && format >= 3) {
    ASSIGN_OR_RETURN(out.requests, AppliedRequests::decode(in));
  }
  if (!in.ok()) return data_loss("the manifest's configuration is malformed");
  return out;
}

std::vector<std::string> addresses_of(const std::vector<std::string>& urls) {
  std::vector<std::string> out;
  for (const std::string& url : urls) {
    size_t at = url.find("://");
    std::string rest = at == std::string::npos ? url : url.substr(at + 3);
    bool tls = url.starts_with("https://") || url.starts_with("unixs://");
    out.push_back((tls ? "tls:" : "") + std::string(url.starts_with("unix") ? "unix:" : "") + rest);
  }
  return out;
}

MemberId bootstrap_member_id(std::vector<std::string> peer_urls, std::string_view token) {
  std::sort(peer_urls.begin(), peer_urls.end());
  std::string joined;
  for (const std::string& url : peer_urls) joined += url;
  joined += token;
  return MemberId(sha1_prefix(joined));
}

ClusterId bootstrap_cluster_id(std::vector<MemberId> members) {
  std::sort(members.begin(), members.end());
  std::string joined;
  for (MemberId id : members)
    for (int shift = 56; shift >= 0; shift -= 8) joined.push_back(static_cast<char>(id.value >> shift));
  return ClusterId(sha1_prefix(joined));
}

Result<MemberMap> bootstrap_members(const std::map<std::string, std::vector<std::string>>& initial_cluster,
                                    std::string_view token) {
  MemberMap out;
  for (const auto& [name, urls] : initial_cluster) {
    Member m;
    m.peer_urls = urls;
    std::sort(m.peer_urls.begin(), m.peer_urls.end());
    m.id = bootstrap_member_id(m.peer_urls, token);
    if (auto [it, fresh] = out.emplace(m.id, m); !fresh)
      return invalid_argument("--initial-cluster: member '" + name + "' has the same peer URLs as another member");
  }
  return out;
}

}  // namespace fairlead::node
