#include "edge/http/scope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gridiron::edge {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

net::RequestHead head(const std::string& target) {
  net::RequestHead out;
  out.method = "GET";
  out.scheme = "http";
  out.authority = "you--shop.localhost:8400";
  out.target = target;
  out.peerHost = "10.0.0.7";
  out.peerPort = 4711;
  return out;
}

TEST(Scope, ThePathIsDecodedAndTheQueryIsNot) {
  wire::HttpScope scope = scopeOf(head("/caf%C3%A9/100%/%zz?q=%20x"), {"you", "shop", ""}, WebKind::function);
  EXPECT_EQ(scope.path, "/caf\xc3\xa9/100%/%zz");
  EXPECT_EQ(scope.rawPath, "/caf%C3%A9/100%/%zz");
  EXPECT_EQ(scope.query, "q=%20x");
  EXPECT_EQ(scope.rootPath, "");
  EXPECT_EQ(scope.serverHost, "you--shop.localhost");
  EXPECT_EQ(scope.serverPort, 8400);
}

TEST(Scope, AQuerysFieldsAreDecodedAndTheFirstOfANameCounts) {
  EXPECT_THAT(queryFields("a=1&b=%20x+y&a=2&&flag&e="),
              ElementsAre(Pair("a", "1"), Pair("b", " x y"), Pair("e", ""), Pair("flag", "")));
  EXPECT_THAT(queryFields(""), testing::IsEmpty());
}

TEST(Scope, HeadersForTheNextHopOnlyAndClaimsAboutTheClientAreTakenOut) {
  net::RequestHead request = head("/");
  request.headers.add("host", "you--shop.localhost:8400");
  request.headers.add("connection", "keep-alive, X-Private");
  request.headers.add("x-private", "1");
  request.headers.add("transfer-encoding", "chunked");
  request.headers.add("x-forwarded-for", "1.2.3.4");
  request.headers.add("modal-secret", "ws-1");
  request.headers.add("accept", "*/*");
  wire::HttpScope scope = scopeOf(request, {"you", "shop", ""}, WebKind::function);
  EXPECT_THAT(scope.headers, ElementsAre(Pair("host", "you--shop.localhost:8400"), Pair("accept", "*/*")));
  EXPECT_EQ(scope.clientHost, "10.0.0.7");
  EXPECT_EQ(scope.clientPort, 4711);
}

TEST(Scope, AFunctionReachedByPathKnowsItsPrefixAndAWebServerNeverSeesIt) {
  FunctionAddress address{"", "shop", "/-/shop"};
  wire::HttpScope app = scopeOf(head("/-/shop/a?b"), address, WebKind::asgiApp);
  EXPECT_EQ(app.path, "/-/shop/a");
  EXPECT_EQ(app.rootPath, "/-/shop");
  EXPECT_EQ(scopeOf(head("/-/shop"), address, WebKind::function).path, "/-/shop/");
  wire::HttpScope server = scopeOf(head("/-/shop/a?b"), address, WebKind::webServer);
  EXPECT_EQ(server.path, "/a");
  EXPECT_EQ(server.rootPath, "");
  EXPECT_EQ(scopeOf(head("/-/shop?x"), address, WebKind::webServer).path, "/");
}

TEST(Scope, AnAppsHeadersGoOutInLowerCaseAndCannotSplitTheResponse) {
  net::Headers out = responseHeaders({{"Content-Type", "text/plain"},
                                      {"Connection", "close"},
                                      {"X-Evil", "a\r\nSet-Cookie: b"},
                                      {"bad name", "x"},
                                      {"Set-Cookie", "a=1"},
                                      {"Set-Cookie", "b=2"}});
  EXPECT_THAT(out.fields(),
              ElementsAre(Pair("content-type", "text/plain"), Pair("set-cookie", "a=1"), Pair("set-cookie", "b=2")));
}

}  // namespace
}  // namespace gridiron::edge
