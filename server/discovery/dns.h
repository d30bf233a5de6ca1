// Names and SRV records from the system's resolver. Blocking: called on a worker only.
//
// Protocol: RFC 1035 (messages), RFC 2782 (SRV). Answers come from the network: parse_srv_answer trusts nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fairlead::discovery {

constexpr size_t kSrvRecordsMax = 1024;  // of one answer

struct SrvRecord {
  std::string target;  // without the dot at its end
  uint16_t port = 0;
  uint16_t priority = 0;  // the lowest goes first
  uint16_t weight = 0;    // among those of one priority
  bool operator==(const SrvRecord&) const = default;
};

std::string host_port(const std::string& host, uint16_t port);  // "[v6]:port" where it must be

class Resolver {
 public:
  virtual ~Resolver() = default;
  // kNotFound: there is no such name or record; kUnavailable: no answer now.
  virtual Result<std::vector<SrvRecord>> srv(const std::string& name) = 0;
  // Each address of the host as "ADDRESS:PORT"; numbers need no name server.
  virtual Result<std::vector<std::string>> addresses(const std::string& host, const std::string& port) = 0;
};

std::unique_ptr<Resolver> system_resolver();

// The records of a DNS message that answers a question for SRV. kDataLoss: the message is malformed.
Result<std::vector<SrvRecord>> parse_srv_answer(std::string_view message);

}  // namespace fairlead::discovery
