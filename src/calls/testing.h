#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "calls/calls.h"

namespace gridiron {

// What an observer was told.
struct Notes final : CallsObserver {
  std::vector<std::string> told;
  void inputsQueued(const FunctionId& id) override { told.push_back("queued " + id.value); }
  void inputEnded(const Input&, const Outcome& outcome, bool final) override {
    told.push_back(std::string(final ? "ended " : "attempt ") + nameOf(outcome.status));
  }
  void outputsReady(const CallId&) override { told.push_back("outputs"); }
  void dataReady(const CallId&, Direction d) override { told.push_back(d == Direction::in ? "in" : "out"); }
  void cancelWanted(const InstanceId& id) override { told.push_back("cancel " + id.value); }
  void interruptWanted(const InstanceId& id, const std::string&) override { told.push_back("interrupt " + id.value); }
  std::vector<std::string> take() { return std::exchange(told, {}); }
};

inline Outcome outcome(OutcomeStatus status, const std::string& text = "") {
  Outcome o;
  o.status = status;
  (status == OutcomeStatus::success ? o.value.data : o.exception) = text;
  return o;
}
inline const Outcome kGood = outcome(OutcomeStatus::success, "42");
inline const Outcome kBad = outcome(OutcomeStatus::failure, "ValueError('x')");

// Calls over a store that can crash, with one function and two containers.
class CallsTest : public testing::Test {
 protected:
  FakeClock clock;
  std::unique_ptr<CrashingStore> disk = openCrashingStore();
  CrashingStore& store = *disk;
  FunctionTable functions;
  Calls::Options options;
  std::unique_ptr<Calls> made;
  Notes notes;
  const FunctionId f{"fu-f"};
  const InstanceId w1{"ta-1"}, w2{"ta-2"};

  void SetUp() override {
    Function function;
    function.id = f;
    function.tag = "resize";
    functions.put(function);
    restart();
  }
  Calls& calls() { return *made; }
  void restart() {
    made = std::make_unique<Calls>(store, functions, clock, options);
    made->observe(notes);
    ASSERT_TRUE(made->load().ok());
    notes.take();
  }
  void change(std::function<void(Function&)> edit) {
    Function copy = *functions.find(f);
    edit(copy);
    functions.put(copy);
  }
  CallId open(CallKind kind = CallKind::unary, CallMode mode = CallMode::sync) {
    CallOptions o;
    o.function = f;
    o.kind = kind;
    o.mode = mode;
    return calls().open(o).value();
  }
  InputId put(const CallId& call, int index = 0, const std::string& method = "") {
    auto accepted = calls().put(call, {NewInput{index, Payload{DataFormat::pickle, "args", {}}, method}});
    EXPECT_TRUE(accepted.ok()) << accepted.error().message;
    return accepted.value()[0].id;
  }
  InputId request(CallKind kind = CallKind::unary) { return put(open(kind)); }
  std::vector<InputId> lease(const InstanceId& who, int most = 1) {
    std::vector<InputId> ids;
    for (const auto& l : calls().lease(who, f, most)) ids.push_back(l.input.id);
    return ids;
  }
  Settled settle(const InstanceId& who, const InputId& id, const Outcome& o = kGood) {
    return calls().settle(who, id, o).value();
  }
  void pass(Nanos time) {
    clock.advance(time);
    calls().expire();
  }
  std::vector<int> indices(const CallId& call, const std::string& after = "0-0") {
    OutputQuery query;
    query.after = after;
    std::vector<int> all;
    const auto page = calls().outputs(call, query).value();
    for (const auto& o : page.outputs) all.push_back(o.index);
    return all;
  }
  Outcome outcomeOf(const CallId& call) {
    const auto page = calls().outputs(call, {}).value();
    return page.outputs.empty() ? Outcome{} : page.outputs[0].outcome;
  }
};

}  // namespace gridiron
