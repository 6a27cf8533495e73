#include "edge/http/webhooks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/digest.h"
#include "net/testing.h"

namespace gridiron::edge {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

std::string sign(std::string_view key, std::string_view data) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(data.data()),
       data.size(), out, &size);
  return hexEncode({reinterpret_cast<const char*>(out), size});
}

TEST(WebhookRules, StandInTheTagsOfAnApp) {
  const auto none = webhookRuleOf({{"team", "payments"}, {"webhook.other", "github.s"}}, "hook");
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->has_value());

  const auto stripe = webhookRuleOf({{"webhook.hook", "stripe.my.secret"}}, "hook");
  ASSERT_TRUE(stripe.ok() && stripe->has_value());
  EXPECT_EQ((*stripe)->signature.scheme, WebhookScheme::stripe);
  EXPECT_EQ((*stripe)->secret, "my.secret");

  const auto own = webhookRuleOf({{"webhook.Cls.method", "hmac.s"},
                                  {"webhook.Cls.method.header", "X-Acme"},
                                  {"webhook.Cls.method.timestamp", "X-Time"},
                                  {"webhook.Cls.method.algorithm", "sha512"},
                                  {"webhook.Cls.method.tolerance", "60"}},
                                 "Cls.method");
  ASSERT_TRUE(own.ok() && own->has_value());
  EXPECT_EQ((*own)->signature.header, "x-acme");
  EXPECT_EQ((*own)->signature.timestampHeader, "x-time");
  EXPECT_EQ((*own)->signature.algorithm, "sha512");
  EXPECT_EQ((*own)->signature.tolerance, 60s);
}

TEST(WebhookRules, AnIllFormedOneSaysWhatIsWrong) {
  EXPECT_THAT(webhookRuleOf({{"webhook.f", "github"}}, "f").error().message,
              HasSubstr("not <scheme>.<name of a Secret>"));
  EXPECT_THAT(webhookRuleOf({{"webhook.f", "gitlab.s"}}, "f").error().message, HasSubstr("known are github, stripe"));
  EXPECT_THAT(webhookRuleOf({{"webhook.f", "hmac.s"}, {"webhook.f.algorithm", "md5"}}, "f").error().message,
              HasSubstr("none of sha1, sha256, sha512"));
}

TEST(WebhookRules, StandInTheConfigurationToo) {
  const auto one = parseWebhook("shop/hook github gh-secret");
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(one->environment, "");
  EXPECT_EQ(one->app, "shop");
  EXPECT_EQ(one->function, "hook");
  EXPECT_EQ(one->rule.secret, "gh-secret");
  const auto more = parseWebhook("prod/shop/Cls.m hmac s header=X-A timestamp=X-T tolerance=30");
  ASSERT_TRUE(more.ok());
  EXPECT_EQ(more->environment, "prod");
  EXPECT_EQ(more->function, "Cls.m");
  EXPECT_EQ(more->rule.signature.timestampHeader, "x-t");
  for (const char* bad :
       {"", "shop/hook github", "hook github s", "/hook github s", "shop/ github s", "shop/hook git s",
        "shop/hook hmac s header", "shop/hook hmac s colour=red", "shop/hook hmac s tolerance=0"})
    EXPECT_EQ(parseWebhook(bad).error().code, Code::invalidArgument) << bad;
}

TEST(WebhookRules, KeysAreTheVariablesNamedSoOrTheOnlyOne) {
  EXPECT_THAT(*webhookSecretsIn({{"ANY", "a"}}), ::testing::ElementsAre("a"));
  EXPECT_THAT(*webhookSecretsIn({{"API_KEY", "k"}, {"WEBHOOK_SECRET", "a"}, {"WEBHOOK_SECRET_OLD", "b"}}),
              ::testing::ElementsAre("a", "b"));
  EXPECT_THAT(webhookSecretsIn({{"A", "1"}, {"B", "2"}}).error().message, HasSubstr("2 variables"));
  EXPECT_FALSE(webhookSecretsIn({}).ok());
}

class Webhooks : public ::testing::Test {
 protected:
  Webhooks() {
    function->id = FunctionId{"fu-1"};
    function->tag = "hook";
    function->environment = "main";
  }

  WebhookGuard make() {
    return WebhookGuard({.io = io,
                         .clock = clock,
                         .rule = [this](const Function&, const std::string&) { return rule; },
                         .secret = [this](const std::string& environment,
                                          const std::string& name) -> Result<std::map<std::string, std::string>> {
                           EXPECT_EQ(environment, "main");
                           if (name == "there") return variables;
                           return makeError(Code::notFound, "Secret '{}' not found", name);
                         },
                         .tell = [this](const Function&, const std::string& line) { told.push_back(line); },
                         .maxBody = 100,
                         .maxBuffered = 150,
                         .maxRemembered = 3});
  }
  void demand(WebhookScheme scheme, const std::string& secret = "there") {
    WebhookRule made;
    made.signature.scheme = scheme;
    made.secret = secret;
    rule = std::optional<WebhookRule>(made);
  }
  std::shared_ptr<net::PlayedExchange> slack(const std::string& body, int seconds = 1'000'000) {
    auto sent = std::make_shared<net::PlayedExchange>();
    net::Headers& headers = sent->asked.headers;
    headers.add("x-slack-request-timestamp", std::to_string(seconds));
    headers.add("x-slack-signature", "v0=" + sign("key", "v0:" + std::to_string(seconds) + ":" + body));
    sent->pieces = {body};
    return sent;
  }
  Result<WebhookGuard::Admitted> admit(WebhookGuard& guard, std::shared_ptr<net::Exchange> exchange) {
    std::optional<Result<WebhookGuard::Admitted>> out;
    spawn(io, ask(guard, std::move(exchange), function, out));
    io.restart();
    while (!out) io.run_one();
    return std::move(*out);
  }
  static Task<void> ask(WebhookGuard& guard, std::shared_ptr<net::Exchange> exchange,
                        std::shared_ptr<Function> function, std::optional<Result<WebhookGuard::Admitted>>& out) {
    Result<WebhookGuard::Admitted> admitted = co_await guard.admit(std::move(exchange), function, "");
    out = std::move(admitted);
  }
  static Task<void> readInto(std::shared_ptr<net::Exchange> exchange, std::string& body) {
    for (;;) {
      Result<std::optional<std::string>> piece = co_await exchange->read();
      if (!piece.ok() || !piece->has_value()) co_return;
      body += **piece;
    }
  }
  std::string bodyOf(std::shared_ptr<net::Exchange> exchange) {
    std::string body;
    spawn(io, readInto(std::move(exchange), body));
    io.restart();
    io.poll();
    return body;
  }

  asio::io_context io;
  FakeClock clock{Time{1'000'000s}};
  std::shared_ptr<Function> function = std::make_shared<Function>();
  Result<std::optional<WebhookRule>> rule = std::optional<WebhookRule>();
  std::map<std::string, std::string> variables = {{"WEBHOOK_SECRET", "key"}};
  std::vector<std::string> told;
};

TEST_F(Webhooks, AFunctionWithoutARuleGetsTheRequestAsItIs) {
  WebhookGuard guard = make();
  auto sent = slack("hello");
  auto admitted = admit(guard, sent);
  ASSERT_TRUE(admitted.ok());
  EXPECT_EQ(admitted->exchange, sent);
  EXPECT_EQ(sent->reads, 0);
}

TEST_F(Webhooks, ASignedRequestKeepsItsBody) {
  demand(WebhookScheme::slack);
  WebhookGuard guard = make();
  auto admitted = admit(guard, slack("hello"));
  ASSERT_TRUE(admitted.ok());
  EXPECT_EQ(bodyOf(admitted->exchange), "hello");
  EXPECT_TRUE(told.empty());
}

TEST_F(Webhooks, TheOwnerIsToldWhyAndTheSenderIsNot) {
  demand(WebhookScheme::slack);
  WebhookGuard guard = make();
  auto sent = slack("hello");
  variables = {{"WEBHOOK_SECRET", "another"}};
  auto admitted = admit(guard, sent);
  EXPECT_EQ(admitted.error().code, Code::unauthenticated);
  EXPECT_EQ(admitted.error().message, "The request is not signed as this address demands.");
  EXPECT_THAT(told, ::testing::ElementsAre("A request to hook was refused: the signature fits not the secret"));
}

TEST_F(Webhooks, WithoutASignatureTheBodyIsNotEvenRead) {
  demand(WebhookScheme::github);
  WebhookGuard guard = make();
  auto sent = slack("hello");
  EXPECT_FALSE(admit(guard, sent).ok());
  EXPECT_EQ(sent->reads, 0);
  EXPECT_THAT(told, ::testing::ElementsAre(HasSubstr("no x-hub-signature-256 header")));
}

TEST_F(Webhooks, AFloodIsToldOfOnceASecond) {
  demand(WebhookScheme::github);
  WebhookGuard guard = make();
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(admit(guard, slack("x")).ok());
  clock.advance(2s);
  EXPECT_FALSE(admit(guard, slack("x")).ok());
  EXPECT_EQ(told.size(), 2u);
  EXPECT_THAT(told.back(), HasSubstr("(9 more were refused before it)"));
}

TEST_F(Webhooks, AReplayIsRefusedUntilItsRequestIsForgotten) {
  demand(WebhookScheme::slack);
  WebhookGuard guard = make();
  auto first = admit(guard, slack("hello"));
  ASSERT_TRUE(first.ok());
  EXPECT_FALSE(admit(guard, slack("hello")).ok());
  EXPECT_THAT(told.back(), HasSubstr("the same signature came before"));
  guard.forget(first->seen);  // the function did not answer: the sender may try again
  EXPECT_TRUE(admit(guard, slack("hello")).ok());
  clock.advance(6min);
  EXPECT_FALSE(admit(guard, slack("hello")).ok());
  EXPECT_THAT(told.back(), HasSubstr("signed 360 s ago"));
}

TEST_F(Webhooks, OnlySoManySignaturesAreRemembered) {
  demand(WebhookScheme::slack);
  WebhookGuard guard = make();
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(admit(guard, slack(std::to_string(i))).ok());
  EXPECT_FALSE(admit(guard, slack("3")).ok());
  EXPECT_TRUE(admit(guard, slack("0")).ok());  // the oldest went first
}

TEST_F(Webhooks, BodiesHaveABound) {
  demand(WebhookScheme::slack);
  WebhookGuard guard = make();
  EXPECT_EQ(admit(guard, slack(std::string(101, 'x'))).error().code, Code::exhausted);
  EXPECT_TRUE(admit(guard, slack(std::string(100, 'x'))).ok());
  EXPECT_TRUE(admit(guard, slack(std::string(100, 'y'))).ok());  // what was read before is not counted any more
}

TEST_F(Webhooks, ARuleThatIsNotInOrderClosesTheFunction) {
  demand(WebhookScheme::slack, "gone");
  WebhookGuard guard = make();
  auto admitted = admit(guard, slack("hello"));
  EXPECT_EQ(admitted.error().code, Code::failedPrecondition);
  EXPECT_THAT(admitted.error().message, ::testing::Not(HasSubstr("gone")));
  EXPECT_THAT(told, ::testing::ElementsAre(HasSubstr("Secret 'gone' not found")));
  rule = Error{Code::invalidArgument, "the tag is odd"};
  EXPECT_EQ(admit(guard, slack("hello")).error().code, Code::failedPrecondition);
}

}  // namespace
}  // namespace gridiron::edge
