#include "base/clock.h"

#include <atomic>

namespace gridiron {

Time SystemClock::now() const {
  static std::atomic<std::int64_t> latest{0};
  const auto read = std::chrono::duration_cast<Nanos>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::int64_t seen = latest.load(std::memory_order_relaxed);
  while (seen < read && !latest.compare_exchange_weak(seen, read, std::memory_order_relaxed)) {
  }
  return Time{Nanos{seen < read ? read : seen}};
}

}  // namespace gridiron
