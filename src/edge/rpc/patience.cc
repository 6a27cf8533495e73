#include "edge/rpc/patience.h"

#include <fmt/format.h>

namespace gridiron::edge {

// What is left for the answer's way back when a caller gave a deadline.
constexpr Nanos kBeforeDeadline = std::chrono::milliseconds(250);

Patience::Patience(Wakes& wakes, net::GrpcServerCall& call, Nanos most)
    : wakes_(wakes), call_(call), gone_{fmt::format("gone {}", fmt::ptr(this))} {
  renew(most);
  call.onCancel([&wakes, gone = gone_] { wakes.ring(gone); });
}

Patience::~Patience() { call_.onCancel({}); }

void Patience::renew(Nanos most) {
  if (auto left = call_.timeLeft()) most = std::min(most, *left - kBeforeDeadline);
  until_ = std::chrono::steady_clock::now() + std::max(most, Nanos::zero());
}

bool Patience::over() const { return call_.cancelled() || std::chrono::steady_clock::now() >= until_; }

Task<void> Patience::wait(std::vector<Wake> wakes, Nanos most) {
  wakes.push_back(gone_);
  Nanos left = until_ - std::chrono::steady_clock::now();
  (void)co_await wakes_.wait(std::move(wakes), std::min(left, most));
}

}  // namespace gridiron::edge
