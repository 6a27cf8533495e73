#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace gridiron {

// What a container asks for, and what a worker has or has left.
struct Resources {
  std::int64_t milliCpu = 0;
  std::int64_t memoryMb = 0;
  std::string gpuType;  // "H100", "A100-80GB", "ANY"; "" when gpuCount is 0
  int gpuCount = 0;
  std::int64_t milliCpuLimit = 0;  // enforced; 0 = none
  std::int64_t memoryLimitMb = 0;

  bool operator==(const Resources&) const = default;
};

}  // namespace gridiron
