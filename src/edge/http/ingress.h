#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/loop.h"
#include "calls/calls.h"
#include "edge/http/followed.h"
#include "edge/http/lanes.h"
#include "edge/http/limits.h"
#include "edge/http/router.h"
#include "edge/http/webhooks.h"
#include "edge/rpc/wakes.h"
#include "fleet/fleet.h"
#include "model/function.h"
#include "net/http.h"

namespace gridiron::edge {

// A web function, or one web method of a class.
struct WebTarget {
  std::shared_ptr<const Function> function;
  std::string method;  // "" for plain functions
  WebEndpoint web;
};

struct IngressParts {
  asio::io_context& io;
  Calls& calls;
  Fleet& fleet;
  Wakes& wakes;  // an observer of both
  const Clock& clock;
  std::string domain = "localhost";  // for texts
  // The function in force that answers at an address.
  std::function<std::optional<WebTarget>(const FunctionAddress&)> find = {};
  // The class instance that a query's fields name, for web methods of classes. Unset: classes have no parameters.
  std::function<Result<std::shared_ptr<const Function>>(const Function& service,
                                                        const std::map<std::string, std::string>& query)>
      instance = {};
  // Is this proxy token good for the function? Unset: no token is.
  std::function<bool(const Function&, const std::string& tokenId, const std::string& tokenSecret)> proxyToken = {};
  // Bytes of a blob that a container answered with. Unset: such answers fail.
  std::function<Task<Result<std::string>>(const BlobId&)> blob = {};
  // Which functions take signed requests only. Null: none.
  WebhookGuard* webhooks = nullptr;
  // The containers' fast lanes. Null: every request is asked for by its container.
  Lanes* lanes = nullptr;
  // Counts requests and writes the access log. Null: nobody does.
  RequestBook* book = nullptr;
  // How many requests are let through. Null: all.
  RequestLimiter* limits = nullptr;
  // A line for the log of the function's app. Unset: nobody reads it.
  std::function<void(const Function&, const std::string& line)> tell = {};
  Nanos extraWait = std::chrono::minutes(5);  // for a place on a worker, beside the function's own time-outs
  Nanos firstChunkAfter = std::chrono::seconds(2);
};

// Turns HTTP requests into calls: one call with one input, whose data streams are the request's body and the response.
// A request is held while a container starts. When the peer hangs up the app is told (http_disconnect) and the input is
// cancelled; when the container ends before it answered, the peer gets a readable text, after that a cut connection.
// Every response carries Server-Timing. Loop thread only; must outlive the exchanges it serves. What a request may cost
// is checked from the cheapest on: limits of its address, proxy token, signature, limits of the function.
class Ingress {
 public:
  explicit Ingress(IngressParts parts) : parts_(std::move(parts)) {}

  Task<void> serve(std::shared_ptr<net::Exchange> exchange, FunctionAddress address);

 private:
  IngressParts parts_;
};

}  // namespace gridiron::edge
