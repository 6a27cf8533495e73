#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "model/ids.h"
#include "model/resources.h"

namespace gridiron {

// starting: ordered, not yet asking for inputs. ready: asks for inputs (running some or idle). draining: finishes what
// it runs, gets nothing new. gone: ended.
enum class InstanceState { starting = 1, ready = 2, draining = 3, gone = 4 };

constexpr bool mayBecome(InstanceState from, InstanceState to) {
  return from != InstanceState::gone && static_cast<int>(to) > static_cast<int>(from);
}
static_assert(mayBecome(InstanceState::starting, InstanceState::draining), "stopped before it was ready");
static_assert(!mayBecome(InstanceState::draining, InstanceState::ready), "a draining container is never used again");
static_assert(!mayBecome(InstanceState::gone, InstanceState::starting));
const char* nameOf(InstanceState state);

// One named, measured part of a cold start, in order: "queue", then the worker's own ("image", "sandbox", …),
// "place" (a worker with room), …, "interpreter" (to ContainerHello), "import" (to the first FunctionGetInputs, less
// "enter", the hooks of a class). "import NAME" and "own import NAME" are parts of "import": packages, and modules of
// the app's own.
struct StartPhase {
  std::string name;
  Nanos took{};
  bool operator==(const StartPhase&) const = default;
};

// A container of a function.
struct Instance {
  InstanceId id;
  FunctionId function;
  AppId app;
  DefinitionId definition;
  WorkerId worker;
  Resources resources;
  InstanceState state = InstanceState::starting;
  Time wantedAt{};   // since when something waited for it
  Time orderedAt{};  // epoch below: not (yet)
  Time sandboxAt{};
  Time helloAt{};
  Time readyAt{};
  Time goneAt{};
  std::string why;  // of its end, for people
  int exitCode = 0;
  std::vector<StartPhase> phases;
  bool ahead = false;  // it was started before anything waited for it: plan/predict.h
  Time usedAt{};       // with `ahead`: given its first input
  bool operator==(const Instance&) const = default;
};

}  // namespace gridiron
