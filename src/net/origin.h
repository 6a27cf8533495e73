#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/http.h"

namespace gridiron::net {

// Peers whose word about whom they speak for is taken: the proxies before a door. A value; any thread.
class TrustedPeers {
 public:
  // Each an address or a network ("10.0.0.0/8", "::1", "fd00::/8"), or "unix" for unix sockets. Errors name the one
  // that is none.
  static Result<TrustedPeers> parse(const std::vector<std::string>& networks);
  // `host` as in RequestHead::peerHost.
  bool has(std::string_view host) const;

 private:
  using Bytes = std::array<std::uint8_t, 16>;  // IPv4 as ::ffff:a.b.c.d
  struct Network {
    Bytes address{};
    int bits = 0;
  };
  static std::optional<Bytes> bytesOf(std::string_view host);

  std::vector<Network> networks_;
  bool unix_ = false;
};

// Who sent a request and by which scheme, when its peer is a trusted proxy: X-Forwarded-For and X-Forwarded-Proto, else
// Forwarded (RFC 7239). Of a chain the nearest address that is not trusted itself counts, since what stands before it
// is that one's own claim. Changes peerHost, peerPort (0: not known) and scheme, or nothing.
void resolveOrigin(RequestHead& head, const TrustedPeers& trusted);

// The header of PROXY protocol, version 2 (haproxy's proxy-protocol.txt), by which a proxy of bytes says for whom it
// speaks.
struct ProxyHeader {
  std::size_t length = 0;  // of the header
  std::string host;        // "" when the proxy speaks for itself, or for something that has no address
  int port = 0;
};
// Are these bytes the start of such a header, as far as they go?
bool beginsProxyHeader(std::string_view bytes);
// Nothing when more bytes are needed; invalidArgument for what is malformed or longer than 4 KiB.
Result<std::optional<ProxyHeader>> readProxyHeader(std::string_view bytes);

}  // namespace gridiron::net
