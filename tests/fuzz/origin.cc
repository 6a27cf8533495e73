// Who a request comes from: PROXY headers, X-Forwarded-*, Forwarded, lists of networks.
#include "net/origin.h"

#include "tests/fuzz/fuzz.h"

FUZZ(origin) {
  using namespace gridiron::net;
  using gridiron::fuzz::require;
  static const TrustedPeers trusted = *TrustedPeers::parse({"127.0.0.0/8", "fd00::/8", "unix"});
  const auto header = readProxyHeader(bytes);
  if (header.ok() && *header) {
    require((*header)->length <= bytes.size() && (*header)->length >= 16, "a PROXY header lies in its bytes");
    require((*header)->port >= 0 && (*header)->port <= 65535, "a port");
    // With fewer bytes it is not refused, and not another one.
    const auto part = readProxyHeader(bytes.substr(0, (*header)->length - 1));
    require(part.ok() && !part->has_value(), "a PROXY header is read when it is whole");
  }
  RequestHead head;
  head.peerHost = "127.0.0.1";
  head.scheme = "http";
  const auto middle = bytes.size() / 2;
  head.headers.add("x-forwarded-proto", std::string(bytes.substr(middle)));
  if (bytes.size() % 2 == 0) head.headers.add("x-forwarded-for", std::string(bytes));
  head.headers.add("forwarded", std::string(bytes));
  resolveOrigin(head, trusted);
  require(head.scheme == "http" || head.scheme == "https", "a scheme is one of two");
  require(head.peerHost.find_first_not_of("0123456789abcdefABCDEF.:") == std::string::npos, "a peer is an address");
  const auto networks = TrustedPeers::parse({std::string(bytes)});
  if (networks.ok()) (void)networks->has("10.1.2.3");
}
