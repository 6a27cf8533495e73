#include "calls/calls.h"

#include <gmock/gmock.h>

#include "calls/retry.h"
#include "calls/stream.h"
#include "calls/testing.h"

namespace gridiron {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// --- put, lease, settle ---

TEST_F(CallsTest, AnInputIsLeasedOnceAndItsOutcomeReachesTheCaller) {
  const auto call = open();
  const auto input = put(call);
  EXPECT_THAT(notes.take(), ElementsAre("queued fu-f"));
  EXPECT_THAT(lease(w1), ElementsAre(input));
  EXPECT_THAT(lease(w2), IsEmpty());
  EXPECT_EQ(settle(w1, input), Settled::accepted);
  EXPECT_THAT(notes.take(), ElementsAre("ended success", "outputs"));
  EXPECT_EQ(outcomeOf(call), kGood);
  EXPECT_THAT(lease(w1), IsEmpty());
}

TEST_F(CallsTest, AnObserverGivenTwiceIsToldOnce) {
  calls().observe(notes);
  request();
  EXPECT_THAT(notes.take(), ElementsAre("queued fu-f"));
}

TEST_F(CallsTest, TheOldestComesFirst) {
  const auto first = request(), second = request(), third = request();
  EXPECT_THAT(lease(w1), ElementsAre(first));
  EXPECT_THAT(lease(w2), ElementsAre(second));
  EXPECT_THAT(lease(InstanceId{"ta-3"}), ElementsAre(third));
}

TEST_F(CallsTest, AContainerThatAsksAgainWithoutASettlementGetsTheSame) {
  const auto input = request();
  request();
  EXPECT_THAT(lease(w1), ElementsAre(input));
  EXPECT_THAT(lease(w1), ElementsAre(input)) << "our answer was lost";
}

TEST_F(CallsTest, AContainerWithFreeSlotsGetsMore) {
  change([](Function& x) { x.maxConcurrentInputs = 2; });
  const auto first = request(), second = request();
  request();
  EXPECT_THAT(lease(w1), ElementsAre(first));
  EXPECT_THAT(lease(w1), ElementsAre(second));
  EXPECT_THAT(lease(w1), ElementsAre(first, second)) << "no slot is free";
}

TEST_F(CallsTest, AskingForManyGivesNoMoreThanTheSlots) {
  change([](Function& x) { x.maxConcurrentInputs = 2; });
  for (int i = 0; i < 5; ++i) request();
  EXPECT_EQ(lease(w1, 1).size(), 1u);
  EXPECT_EQ(lease(w1, 10).size(), 1u);
}

TEST_F(CallsTest, OnlyTheHolderMaySettle) {
  const auto call = open();
  const auto input = put(call);
  lease(w1);
  EXPECT_EQ(settle(w2, input), Settled::stale);
  EXPECT_THAT(indices(call), IsEmpty());
  EXPECT_EQ(settle(w1, input), Settled::accepted);
  EXPECT_EQ(settle(w1, input, kBad), Settled::stale) << "once";
  EXPECT_EQ(outcomeOf(call), kGood);
}

TEST_F(CallsTest, AnUnknownFunctionCannotBeCalled) {
  CallOptions o;
  o.function = FunctionId{"fu-none"};
  EXPECT_EQ(calls().open(o).error(), (Error{Code::notFound, "Function 'fu-none' not found"}));
}

TEST_F(CallsTest, AFullQueueSaysHowFull) {
  options.queueInputs = 2;
  restart();
  request();
  request();
  const auto call = open();
  const auto refused = calls().put(call, {NewInput{}});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::exhausted);
  EXPECT_THAT(refused.error().message,
              HasSubstr("'resize' is full: 2 inputs wait, 1 more were asked for and 2 may wait in all"));
  EXPECT_THAT(refused.error().message, HasSubstr("raise queue_inputs"));
  lease(w1);
  EXPECT_TRUE(calls().put(call, {NewInput{}}).ok()) << "what runs does not wait";
}

TEST_F(CallsTest, AnIndexPutAgainGivesTheSameInput) {
  const auto call = open(CallKind::map);
  const auto input = put(call, 3);
  EXPECT_EQ(put(call, 3), input);
  EXPECT_EQ(calls().demandOf(f).queued, 1);
}

TEST_F(CallsTest, AUnaryCallTakesOneInput) {
  const auto call = open();
  put(call);
  EXPECT_EQ(calls().put(call, {NewInput{1, {}, ""}}).error().code, Code::invalidArgument);
  EXPECT_EQ(calls().put(open(CallKind::map), {NewInput{-1, {}, ""}}).error().code, Code::invalidArgument);
}

// --- outputs ---

TEST_F(CallsTest, OutputsAreReadByCursorInTheOrderTheyCame) {
  change([](Function& x) { x.maxConcurrentInputs = 3; });
  const auto call = open(CallKind::map);
  std::vector<InputId> inputs;
  for (int i = 0; i < 3; ++i) inputs.push_back(put(call, i));
  lease(w1, 3);
  settle(w1, inputs[2]);
  settle(w1, inputs[0]);
  auto page = calls().outputs(call, {}).value();
  EXPECT_THAT(indices(call), ElementsAre(2, 0));
  EXPECT_EQ(page.lastEntryId, "2-0");
  EXPECT_EQ(page.unfinishedInputs, 1);
  EXPECT_THAT(indices(call, page.lastEntryId), IsEmpty());
  settle(w1, inputs[1]);
  EXPECT_THAT(indices(call, page.lastEntryId), ElementsAre(1));
}

TEST_F(CallsTest, OutputsAreReadByIndex) {
  change([](Function& x) { x.maxConcurrentInputs = 3; });
  const auto call = open(CallKind::map);
  std::vector<InputId> inputs;
  for (int i = 0; i < 3; ++i) inputs.push_back(put(call, i));
  lease(w1, 3);
  for (const auto& input : inputs) settle(w1, input);
  OutputQuery query;
  query.indices = {1, 1};
  const auto page = calls().outputs(call, query).value();
  ASSERT_EQ(page.outputs.size(), 1u);
  EXPECT_EQ(page.outputs[0].index, 1);
  EXPECT_EQ(page.lastEntryId, "3-0");
}

TEST_F(CallsTest, APageIsBoundedAndTheNextGoesOn) {
  change([](Function& x) { x.maxConcurrentInputs = 3; });
  const auto call = open(CallKind::map);
  for (int i = 0; i < 3; ++i) put(call, i);
  for (const auto& input : lease(w1, 3)) settle(w1, input);
  OutputQuery query;
  query.most = 2;
  auto page = calls().outputs(call, query).value();
  EXPECT_EQ(page.outputs.size(), 2u);
  EXPECT_EQ(page.lastEntryId, "2-0");
  query = {};
  query.mostBytes = 1;
  page = calls().outputs(call, query).value();
  EXPECT_EQ(page.outputs.size(), 1u) << "one always, however large";
}

TEST_F(CallsTest, AMapIsFinishedWhenAllItsInputsCameAndEnded) {
  const auto call = open(CallKind::map);
  const auto input = put(call, 0);
  lease(w1);
  settle(w1, input);
  EXPECT_FALSE(calls().outputs(call, {}).value().finished) << "others may follow";
  ASSERT_TRUE(calls().finishInputs(call, 1).ok());
  EXPECT_TRUE(calls().outputs(call, {}).value().finished);
}

TEST_F(CallsTest, EntryIdsReadBack) {
  EXPECT_EQ(entryId(17), "17-0");
  EXPECT_EQ(sequenceOf("17-0"), 17);
  EXPECT_EQ(sequenceOf(""), 0);
  EXPECT_EQ(sequenceOf("junk"), 0);
  EXPECT_EQ(sequenceOf("-5-0"), 0);
}

TEST_F(CallsTest, AClearedCallIsForgottenAMinuteLaterAndNotBefore) {
  const auto call = open();
  const auto input = put(call);
  lease(w1);
  settle(w1, input);
  OutputQuery query;
  query.clearOnSuccess = true;
  ASSERT_TRUE(calls().outputs(call, query).ok());
  pass(30s);
  EXPECT_EQ(outcomeOf(call), kGood) << "the reply may have been lost";
  pass(61s);
  EXPECT_EQ(calls().outputs(call, {}).error().code, Code::notFound);
}

TEST_F(CallsTest, AResultIsKeptForAWeekAlsoAcrossARestart) {
  const auto call = open(CallKind::unary, CallMode::async);
  const auto input = put(call);
  lease(w1);
  settle(w1, input);
  pass(1h);
  EXPECT_EQ(outcomeOf(call), kGood) << "from the store";
  restart();
  EXPECT_EQ(outcomeOf(call), kGood);
  pass(24h * 8);
  pass(1h);
  pass(1h);
  EXPECT_EQ(calls().outputs(call, {}).error().code, Code::notFound);
}

// --- retries ---

TEST_F(CallsTest, AFailureIsRunAgainAfterTheDelayAsTheNextAttempt) {
  change([](Function& x) { x.retries = RetryPolicy{2, 2.0, 10s, 60s}; });
  const auto call = open();
  const auto input = put(call);
  lease(w1);
  notes.take();
  settle(w1, input, kBad);
  EXPECT_THAT(notes.take(), ElementsAre("attempt failure"));
  EXPECT_THAT(lease(w1), IsEmpty());
  EXPECT_EQ(calls().nextDeadline(), clock.now() + 10s);
  pass(10s);
  EXPECT_THAT(notes.take(), ElementsAre("queued fu-f"));
  const auto leases = calls().lease(w1, f);
  ASSERT_EQ(leases.size(), 1u);
  EXPECT_EQ(leases[0].input.id, input);
  EXPECT_EQ(leases[0].input.attempt, 1);
  settle(w1, input, kBad);
  pass(19s);
  EXPECT_THAT(lease(w1), IsEmpty());
  pass(1s);
  lease(w1);
  settle(w1, input, kBad);
  EXPECT_EQ(outcomeOf(call), kBad) << "three attempts are all";
}

TEST_F(CallsTest, ASuccessOfAnEarlierAttemptDoesNotSettleALaterOne) {
  change([](Function& x) { x.retries = RetryPolicy{1, 1.0, 0s, 0s}; });
  const auto input = request();
  lease(w1);
  settle(w1, input, kBad);
  pass(0s);
  lease(w1);
  EXPECT_EQ(calls().settle(w1, input, kGood, 0).value(), Settled::stale);
  EXPECT_EQ(calls().settle(w1, input, kGood, 1).value(), Settled::accepted);
}

TEST_F(CallsTest, ARetryThatWaitsSurvivesARestart) {
  change([](Function& x) { x.retries = RetryPolicy{1, 1.0, 60s, 60s}; });
  const auto input = request();
  lease(w1);
  settle(w1, input, kBad);
  restart();
  EXPECT_THAT(lease(w1), IsEmpty());
  pass(60s);
  EXPECT_EQ(calls().lease(w1, f).at(0).input.attempt, 1);
}

TEST(Retry, DelaysGrowUpToTheMost) {
  const RetryPolicy policy{5, 2.0, 1s, 5s};
  EXPECT_EQ(retryDelay(policy, 0), 1s);
  EXPECT_EQ(retryDelay(policy, 1), 2s);
  EXPECT_EQ(retryDelay(policy, 2), 4s);
  EXPECT_EQ(retryDelay(policy, 3), 5s);
  EXPECT_EQ(retryDelay(policy, 5), std::nullopt);
  EXPECT_EQ(retryDelay(RetryPolicy{}, 0), std::nullopt);
  EXPECT_EQ(retryDelay(RetryPolicy{10000, 10.0, 1s, 60s}, 9000), 60s) << "no overflow";
}

TEST(Retry, WhatWasCancelledOrCannotStartIsNotTriedAgain) {
  EXPECT_TRUE(isWorthRetrying(OutcomeStatus::failure));
  EXPECT_TRUE(isWorthRetrying(OutcomeStatus::timeout));
  EXPECT_FALSE(isWorthRetrying(OutcomeStatus::success));
  EXPECT_FALSE(isWorthRetrying(OutcomeStatus::terminated));
  EXPECT_FALSE(isWorthRetrying(OutcomeStatus::initFailure));
}

// --- lost containers ---

TEST_F(CallsTest, AStoppedContainersInputGoesToTheHeadOfTheQueue) {
  const auto first = request();
  request();
  lease(w1);
  calls().abandon(w1, "stopped", Blame::grid);
  EXPECT_THAT(lease(w2), ElementsAre(first));
  EXPECT_EQ(settle(w1, first), Settled::stale) << "the lost one is fenced off";
  EXPECT_EQ(settle(w2, first), Settled::accepted);
}

TEST_F(CallsTest, AnInputWhoseContainersKeepVanishingFails) {
  const auto call = open();
  put(call);
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(lease(w1).size(), 1u);
    calls().abandon(w1, "worker lost", Blame::grid);
  }
  EXPECT_EQ(outcomeOf(call), outcome(OutcomeStatus::internalFailure, "worker lost"));
}

TEST_F(CallsTest, ACrashCostsAnAttempt) {
  const auto call = open();
  put(call);
  lease(w1);
  calls().abandon(w1, "exited with code 139", Blame::container);
  EXPECT_EQ(outcomeOf(call), outcome(OutcomeStatus::internalFailure, "exited with code 139"));
  change([](Function& x) { x.retries = RetryPolicy{1, 1.0, 1s, 1s}; });
  const auto again = request();
  lease(w1);
  calls().abandon(w1, "exited with code 139", Blame::container);
  pass(1s);
  EXPECT_THAT(lease(w2), ElementsAre(again));
}

TEST_F(CallsTest, AWebRequestThatHasBegunIsNotRunTwice) {
  const auto fresh = open(CallKind::web), begun = open(CallKind::web);
  put(fresh);
  put(begun);
  lease(w1);
  lease(w2);
  ASSERT_TRUE(calls().push(begun, Direction::out, {DataChunk{1, {}}}).ok());
  calls().abandon(w1, "lost", Blame::grid);
  calls().abandon(w2, "lost", Blame::grid);
  EXPECT_EQ(calls().outputs(fresh, {}).value().unfinishedInputs, 1);
  EXPECT_EQ(outcomeOf(begun).status, OutcomeStatus::internalFailure);
}

TEST_F(CallsTest, WhatCannotStartFailsAllThatWaitsAndNothingThatRuns) {
  change([](Function& x) { x.retries = RetryPolicy{3, 1.0, 1s, 1s}; });
  const auto running = open(), waiting = open();
  put(running);
  put(waiting);
  lease(w1);
  calls().failWaiting(f, outcome(OutcomeStatus::initFailure, "ImportError"));
  EXPECT_EQ(outcomeOf(waiting).exception, "ImportError");
  EXPECT_EQ(calls().outputs(running, {}).value().unfinishedInputs, 1);
  EXPECT_EQ(calls().demandOf(f).queued, 0);
}

// --- time-outs ---

TEST_F(CallsTest, AnInputThatRunsTooLongEndsAndItsContainerIsInterrupted) {
  change([](Function& x) { x.timeout = 5s; });
  const auto call = open();
  const auto input = put(call);
  lease(w1);
  EXPECT_EQ(calls().nextDeadline(), clock.now() + 5s);
  notes.take();
  pass(5s);
  EXPECT_THAT(notes.take(), ElementsAre("ended timeout", "outputs", "interrupt ta-1"));
  EXPECT_THAT(outcomeOf(call).exception, HasSubstr("hit its timeout of 5s"));
  EXPECT_EQ(settle(w1, input), Settled::stale);
}

TEST_F(CallsTest, WaitingCostsNoTime) {
  change([](Function& x) { x.timeout = 5s; });
  const auto call = open();
  put(call);
  pass(1h);
  lease(w1);
  pass(4s);
  EXPECT_EQ(calls().outputs(call, {}).value().unfinishedInputs, 1);
}

TEST_F(CallsTest, BesideOthersOnlyTheLateInputIsCancelled) {
  change([](Function& x) {
    x.timeout = 5s;
    x.maxConcurrentInputs = 2;
  });
  const auto late = request();
  lease(w1);
  pass(3s);
  const auto other = request();
  lease(w1);
  notes.take();
  pass(2s);
  EXPECT_THAT(notes.take(), ElementsAre("ended timeout", "outputs", "cancel ta-1"));
  EXPECT_THAT(calls().takeCancelled(w1), ElementsAre(late));
  EXPECT_THAT(calls().takeCancelled(w1), IsEmpty()) << "told once";
  EXPECT_EQ(settle(w1, other), Settled::accepted);
}

TEST_F(CallsTest, ATimedOutInputThatIsRetriedInTheSameContainerCanSettle) {
  change([](Function& x) {
    x.timeout = 5s;
    x.maxConcurrentInputs = 2;
    x.retries = RetryPolicy{1, 1.0, 1s, 1s};
  });
  const auto input = request();
  lease(w1);
  pass(5s);
  pass(1s);
  EXPECT_THAT(lease(w1), ElementsAre(input));
  EXPECT_EQ(calls().heldBy(w1), 1);
  EXPECT_EQ(calls().settle(w1, input, kGood, 1).value(), Settled::accepted);
  EXPECT_EQ(calls().demandOf(f), (Demand{f, 0, 0, Time{}}));
}

TEST_F(CallsTest, ATimeoutThatARedeployChangedDoesNotTouchWhatRuns) {
  change([](Function& x) { x.timeout = 5s; });
  const auto input = request();
  lease(w1);
  change([](Function& x) { x.timeout = 50s; });
  request();
  lease(w2);
  EXPECT_EQ(settle(w1, input), Settled::accepted);
  pass(10s);
  EXPECT_EQ(calls().heldBy(w2), 1);
}

// --- cancelling ---

TEST_F(CallsTest, CancellingEndsWhatWaitsAndTellsWhoRuns) {
  const auto call = open(CallKind::map);
  const auto running = put(call, 0);
  put(call, 1);
  lease(w1);
  notes.take();
  ASSERT_TRUE(calls().cancel(call).ok());
  EXPECT_THAT(notes.take(), testing::Contains("cancel ta-1"));
  EXPECT_EQ(calls().outputs(call, {}).value().unfinishedInputs, 0);
  EXPECT_EQ(outcomeOf(call).status, OutcomeStatus::terminated);
  EXPECT_THAT(calls().takeCancelled(w1), ElementsAre(running));
  EXPECT_THAT(lease(w2), IsEmpty());
  EXPECT_EQ(calls().put(call, {NewInput{2, {}, ""}}).error().code, Code::failedPrecondition);
}

TEST_F(CallsTest, ACancelledInputHoldsItsSlotUntilTheContainerSaysSo) {
  const auto call = open();
  const auto input = put(call);
  lease(w1);
  ASSERT_TRUE(calls().cancel(call).ok());
  EXPECT_EQ(calls().demandOf(f).running, 1);
  EXPECT_EQ(settle(w1, input, outcome(OutcomeStatus::terminated)), Settled::stale);
  EXPECT_EQ(calls().demandOf(f).running, 0);
  EXPECT_EQ(calls().outputs(call, {}).value().outputs.size(), 1u);
}

TEST_F(CallsTest, CancellingWithContainersInterruptsThem) {
  const auto call = open();
  put(call);
  lease(w1);
  notes.take();
  ASSERT_TRUE(calls().cancel(call, Terminate::containers).ok());
  EXPECT_THAT(notes.take(), testing::Contains("interrupt ta-1"));
  EXPECT_THAT(calls().takeCancelled(w1), IsEmpty());
}

TEST_F(CallsTest, WhatAContainerDoesNotEndIsToldItAgain) {
  const auto call = open();
  const auto input = put(call);
  lease(w1);
  ASSERT_TRUE(calls().cancel(call).ok());
  EXPECT_THAT(calls().takeCancelled(w1), ElementsAre(input));
  EXPECT_THAT(calls().takeCancelled(w1), IsEmpty());
  pass(1s);
  EXPECT_THAT(calls().takeCancelled(w1), ElementsAre(input)) << "it may have been about to begin when it was told";
  settle(w1, input, outcome(OutcomeStatus::terminated));
  pass(1s);
  EXPECT_THAT(calls().takeCancelled(w1), IsEmpty());
}

TEST_F(CallsTest, InputsBesideACancelledOneAreRunAgainWhenTheirContainerEndsForIt) {
  change([](Function& x) { x.maxConcurrentInputs = 2; });
  const auto call = open(), beside = open();
  put(call);
  const auto other = put(beside);
  lease(w1, 2);
  ASSERT_TRUE(calls().cancel(call).ok());
  calls().takeCancelled(w1);
  calls().abandon(w1, "Container exited with code 0", Blame::container);
  EXPECT_THAT(lease(w2), ElementsAre(other));
  EXPECT_EQ(calls().input(other)->attempt, 0) << "it cost no attempt";
  EXPECT_EQ(settle(w2, other), Settled::accepted);
  EXPECT_EQ(outcomeOf(beside), kGood);
}

TEST_F(CallsTest, CancellingAFinishedCallChangesNothing) {
  const auto call = open();
  const auto input = put(call);
  lease(w1);
  settle(w1, input);
  ASSERT_TRUE(calls().cancel(call).ok());
  EXPECT_EQ(outcomeOf(call), kGood);
  EXPECT_EQ(calls().cancel(CallId{"fc-none"}).error().code, Code::notFound);
}

TEST_F(CallsTest, AClientThatHangsUpCancelsItsWebCall) {
  const auto call = open(CallKind::web);
  const auto input = put(call);
  lease(w1);
  calls().close(call);
  EXPECT_THAT(calls().takeCancelled(w1), ElementsAre(input));
  EXPECT_EQ(calls().outputs(call, {}).error().code, Code::notFound);
  EXPECT_EQ(settle(w1, input), Settled::stale);
}

// --- batches ---

TEST_F(CallsTest, ABatchIsHandedOutWhenItIsFull) {
  change([](Function& x) { x.batching = Batching{3, 1s}; });
  request();
  request();
  EXPECT_THAT(lease(w1), IsEmpty());
  request();
  request();
  EXPECT_EQ(lease(w1).size(), 3u);
  EXPECT_EQ(lease(w1).size(), 3u) << "the same again";
  EXPECT_EQ(calls().demandOf(f).queued, 1);
}

TEST_F(CallsTest, ABatchIsHandedOutWhenItHasLingered) {
  change([](Function& x) { x.batching = Batching{3, 1s}; });
  request();
  clock.advance(400ms);
  request();
  EXPECT_EQ(calls().nextDeadline(), clock.now() + 600ms);
  notes.take();
  pass(600ms);
  EXPECT_THAT(notes.take(), ElementsAre("queued fu-f"));
  EXPECT_EQ(lease(w1).size(), 2u);
}

TEST_F(CallsTest, ABatchIsCancelledWhenNobodyWantsAnyOfIt) {
  change([](Function& x) { x.batching = Batching{2, 1s}; });
  const auto one = open(), two = open();
  const auto first = put(one), second = put(two);
  ASSERT_THAT(lease(w1), ElementsAre(first, second));
  ASSERT_TRUE(calls().cancel(one).ok());
  EXPECT_EQ(outcomeOf(one).status, OutcomeStatus::terminated);
  EXPECT_THAT(calls().takeCancelled(w1), IsEmpty()) << "it would end the other one too";
  ASSERT_TRUE(calls().cancel(two).ok());
  EXPECT_THAT(calls().takeCancelled(w1), ElementsAre(first, second));
}

TEST_F(CallsTest, ABatchIsOfOneMethod) {
  change([](Function& x) { x.batching = Batching{2, 1s}; });
  const auto call = open(CallKind::map);
  const auto a1 = put(call, 0, "a");
  const auto b1 = put(call, 1, "b");
  const auto a2 = put(call, 2, "a");
  EXPECT_THAT(lease(w1), ElementsAre(a1, a2));
  EXPECT_THAT(lease(w2), IsEmpty());
  pass(1s);
  EXPECT_THAT(lease(w2), ElementsAre(b1));
}

// --- streams ---

TEST_F(CallsTest, ChunksAreReadAfterAnIndexUntilAcknowledged) {
  const auto call = open(CallKind::web);
  ASSERT_TRUE(calls().push(call, Direction::out, {DataChunk{1, {}}, DataChunk{2, {}}}).ok());
  EXPECT_THAT(notes.take(), ElementsAre("out"));
  EXPECT_EQ(calls().read(call, Direction::out, 0).value().size(), 2u);
  EXPECT_EQ(calls().read(call, Direction::out, 1).value().size(), 1u);
  EXPECT_TRUE(calls().read(call, Direction::in, 0).value().empty());
  calls().acknowledge(call, Direction::out, 1);
  EXPECT_EQ(calls().read(call, Direction::out, 0).value().at(0).index, 2);
  EXPECT_EQ(calls().read(CallId{"fc-none"}, Direction::out, 0).error().code, Code::notFound);
}

DataChunk chunk(std::int64_t index, std::size_t bytes) {
  return DataChunk{index, Payload{DataFormat::asgi, std::string(bytes, 'x'), {}}};
}

TEST(Stream, AChunkSentAgainCountsOnce) {
  Stream stream;
  ASSERT_TRUE(stream.push({chunk(1, 5), chunk(2, 5)}, 100).ok());
  ASSERT_TRUE(stream.push({chunk(2, 5), chunk(3, 5)}, 100).ok());
  EXPECT_EQ(stream.read(0).size(), 3u);
}

TEST(Stream, AGapIsRefusedAndNothingOfItKept) {
  Stream stream;
  EXPECT_EQ(stream.push({chunk(1, 5), chunk(3, 5)}, 100).error().code, Code::invalidArgument);
  EXPECT_TRUE(stream.untouched());
}

TEST(Stream, AFullStreamTakesMoreOnceTheReaderHasRead) {
  Stream stream;
  ASSERT_TRUE(stream.push({chunk(0, 80)}, 100).ok());
  EXPECT_EQ(stream.push({chunk(0, 30)}, 100).error().code, Code::exhausted);
  stream.acknowledge(1);
  EXPECT_FALSE(stream.complete());
  ASSERT_TRUE(stream.push({chunk(0, 300)}, 100).ok()) << "one large chunk passes an empty stream";
  EXPECT_EQ(stream.read(0).at(0).index, 2);
}

// --- looking ---

TEST_F(CallsTest, TheInputThatRunsAloneIsTheCurrentOne) {
  change([](Function& x) { x.maxConcurrentInputs = 2; });
  EXPECT_FALSE(calls().currentInput(w1));
  const auto input = request();
  lease(w1);
  EXPECT_EQ(calls().currentInput(w1)->id, input);
  request();
  lease(w1);
  EXPECT_FALSE(calls().currentInput(w1)) << "whose the lines are cannot be told";
}

TEST_F(CallsTest, DemandTellsWhatWaitsAndRuns) {
  const auto start = clock.now();
  request();
  clock.advance(1s);
  request();
  EXPECT_THAT(calls().demand(), ElementsAre(Demand{f, 2, 0, start}));
  lease(w1);
  EXPECT_THAT(calls().demand(), ElementsAre(Demand{f, 1, 1, start + 1s}));
}

TEST_F(CallsTest, WhatIsNotSettledIsListedTheNewestFirst) {
  const auto running = request(), older = request();
  const auto map = open(CallKind::map);
  const auto first = put(map, 0), second = put(map, 1);
  lease(w1);
  std::vector<InputId> all;
  for (const auto& input : calls().unsettled(f, 10)) all.push_back(input.id);
  EXPECT_THAT(all, ElementsAre(running, second, first, older));
  EXPECT_EQ(calls().unsettled(f, 2).size(), 2u);
}

TEST_F(CallsTest, InfoCountsInputsAndOutcomes) {
  change([](Function& x) { x.maxConcurrentInputs = 3; });
  const auto call = open(CallKind::map);
  const auto good = put(call, 0), bad = put(call, 1);
  put(call, 2);
  lease(w1, 3);
  settle(w1, good);
  settle(w1, bad, kBad);
  const auto info = calls().info(call).value();
  EXPECT_EQ(std::tuple(info.inputs, info.unfinished, info.succeeded, info.failed), std::tuple(3, 1, 1, 1));
}

// --- the store ---

TEST_F(CallsTest, WhatWasAcceptedIsRunAfterARestart) {
  const auto spawned = open(CallKind::unary, CallMode::async);
  const auto input = put(spawned);
  const auto running = request();
  lease(w1);
  restart();
  EXPECT_EQ(settle(w1, input), Settled::stale) << "leases end with the process";
  EXPECT_EQ(calls().demandOf(f).queued, 2);
  const auto again = calls().lease(w2, f);
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].input.args.data, "args");
  EXPECT_TRUE(calls().input(running));
}

TEST_F(CallsTest, HalfAMapGoesOnAfterARestart) {
  change([](Function& x) { x.maxConcurrentInputs = 2; });
  const auto call = open(CallKind::map);
  const auto first = put(call, 0);
  put(call, 1);
  lease(w1);
  settle(w1, first);
  restart();
  EXPECT_THAT(indices(call), ElementsAre(0));
  EXPECT_EQ(put(call, 0), first) << "an index keeps its id";
  const auto left = lease(w2);
  ASSERT_EQ(left.size(), 1u);
  settle(w2, left[0]);
  EXPECT_THAT(indices(call), ElementsAre(0, 1));
}

TEST_F(CallsTest, WebCallsAreNotWritten) {
  request(CallKind::web);
  EXPECT_THAT(store.unfinishedCalls().value(), IsEmpty());
}

TEST_F(CallsTest, OnAFullDiskNothingIsAcceptedAndNothingLost) {
  const auto call = open();
  const auto input = put(call);
  lease(w1);
  store.fill(true);
  const auto refused = open();
  EXPECT_EQ(calls().put(refused, {NewInput{}}).error().code, Code::exhausted);
  EXPECT_EQ(calls().demandOf(f).queued, 0);
  EXPECT_EQ(calls().settle(w1, input, kGood).error().code, Code::exhausted);
  store.fill(false);
  EXPECT_EQ(settle(w1, input), Settled::accepted) << "the container tried again";
  EXPECT_EQ(outcomeOf(call), kGood);
}

TEST_F(CallsTest, WhatEndsWithoutACallerIsOwedToAFullDisk) {
  const auto call = open();
  put(call);
  store.fill(true);
  calls().failWaiting(f, outcome(OutcomeStatus::initFailure, "ImportError"));
  EXPECT_THAT(indices(call), IsEmpty()) << "nobody is shown what a restart would forget";
  EXPECT_EQ(calls().outputs(call, {}).value().unfinishedInputs, 1);
  pass(0s);
  store.fill(false);
  notes.take();
  pass(1s);
  EXPECT_THAT(notes.take(), ElementsAre("outputs"));
  EXPECT_EQ(outcomeOf(call).exception, "ImportError");
  restart();
  EXPECT_EQ(outcomeOf(call).exception, "ImportError");
}

TEST_F(CallsTest, WhatIsOwedToTheStoreIsWrittenBeforeWhatCameLater) {
  const auto call = open(CallKind::map);
  put(call, 0);
  const auto running = lease(w1)[0];
  put(call, 1);
  store.fill(true);
  calls().failWaiting(f, kBad);
  store.fill(false);
  EXPECT_EQ(settle(w1, running), Settled::accepted);
  restart();
  EXPECT_THAT(indices(call), ElementsAre(1, 0));
}

TEST_F(CallsTest, AContainerThatNeverHeardOfACancelledInputHasDoneWithItWhenItAsksForMore) {
  const auto call = open();
  put(call);
  lease(w1);
  ASSERT_TRUE(calls().cancel(call).ok());
  EXPECT_EQ(calls().heldBy(w1), 1) << "it may still run it";
  EXPECT_THAT(lease(w1), IsEmpty());
  EXPECT_EQ(calls().heldBy(w1), 0);
}

TEST_F(CallsTest, AContainerThatDoesNotEndACancelledInputIsInterruptedAfterAMinute) {
  const auto call = open();
  put(call);
  lease(w1);
  ASSERT_TRUE(calls().cancel(call).ok());
  notes.take();
  pass(59s);
  EXPECT_THAT(notes.take(), IsEmpty());
  pass(31s);
  EXPECT_THAT(notes.take(), ElementsAre("interrupt ta-1"));
}

TEST_F(CallsTest, MemoryIsGivenBackAndTheStoreStillKnows) {
  const auto call = open();
  const auto input = put(call);
  lease(w1);
  settle(w1, input);
  pass(11min);
  EXPECT_FALSE(calls().push(call, Direction::out, {DataChunk{}}).ok()) << "not in memory";
  EXPECT_EQ(outcomeOf(call), kGood);
}

}  // namespace
}  // namespace gridiron
