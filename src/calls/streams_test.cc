#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calls/calls.h"

namespace gridiron {
namespace {

const FunctionId kFunction{"fu-1"};
const InstanceId kContainer{"ta-1"};

struct Grid {
  explicit Grid(Store& store) : calls(store, table, clock) {
    Function function;
    function.id = kFunction;
    table.put(function);
    EXPECT_TRUE(calls.load().ok());
  }
  FunctionTable table;
  FakeClock clock;
  Calls calls;
};

TEST(Streams, ItemsOfACallThatEndedBeforeARestartAreSaidToBeGone) {
  const auto store = openMemoryStore();
  CallOptions options;
  options.function = kFunction;
  CallId ended, failed, waiting;
  {
    Grid grid(*store);
    for (CallId* call : {&ended, &failed, &waiting}) {
      *call = grid.calls.open(options).value();
      ASSERT_TRUE(grid.calls.put(*call, {{0, {}, ""}}).ok());
    }
    for (const auto status : {OutcomeStatus::success, OutcomeStatus::failure}) {
      const auto lease = grid.calls.lease(kContainer, kFunction).at(0);
      ASSERT_TRUE(grid.calls.push(lease.input.call, Direction::out, {DataChunk{}}).ok());
      Outcome outcome;
      outcome.status = status;
      ASSERT_TRUE(grid.calls.settle(kContainer, lease.input.id, outcome).ok());
    }
    EXPECT_EQ(grid.calls.read(ended, Direction::out, 0)->size(), 1u);
  }
  Grid grid(*store);
  for (const CallId& call : {ended, failed}) ASSERT_TRUE(grid.calls.info(call).ok());
  EXPECT_EQ(grid.calls.read(ended, Direction::out, 0).error().code, Code::dataLoss);
  EXPECT_TRUE(grid.calls.read(failed, Direction::out, 0)->empty()) << "its reader is told of the failure";
  EXPECT_TRUE(grid.calls.read(waiting, Direction::out, 0)->empty()) << "it is run again";
}

}  // namespace
}  // namespace gridiron
