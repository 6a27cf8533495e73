#include "plan/place.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <tuple>

namespace gridiron::plan {
namespace {

using namespace std::chrono_literals;

WorkerView worker(const std::string& id, std::int64_t freeCpu, std::int64_t freeMemory,
                  std::vector<std::string> gpus = {}) {
  return WorkerView{WorkerId{id}, freeCpu, 4000, freeMemory, 16384, gpus, gpus};
}

Resources want(std::int64_t cpu, std::int64_t memory, const std::string& gpu = "", int gpus = 0) {
  return Resources{cpu, memory, gpu, gpus};
}

std::vector<std::string> placed(std::vector<Resources> wants, std::vector<WorkerView> workers) {
  std::vector<std::string> ids;
  for (const auto& placement : place(wants, std::move(workers)))
    ids.push_back(placement ? placement->worker.value : "");
  return ids;
}

struct PlaceCase {
  const char* name;
  std::vector<Resources> wants;
  std::vector<WorkerView> workers;
  std::vector<std::string> expected;
};
void PrintTo(const PlaceCase& c, std::ostream* out) { *out << c.name; }

class PlaceTable : public testing::TestWithParam<PlaceCase> {};

TEST_P(PlaceTable, GoesWhereItSays) { EXPECT_EQ(placed(GetParam().wants, GetParam().workers), GetParam().expected); }

const PlaceCase kCases[] = {
    {"no worker", {want(1, 1)}, {}, {""}},
    {"room", {want(100, 128)}, {worker("a", 1000, 1000)}, {"a"}},
    {"no memory", {want(100, 2000)}, {worker("a", 1000, 1000)}, {""}},
    {"no cpu", {want(2000, 128)}, {worker("a", 1000, 1000)}, {""}},
    {"the fullest that fits", {want(100, 500)}, {worker("a", 4000, 8000), worker("b", 4000, 600)}, {"b"}},
    {"the next when it is full",
     {want(100, 500), want(100, 500)},
     {worker("a", 4000, 8000), worker("b", 4000, 600)},
     {"b", "a"}},
    {"a small one passes a large one", {want(100, 9000), want(100, 500)}, {worker("a", 4000, 8000)}, {"", "a"}},
    {"gpu", {want(100, 100, "H100", 1)}, {worker("a", 4000, 100), worker("b", 4000, 8000, {"H100"})}, {"b"}},
    {"wrong gpu", {want(100, 100, "H100", 1)}, {worker("b", 4000, 8000, {"T4"})}, {""}},
    {"each gpu once",
     {want(100, 100, "H100", 2), want(100, 100, "ANY", 1), want(100, 100, "H100", 1)},
     {worker("b", 4000, 8000, {"H100", "H100", "T4"})},
     {"b", "b", ""}},
    {"plain work leaves gpus alone",
     {want(100, 100)},
     {worker("a", 4000, 200, {"H100"}), worker("b", 4000, 8000)},
     {"b"}},
    {"one gpu of a worker that is broken into already",
     {want(100, 100, "ANY", 1), want(100, 100, "ANY", 1)},
     {worker("a", 4000, 400, {"T4", "T4"}), {WorkerId{"b"}, 4000, 4000, 9000, 16384, {"T4"}, {"T4", "T4"}}},
     {"b", "a"}},
    {"unless there is no other", {want(100, 100)}, {worker("a", 4000, 200, {"H100"})}, {"a"}},
    {"more cpu than a machine takes the whole", {want(64000, 100)}, {worker("a", 4000, 8000)}, {"a"}},
    {"but only when it is free", {want(64000, 100)}, {worker("a", 3999, 8000)}, {""}},
};
INSTANTIATE_TEST_SUITE_P(Cases, PlaceTable, testing::ValuesIn(kCases));

TEST(Place, WhatIsReservedIsWhatWasAskedOrTheWholeMachine) {
  const std::vector wants{want(64000, 100), want(0, 50)};
  const auto placements = place(wants, {worker("a", 4000, 8000)});
  EXPECT_EQ(placements[0]->reserved, want(4000, 100));
  EXPECT_EQ(placements[1]->reserved, want(0, 50));
}

// The same decision by looking at everything, with names instead of numbers.
std::string plainChoice(const Resources& want, std::vector<WorkerView>& workers) {
  WorkerView* best = nullptr;
  const auto fits = [&](const std::string& gpu) { return gpuFits(want.gpuType, gpu); };
  const auto cpu = [&](const WorkerView& w) { return std::min(want.milliCpu, w.allMilliCpu); };
  const auto rank = [&](const WorkerView& w) {
    const auto unbroken = std::size_t{!w.allGpus.empty() && w.freeGpus.size() == w.allGpus.size()};
    return std::tuple(want.gpuCount > 0 ? unbroken : w.allGpus.size(), w.freeMemoryMb, w.freeMilliCpu, w.id);
  };
  for (auto& w : workers) {
    const bool room = cpu(w) <= w.freeMilliCpu && want.memoryMb <= w.freeMemoryMb &&
                      std::count_if(w.freeGpus.begin(), w.freeGpus.end(), fits) >= want.gpuCount;
    if (room && (!best || rank(w) < rank(*best))) best = &w;
  }
  if (!best) return "";
  best->freeMilliCpu -= cpu(*best);
  best->freeMemoryMb -= want.memoryMb;
  for (int i = 0; i < want.gpuCount; ++i)
    best->freeGpus.erase(std::find_if(best->freeGpus.begin(), best->freeGpus.end(), fits));
  return best->id.value;
}

TEST(Place, ChoosesAmongManyWorkersAsByLookingAtEachInFull) {
  std::mt19937 random(8400);
  const auto upTo = [&](int most) { return static_cast<int>(random() % static_cast<unsigned>(most + 1)); };
  const char* const models[] = {"T4", "A100-40GB", "A100-80GB", "H100", "h100"};
  const char* const wishes[] = {"ANY", "A100", "a100-80gb", "H100!", "T4", "L4", ""};
  for (int round = 0; round < 200; ++round) {
    std::vector<WorkerView> workers;
    for (int i = upTo(30); i > 0; --i) {
      auto& w = workers.emplace_back(worker(fmt::format("wk-{}", upTo(1000)), 500 * upTo(8), 512 * upTo(32)));
      for (int gpu = upTo(1) * upTo(8); gpu > 0; --gpu) w.allGpus.push_back(models[upTo(4)]);
      for (const auto& gpu : w.allGpus) {
        if (upTo(2) > 0) w.freeGpus.push_back(gpu);
      }
    }
    Placer placer(workers);
    for (int i = 0; i < 60; ++i) {
      const Resources wanted = want(500 * upTo(10), 512 * upTo(8), wishes[upTo(6)], upTo(1) * upTo(3));
      const auto placement = placer.place(wanted);
      ASSERT_EQ(placement ? placement->worker.value : "", plainChoice(wanted, workers)) << "round " << round;
    }
  }
}

TEST(Place, ACrowdedWorkerIsAvoidedUnlessOneInsists) {
  Placer placer({worker("a", 4000, 500)});
  placer.crowd(WorkerId{"a"});
  EXPECT_FALSE(placer.place(want(0, 300)));
  EXPECT_TRUE(placer.fits(want(0, 300)));
  EXPECT_EQ(placer.place(want(0, 300), Placer::Crowded::take)->worker.value, "a");
  EXPECT_FALSE(placer.fits(want(0, 300)));
}

TEST(Place, NothingGoesToAWorkerThatIsWithheld) {
  Placer placer({worker("a", 4000, 500), worker("b", 4000, 8000)});
  placer.withhold(WorkerId{"a"});
  placer.withhold(WorkerId{"none"});
  EXPECT_EQ(placer.place(want(0, 0))->worker.value, "b");
}

TEST(GpuFits, KnowsSizesAnyAndExactly) {
  EXPECT_TRUE(gpuFits("ANY", "T4"));
  EXPECT_TRUE(gpuFits("A100", "A100-80GB"));
  EXPECT_TRUE(gpuFits("a100-80gb", "A100-80GB"));
  EXPECT_FALSE(gpuFits("A100-40GB", "A100-80GB"));
  EXPECT_FALSE(gpuFits("H100", "H1000"));
  EXPECT_TRUE(gpuFits("H100!", "H100"));
  EXPECT_FALSE(gpuFits("A100!", "A100-80GB"));
}

TEST(Impossible, SaysWhatIsMissing) {
  const std::vector workers{worker("a", 0, 0, {"T4"})};
  EXPECT_FALSE(impossible(want(64000, 16384), workers)) << "busy is not impossible, and CPU is shared";
  EXPECT_EQ(impossible(want(1, 20000), workers), "no worker has 20000 MiB of memory: the most that one has is 16384");
  EXPECT_EQ(impossible(want(1, 1, "H100", 2), workers),
            "no worker has 2 GPU(s) of type H100: the most that one has is 0");
  EXPECT_FALSE(impossible(want(1, 20000), {})) << "a worker may come";
}

Evictable idle(const std::string& id, const std::string& worker, std::int64_t memory, Nanos since) {
  return Evictable{InstanceId{id}, WorkerId{worker}, want(100, memory), Time{since}};
}

TEST(Evict, TakesTheLongestIdleThatMakesRoom) {
  const std::vector workers{worker("a", 4000, 100)};
  EXPECT_EQ(evict(want(100, 500), workers, {idle("ta-new", "a", 500, 9s), idle("ta-old", "a", 500, 1s)}),
            std::vector{InstanceId{"ta-old"}});
}

TEST(Evict, TakesAllFromOneWorkerAndAsFewAsDo) {
  const std::vector workers{worker("a", 4000, 0), worker("b", 4000, 0)};
  const auto going = evict(want(100, 500), workers,
                           {idle("ta-1", "a", 300, 1s), idle("ta-2", "a", 300, 2s), idle("ta-3", "b", 600, 3s)});
  EXPECT_EQ(going, std::vector{InstanceId{"ta-3"}});
}

TEST(Evict, TakesNoneWhenItWouldNotDo) {
  const std::vector workers{worker("a", 4000, 0)};
  EXPECT_TRUE(evict(want(100, 500), workers, {idle("ta-1", "a", 300, 1s)}).empty());
  EXPECT_TRUE(evict(want(100, 500), {}, {}).empty());
}

TEST(Evict, TakesNoneWhenThereIsRoom) {
  const std::vector workers{worker("a", 4000, 1000)};
  EXPECT_TRUE(evict(want(100, 500), workers, {idle("ta-1", "a", 300, 1s)}).empty());
}

}  // namespace
}  // namespace gridiron::plan
