#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/fd.h"
#include "net/http.h"
#include "net/origin.h"
#include "net/tls.h"

namespace gridiron::net {

struct RefusedConnections {
  std::uint64_t full = 0, ofAddress = 0;  // beyond maxConnections, maxOfAddress
  std::string last;                       // who was refused last
};

struct DoorOptions {
  // With TLS a plaintext connection is still recognised and served. The first certificate is shown to who asks for no
  // name, or for one that no certificate has. Files that change are read again within seconds.
  std::vector<TlsFiles> tls;
  // Changed files were read, or why the old ones stay in force.
  std::function<void(const Result<void>&)> onCertificates;
  // What these say of whom they speak for is believed: X-Forwarded-*, Forwarded, and PROXY protocol 2 before all else.
  TrustedPeers trusted;
  // Who comes when there are so many gets 503 (nothing, at a door with TLS) and is closed. Trusted peers have a tenth
  // more.
  std::size_t maxConnections = 10'000;
  std::size_t maxOfAddress = 0;  // connections of one address that is not trusted; 0: any number
  // Some were refused since the last time; at most once a minute.
  std::function<void(const RefusedConnections&)> onRefused;
  std::size_t maxHeaderBytes = 64 * 1024;        // above: 431
  std::size_t maxBufferedBody = 1024 * 1024;     // per request, before the peer is held back
  Nanos headTimeout = std::chrono::seconds(20);  // a head that is not complete by then: 408 and closed
  // Nothing comes of a body that a handler waits for, before it has begun to answer: 408 and closed; an HTTP/2 stream
  // is reset. gRPC has deadlines of its own.
  Nanos bodyTimeout = std::chrono::minutes(1);
  Nanos idleTimeout = std::chrono::minutes(10);  // no request in progress
};

// Listens and speaks HTTP/1.1 and HTTP/2 on one port, deciding by the first bytes (and by ALPN under TLS). Every
// request becomes an Exchange given to the handler in a coroutine of its own. One io_context, its thread only.
class Door {
 public:
  Door(asio::io_context& io, DoorOptions options, HttpHandler handler);
  ~Door();  // closes everything at once

  // "127.0.0.1:8400", "[::]:8400", "unix:/path"; port 0 picks one. Gives the address as bound. Errors name the address.
  Result<std::string> listen(const std::string& address);
  // An already listening socket (made inside a container's network namespace).
  Result<void> adopt(Fd listening);

  // No new connections; HTTP/2 gets GOAWAY, HTTP/1.1 "connection: close"; returns when the last exchange has ended or
  // after `grace`, when the rest is cut. An HTTP/2 connection with calls in progress gets its GOAWAY when they have
  // ended or half of `grace` has passed: the Python client drops its calls when it hears it.
  Task<void> drain(Nanos grace);

  std::size_t connections() const;
  // Since it began.
  const RefusedConnections& refused() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace gridiron::net
