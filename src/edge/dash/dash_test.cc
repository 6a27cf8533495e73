#include "edge/dash/dash.h"

#include <gmock/gmock.h>

#include "base/digest.h"
#include "edge/dash/testing.h"

namespace gridiron::edge {
namespace {

using testing::HasSubstr;

// A request that is there as a whole, and what it is answered with.
class OneExchange final : public net::Exchange {
 public:
  net::RequestHead request;
  std::string sent;
  int status = 0;
  net::Headers headers;
  std::string body;

  const net::RequestHead& head() const override { return request; }
  Task<Result<std::optional<std::string>>> read() override {
    std::string piece = std::exchange(sent, "");
    co_return piece.empty() ? std::optional<std::string>{} : std::optional(std::move(piece));
  }
  Task<Result<void>> respond(int, net::Headers, bool) override { co_return Error{Code::unimplemented, "respond"}; }
  Task<Result<void>> write(std::string) override { co_return Error{Code::unimplemented, "write"}; }
  Task<Result<void>> finish(net::Headers) override { co_return Error{Code::unimplemented, "finish"}; }
  Task<Result<void>> answer(int code, net::Headers fields, std::string text) override {
    status = code;
    headers = std::move(fields);
    body = std::move(text);
    co_return Result<void>{};
  }
  void abort() override {}
  void onGone(std::function<void()>) override {}
  bool gone() const override { return false; }
};

class DashTest : public AdminTest {
 protected:
  DashTest() { dash = std::make_unique<Dash>(*api); }

  std::shared_ptr<OneExchange> ask(const std::string& method, const std::string& target, const std::string& form = "",
                                   const std::string& scheme = "http", const std::string& authorization = "") {
    auto exchange = std::make_shared<OneExchange>();
    exchange->request.method = method;
    exchange->request.target = target;
    exchange->request.scheme = scheme;
    exchange->request.authority = "localhost:8400";
    exchange->request.headers.add("content-type", "application/x-www-form-urlencoded");
    if (!cookie.empty()) exchange->request.headers.add("cookie", cookie);
    if (!authorization.empty()) exchange->request.headers.add("authorization", authorization);
    exchange->sent = form;
    spawn(io, dash->handler()(exchange));
    io.restart();
    io.run();
    auto set = exchange->headers.find("set-cookie");
    if (set) cookie = std::string(set->substr(0, set->find(';')));
    return exchange;
  }
  std::string signIn() {
    auto link = api->answer({"POST", "/v1/sign-in-links", {}, nlohmann::json::object()});
    std::string url = link.body["url"];
    ask("POST", url.substr(url.find("/sign-in/")));
    std::string page = ask("GET", "/")->body;
    auto at = page.find("name=\"csrf\" content=\"") + 21;
    return page.substr(at, page.find('"', at) - at);
  }
  std::string location(const OneExchange& exchange) {
    return std::string(exchange.headers.find("location").value_or(""));
  }

  asio::io_context io;
  std::string cookie;
  std::unique_ptr<Dash> dash;
};

TEST_F(DashTest, AnApprovedClientGetsItsToken) {
  auto flow = catalog->tokens().beginFlow("cli", std::chrono::minutes(10));
  ASSERT_TRUE(flow.ok());
  std::string page = "/token-flow/" + flow->flow.id;
  EXPECT_EQ(location(*ask("GET", page)), "/sign-in?next=" + page);
  std::string csrf = signIn();
  EXPECT_THAT(ask("GET", page)->body, HasSubstr("Approve"));
  EXPECT_THAT(ask("POST", page, "decision=approve&csrf=" + csrf)->body, HasSubstr("Connected"));
  auto token = catalog->tokens().takeFlow(flow->flow.id, flow->waitSecret);
  ASSERT_TRUE(token.ok() && token->has_value());
  EXPECT_TRUE(catalog->authenticate((*token)->token.id, (*token)->secret).ok());
  EXPECT_EQ(ask("GET", page)->status, 404);
}

TEST_F(DashTest, WithoutTheSessionsOwnWordNothingIsApproved) {
  auto flow = catalog->tokens().beginFlow("cli", std::chrono::minutes(10));
  signIn();
  EXPECT_EQ(ask("POST", "/token-flow/" + flow->flow.id, "decision=approve&csrf=guessed")->status, 403);
  auto token = catalog->tokens().takeFlow(flow->flow.id, flow->waitSecret);
  ASSERT_TRUE(token.ok());
  EXPECT_FALSE(token->has_value());
}

TEST_F(DashTest, ARefusedClientIsToldSo) {
  auto flow = catalog->tokens().beginFlow("cli", std::chrono::minutes(10));
  std::string csrf = signIn();
  EXPECT_EQ(ask("POST", "/token-flow/" + flow->flow.id, "decision=refuse&csrf=" + csrf)->status, 200);
  auto token = catalog->tokens().takeFlow(flow->flow.id, flow->waitSecret);
  ASSERT_FALSE(token.ok());
  EXPECT_EQ(token.error().code, Code::permissionDenied);
}

TEST_F(DashTest, AStrangeFlowsNameReachesNoHeader) {
  auto answer = ask("GET", "/token-flow/x%0d%0aset-cookie:%20a=b");
  EXPECT_EQ(location(*answer).find('\r'), std::string::npos);
  EXPECT_EQ(answer->status, 404);
}

TEST_F(DashTest, OverTlsTheCookieIsBoundToItsHost) {
  auto link = api->answer({"POST", "/v1/sign-in-links", {}, nlohmann::json::object()});
  std::string url = link.body["url"];
  auto answer = ask("POST", url.substr(url.find("/sign-in/")), "", "https");
  std::string set(answer->headers.find("set-cookie").value_or(""));
  EXPECT_THAT(set, testing::StartsWith("__Host-gridiron="));
  EXPECT_THAT(set, HasSubstr("Secure"));
  EXPECT_THAT(set, HasSubstr("HttpOnly"));
}

TEST_F(DashTest, SigningOutEndsTheSession) {
  std::string csrf = signIn();
  EXPECT_EQ(ask("POST", "/sign-out", "csrf=wrong")->status, 303);
  EXPECT_EQ(ask("GET", "/")->status, 200);
  ask("POST", "/sign-out", "csrf=" + csrf);
  EXPECT_EQ(location(*ask("GET", "/")), "/sign-in");
}

TEST_F(DashTest, ABodyThatIsTooLargeIsRefused) {
  EXPECT_EQ(ask("POST", "/sign-in", std::string(2 << 20, 'x'))->status, 413);
}

TEST_F(DashTest, MetricsAreForWhoHasAToken) {
  const auto token = catalog->tokens().create("prometheus", "acme");
  ASSERT_TRUE(token.ok());
  const std::string& id = token->token.id;
  for (const std::string& wrong :
       {std::string(), "Bearer " + id + ".as-wrong", "Basic " + base64Encode(id + ":as-wrong"), std::string("Basic !")})
    EXPECT_EQ(ask("GET", "/metrics", "", "http", wrong)->status, 401) << wrong;
  const auto given = ask("GET", "/metrics", "", "http", "Basic " + base64Encode(id + ":" + token->secret));
  EXPECT_EQ(given->status, 200);
  EXPECT_THAT(given->body, HasSubstr("# TYPE gridiron_info gauge\ngridiron_info{version=\"1\"} 1\n"));
  EXPECT_EQ(ask("GET", "/metrics", "", "http", "Bearer " + id + "." + token->secret)->body, given->body);
}

TEST_F(DashTest, ThereAreNoOtherPages) { EXPECT_EQ(ask("GET", "/admin")->status, 404); }

}  // namespace
}  // namespace gridiron::edge
