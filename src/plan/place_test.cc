#include "plan/place.h"

#include <gtest/gtest.h>

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
