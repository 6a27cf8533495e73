#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/protocol.h"

struct ssl_ctx_st;
struct ssl_method_st;
struct ssl_st;

namespace gridiron::net {

struct TlsFiles {
  std::string certificate;  // PEM chain
  std::string key;          // PEM
};

// Certificates and settings that many connections share. Immutable once made.
class TlsContext {
 public:
  // A server that selects h2 or http/1.1 when the peer offers ALPN, and the certificate of the name that it asks for,
  // else the first. At least one. Errors name the file.
  static Result<std::shared_ptr<TlsContext>> server(const std::vector<TlsFiles>& certificates);
  // A client that trusts the system's authorities, or those of `caFile` when it is not empty.
  static Result<std::shared_ptr<TlsContext>> client(const std::string& caFile);

  TlsContext() = default;
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  ssl_ctx_st* raw() const { return raw_.front(); }

 private:
  Result<ssl_ctx_st*> add(const ssl_method_st* method);
  static int chooseByName(ssl_st* ssl, int* alert, void* self);

  std::vector<ssl_ctx_st*> raw_;  // one a certificate
};

// The certificates of a server in files that may be replaced while it runs. Loop thread only.
class Certificates {
 public:
  // Errors as TlsContext::server.
  static Result<Certificates> open(std::vector<TlsFiles> files);
  const std::shared_ptr<TlsContext>& context() const { return context_; }
  // To be called every now and then: reads files that have changed since they were read, once they no longer change
  // between two calls. Nothing when there was nothing to read; an error when what is there now is not usable, and the
  // old ones stay.
  std::optional<Result<void>> refresh();

 private:
  std::string fingerprint() const;

  std::vector<TlsFiles> files_;
  std::shared_ptr<TlsContext> context_;
  std::string read_, seen_;  // fingerprints: when last read, and when last looked at
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
