#pragma once

#include <algorithm>
#include <chrono>

#include "edge/rpc/server.h"
#include "edge/rpc/wakes.h"

namespace gridiron::edge {

// How long one RPC may wait: until `most` has passed, its caller's deadline is near, or the caller is gone.
//
//   Patience patience(wakes, context.call, std::chrono::seconds(10));
//   for (;;) { look; if (patience.over()) …; co_await patience.wait({Wake::outputs(call)}); }
class Patience {
 public:
  Patience(Wakes& wakes, net::GrpcServerCall& call, Nanos most);
  Patience(const Patience&) = delete;
  Patience& operator=(const Patience&) = delete;
  ~Patience();

  bool over() const;  // no use in waiting longer
  // Ends when one of the wakes is rung, over() has become true or `most` has passed.
  Task<void> wait(std::vector<Wake> wakes, Nanos most = std::chrono::hours(1));
  // Starts again with `most`, but never beyond the caller's deadline.
  void renew(Nanos most);

 private:
  Wakes& wakes_;
  net::GrpcServerCall& call_;
  Wake gone_;
  std::chrono::steady_clock::time_point until_;
};

}  // namespace gridiron::edge
