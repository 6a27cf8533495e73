#pragma once

#include <optional>

#include "base/clock.h"
#include "model/call.h"
#include "model/function.h"

namespace gridiron {

// May another attempt change it? Not for success, for what was cancelled, and when containers cannot start.
bool isWorthRetrying(OutcomeStatus status);

// How long to wait before the attempt after `attempt` (0: the first) that failed; empty when there is none left.
std::optional<Nanos> retryDelay(const RetryPolicy& policy, int attempt);

}  // namespace gridiron
