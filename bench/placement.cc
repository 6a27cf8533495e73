// bench_placement: how fast plan::Placer puts containers on machines, and how well it packs them. The machines are the
// 1,523 of the trace that Alibaba published in 2023 (clusterdata, cluster-trace-gpu-v2023,
// openb_node_list_all_node.csv; the paper is "Beware of Fragmentation", USENIX ATC '23): kMachines is that file counted
// by kind. 8,000 pods are drawn, by a seed, from its commonest requests (openb_pod_list_default.csv, counted) and its
// share of pods that insist on a model (openb_pod_list_gpuspec33.csv). The trace shares GPUs out in thousandths;
// clients of the grid can only ask for whole ones, so a fraction becomes one GPU: 7,300 are wanted of 6,212, and the
// last pods find none.
//
//   ninja -C build bench_placement && build/bench_placement [seed]

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <random>

#include "plan/place.h"

namespace gridiron::plan {
namespace {

// Time of this thread alone: what others do on the machine is not ours.
double seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct MachineKind {
  int count;
  std::int64_t milliCpu, memoryMb;
  int gpus;
  const char* model;
};

constexpr MachineKind kMachines[] = {
    {549, 96000, 393216, 8, "G2"},      {387, 104000, 524288, 2, "T4"},      {129, 32000, 262144, 0, ""},
    {107, 16000, 122880, 2, "P100"},    {59, 96000, 524288, 0, ""},          {39, 128000, 786432, 8, "G3"},
    {30, 96000, 393216, 0, ""},         {28, 32000, 131072, 4, "V100-16GB"}, {23, 32000, 131072, 0, ""},
    {22, 64000, 262144, 2, "P100"},     {22, 64000, 524288, 0, ""},          {21, 96000, 786432, 8, "V100-32GB"},
    {20, 104000, 524288, 0, ""},        {19, 8000, 32768, 1, "V100-16GB"},   {17, 96000, 393216, 4, "T4"},
    {10, 32000, 65536, 0, ""},          {9, 48000, 376832, 4, "V100-32GB"},  {8, 64000, 262144, 0, ""},
    {7, 64000, 262144, 8, "V100-16GB"}, {4, 64000, 131072, 0, ""},           {3, 104000, 786432, 0, ""},
    {3, 8000, 61440, 1, "P100"},        {2, 8000, 61440, 2, "P100"},         {2, 128000, 1048576, 1, "A10"},
    {1, 82000, 344064, 8, "V100-16GB"}, {1, 104000, 196608, 0, ""},          {1, 96000, 786432, 0, ""},
};

struct PodKind {
  int count;
  std::int64_t milliCpu, memoryMb;
  int gpus;  // a fraction of one is one
};

constexpr PodKind kPods[] = {
    {1517, 3152, 5600, 1},  {857, 11300, 49152, 1}, {534, 11400, 48128, 1}, {778, 11908, 47104, 1},
    {364, 12500, 57344, 0}, {432, 8000, 30517, 1},  {284, 32000, 49152, 0}, {255, 18708, 64512, 1},
    {195, 9810, 41560, 1},  {163, 8000, 30517, 0},  {158, 12000, 24576, 1}, {158, 15700, 58368, 1},
    {120, 15400, 51200, 0}, {137, 4000, 22888, 1},  {108, 16000, 32768, 1}, {104, 8000, 16384, 1},
    {104, 4000, 24576, 1},  {143, 12000, 16384, 1}, {95, 16500, 51200, 0},  {93, 14200, 58368, 1},
    {84, 24200, 93184, 1},  {127, 4000, 30517, 1},  {131, 4000, 15258, 1},  {148, 4152, 10600, 1},
    {65, 11400, 77824, 1},  {80, 6000, 6144, 1},    {44, 88000, 327680, 8}, {16, 24000, 98304, 2},
    {15, 32000, 131072, 4},
};

// Of a hundred GPU pods of the trace, how many insist on which model; the rest take any.
constexpr std::pair<int, const char*> kInsist[] = {{18, "T4"}, {5, "G2"}, {4, "P100"}, {5, "V100"}, {1, "G3"}};

std::vector<WorkerView> machines() {
  std::vector<WorkerView> all;
  for (const auto& kind : kMachines) {
    for (int i = 0; i < kind.count; ++i) {
      const std::vector<std::string> gpus(static_cast<std::size_t>(kind.gpus), kind.model);
      all.push_back({WorkerId{fmt::format("wk-{:04}", all.size())}, kind.milliCpu, kind.milliCpu, kind.memoryMb,
                     kind.memoryMb, gpus, gpus});
    }
  }
  return all;
}

std::vector<Resources> pods(int count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<double> weights;
  for (const auto& kind : kPods) weights.push_back(kind.count);
  std::discrete_distribution<std::size_t> kinds(weights.begin(), weights.end());
  std::vector<Resources> all;
  for (int i = 0; i < count; ++i) {
    const auto& kind = kPods[kinds(random)];
    Resources want{kind.milliCpu, kind.memoryMb, kind.gpus > 0 ? "ANY" : "", kind.gpus};
    auto insists = static_cast<int>(random() % 100);
    for (const auto& [share, model] : kInsist) {
      if (kind.gpus == 1 && insists >= 0 && insists < share) want.gpuType = model;
      insists -= share;
    }
    all.push_back(std::move(want));
  }
  return all;
}

// What is left of the machines.
std::vector<WorkerView> without(std::vector<WorkerView> workers,
                                const std::vector<std::optional<Placement>>& placements) {
  std::map<WorkerId, WorkerView*> byId;
  for (auto& worker : workers) byId[worker.id] = &worker;
  for (const auto& placement : placements) {
    if (!placement) continue;
    auto& worker = *byId[placement->worker];
    worker.freeMilliCpu -= placement->reserved.milliCpu;
    worker.freeMemoryMb -= placement->reserved.memoryMb;
    worker.freeGpus.resize(worker.freeGpus.size() - static_cast<std::size_t>(placement->reserved.gpuCount));
  }
  return workers;
}

// The measure of the paper: which part of all GPUs is free but of no use to a pod drawn from the mix, on average.
double fragmented(const std::vector<WorkerView>& left) {
  double unusable = 0, gpus = 0, weights = 0;
  for (const auto& kind : kPods) weights += kind.gpus > 0 ? kind.count : 0;
  for (const auto& worker : left) {
    gpus += static_cast<double>(worker.allGpus.size());
    for (const auto& kind : kPods) {
      const bool fits = kind.milliCpu <= worker.freeMilliCpu && kind.memoryMb <= worker.freeMemoryMb &&
                        kind.gpus <= std::ssize(worker.freeGpus);
      if (kind.gpus > 0 && !fits) unusable += static_cast<double>(worker.freeGpus.size()) * kind.count / weights;
    }
  }
  return unusable / gpus;
}

void report(const std::vector<Resources>& wants, const std::vector<WorkerView>& workers,
            const std::vector<std::optional<Placement>>& placements) {
  int placed = 0, large = 0, largeWanted = 0;
  for (std::size_t i = 0; i < wants.size(); ++i) {
    placed += placements[i].has_value();
    largeWanted += wants[i].gpuCount == 8;
    large += wants[i].gpuCount == 8 && placements[i];
  }
  const auto left = without(workers, placements);
  double cpu = 0, allCpu = 0, memory = 0, allMemory = 0, gpus = 0, allGpus = 0;
  for (const auto& worker : left) {
    cpu += static_cast<double>(worker.allMilliCpu - worker.freeMilliCpu);
    allCpu += static_cast<double>(worker.allMilliCpu);
    memory += static_cast<double>(worker.allMemoryMb - worker.freeMemoryMb);
    allMemory += static_cast<double>(worker.allMemoryMb);
    gpus += static_cast<double>(worker.allGpus.size() - worker.freeGpus.size());
    allGpus += static_cast<double>(worker.allGpus.size());
  }
  fmt::print("placed {} of {} (of 8 GPUs: {} of {}); in use: GPUs {:.1f}%, CPU {:.1f}%, memory {:.1f}%\n", placed,
             wants.size(), large, largeWanted, 100 * gpus / allGpus, 100 * cpu / allCpu, 100 * memory / allMemory);
  fmt::print("GPUs free but of no use to the mix's next pod: {:.1f}%\n", 100 * fragmented(left));
}

int run(std::uint64_t seed) {
  const auto workers = machines();
  const auto wants = pods(8000, seed);
  fmt::print("{} machines, {} pods, seed {}\n", workers.size(), wants.size(), seed);

  const auto begun = seconds();
  Placer placer(workers);
  const auto built = seconds();
  std::vector<std::optional<Placement>> placements;
  std::vector<double> took;
  for (const auto& want : wants) {
    const auto before = seconds();
    placements.push_back(placer.place(want));
    took.push_back(seconds() - before);
  }
  const auto all = seconds() - built;
  std::sort(took.begin(), took.end());
  report(wants, workers, placements);

  const auto once = seconds();
  (void)place({&wants.front(), 1}, workers);
  fmt::print("a snapshot of them all for one placement: {:.2f} ms (with a copy of it: {:.2f} ms)\n",
             1e3 * (built - begun), 1e3 * (seconds() - once));
  fmt::print("one placement: median {:.1f} us, p99 {:.1f} us, longest {:.1f} us\n", 1e6 * took[took.size() / 2],
             1e6 * took[took.size() * 99 / 100], 1e6 * took.back());
  const double rate = static_cast<double>(wants.size()) / all;
  fmt::print("placements/s on one core: {:.0f}; over the 25000 that are promised: {:.1f}\n", rate, rate / 25000);
  return 0;
}

}  // namespace
}  // namespace gridiron::plan

int main(int argc, char** argv) { return gridiron::plan::run(argc > 1 ? std::stoull(argv[1]) : 1); }
