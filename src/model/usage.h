#pragma once

#include <string>

#include "base/clock.h"
#include "model/ids.h"
#include "model/resources.h"

namespace gridiron {

enum class UsageKind { container = 1, input = 2 };

// A fact that costs: a container from ready to gone, or an input's run. Written once more with the same id, it
// replaces.
struct UsageRecord {
  std::string id;  // the container's or the input's id; an input's attempts have "/1"… behind it
  UsageKind kind = UsageKind::container;
  AppId app;
  FunctionId function;
  InstanceId instance;
  Resources resources;
  Time queuedAt{};   // input: accepted; container: ordered
  Time startedAt{};  // input: handed to a container; container: ready. Epoch: never
  Time endedAt{};    // epoch: not yet
  std::string outcome;
  CallId call;         // input: of it
  std::string method;  // input: of a class; "" for plain functions
  bool ahead = false;  // container: started before anything waited for it
  Time usedAt{};       // with `ahead`: when it got its first input
  bool operator==(const UsageRecord&) const = default;
};

}  // namespace gridiron
