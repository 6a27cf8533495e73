#pragma once

#include <functional>
#include <memory>
#include <string>

#include "net/grpc.h"
#include "net/http.h"

namespace gridiron::worker {

// Passes on what one container asks at its own door to control, vouching for which container it was. gRPC calls go
// message by message over a channel to it, both ways as they come, with the caller's metadata (but nothing that starts
// with x-gridiron-), its deadline and its cancellation; the answer's trailers come back as control sent them. Other
// requests (bytes of blobs) go over a connection of their own to control's address. Loop thread only.
struct Relay {
  asio::io_context& io;
  std::function<net::GrpcChannel&(const std::string& path)> channelFor;
  std::string controlUrl;
  std::string caFile;
  net::Headers credentials;  // the worker's and the task's; added to everything that is passed on
  // Waited for before a call is passed on; gets its path.
  std::function<Task<void>(const std::string& path)> before;
};

Task<void> relayExchange(std::shared_ptr<const Relay> relay, std::shared_ptr<net::Exchange> exchange);

// The parts.
Task<void> relayGrpc(std::shared_ptr<const Relay> relay, std::shared_ptr<net::Exchange> exchange);
Task<void> relayHttp(std::shared_ptr<const Relay> relay, std::shared_ptr<net::Exchange> exchange);

}  // namespace gridiron::worker
