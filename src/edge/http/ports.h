#pragma once

#include <string>

#include "base/fd.h"
#include "base/loop.h"
#include "base/result.h"

namespace gridiron::edge {

// Connects to `port` inside the container whose worker gives out sockets at `path` (worker/ports): at the container's
// own address, else, when nobody listens there, at its loopback. notFound: nobody listens. unavailable: no connection
// came about in time, or the worker is not there. Takes a few seconds at most.
Task<Result<Fd>> dialInside(asio::io_context& io, std::string path, int port);

}  // namespace gridiron::edge
