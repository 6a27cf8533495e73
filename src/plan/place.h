#pragma once

#include <cstdint>
#include <map>
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

// Places containers on the workers of one snapshot, one after another, each beside those before it. Packs: the fullest
// worker that still has room; what needs no GPU goes to those with the fewest, and what needs one leaves workers alone
// whose GPUs are all free, for those that need many. A want for more CPU than a machine has takes the whole machine:
// CPU is shared, memory and GPUs are not. A placement looks at each worker once, by numbers alone: some microseconds
// among a thousand of them.
class Placer {
 public:
  explicit Placer(std::vector<WorkerView> workers);
  enum class Crowded { avoid, take };
  // Where it goes, which is taken from then on; empty where there is no room now, or only on crowded workers.
  std::optional<Placement> place(const Resources& want, Crowded crowded = Crowded::avoid);
  // Is there room, on crowded workers too?
  bool fits(const Resources& want) { return find(want, Crowded::take).has_value(); }
  // It has enough to do for now.
  void crowd(const WorkerId& worker);
  // Nothing more goes there.
  void withhold(const WorkerId& worker);

 private:
  using Model = std::uint16_t;  // of a GPU, by its place in models_
  struct Row {                  // what a placement looks at
    std::int64_t freeMilliCpu, allMilliCpu, freeMemoryMb;
    std::int32_t freeGpus, allGpus;
    bool crowded;
  };
  std::optional<std::size_t> find(const Resources& want, Crowded crowded);
  Row* rowOf(const WorkerId& worker);
  Model modelOf(const std::string& gpu);
  const std::vector<bool>& fitting(const std::string& wanted);
  static bool hasRoom(const Row& row, const Resources& want);
  int gpusFitting(std::size_t worker, const std::vector<bool>& fits) const;
  void take(std::size_t worker, const Resources& reserved, const std::vector<bool>& fits);

  std::vector<Row> rows_;  // by id, so that equal inputs give equal plans
  std::vector<WorkerId> ids_;
  std::vector<std::vector<Model>> freeGpus_;
  std::vector<std::string> models_;
  std::map<std::string, std::vector<bool>> fitting_;  // by the wanted type: which models it takes
};

// All of them, one answer a want in the order asked.
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
