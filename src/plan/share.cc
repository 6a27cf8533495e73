#include "plan/share.h"

#include <algorithm>
#include <tuple>

namespace gridiron::plan {
namespace {

template <class Map, class Key>
auto valueOr0(const Map& map, const Key& key) {
  const auto it = map.find(key);
  return it == map.end() ? typename Map::mapped_type{} : it->second;
}

std::int64_t millionths(std::int64_t part, std::int64_t whole) { return whole <= 0 ? 0 : part * 1'000'000 / whole; }

}  // namespace

void Shares::Sum::add(const Resources& r, int sign) {
  milliCpu += sign * r.milliCpu;
  memoryMb += sign * r.memoryMb;
  gpus += sign * r.gpuCount;
}

Shares::Shares(std::span<const WorkerView> workers) {
  for (const auto& worker : workers) {
    all_.milliCpu += worker.allMilliCpu;
    all_.memoryMb += worker.allMemoryMb;
    all_.gpus += std::ssize(worker.allGpus);
  }
}

void Shares::add(const std::string& workspace, const FunctionId& function, const Resources& reserved) {
  workspaces_[workspace].add(reserved);
  functions_[{workspace, function}].add(reserved);
}

std::int64_t Shares::part(const Sum& sum) const {
  return std::max({millionths(sum.milliCpu, all_.milliCpu), millionths(sum.memoryMb, all_.memoryMb),
                   millionths(sum.gpus, all_.gpus)});
}

Shares::Sum Shares::of(const std::string& workspace) const { return valueOr0(workspaces_, workspace); }
Shares::Sum Shares::of(const Function& function) const { return valueOr0(functions_, function); }

std::optional<std::size_t> Shares::next(std::span<const Claim> claims) const {
  const auto rank = [&](const Claim& claim) {
    return std::tuple(!claim.works, part(of(claim.workspace)), part(of(Function{claim.workspace, claim.function})),
                      !claim.web, claim.since, claim.function);
  };
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < claims.size(); ++i) {
    if (claims[i].count > 0 && (!best || rank(claims[i]) < rank(claims[*best]))) best = i;
  }
  return best;
}

std::vector<Busy> Shares::mayYield(const Claim& claim, std::vector<Busy> busy) const {
  std::erase_if(busy, [&](const Busy& b) { return b.function == claim.function; });
  std::stable_sort(busy.begin(), busy.end(), [](const auto& a, const auto& b) { return a.readyAt < b.readyAt; });
  const Function claiming{claim.workspace, claim.function};
  Sum workspaceThen = of(claim.workspace), functionThen = of(claiming);
  workspaceThen.add(claim.each);
  functionThen.add(claim.each);
  std::map<std::string, Sum> workspaces = workspaces_;
  std::map<Function, Sum> functions = functions_;
  std::vector<Busy> yield;
  for (const auto& container : busy) {
    const bool same = container.workspace == claim.workspace;
    Sum& of = same ? functions[{container.workspace, container.function}] : workspaces[container.workspace];
    Sum left = of;
    left.add(container.reserved, -1);
    if (part(left) < part(same ? functionThen : workspaceThen)) continue;
    of = left;
    yield.push_back(container);
  }
  return yield;
}

std::vector<Busy> Shares::mayTakeTurns(const Claim& claim, std::vector<Busy> busy, Time now) const {
  if (!hasNone(claim)) return {};
  std::erase_if(busy, [&](const Busy& b) { return b.function == claim.function || now < b.readyAt + kTurn; });
  std::stable_sort(busy.begin(), busy.end(), [](const auto& a, const auto& b) { return a.readyAt < b.readyAt; });
  return busy;
}

}  // namespace gridiron::plan
