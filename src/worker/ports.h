#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/fd.h"
#include "base/loop.h"
#include "base/result.h"

namespace gridiron::worker {

// Leads to the ports of one container: whoever connects to the unix socket `ports` in a folder of the worker's (never
// one that a container sees) is sent one byte and, beside it, a TCP socket of the container's network namespace, which
// is not connected yet (edge/http/ports connects it). Loop thread only.
class Ports {
 public:
  Ports(asio::io_context& io, std::function<Result<Fd>()> socketInside);
  ~Ports();  // nobody is let in any more; sockets that were given out go on
  Result<void> listen(const std::string& folder);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace gridiron::worker
