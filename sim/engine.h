#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <queue>
#include <string>
#include <vector>

#include "base/clock.h"
#include "sim/random.h"

namespace gridiron::sim {

// Virtual time and what is to happen in it. Things due at one time happen in the order in which they were asked for.
class Engine {
 public:
  explicit Engine(std::uint64_t seed, bool tracing) : random(seed), tracing_(tracing) {}

  Time now() const { return clock.now(); }
  void at(Time when, std::function<void()> what) {
    events_.push(Event{std::max(when, now()), ++made_, std::move(what)});
  }
  void in(Nanos wait, std::function<void()> what) { at(now() + wait, std::move(what)); }
  bool idle() const { return events_.empty(); }
  Time next() const { return events_.top().when; }
  // The next thing happens.
  void step() {
    auto what = std::move(const_cast<Event&>(events_.top()).what);
    clock.advance(events_.top().when - now());
    events_.pop();
    ++steps;
    what();
  }

  bool tracing() const { return tracing_; }
  // Kept for a failure's report. Compose the text only when tracing().
  void note(std::string text) {
    const auto millis = toMillis(now()) - 1'700'000'000'000;
    trace_.push_back(fmt::format("  step {:4} {:9.3f} s  {}", steps, static_cast<double>(millis) / 1000, text));
    if (trace_.size() > 400) trace_.pop_front();
  }
  const std::deque<std::string>& trace() const { return trace_; }

  FakeClock clock;
  Random random;
  int steps = 0;

 private:
  struct Event {
    Time when;
    std::uint64_t number;
    std::function<void()> what;
    bool operator<(const Event& o) const { return when != o.when ? when > o.when : number > o.number; }
  };
  std::priority_queue<Event> events_;
  std::uint64_t made_ = 0;
  bool tracing_;
  std::deque<std::string> trace_;
};

}  // namespace gridiron::sim
