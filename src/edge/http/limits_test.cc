#include "edge/http/limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gridiron::edge {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr Rate kTenPerSecond{10, seconds(1), 3};

TEST(RateTable, LetsABurstThroughAndThenAsManyAsTheRateSays) {
  FakeClock clock;
  RateTable table(100);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(table.ask("a", kTenPerSecond, clock.now()), Nanos::zero()) << i;
  EXPECT_EQ(table.ask("a", kTenPerSecond, clock.now()), milliseconds(100));
  EXPECT_EQ(table.ask("b", kTenPerSecond, clock.now()), Nanos::zero()) << "each key has its own";
  clock.advance(milliseconds(40));
  EXPECT_EQ(table.ask("a", kTenPerSecond, clock.now()), milliseconds(60)) << "a refusal costs nothing";
  clock.advance(milliseconds(60));
  EXPECT_EQ(table.ask("a", kTenPerSecond, clock.now()), Nanos::zero());
  EXPECT_EQ(table.ask("a", kTenPerSecond, clock.now()), milliseconds(100));
  int passed = 0;
  for (int i = 0; i < 1000; ++i, clock.advance(milliseconds(7)))
    passed += table.ask("a", kTenPerSecond, clock.now()) == Nanos::zero() ? 1 : 0;
  EXPECT_NEAR(passed, 70, 3) << "over seven seconds";
}

TEST(RateTable, ForgetsWhoHasBeenQuietAndHoldsNoMoreThanItMay) {
  FakeClock clock;
  RateTable table(50);
  const Rate slow{1, seconds(60), 1};
  for (int i = 0; i < 500; ++i) EXPECT_EQ(table.ask(std::to_string(i), slow, clock.now()), Nanos::zero());
  EXPECT_EQ(table.size(), 50u);
  EXPECT_EQ(table.ask("499", slow, clock.now()), seconds(60)) << "who asked last is known";
  EXPECT_EQ(table.ask("0", slow, clock.now()), Nanos::zero()) << "who was quiet longest was forgotten";
  clock.advance(seconds(61));
  EXPECT_EQ(table.ask("499", slow, clock.now()), Nanos::zero());
  EXPECT_EQ(table.size(), 1u);
}

TEST(RateTable, WhoIsRefusedAgainAndAgainStaysKnownWhileOthersCome) {
  FakeClock clock;
  RateTable table(10);
  const Rate slow{1, seconds(60), 1};
  EXPECT_EQ(table.ask("loud", slow, clock.now()), Nanos::zero());
  for (int i = 0; i < 100; ++i) {
    (void)table.ask("other" + std::to_string(i), slow, clock.now());
    EXPECT_GT(table.ask("loud", slow, clock.now()), Nanos::zero()) << i;
  }
}

struct Bad {
  const char* text;
  const char* why;
};
class BadLimits : public testing::TestWithParam<Bad> {};
TEST_P(BadLimits, AreRefusedWithWhatWouldBeRight) {
  const auto read = parseLimit(GetParam().text);
  ASSERT_FALSE(read.ok());
  EXPECT_THAT(read.error().message, HasSubstr(GetParam().why));
}
INSTANTIATE_TEST_SUITE_P(Forms, BadLimits,
                         testing::Values(Bad{"", "no app before the function"}, Bad{"shop all=1-per-second", "no app"},
                                         Bad{"shop/paid", "no limit is given"},
                                         Bad{"shop/paid all=fast", "no rate such as 100-per-second"},
                                         Bad{"shop/paid all=0-per-second", "no rate such as"},
                                         Bad{"shop/paid all=1-per-day", "no rate such as"},
                                         Bad{"shop/paid queue=-1", "queue '-1' is not a number from 1"},
                                         Bad{"shop/paid speed=1", "no option 'speed'"},
                                         Bad{"shop/ all=1-per-hour", "an empty name"}));

TEST(Limits, AreReadFromTheConfiguration) {
  const auto read =
      parseLimit("prod/shop/Hooks.paid all=100-per-second burst=200 client=10-per-minute client-burst=5 queue=50");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->environment, "prod");
  EXPECT_EQ(read->app, "shop");
  EXPECT_EQ(read->function, "Hooks.paid");
  EXPECT_EQ(read->rule, (LimitRule{{100, seconds(1), 200}, {10, seconds(60), 5}, 50}));
}

TEST(Limits, AreReadFromTags) {
  EXPECT_FALSE(limitRuleOf({{"limit.other", "1-per-second"}}, "paid").value().has_value());
  const auto read = limitRuleOf({{"limit.paid", "5-per-hour"}, {"limit.paid.client", "1-per-hour"}}, "paid");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(**read, (LimitRule{{5, seconds(3600), 0}, {1, seconds(3600), 0}, 0}));
  const auto bad = limitRuleOf({{"limit.paid.queue", "many"}}, "paid");
  ASSERT_FALSE(bad.ok());
  EXPECT_THAT(bad.error().message, HasSubstr("the tag limit.paid.queue"));
}

class LimiterTest : public testing::Test {
 protected:
  LimiterTest() {
    function_.id = FunctionId{"fu-1"};
    function_.tag = "paid";
  }
  RequestLimiter limiter(Result<std::optional<LimitRule>> rule) {
    return RequestLimiter({.clock = clock_,
                           .rule = [rule](const Function&, const std::string&) { return rule; },
                           .tell = [this](const Function&, const std::string& line) { told_.push_back(line); }});
  }
  FakeClock clock_;
  Function function_;
  std::vector<std::string> told_;
};

TEST_F(LimiterTest, OneAddressIsHeldBackAndAnotherIsNot) {
  auto limits = limiter(std::optional(LimitRule{{}, {2, seconds(60), 0}, 0}));
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(limits.askForAddress(function_, "", "192.0.2.1").value().has_value());
  const auto refused = limits.askForAddress(function_, "", "192.0.2.1");
  ASSERT_TRUE(refused.ok() && refused->has_value());
  EXPECT_EQ((*refused)->why, "client_rate");
  EXPECT_EQ((*refused)->retryAfterSeconds, 30);
  EXPECT_FALSE(limits.askForAddress(function_, "", "192.0.2.2").value().has_value());
  EXPECT_FALSE(limits.askForFunction(function_, "", 1'000'000).value().has_value());
}

TEST_F(LimiterTest, TheOwnerIsToldOnceAMinute) {
  auto limits = limiter(std::optional(LimitRule{{1, seconds(3600), 0}, {}, 0}));
  for (int i = 0; i < 50; ++i) (void)limits.askForFunction(function_, "", 0);
  ASSERT_EQ(told_.size(), 1u);
  EXPECT_THAT(told_[0], HasSubstr("Requests to paid are refused (429): more come than this function takes"));
  clock_.advance(seconds(61));
  (void)limits.askForFunction(function_, "", 0);
  EXPECT_EQ(told_.size(), 2u);
}

TEST_F(LimiterTest, NoMoreMayWaitThanTheRuleSays) {
  auto limits = limiter(std::optional(LimitRule{{}, {}, 3}));
  EXPECT_FALSE(limits.askForFunction(function_, "", 2).value().has_value());
  const auto refused = limits.askForFunction(function_, "", 3);
  ASSERT_TRUE(refused.ok() && refused->has_value());
  EXPECT_EQ((*refused)->why, "queue");
}

TEST_F(LimiterTest, ARuleThatIsNotInOrderClosesTheFunctionAndItsOwnerReadsWhy) {
  auto limits = limiter(Error{Code::invalidArgument, "the tag limit.paid: 'x' is no rate"});
  EXPECT_FALSE(limits.askForAddress(function_, "", "192.0.2.1").ok());
  EXPECT_FALSE(limits.askForFunction(function_, "", 0).ok());
  EXPECT_THAT(told_, testing::ElementsAre(HasSubstr("the tag limit.paid: 'x' is no rate")));
}

}  // namespace
}  // namespace gridiron::edge
