#pragma once

#include <chrono>
#include <cstdint>

namespace gridiron {

using Nanos = std::chrono::nanoseconds;
// Wall-clock time, UTC, nanoseconds since 1970.
using Time = std::chrono::time_point<std::chrono::system_clock, Nanos>;

// Tells the time to objects that decide by it. Passed by constructor so that tests and the simulator can move it.
class Clock {
 public:
  virtual ~Clock() = default;
  // Wall-clock time; never goes backwards within one process (a clock step back is held until caught up).
  virtual Time now() const = 0;
};

// The machine's clock. Any thread.
class SystemClock final : public Clock {
 public:
  Time now() const override;
};

// A clock that moves only when told. One thread.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(Time start = Time{std::chrono::seconds{1'700'000'000}}) : now_(start) {}
  Time now() const override { return now_; }
  void advance(Nanos by) { now_ += by; }

 private:
  Time now_;
};

inline std::int64_t toMillis(Time t) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(t.time_since_epoch()).count();
}
inline double toSeconds(Time t) { return std::chrono::duration<double>(t.time_since_epoch()).count(); }
inline Time fromMillis(std::int64_t millis) { return Time{std::chrono::milliseconds{millis}}; }

}  // namespace gridiron
