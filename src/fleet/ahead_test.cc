// Containers that are started ahead: the fleet with a clock that is played.
#include "fleet/testing.h"

namespace gridiron {
namespace {

using namespace std::chrono_literals;

class AheadTest : public FleetTest {
 protected:
  void SetUp() override {
    FleetTest::SetUp();
    predicts = true;
    change([](Function& x) { x.scaling.scaledownWindow = 5s; });
    fleet.deploy(f);
    settleDown();
  }
  // Time goes on to `when`, and the fleet steps when it has asked to. What is started is ready `start` later.
  void playUntil(Time when) {
    while (clock.now() < when) {
      const auto next = fleet.nextDeadline();
      Time to = next && *next > clock.now() ? std::min(*next, when) : when;
      if (next && *next <= clock.now()) to = clock.now() + 1ms;
      pass(to - clock.now());
      for (; begun < port.started.size(); ++begun) {
        pass(start);
        makeReady(port.started[begun].instance);
      }
      for (const Instance& instance : fleet.instances()) {
        if (instance.state == InstanceState::draining) exit(instance.id);
      }
    }
  }
  // A request, until it is answered. True: it found a container.
  bool use() {
    const std::size_t before = port.started.size();
    request(f);
    if (port.started.size() > before) {
      pass(start);
      makeReady(port.started[begun++].instance);
    }
    for (const Instance& instance : fleet.instances()) {
      for (const Lease& given : lease(instance.id, f)) finish(instance.id, given.input.id);
    }
    return port.started.size() == before;
  }

  std::size_t begun = 0;
  const Nanos start = 300ms;
};

TEST_F(AheadTest, ARegularRequestFindsAContainerThatWasStartedForIt) {
  int found = 0;
  for (int i = 0; i < 10; ++i) {
    const Time next = clock.now() + 1min;
    found += use();
    playUntil(next);
  }
  EXPECT_GE(found, 4);
  const auto counts = fleet.aheadCounts(f);
  EXPECT_GE(counts.started, counts.hits);
  EXPECT_GE(counts.hits, 4);
  EXPECT_LT(counts.unused, 10 * 3s) << "it waits some seconds for each";
  EXPECT_EQ(fleet.foreseen(f)->forecast.why, "every 60 s");
}

TEST_F(AheadTest, WhenRequestsStopItGivesUpAndWhatNothingUsedGoesSoon) {
  for (int i = 0; i < 8; ++i) {
    const Time next = clock.now() + 1min;
    use();
    playUntil(next);
  }
  const std::size_t before = port.started.size();
  playUntil(clock.now() + 1h);
  EXPECT_LE(port.started.size() - before, 3U);
  EXPECT_TRUE(fleet.instances().empty());
  EXPECT_FALSE(fleet.foreseen(f));
  ASSERT_TRUE(meter.flush().ok());
  const auto sums = meter.sum(Time{}, clock.now(), UsageBy::function).value();
  ASSERT_EQ(sums.size(), 1U);
  EXPECT_EQ(sums[0].aheadContainers, fleet.aheadCounts(f).started);
  EXPECT_EQ(sums[0].aheadHits, fleet.aheadCounts(f).hits);
  EXPECT_LT(sums[0].aheadHits, sums[0].aheadContainers);
  const auto unused = std::chrono::duration_cast<std::chrono::milliseconds>(fleet.aheadCounts(f).unused);
  EXPECT_LT(std::abs(sums[0].aheadUnusedMillis - unused.count()), 20);
}

TEST_F(AheadTest, NothingIsStartedAheadUnlessItIsWished) {
  predicts = false;
  for (int i = 0; i < 10; ++i) {
    const Time next = clock.now() + 1min;
    EXPECT_FALSE(use());
    playUntil(next);
  }
  EXPECT_EQ(fleet.aheadCounts(f).started, 0);
  EXPECT_FALSE(fleet.foreseen(f));
}

TEST_F(AheadTest, AScheduleIsKnownExactly) {
  nextRun = clock.now() + 1h;
  fleet.step();
  playUntil(*nextRun - 10s);
  EXPECT_TRUE(port.started.empty());
  playUntil(*nextRun);
  ASSERT_EQ(port.started.size(), 1U);
  nextRun = *nextRun + 1h;
  EXPECT_TRUE(use());
  EXPECT_EQ(fleet.aheadCounts(f).hits, 1);
  EXPECT_LT(fleet.aheadCounts(f).unused, 3s);
}

TEST_F(AheadTest, WhatIsStartedAheadDoesNotPushOutOthers) {
  function("fu-large");
  change([](Function& x) { x.resources.memoryMb = 1024, x.scaling.scaledownWindow = 20min; }, "fu-large");
  fleet.deploy(FunctionId{"fu-large"});
  const auto call = request(FunctionId{"fu-large"});
  const auto large = lastStarted();
  makeReady(large);
  begun = port.started.size();
  nextRun = clock.now() + 5s;
  playUntil(clock.now() + 6s);
  EXPECT_EQ(port.started.size(), 1U);
  EXPECT_EQ(stateOf(large), InstanceState::ready);
}

TEST_F(AheadTest, ArrivalsAreRememberedOverARestart) {
  for (int i = 0; i < 8; ++i) {
    const Time next = clock.now() + 1min;
    use();
    playUntil(next);
  }
  use();
  const auto due = fleet.foreseen(f)->forecast.due;
  playUntil(clock.now() + 20s);
  ASSERT_TRUE(meter.flush().ok());
  Meter fresh(*store, clock);
  Calls freshCalls(*store, functions, clock);
  Fleet again(*store, freshCalls, functions, orders, fresh, clock, options());
  ASSERT_TRUE(freshCalls.load().ok());
  ASSERT_TRUE(again.load().ok());
  again.deploy(f);
  ASSERT_TRUE(again.foreseen(f));
  EXPECT_LT(again.foreseen(f)->forecast.due - due, 2s);
  EXPECT_LT(due - again.foreseen(f)->forecast.due, 2s);
}

}  // namespace
}  // namespace gridiron
