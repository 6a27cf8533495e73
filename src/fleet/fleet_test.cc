#include "fleet/fleet.h"

#include <csignal>

#include "fleet/testing.h"

namespace gridiron {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST_F(FleetTest, WhatWaitsForAFunctionThatIsGoneSinceBeforeTheStartEnds) {
  const auto call = request(FunctionId{"fu-f"});
  functions.erase(f);
  Calls later(*store, functions, clock);
  ASSERT_TRUE(later.load().ok());
  Fleet fresh(*store, later, functions, orders, meter, clock);
  fresh.step();
  fresh.step();
  const auto page = later.outputs(call, {}).value();
  ASSERT_EQ(page.outputs.size(), 1u);
  EXPECT_EQ(page.outputs[0].outcome.status, OutcomeStatus::terminated);
  EXPECT_EQ(page.outputs[0].outcome.exception, "the function is no longer deployed");
}

TEST_F(FleetTest, ARequestStartsAContainerThatServesIt) {
  const auto call = request(f);
  ASSERT_EQ(port.started.size(), 1u);
  EXPECT_EQ(port.started[0].image.value, "im-1");
  EXPECT_EQ(port.started[0].resources.memoryMb, 128) << "the default";
  const auto ta = lastStarted();
  makeReady(ta);
  const auto leases = lease(ta, f);
  ASSERT_EQ(leases.size(), 1u);
  finish(ta, leases[0].input.id);
  EXPECT_EQ(outcomeOf(call)->status, OutcomeStatus::success);
  EXPECT_EQ(port.started.size(), 1u);
}

TEST_F(FleetTest, PhasesOfAColdStartAddUp) {
  request(f);
  const auto ta = lastStarted();
  clock.advance(30ms);
  fleet.sandboxRunning(ta, {{"image", 10ms}, {"exec", 20ms}});
  clock.advance(200ms);
  fleet.containerHello(ta);
  clock.advance(400ms);
  fleet.askedForInputs(ta);
  EXPECT_THAT(fleet.find(ta)->phases,
              ElementsAre(StartPhase{"queue", 0ms}, StartPhase{"place", 0ms}, StartPhase{"image", 10ms},
                          StartPhase{"exec", 20ms}, StartPhase{"interpreter", 200ms}, StartPhase{"import", 400ms}));
  fleet.startDetail(ta, {{"import numpy", 250ms}, {"own import app", 50ms}, {"enter", 90ms}});
  fleet.startDetail(ta, {{"import numpy", 1ms}});
  EXPECT_THAT(
      fleet.find(ta)->phases,
      ElementsAre(StartPhase{"queue", 0ms}, StartPhase{"place", 0ms}, StartPhase{"image", 10ms},
                  StartPhase{"exec", 20ms}, StartPhase{"interpreter", 200ms}, StartPhase{"import", 310ms},
                  StartPhase{"import numpy", 250ms}, StartPhase{"own import app", 50ms}, StartPhase{"enter", 90ms}))
      << "told once, soon after";
}

TEST_F(FleetTest, AStartThatWaitsForAWorkerIsNotPlacedMeanwhile) {
  fleet.workerLost(WorkerId{"wk-1"});
  pass(11s);
  request(f);
  pass(3s);
  join("wk-2");
  const auto ta = lastStarted();
  makeReady(ta);
  EXPECT_THAT(fleet.find(ta)->phases, testing::Contains(StartPhase{"place", 3s}));
  EXPECT_THAT(fleet.find(ta)->phases, testing::Contains(StartPhase{"queue", 0s}));
}

TEST_F(FleetTest, WithoutAWorkerARequestWaitsForOne) {
  fleet.workerLost(WorkerId{"wk-1"});
  pass(11s);
  const auto call = request(f);
  EXPECT_THAT(port.started, IsEmpty());
  join("wk-2");
  EXPECT_EQ(port.started.size(), 1u);
  EXPECT_FALSE(outcomeOf(call));
}

TEST_F(FleetTest, AnIdleContainerIsLetGoByItsKillSwitch) {
  request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  finish(ta, lease(ta, f)[0].input.id);
  pass(59s);
  EXPECT_FALSE(fleet.killSwitch(ta));
  pass(1s);
  EXPECT_TRUE(fleet.killSwitch(ta));
  exit(ta);
  EXPECT_EQ(stateOf(ta), InstanceState::gone);
  EXPECT_EQ(fleet.find(ta)->why, "idle");
  EXPECT_THAT(port.told, IsEmpty());
  EXPECT_THAT(notes.states, ElementsAre("starting", "ready", "draining", "gone"));
}

TEST_F(FleetTest, OneThatDoesNotSeeItsKillSwitchIsStoppedAndThenKilled) {
  request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  finish(ta, lease(ta, f)[0].input.id);
  pass(60s);
  pass(0s);
  pass(30s);
  EXPECT_THAT(port.told, ElementsAre("stop " + ta.value + " 30s"));
  pass(30s);
  EXPECT_THAT(port.told, Contains("stop " + ta.value + " 0s"));
  pass(15s);
  EXPECT_EQ(stateOf(ta), InstanceState::gone) << "nobody confirms it, but its room is needed";
}

TEST_F(FleetTest, AMinimumIsKeptWarmAndReplaced) {
  change([](Function& x) { x.scaling.minContainers = 2; });
  fleet.deploy(f);
  settleDown();
  ASSERT_EQ(port.started.size(), 2u);
  makeReady(port.started[0].instance);
  makeReady(port.started[1].instance);
  pass(1h);
  EXPECT_FALSE(fleet.killSwitch(port.started[0].instance));
  exit(port.started[0].instance, {.code = 1, .signal = 0, .outOfMemory = false, .error = {}});
  EXPECT_EQ(port.started.size(), 3u);
}

TEST_F(FleetTest, AnImportErrorEndsWhatWaits) {
  const auto call = request(f);
  const auto ta = lastStarted();
  fleet.containerHello(ta);
  fleet.startupFailed(ta, importError());
  settleDown();
  ASSERT_TRUE(outcomeOf(call));
  EXPECT_EQ(outcomeOf(call)->exception, "ModuleNotFoundError('bs4')");
  EXPECT_TRUE(fleet.killSwitch(ta));
  exit(ta);
  EXPECT_EQ(fleet.find(ta)->why, "ModuleNotFoundError('bs4')");
  EXPECT_EQ(port.started.size(), 1u);
}

TEST_F(FleetTest, AFailingMinimumIsStartedAgainMoreAndMoreRarely) {
  change([](Function& x) { x.scaling.minContainers = 1; });
  fleet.deploy(f);
  settleDown();
  for (int i = 0; i < 600; ++i) {
    for (const auto& instance : fleet.instances()) {
      fleet.startupFailed(instance.id, importError());
      exit(instance.id);
    }
    pass(1s);
  }
  EXPECT_GT(port.started.size(), 5u);
  EXPECT_LT(port.started.size(), 18u);
}

TEST_F(FleetTest, ANewDefinitionIsTriedAtOnceAfterFailures) {
  change([](Function& x) { x.scaling.minContainers = 1; });
  fleet.deploy(f);
  settleDown();
  fleet.startupFailed(lastStarted(), importError());
  exit(lastStarted());
  const auto before = port.started.size();
  change([](Function& x) { x.definitionId = DefinitionId{"de-2"}; });
  fleet.deploy(f);
  settleDown();
  EXPECT_EQ(port.started.size(), before + 1);
}

TEST_F(FleetTest, ACrashBeforeItIsReadyIsTriedOnceMore) {
  const auto call = request(f);
  exit(lastStarted(), {.code = 1, .signal = 0, .outOfMemory = false, .error = {}});
  EXPECT_FALSE(outcomeOf(call));
  EXPECT_EQ(port.started.size(), 1u) << "not at once";
  pass(1s);
  ASSERT_EQ(port.started.size(), 2u);
  exit(lastStarted(), {.code = 1, .signal = 0, .outOfMemory = true, .error = {}});
  ASSERT_TRUE(outcomeOf(call));
  EXPECT_EQ(outcomeOf(call)->status, OutcomeStatus::initFailure);
  EXPECT_EQ(outcomeOf(call)->exception, "Container ran out of memory before it was ready (it was given 128 MiB)");
}

TEST_F(FleetTest, ContainersThatAreKilledOnTheirWayUpAreReplaced) {
  const auto call = request(f);
  const auto other = request(f);
  ASSERT_EQ(port.started.size(), 2u);
  const ExitInfo killed{.code = 0, .signal = SIGKILL, .outOfMemory = false, .error = {}};
  const auto first = port.started[0].instance, second = port.started[1].instance;
  clock.advance(10ms);
  exit(first, killed);
  exit(second, killed);
  for (const Nanos wait : {1s, 2s, 4s}) {
    pass(wait);
    EXPECT_FALSE(outcomeOf(call));
    exit(lastStarted(), killed);
  }
  pass(8s);
  ASSERT_EQ(port.started.size(), 6u) << "the two together count as one";
  exit(lastStarted(), killed);
  EXPECT_EQ(outcomeOf(call)->status, OutcomeStatus::initFailure) << "somebody means it";
  EXPECT_TRUE(outcomeOf(other));
}

TEST_F(FleetTest, AWorkersReasonForNotStartingReachesTheCaller) {
  const auto call = request(f);
  exit(lastStarted(), {.code = 0, .signal = 0, .outOfMemory = false, .error = "image im-1: no space left"});
  EXPECT_EQ(outcomeOf(call)->exception, "Container could not be started: image im-1: no space left");
}

TEST_F(FleetTest, OneThatWasKilledWhileItWasMadeIsFollowedByAnother) {
  const auto call = request(f);
  exit(lastStarted(), {.code = 0, .signal = SIGKILL, .outOfMemory = false, .error = "it ended while it was starting"});
  pass(1s);
  EXPECT_FALSE(outcomeOf(call));
  EXPECT_EQ(port.started.size(), 2u);
}

TEST_F(FleetTest, AMissingSecretReachesTheCaller) {
  orders.error = Error{Code::notFound, "Secret 'gemini' not found"};
  const auto call = request(f);
  EXPECT_EQ(outcomeOf(call)->exception, "Secret 'gemini' not found");
  EXPECT_THAT(port.started, IsEmpty());
}

TEST_F(FleetTest, WhatNoWorkerCanHoldFailsWithTheReason) {
  change([](Function& x) { x.resources.memoryMb = 64000; });
  const auto call = request(f);
  ASSERT_TRUE(outcomeOf(call));
  EXPECT_THAT(outcomeOf(call)->exception, HasSubstr("no worker has 64000 MiB of memory"));
}

TEST_F(FleetTest, AStartThatTakesTooLongIsStopped) {
  change([](Function& x) { x.startupTimeout = 20s; });
  const auto call = request(f);
  pass(19s);
  EXPECT_FALSE(outcomeOf(call));
  pass(1s);
  EXPECT_EQ(outcomeOf(call)->exception, "Container start-up hit its timeout of 20s");
  EXPECT_THAT(port.told, ElementsAre("stop " + lastStarted().value + " 30s"));
}

TEST_F(FleetTest, ACrashFailsTheInputAndAnotherContainerServesTheNext) {
  const auto call = request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  lease(ta, f);
  exit(ta, {.code = 0, .signal = SIGSEGV, .outOfMemory = false, .error = {}});
  EXPECT_EQ(outcomeOf(call)->status, OutcomeStatus::internalFailure);
  EXPECT_EQ(outcomeOf(call)->exception, "Container was killed by signal 11");
  request(f);
  EXPECT_EQ(port.started.size(), 2u);
}

TEST_F(FleetTest, ALostWorkersInputsRunElsewhere) {
  const auto call = request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  lease(ta, f);
  fleet.workerLost(WorkerId{"wk-1"});
  join("wk-2");
  pass(9s);
  EXPECT_EQ(stateOf(ta), InstanceState::ready) << "it may come back";
  pass(1s);
  EXPECT_EQ(stateOf(ta), InstanceState::gone);
  ASSERT_EQ(port.started.size(), 2u);
  makeReady(lastStarted());
  finish(lastStarted(), lease(lastStarted(), f)[0].input.id);
  EXPECT_EQ(outcomeOf(call)->status, OutcomeStatus::success);
}

TEST_F(FleetTest, AWorkerThatComesBackKeepsItsContainers) {
  request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  fleet.workerLost(WorkerId{"wk-1"});
  clock.advance(5s);
  join("wk-1", {ta});
  pass(10s);
  EXPECT_EQ(stateOf(ta), InstanceState::ready);
  EXPECT_EQ(lease(ta, f).size(), 1u);
}

TEST_F(FleetTest, ContainersThatAreNotOursAreKilledAndLostOnesBuried) {
  request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  fleet.workerLost(WorkerId{"wk-1"});
  join("wk-1", {InstanceId{"ta-stray"}});
  EXPECT_THAT(port.told, ElementsAre("stop ta-stray 0s"));
  EXPECT_EQ(stateOf(ta), InstanceState::gone);
}

TEST_F(FleetTest, ARedeployDrainsTheOldAndServesWhatWaitsByTheNew) {
  request(f);
  const auto old = lastStarted();
  makeReady(old);
  const auto running = lease(old, f)[0].input.id;
  change([](Function& x) { x.definitionId = DefinitionId{"de-2"}; });
  fleet.deploy(f);
  settleDown();
  EXPECT_TRUE(fleet.killSwitch(old));
  const auto call = request(f);
  const auto fresh = lastStarted();
  EXPECT_NE(fresh, old);
  makeReady(fresh);
  finish(old, running);
  finish(fresh, lease(fresh, f)[0].input.id);
  EXPECT_EQ(outcomeOf(call)->status, OutcomeStatus::success);
  EXPECT_THAT(port.told, IsEmpty()) << "what ran was let run to its end";
}

TEST_F(FleetTest, WithAMinimumTheOldServesUntilTheNewIsReady) {
  change([](Function& x) { x.scaling.minContainers = 1; });
  fleet.deploy(f);
  settleDown();
  const auto old = lastStarted();
  makeReady(old);
  change([](Function& x) { x.definitionId = DefinitionId{"de-2"}; });
  fleet.deploy(f);
  settleDown();
  const auto fresh = lastStarted();
  ASSERT_NE(fresh, old);
  EXPECT_FALSE(fleet.killSwitch(old));
  makeReady(fresh);
  EXPECT_TRUE(fleet.killSwitch(old));
  EXPECT_FALSE(fleet.killSwitch(fresh));
}

TEST_F(FleetTest, DeployingTheSameAgainChangesNothing) {
  fleet.deploy(f);
  request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  fleet.deploy(f);
  settleDown();
  EXPECT_FALSE(fleet.killSwitch(ta));
}

TEST_F(FleetTest, StoppingAnAppEndsItsContainersAndWhatWaits) {
  change([](Function& x) { x.scaling.maxContainers = 1; });
  fleet.deploy(f);
  const auto running = request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  lease(ta, f);
  const auto waiting = request(f);
  fleet.stopApp(AppId{"ap-1"}, "App was stopped");
  settleDown();
  EXPECT_EQ(outcomeOf(waiting)->exception, "App was stopped");
  EXPECT_THAT(port.told, ElementsAre("stop " + ta.value + " 30s"));
  exit(ta);
  EXPECT_EQ(outcomeOf(running)->status, OutcomeStatus::terminated);
  EXPECT_EQ(port.started.size(), 1u);
}

TEST_F(FleetTest, AnInputThatRunsOutOfTimeInterruptsItsContainer) {
  change([](Function& x) { x.timeout = 5s; });
  const auto call = request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  lease(ta, f);
  pass(5s);
  EXPECT_EQ(outcomeOf(call)->status, OutcomeStatus::timeout);
  EXPECT_THAT(port.told, ElementsAre(fmt::format("signal {} {}", ta.value, SIGINT)));
  EXPECT_TRUE(fleet.killSwitch(ta));
  pass(30s);
  EXPECT_THAT(port.told, Contains("stop " + ta.value + " 0s"));
}

TEST_F(FleetTest, AContainerOfSingleUseRunsOneInput) {
  change([](Function& x) { x.singleUse = true; });
  request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  const auto leases = lease(ta, f);
  ASSERT_EQ(leases.size(), 1u);
  EXPECT_TRUE(fleet.killSwitch(ta));
  finish(ta, leases[0].input.id);
  request(f);
  EXPECT_NE(lastStarted(), ta);
}

TEST_F(FleetTest, AnIdleContainerMakesRoomForAnotherFunction) {
  change([](Function& x) { x.resources.memoryMb = 1024; });
  request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  finish(ta, lease(ta, f)[0].input.id);
  function("fu-g");
  const auto call = request(FunctionId{"fu-g"});
  EXPECT_EQ(port.started.size(), 1u);
  EXPECT_TRUE(fleet.killSwitch(ta));
  exit(ta);
  ASSERT_EQ(port.started.size(), 2u);
  EXPECT_EQ(port.started[1].function.value, "fu-g");
  EXPECT_FALSE(outcomeOf(call));
}

TEST_F(FleetTest, NoMoreContainersGoThanMakeRoom) {
  change([](Function& x) { x.resources.memoryMb = 512; });
  request(f);
  const auto first = lastStarted();
  makeReady(first);
  request(f);
  pass(50ms);
  const auto inFirst = lease(first, f).at(0).input.id;
  const auto second = lastStarted();
  makeReady(second);
  const auto inSecond = lease(second, f).at(0).input.id;
  finish(first, inFirst);
  clock.advance(1s);
  finish(second, inSecond);
  function("fu-g");
  request(FunctionId{"fu-g"});
  pass(1s);
  pass(1s);
  EXPECT_TRUE(fleet.killSwitch(first));
  EXPECT_FALSE(fleet.killSwitch(second));
}

TEST_F(FleetTest, ABusyContainerIsNotPushedOut) {
  change([](Function& x) { x.resources.memoryMb = 1024; });
  request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  lease(ta, f);
  function("fu-g");
  request(FunctionId{"fu-g"});
  EXPECT_FALSE(fleet.killSwitch(ta));
  EXPECT_EQ(port.started.size(), 1u);
}

TEST_F(FleetTest, ABuilderRunsOnceAndItsEndIsTold) {
  Function& builder = function("fu-build");
  builder.isBuilder = true;
  functions.put(builder);
  const auto ta = fleet.runOnce(builder).value();
  settleDown();
  const auto call = request(FunctionId{"fu-build"});
  ASSERT_EQ(port.started.size(), 1u) << "no other container takes the builder's input";
  EXPECT_EQ(lastStarted(), ta);
  makeReady(ta);
  EXPECT_FALSE(fleet.killSwitch(ta));
  finish(ta, lease(ta, FunctionId{"fu-build"})[0].input.id);
  EXPECT_TRUE(fleet.killSwitch(ta));
  exit(ta, {.code = 3, .signal = 0, .outOfMemory = false, .error = {}});
  EXPECT_EQ(fleet.find(ta)->exitCode, 3);
  EXPECT_EQ(fleet.find(ta)->why, "Container exited with code 3");
}

TEST_F(FleetTest, ABuilderThatCannotStartFailsItsInputAndTheBuild) {
  Function& builder = function("fu-build");
  builder.isBuilder = true;
  functions.put(builder);
  const auto ta = fleet.runOnce(builder).value();
  settleDown();
  const auto call = request(FunctionId{"fu-build"});
  fleet.containerHello(ta);
  fleet.startupFailed(ta, importError());
  settleDown();
  EXPECT_EQ(outcomeOf(call)->exception, "ModuleNotFoundError('bs4')");
  exit(ta);
  EXPECT_EQ(fleet.find(ta)->exitCode, 1) << "the client exits with 0";
  EXPECT_EQ(fleet.find(ta)->why, "ModuleNotFoundError('bs4')");
}

TEST_F(FleetTest, ABuilderWhoseFunctionFailsIsKilledBeforeItCanEndWell) {
  Function& builder = function("fu-build");
  builder.isBuilder = true;
  functions.put(builder);
  const auto ta = fleet.runOnce(builder).value();
  settleDown();
  const auto call = request(FunctionId{"fu-build"});
  makeReady(ta);
  const auto input = lease(ta, FunctionId{"fu-build"})[0].input.id;
  Outcome failed;
  failed.status = OutcomeStatus::failure;
  failed.exception = "ValueError('no')";
  ASSERT_TRUE(calls.settle(ta, input, failed).ok());
  EXPECT_FALSE(fleet.killSwitch(ta)) << "it would end with 0, and be committed";
  exit(ta, {.code = 137, .signal = 9, .outOfMemory = false, .error = {}});
  EXPECT_EQ(fleet.find(ta)->exitCode, 137);
  EXPECT_EQ(fleet.find(ta)->why, "ValueError('no')");
}

TEST_F(FleetTest, ABuilderThatEndsWithoutHavingRunFailsTheBuild) {
  Function& builder = function("fu-build");
  builder.isBuilder = true;
  functions.put(builder);
  const auto ta = fleet.runOnce(builder).value();
  settleDown();
  const auto call = request(FunctionId{"fu-build"});
  makeReady(ta);
  lease(ta, FunctionId{"fu-build"});
  exit(ta);
  EXPECT_EQ(fleet.find(ta)->exitCode, 1);
}

TEST_F(FleetTest, ABuilderThatIsLostFailsTheBuild) {
  Function& builder = function("fu-build");
  builder.isBuilder = true;
  functions.put(builder);
  const auto ta = fleet.runOnce(builder).value();
  settleDown();
  const auto call = request(FunctionId{"fu-build"});
  makeReady(ta);
  lease(ta, FunctionId{"fu-build"});
  fleet.workerLost(WorkerId{"wk-1"});
  pass(11s);
  EXPECT_EQ(outcomeOf(call)->status, OutcomeStatus::internalFailure);
}

TEST_F(FleetTest, StoppingOneContainerGracefullyLetsItFinish) {
  const auto call = request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  const auto input = lease(ta, f)[0].input.id;
  ASSERT_TRUE(fleet.stop(ta, true, "asked").ok());
  EXPECT_TRUE(fleet.killSwitch(ta));
  finish(ta, input);
  exit(ta);
  EXPECT_EQ(outcomeOf(call)->status, OutcomeStatus::success);
  EXPECT_TRUE(fleet.stop(ta, true, "again").ok());
  EXPECT_EQ(fleet.stop(InstanceId{"ta-none"}, true, "asked").error().code, Code::notFound);
}

TEST_F(FleetTest, ANonDeployedFunctionFollowsTheCatalog) {
  request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  finish(ta, lease(ta, f)[0].input.id);
  change([](Function& x) { x.definitionId = DefinitionId{"de-2"}; });
  request(f);
  EXPECT_TRUE(fleet.killSwitch(ta));
  EXPECT_NE(lastStarted(), ta);
}

TEST_F(FleetTest, UseIsWrittenDownForContainersAndInputs) {
  request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  const auto input = lease(ta, f)[0].input.id;
  clock.advance(250ms);
  finish(ta, input);
  pass(60s);
  exit(ta);
  pass(2s);
  ASSERT_TRUE(meter.flush().ok());
  const auto records = store->usage({}).value();
  ASSERT_EQ(records.size(), 2u);
  const auto sums = meter.sum(Time{}, clock.now() + 1s, UsageBy::function).value();
  ASSERT_EQ(sums.size(), 1u);
  EXPECT_EQ(sums[0].inputMillis, 250);
  EXPECT_EQ(sums[0].containerMillis, 60'250);
  EXPECT_EQ(store->instance(ta).value()->state, InstanceState::gone);
}

// The grid's objects of a process that comes after a kill, on the same store; workers join it with FakePorts.
struct Successor {
  Successor(Store& store, FunctionTable& functions, StartOrders& orders, FakeClock& clock)
      : calls(store, functions, clock), meter(store, clock), fleet(store, calls, functions, orders, meter, clock) {
    EXPECT_TRUE(calls.load().ok());
    EXPECT_TRUE(fleet.load().ok());
    fleet.deploy(FunctionId{"fu-f"});
  }
  void join(std::vector<InstanceId> running) {
    Worker worker;
    worker.id = WorkerId{"wk-1"};
    worker.milliCpu = 2000;
    worker.memoryMb = 1024;
    fleet.workerJoined(worker, port, running);
    fleet.step();
  }
  Calls calls;
  Meter meter;
  Fleet fleet;
  FakePort port;
};

TEST_F(FleetTest, AfterARestartLeftContainersAreClosedInTheBooks) {
  request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  const Time ready = clock.now();
  pass(2s);
  Successor next(*store, functions, orders, clock);
  clock.advance(10s);
  next.fleet.step();  // its worker has not come back
  next.fleet.step();
  EXPECT_EQ(store->instance(ta).value()->goneAt, ready) << "nobody saw how long it ran";
  EXPECT_TRUE(next.fleet.killSwitch(ta));
}

// The meter's record was written and the container's row was only when it had been ordered.
TEST_F(FleetTest, ABillOfAContainerThatDoesNotComeBackIsClosedWhateverItsRowSays) {
  request(f);
  const auto ta = lastStarted();
  pass(3s);
  makeReady(ta);
  ASSERT_TRUE(meter.flush().ok());
  Successor next(*store, functions, orders, clock);
  next.join({});
  ASSERT_TRUE(next.meter.flush().ok());
  ASSERT_EQ(store->usage({}).value().size(), 1u);
  EXPECT_NE(store->usage({}).value()[0].endedAt, Time{});
}

TEST_F(FleetTest, AContainerWhoseWorkerComesBackAfterARestartServesOn) {
  const auto call = request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  const auto lease = calls.lease(ta, f);
  pass(2s);
  calls.noteLeases();
  Successor next(*store, functions, orders, clock);
  EXPECT_TRUE(next.fleet.find(ta).has_value()) << "it may ask before its worker has said hello";
  next.join({ta});
  EXPECT_THAT(next.port.told, IsEmpty());
  EXPECT_THAT(next.port.started, IsEmpty()) << "what it holds is not run again";
  EXPECT_EQ(next.calls.settle(ta, lease[0].input.id, {}).value(), Settled::accepted);
  next.fleet.askedForInputs(ta);
  EXPECT_FALSE(next.fleet.killSwitch(ta));
  clock.advance(10min);
  next.fleet.step();
  next.fleet.step();
  EXPECT_EQ(next.fleet.find(ta)->why, "idle") << "and goes when nothing comes";
}

TEST_F(FleetTest, AContainerThatIsNotThereAfterARestartGivesItsInputsBack) {
  request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  calls.lease(ta, f);
  pass(2s);
  calls.noteLeases();
  Successor next(*store, functions, orders, clock);
  next.join({});
  next.fleet.step();
  EXPECT_EQ(next.calls.demandOf(f).queued, 1);
  EXPECT_EQ(next.port.started.size(), 1u);
}

TEST_F(FleetTest, AfterARestartAContainerCountsAsBusyUntilItAsks) {
  request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  calls.lease(ta, f);  // for less than it takes to be noted
  fleet.step();
  pass(2s);
  Successor next(*store, functions, orders, clock);
  next.join({ta});
  EXPECT_EQ(next.port.started.size(), 1u) << "it may run something: what waits does not wait for it";
  clock.advance(10min);
  next.fleet.step();
  EXPECT_THAT(next.port.told, Contains("stop " + ta.value + " 30s")) << "it never asked";
}

// The meter's record was written and the container's row was not.
TEST_F(FleetTest, AfterARestartNothingIsBilledOnForAContainerThatNobodyKnows) {
  request(f);
  const auto ta = lastStarted();
  makeReady(ta);
  ASSERT_TRUE(meter.flush().ok());
  ASSERT_EQ(store->usage({}).value().size(), 1u);
  Calls otherCalls{*store, functions, clock};
  Meter otherMeter{*store, clock};
  Fleet restarted{*store, otherCalls, functions, orders, otherMeter, clock};
  ASSERT_TRUE(restarted.load().ok());
  ASSERT_TRUE(otherMeter.flush().ok());
  EXPECT_NE(store->usage({}).value()[0].endedAt, Time{});
}

TEST_F(FleetTest, StatsTellBacklogAndContainers) {
  change([](Function& x) { x.scaling.maxContainers = 1; });
  request(f);
  request(f);
  EXPECT_EQ(fleet.stats(f).starting, 1);
  EXPECT_EQ(fleet.stats(f).backlog, 2);
  makeReady(lastStarted());
  lease(lastStarted(), f);
  EXPECT_EQ(fleet.stats(f).backlog, 1);
  EXPECT_EQ(fleet.stats(f).running, 1);
  EXPECT_EQ(fleet.stats(f).containers, 1);
}

TEST_F(FleetTest, WorkersHearOfWhatIsDeployedAlsoThoseThatJoinLater) {
  change([](Function& x) { x.clientVersion = "1.6.4"; });
  fleet.deploy(f);
  EXPECT_EQ(port.prepared, (std::vector<std::string>{"im-1"}));
  function("fu-builder");
  change([](Function& x) { x.clientVersion = "1.6.4", x.isBuilder = true; }, "fu-builder");
  fleet.deploy(FunctionId{"fu-builder"});
  fleet.workerLost(WorkerId{"wk-1"});
  join("wk-1");
  EXPECT_EQ(port.prepared, (std::vector<std::string>{"im-1", "im-1"}));
  fleet.withdraw(f, "stopped");
  join("wk-2");
  EXPECT_EQ(port.prepared.size(), 2u);
}

TEST_F(FleetTest, WorkersLetGoOfWhatWaitsForStartsOfAnEarlierDeployment) {
  fleet.deploy(f);
  change([](Function& x) { x.definitionId = DefinitionId{"de-2"}; });
  fleet.deploy(f);
  EXPECT_TRUE(port.retired.empty()) << "the same image and files";
  change([](Function& x) { x.definitionId = DefinitionId{"de-3"}, x.mounts = {MountId{"mo-2"}}; });
  fleet.deploy(f);
  EXPECT_EQ(port.retired, (std::vector<std::string>{"fu-f"}));
  change([](Function& x) { x.definitionId = DefinitionId{"de-4"}, x.image = ImageId{"im-2"}; });
  fleet.deploy(f);
  EXPECT_EQ(port.retired.size(), 2u);
  fleet.withdraw(f, "stopped");
  fleet.withdraw(f, "stopped");
  EXPECT_EQ(port.retired.size(), 3u);
}

}  // namespace
}  // namespace gridiron
