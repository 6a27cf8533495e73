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
