#include "edge/http/router.h"

#include <gtest/gtest.h>

#include "edge/http/answers.h"
#include "edge/http/server_timing.h"

namespace gridiron::edge {
namespace {

net::RequestHead request(std::string authority, std::string target) {
  net::RequestHead head;
  head.method = "GET";
  head.authority = std::move(authority);
  head.target = std::move(target);
  return head;
}

net::RequestHead grpcRequest(std::string authority, std::string target) {
  net::RequestHead head = request(std::move(authority), std::move(target));
  head.method = "POST";
  head.version = net::HttpVersion::http2;
  head.headers.add("content-type", "application/grpc");
  return head;
}

TEST(Router, AFunctionsHostNameNamesItsWorkspaceAndLabel) {
  Route route = routeOf(request("You--Shop-Resize.LOCALHOST:8400", "/a?b"), "grid.example.org");
  ASSERT_EQ(route.kind, Route::Kind::function);
  EXPECT_EQ(route.function.workspace, "you");
  EXPECT_EQ(route.function.label, "shop-resize");
  EXPECT_EQ(route.function.rootPath, "");
  EXPECT_EQ(routeOf(request("you--a--b.grid.example.org.", "/"), "grid.example.org").function.label, "a--b");
}

TEST(Router, AHostNameThatOnlyLooksAlikeGetsThePage) {
  EXPECT_EQ(routeOf(request("localhost:8400", "/"), "localhost").kind, Route::Kind::page);
  EXPECT_EQ(routeOf(request("you--shop.evil.org", "/"), "localhost").kind, Route::Kind::page);
  EXPECT_EQ(routeOf(request("you--shop.x.localhost", "/"), "localhost").kind, Route::Kind::page);
  EXPECT_EQ(routeOf(request("you--shopXlocalhost", "/"), "localhost").kind, Route::Kind::page);
  EXPECT_EQ(routeOf(request("--shop.localhost", "/"), "localhost").kind, Route::Kind::page);
  EXPECT_EQ(routeOf(request("[::1]:8400", "/"), "localhost").kind, Route::Kind::page);
}

TEST(Router, APathOnTheMainHostNamesAFunctionToo) {
  Route route = routeOf(request("10.0.0.1:8400", "/-/Shop-Resize/x?y=/z"), "localhost");
  ASSERT_EQ(route.kind, Route::Kind::function);
  EXPECT_EQ(route.function.workspace, "");
  EXPECT_EQ(route.function.label, "shop-resize");
  EXPECT_EQ(route.function.rootPath, "/-/Shop-Resize");
  EXPECT_EQ(routeOf(request("h", "/-/you--shop?x"), "localhost").function.workspace, "you");
  EXPECT_EQ(routeOf(request("h", "/-/"), "localhost").kind, Route::Kind::page);
}

TEST(Router, GrpcGoesToItsServiceOnAnyHost) {
  EXPECT_EQ(routeOf(grpcRequest("you--shop.localhost", "/modal.client.ModalClient/AppCreate"), "localhost").kind,
            Route::Kind::rpc);
  EXPECT_EQ(routeOf(grpcRequest("localhost", "/gridiron.link.Link/Session"), "localhost").kind, Route::Kind::link);
  EXPECT_EQ(routeOf(request("localhost", "/modal.client.ModalClient/AppCreate"), "localhost").kind, Route::Kind::page);
}

TEST(Router, BlobsAreServedOnTheMainHostOnly) {
  EXPECT_EQ(routeOf(request("localhost", "/blobs/bl-1"), "localhost").kind, Route::Kind::blobs);
  EXPECT_EQ(routeOf(request("you--shop.localhost", "/blobs/bl-1"), "localhost").kind, Route::Kind::function);
}

TEST(Answers, TheLastLineOfATracebackIsItsException) {
  EXPECT_EQ(lastLine("Traceback:\n  File x\nValueError: no\n\n"), "ValueError: no");
  EXPECT_EQ(lastLine("aé", 2), "a…");
  EXPECT_EQ(lastLine(""), "");
}

TEST(Answers, AFullQueueSaysWhenToComeBack) {
  Answer answer = errorAnswer(Error{Code::exhausted, "3 waiting"});
  EXPECT_EQ(answer.status, 429);
  EXPECT_EQ(answer.headers.find("retry-after"), "1");
}

TEST(ServerTiming, PhasesAreTokensWithMilliseconds) {
  std::vector<TimedPhase> phases = {{"queue", std::chrono::microseconds(400), ""},
                                    {"boot", std::chrono::milliseconds(3), "the app's own \"json\"\n"},
                                    {"run time", std::chrono::milliseconds(12), ""},
                                    {"odd", Nanos(-1), ""}};
  EXPECT_EQ(serverTiming(phases), "queue;dur=0.4, boot;dur=3.0;desc=\"the app's own  json  \", run-time;dur=12.0");
}

}  // namespace
}  // namespace gridiron::edge
