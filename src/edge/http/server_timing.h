#pragma once

#include <span>
#include <string>

#include "base/clock.h"

namespace gridiron::edge {

struct TimedPhase {
  std::string name;
  Nanos took{};
  std::string note = {};
};

// The value of a Server-Timing header, in milliseconds: "queue;dur=0.4, boot;dur=0.3;desc=\"no zygote\", run;dur=12.0".
// Phases of negative length are left out; characters that a name or a note may not hold become '-' or ' '.
std::string serverTiming(std::span<const TimedPhase> phases);

}  // namespace gridiron::edge
