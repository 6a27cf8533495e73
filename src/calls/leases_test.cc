#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calls/calls.h"

namespace gridiron {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A function whose containers run three inputs at once, and a container that asks with tickets.
class LeasesTest : public ::testing::Test {
 protected:
  LeasesTest() {
    Function function;
    function.id = f;
    function.maxConcurrentInputs = 3;
    table.put(function);
  }
  InputId put() {
    CallOptions options;
    options.function = f;
    const auto call = calls.open(options).value();
    return calls.put(call, {{0, {}, ""}}).value().at(0).id;
  }
  InputId putWeb() {
    CallOptions options;
    options.function = f;
    options.kind = CallKind::web;
    return calls.put(calls.open(options).value(), {{0, {}, ""}}).value().at(0).id;
  }
  // What the container is told to stop.
  std::vector<InputId> stopped() { return calls.takeCancelled(container); }
  std::vector<InputId> ask(const std::string& ticket) {
    std::vector<InputId> ids;
    for (const auto& lease : calls.lease(container, f, 1, ticket)) ids.push_back(lease.input.id);
    return ids;
  }

  const FunctionId f{"fu-1"};
  const InstanceId container{"ta-1"};
  FunctionTable table;
  FakeClock clock;
  std::unique_ptr<Store> store = openMemoryStore();
  Calls calls{*store, table, clock};
};

TEST_F(LeasesTest, WhatWasTakenIsNotGivenToTheContainerThatAsks) {
  const auto taken = putWeb();
  EXPECT_TRUE(calls.isWebNext(f));
  ASSERT_TRUE(calls.take(container, taken));
  EXPECT_FALSE(calls.isWebNext(f));
  EXPECT_FALSE(calls.take(container, taken)) << "it runs";
  EXPECT_THAT(ask("a"), IsEmpty());
  EXPECT_EQ(calls.heldBy(container), 1);
  EXPECT_EQ(calls.settle(container, taken, {}).value(), Settled::accepted);
  EXPECT_EQ(calls.heldBy(container), 0);
}

TEST_F(LeasesTest, BothWaysTogetherFillTheContainer) {
  const auto asked = put();
  EXPECT_THAT(ask("a"), ElementsAre(asked));
  ASSERT_TRUE(calls.take(container, putWeb()));
  ASSERT_TRUE(calls.take(container, putWeb()));
  EXPECT_FALSE(calls.take(container, putWeb()));
  EXPECT_THAT(ask("b"), ElementsAre(asked)) << "as when its answer was lost, and nothing that was taken";
}

TEST_F(LeasesTest, WhatHasWaitedLongerAndIsToBeAskedForGoesFirst) {
  const auto older = put();
  const auto web = putWeb();
  EXPECT_FALSE(calls.take(container, web));
  EXPECT_THAT(ask("a"), ElementsAre(older));
  EXPECT_TRUE(calls.take(container, web));
}

TEST_F(LeasesTest, WhatWasTakenAndRanOutOfTimeDoesNotInterruptItsContainer) {
  const auto web = putWeb();
  const auto call = calls.take(container, web)->input.call;
  clock.advance(std::chrono::seconds(301));
  calls.expire();
  EXPECT_EQ(calls.outputs(call, {}).value().outputs.at(0).outcome.status, OutcomeStatus::timeout);
  EXPECT_THAT(stopped(), IsEmpty());
  EXPECT_EQ(calls.heldBy(container), 1) << "until whoever took it says that the container has ended it";
  EXPECT_EQ(calls.settle(container, web, {}).value(), Settled::stale);
  EXPECT_EQ(calls.heldBy(container), 0);
}

TEST_F(LeasesTest, WhatWasTakenIsNotRunAgainWhenItsContainerIsLost) {
  const auto call = calls.take(container, putWeb())->input.call;
  calls.abandon(container, "its worker is lost", Blame::grid);
  EXPECT_EQ(calls.outputs(call, {}).value().outputs.at(0).outcome.exception, "its worker is lost");
}

TEST_F(LeasesTest, AQuestionThatIsRepeatedGetsTheSameAnswer) {
  const auto first = put(), second = put();
  EXPECT_THAT(ask("a"), ElementsAre(first));
  EXPECT_THAT(ask("a"), ElementsAre(first)) << "our answer was lost";
  EXPECT_THAT(ask("b"), ElementsAre(second));
  EXPECT_THAT(ask("b"), ElementsAre(second));
}

TEST_F(LeasesTest, AQuestionFromBeforeTheNewestTakesNothing) {
  put();
  ask("a");
  EXPECT_THAT(ask("b"), IsEmpty());
  const auto late = put();
  EXPECT_THAT(ask("a"), IsEmpty()) << "nobody listens there any more";
  EXPECT_THAT(ask("b"), ElementsAre(late));
}

TEST_F(LeasesTest, WhatWasGivenAndHasEndedIsNotGivenAgain) {
  const auto first = put();
  ask("a");
  Outcome good;
  good.status = OutcomeStatus::success;
  EXPECT_EQ(calls.settle(container, first, good).value(), Settled::accepted);
  const auto second = put();
  EXPECT_THAT(ask("a"), ElementsAre(second));
}

TEST_F(LeasesTest, AContainerThatIsGoneHasAskedNothing) {
  const auto first = put();
  ask("a");
  calls.abandon(container, "lost", Blame::grid);
  EXPECT_THAT(ask("a"), ElementsAre(first));
}

}  // namespace
}  // namespace gridiron
