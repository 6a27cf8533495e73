#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "model/ids.h"
#include "model/resources.h"

namespace gridiron {

// A machine that runs containers, as it described itself.
struct Worker {
  WorkerId id;
  std::string host;
  std::int64_t milliCpu = 0;
  std::int64_t memoryMb = 0;
  std::vector<std::string> gpus;  // type of each
  Time connectedAt{};
};

}  // namespace gridiron
