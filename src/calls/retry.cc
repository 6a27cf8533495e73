#include "calls/retry.h"

#include <algorithm>
#include <cmath>

namespace gridiron {

bool isWorthRetrying(OutcomeStatus status) {
  switch (status) {
    case OutcomeStatus::failure:
    case OutcomeStatus::timeout:
    case OutcomeStatus::internalFailure:
    case OutcomeStatus::memoryEviction:
      return true;
    default:
      return false;
  }
}

std::optional<Nanos> retryDelay(const RetryPolicy& policy, int attempt) {
  if (attempt >= policy.count) return std::nullopt;
  const double factor = std::pow(std::max(policy.backoff, 1.0), attempt);
  const double most = static_cast<double>(std::max(policy.max, Nanos{0}).count());
  const double wait = static_cast<double>(std::max(policy.initial, Nanos{0}).count()) * factor;
  return Nanos(static_cast<std::int64_t>(std::min(wait, most)));
}

}  // namespace gridiron
