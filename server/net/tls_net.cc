#include "server/net/tls_net.h"

namespace fairlead::net {

std::unique_ptr<io::Stream> TlsNet::connect(const std::string& address) {
  if (!address.starts_with(kTlsAddressPrefix)) return below_.connect(address);
  Result<TlsDial> dial = dial_();
  if (!dial.is_ok()) return below_.connect(address);  // no address that it knows: the stream fails
  std::string below = address.substr(kTlsAddressPrefix.size());
  return TlsStream::client(loop_, below_.connect(below), dial->context, dial->gate, host_of_address(below));
}

}  // namespace fairlead::net
