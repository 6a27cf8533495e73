#pragma once

#include <optional>
#include <vector>

#include "base/clock.h"
#include "model/function.h"
#include "model/ids.h"

namespace gridiron::plan {

struct ReadyContainer {
  InstanceId id;
  int held = 0;  // inputs it runs
  Time idleSince{};
};

// What is known of one function when it is decided upon. Of draining containers only their number is told.
struct FunctionView {
  FunctionId function;
  Scaling scaling;
  int slots = 1;  // inputs one container is meant to run at once
  int queued = 0;
  int running = 0;
  Time oldestQueued{};
  Nanos runTime{};     // that an input takes of late; 0: nobody knows
  Nanos runningFor{};  // each of those that run now has taken so long already, or longer
  int starting = 0;
  std::vector<ReadyContainer> ready;
  int leaving = 0;   // drain, but still run something: they count for the maximum
  int failures = 0;  // starts that failed, in a row
  Time lastFailure{};
  int ahead = 0;  // that shall be there though nothing waits: something is expected
};

struct Scale {
  int start = 0;
  std::vector<InstanceId> drain;  // idle ones, the longest idle first
  std::optional<Time> again;      // look again then, even if nothing happens
  int ahead = 0;                  // of `start`, those for what is expected only
  bool operator==(const Scale&) const = default;
};

// How many containers to start or which to let go. Starts no more than the queue can use beyond the free and starting
// slots, and of inputs that are known to be short no more than run the queue in a second (about what a container takes
// to come), twice as many with every second that the oldest has waited all the same; what runs longer than a second is
// not short any more. Keeps the minimum and (while in use) the buffer, never exceeds the maximum, lets idle ones go
// after the window. A function whose starts fail gets one start at a time, after backoff(failures).
Scale scale(const FunctionView& view, Time now);

// 1 s, doubled with every further failure, at most a minute; 0 without one.
Nanos backoff(int failures);

}  // namespace gridiron::plan
