#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "calls/calls.h"

namespace gridiron {
namespace {

using namespace std::chrono_literals;

// A day in the life of a queue under a seed: containers come, lease, settle late or never, and go; calls are made and
// cancelled; time passes; control restarts. After every step what must always hold is checked.
class Day {
 public:
  explicit Day(unsigned seed) : random_(seed) {
    for (int i = 0; i < 3; ++i) {
      Function f;
      f.id = FunctionId{"fu-" + std::to_string(i)};
      f.tag = "f";
      f.timeout = 20s;
      f.maxConcurrentInputs = i == 1 ? 4 : 1;
      if (i == 1) f.retries = RetryPolicy{2, 2.0, 1s, 10s};
      if (i == 2) f.batching = Batching{3, 2s};
      functions_.put(f);
    }
    restart();
  }

  void live(int steps) {
    for (int i = 0; i < steps; ++i) {
      step();
      check();
    }
    drainAll();
  }

 private:
  int pick(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

  void restart() {
    calls_ = std::make_unique<Calls>(*store_, functions_, clock_);
    ASSERT_TRUE(calls_->load().ok());
    held_.clear();
  }

  void step() {
    switch (pick(40)) {
      case 0:
        return restart();
      case 1:
        return cancelOne();
      case 2:
      case 3:
        return loseContainer();
      case 4:
      case 5:
        clock_.advance(std::chrono::milliseconds(pick(9000)));
        return calls_->expire();
      default:
        break;
    }
    switch (pick(3)) {
      case 0:
        return makeCall();
      case 1:
        return leaseSome();
      default:
        return settleOne();
    }
  }

  void makeCall() {
    CallOptions options;
    options.function = FunctionId{"fu-" + std::to_string(pick(3))};
    options.kind = CallKind::map;
    const auto call = calls_->open(options).value();
    std::vector<NewInput> inputs;
    for (int i = 0; i <= pick(4); ++i) inputs.push_back(NewInput{i, {}, ""});
    expected_[call] = inputs.size();
    ASSERT_TRUE(calls_->put(call, std::move(inputs)).ok());
  }

  void leaseSome() {
    const int f = pick(3);
    const InstanceId who{fmt::format("ta-{}-{}-{}", f, pick(3), generation_)};
    for (const auto& lease : calls_->lease(who, FunctionId{"fu-" + std::to_string(f)}, 1 + pick(3))) {
      ASSERT_FALSE(settled_.contains(lease.input.id)) << lease.input.id.value << " was leased after its end";
      held_[who][lease.input.id] = lease.input.attempt;
    }
  }

  void settleOne() {
    if (held_.empty()) return;
    auto who = std::next(held_.begin(), pick(static_cast<int>(held_.size())));
    const auto [input, attempt] = *std::next(who->second.begin(), pick(static_cast<int>(who->second.size())));
    Outcome outcome;
    outcome.status = pick(4) == 0 ? OutcomeStatus::failure : OutcomeStatus::success;
    ASSERT_TRUE(calls_->settle(who->first, input, outcome, attempt).ok());
    who->second.erase(input);
    if (who->second.empty()) held_.erase(who);
  }

  void loseContainer() {
    if (held_.empty()) return;
    const auto who = std::next(held_.begin(), pick(static_cast<int>(held_.size())));
    calls_->abandon(who->first, "lost", pick(2) == 0 ? Blame::grid : Blame::container);
    held_.erase(who);
  }

  void cancelOne() {
    if (expected_.empty()) return;
    const auto call = std::next(expected_.begin(), pick(static_cast<int>(expected_.size())));
    ASSERT_TRUE(calls_->cancel(call->first, pick(2) == 0 ? Terminate::no : Terminate::containers).ok());
  }

  // No input has two outputs or goes missing; the counts agree with each other.
  void check() {
    std::size_t unfinished = 0;
    for (const auto& [call, inputs] : expected_) {
      const auto page = calls_->outputs(call, {}).value();
      std::set<InputId> seen;
      for (const auto& output : page.outputs) {
        ASSERT_TRUE(seen.insert(output.input).second) << output.input.value << " has two outputs";
        settled_.insert(output.input);
      }
      ASSERT_EQ(page.outputs.size() + static_cast<std::size_t>(page.unfinishedInputs), inputs) << call.value;
      unfinished += static_cast<std::size_t>(page.unfinishedInputs);
    }
    std::size_t queued = 0;
    for (const auto& demand : calls_->demand()) {
      ASSERT_GE(demand.running, 0);
      queued += static_cast<std::size_t>(demand.queued);
    }
    ASSERT_LE(queued, unfinished);
  }

  // With fresh containers that do their work everything ends.
  void drainAll() {
    for (const auto& [who, inputs] : held_) calls_->abandon(who, "end of the day", Blame::container);
    held_.clear();
    ++generation_;
    for (int round = 0; round < 400; ++round) {
      clock_.advance(1s);
      calls_->expire();
      for (int f = 0; f < 3; ++f) {
        const InstanceId who{fmt::format("ta-last-{}", f)};
        Outcome good;
        good.status = OutcomeStatus::success;
        for (const auto& lease : calls_->lease(who, FunctionId{"fu-" + std::to_string(f)}, 4)) {
          ASSERT_TRUE(calls_->settle(who, lease.input.id, good).ok());
        }
      }
    }
    check();
    for (const auto& [call, inputs] : expected_) {
      ASSERT_EQ(calls_->outputs(call, {}).value().unfinishedInputs, 0) << call.value << " never ends";
    }
    ASSERT_TRUE(store_->unfinishedCalls().value().empty());
  }

  std::mt19937 random_;
  FakeClock clock_;
  std::unique_ptr<Store> store_ = openMemoryStore();
  FunctionTable functions_;
  std::unique_ptr<Calls> calls_;
  std::map<CallId, std::size_t> expected_;
  std::map<InstanceId, std::map<InputId, int>> held_;
  std::set<InputId> settled_;
  int generation_ = 0;
};

class CallsUnderASeed : public testing::TestWithParam<unsigned> {};

TEST_P(CallsUnderASeed, NoInputIsLostAndNoneSettledTwice) { Day(GetParam()).live(250); }

INSTANTIATE_TEST_SUITE_P(Seeds, CallsUnderASeed, testing::Range(1u, 41u));

}  // namespace
}  // namespace gridiron
