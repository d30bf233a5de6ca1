// An io::Net that dials TLS where the address asks for it: "tls:HOST:PORT" and "tls:unix:PATH" are connected to by the
// net below and wrapped; every other address is left to it. So whoever dials need not know of TLS.
//
// The server's certificate must name HOST and be signed by an authority of the context.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "server/net/tls_stream.h"

namespace fairlead::net {

constexpr std::string_view kTlsAddressPrefix = "tls:";

struct TlsDial {
  std::shared_ptr<TlsContext> context;
  std::shared_ptr<TlsGate> gate;
};

class TlsNet final : public io::Net {
 public:
  // `dial` is asked at each TLS connection: whoever never dials one pays nothing.
  TlsNet(io::Loop& loop, io::Net& below, std::function<Result<TlsDial>()> dial)
      : loop_(loop), below_(below), dial_(std::move(dial)) {}
  // As it is: servers wrap what they accept themselves (Server::listen).
  Result<std::unique_ptr<io::Listener>> listen(const std::string& address,
                                               std::function<void(std::unique_ptr<io::Stream>)> on_accept) override {
    return below_.listen(address, std::move(on_accept));
  }
  std::unique_ptr<io::Stream> connect(const std::string& address) override;

 private:
  io::Loop& loop_;
  io::Net& below_;
  std::function<Result<TlsDial>()> dial_;
};

}  // namespace fairlead::net
