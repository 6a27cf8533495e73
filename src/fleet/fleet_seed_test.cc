#include <gtest/gtest.h>

#include <random>
#include <set>

#include "fleet/fleet.h"

namespace gridiron {
namespace {

using namespace std::chrono_literals;

// Control with two workers that behave as machines do, under a seed: containers start (or do not), run inputs, crash,
// ignore what they are told; workers come and go; functions are deployed anew. Checked after every step: no worker has
// more reserved than it has, no two containers one id, nothing is ordered from a worker that is not there. In the end,
// with everything well again, all calls end and idle containers go.
class World {
 public:
  explicit World(unsigned seed) : random_(seed) {
    for (int i = 0; i < 3; ++i) {
      Function f;
      f.id = functionId(i);
      f.app = AppId{"ap-1"};
      f.tag = "f";
      f.timeout = 2h;  // no time-out may hide a lost input
      f.startupTimeout = 30s;
      f.definitionId = DefinitionId{"de-0"};
      f.resources.memoryMb = 200;
      f.maxConcurrentInputs = i == 1 ? 3 : 1;
      f.scaling.minContainers = i == 2 ? 1 : 0;
      f.scaling.maxContainers = i == 0 ? 2 : 0;
      f.singleUse = i == 0;
      functions_.put(f);
      fleet_.deploy(f.id);
    }
    join(0);
    join(1);
    turn();
  }

  void live(int steps) {
    for (int i = 0; i < steps; ++i) {
      step();
      turn();
      check();
    }
    recover();
  }

 private:
  struct Machine final : WorkerPort {
    bool connected = false;
    std::set<InstanceId> running;
    int orders = 0;

    void start(const StartOrder& order) override {
      EXPECT_TRUE(connected);
      EXPECT_TRUE(running.insert(order.instance).second);
      ++orders;
    }
    void stop(const InstanceId& id, Nanos) override { told.insert(id); }
    void signal(const InstanceId& id, int) override { told.insert(id); }
    std::set<InstanceId> told;
  };
  struct Orders final : StartOrders {
    Result<StartOrder> compose(const Instance&, const Function&) override { return StartOrder{}; }
  };

  static FunctionId functionId(int i) { return FunctionId{"fu-" + std::to_string(i)}; }
  static WorkerId workerId(int i) { return WorkerId{"wk-" + std::to_string(i)}; }
  int pick(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

  void turn() {
    calls_.expire();
    fleet_.step();
    fleet_.step();
  }

  void join(int i) {
    auto& machine = machines_[i];
    machine.connected = true;
    Worker worker;
    worker.id = workerId(i);
    worker.milliCpu = 4000;
    worker.memoryMb = 1000;
    fleet_.workerJoined(worker, machine, {machine.running.begin(), machine.running.end()});
  }

  void step() {
    switch (pick(30)) {
      case 0:
        return loseOrJoin(pick(2));
      case 1:
        return redeploy(pick(3));
      default:
        break;
    }
    clock_.advance(std::chrono::milliseconds(pick(pick(10) == 0 ? 40'000 : 500)));
    if (pick(3) == 0) makeCall();
    for (auto& machine : machines_) {
      if (machine.connected) containersMove(machine);
    }
  }

  void loseOrJoin(int i) {
    auto& machine = machines_[i];
    if (!machine.connected) return join(i);
    fleet_.workerLost(workerId(i));
    machine.connected = false;
    if (pick(2) == 0) machine.running.clear();  // it was switched off
  }

  void redeploy(int i) {
    Function f = *functions_.find(functionId(i));
    f.definitionId = DefinitionId{"de-" + std::to_string(random_())};
    functions_.put(f);
    fleet_.deploy(f.id);
  }

  void makeCall() {
    CallOptions options;
    options.function = functionId(pick(3));
    const auto call = calls_.open(options).value();
    ASSERT_TRUE(calls_.put(call, {NewInput{}}).ok());
    open_.push_back(call);
  }

  void containersMove(Machine& machine) {
    const auto running = machine.running;
    for (const auto& id : running) {
      const int chance = pick(20);
      if (chance == 0) {
        end(machine, id, {.code = 1, .signal = 0, .outOfMemory = false, .error = {}});
      } else if (chance < 12) {
        moveOn(machine, id);
      }
    }
  }

  // One honest step of a container: get ready, do what it has, take more, go when told.
  void moveOn(Machine& machine, const InstanceId& id) {
    const auto instance = fleet_.find(id);
    if (!machine.told.contains(id)) {
      ASSERT_TRUE(instance && instance->state != InstanceState::gone) << id.value << " runs and nobody told it to go";
    } else {
      return end(machine, id, {});
    }
    if (instance->state == InstanceState::starting) {
      fleet_.sandboxRunning(id, {});
      fleet_.containerHello(id);
      fleet_.askedForInputs(id);
    }
    for (const auto& input : std::exchange(doing_[id], {})) {
      Outcome outcome;
      outcome.status = OutcomeStatus::success;
      ASSERT_TRUE(calls_.settle(id, input, outcome).ok());
    }
    if (fleet_.killSwitch(id)) return end(machine, id, {});
    for (const auto& lease : calls_.lease(id, instance->function)) doing_[id].push_back(lease.input.id);
  }

  void end(Machine& machine, const InstanceId& id, const ExitInfo& exit) {
    machine.running.erase(id);
    doing_.erase(id);
    fleet_.exited(id, exit);
  }

  void check() {
    for (int i = 0; i < 2; ++i) {
      std::int64_t memory = 0;
      for (const auto& instance : fleet_.instances()) {
        if (instance.worker == workerId(i)) memory += instance.resources.memoryMb;
      }
      ASSERT_LE(memory, 1000) << workerId(i).value << " has more reserved than it has";
    }
    ASSERT_LE(fleet_.stats(functionId(0)).containers + fleet_.stats(functionId(0)).starting, 2);
  }

  void recover() {
    for (int i = 0; i < 2; ++i) {
      if (!machines_[i].connected) join(i);
    }
    for (int round = 0; round < 600; ++round) {
      clock_.advance(1s);
      turn();
      for (auto& machine : machines_) {
        const auto running = machine.running;
        for (const auto& id : running) moveOn(machine, id);
      }
    }
    for (const auto& call : open_) {
      const auto page = calls_.outputs(call, {});
      ASSERT_TRUE(page.ok());
      ASSERT_EQ(page.value().unfinishedInputs, 0) << call.value << " never ends";
    }
    ASSERT_EQ(fleet_.instances().size(), 1u) << "only the minimum stays";
    ASSERT_EQ(machines_[0].running.size() + machines_[1].running.size(), 1u);
  }

  std::mt19937 random_;
  FakeClock clock_;
  std::unique_ptr<Store> store_ = openMemoryStore();
  FunctionTable functions_;
  Calls calls_{*store_, functions_, clock_};
  Orders orders_;
  Meter meter_{*store_, clock_};
  Fleet fleet_{*store_, calls_, functions_, orders_, meter_, clock_};
  Machine machines_[2];
  std::map<InstanceId, std::vector<InputId>> doing_;
  std::vector<CallId> open_;
};

class FleetUnderASeed : public testing::TestWithParam<unsigned> {};

TEST_P(FleetUnderASeed, EverythingEndsAndNothingIsOvercommitted) { World(GetParam()).live(300); }

INSTANTIATE_TEST_SUITE_P(Seeds, FleetUnderASeed, testing::Range(1u, 31u));

}  // namespace
}  // namespace gridiron
