#include "plan/scale.h"

#include <gtest/gtest.h>

namespace gridiron::plan {
namespace {

using namespace std::chrono_literals;

const Time kNow{std::chrono::seconds{1'700'000'000}};

struct ScaleCase {
  const char* name;
  int queued, running, starting, idle, busy;
  Scaling scaling;
  int slots;
  int start, drain;  // expected, with idle ones idle for an hour
};

void PrintTo(const ScaleCase& c, std::ostream* out) { *out << c.name; }

FunctionView viewOf(const ScaleCase& c) {
  FunctionView v;
  v.function = FunctionId{"fu-1"};
  v.scaling = c.scaling;
  v.slots = c.slots;
  v.queued = c.queued;
  v.running = c.running;
  v.starting = c.starting;
  v.oldestQueued = kNow - 1s;
  for (int i = 0; i < c.idle; ++i) v.ready.push_back({InstanceId{"ta-idle" + std::to_string(i)}, 0, kNow - 1h});
  for (int i = 0; i < c.busy; ++i) {
    const int held = c.running / c.busy + (i < c.running % c.busy ? 1 : 0);
    v.ready.push_back({InstanceId{"ta-busy" + std::to_string(i)}, held, Time{}});
  }
  return v;
}

Scaling scaling(int min, int max, int buffer) { return Scaling{min, max, buffer, 60s, 0s}; }

class ScaleTable : public testing::TestWithParam<ScaleCase> {};

TEST_P(ScaleTable, StartsAndDrainsAsManyAsItSays) {
  const auto plan = scale(viewOf(GetParam()), kNow);
  EXPECT_EQ(plan.start, GetParam().start);
  EXPECT_EQ(std::ssize(plan.drain), GetParam().drain);
}

const ScaleCase kCases[] = {
    // name, queued, running, starting, idle, busy, {min, max, buffer}, slots → start, drain
    {"nothing to do", 0, 0, 0, 0, 0, scaling(0, 0, 0), 1, 0, 0},
    {"the first input", 1, 0, 0, 0, 0, scaling(0, 0, 0), 1, 1, 0},
    {"one is on its way", 1, 0, 1, 0, 0, scaling(0, 0, 0), 1, 0, 0},
    {"one is idle", 1, 0, 0, 1, 0, scaling(0, 0, 0), 1, 0, 0},
    {"a queue behind a busy one", 3, 1, 0, 0, 1, scaling(0, 0, 0), 1, 3, 0},
    {"a queue within the free slots", 3, 1, 0, 0, 1, scaling(0, 0, 0), 10, 0, 0},
    {"a queue of several containers", 25, 0, 0, 0, 0, scaling(0, 0, 0), 10, 3, 0},
    {"free slots are used first", 25, 4, 0, 0, 1, scaling(0, 0, 0), 10, 2, 0},
    {"the maximum", 9, 2, 0, 0, 2, scaling(0, 3, 0), 1, 1, 0},
    {"at the maximum", 9, 3, 0, 0, 3, scaling(0, 3, 0), 1, 0, 0},
    {"the maximum counts those on their way", 9, 0, 3, 0, 0, scaling(0, 3, 0), 1, 0, 0},
    {"the minimum without work", 0, 0, 0, 0, 0, scaling(2, 0, 0), 1, 2, 0},
    {"the minimum is kept", 0, 0, 0, 2, 0, scaling(2, 0, 0), 1, 0, 0},
    {"above the minimum", 0, 0, 0, 5, 0, scaling(2, 0, 0), 1, 0, 3},
    {"idle for too long", 0, 0, 0, 2, 0, scaling(0, 0, 0), 1, 0, 2},
    {"a buffer without work is none", 0, 0, 0, 0, 0, scaling(0, 0, 2), 1, 0, 0},
    {"a buffer beside the work", 1, 0, 0, 0, 0, scaling(0, 0, 2), 1, 3, 0},
    {"a buffer is kept beside a busy one", 0, 1, 0, 2, 1, scaling(0, 0, 2), 1, 0, 0},
    {"idle ones beyond the buffer go", 0, 1, 0, 4, 1, scaling(0, 0, 2), 1, 0, 2},
    {"a buffer within the maximum", 1, 0, 0, 0, 0, scaling(0, 2, 5), 1, 2, 0},
    {"a maximum below the minimum wins", 0, 0, 0, 0, 0, scaling(5, 2, 0), 1, 2, 0},
    {"more than the maximum: idle ones go", 0, 1, 0, 3, 1, scaling(3, 2, 0), 1, 0, 2},
    {"slots of nought count as one", 2, 0, 0, 0, 0, scaling(0, 0, 0), 0, 2, 0},
};
INSTANTIATE_TEST_SUITE_P(Cases, ScaleTable, testing::ValuesIn(kCases));

FunctionView idleFor(std::initializer_list<Nanos> times) {
  FunctionView v;
  v.scaling = scaling(0, 0, 0);
  int n = 0;
  for (auto time : times) v.ready.push_back({InstanceId{"ta-" + std::to_string(++n)}, 0, kNow - time});
  return v;
}

TEST(Scale, AnIdleContainerStaysForTheWindowAndIsLookedAtThen) {
  const auto plan = scale(idleFor({20s}), kNow);
  EXPECT_TRUE(plan.drain.empty());
  EXPECT_EQ(plan.again, kNow + 40s);
}

TEST(Scale, WhoCallsAgainWhileTheLastInputIsBeingSettledGetsNoSecondContainer) {
  FunctionView v = idleFor({0s});
  v.ready[0].held = 1;
  v.running = 1;
  v.queued = 1;
  v.oldestQueued = kNow;
  const auto plan = scale(v, kNow);
  EXPECT_EQ(plan.start, 0);
  EXPECT_EQ(plan.again, kNow + 50ms);
  EXPECT_EQ(scale(v, kNow + 50ms).start, 1);
}

TEST(Scale, TheLongestIdleGoesFirst) {
  const auto plan = scale(idleFor({61s, 90s, 5s}), kNow);
  EXPECT_EQ(plan.drain, (std::vector{InstanceId{"ta-2"}, InstanceId{"ta-1"}}));
  EXPECT_EQ(plan.again, kNow + 55s);
}

TEST(Scale, OneThatTheQueueNeedsIsNotLetGo) {
  auto v = idleFor({2min});
  v.queued = 1;
  EXPECT_EQ(scale(v, kNow), Scale{});
}

TEST(Scale, AShortQueueIsGivenTheScaleupWindow) {
  FunctionView v;
  v.scaling.scaleupWindow = 5s;
  v.ready.push_back({InstanceId{"ta-1"}, 1, Time{}});
  v.queued = v.running = 1;
  v.oldestQueued = kNow - 3s;
  EXPECT_EQ(scale(v, kNow), (Scale{0, {}, kNow + 2s}));
  EXPECT_EQ(scale(v, kNow + 2s).start, 1);
}

FunctionView shortOnes(int queued, int ready) {
  FunctionView v;
  v.runTime = 5ms;
  v.queued = queued;
  v.oldestQueued = kNow - 100ms;
  v.running = ready;
  for (int i = 0; i < ready; ++i) v.ready.push_back({InstanceId{"ta-" + std::to_string(i)}, 1, Time{}});
  return v;
}

TEST(Scale, ShortInputsGetAsManyContainersAsRunThemInASecond) {
  EXPECT_EQ(scale(shortOnes(50, 0), kNow).start, 1);
  EXPECT_EQ(scale(shortOnes(1000, 0), kNow).start, 5);
  EXPECT_EQ(scale(shortOnes(1000, 2), kNow).start, 3);
  EXPECT_EQ(scale(shortOnes(50, 1), kNow).start, 0) << "it is done sooner than another would come";
  auto concurrent = shortOnes(1000, 0);
  concurrent.slots = 5;
  EXPECT_EQ(scale(concurrent, kNow).start, 1);
}

TEST(Scale, WhatRunsLongerThanItsFunctionDidBeforeIsNotTakenForShort) {
  auto v = shortOnes(50, 1);
  v.runningFor = 900ms;
  EXPECT_EQ(scale(v, kNow).start, 0);
  EXPECT_EQ(scale(v, kNow).again, kNow + 100ms);
  v.runningFor = 1s;
  EXPECT_EQ(scale(v, kNow).start, 50);
}

TEST(Scale, AQueueThatLastsAllTheSameGetsTwiceAsManyEachSecond) {
  const auto v = shortOnes(50, 1);
  EXPECT_EQ(scale(v, kNow).again, v.oldestQueued + 1s);
  EXPECT_EQ(scale(v, v.oldestQueued + 1s).start, 1);
  EXPECT_EQ(scale(v, v.oldestQueued + 3s).start, 7);
  EXPECT_EQ(scale(v, v.oldestQueued + 30s).start, 49);
  EXPECT_EQ(scale(v, v.oldestQueued + 30s).again, v.oldestQueued + 31s);
}

TEST(Scale, LongInputsGetAContainerEach) {
  auto v = shortOnes(50, 0);
  v.runTime = 1s;
  EXPECT_EQ(scale(v, kNow).start, 50);
}

TEST(Scale, ABufferStandsBesideShortInputsToo) {
  auto v = shortOnes(10, 1);
  v.scaling.bufferContainers = 2;
  EXPECT_EQ(scale(v, kNow).start, 2);
}

TEST(Scale, WithoutAnyContainerTheWindowDoesNotDelay) {
  FunctionView v;
  v.scaling.scaleupWindow = 5s;
  v.queued = 1;
  v.oldestQueued = kNow;
  EXPECT_EQ(scale(v, kNow).start, 1);
}

TEST(Scale, OnesThatDrainCountForTheMaximumOnly) {
  FunctionView v;
  v.scaling.maxContainers = 2;
  v.queued = 5;
  v.leaving = 1;
  EXPECT_EQ(scale(v, kNow).start, 1);
  v.leaving = 3;
  EXPECT_EQ(scale(v, kNow).start, 0);
  v.scaling.maxContainers = 0;
  EXPECT_EQ(scale(v, kNow).start, 5);
}

TEST(Backoff, DoublesUpToAMinute) {
  EXPECT_EQ(backoff(0), 0s);
  EXPECT_EQ(backoff(1), 1s);
  EXPECT_EQ(backoff(2), 2s);
  EXPECT_EQ(backoff(5), 16s);
  EXPECT_EQ(backoff(7), 60s);
  EXPECT_EQ(backoff(1000), 60s);
}

TEST(Scale, AFailingFunctionIsNotStartedAgainAtOnce) {
  FunctionView v;
  v.queued = 10;
  v.failures = 3;
  v.lastFailure = kNow - 1s;
  const auto plan = scale(v, kNow);
  EXPECT_EQ(plan.start, 0);
  EXPECT_EQ(plan.again, kNow + 3s);
}

TEST(Scale, AfterTheBackoffAFailingFunctionGetsOneTry) {
  FunctionView v;
  v.queued = 10;
  v.failures = 3;
  v.lastFailure = kNow - 4s;
  EXPECT_EQ(scale(v, kNow).start, 1);
  v.starting = 1;
  EXPECT_EQ(scale(v, kNow).start, 0);
}

TEST(Scale, AFailingMinimumIsHeldBackToo) {
  FunctionView v;
  v.scaling.minContainers = 3;
  v.failures = 1;
  v.lastFailure = kNow;
  EXPECT_EQ(scale(v, kNow).start, 0);
  EXPECT_EQ(scale(v, kNow + 1s).start, 1);
}

TEST(Scale, WhatIsExpectedGetsOneContainerAndNoneBesideOthers) {
  FunctionView v;
  v.ahead = 1;
  EXPECT_EQ(scale(v, kNow).start, 1);
  EXPECT_EQ(scale(v, kNow).ahead, 1);
  v.queued = 2;
  EXPECT_EQ(scale(v, kNow).start, 2);
  EXPECT_EQ(scale(v, kNow).ahead, 0) << "these are needed";
  v.queued = 0;
  v.starting = 1;
  EXPECT_EQ(scale(v, kNow), Scale{});
  v.starting = 0;
  v.ready = {{InstanceId{"ta-1"}, 0, kNow - 1h}};
  EXPECT_TRUE(scale(v, kNow).drain.empty()) << "it stays as long as something is expected";
  v.ahead = 0;
  EXPECT_EQ(scale(v, kNow).drain.size(), 1U);
}

TEST(Scale, WhatIsExpectedHeedsTheMaximumAndFailures) {
  FunctionView v;
  v.ahead = 1;
  v.failures = 1;
  v.lastFailure = kNow;
  EXPECT_EQ(scale(v, kNow).start, 0);
  EXPECT_EQ(scale(v, kNow).ahead, 0);
  v.failures = 0;
  v.scaling.maxContainers = 1;
  v.leaving = 1;
  EXPECT_EQ(scale(v, kNow).start, 0);
}

}  // namespace
}  // namespace gridiron::plan
