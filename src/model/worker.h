#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "model/ids.h"
#include "model/resources.h"

namespace gridiron {

// A process that containers of an image are forked from.
struct ZygoteView {
  ImageId image;
  std::string clientVersion;
  std::int64_t memoryBytes = 0;
  std::int64_t starts = 0;
  Time begunAt{};
  int parked = 0;  // containers that wait for the next starts
  std::int64_t parkedBytes = 0;
  std::vector<std::string> leftOut;  // modules that starts import themselves, with the reason: "grpc (…)"
};

// A machine that runs containers, as it described itself.
struct Worker {
  WorkerId id;
  std::string host;
  std::int64_t milliCpu = 0;
  std::int64_t memoryMb = 0;
  std::vector<std::string> gpus;  // type of each
  Time connectedAt{};
  std::vector<ZygoteView> zygotes;
  std::int64_t zygoteLimitBytes = 0;  // of the memory of all of them; 0 = it keeps none
};

}  // namespace gridiron
