#include <map>

#include "fleet/testing.h"

namespace gridiron {
namespace {

using namespace std::chrono_literals;

// A queue of `inputs` of f, as many containers of it as there is room for, each busy.
class FleetFairness : public FleetTest {
 protected:
  const FunctionId g{"fu-g"};
  std::vector<InstanceId> ofF;
  std::map<InstanceId, InputId> held;

  void queue(int inputs) {
    CallOptions options;
    options.function = f;
    options.kind = CallKind::map;
    const auto call = calls.open(options).value();
    std::vector<NewInput> all(static_cast<std::size_t>(inputs));
    for (int i = 0; i < inputs; ++i) all[static_cast<std::size_t>(i)].index = i;
    ASSERT_TRUE(calls.put(call, std::move(all)).ok());
    settleDown();
  }
  void fillWithF(int inputs, std::int64_t memoryMb = 128) {
    change([&](Function& x) { x.resources.memoryMb = memoryMb; });
    queue(inputs);
    for (std::size_t i = 0; i < port.started.size(); ++i) {  // each that is ready makes way for the next start
      ofF.push_back(port.started[i].instance);
      makeReady(ofF.back());
      next(ofF.back());
      pass(50ms);
    }
  }
  // One after another, as the container's loop does it.
  void next(const InstanceId& id) {
    if (const auto it = held.find(id); it != held.end()) finish(id, it->second);
    held.erase(id);
    const auto leases = lease(id, f);
    if (!leases.empty()) held[id] = leases[0].input.id;
  }
  std::vector<InstanceId> leaving() {
    std::vector<InstanceId> all;
    for (const auto& id : ofF) {
      if (fleet.killSwitch(id)) all.push_back(id);
    }
    return all;
  }
  int startedOf(const FunctionId& id) {
    return static_cast<int>(std::count_if(port.started.begin(), port.started.end(),
                                          [&](const StartOrder& order) { return order.function == id; }));
  }
};

TEST_F(FleetFairness, AFunctionThatHasNothingGetsAContainerOfOneThatHasMany) {
  fillWithF(1000);
  ASSERT_EQ(ofF.size(), 8u) << "1024 MiB";
  function("fu-g");
  request(g);
  ASSERT_EQ(leaving().size(), 1u);
  pass(1s);
  ASSERT_EQ(leaving().size(), 1u) << "one is enough";
  next(leaving()[0]);
  exit(leaving()[0]);
  EXPECT_EQ(startedOf(g), 1) << "not f, which would like it back";
  EXPECT_EQ(startedOf(f), 8);
}

TEST_F(FleetFairness, WhatIsMadeRoomForIsNotOvertakenByWhatIsSmaller) {
  fillWithF(1000);
  function("fu-g");
  change([](Function& x) { x.resources.memoryMb = 300; }, "fu-g");
  request(g);
  const auto going = leaving();
  ASSERT_EQ(going.size(), 3u);
  for (const auto& id : going) {
    EXPECT_EQ(startedOf(g), 0);
    next(id);
    exit(id);
  }
  EXPECT_EQ(startedOf(g), 1);
  EXPECT_EQ(startedOf(f), 8);
}

TEST_F(FleetFairness, OneThatIsSlowToGoIsNotWaitedForLong) {
  fillWithF(1000);
  function("fu-g");
  request(g);
  pass(5s);
  EXPECT_EQ(leaving().size(), 2u);
}

TEST_F(FleetFairness, NoneGoesForAFunctionThatWouldHaveMore) {
  fillWithF(1000, 512);
  ASSERT_EQ(ofF.size(), 2u);
  function("fu-g");
  change([](Function& x) { x.resources.memoryMb = 768; }, "fu-g");
  request(g);
  EXPECT_TRUE(leaving().empty());
}

TEST_F(FleetFairness, WhereOnlyOneFitsFunctionsTakeTurns) {
  fillWithF(1000, 1024);
  ASSERT_EQ(ofF.size(), 1u);
  function("fu-g");
  request(g);
  pass(59s - 50ms);
  EXPECT_TRUE(leaving().empty());
  EXPECT_EQ(fleet.nextDeadline(), clock.now() + 1s);
  pass(1s);
  EXPECT_EQ(leaving(), ofF);
}

TEST_F(FleetFairness, TurnsAreTakenAlsoWhereTheRoomOfOneIsTooLittle) {
  fillWithF(1000, 300);
  ASSERT_EQ(ofF.size(), 3u);
  function("fu-g");
  change([](Function& x) { x.resources.memoryMb = 500; }, "fu-g");
  request(g);
  pass(59s);
  EXPECT_TRUE(leaving().empty()) << "one may yield, which is not enough";
  pass(1s);
  EXPECT_EQ(leaving().size(), 2u);
}

TEST_F(FleetFairness, AContainerThatWasUsedJustNowStaysWarmBesideALongQueue) {
  function("fu-g");
  request(g);
  const auto warm = lastStarted();
  makeReady(warm);
  finish(warm, lease(warm, g)[0].input.id);
  port.started.clear();
  fillWithF(1000);
  ASSERT_EQ(ofF.size(), 7u);
  EXPECT_FALSE(fleet.killSwitch(warm));
  pass(10s);
  EXPECT_TRUE(fleet.killSwitch(warm)) << "nobody came";
}

TEST_F(FleetFairness, WhoServesTheWebIsPrompt) {
  request(f);
  function("fu-web");
  change([](Function& x) { x.web.kind = WebKind::asgiApp; }, "fu-web");
  request(FunctionId{"fu-web"});
  ASSERT_EQ(port.started.size(), 2u);
  EXPECT_FALSE(port.started[0].prompt);
  EXPECT_TRUE(port.started[1].prompt);
}

TEST_F(FleetFairness, AQueueGetsAsManyContainersAsThereIsRoomForAndNoMoreIsTried) {
  int tried = 0;
  struct Counter final : FleetObserver {
    explicit Counter(int& count) : n(count) {}
    void instanceChanged(const Instance&) override { ++n; }
    int& n;
  } counter(tried);
  fleet.observe(counter);
  change([](Function& x) { x.resources.memoryMb = 128; });
  queue(2000);
  for (int i = 0; i < 5; ++i) pass(2s);
  EXPECT_EQ(startedOf(f), 8);
  EXPECT_EQ(tried, 8);
}

TEST_F(FleetFairness, AsManyContainersStartAtOnceAsThereAreCores) {
  change([](Function& x) { x.resources.memoryMb = 128; });
  queue(2000);
  EXPECT_EQ(startedOf(f), 2);
  makeReady(lastStarted());
  pass(50ms);
  EXPECT_EQ(startedOf(f), 3) << "one is done";
  pass(2s);
  EXPECT_EQ(startedOf(f), 5) << "whoever takes longer waits for something, and does not compute";
}

TEST_F(FleetFairness, WhatRunsLongerThanItsFunctionDidBeforeIsNotTakenForShort) {
  change([](Function& x) { x.resources.memoryMb = 128; });
  queue(1);
  const InstanceId first = lastStarted();
  makeReady(first);
  next(first);
  pass(10ms);
  next(first);
  queue(8);
  next(first);
  pass(900ms);
  EXPECT_EQ(startedOf(f), 1) << "eight of 10 ms are one container's";
  pass(200ms);
  EXPECT_EQ(startedOf(f), 3) << "not one more, as many as may start at once";
}

TEST_F(FleetFairness, WhoHasNoContainerDoesNotStandBehindOthersStarts) {
  change([](Function& x) { x.resources.memoryMb = 128; });
  queue(2000);
  function("fu-g");
  request(g);
  EXPECT_EQ(startedOf(g), 1);
  EXPECT_EQ(startedOf(f), 2);
}

}  // namespace
}  // namespace gridiron
