#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "net/http.h"

namespace gridiron::edge {

// Which web function a request asks for, as far as its address says.
struct FunctionAddress {
  std::string workspace;  // "" when the address does not name one ("/-/label/")
  std::string label;      // what follows "--" in the host's first label
  std::string rootPath;   // "/-/label" when it came by path, "" when the function has the whole host
  std::string domain{};   // instead of the others: a host name of the function's own
};

struct Route {
  enum class Kind { rpc, link, blobs, function, page };
  Kind kind = Kind::page;
  FunctionAddress function;  // with Kind::function
};

// Decides by the head alone, in this order: gRPC by its path (on any host), then `<workspace>--<label>` directly under
// `domain` or "localhost", then blob paths, then "/-/<label>[/…]" and "/-/<workspace>--<label>[/…]", else the page.
// `domain` is a host name without port ("localhost", "grid.example.org"). Host names compare without case; a port in
// the authority is ignored.
Route routeOf(const net::RequestHead& head, std::string_view domain);

// `authority` without its port and trailing dot, in lower case; IPv6 literals keep their brackets.
std::string hostOf(std::string_view authority);

class RequestBook;

// Everything that answers requests. `domain` as in routeOf.
struct RouterParts {
  std::string domain = "localhost";
  // What is served at this path of every host, before all else: what a certificate authority asks for. Unset: nothing.
  std::function<std::optional<std::string>(const std::string& path)> challenge{};
  // Is this who speaks HTTP where he should speak HTTPS? He is sent there with 308; gRPC, which follows no redirects,
  // is served. Unset: nobody is.
  std::function<bool(const net::RequestHead&)> insecure{};
  // Is it a function's own host name (in lower case, without port)? Unset: none is. All paths of such a host are the
  // function's, only clients' and workers' gRPC goes where it goes on every host.
  std::function<bool(const std::string& host)> ownHost{};
  // Follows requests that are not gRPC and not for functions (whose ingress does). Null: nobody does.
  RequestBook* book = nullptr;
  net::HttpHandler rpc;
  net::HttpHandler link;
  net::HttpHandler blobs;
  net::HttpHandler page;
  std::function<Task<void>(std::shared_ptr<net::Exchange>, FunctionAddress)> function;
};

// The door's one handler: gives each request to the part that its address names. A part that is not set answers 404.
net::HttpHandler makeRouter(RouterParts parts);

}  // namespace gridiron::edge
