#include "edge/dash/sessions.h"

#include <gtest/gtest.h>

#include "edge/dash/text.h"

namespace gridiron::edge {
namespace {

using namespace std::chrono_literals;

const Person kAnn{"acme", "ann"};

struct SessionsTest : testing::Test {
  FakeClock clock;
  Sessions sessions{clock};
};

TEST_F(SessionsTest, ACookieIsGoodForTwelveHours) {
  std::string cookie = sessions.open(kAnn);
  clock.advance(11h + 59min);
  ASSERT_NE(sessions.find(cookie), nullptr);
  EXPECT_EQ(sessions.find(cookie)->who, kAnn);
  clock.advance(1min);
  EXPECT_EQ(sessions.find(cookie), nullptr);
}

TEST_F(SessionsTest, SigningOutEndsThatSessionOnly) {
  std::string mine = sessions.open(kAnn), other = sessions.open(kAnn);
  sessions.close(mine);
  EXPECT_EQ(sessions.find(mine), nullptr);
  EXPECT_NE(sessions.find(other), nullptr);
}

TEST_F(SessionsTest, ACodeSignsInOnce) {
  std::string code = sessions.issueCode(kAnn);
  EXPECT_EQ(sessions.redeem("guessed"), std::nullopt);
  EXPECT_EQ(sessions.redeem(code), kAnn);
  EXPECT_EQ(sessions.redeem(code), std::nullopt);
}

TEST_F(SessionsTest, ACodeIsNoLongerGoodAfterAnHour) {
  std::string code = sessions.issueCode(kAnn);
  clock.advance(1h);
  EXPECT_EQ(sessions.redeem(code), std::nullopt);
}

TEST_F(SessionsTest, GuessingTokensIsSlowedDown) {
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(sessions.mayTry());
    sessions.failed();
  }
  EXPECT_FALSE(sessions.mayTry());
  clock.advance(1min);
  EXPECT_TRUE(sessions.mayTry());
}

TEST_F(SessionsTest, ThereIsRoomForAThousandSessions) {
  std::string first = sessions.open(kAnn);
  clock.advance(1s);
  for (int i = 0; i < 1000; ++i) sessions.open(kAnn);
  EXPECT_EQ(sessions.find(first), nullptr);
}

TEST(DashText, FormsAreRead) {
  auto fields = parseForm("a=1&b=x%20y+z&broken=%4&=none&flag");
  EXPECT_EQ(fields, (std::map<std::string, std::string>{{"a", "1"}, {"b", "x y z"}, {"flag", ""}}));
}

TEST(DashText, ATargetIsAPathAndAQuery) {
  auto target = parseTarget("/api/secrets/a%2Fb+c?environment=main");
  EXPECT_EQ(target.path, "/api/secrets/a/b+c");
  EXPECT_EQ(target.query.at("environment"), "main");
}

TEST(DashText, CookiesAreFoundByTheirWholeName) {
  EXPECT_EQ(findCookie("xs=1; s=2;s3=4", "s"), "2");
  EXPECT_EQ(findCookie("xs=1", "s"), std::nullopt);
}

TEST(DashText, ATemplateTakesNoMarkupFromItsValues) {
  EXPECT_EQ(fillTemplate("<p a=\"{{x}}\">{{none}}{{x}}", {{"x", "<b>'&\""}}),
            "<p a=\"&lt;b&gt;&#39;&amp;&quot;\">&lt;b&gt;&#39;&amp;&quot;");
  EXPECT_EQ(fillTemplate("open {{end", {}), "open {{end");
}

}  // namespace
}  // namespace gridiron::edge
