#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/protocol.h"

struct ssl_ctx_st;

namespace gridiron::net {

// Certificates and settings that many connections share. Immutable once made.
class TlsContext {
 public:
  // A server that selects h2 or http/1.1 when the peer offers ALPN. Errors name the file.
  static Result<std::shared_ptr<TlsContext>> server(const std::string& certificate, const std::string& key);
  // A client that trusts the system's authorities, or those of `caFile` when it is not empty.
  static Result<std::shared_ptr<TlsContext>> client(const std::string& caFile);

  explicit TlsContext(ssl_ctx_st* raw) : raw_(raw) {}
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  ssl_ctx_st* raw() const { return raw_; }

 private:
  ssl_ctx_st* raw_;
};

// TLS around another protocol, which `makeInner` gives when the handshake is done; `alpn` is what was selected, "" if
// nothing was. A null inner protocol ends the connection.
using MakeInner = std::function<std::unique_ptr<Protocol>(const std::string& alpn, Carrier& carrier)>;
std::unique_ptr<Protocol> makeTlsServer(const std::shared_ptr<TlsContext>& context, Carrier& carrier, Instant deadline,
                                        MakeInner makeInner);
// Checks that the peer's certificate is valid for `host`. `failure` is filled when the handshake fails.
std::unique_ptr<Protocol> makeTlsClient(const std::shared_ptr<TlsContext>& context, Carrier& carrier,
                                        const std::string& host, std::shared_ptr<std::string> failure,
                                        MakeInner makeInner);

}  // namespace gridiron::net
