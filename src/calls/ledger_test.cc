#include "calls/ledger.h"

#include <gmock/gmock.h>

#include <set>

#include "calls/testing.h"

namespace gridiron {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Many inputs at once: what ends them does so in slices.
class ManyInputsTest : public CallsTest {
 protected:
  static constexpr int kMany = 2500;

  CallId map(int count) {
    const auto call = open(CallKind::map);
    std::vector<NewInput> inputs;
    for (int i = 0; i < count; ++i) inputs.push_back(NewInput{i, Payload{DataFormat::pickle, "args", {}}, ""});
    EXPECT_TRUE(calls().put(call, std::move(inputs)).ok());
    return call;
  }
  int unfinished(const CallId& call) { return calls().info(call).value().unfinished; }
  // Turns of the loop until nothing is due at once; how many.
  int settleDown() {
    int turns = 0;
    for (; calls().nextDeadline() <= clock.now() && turns < 100; ++turns) calls().expire();
    return turns;
  }
};

TEST_F(ManyInputsTest, CancellingAHugeMapTakesTurnsAndNothingOfItRunsAnyMore) {
  const auto call = map(kMany);
  const auto running = lease(w1)[0];
  ASSERT_TRUE(calls().cancel(call).ok());
  EXPECT_GT(unfinished(call), kMany / 2) << "the loop is not held up";
  EXPECT_THAT(calls().takeCancelled(w1), ElementsAre(running)) << "what runs is told at once";
  EXPECT_THAT(lease(w2), IsEmpty());
  EXPECT_EQ(calls().demandOf(f).queued, 0);
  const auto other = request();
  EXPECT_THAT(lease(w2), ElementsAre(other)) << "others go on";
  EXPECT_GE(settleDown(), 2);
  const auto page = calls().outputs(call, {}).value();
  EXPECT_EQ(page.outputs.size(), static_cast<std::size_t>(kMany));
  EXPECT_TRUE(page.finished);
  EXPECT_EQ(calls().info(call).value().cancelled, kMany);
}

TEST_F(ManyInputsTest, ACancellationGoesOnAfterARestartAndWhenTheDiskHasRoomAgain) {
  const auto call = map(kMany);
  ASSERT_TRUE(calls().cancel(call).ok());
  store.fill(true);
  pass(0s);
  const auto left = unfinished(call);
  EXPECT_GT(left, 0);
  EXPECT_GT(calls().nextDeadline(), clock.now()) << "it is not tried again at once";
  store.fill(false);
  restart();
  EXPECT_EQ(unfinished(call), left);
  EXPECT_THAT(lease(w1), IsEmpty());
  settleDown();
  EXPECT_EQ(unfinished(call), 0);
  EXPECT_TRUE(calls().outputs(call, {}).value().finished);
}

TEST_F(ManyInputsTest, ADelayedInputOfACancelledMapEndsToo) {
  change([](Function& x) { x.retries = RetryPolicy{3, 1.0, 1h, 1h}; });
  const auto call = map(kMany);
  settle(w1, lease(w1)[0], kBad);
  ASSERT_TRUE(calls().cancel(call).ok());
  settleDown();
  EXPECT_EQ(unfinished(call), 0);
}

TEST_F(ManyInputsTest, WhatCannotStartFailsInTurnsAndWhatComesLaterIsSpared) {
  const auto call = map(kMany);
  const auto running = lease(w1);
  calls().failWaiting(f, outcome(OutcomeStatus::initFailure, "ImportError"));
  EXPECT_EQ(calls().demandOf(f).queued, 0) << "nothing is started for what will fail";
  calls().abandon(w1, "stopped", Blame::grid);
  const auto later = request();
  EXPECT_EQ(calls().demandOf(f).queued, 2) << "what ran, and what came later";
  EXPECT_GE(settleDown(), 2);
  EXPECT_EQ(unfinished(call), 1);
  EXPECT_THAT(lease(w1), ElementsAre(running[0]));
  EXPECT_THAT(lease(w2), ElementsAre(later));
}

TEST_F(ManyInputsTest, AMapCancelledWhileItFailsIsCountedOnce) {
  const auto doomed = map(kMany), cancelled = map(kMany);
  calls().failWaiting(f, outcome(OutcomeStatus::initFailure, "ImportError"));
  put(cancelled, kMany);
  ASSERT_TRUE(calls().cancel(cancelled).ok());
  EXPECT_EQ(calls().demandOf(f).queued, 0);
  settleDown();
  EXPECT_EQ(unfinished(doomed) + unfinished(cancelled), 0);
  EXPECT_THAT(calls().demand(), IsEmpty());
}

TEST_F(ManyInputsTest, TwoCallsOfOneFunctionAreServedInTheOrderTheyCame) {
  const auto a = open(CallKind::map), b = open(CallKind::map);
  const auto a0 = put(a, 0), b0 = put(b, 0), b1 = put(b, 1), a1 = put(a, 1);
  change([](Function& x) { x.maxConcurrentInputs = 4; });
  EXPECT_THAT(lease(w1, 4), ElementsAre(a0, b0, b1, a1));
}

TEST_F(CallsTest, AFullWorkspaceSaysSo) {
  options.queueWorkspaceInputs = 2;
  restart();
  Function other = *functions.find(f);
  other.id = FunctionId{"fu-g"};
  functions.put(other);
  request();
  request();
  CallOptions o;
  o.function = other.id;
  const auto refused = calls().put(calls().open(o).value(), {NewInput{}});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::exhausted);
  EXPECT_THAT(refused.error().message, HasSubstr("of workspace '' are full: 2 inputs wait, 1 more were asked for"));
  EXPECT_THAT(refused.error().message, HasSubstr("raise queue_workspace_inputs"));
}

TEST_F(CallsTest, ArgumentsAreBoundedByTheirBytesUntilTheyAreSettled) {
  options.queueWorkspaceBytes = 10;
  restart();
  const auto first = open(), second = open();
  ASSERT_TRUE(calls().put(first, {NewInput{0, Payload{DataFormat::pickle, "12345678", {}}, ""}}).ok());
  const NewInput more{0, Payload{DataFormat::pickle, "123", {}}, ""};
  const auto input = lease(w1)[0];
  const auto refused = calls().put(second, {more});
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("8 bytes of arguments wait, 3 more were asked for and 10 may"));
  settle(w1, input);
  EXPECT_TRUE(calls().put(second, {more}).ok());
}

TEST_F(CallsTest, OutputsOfAFewIndicesAreFoundAmongMany) {
  change([](Function& x) { x.maxConcurrentInputs = 100; });
  const auto call = open(CallKind::map);
  for (int i = 0; i < 100; ++i) put(call, i);
  auto inputs = lease(w1, 100);
  std::reverse(inputs.begin(), inputs.end());
  for (const auto& input : inputs) settle(w1, input);
  OutputQuery query;
  query.indices = {40, 41};
  auto page = calls().outputs(call, query).value();
  ASSERT_EQ(page.outputs.size(), 2u);
  EXPECT_EQ(page.outputs[0].index, 41) << "in the order they were settled";
  EXPECT_EQ(page.lastEntryId, "100-0");
  query.after = page.outputs[0].sequence == 59 ? "59-0" : "";
  page = calls().outputs(call, query).value();
  ASSERT_EQ(page.outputs.size(), 1u);
  EXPECT_EQ(page.outputs[0].index, 40);
}

}  // namespace
}  // namespace gridiron
