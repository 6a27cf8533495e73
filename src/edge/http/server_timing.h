#pragma once

#include <span>
#include <string>

#include "base/clock.h"

namespace gridiron::edge {

struct TimedPhase {
  std::string name;
  Nanos took{};
};

// The value of a Server-Timing header, in milliseconds: "queue;dur=0.4, run;dur=12.0". Phases of negative length are
// left out; characters that a token may not hold become '-'.
std::string serverTiming(std::span<const TimedPhase> phases);

}  // namespace gridiron::edge
