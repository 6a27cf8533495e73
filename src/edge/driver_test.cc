#include "edge/driver.h"

#include <gtest/gtest.h>

#include "catalog/environments.h"
#include "fleet/testing.h"

namespace gridiron::edge {
namespace {

using namespace std::chrono_literals;

// Each of the fleet's turns asks for the function that has inputs waiting.
class CountedFunctions final : public Functions {
 public:
  std::shared_ptr<const Function> find(const FunctionId& id) const override {
    ++asked;
    return table.find(id);
  }
  FunctionTable table;
  mutable int asked = 0;
};

class DriverTest : public ::testing::Test {
 protected:
  DriverTest() {
    Function function;
    function.id = function_;
    function.app = AppId{"ap-1"};
    functions_.table.put(function);
    driver_.start();
    io_.run_for(20ms);
    CallOptions options;
    options.function = function_;
    options.kind = CallKind::web;
    auto call = calls_.open(options);
    EXPECT_TRUE(call.ok());
    EXPECT_TRUE(calls_.put(*call, std::vector<NewInput>(1)).ok());
    io_.run_for(20ms);
    functions_.asked = 0;
  }
  // What a turn asks for.
  int turn() {
    driver_.inputsQueued(function_);
    io_.run_for(20ms);
    return std::exchange(functions_.asked, 0);
  }

  asio::io_context io_;
  SystemClock clock_;
  CountedFunctions functions_;
  const FunctionId function_{"fu-1"};
  std::unique_ptr<Store> store_ = openMemoryStore();
  Meter meter_{*store_, clock_};
  Calls calls_{*store_, functions_, clock_};
  FakeOrders orders_;
  Fleet fleet_{*store_, calls_, functions_, orders_, meter_, clock_};
  Environments environments_{*store_, clock_, "you"};
  Apps apps_{*store_, environments_, clock_, "you", {}};
  Driver driver_{io_, calls_, fleet_, apps_, meter_};
};

TEST_F(DriverTest, ATurnComesAtOnceAfterAPause) {
  const int one = turn();
  ASSERT_GT(one, 0);
  driver_.inputsQueued(function_);
  io_.poll();
  EXPECT_EQ(functions_.asked, one);
}

TEST_F(DriverTest, ThousandsOfRequestsAskForAFewTurnsTheLastOfWhichSeesThemAll) {
  const int one = turn();
  const auto until = std::chrono::steady_clock::now() + 40ms;
  int requests = 0;
  for (; std::chrono::steady_clock::now() < until; ++requests) {
    driver_.inputsQueued(function_);
    io_.poll();
  }
  EXPECT_GT(functions_.asked, 0);
  EXPECT_LE(functions_.asked, 21 * one) << requests << " requests";
  driver_.inputsQueued(function_);
  functions_.asked = 0;
  io_.run_for(20ms);
  EXPECT_EQ(functions_.asked, one);
}

}  // namespace
}  // namespace gridiron::edge
