#include "edge/http/ingress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "edge/http/test_grid.h"
#include "wire/asgi.h"

namespace gridiron::edge::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// What a played web function makes of one request's body.
struct Played {
  wire::ResponseStart start;
  std::vector<std::string> pieces;  // of the response body
  std::string raises;               // instead: this exception, before any answer
};
using Handler = std::function<Played(const std::string& body)>;

Task<std::string> readBody(std::shared_ptr<Container> container, std::string call) {
  auto stream = co_await container->dataIn(call);
  std::string body;
  for (bool more = true; more;) {
    Result<std::optional<std::string>> message = co_await stream->read();
    if (!message.ok() || !message->has_value()) break;
    api::DataChunk chunk;
    api::Asgi event;
    EXPECT_TRUE(chunk.ParseFromString(**message) && event.ParseFromString(chunk.data()));
    body += event.http_request().body();
    more = event.http_request().more_body();
  }
  stream->cancel();
  co_return body;
}

Task<void> putOut(std::shared_ptr<Container> container, std::string call, std::uint64_t index, std::string chunk) {
  api::FunctionCallPutDataRequest request;
  request.set_function_call_id(call);
  auto& item = *request.add_data_chunks();
  item.set_index(index);
  item.set_data_format(api::DATA_FORMAT_ASGI);
  item.set_data(std::move(chunk));
  (void)co_await container->ask<Empty>("FunctionCallPutDataOut", std::move(request));
}

Task<void> answerOne(std::shared_ptr<Container> container, api::FunctionGetInputsItem item, Handler handler) {
  std::string body = co_await readBody(container, item.function_call_id());
  Played played = handler(body);
  api::FunctionPutOutputsRequest outputs;
  auto& output = *outputs.add_outputs();
  output.set_input_id(item.input_id());
  if (played.raises.empty()) {
    std::uint64_t index = 1;
    co_await putOut(container, item.function_call_id(), index++, wire::responseStartChunk(played.start));
    for (std::size_t i = 0; i < played.pieces.size(); ++i) {
      std::string chunk = wire::responseBodyChunk(played.pieces[i], i + 1 < played.pieces.size());
      co_await putOut(container, item.function_call_id(), index++, chunk);
    }
    output.mutable_result()->set_status(api::GenericResult::GENERIC_STATUS_SUCCESS);
    output.set_data_format(api::DATA_FORMAT_GENERATOR_DONE);
  } else {
    output.mutable_result()->set_status(api::GenericResult::GENERIC_STATUS_FAILURE);
    output.mutable_result()->set_exception(played.raises);
  }
  (void)co_await container->ask<Empty>("FunctionPutOutputs", outputs);
}

Task<void> serveUntilKilled(std::shared_ptr<Container> container, Handler handler) {
  (void)co_await container->ask<Empty>("ContainerHello", Empty());
  for (;;) {
    auto inputs =
        co_await container->ask<api::FunctionGetInputsResponse>("FunctionGetInputs", api::FunctionGetInputsRequest());
    for (const api::FunctionGetInputsItem& item : inputs.inputs()) {
      if (item.kill_switch()) co_return;
      EXPECT_EQ(item.input().data_format(), api::DATA_FORMAT_PICKLE);
      co_await answerOne(container, item, handler);
    }
  }
}

Grid::Program serving(Handler handler) {
  return [handler](Grid&, std::shared_ptr<Container> container) { return serveUntilKilled(container, handler); };
}

Played echo(const std::string& body) {
  return {{200, {{"Content-Type", "text/plain"}, {"Connection", "close"}, {"X-Mine", "1"}}, false}, {"got ", body}, ""};
}

TEST(Ingress, ARequestStartsAContainerAndGetsItsAnswer) {
  Grid grid;
  grid.web("echo", serving(echo));
  auto reply = grid.answerOf(grid.post("you--echo.localhost", "/a?b=1", "hello"));
  EXPECT_EQ(reply->status(), 200) << reply->text;
  EXPECT_THAT(reply->text, HasSubstr("got "));
  EXPECT_THAT(reply->text, HasSubstr("hello"));
  EXPECT_THAT(reply->text, HasSubstr("x-mine: 1"));
  EXPECT_THAT(reply->text, HasSubstr("server-timing: "));
  EXPECT_THAT(reply->text, HasSubstr("sandbox;dur=2.0")) << "a cold start names its parts";
  EXPECT_EQ(grid.started.size(), 1u);
}

TEST(Ingress, AWarmContainerAnswersTheNextRequestToo) {
  Grid grid;
  grid.web("echo", serving(echo));
  grid.answerOf(grid.post("you--echo.localhost", "/", "one"));
  auto reply = grid.answerOf(grid.get("127.0.0.1", "/-/echo/x"));
  EXPECT_EQ(reply->status(), 200) << reply->text;
  EXPECT_THAT(reply->text, HasSubstr("queue;dur="));
  EXPECT_THAT(reply->text, Not(HasSubstr("sandbox;dur=")));
  EXPECT_EQ(grid.started.size(), 1u);
}

TEST(Ingress, WhatIsOverALimitIsRefusedBeforeAContainerStarts) {
  Grid grid;
  grid.web("echo", serving(echo));
  grid.limits.client = {1, std::chrono::hours(1), 1};
  EXPECT_EQ(grid.answerOf(grid.post("you--echo.localhost", "/", "one"))->status(), 200);
  const auto second = grid.answerOf(grid.post("you--echo.localhost", "/", "two"));
  EXPECT_EQ(second->status(), 429);
  EXPECT_THAT(second->text, HasSubstr("retry-after: 36"));
  grid.limits = {.all = {1, std::chrono::hours(1), 1}, .client = {}, .queue = 0};
  EXPECT_EQ(grid.answerOf(grid.post("you--echo.localhost", "/", "three"))->status(), 200);
  EXPECT_EQ(grid.answerOf(grid.post("you--echo.localhost", "/", "four"))->status(), 429);
  const RequestCounts& counts = grid.book.counts().at({"main", "app", "echo"});
  EXPECT_EQ(counts.byStatus.at(200), 2u);
  EXPECT_EQ(counts.byStatus.at(429), 2u);
  EXPECT_EQ(counts.refused.at("client_rate"), 1u);
  EXPECT_EQ(counts.refused.at("rate"), 1u);
  EXPECT_EQ(grid.started.size(), 1u);
}

TEST(Ingress, NoMoreRequestsWaitForAContainerThanTheRuleSays) {
  Grid grid;
  grid.web("never", [](Grid&, std::shared_ptr<Container>) -> Task<void> { co_return; });
  grid.limits.queue = 2;
  const auto first = grid.get("you--never.localhost", "/"), second = grid.get("you--never.localhost", "/");
  grid.runUntil([&] { return grid.calls.demand().size() == 1 && grid.calls.demand().front().queued == 2; }, "two wait");
  const auto third = grid.answerOf(grid.get("you--never.localhost", "/"));
  EXPECT_EQ(third->status(), 429);
  EXPECT_THAT(third->text, HasSubstr("2 wait for a container already"));
  EXPECT_FALSE(first->ended || second->ended);
}

TEST(Ingress, ALargeBodyGoesBothWaysInPieces) {
  Grid grid;
  grid.web("echo", serving([](const std::string& body) {
             return Played{{200, {{"content-length", std::to_string(2 * body.size())}}, false}, {body, body}, ""};
           }));
  std::string large(3'000'000, 'x');
  auto reply = grid.answerOf(grid.post("you--echo.localhost", "/", large));
  EXPECT_EQ(reply->body().size(), 2 * large.size());
}

struct Seen {
  bool started = false, disconnected = false;
  std::string body;
  std::vector<std::string> cancelled;
};

// Takes one input, reads its stream until the disconnect, and hears by the heartbeat what to cancel.
Task<void> hearTheHangUp(std::shared_ptr<Container> container, std::shared_ptr<Seen> seen) {
  (void)co_await container->ask<Empty>("ContainerHello", Empty());
  auto inputs =
      co_await container->ask<api::FunctionGetInputsResponse>("FunctionGetInputs", api::FunctionGetInputsRequest());
  auto stream = co_await container->dataIn(inputs.inputs(0).function_call_id());
  while (!seen->disconnected) {
    Result<std::optional<std::string>> message = co_await stream->read();
    if (!message.ok() || !message->has_value()) co_return;
    api::DataChunk chunk;
    api::Asgi event;
    EXPECT_TRUE(chunk.ParseFromString(**message) && event.ParseFromString(chunk.data()));
    seen->started = true;
    seen->body += event.http_request().body();
    seen->disconnected = event.has_http_disconnect();
  }
  stream->cancel();
  auto beat =
      co_await container->ask<api::ContainerHeartbeatResponse>("ContainerHeartbeat", api::ContainerHeartbeatRequest());
  for (const std::string& id : beat.cancel_input_event().input_ids()) seen->cancelled.push_back(id);
}

Task<void> sendLate(std::shared_ptr<Grid::Reply> reply, std::string bytes) {
  boost::system::error_code ignored;
  co_await asio::async_write(*reply->socket, asio::buffer(bytes), asio::redirect_error(useTask, ignored));
}

TEST(Ingress, AnAppSeesTheBeginningOfARequestWhoseBodyIsLate) {
  Grid grid(std::chrono::milliseconds(1));
  auto seen = std::make_shared<Seen>();
  grid.web("slow", [seen](Grid&, std::shared_ptr<Container> c) { return hearTheHangUp(std::move(c), seen); });
  auto reply = grid.request("POST / HTTP/1.1\r\nHost: you--slow.localhost\r\nContent-Length: 4\r\n");
  grid.runUntil([&] { return seen->started; }, "the app has the first, empty chunk");
  EXPECT_EQ(seen->body, "");
  spawn(grid.io, sendLate(reply, "late"));
  grid.runUntil([&] { return seen->body == "late"; }, "the app has the body");
}

TEST(Ingress, AnUnknownNameIsToldHowAddressesLookAndNothingElse) {
  Grid grid;
  grid.web("secretive", serving(echo));
  auto reply = grid.answerOf(grid.get("you--nothing.localhost", "/"));
  EXPECT_EQ(reply->status(), 404);
  EXPECT_THAT(reply->body(), HasSubstr("you--nothing.localhost"));
  EXPECT_THAT(reply->body(), Not(HasSubstr("secretive")));
}

TEST(Ingress, AnExceptionBeforeTheAnswerIsAReadable500) {
  Grid grid;
  grid.web("bad", serving([](const std::string&) { return Played{{}, {}, "ValueError('no')"}; }));
  auto reply = grid.answerOf(grid.get("you--bad.localhost", "/"));
  EXPECT_EQ(reply->status(), 500);
  EXPECT_THAT(reply->body(), HasSubstr("ValueError('no')"));
}

Task<void> failToImport(Grid* grid, std::shared_ptr<Container> container) {
  (void)co_await container->ask<Empty>("ContainerHello", Empty());
  api::TaskResultRequest result;
  result.mutable_result()->set_status(api::GenericResult::GENERIC_STATUS_FAILURE);
  result.mutable_result()->set_exception("ModuleNotFoundError(\"No module named 'bs4'\")");
  result.mutable_result()->set_traceback("Traceback …");
  (void)co_await container->ask<Empty>("TaskResult", result);
  grid->exited(container->id(), 0);
}

TEST(Ingress, AContainerThatCannotImportTellsTheCallerWhy) {
  Grid grid;
  grid.web("broken", [](Grid& g, std::shared_ptr<Container> c) { return failToImport(&g, std::move(c)); });
  auto reply = grid.answerOf(grid.get("you--broken.localhost", "/"));
  EXPECT_EQ(reply->status(), 500) << reply->text;
  EXPECT_THAT(reply->body(), HasSubstr("failed to start"));
  EXPECT_THAT(reply->body(), HasSubstr("No module named 'bs4'"));
}

TEST(Ingress, AProxyTokenIsAskedForWhereTheFunctionWantsOne) {
  Grid grid;
  grid.web("private", serving(echo)).web.requiresProxyAuth = true;
  EXPECT_EQ(grid.answerOf(grid.get("you--private.localhost", "/"))->status(), 401);
  std::string head = "GET / HTTP/1.1\r\nHost: you--private.localhost\r\n";
  EXPECT_EQ(grid.answerOf(grid.request(head + "Modal-Key: wk-1\r\nModal-Secret: ws-1\r\n"))->status(), 200);
  EXPECT_EQ(grid.answerOf(grid.request(head + "Authorization: Bearer wk-1.ws-2\r\n"))->status(), 401);
}

TEST(Ingress, AWebSocketIsRefusedAloud) {
  Grid grid;
  grid.web("echo", serving(echo));
  std::string head = "GET / HTTP/1.1\r\nHost: you--echo.localhost\r\nSec-WebSocket-Key: x\r\n";
  EXPECT_EQ(grid.answerOf(grid.request(head))->status(), 501);
}

TEST(Ingress, AClientThatHangsUpCancelsItsInput) {
  Grid grid;
  auto seen = std::make_shared<Seen>();
  grid.web("slow", [seen](Grid&, std::shared_ptr<Container> c) { return hearTheHangUp(std::move(c), seen); });
  auto reply = grid.get("you--slow.localhost", "/");
  grid.runUntil([&] { return seen->started; }, "the container has the request");
  reply->hangUp();
  grid.runUntil([&] { return !seen->cancelled.empty(); }, "the container was told to cancel");
  EXPECT_TRUE(seen->disconnected);
}

TEST(Ingress, AQueueIsOfTheInstanceThatTheQueryNamesAndARateOfAllOfThem) {
  Grid grid;
  const auto takesNothing = [](Grid&, std::shared_ptr<Container>) -> Task<void> { co_return; };
  grid.web("shop", takesNothing).methods = {{"sell", {}}};
  grid.deploy("shop");
  grid.web("high-street", takesNothing);
  grid.limits.queue = 1;
  const auto waits = grid.get("you--shop.localhost", "/?instance=high-street");
  grid.runUntil([&] { return !grid.started.empty(); }, "one waits for a container");
  EXPECT_EQ(grid.answerOf(grid.get("you--shop.localhost", "/?instance=high-street"))->status(), 429);
  const auto other = grid.get("you--shop.localhost", "/");
  grid.runUntil([&] { return grid.started.size() > 1; }, "another instance has a queue of its own");
  EXPECT_FALSE(other->ended);
  grid.limits.queue = 0;
  grid.limits.all = {1, std::chrono::hours(1), 1};
  const auto first = grid.get("you--shop.localhost", "/?instance=high-street");
  EXPECT_EQ(grid.answerOf(grid.get("you--shop.localhost", "/"))->status(), 429) << "the rate is spent by the other";
  for (const auto& each : {waits, other, first}) each->hangUp();
}

Task<void> dieHalfWay(Grid* grid, std::shared_ptr<Container> container) {
  (void)co_await container->ask<Empty>("ContainerHello", Empty());
  auto inputs =
      co_await container->ask<api::FunctionGetInputsResponse>("FunctionGetInputs", api::FunctionGetInputsRequest());
  std::string call = inputs.inputs(0).function_call_id();
  wire::ResponseStart start;
  start.headers.emplace_back("content-length", "10");
  std::string head = wire::responseStartChunk(start), half = wire::responseBodyChunk("half", true);
  co_await putOut(container, call, 1, head);
  co_await putOut(container, call, 2, half);
  grid->exited(container->id(), 1);
}

TEST(Ingress, AContainerThatDiesInTheMiddleCutsTheAnswer) {
  Grid grid;
  grid.web("dies", [](Grid& g, std::shared_ptr<Container> c) { return dieHalfWay(&g, std::move(c)); });
  auto reply = grid.answerOf(grid.get("you--dies.localhost", "/"));
  EXPECT_EQ(reply->body(), "half");
}

}  // namespace
}  // namespace gridiron::edge::test
