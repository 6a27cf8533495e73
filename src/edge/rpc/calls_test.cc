#include "edge/rpc/calls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "edge/http/test_grid.h"

namespace gridiron::edge::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Line = std::shared_ptr<Container>;
// What a played function makes of one input.
using Body = std::function<api::FunctionPutOutputsItem(const api::FunctionGetInputsItem&)>;

api::FunctionPutOutputsItem returned(const api::FunctionGetInputsItem& item, const std::string& data) {
  api::FunctionPutOutputsItem out;
  out.set_input_id(item.input_id());
  out.set_retry_count(item.retry_count());
  out.mutable_result()->set_status(api::GenericResult::GENERIC_STATUS_SUCCESS);
  out.mutable_result()->set_data(data);
  out.set_data_format(api::DATA_FORMAT_PICKLE);
  return out;
}

api::FunctionPutOutputsItem echoed(const api::FunctionGetInputsItem& item) {
  return returned(item, item.input().args() + "!");
}

Task<void> serveUntilKilled(Line container, Body body, int* killed) {
  (void)co_await container->ask<Empty>("ContainerHello", Empty());
  for (;;) {
    api::FunctionGetInputsRequest ask;
    auto inputs = co_await container->ask<api::FunctionGetInputsResponse>("FunctionGetInputs", ask);
    if (container->lastCode != Code::ok) co_return;
    for (const api::FunctionGetInputsItem& item : inputs.inputs()) {
      if (item.kill_switch()) ++*killed;
      if (item.kill_switch()) co_return;
      api::FunctionPutOutputsRequest outputs;
      *outputs.add_outputs() = body(item);
      (void)co_await container->ask<Empty>("FunctionPutOutputs", outputs);
    }
  }
}

class CallRpcs : public ::testing::Test {
 protected:
  Function& function(Body body) {
    Function& f = grid.add(
        "f", [this, body](Grid&, Line container) { return serveUntilKilled(std::move(container), body, &killed); });
    grid.deploy("f");
    return f;
  }

  template <class Resp, class Req>
  Resp ask(const std::string& name, Req request) {
    std::optional<Resp> answer;
    spawn(grid.io, keep<Resp, Req>(client, name, std::move(request), &answer));
    grid.runUntil([&] { return answer.has_value(); }, name.c_str());
    return answer.value_or(Resp());
  }

  api::FunctionMapResponse call(const Function& f, const std::string& args, const std::string& parent = "") {
    api::FunctionMapRequest request;
    request.set_function_id(f.id.str());
    request.set_parent_input_id(parent);
    request.set_function_call_type(api::FUNCTION_CALL_TYPE_UNARY);
    request.set_function_call_invocation_type(api::FUNCTION_CALL_INVOCATION_TYPE_SYNC);
    auto& item = *request.add_pipelined_inputs();
    item.mutable_input()->set_args(args);
    item.mutable_input()->set_data_format(api::DATA_FORMAT_PICKLE);
    return ask<api::FunctionMapResponse>("FunctionMap", request);
  }

  api::FunctionGetOutputsResponse outputs(const std::string& call, float timeout, const std::string& after = "0-0") {
    api::FunctionGetOutputsRequest request;
    request.set_function_call_id(call);
    request.set_timeout(timeout);
    request.set_last_entry_id(after);
    return ask<api::FunctionGetOutputsResponse>("FunctionGetOutputs", request);
  }

  int killed = 0;
  Grid grid;
  Line client = std::make_shared<Container>(grid.io, grid.url());

 private:
  template <class Resp, class Req>
  static Task<void> keep(Line line, std::string name, Req request, std::optional<Resp>* answer) {
    *answer = co_await line->ask<Resp>(name, std::move(request));
  }
};

template <class Resp, class Req>
Task<void> keepAnswer(Line line, std::string name, Req request, std::optional<Resp>* answer) {
  *answer = co_await line->ask<Resp>(name, std::move(request));
}

TEST(CallsAndTheDisk, AnswersWaitForItAndContainersDoNot) {
  std::unique_ptr<CrashingStore> store = openCrashingStore();
  CrashingStore& disk = *store;
  int killed = 0;
  Grid grid(std::chrono::seconds(2), std::move(store));
  Function& f =
      grid.add("f", [&](Grid&, Line container) { return serveUntilKilled(std::move(container), echoed, &killed); });
  grid.deploy("f");
  auto client = std::make_shared<Container>(grid.io, grid.url());

  api::FunctionMapRequest request;
  request.set_function_id(f.id.str());
  request.set_function_call_type(api::FUNCTION_CALL_TYPE_UNARY);
  request.add_pipelined_inputs()->mutable_input()->set_args("hi");
  std::optional<api::FunctionMapResponse> made;
  spawn(grid.io, keepAnswer(client, "FunctionMap", request, &made));
  const auto ran = [&] {
    const auto calls = disk.unfinishedCalls();
    return disk.written() > 1 && calls.ok() && calls->empty();
  };
  grid.runUntil(ran, "the container took the input and gave its output");
  EXPECT_FALSE(made) << "the call is not on disk";
  disk.flush();
  grid.runUntil([&] { return made.has_value(); }, "the call is acknowledged");

  ASSERT_TRUE(disk.apply(Batch().put(Object{"app", "ap-9", "you", "main", "later", true, {}, ""})).ok());
  api::FunctionGetOutputsRequest ask;
  ask.set_function_call_id(made->function_call_id());
  std::optional<api::FunctionGetOutputsResponse> got;
  spawn(grid.io, keepAnswer(client, "FunctionGetOutputs", ask, &got));
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
  grid.io.run_until(until);
  EXPECT_FALSE(got) << "what it shows is not on disk";
  disk.flush();
  grid.runUntil([&] { return got.has_value(); }, "the output is shown");
  EXPECT_EQ(got->outputs(0).result().data(), "hi!");
}

TEST_F(CallRpcs, ARemoteCallComesBackWithItsResult) {
  Function& f = function(echoed);
  auto made = call(f, "hi");
  ASSERT_EQ(made.pipelined_inputs_size(), 1);
  EXPECT_FALSE(made.pipelined_inputs(0).input_jwt().empty());
  EXPECT_FALSE(made.sync_client_retries_enabled());
  auto got = outputs(made.function_call_id(), 20);
  ASSERT_EQ(got.outputs_size(), 1);
  EXPECT_EQ(got.outputs(0).result().data(), "hi!");
  EXPECT_EQ(got.outputs(0).data_format(), api::DATA_FORMAT_PICKLE);
  EXPECT_EQ(got.num_unfinished_inputs(), 0);
}

TEST_F(CallRpcs, AMapGivesEveryOutputOnceWithTheIndexOfItsInput) {
  Function& f = function(echoed);
  api::FunctionMapRequest request;
  request.set_function_id(f.id.str());
  request.set_function_call_type(api::FUNCTION_CALL_TYPE_MAP);
  auto made = ask<api::FunctionMapResponse>("FunctionMap", request);
  api::FunctionPutInputsRequest put;
  put.set_function_id(f.id.str());
  put.set_function_call_id(made.function_call_id());
  for (int i = 0; i < 5; ++i) {
    auto& item = *put.add_inputs();
    item.set_idx(i);
    item.mutable_input()->set_args(std::to_string(i));
  }
  EXPECT_EQ(ask<api::FunctionPutInputsResponse>("FunctionPutInputs", put).inputs_size(), 5);
  std::map<int, std::string> results;
  std::string after = "0-0";
  for (int round = 0; round < 10 && results.size() < 5; ++round) {
    auto page = outputs(made.function_call_id(), 20, after);
    after = page.last_entry_id();
    for (const auto& item : page.outputs()) {
      EXPECT_TRUE(results.emplace(item.idx(), item.result().data()).second) << "given twice";
    }
  }
  EXPECT_THAT(results, ElementsAre(std::pair(0, "0!"), std::pair(1, "1!"), std::pair(2, "2!"), std::pair(3, "3!"),
                                   std::pair(4, "4!")));
}

TEST(CallGathering, AClientThatNamesManyInputsIsAnsweredLessOften) {
  EXPECT_EQ(gatheringFor(0), std::chrono::milliseconds(10));
  EXPECT_EQ(gatheringFor(500), std::chrono::milliseconds(25));
  EXPECT_EQ(gatheringFor(1'000'000), std::chrono::milliseconds(50));
}

TEST_F(CallRpcs, ARetriedInputLooksToItsCallerAsIfItHadWorkedAtOnce) {
  std::vector<unsigned> attempts;
  Function& f = function([&attempts](const api::FunctionGetInputsItem& item) {
    attempts.push_back(item.retry_count());
    api::FunctionPutOutputsItem out = echoed(item);
    if (attempts.size() == 1) out.mutable_result()->set_status(api::GenericResult::GENERIC_STATUS_FAILURE);
    return out;
  });
  f.retries.count = 2;
  f.retries.initial = std::chrono::milliseconds(1);
  grid.deploy("f");
  auto got = outputs(call(f, "x").function_call_id(), 20);
  ASSERT_EQ(got.outputs_size(), 1);
  EXPECT_EQ(got.outputs(0).result().status(), api::GenericResult::GENERIC_STATUS_SUCCESS);
  EXPECT_EQ(got.outputs(0).retry_count(), 0u);
  EXPECT_THAT(attempts, ElementsAre(0u, 1u));
}

TEST_F(CallRpcs, ARepeatedFunctionMapIsTheSameCall) {
  Function& f = function(echoed);
  client->headers.emplace_back("x-idempotency-key", "key-1");
  std::string first = call(f, "x").function_call_id();
  EXPECT_EQ(call(f, "x").function_call_id(), first);
}

TEST_F(CallRpcs, AskingWithoutTimeIsAnsweredAtOnce) {
  Function& f = grid.add("f", [](Grid&, Line) -> Task<void> { co_return; });  // never asks for inputs
  grid.deploy("f");
  auto page = outputs(call(f, "x").function_call_id(), 0);
  EXPECT_EQ(page.outputs_size(), 0);
  EXPECT_EQ(page.num_unfinished_inputs(), 1);
  EXPECT_EQ(page.last_entry_id(), "0-0");
}

TEST_F(CallRpcs, AnotherWorkspacesFunctionsAndCallsAreNotFound) {
  Function& f = function(echoed);
  std::string made = call(f, "x").function_call_id();
  client->headers.emplace_back("x-workspace", "them");
  EXPECT_EQ(call(f, "x").function_call_id(), "");
  EXPECT_EQ(client->lastCode, Code::notFound);
  (void)outputs(made, 0);
  EXPECT_EQ(client->lastCode, Code::notFound);
}

TEST_F(CallRpcs, ACancelledCallEndsForItsCaller) {
  Function& f = grid.add("f", [](Grid&, Line) -> Task<void> { co_return; });
  grid.deploy("f");
  std::string made = call(f, "x").function_call_id();
  api::FunctionCallCancelRequest cancel;
  cancel.set_function_call_id(made);
  (void)ask<Empty>("FunctionCallCancel", cancel);
  auto page = outputs(made, 20);
  ASSERT_EQ(page.outputs_size(), 1);
  EXPECT_EQ(page.outputs(0).result().status(), api::GenericResult::GENERIC_STATUS_TERMINATED);
  api::FunctionCallGetInfoRequest info;
  info.set_function_call_id(made);
  auto counts = ask<api::FunctionCallGetInfoResponse>("FunctionCallGetInfo", info).info();
  EXPECT_EQ(counts.cancelled_inputs().total(), 1);
  EXPECT_EQ(counts.failed_inputs().total(), 0);
}

TEST_F(CallRpcs, TheCallGraphHasTheCallsThatACallsInputsMade) {
  Function& f = function(echoed);
  const auto root = call(f, "root");
  const std::string parent = root.pipelined_inputs(0).input_id();
  const std::string child = call(f, "child", parent).function_call_id();
  const auto other = call(f, "other");
  (void)outputs(root.function_call_id(), 20);
  (void)outputs(child, 20);
  Function& theirs = grid.add("theirs", [](Grid&, Line) -> Task<void> { co_return; });
  theirs.workspace = "them";
  grid.deploy("theirs");
  client->headers.emplace_back("x-workspace", "them");
  EXPECT_NE(call(theirs, "says whose child it is", parent).function_call_id(), "");
  client->headers.pop_back();

  api::FunctionGetCallGraphRequest request;
  request.set_function_call_id(root.function_call_id());
  const auto graph = ask<api::FunctionGetCallGraphResponse>("FunctionGetCallGraph", request);
  ASSERT_EQ(graph.function_calls_size(), 2);
  EXPECT_EQ(graph.function_calls(0).parent_input_id(), "");
  EXPECT_EQ(graph.function_calls(1).function_call_id(), child);
  EXPECT_EQ(graph.function_calls(1).parent_input_id(), parent);
  EXPECT_EQ(graph.function_calls(1).function_name(), "f");
  ASSERT_EQ(graph.inputs_size(), 2);
  EXPECT_EQ(graph.inputs(1).status(), api::GenericResult::GENERIC_STATUS_SUCCESS);
  EXPECT_FALSE(graph.inputs(1).task_id().empty());
  EXPECT_FALSE(graph.truncated());

  request.set_function_call_id(child);
  const auto below = ask<api::FunctionGetCallGraphResponse>("FunctionGetCallGraph", request);
  ASSERT_EQ(below.function_calls_size(), 1);
  EXPECT_EQ(below.function_calls(0).parent_input_id(), "") << "the root of what was asked for";
}

TEST_F(CallRpcs, AStoppedContainerIsToldByTheKillSwitchWhileItWaits) {
  Function& f = function(echoed);
  (void)outputs(call(f, "x").function_call_id(), 20);
  api::ContainerStopRequest stop;
  stop.set_task_id(grid.started.at(0).str());
  stop.set_graceful(true);
  (void)ask<api::ContainerStopResponse>("ContainerStop", stop);
  EXPECT_EQ(client->lastCode, Code::ok);
  grid.runUntil([&] { return killed == 1; }, "the kill switch reached the container");
}

struct Yields {
  std::vector<std::string> values;
  bool stop = false;
};

Task<void> readYields(Line client, std::string call, std::uint64_t after, std::size_t most,
                      std::shared_ptr<Yields> out) {
  api::FunctionCallGetDataRequest request;
  request.set_function_call_id(call);
  request.set_last_index(after);
  auto stream = co_await client->stream("FunctionCallGetDataOut", request);
  while (out->values.size() < most) {
    Result<std::optional<std::string>> message = co_await stream->read();
    if (!message.ok() || !message->has_value()) break;
    api::DataChunk chunk;
    EXPECT_TRUE(chunk.ParseFromString(**message));
    out->values.push_back(chunk.data());
  }
  stream->cancel();
  out->stop = true;
}

// Takes an input, yields three values; gives the input.
Task<api::FunctionGetInputsItem> yieldThree(Line container) {
  (void)co_await container->ask<Empty>("ContainerHello", Empty());
  api::FunctionGetInputsRequest ask;
  auto inputs = co_await container->ask<api::FunctionGetInputsResponse>("FunctionGetInputs", ask);
  for (std::uint64_t i = 1; i <= 3; ++i) {
    api::FunctionCallPutDataRequest put;
    put.set_function_call_id(inputs.inputs(0).function_call_id());
    auto& chunk = *put.add_data_chunks();
    chunk.set_index(i);
    chunk.set_data("v" + std::to_string(i));
    (void)co_await container->ask<Empty>("FunctionCallPutDataOut", put);
  }
  co_return inputs.inputs(0);
}

Task<void> yieldThreeAndStay(Line container) { (void)co_await yieldThree(std::move(container)); }

Task<void> yieldThreeAndFail(Line container) {
  const api::FunctionGetInputsItem input = co_await yieldThree(container);
  api::FunctionPutOutputsRequest outputs;
  auto& output = *outputs.add_outputs();
  output.set_input_id(input.input_id());
  output.mutable_result()->set_status(api::GenericResult::GENERIC_STATUS_FAILURE);
  (void)co_await container->ask<Empty>("FunctionPutOutputs", outputs);
}

Task<void> awaitFailure(Line client, std::string call, std::shared_ptr<Yields> out) {
  api::FunctionGetOutputsRequest request;
  request.set_function_call_id(call);
  request.set_timeout(30);
  auto answer = co_await client->ask<api::FunctionGetOutputsResponse>("FunctionGetOutputs", request);
  EXPECT_EQ(answer.outputs(0).result().status(), api::GenericResult::GENERIC_STATUS_FAILURE);
  out->values.push_back("failed");
}

TEST_F(CallRpcs, AGeneratorsFailureComesBehindTheValuesBeforeIt) {
  Function& f = grid.add("f", [](Grid&, Line container) { return yieldThreeAndFail(std::move(container)); });
  grid.deploy("f");
  const std::string made = call(f, "x").function_call_id();
  auto seen = std::make_shared<Yields>();
  spawn(grid.io, awaitFailure(client, made, seen));
  grid.runUntil([&] { return grid.calls.outputs(CallId{made}, {})->unfinishedInputs == 0; }, "the generator failed");
  spawn(grid.io, readYields(client, made, 0, 4, seen));  // its stream is opened late
  grid.runUntil([&] { return seen->values.size() == 4; }, "all of it came");
  EXPECT_THAT(seen->values, ElementsAre("v1", "v2", "v3", "failed"));
}

TEST_F(CallRpcs, AGeneratorsFailureWaitsForAReaderForAMomentOnly) {
  Function& f = grid.add("f", [](Grid&, Line container) { return yieldThreeAndFail(std::move(container)); });
  grid.deploy("f");
  auto seen = std::make_shared<Yields>();
  spawn(grid.io, awaitFailure(client, call(f, "x").function_call_id(), seen));
  grid.runUntil([&] { return !seen->values.empty(); }, "who reads no values hears of the failure");
}

TEST_F(CallRpcs, AGeneratorsValuesComeInOrderAndAgainFromWhereItsReaderWas) {
  Function& f = grid.add("f", [](Grid&, Line container) { return yieldThreeAndStay(std::move(container)); });
  grid.deploy("f");
  std::string made = call(f, "x").function_call_id();
  auto all = std::make_shared<Yields>(), rest = std::make_shared<Yields>();
  spawn(grid.io, readYields(client, made, 0, 3, all));
  grid.runUntil([&] { return all->stop; }, "three values came");
  EXPECT_THAT(all->values, ElementsAre("v1", "v2", "v3"));
  spawn(grid.io, readYields(client, made, 1, 2, rest));
  grid.runUntil([&] { return rest->stop; }, "the reader came back");
  EXPECT_THAT(rest->values, ElementsAre("v2", "v3"));
}

}  // namespace
}  // namespace gridiron::edge::test
