#pragma once

// For tests of fleet/ only.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fleet/fleet.h"

namespace gridiron {

// A worker that notes what it is told.
struct FakePort final : WorkerPort {
  std::vector<StartOrder> started;
  std::vector<std::string> prepared;  // images
  std::vector<std::string> retired;   // functions
  std::vector<std::string> told;      // "stop ta-… 30s", "signal ta-… 2"

  void start(const StartOrder& order) override { started.push_back(order); }
  void stop(const InstanceId& id, Nanos grace) override {
    told.push_back(
        fmt::format("stop {} {}s", id.value, std::chrono::duration_cast<std::chrono::seconds>(grace).count()));
  }
  void signal(const InstanceId& id, int signo) override {
    told.push_back(fmt::format("signal {} {}", id.value, signo));
  }
  void prepare(const Function& function) override { prepared.push_back(function.image.value); }
  void retire(const FunctionId& function) override { retired.push_back(function.value); }
};

struct FakeOrders final : StartOrders {
  std::optional<Error> error;
  Result<StartOrder> compose(const Instance&, const Function& function) override {
    if (error) return *error;
    StartOrder order;
    order.image = function.image;
    order.clientVersion = function.clientVersion;
    return order;
  }
};

struct Notes final : FleetObserver {
  std::vector<std::string> states, notices;
  void instanceChanged(const Instance& i) override {
    const std::string state = nameOf(i.state);
    if (states.empty() || states.back() != state) states.push_back(state);
  }
  void notice(const Instance&, const std::string& text) override { notices.push_back(text); }
};

class FleetTest : public testing::Test {
 protected:
  FakeClock clock;
  std::unique_ptr<Store> store = openMemoryStore();
  FunctionTable functions;
  Calls calls{*store, functions, clock};
  FakeOrders orders;
  Meter meter{*store, clock};
  bool predicts = false;        // containers are started ahead
  std::optional<Time> nextRun;  // by a schedule
  Fleet fleet{*store, calls, functions, orders, meter, clock, options()};
  FakePort port;
  Notes notes;
  bool wanted = false;
  const FunctionId f{"fu-f"};

  void SetUp() override {
    fleet.observe(notes);
    fleet.onWork([this] { wanted = true; });
    function("fu-f");
    join("wk-1");
  }

  Fleet::Options options() {
    Fleet::Options out;
    out.predicts = [this](const Function&) { return predicts; };
    out.scheduled = [this](const FunctionId&) { return nextRun; };
    return out;
  }
  Function& function(const std::string& id) {
    static Function last;
    last = Function{};
    last.id = FunctionId{id};
    last.app = AppId{"ap-1"};
    last.tag = id;
    last.definitionId = DefinitionId{"de-1"};
    last.image = ImageId{"im-1"};
    functions.put(last);
    return last;
  }
  void change(std::function<void(Function&)> edit, const std::string& id = "fu-f") {
    Function copy = *functions.find(FunctionId{id});
    edit(copy);
    functions.put(copy);
  }
  void join(const std::string& id, std::vector<InstanceId> running = {}, std::int64_t memory = 1024) {
    Worker worker;
    worker.id = WorkerId{id};
    worker.milliCpu = 2000;
    worker.memoryMb = memory;
    fleet.workerJoined(worker, port, running);
    settleDown();
  }
  // The loop's part: steps as long as something is to be done now.
  void settleDown() {
    for (int i = 0; i < 20 && std::exchange(wanted, false); ++i) fleet.step();
  }
  void pass(Nanos time) {
    clock.advance(time);
    calls.expire();
    fleet.step();
    settleDown();
  }
  CallId request(const FunctionId& id) {
    CallOptions options;
    options.function = id;
    const auto call = calls.open(options).value();
    EXPECT_TRUE(calls.put(call, {NewInput{}}).ok());
    settleDown();
    return call;
  }
  InstanceId lastStarted() { return port.started.empty() ? InstanceId{} : port.started.back().instance; }
  void makeReady(const InstanceId& id) {
    fleet.sandboxRunning(id, {{"image", std::chrono::milliseconds(1)}, {"sandbox", std::chrono::milliseconds(2)}});
    fleet.containerHello(id);
    fleet.askedForInputs(id);
    settleDown();
  }
  std::vector<Lease> lease(const InstanceId& id, const FunctionId& function) {
    if (fleet.killSwitch(id)) return {};
    auto leases = calls.lease(id, function);
    settleDown();
    return leases;
  }
  void finish(const InstanceId& id, const InputId& input) {
    Outcome outcome;
    outcome.status = OutcomeStatus::success;
    EXPECT_EQ(calls.settle(id, input, outcome).value(), Settled::accepted);
    settleDown();
  }
  void exit(const InstanceId& id, ExitInfo info = {}) {
    fleet.exited(id, info);
    settleDown();
  }
  std::optional<Outcome> outcomeOf(const CallId& call) {
    const auto page = calls.outputs(call, {}).value();
    return page.outputs.empty() ? std::nullopt : std::optional(page.outputs[0].outcome);
  }
  InstanceState stateOf(const InstanceId& id) { return fleet.find(id)->state; }
  static Outcome importError() {
    Outcome outcome;
    outcome.status = OutcomeStatus::failure;
    outcome.exception = "ModuleNotFoundError('bs4')";
    return outcome;
  }
};

}  // namespace gridiron
