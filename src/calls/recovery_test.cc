#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calls/testing.h"

namespace gridiron {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

class RecoveryTest : public CallsTest {
 protected:
  Result<std::vector<AcceptedInput>> again(const CallId& call, int index = 0, int which = 0) {
    return calls().retry(call, {RetriedInput{index, which, Payload{DataFormat::pickle, "args", {}}, ""}});
  }
  std::vector<std::pair<int, int>> outputs(const CallId& call, const std::string& after = "0-0") {
    OutputQuery query;
    query.after = after;
    std::vector<std::pair<int, int>> all;  // index, which try of the caller's
    const auto page = calls().outputs(call, query).value();
    for (const auto& o : page.outputs) all.emplace_back(o.index, o.again);
    return all;
  }
};

// --- leases over a restart ---

TEST_F(RecoveryTest, AContainerKeepsOverARestartWhatItHadForAWhile) {
  const auto input = request();
  lease(w1);
  pass(2s);
  calls().noteLeases();
  restart();
  EXPECT_THAT(calls().holders(), ElementsAre(w1));
  EXPECT_THAT(lease(w2), IsEmpty()) << "w1 has it";
  EXPECT_EQ(calls().demandOf(f).running, 1);
  EXPECT_EQ(settle(w1, input), Settled::accepted);
  EXPECT_THAT(calls().holders(), IsEmpty());
}

TEST_F(RecoveryTest, WhatMayNeverHaveReachedAContainerOfSeveralIsNotNoted) {
  change([](Function& x) { x.maxConcurrentInputs = 3; });
  const auto first = request();
  calls().lease(w1, f, 1, "t1");
  const auto second = request();
  calls().lease(w1, f, 1, "t2");  // so it had the answer to t1
  pass(2s);
  calls().noteLeases();
  restart();
  EXPECT_EQ(calls().demandOf(f).running, 1);
  EXPECT_THAT(lease(w2), ElementsAre(second));
  EXPECT_EQ(settle(w1, first), Settled::accepted);
}

TEST_F(RecoveryTest, WhatItHadWithoutBeingNotedIsForTheFirstWhoAsks) {
  const auto input = request();
  lease(w1);
  calls().noteLeases();  // too soon
  restart();
  EXPECT_THAT(calls().holders(), IsEmpty());
  EXPECT_THAT(lease(w2), ElementsAre(input));
  calls().reclaim(w1, f, input, 0);
  EXPECT_EQ(settle(w1, input), Settled::stale);
  EXPECT_EQ(settle(w2, input), Settled::accepted);
}

TEST_F(RecoveryTest, OrForItselfIfItComesFirst) {
  const auto input = request();
  lease(w1);
  restart();
  calls().reclaim(w1, FunctionId{"fu-other"}, input, 0);
  EXPECT_EQ(settle(w1, input), Settled::stale) << "it is of another function";
  calls().reclaim(w1, f, input, 1);
  EXPECT_EQ(settle(w1, input), Settled::stale) << "that attempt is not due yet";
  calls().reclaim(w1, f, input, 0);
  EXPECT_EQ(settle(w1, input), Settled::accepted);
  EXPECT_THAT(lease(w2), IsEmpty());
}

TEST_F(RecoveryTest, WithoutARestartNobodyReclaims) {
  const auto input = request();
  calls().reclaim(w1, f, input, 0);
  EXPECT_EQ(settle(w1, input), Settled::stale);
  EXPECT_THAT(lease(w2), ElementsAre(input));
}

TEST_F(RecoveryTest, WhatRanWhenControlWentIsRunAgainAndThatIsNotCounted) {
  options.lossesAllowed = 0;
  restart();
  const auto input = request();
  lease(w1);
  pass(2s);
  calls().noteLeases();
  restart();
  calls().abandon(w1, "control was restarted", Blame::restart);
  EXPECT_THAT(lease(w2), ElementsAre(input));
  EXPECT_EQ(calls().input(input)->attempt, 0);
}

TEST_F(RecoveryTest, TimeRunsOnWhileControlIsAway) {
  change([](Function& x) { x.timeout = 10s; });
  const auto call = open();
  put(call);
  lease(w1);
  pass(2s);
  calls().noteLeases();
  clock.advance(9s);
  restart();
  pass(0s);
  EXPECT_EQ(outcomeOf(call).status, OutcomeStatus::timeout);
}

TEST_F(RecoveryTest, WhatTheStoreKnowsOfALeaseIsKnown) {
  const auto input = request();
  EXPECT_FALSE(calls().leaseIsNoted(input));
  lease(w1);
  calls().noteLeases();
  EXPECT_FALSE(calls().leaseIsNoted(input)) << "it may be over in a moment";
  pass(2s);
  calls().noteLeases();
  EXPECT_TRUE(calls().leaseIsNoted(input));
  restart();
  EXPECT_TRUE(calls().leaseIsNoted(input));
  calls().abandon(w1, "it ended", Blame::grid);
  lease(w2);
  EXPECT_FALSE(calls().leaseIsNoted(input));
}

TEST_F(RecoveryTest, AGeneratorBeginsAnewAfterARestart) {
  change([](Function& x) { x.isGenerator = true; });
  const auto input = request();
  lease(w1);
  pass(2s);
  calls().noteLeases();
  restart();
  calls().reclaim(w1, f, input, 0);
  EXPECT_THAT(lease(w2), ElementsAre(input)) << "what it had yielded is forgotten";
}

TEST_F(RecoveryTest, WhoRanAGeneratorBeforeARestartDoesNotYieldIntoTheNewRun) {
  change([](Function& x) { x.isGenerator = true; });
  const auto call = open();
  put(call);
  lease(w1);
  ASSERT_TRUE(calls().push(call, Direction::out, {DataChunk{1, {}}}, w1).ok());
  restart();
  EXPECT_EQ(calls().push(call, Direction::out, {DataChunk{2, {}}}, w1).error().code, Code::failedPrecondition);
  lease(w2);
  EXPECT_TRUE(calls().push(call, Direction::out, {DataChunk{1, {}}}, w2).ok());
  EXPECT_EQ(calls().push(call, Direction::out, {DataChunk{2, {}}}, w1).error().code, Code::failedPrecondition);
}

TEST_F(RecoveryTest, AMapWithoutInputsIsThereAfterARestart) {
  const auto call = open(CallKind::map);
  restart();
  put(call, 0);
  EXPECT_EQ(calls().info(call)->inputs, 1);
}

TEST_F(RecoveryTest, ARequestThatIsRepeatedOverARestartMakesNoSecondCall) {
  CallOptions wanted;
  wanted.function = f;
  wanted.key = "ak-1|k1";
  const auto call = calls().open(wanted).value();
  const auto input = put(call);
  restart();
  EXPECT_EQ(calls().open(wanted).value(), call);
  EXPECT_EQ(put(call), input);
  wanted.key = "ak-1|k2";
  EXPECT_NE(calls().open(wanted).value(), call);
}

// --- the caller's own retries ---

TEST_F(RecoveryTest, ACallersRetryTakesThePlaceOfTheFailure) {
  const auto call = open(CallKind::map);
  put(call, 0);
  put(call, 1);
  settle(w1, lease(w1)[0], kBad);
  settle(w1, lease(w1)[0]);
  const auto accepted = again(call, 0, 1);
  ASSERT_TRUE(accepted.ok());
  EXPECT_THAT(outputs(call), ElementsAre(std::pair(1, 0))) << "the failure is shown no more";
  const auto info = calls().info(call).value();
  EXPECT_EQ(std::tuple(info.inputs, info.unfinished, info.succeeded, info.failed), std::tuple(2, 1, 1, 0));
  EXPECT_THAT(lease(w1), ElementsAre(accepted->at(0).id));
  settle(w1, accepted->at(0).id);
  EXPECT_THAT(outputs(call, entryId(2)), ElementsAre(std::pair(0, 1))) << "who had all before gets it now";
  restart();
  EXPECT_THAT(outputs(call), ElementsAre(std::pair(1, 0), std::pair(0, 1)));
}

TEST_F(RecoveryTest, ARetryIsMadeOnceHoweverOftenItIsAskedFor) {
  const auto call = open(CallKind::map);
  put(call);
  settle(w1, lease(w1)[0], kBad);
  const auto first = again(call, 0, 1)->at(0).id;
  EXPECT_EQ(again(call, 0, 1)->at(0).id, first) << "it waits";
  EXPECT_THAT(lease(w1), ElementsAre(first));
  EXPECT_EQ(again(call, 0, 1)->at(0).id, first) << "it runs";
  settle(w1, first, kBad);
  EXPECT_EQ(again(call, 0, 1)->at(0).id, first) << "it has run";
  restart();
  EXPECT_EQ(again(call, 0, 1)->at(0).id, first);
  EXPECT_NE(again(call, 0, 2)->at(0).id, first);
}

TEST_F(RecoveryTest, ARetryThatSaysNoNumberIsTheNextOne) {
  const auto call = open();
  put(call);
  for (int which = 1; which <= 3; ++which) {
    settle(w1, lease(w1)[0], kBad);
    ASSERT_TRUE(again(call).ok());
    EXPECT_THAT(outputs(call), IsEmpty());
  }
  settle(w1, lease(w1)[0]);
  EXPECT_THAT(outputs(call), ElementsAre(std::pair(0, 3)));
}

TEST_F(RecoveryTest, WhatNeverWasOrWasCancelledIsNotRetried) {
  const auto call = open(CallKind::map);
  put(call, 0);
  EXPECT_EQ(again(call, 7).error().code, Code::notFound);
  ASSERT_TRUE(calls().cancel(call).ok());
  EXPECT_EQ(again(call, 0).error().code, Code::failedPrecondition);
}

TEST_F(RecoveryTest, ACallThatWasRetriedToSuccessIsClearedLikeAnyOther) {
  const auto call = open();
  put(call);
  settle(w1, lease(w1)[0], kBad);
  ASSERT_TRUE(again(call).ok());
  settle(w1, lease(w1)[0]);
  OutputQuery query;
  query.clearOnSuccess = true;
  ASSERT_TRUE(calls().outputs(call, query).ok());
  pass(2min);
  EXPECT_EQ(calls().info(call).error().code, Code::notFound);
}

}  // namespace
}  // namespace gridiron
