#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "model/ids.h"
#include "model/resources.h"
#include "plan/place.h"

namespace gridiron::plan {

// Containers that one function wants and does not have.
struct Claim {
  std::string workspace;
  FunctionId function;
  Resources each;
  int count = 0;
  bool works = false;  // something waits for them; else they are a minimum or a buffer
  bool web = false;    // somebody waits at an open connection
  Time since{};
  bool ahead = false;  // nothing waits yet
};

// A container that runs something, and could be told to finish it and go.
struct Busy {
  InstanceId id;
  std::string workspace;
  FunctionId function;
  WorkerId worker;
  Resources reserved;
  Time readyAt{};
};

// Who is next when there is not room for all, and who gives way: max-min fairness of containers, among workspaces first
// and then among the functions of each. What counts is the dominant share: the largest part that somebody has of any of
// CPU, memory and GPUs of all workers.
class Shares {
 public:
  explicit Shares(std::span<const WorkerView> workers);
  // The function has (or is given) a container.
  void add(const std::string& workspace, const FunctionId& function, const Resources& reserved);

  // The index of the claim whose next container is placed next; none: no claim wants any. Claims with work before
  // minimums, then the workspace with the smallest share, then the function with the smallest, web before others, the
  // longest waiting.
  std::optional<std::size_t> next(std::span<const Claim> claims) const;

  // It has no container at all.
  bool hasNone(const Claim& claim) const { return !functions_.contains({claim.workspace, claim.function}); }

  // Of `busy`, those that may be told to go for one container of `claim`: who has them stays at least as well off, also
  // when all of them go, as the claim's function is with it. Longest ready first.
  std::vector<Busy> mayYield(const Claim& claim, std::vector<Busy> busy) const;
  // Where that makes no room and the claim's function has no container at all, functions take turns: those that have
  // been ready for kTurn may be told to go. Longest ready first.
  std::vector<Busy> mayTakeTurns(const Claim& claim, std::vector<Busy> busy, Time now) const;

  static constexpr Nanos kTurn = std::chrono::minutes(1);

 private:
  struct Sum {
    std::int64_t milliCpu = 0, memoryMb = 0, gpus = 0;
    void add(const Resources& r, int sign = 1);
  };
  using Function = std::pair<std::string, FunctionId>;
  std::int64_t part(const Sum& sum) const;  // dominant, in millionths
  Sum of(const std::string& workspace) const;
  Sum of(const Function& function) const;

  Sum all_;
  std::map<std::string, Sum> workspaces_;
  std::map<Function, Sum> functions_;
};

}  // namespace gridiron::plan
