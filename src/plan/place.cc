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

void giveBack(const Resources& reserved, WorkerView& worker) {
  worker.freeMilliCpu += reserved.milliCpu;
  worker.freeMemoryMb += reserved.memoryMb;
  for (int i = 0; i < reserved.gpuCount; ++i) worker.freeGpus.push_back(reserved.gpuType);
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

Placer::Placer(std::vector<WorkerView> workers) {
  std::sort(workers.begin(), workers.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  for (auto& worker : workers) {
    rows_.push_back({worker.freeMilliCpu, worker.allMilliCpu, worker.freeMemoryMb,
                     static_cast<std::int32_t>(worker.freeGpus.size()),
                     static_cast<std::int32_t>(worker.allGpus.size()), false});
    auto& gpus = freeGpus_.emplace_back();
    for (const auto& gpu : worker.freeGpus) gpus.push_back(modelOf(gpu));
    ids_.push_back(std::move(worker.id));
  }
}

Placer::Model Placer::modelOf(const std::string& gpu) {
  const auto known = std::find(models_.begin(), models_.end(), gpu);
  if (known == models_.end()) return models_.push_back(gpu), static_cast<Model>(models_.size() - 1);
  return static_cast<Model>(known - models_.begin());
}

const std::vector<bool>& Placer::fitting(const std::string& wanted) {
  auto [known, isNew] = fitting_.try_emplace(wanted);
  if (isNew) {
    for (const auto& model : models_) known->second.push_back(gpuFits(wanted, model));
  }
  return known->second;
}

bool Placer::hasRoom(const Row& row, const Resources& want) {
  return want.memoryMb <= row.freeMemoryMb && std::min(want.milliCpu, row.allMilliCpu) <= row.freeMilliCpu &&
         want.gpuCount <= row.freeGpus;
}

int Placer::gpusFitting(std::size_t worker, const std::vector<bool>& fits) const {
  const auto& gpus = freeGpus_[worker];
  return static_cast<int>(std::count_if(gpus.begin(), gpus.end(), [&](Model gpu) { return fits[gpu]; }));
}

void Placer::take(std::size_t worker, const Resources& reserved, const std::vector<bool>& fits) {
  auto& row = rows_[worker];
  row.freeMilliCpu -= reserved.milliCpu;
  row.freeMemoryMb -= reserved.memoryMb;
  auto& gpus = freeGpus_[worker];
  for (int i = 0; i < reserved.gpuCount; ++i) {
    gpus.erase(std::find_if(gpus.begin(), gpus.end(), [&](Model gpu) { return fits[gpu]; }));
  }
  row.freeGpus -= reserved.gpuCount;
}

std::optional<std::size_t> Placer::find(const Resources& want, Crowded crowded) {
  // Smaller is better; of equal ones the first is, which has the smallest id.
  const auto rank = [&](const Row& row) {
    const bool unbroken = row.allGpus > 0 && row.freeGpus == row.allGpus;
    return std::tuple(want.gpuCount > 0 ? std::int32_t{unbroken} : row.allGpus, row.freeMemoryMb, row.freeMilliCpu);
  };
  const auto& fits = fitting(want.gpuType);
  std::size_t best = rows_.size();
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (rows_[i].crowded && crowded == Crowded::avoid) continue;
    if (!hasRoom(rows_[i], want) || (best < rows_.size() && rank(rows_[i]) >= rank(rows_[best]))) continue;
    if (want.gpuCount == 0 || gpusFitting(i, fits) >= want.gpuCount) best = i;
  }
  return best == rows_.size() ? std::nullopt : std::optional(best);
}

std::optional<Placement> Placer::place(const Resources& want, Crowded crowded) {
  const auto best = find(want, crowded);
  if (!best) return std::nullopt;
  Placement placement{ids_[*best], want};
  placement.reserved.milliCpu = std::min(want.milliCpu, rows_[*best].allMilliCpu);
  take(*best, placement.reserved, fitting(want.gpuType));
  return placement;
}

Placer::Row* Placer::rowOf(const WorkerId& worker) {
  const auto id = std::lower_bound(ids_.begin(), ids_.end(), worker);
  return id == ids_.end() || *id != worker ? nullptr : &rows_[static_cast<std::size_t>(id - ids_.begin())];
}

void Placer::crowd(const WorkerId& worker) {
  if (auto* row = rowOf(worker)) row->crowded = true;
}

void Placer::withhold(const WorkerId& worker) {
  if (auto* row = rowOf(worker)) row->freeMilliCpu = row->freeMemoryMb = -1;
}

std::vector<std::optional<Placement>> place(std::span<const Resources> wants, std::vector<WorkerView> workers) {
  Placer placer(std::move(workers));
  std::vector<std::optional<Placement>> placements;
  for (const auto& want : wants) placements.push_back(placer.place(want));
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
