#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "model/ids.h"
#include "model/resources.h"

namespace gridiron::plan {

// A worker with what nobody has reserved on it, and with all it has.
struct WorkerView {
  WorkerId id;
  std::int64_t freeMilliCpu = 0, allMilliCpu = 0;
  std::int64_t freeMemoryMb = 0, allMemoryMb = 0;
  std::vector<std::string> freeGpus, allGpus;
};

struct Placement {
  WorkerId worker;
  Resources reserved;  // as asked, but no more CPU than the worker has in all
  bool operator==(const Placement&) const = default;
};

// Where containers go, one answer a want in the order asked; empty where there is no room now. Packs: the fullest
// worker that still has room, those with GPUs last for work that needs none. A want for more CPU than a machine has
// takes the whole machine: CPU is shared, memory and GPUs are not.
std::vector<std::optional<Placement>> place(std::span<const Resources> wants, std::vector<WorkerView> workers);

// Could `want` be placed if everything on the workers went away? Says for people what is missing when not. With no
// worker at all it could: one may come.
std::optional<std::string> impossible(const Resources& want, std::span<const WorkerView> workers);

struct Evictable {
  InstanceId id;
  WorkerId worker;
  Resources reserved;
  Time idleSince{};
};

// The idle containers that should go to make room for `want`: all of one worker, as few as do, longest idle first.
// Empty when that would not do.
std::vector<InstanceId> evict(const Resources& want, std::span<const WorkerView> workers, std::vector<Evictable> idle);

// Is a GPU of type `has` one of type `wanted`? "ANY" takes all, "A100" any of its sizes, "H100!" only that.
bool gpuFits(const std::string& wanted, const std::string& has);

}  // namespace gridiron::plan
