#include "plan/place.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace gridiron::plan {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

int gpusFitting(const std::string& wanted, const std::vector<std::string>& has) {
  return static_cast<int>(
      std::count_if(has.begin(), has.end(), [&](const std::string& gpu) { return gpuFits(wanted, gpu); }));
}

// What of `want` is reserved on the worker.
Resources on(const Resources& want, const WorkerView& worker) {
  Resources reserved = want;
  reserved.milliCpu = std::min(want.milliCpu, worker.allMilliCpu);
  return reserved;
}

bool hasRoom(const Resources& reserved, const WorkerView& worker) {
  return reserved.milliCpu <= worker.freeMilliCpu && reserved.memoryMb <= worker.freeMemoryMb &&
         reserved.gpuCount <= gpusFitting(reserved.gpuType, worker.freeGpus);
}

void take(const Resources& reserved, WorkerView& worker) {
  worker.freeMilliCpu -= reserved.milliCpu;
  worker.freeMemoryMb -= reserved.memoryMb;
  for (int i = 0; i < reserved.gpuCount; ++i) {
    const auto gpu = std::find_if(worker.freeGpus.begin(), worker.freeGpus.end(),
                                  [&](const std::string& g) { return gpuFits(reserved.gpuType, g); });
    if (gpu != worker.freeGpus.end()) worker.freeGpus.erase(gpu);
  }
}

void giveBack(const Resources& reserved, WorkerView& worker) {
  worker.freeMilliCpu += reserved.milliCpu;
  worker.freeMemoryMb += reserved.memoryMb;
  for (int i = 0; i < reserved.gpuCount; ++i) worker.freeGpus.push_back(reserved.gpuType);
}

// Smaller is better: GPUs are not wasted, then the tightest memory, then the id so that equal inputs give equal plans.
auto rank(const Resources& want, const WorkerView& worker) {
  const auto wasted = want.gpuCount > 0 ? std::size_t{0} : worker.allGpus.size();
  return std::tuple(wasted, worker.freeMemoryMb, worker.freeMilliCpu, worker.id);
}

}  // namespace

bool gpuFits(const std::string& wanted, const std::string& has) {
  auto want = lower(wanted);
  const auto is = lower(has);
  if (want.empty() || want == "any") return true;
  const bool exact = want.ends_with('!');
  if (exact) want.pop_back();
  return is == want || (!exact && is.starts_with(want + "-"));
}

std::vector<std::optional<Placement>> place(std::span<const Resources> wants, std::vector<WorkerView> workers) {
  std::vector<std::optional<Placement>> placements;
  for (const auto& want : wants) {
    WorkerView* best = nullptr;
    for (auto& worker : workers) {
      if (!hasRoom(on(want, worker), worker)) continue;
      if (!best || rank(want, worker) < rank(want, *best)) best = &worker;
    }
    placements.emplace_back();
    if (!best) continue;
    placements.back() = Placement{best->id, on(want, *best)};
    take(placements.back()->reserved, *best);
  }
  return placements;
}

std::optional<std::string> impossible(const Resources& want, std::span<const WorkerView> workers) {
  if (workers.empty()) return std::nullopt;
  std::int64_t memory = 0;
  int gpus = 0;
  for (const auto& worker : workers) {
    const int fitting = gpusFitting(want.gpuType, worker.allGpus);
    if (want.memoryMb <= worker.allMemoryMb && want.gpuCount <= fitting) return std::nullopt;
    memory = std::max(memory, worker.allMemoryMb);
    gpus = std::max(gpus, fitting);
  }
  if (want.gpuCount > gpus) {
    return fmt::format("no worker has {} GPU(s) of type {}: the most that one has is {}", want.gpuCount, want.gpuType,
                       gpus);
  }
  return fmt::format("no worker has {} MiB of memory{}: the most that one has is {}", want.memoryMb,
                     want.gpuCount > 0 ? " beside its GPUs" : "", memory);
}

std::vector<InstanceId> evict(const Resources& want, std::span<const WorkerView> workers, std::vector<Evictable> idle) {
  std::stable_sort(idle.begin(), idle.end(), [](const auto& a, const auto& b) { return a.idleSince < b.idleSince; });
  std::vector<InstanceId> best;
  for (auto worker : workers) {
    const auto reserved = on(want, worker);
    std::vector<InstanceId> going;
    for (const auto& candidate : idle) {
      if (hasRoom(reserved, worker)) break;
      if (candidate.worker != worker.id) continue;
      giveBack(candidate.reserved, worker);
      going.push_back(candidate.id);
    }
    if (hasRoom(reserved, worker) && !going.empty() && (best.empty() || going.size() < best.size())) {
      best = std::move(going);
    }
  }
  return best;
}

}  // namespace gridiron::plan
